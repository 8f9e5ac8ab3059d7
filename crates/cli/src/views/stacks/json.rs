//! Stacks as JSON.

use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use spyhole_proc::memory::text_with_room;
use spyhole_proc::spread::QuickMap;
use spyhole_session::model::{
    InterpreterStacks, ProcessStacks, SourceLine, StackFrame, ThreadStack,
};
use spyhole_session::suspended::{GreenletStack, TaskStack};

use super::waits::{self, address};

/// One line for each frame. Written piece by piece: as one value, the frames of hundreds of threads take many times the
/// time that reading them took.
pub(crate) fn processes(processes: &[ProcessStacks]) -> String {
    let mut out = text_with_room(processes.iter().map(room).sum());
    out.push('[');
    let mut told = Told::default();
    each(&mut out, 2, processes, |out, process| process_json(out, &mut told, process));
    out.push_str("]\n");
    out
}

/// About how long a process becomes.
fn room(process: &ProcessStacks) -> usize {
    const FRAME: usize = 400;
    const LOCAL: usize = 80;
    let frame = |frame: &StackFrame| {
        let lengths = frame
            .locals
            .iter()
            .map(|local| local.name.len() + local.type_name.len() + local.repr.len() + LOCAL);
        FRAME + lengths.sum::<usize>()
    };
    let stack = |frames: &[StackFrame]| FRAME + frames.iter().map(frame).sum::<usize>();
    let of = |interpreter: &InterpreterStacks| {
        let threads = interpreter.threads.iter().map(|one| stack(&one.frames)).sum::<usize>();
        let tasks = interpreter.tasks.iter().map(|one| stack(&one.frames)).sum::<usize>();
        let greenlets = interpreter.greenlets.iter().map(|one| stack(&one.frames)).sum::<usize>();
        threads + tasks + greenlets
    };
    process.interpreters.iter().map(of).sum()
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

/// Where a frame stands in the text already, without its locals: those of one recursion, and of threads that do the
/// same, are alike. What was read once is one text in memory, so that its address tells it.
#[derive(Default)]
struct Told(QuickMap<FrameKey, Range<usize>>);

#[derive(PartialEq, Eq, Hash)]
struct FrameKey {
    texts: [usize; 4],
    places: [Option<u32>; 4],
}

impl FrameKey {
    fn of(frame: &StackFrame) -> Self {
        let address = |text: Option<&Arc<str>>| text.map_or(0, |text| text.as_ptr().addr());
        let source = match &frame.source {
            SourceLine::Text(line) => Some(line),
            _ => None,
        };
        let texts = [frame.function.as_ref(), frame.module.as_ref(), frame.file.as_ref(), source];
        Self {
            texts: texts.map(address),
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
        "deadlocks": waits::deadlocks_json(&process.deadlocks),
    });
    open(out, &fields, "interpreters");
    each(out, 4, &process.interpreters, |out, interpreter| {
        open(out, &json!({"id": interpreter.id, "name": interpreter.name}), "threads");
        each(out, 6, &interpreter.threads, |out, thread| thread_json(out, told, thread));
        out.push_str("],\"tasks\":[");
        each(out, 6, &interpreter.tasks, |out, task| task_json(out, told, task));
        out.push_str("],\"greenlets\":[");
        each(out, 6, &interpreter.greenlets, |out, one| greenlet_json(out, told, one));
        out.push_str("]}");
    });
    out.push_str("]}");
}

/// One thread by itself.
pub(super) fn thread(thread: &ThreadStack) -> Json {
    let mut text = String::new();
    thread_json(&mut text, &mut Told::default(), thread);
    serde_json::from_str(&text).unwrap_or_default()
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
        "in_c": thread.in_c.as_ref().map(|native| {
            json!({"function": native.function, "symbol": native.symbol, "file": native.file})
        }),
        "waits_for": thread.waits_for.as_ref().map(waits::wait_json),
        "torn": thread.torn,
        "truncated": thread.cut,
    });
    stack_json(out, told, &fields, &thread.frames);
}

