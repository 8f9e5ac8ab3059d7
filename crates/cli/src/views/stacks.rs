//! The stacks of `stack`, as text and as JSON.
//!
//! It knows how threads that do the same are told together. What a thread may have put into a name is escaped by
//! whoever writes the text.

use serde_json::{Value as Json, json};
use spyhole_session::model::{ProcessStacks, StackFrame, ThreadStack, ThreadState};

use super::escape::flat;
use super::text::{Ink, Text};
use super::width::{columns, cut};

/// Columns that a function's name gets before the file follows.
const FUNCTION_AT_MOST: usize = 32;
/// Names of threads that are listed for one stack.
const NAMES_AT_MOST: usize = 5;

/// `1 thread`, `2 threads`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(crate) fn text(processes: &[ProcessStacks], all: bool, width: Option<usize>) -> Text {
    let mut text = Text::new();
    for (index, process) in processes.iter().enumerate() {
        if index > 0 {
            text.plain("\n");
        }
        head(&mut text, process);
        for interpreter in &process.interpreters {
            if process.interpreters.len() > 1 {
                text.plain("\n").ink(Ink::Strong, format!("interpreter {}", interpreter.id));
                text.plain("\n");
            }
            for group in groups(&interpreter.threads, all) {
                text.plain("\n");
                thread_head(&mut text, &group, width);
                frames(&mut text, group[0], all, width);
            }
            if interpreter.threads.is_empty() {
                text.plain("\n").line("  no threads");
            }
        }
    }
    text
}

fn head(text: &mut Text, process: &ProcessStacks) {
    let threads: usize = process.interpreters.iter().map(|i| i.threads.len()).sum();
    text.ink(Ink::Strong, format!("process {}", process.pid));
    text.plain(format!(", Python {}, {}", process.python, counted(threads, "thread")));
    if process.interpreters.len() > 1 {
        text.plain(format!(" in {} interpreters", process.interpreters.len()));
    }
    if process.torn {
        text.plain(", ").ink(Ink::Bad, "changed while it was read");
    }
    text.plain("\n");
}

/// Threads that do the same, in the order of the first of each.
fn groups(threads: &[ThreadStack], all: bool) -> Vec<Vec<&ThreadStack>> {
    let mut groups: Vec<Vec<&ThreadStack>> = Vec::new();
    for thread in threads {
        let same = |other: &ThreadStack| {
            other.frames == thread.frames
                && other.state == thread.state
                && other.syscall == thread.syscall
                && other.holds_gil == thread.holds_gil
                && other.torn == thread.torn
                && other.cut == thread.cut
        };
        match groups.iter_mut().find(|group| !all && same(group[0])) {
            Some(group) => group.push(thread),
            None => groups.push(vec![thread]),
        }
    }
    groups
}

fn label(thread: &ThreadStack) -> String {
    let number = thread.native_id.map_or_else(|| "?".to_owned(), |tid| tid.to_string());
    match &thread.name {
        Some(name) => format!("{} ({number})", flat(name)),
        None => number,
    }
}

fn doing(thread: &ThreadStack) -> String {
    let mut doing = match (thread.state, &thread.syscall) {
        (ThreadState::Waiting, Some(syscall)) => format!("waiting in {syscall}"),
        (ThreadState::Unknown, _) => "state unknown".to_owned(),
        (state, _) => state.name().to_owned(),
    };
    if thread.holds_gil {
        doing.push_str(", holds the GIL");
    }
    doing
}

fn thread_head(text: &mut Text, group: &[&ThreadStack], width: Option<usize>) {
    let first = group[0];
    if let [thread] = group {
        text.ink(Ink::Strong, label(thread)).plain(format!(": {}", doing(thread)));
    } else {
        text.ink(Ink::Strong, counted(group.len(), "thread")).plain(format!(": {}", doing(first)));
    }
    if first.torn {
        text.plain(", ").ink(Ink::Bad, "changed while it was read");
    }
    text.plain("\n");
    if group.len() > 1 {
        let mut names: Vec<String> =
            group.iter().take(NAMES_AT_MOST).map(|thread| label(thread)).collect();
        if group.len() > NAMES_AT_MOST {
            names.push(format!("and {} more", group.len() - NAMES_AT_MOST));
        }
        let line = format!("  {}", names.join(", "));
        text.ink(Ink::Faint, width.map_or_else(|| line.clone(), |width| cut(&line, width)));
        text.plain("\n");
    }
}

