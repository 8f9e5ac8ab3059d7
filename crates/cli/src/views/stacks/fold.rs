//! Which threads are told together, and how they are named.
//!
//! Threads with equal frames are one group, whatever each of them does at this moment: that one of twelve is just running
//! and eleven wait is a count in its first line, and no stack more to read. The thread that holds the GIL is always by
//! itself, for it is what is looked for when nothing moves.

use std::collections::HashMap;

use spyhole_session::model::{
    InterpreterStacks, ProcessStacks, StackFrame, ThreadStack, ThreadState,
};

use super::counted;
use crate::views::escape::flat;
use crate::views::text::{Ink, Text};
use crate::views::width::{columns, cut, list};

/// Names of threads that are listed for one stack.
const NAMES_AT_MOST: usize = 5;

/// Columns that a thread's name gets.
const NAME_AT_MOST: usize = 60;

/// A thread, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) process: &'a ProcessStacks,
    pub(super) interpreter: &'a InterpreterStacks,
    pub(super) thread: &'a ThreadStack,
}

/// Threads with equal stacks; there is at least one.
#[derive(Clone, Debug)]
pub(super) struct Group<'a>(Vec<Member<'a>>);

impl<'a> Group<'a> {
    pub(super) fn first(&self) -> Member<'a> {
        self.0[0]
    }

    pub(super) fn members(&self) -> &[Member<'a>] {
        &self.0
    }

    /// The lower, the sooner it is told.
    fn rank(&self) -> (u8, usize) {
        let runs = |member: &Member<'_>| member.thread.state == ThreadState::Running;
        let class = match self {
            group if group.first().thread.holds_gil => 0,
            group if group.0.iter().any(runs) => 1,
            _ => 2,
        };
        (class, self.0.len())
    }
}

pub(super) fn members(process: &ProcessStacks) -> impl Iterator<Item = Member<'_>> {
    process.interpreters.iter().flat_map(move |interpreter| {
        interpreter.threads.iter().map(move |thread| Member { process, interpreter, thread })
    })
}

/// Groups in the order in which they are told; with `all` each thread by itself, in the order of the process.
pub(super) fn groups(members: Vec<Member<'_>>, all: bool) -> Vec<Group<'_>> {
    if all {
        return members.into_iter().map(|member| Group(vec![member])).collect();
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known: HashMap<(&[StackFrame], bool, bool, bool), usize> = HashMap::new();
    for member in members {
        let thread = member.thread;
        let key = (thread.frames.as_slice(), thread.holds_gil, thread.torn, thread.cut);
        match known.get(&key) {
            Some(index) => groups[*index].0.push(member),
            None => {
                known.insert(key, groups.len());
                groups.push(Group(vec![member]));
            }
        }
    }
    // A stable sort: of equal ones the main thread stays first.
    groups.sort_by_key(Group::rank);
    groups
}

/// The lines before the frames: who, and what they do. `across`: other groups may be of other processes.
pub(super) fn head(text: &mut Text, group: &Group<'_>, across: bool, width: Option<usize>) {
    let who = who(group, across);
    let what = doing(group);
    let mut used = columns(&who) + 2;
    text.ink(Ink::Strong, who).plain(":");
    let first = what.first().map_or(0, |word| columns(word) + 1);
    if width.is_some_and(|width| used + first > width) {
        text.plain("\n ");
        used = 2;
    }
    text.plain(" ").plain(list(&what, used, "  ", width));
    if group.first().thread.torn {
        text.plain(", ").ink(Ink::Bad, "changed while it was read");
    }
    text.plain("\n");
    if group.0.len() > 1 {
        names(text, group, across, width);
    }
}

fn who(group: &Group<'_>, across: bool) -> String {
    let first = group.first();
    let threads = counted(group.0.len(), "thread");
    match (group.0.len(), across) {
        (1, false) => label(first.thread),
        (1, true) => format!("process {}, {}", place(first), label(first.thread)),
        (_, false) => threads,
        (_, true) => {
            let places = places(group);
            let mut pids: Vec<i32> = group.0.iter().map(|member| member.process.pid).collect();
            pids.dedup();
            match (places.as_slice(), pids.as_slice()) {
                ([(place, _)], _) => format!("{threads} in process {place}"),
                (_, [pid]) => {
                    format!("{threads} in {} interpreters of process {pid}", places.len())
                }
                _ => format!("{threads} in {}", counted(pids.len(), "process")),
            }
        }
    }
}

fn names(text: &mut Text, group: &Group<'_>, across: bool, width: Option<usize>) {
    let places = places(group);
    let line = if across && places.len() > 1 {
        let words: Vec<String> = places
            .into_iter()
            .map(|(place, count)| match count {
                1 => place,
                count => format!("{place} ({count} threads)"),
            })
            .collect();
        format!("  in {}", list(&words, 5, "  ", width))
    } else {
        let members = group.0.iter().take(NAMES_AT_MOST);
        let mut names: Vec<String> = members.map(|member| label(member.thread)).collect();
        if group.0.len() > NAMES_AT_MOST {
            names.push(format!("and {} more", group.0.len() - NAMES_AT_MOST));
        }
        let line = format!("  {}", names.join(", "));
        width.map_or_else(|| line.clone(), |width| cut(&line, width))
    };
    text.ink(Ink::Faint, line).plain("\n");
}

/// `4121`, or `4121/1` in a process with several interpreters.
fn place(member: Member<'_>) -> String {
    match member.process.interpreters.len() {
        0 | 1 => member.process.pid.to_string(),
        _ => format!("{}/{}", member.process.pid, member.interpreter.id),
    }
}

/// The places of a group, each with how many of the threads it has.
fn places(group: &Group<'_>) -> Vec<(String, usize)> {
    let mut places: Vec<(String, usize)> = Vec::new();
    for member in &group.0 {
        let place = place(*member);
        match places.last_mut() {
            // Threads come in the order of their processes.
            Some((last, count)) if *last == place => *count += 1,
            _ => places.push((place, 1)),
        }
    }
    places
}

/// `MainThread (4121)`
pub(super) fn label(thread: &ThreadStack) -> String {
    let number = thread.native_id.map_or_else(|| "?".to_owned(), |tid| tid.to_string());
    match &thread.name {
        Some(name) => format!("{} ({number})", cut(&flat(name), NAME_AT_MOST)),
        None => number,
    }
}

/// What a thread does: `waiting in futex`.
fn state(thread: &ThreadStack) -> String {
    match (thread.state, &thread.syscall) {
        (ThreadState::Waiting, Some(syscall)) => format!("waiting in {}", flat(syscall)),
        (ThreadState::Unknown, _) => "state unknown".to_owned(),
        (state, _) => state.name().to_owned(),
    }
}

/// `waiting in futex`, or `10 waiting in futex`, `2 running`; the most common first.
fn doing(group: &Group<'_>) -> Vec<String> {
    let mut states: Vec<(String, usize)> = Vec::new();
    for member in &group.0 {
        let state = state(member.thread);
        match states.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += 1,
            None => states.push((state, 1)),
        }
    }
    states.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut words: Vec<String> = match states.len() {
        1 => states.into_iter().map(|(state, _)| state).collect(),
        _ => states.into_iter().map(|(state, count)| format!("{count} {state}")).collect(),
    };
    if group.first().thread.holds_gil {
        words.push(match &group.first().thread.in_c {
            Some(native) => format!("holds the GIL in {}", flat(&native.name())),
            None => "holds the GIL".to_owned(),
        });
    }
    words
}
