//! What threads wait for, and who waits for each other, as text and as JSON.

use std::collections::HashMap;

use serde_json::{Value as Json, json};
use spyhole_session::model::ProcessStacks;
use spyhole_session::suspended::TaskName;
use spyhole_session::waits::{
    Deadlock, DeadlockKind, GreenletName, Line, Owner, ThreadName, Wait, WaitKind, Who,
};

use super::counted;
use super::fold::Group;
use crate::views::escape::flat;
use crate::views::text::{Ink, Text};
use crate::views::width::{cut, list};

/// Different things that are listed for one stack.
const LISTED: usize = 5;
/// Columns that a thread's name gets.
const NAME_AT_MOST: usize = 60;

pub(super) fn wait_json(wait: &Wait) -> Json {
    let owner = match &wait.owner {
        Owner::Unknown => Json::Null,
        Owner::Thread(owning) => {
            let mut owner = thread_json(&owning.thread);
            owner["ended"] = false.into();
            owner["taken_at"] = place_json(owning.taken.as_ref());
            owner
        }
        Owner::Ended(ident) => json!({
            "native_id": null, "ident": ident, "name": null, "ended": true, "taken_at": null,
        }),
        Owner::Task(task, taken) => {
            json!({"task": task_json(task), "taken_at": place_json(taken.as_ref())})
        }
        Owner::Greenlet(greenlet, taken) => {
            json!({"greenlet": greenlet_json(greenlet), "taken_at": place_json(taken.as_ref())})
        }
    };
    json!({"kind": wait.kind.name(), "what": wait.what, "owner": owner})
}

/// What a task waits for, with the tasks whose ends that are.
pub(super) fn awaits_json(wait: &Wait) -> Json {
    let mut json = wait_json(wait);
    json["tasks"] = wait.tasks.iter().map(task_json).collect();
    json
}

fn thread_json(thread: &ThreadName) -> Json {
    json!({"native_id": thread.native_id, "ident": thread.ident, "name": thread.name})
}

pub(super) fn task_json(task: &TaskName) -> Json {
    json!({"id": address(task.id), "name": task.name})
}

fn greenlet_json(greenlet: &GreenletName) -> Json {
    json!({"id": address(greenlet.id), "name": greenlet.name})
}

/// As `id()` of the process would give it, in the form in which values show addresses.
pub(super) fn address(at: u64) -> String {
    format!("{at:#x}")
}

fn place_json(place: Option<&Line>) -> Json {
    place.map_or(
        Json::Null,
        |place| json!({"function": place.function, "file": place.file, "line": place.line}),
    )
}

pub(super) fn deadlocks_json(deadlocks: &[Deadlock]) -> Json {
    let one = |deadlock: &Deadlock| {
        let members = deadlock.members.iter().map(|member| {
            let (thread, task, greenlet) = match &member.who {
                Who::Thread(thread) => (thread_json(thread), Json::Null, Json::Null),
                Who::Task(task) => (Json::Null, task_json(task), Json::Null),
                Who::Greenlet(greenlet) => (Json::Null, Json::Null, greenlet_json(greenlet)),
            };
            json!({
                "thread": thread,
                "task": task,
                "greenlet": greenlet,
                "holds": member.holds,
                "wants": member.wants,
                "line": member.taken.as_ref().and_then(|place| place.line),
                "taken_at": place_json(member.taken.as_ref()),
                "now_at": place_json(member.now.as_ref()),
            })
        });
        json!({"kind": deadlock.kind.name(), "members": members.collect::<Vec<_>>()})
    };
    deadlocks.iter().map(one).collect()
}

/// The deadlocks of these processes, each with its threads.
pub(super) fn deadlocks(text: &mut Text, processes: &[ProcessStacks], width: Option<usize>) {
    for process in processes {
        for deadlock in &process.deadlocks {
            text.plain("\n").ink(Ink::Bad, "deadlock:");
            let what = match deadlock.kind {
                DeadlockKind::Threads => "thread",
                DeadlockKind::Tasks => "task",
                DeadlockKind::Greenlets => "greenlet",
            };
            let mut head = format!(" {}", counted(deadlock.members.len(), what));
            if processes.len() > 1 {
                head.push_str(&format!(" in process {}", process.pid));
            }
            text.line(head);
            for member in &deadlock.members {
                let own = match &member.who {
                    Who::Thread(thread) => name(thread),
                    Who::Task(task) => named(task.name.as_deref(), task.id),
                    Who::Greenlet(greenlet) => named(greenlet.name.as_deref(), greenlet.id),
                };
                // A task that another awaits does not hold anything.
                let is_awaited = member.taken.is_none() && deadlock.kind != DeadlockKind::Threads;
                let mut words = vec![match is_awaited {
                    true => format!("{own} is awaited"),
                    false => format!("{own} holds {}", flat(&member.holds)),
                }];
                match (&member.taken, &member.now) {
                    (Some(taken), _) => words.push(format!("taken at {}", place(taken))),
                    (None, Some(now)) => words.push(format!("and is now at {}", place(now))),
                    (None, None) => {}
                }
                words.push(format!("waits for {}", flat(&member.wants)));
                clauses(text, &words, width);
            }
        }
    }
}

