//! The tasks of asyncio and the greenlets of processes, as text: tasks as a tree with who awaits whom, and the stacks of both,
//! equal ones once.
//!
//! It knows in which order they are told: what runs, then the rare before the common.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use spyhole_session::model::ProcessStacks;
use spyhole_session::suspended::{
    GreenletRole, GreenletStack, GreenletState, TaskStack, TaskState,
};
use spyhole_session::waits::Wait;

use super::frames::{self, Stack};
use super::{Style, counted, waits};
use crate::views::escape::flat;
use crate::views::text::{Ink, Text};
use crate::views::width::{cut, list};

/// Names that are listed for one stack.
const NAMES_AT_MOST: usize = 5;
/// Lines of a tree, and how deep it is told.
const LINES_AT_MOST: usize = 200;
const DEPTH_AT_MOST: usize = 20;

/// What one stack is told of.
trait Told {
    fn stack(&self) -> Stack<'_>;
    fn torn(&self) -> bool;
    fn name(&self) -> String;
    fn wait(&self) -> Option<&Wait>;
    /// `waiting`
    fn state(&self) -> &'static str;
    /// It runs at this moment.
    fn runs(&self) -> bool;
}

impl Told for TaskStack {
    fn stack(&self) -> Stack<'_> {
        Stack { frames: &self.frames, cut: self.cut }
    }

    fn torn(&self) -> bool {
        self.torn
    }

    fn name(&self) -> String {
        waits::named(self.name.as_deref(), self.id)
    }

    fn wait(&self) -> Option<&Wait> {
        self.awaits.as_ref()
    }

    fn state(&self) -> &'static str {
        self.state.name()
    }

    fn runs(&self) -> bool {
        self.state == TaskState::Running
    }
}

impl Told for GreenletStack {
    fn stack(&self) -> Stack<'_> {
        Stack { frames: &self.frames, cut: self.cut }
    }

    fn torn(&self) -> bool {
        self.torn
    }

    fn name(&self) -> String {
        let role = match self.role {
            GreenletRole::Plain => None,
            role => Some(role.name()),
        };
        let name = waits::named(self.name.as_deref(), self.id);
        match (role, self.ident) {
            (Some(role), _) if self.name.as_deref() != Some(role) => format!("{role} {name}"),
            (None, Some(ident)) => format!("Greenlet-{ident} {name}"),
            _ => name,
        }
    }

    fn wait(&self) -> Option<&Wait> {
        self.waits_for.as_ref()
    }

    fn state(&self) -> &'static str {
        self.state.name()
    }

    fn runs(&self) -> bool {
        self.state == GreenletState::Running
    }
}

/// The tasks and greenlets of these processes.
pub(super) fn text(text: &mut Text, processes: &[ProcessStacks], style: Style) {
    let across = if processes.len() > 1 {
        format!(" in {}", counted(processes.len(), "process"))
    } else {
        String::new()
    };
    let interpreters = || processes.iter().flat_map(|process| &process.interpreters);
    let tasks: Vec<&TaskStack> = interpreters().flat_map(|one| &one.tasks).collect();
    if !tasks.is_empty() {
        let head = counted(tasks.len(), "task");
        text.plain("\n").ink(Ink::Strong, format!("{head} of asyncio")).plain(&across);
        text.line(states(&tasks));
        for interpreter in interpreters() {
            tree(text, &interpreter.tasks, style);
        }
        stacks(text, tasks, "task", style);
    }
    let greenlets: Vec<&GreenletStack> = interpreters().flat_map(|one| &one.greenlets).collect();
    if !greenlets.is_empty() {
        let head = counted(greenlets.len(), "greenlet");
        text.plain("\n").ink(Ink::Strong, head).plain(&across).line(states(&greenlets));
        let suspended = |one: &&GreenletStack| one.state == GreenletState::Suspended;
        stacks(text, greenlets.into_iter().filter(suspended).collect(), "greenlet", style);
    }
}

/// `: 9 waiting, 1 running`
fn states<T: Told>(all: &[&T]) -> String {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for one in all {
        match states.iter_mut().find(|(known, _)| *known == one.state()) {
            Some((_, count)) => *count += 1,
            None => states.push((one.state(), 1)),
        }
    }
    states.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<String> =
        states.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!(": {}", words.join(", "))
}