fn task_json(out: &mut String, told: &mut Told, task: &TaskStack) {
    let fields = json!({
        "id": address(task.id),
        "name": task.name,
        "coroutine": task.coroutine,
        "state": task.state.name(),
        "event_loop": address(task.event_loop),
        "thread": task.thread,
        "awaits": task.awaits.as_ref().map(waits::awaits_json),
        "awaited_by": task.awaited_by.iter().map(waits::task_json).collect::<Json>(),
        "torn": task.torn,
        "truncated": task.cut,
    });
    stack_json(out, told, &fields, &task.frames);
}

fn greenlet_json(out: &mut String, told: &mut Told, one: &GreenletStack) {
    let fields = json!({
        "id": address(one.id),
        "name": one.name,
        "type": one.type_name,
        "ident": one.ident,
        "state": one.state.name(),
        "role": one.role.name(),
        "parent": one.parent.map(address),
        "main": one.main.map(address),
        "thread": one.thread,
        "waits_for": one.waits_for.as_ref().map(waits::wait_json),
        "torn": one.torn,
        "truncated": one.cut,
    });
    stack_json(out, told, &fields, &one.frames);
}

fn stack_json(out: &mut String, told: &mut Told, fields: &Json, frames: &[StackFrame]) {
    open(out, fields, "frames");
    each(out, 8, frames, |out, frame| {
        match told.0.entry(FrameKey::of(frame)) {
            Entry::Occupied(known) => out.extend_from_within(known.get().clone()),
            Entry::Vacant(new) => {
                let start = out.len();
                frame_json(out, frame);
                new.insert(start..out.len());
            }
        }
        locals_json(out, frame);
    });
    out.push_str("]}");
}

/// One frame by itself.
pub(crate) fn frame(frame: &StackFrame) -> Json {
    let mut text = String::new();
    frame_json(&mut text, frame);
    locals_json(&mut text, frame);
    serde_json::from_str(&text).unwrap_or_default()
}

/// A frame, left open: its locals follow.
fn frame_json(out: &mut String, frame: &StackFrame) {
    let text = |text: &Option<Arc<str>>| match text {
        Some(text) => Json::from(&**text).to_string(),
        None => "null".to_owned(),
    };
    let number = |number: Option<u32>| number.map_or_else(|| "null".to_owned(), |n| n.to_string());
    let source = match &frame.source {
        SourceLine::Text(line) => Json::from(&**line).to_string(),
        _ => "null".to_owned(),
    };
    for (key, value) in [
        ("{\"function\":", text(&frame.function)),
        (",\"module\":", text(&frame.module)),
        (",\"file\":", text(&frame.file)),
        (",\"line\":", number(frame.line)),
        (",\"column\":", number(frame.column)),
        (",\"end_line\":", number(frame.end_line)),
        (",\"end_column\":", number(frame.end_column)),
        (",\"source\":", source),
        (",\"locals\":", "[".to_owned()),
    ] {
        out.push_str(key);
        out.push_str(&value);
    }
}

fn locals_json(out: &mut String, frame: &StackFrame) {
    each(out, 10, &frame.locals, |out, local| {
        for (key, value) in [
            ("{\"name\":", &local.name),
            (",\"type\":", &local.type_name),
            (",\"repr\":", &local.repr),
        ] {
            out.push_str(key);
            string(out, value);
        }
        out.push_str(if local.truncated {
            ",\"truncated\":true}"
        } else {
            ",\"truncated\":false}"
        });
    });
    out.push_str(if frame.locals_cut { "],\"locals_truncated\":true}" } else { "]}" });
}

/// A string of JSON. Most have nothing in them that must be escaped.
fn string(out: &mut String, text: &str) {
    // No early end, so that the processor takes many bytes at a time.
    let plain = |byte: &u8| (*byte >= 0x20) & (*byte != b'"') & (*byte != b'\\');
    if text.as_bytes().iter().fold(true, |all, byte| all & plain(byte)) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Json::from(text).to_string());
    }
}
