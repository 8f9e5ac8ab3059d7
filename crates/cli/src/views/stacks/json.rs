//! Stacks as JSON.

use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use spyhole_proc::spread::QuickMap;
use spyhole_session::model::{ProcessStacks, SourceLine, StackFrame, ThreadStack};
use spyhole_session::suspended::{GreenletStack, TaskStack};

use super::waits::{self, address};

/// One document, in pieces that `put` is handed as they are written: it may be long, and what was just written is still
/// near the processor. One line for each frame, put together by hand: as one value, the frames of hundreds of threads take
/// many times the time that reading them took.
pub(crate) fn processes<E>(
    processes: &[ProcessStacks],
    put: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let mut out = Pieces { text: String::with_capacity(PIECE + PIECE / 4), put, failed: None };
    out.text.push('[');
    let mut told = Told::default();
    each(&mut out, 2, processes, |out, process| process_json(out, &mut told, process));
    out.text.push_str("]\n");
    out.hand_over();
    out.failed.map_or(Ok(()), Err)
}

/// One process by itself.
pub(crate) fn process(process: &ProcessStacks) -> Json {
    let mut text = String::new();
    process_json(&mut text, &mut Told::default(), process);
    serde_json::from_str(&text).unwrap_or_default()
}

/// From so many bytes on a piece is handed over.
const PIECE: usize = 128 << 10;

/// Text that is handed over now and then. After a failure nothing is, and the rest is thrown away.
struct Pieces<E, F> {
    text: String,
    put: F,
    failed: Option<E>,
}

impl<E, F: FnMut(&str) -> Result<(), E>> Pieces<E, F> {
    fn hand_over(&mut self) {
        if self.failed.is_none() {
            self.failed = (self.put)(&self.text).err();
        }
        self.text.clear();
    }
}

/// Where text is put: all together, or in pieces.
trait Place {
    fn text(&mut self) -> &mut String;

    /// Something is whole: what is there so far may be handed over.
    fn rest(&mut self) {}
}

impl Place for String {
    fn text(&mut self) -> &mut String {
        self
    }
}

impl<E, F: FnMut(&str) -> Result<(), E>> Place for Pieces<E, F> {
    fn text(&mut self) -> &mut String {
        &mut self.text
    }

    fn rest(&mut self) {
        if self.text.len() >= PIECE {
            self.hand_over();
        }
    }
}

/// Items with commas between them, each on a line of its own.
fn each<P: Place, T>(out: &mut P, indent: usize, items: &[T], mut one: impl FnMut(&mut P, &T)) {
    const SPACES: &str = "                ";
    for (index, item) in items.iter().enumerate() {
        let text = out.text();
        text.push_str(if index > 0 { ",\n" } else { "\n" });
        text.push_str(&SPACES[..indent]);
        one(out, item);
        out.rest();
    }
    if !items.is_empty() {
        let text = out.text();
        text.push('\n');
        text.push_str(&SPACES[..indent - 2]);
    }
}

/// The beginning of an object, left open: its last key is a list that follows.
fn open(out: &mut String, fields: &Json, list: &str) {
    let fields = fields.to_string();
    out.push_str(fields.strip_suffix('}').unwrap_or(&fields));
    out.push_str(&format!(",\"{list}\":["));
}

/// Frames as they were written already, without their locals: those of one recursion, and of threads that do the same,
/// are alike. What was read once is one text in memory, so that its address tells it.
#[derive(Default)]
struct Told {
    text: String,
    places: QuickMap<FrameKey, Range<usize>>,
}

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

fn process_json<P: Place>(out: &mut P, told: &mut Told, process: &ProcessStacks) {
    let fields = json!({
        "pid": process.pid,
        "python": process.python,
        "paused_us": (process.paused.as_secs_f64() * 1e7).round() / 10.0,
        "torn": process.torn,
        "notes": process.notes,
        "deadlocks": waits::deadlocks_json(&process.deadlocks),
    });
    open(out.text(), &fields, "interpreters");
    each(out, 4, &process.interpreters, |out, interpreter| {
        let fields = json!({"id": interpreter.id, "name": interpreter.name});
        open(out.text(), &fields, "threads");
        each(out, 6, &interpreter.threads, |out, one| thread_json(out.text(), told, one));
        out.text().push_str("],\"tasks\":[");
        each(out, 6, &interpreter.tasks, |out, one| task_json(out.text(), told, one));
        out.text().push_str("],\"greenlets\":[");
        each(out, 6, &interpreter.greenlets, |out, one| greenlet_json(out.text(), told, one));
        out.text().push_str("]}");
    });
    out.text().push_str("]}");
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
        let place = told.places.entry(FrameKey::of(frame)).or_insert_with(|| {
            let start = told.text.len();
            frame_json(&mut told.text, frame);
            start..told.text.len()
        });
        out.push_str(&told.text[place.clone()]);
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