/// Equal stacks once, with whose they are.
fn stacks<T: Told>(text: &mut Text, all: Vec<&T>, what: &str, style: Style) {
    let key = |one: &T| (one.state(), one.torn(), one.stack().cut);
    let mut groups: Vec<Vec<&T>> = grouped(all, style.all, |one| (one.stack().frames, key(one)));
    groups.sort_by_key(|group| (!group.iter().any(|one| one.runs()), group.len()));
    for group in groups {
        let Some(first) = group.first() else { continue };
        text.plain("\n");
        let who = match group.len() {
            1 => first.name(),
            count => counted(count, what),
        };
        text.ink(Ink::Strong, who).plain(format!(": {}", first.state()));
        if first.torn() {
            text.plain(", ").ink(Ink::Bad, "changed while it was read");
        }
        text.plain("\n");
        if group.len() > 1 {
            let mut names: Vec<String> =
                group.iter().take(NAMES_AT_MOST).map(|one| one.name()).collect();
            if group.len() > NAMES_AT_MOST {
                names.push(format!("and {} more", group.len() - NAMES_AT_MOST));
            }
            text.ink(Ink::Faint, format!("  {}", list(&names, 2, "  ", style.width))).plain("\n");
        }
        waits::of_waits(text, group.iter().map(|one| one.wait()), style.width);
        frames::of_stack(text, first.stack(), style);
    }
}

/// Those with equal keys together, in the order in which they come.
fn grouped<'a, T, K: Eq + Hash>(
    all: Vec<&'a T>,
    apart: bool,
    key: impl Fn(&'a T) -> K,
) -> Vec<Vec<&'a T>> {
    let mut groups: Vec<Vec<&T>> = Vec::new();
    let mut known: HashMap<K, usize> = HashMap::new();
    for one in all {
        match known.get(&key(one)).filter(|_| !apart) {
            Some(index) => groups[*index].push(one),
            None => {
                known.insert(key(one), groups.len());
                groups.push(vec![one]);
            }
        }
    }
    groups
}

/// Who awaits whom, if anybody does: below each task those that it goes on with.
fn tree(text: &mut Text, tasks: &[TaskStack], style: Style) {
    if tasks.iter().all(|task| task.awaited_by.is_empty()) {
        return;
    }
    let mut below: HashMap<u64, Vec<&TaskStack>> = HashMap::new();
    for task in tasks {
        for by in &task.awaited_by {
            below.entry(by.id).or_default().push(task);
        }
    }
    let mut tree = Tree { below, told: HashSet::new(), lines: 0, style };
    let roots: Vec<&TaskStack> = tasks.iter().filter(|task| task.awaited_by.is_empty()).collect();
    tree.level(text, &roots, 1);
    // Those of a ring are below nobody else.
    for task in tasks {
        if !tree.told.contains(&task.id) {
            tree.level(text, &[task], 1);
        }
    }
    if tree.lines > LINES_AT_MOST && !style.all {
        text.line("  ... and more");
    }
}

struct Tree<'a> {
    below: HashMap<u64, Vec<&'a TaskStack>>,
    told: HashSet<u64>,
    lines: usize,
    style: Style,
}

impl<'a> Tree<'a> {
    fn level(&mut self, text: &mut Text, tasks: &[&'a TaskStack], depth: usize) {
        let alone = |task: &&TaskStack| self.below.contains_key(&task.id);
        let kind = |task: &TaskStack| task.awaits.as_ref().map(|wait| wait.kind);
        // Those that have others below them are told by themselves.
        let groups = grouped(tasks.to_vec(), self.style.all, |task: &'a TaskStack| {
            let own = alone(&task).then_some(task.id);
            (own, task.coroutine.as_deref(), task.state, kind(task))
        });
        for group in groups {
            let Some(first) = group.first() else { continue };
            let again = !self.told.insert(first.id);
            self.told.extend(group.iter().map(|task| task.id));
            self.lines += 1;
            if self.lines > LINES_AT_MOST && !self.style.all {
                continue;
            }
            let who = match group.len() {
                1 => first.name(),
                count => counted(count, "task"),
            };
            let mut line = format!("{}{who}", "  ".repeat(depth));
            if let Some(coroutine) = &first.coroutine {
                line.push_str(&format!(" {}", flat(coroutine)));
            }
            line.push_str(&format!(": {}", first.state()));
            if let Some(wait) = &first.awaits {
                let what = waits::words(wait);
                line.push_str(&format!(" for {}", what.join(", ")));
            }
            let below = self.below.get(&first.id).cloned().unwrap_or_default();
            if again && !below.is_empty() {
                line.push_str(" (see above)");
            }
            text.line(self.style.width.map_or_else(|| line.clone(), |width| cut(&line, width)));
            if !again && depth < DEPTH_AT_MOST {
                self.level(text, &below, depth + 1);
            }
        }
    }
}