fn function(frame: &StackFrame) -> String {
    frame.function.as_deref().map_or_else(|| "<unreadable>".to_owned(), |f| flat(f).into_owned())
}

fn frames(text: &mut Text, thread: &ThreadStack, all: bool, width: Option<usize>) {
    let names: Vec<String> = thread.frames.iter().map(function).collect();
    let widest = names.iter().map(|name| columns(name)).max().unwrap_or(0).min(FUNCTION_AT_MOST);
    let mut repeated = 0;
    for (index, (frame, name)) in thread.frames.iter().zip(&names).enumerate() {
        // A deep recursion is told in a line.
        if !all && index > 0 && thread.frames[index - 1] == *frame {
            repeated += 1;
            continue;
        }
        repetition(text, std::mem::take(&mut repeated));
        let name = cut(name, FUNCTION_AT_MOST);
        let gap = " ".repeat(widest.saturating_sub(columns(&name)));
        text.plain("    ").plain(name).plain(gap);
        if let Some(file) = &frame.file {
            let line = frame.line.map_or_else(|| "?".to_owned(), |line| line.to_string());
            let used = 4 + widest + 2 + 1 + line.len();
            let file = flat(file);
            let file = match width {
                Some(width) => end_of(&file, width.saturating_sub(used)),
                None => file.into_owned(),
            };
            text.plain("  ").ink(Ink::Faint, format!("{file}:")).plain(line);
        }
        text.plain("\n");
        for local in &frame.locals {
            let line = format!("        {} = {}", flat(&local.name), flat(&local.repr));
            text.line(width.map_or_else(|| line.clone(), |width| cut(&line, width)));
        }
    }
    repetition(text, repeated);
    if thread.frames.is_empty() {
        text.line("    no Python frames");
    }
    if thread.cut {
        text.line("    ... and more");
    }
}

fn repetition(text: &mut Text, count: usize) {
    if count > 0 {
        let times = counted(count, "more time");
        text.ink(Ink::Faint, format!("    ... the same {times}")).plain("\n");
    }
}

/// The end of a path that fits, as the end tells more than the beginning.
fn end_of(path: &str, width: usize) -> String {
    if columns(path) <= width {
        return path.to_owned();
    }
    let count = path.chars().count();
    (1..count)
        .map(|skipped| path.chars().skip(skipped).collect::<String>())
        .find(|rest| columns(rest) < width)
        .map_or_else(|| cut(path, width), |rest| format!("…{rest}"))
}

/// What should be known of a look beside what it shows.
pub(crate) fn notes(processes: &[ProcessStacks]) -> Text {
    let mut text = Text::new();
    for process in processes {
        for note in &process.notes {
            text.ink(Ink::Advice, "note:").line(format!(" process {}: {note}", process.pid));
        }
    }
    text
}

pub(crate) fn json(processes: &[ProcessStacks]) -> Json {
    processes.iter().map(process_json).collect()
}

fn process_json(process: &ProcessStacks) -> Json {
    json!({
        "pid": process.pid,
        "python": process.python,
        "paused_us": (process.paused.as_secs_f64() * 1e7).round() / 10.0,
        "torn": process.torn,
        "notes": process.notes,
        "interpreters": process.interpreters.iter().map(|interpreter| json!({
            "id": interpreter.id,
            "name": null,
            "threads": interpreter.threads.iter().map(thread_json).collect::<Json>(),
            "tasks": [],
            "greenlets": [],
        })).collect::<Json>(),
        "deadlocks": [],
    })
}

fn thread_json(thread: &ThreadStack) -> Json {
    json!({
        "native_id": thread.native_id,
        "ident": thread.ident,
        "name": thread.name,
        "daemon": thread.daemon,
        "state": thread.state.name(),
        "syscall": thread.syscall,
        "holds_gil": thread.holds_gil,
        "waits_for": null,
        "torn": thread.torn,
        "truncated": thread.cut,
        "frames": thread.frames.iter().map(frame_json).collect::<Json>(),
    })
}

fn frame_json(frame: &StackFrame) -> Json {
    json!({
        "function": frame.function,
        "module": frame.module,
        "file": frame.file,
        "line": frame.line,
        "column": frame.column,
        "end_line": frame.end_line,
        "end_column": frame.end_column,
        "locals": frame.locals.iter().map(|local| json!({
            "name": local.name,
            "type": local.type_name,
            "repr": local.repr,
            "truncated": local.truncated,
        })).collect::<Json>(),
    })
}