/// Parts of a sentence, in as many lines as they need.
pub(super) fn clauses(text: &mut Text, words: &[String], width: Option<usize>) {
    const INDENT: &str = "    ";
    let most = width.map_or(usize::MAX, |width| width.saturating_sub(INDENT.len() + 1));
    let words: Vec<String> = words.iter().map(|word| cut(word, most)).collect();
    text.plain("  ").line(list(&words, 2, INDENT, width));
}

/// What the threads of a group wait for, in one line for each different thing.
pub(super) fn of_group(text: &mut Text, group: &Group<'_>, width: Option<usize>) {
    let waits = group.members().iter().map(|member| member.thread.waits_for.as_ref());
    of_waits(text, waits, width);
}

/// What those of one stack wait for.
pub(super) fn of_waits<'w>(
    text: &mut Text,
    waits: impl Iterator<Item = Option<&'w Wait>>,
    width: Option<usize>,
) {
    let mut lines: Vec<(Vec<String>, usize)> = Vec::new();
    let mut known: HashMap<Vec<String>, usize> = HashMap::new();
    let mut members = 0;
    for wait in waits {
        members += 1;
        let Some(wait) = wait else { continue };
        let words = words(wait);
        match known.get(&words) {
            Some(index) => lines[*index].1 += 1,
            None => {
                known.insert(words.clone(), lines.len());
                lines.push((words, 1));
            }
        }
    }
    let one = members == 1;
    for (words, count) in lines.iter().take(LISTED) {
        let who = match (one, count) {
            (true, _) => "waits for".to_owned(),
            (false, 1) => "1 waits for".to_owned(),
            (false, count) => format!("{count} wait for"),
        };
        let mut words = words.clone();
        if let Some(first) = words.first_mut() {
            *first = format!("{who} {first}");
        }
        clauses(text, &words, width);
    }
    if lines.len() > LISTED {
        let rest: usize = lines[LISTED..].iter().map(|(_, count)| count).sum();
        text.line(format!("  {rest} for others"));
    }
}

/// `Lock at 0x7f3c5a10`, `held by two (4125)`, `taken at /srv/a.py:12`
pub(super) fn words(wait: &Wait) -> Vec<String> {
    let mut words = vec![flat(&wait.what).into_owned()];
    let held = wait.kind.is_owned() || wait.kind == WaitKind::Gil;
    match &wait.owner {
        Owner::Thread(owning) => {
            let who = name(&owning.thread);
            words.push(if held { format!("held by {who}") } else { who });
            words.extend(owning.taken.as_ref().map(|taken| format!("taken at {}", place(taken))));
        }
        Owner::Task(TaskName { id, name }, taken)
        | Owner::Greenlet(GreenletName { id, name }, taken) => {
            let who = named(name.as_deref(), *id);
            words.push(if held { format!("held by {who}") } else { who });
            words.extend(taken.as_ref().map(|taken| format!("taken at {}", place(taken))));
        }
        Owner::Ended(_) => words.push(if held {
            "held by a thread that has ended".to_owned()
        } else {
            "which has ended".to_owned()
        }),
        Owner::Unknown if held => words.push("holder unknown".to_owned()),
        Owner::Unknown => {}
    }
    words
}

fn name(thread: &ThreadName) -> String {
    let number = thread.native_id.map_or_else(|| "?".to_owned(), |tid| tid.to_string());
    match &thread.name {
        Some(name) => format!("{} ({number})", cut(&flat(name), NAME_AT_MOST)),
        None => number,
    }
}

/// `Task-4 (0x7f3c5a10)`
pub(super) fn named(name: Option<&str>, id: u64) -> String {
    match name {
        Some(name) => format!("{} ({})", cut(&flat(name), NAME_AT_MOST), address(id)),
        None => address(id),
    }
}

fn place(place: &Line) -> String {
    let line = place.line.map_or_else(|| "?".to_owned(), |line| line.to_string());
    format!("{}:{line}", flat(place.file.as_deref().unwrap_or("?")))
}
