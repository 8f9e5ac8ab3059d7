//! Stacks as JSON.

use serde_json::{Value as Json, json};
use spyhole_session::model::{ProcessStacks, SourceLine, StackFrame, ThreadStack};

/// One line for each frame. Written piece by piece: as one value, the frames of hundreds of threads take many times the
/// time that reading them took.
pub(crate) fn processes(processes: &[ProcessStacks]) -> String {
    let mut out = String::from("[");
    each(&mut out, 2, processes, process_json);
    out.push_str("]\n");
    out
}

/// Items with commas between them, each on a line of its own.
fn each<T>(out: &mut String, indent: usize, items: &[T], one: impl Fn(&mut String, &T)) {
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index > 0 { ",\n" } else { "\n" });
        out.push_str(&" ".repeat(indent));
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

fn process_json(out: &mut String, process: &ProcessStacks) {
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
        let fields =
            json!({"id": interpreter.id, "name": interpreter.name, "tasks": [], "greenlets": []});
        open(out, &fields, "threads");
        each(out, 6, &interpreter.threads, thread_json);
        out.push_str("]}");
    });
    out.push_str("]}");
}

fn thread_json(out: &mut String, thread: &ThreadStack) {
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
    each(out, 8, &thread.frames, frame_json);
    out.push_str("]}");
}

fn frame_json(out: &mut String, frame: &StackFrame) {
    let text = |text: &Option<std::sync::Arc<str>>| match text {
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
