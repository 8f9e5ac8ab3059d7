//! The stacks of `stack`, as text and as JSON.
//!
//! It knows how threads that do the same are told together. What a thread may have put into a name is escaped by
//! whoever writes the text.

use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use spyhole_proc::spread::QuickMap;
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

/// One line for each frame. Written piece by piece: as one value, the frames of hundreds of threads take many times the
/// time that reading them took.
pub(crate) fn json(processes: &[ProcessStacks]) -> String {
    let mut out = String::from("[");
    let mut told = Told::default();
    each(&mut out, 2, processes, |out, process| process_json(out, &mut told, process));
    out.push_str("]\n");
    out
}

/// Items with commas between them, each on a line of its own.
fn each<T>(out: &mut String, indent: usize, items: &[T], mut one: impl FnMut(&mut String, &T)) {
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index > 0 { ",\n" } else { "\n" });
        out.extend(std::iter::repeat_n(' ', indent));
        one(out, item);
    }
    if !items.is_empty() {
        out.push('\n');
        out.push_str(&" ".repeat(indent - 2));
    }
}

/// The beginning of an object, left open: its last key is a list that follows.
fn open(out: &mut String, fields: &Json, list: &str) {
    let fields = fields.to_string();
    out.push_str(fields.strip_suffix('}').unwrap_or(&fields));
    out.push_str(&format!(",\"{list}\":["));
}

/// Where a frame stands in the text already: those of one recursion, and of threads that do the same, are alike. What
/// was read once is one text in memory, so that its address tells it.
#[derive(Default)]
struct Told(QuickMap<FrameKey, Range<usize>>);

#[derive(PartialEq, Eq, Hash)]
struct FrameKey {
    texts: [usize; 3],
    places: [Option<u32>; 4],
}

impl FrameKey {
    fn of(frame: &StackFrame) -> Self {
        let address = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |t| t.as_ptr().addr());
        Self {
            texts: [&frame.function, &frame.module, &frame.file].map(address),
            places: [frame.line, frame.column, frame.end_line, frame.end_column],
        }
    }
}

fn process_json(out: &mut String, told: &mut Told, process: &ProcessStacks) {
    let fields = json!({
        "pid": process.pid,
        "python": process.python,
        "paused_us": (process.paused.as_secs_f64() * 1e7).round() / 10.0,
        "torn": process.torn,
        "notes": process.notes,
        "deadlocks": [],
    });
    open(out, &fields, "interpreters");
    each(out, 4, &process.interpreters, |out, interpreter| {
        let fields = json!({"id": interpreter.id, "name": null, "tasks": [], "greenlets": []});
        open(out, &fields, "threads");
        each(out, 6, &interpreter.threads, |out, thread| thread_json(out, told, thread));
        out.push_str("]}");
    });
    out.push_str("]}");
}

fn thread_json(out: &mut String, told: &mut Told, thread: &ThreadStack) {
    let fields = json!({
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
    });
    open(out, &fields, "frames");
    each(out, 8, &thread.frames, |out, frame| {
        if !frame.locals.is_empty() {
            return frame_json(out, frame);
        }
        match told.0.entry(FrameKey::of(frame)) {
            Entry::Occupied(known) => out.extend_from_within(known.get().clone()),
            Entry::Vacant(new) => {
                let start = out.len();
                frame_json(out, frame);
                new.insert(start..out.len());
            }
        }
    });
    out.push_str("]}");
}

fn frame_json(out: &mut String, frame: &StackFrame) {
    let text = |text: &Option<Arc<str>>| match text {
        Some(text) => Json::from(&**text).to_string(),
        None => "null".to_owned(),
    };
    let number = |number: Option<u32>| number.map_or_else(|| "null".to_owned(), |n| n.to_string());
    for (key, value) in [
        ("{\"function\":", text(&frame.function)),
        (",\"module\":", text(&frame.module)),
        (",\"file\":", text(&frame.file)),
        (",\"line\":", number(frame.line)),
        (",\"column\":", number(frame.column)),
        (",\"end_line\":", number(frame.end_line)),
        (",\"end_column\":", number(frame.end_column)),
        (",\"locals\":", "[".to_owned()),
    ] {
        out.push_str(key);
        out.push_str(&value);
    }
    each(out, 10, &frame.locals, |out, local| {
        let local = json!({
            "name": local.name,
            "type": local.type_name,
            "repr": local.repr,
            "truncated": local.truncated,
        });
        out.push_str(&local.to_string());
    });
    out.push_str("]}");
}
