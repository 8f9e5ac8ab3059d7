//! Web requests, with the stacks that serve them.

use serde_json::{Map, Value as Json, json};
use spyhole_session::model::{ProcessStacks, StackFrame};
use spyhole_session::requests::WebRequest;

use super::escape::flat;
use super::stacks::{self, Style};
use super::text::{Ink, Text};
use crate::duration;

/// Said where no process serves any.
const NONE: &str = "No active transactions.";

pub(crate) fn text(processes: &[ProcessStacks], style: Style) -> Text {
    let mut text = Text::new();
    for process in processes {
        for request in &process.requests {
            if !text.is_empty() {
                text.plain("\n");
            }
            one(&mut text, process, request, style);
        }
    }
    if text.is_empty() {
        text.line(NONE);
    }
    text
}

/// `4123 thread 4177: GET /orders?page=2 for 1.2 s`, and from whom.
pub(crate) fn line(process: &ProcessStacks, request: &WebRequest) -> Text {
    let mut text = Text::new();
    let mut who = process.pid.to_string();
    if request.interpreter != 0 {
        who.push_str(&format!("/{}", request.interpreter));
    }
    if let Some(thread) = request.thread {
        who.push_str(&format!(" thread {thread}"));
    }
    for (what, name) in [("greenlet", &request.greenlet), ("task", &request.task)] {
        if let Some(name) = name {
            who.push_str(&format!(" {what} {}", flat(name)));
        }
    }
    text.ink(Ink::Strong, who).plain(": ");
    let method = request.method.as_deref().unwrap_or(request.protocol.name());
    let path = request.path.as_deref().unwrap_or("?");
    text.plain(format!("{} {}", flat(method), flat(path)));
    if let Some(query) = &request.query {
        text.plain(format!("?{}", flat(query)));
    }
    if let Some(age) = request.age {
        text.plain(format!(" for {}", duration::short(age)));
    }
    if request.torn {
        text.plain(", ").ink(Ink::Bad, "changed while it was read");
    }
    text.plain("\n");
    let from = [("from", &request.client), ("host", &request.host)];
    let from: Vec<String> = from
        .into_iter()
        .filter_map(|(what, value)| Some(format!("{what} {}", flat(value.as_ref()?))))
        .collect();
    if !from.is_empty() {
        text.line(format!("  {}", from.join(", ")));
    }
    text
}

fn one(text: &mut Text, process: &ProcessStacks, request: &WebRequest, style: Style) {
    text.append(line(process, request));
    for (name, value) in request.environ.iter().flatten() {
        text.line(format!("  {} = {}", flat(name), flat(value)));
    }
    stacks::frames_of(text, request.frames(process), style);
}

pub(crate) fn json(processes: &[ProcessStacks]) -> Json {
    let requests = processes
        .iter()
        .flat_map(|process| process.requests.iter().map(move |request| of(process, request)));
    requests.collect()
}

fn of(process: &ProcessStacks, request: &WebRequest) -> Json {
    let environ = request.environ.as_ref().map(|environ| {
        let all = environ.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str())));
        all.collect::<Map<String, Json>>()
    });
    json!({
        "pid": process.pid,
        "interpreter": request.interpreter,
        "id": request.number,
        "thread": request.thread,
        "greenlet": request.greenlet,
        "task": request.task,
        "protocol": request.protocol.name(),
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "client": request.client,
        "host": request.host,
        "age_s": request.age.map(|age| (age.as_secs_f64() * 1e3).round() / 1e3),
        "environ": environ,
        "torn": request.torn,
        "frames": request.frames(process).iter().map(frame).collect::<Json>(),
    })
}

fn frame(frame: &StackFrame) -> Json {
    stacks::json::frame(frame)
}
