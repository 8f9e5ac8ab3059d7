//! What probes tell, as lines and as JSON.

use serde_json::{Value as Json, json};
use spyhole_session::model::{Place, TraceFrame};
use spyhole_session::probes::{Ended, Heard, Hit, Stats, Summary, Who};
use spyhole_session::redaction::is_secret;

use super::clock::Moment;
use super::escape::flat;
use super::json::{error as error_json, place as place_name};
use super::text::{Ink, Text};
use super::watch::stamp;

const REDACTED: &str = "<redacted>";

/// What is shown of values under names that stand before secrets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shows {
    pub(crate) secrets: bool,
}

impl Shows {
    pub(super) fn value<'a>(self, name: &str, text: &'a str) -> &'a str {
        if !self.secrets && is_secret(name) { REDACTED } else { text }
    }
}

/// `1.3 us`, `4.2 ms`, `12 s`
pub(crate) fn fine(seconds: f64) -> String {
    let (number, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "us"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = if number < 9.95 { 1 } else { 0 };
    format!("{number:.digits$} {unit}")
}

pub(super) fn who(who: &Who) -> String {
    let thread = match &who.name {
        Some(name) => flat(name).into_owned(),
        None => format!("thread {}", who.thread),
    };
    let inner = who.task.as_ref().or(who.greenlet.as_ref());
    inner.map_or(thread.clone(), |inner| format!("{thread}/{}", flat(inner)))
}

/// One line, and what belongs to it below.
pub(crate) fn hit(place: Place, hit: &Hit, shows: Shows) -> Text {
    let mut text = stamp(Moment::from(hit.time), &place_name(place));
    text.plain(" ").ink(Ink::Faint, who(&hit.who)).plain(" ");
    let arguments: Vec<String> = hit
        .arguments
        .iter()
        .map(|(name, value)| format!("{name}={}", flat(shows.value(name, value))))
        .collect();
    let function = flat(&hit.function);
    match hit.line {
        Some(line) => text.plain(format!("{function}:{line} {}", arguments.join(" "))),
        None => text.plain(format!("{function}({})", arguments.join(", "))),
    };
    match (&hit.error, &hit.result) {
        (Some((kind, message)), _) => {
            text.plain(" ").ink(Ink::Bad, "raised").plain(format!(" {}", flat(kind)));
            if !message.is_empty() {
                text.plain(format!(": {}", flat(message)));
            }
        }
        (None, Some(result)) => {
            text.plain(format!(" -> {}", flat(result)));
        }
        (None, None) => {}
    }
    if let Some(duration) = hit.duration {
        text.ink(Ink::Faint, format!(" [{}]", fine(duration.as_secs_f64())));
    }
    text.plain("\n");
    for shown in &hit.shown {
        let sign = if shown.is_value { "=" } else { "raised" };
        let value = flat(shows.value(&shown.expression, &shown.text)).into_owned();
        text.ink(Ink::Faint, format!("  {} {sign} ", flat(&shown.expression))).line(value);
    }
    for frame in &hit.stack {
        text.ink(
            Ink::Faint,
            format!("  {} ({}:{})\n", flat(&frame.function), flat(&frame.file), frame.line),
        );
    }
    text
}

pub(crate) fn stats(place: Place, stats: &Stats, now: Moment) -> Text {
    let mut text = stamp(now, &place_name(place));
    text.line(format!(
        " {} calls, {} errors, p50 {}, p99 {}, max {}",
        stats.calls,
        stats.errors,
        fine(stats.p50),
        fine(stats.p99),
        fine(stats.max)
    ));
    text
}

/// What is said on the side: that a probe is in place, and what its user should know. Empty where there is nothing.
pub(crate) fn aside(place: Place, heard: &Heard, is_verbose: bool) -> Text {
    let mut text = Text::new();
    let name = place_name(place);
    match heard {
        Heard::Placed { label, how, functions, notes, moved_to } => {
            if let Some(line) = moved_to {
                text.line(format!("{name}: that line has no code; line {line} is watched"));
            }
            for note in notes {
                text.line(format!("{name}: {}", flat(note)));
            }
            if is_verbose {
                let label = flat(label);
                text.line(format!("{name}: {label} is watched: {how}, {functions} functions"));
            }
        }
        Heard::Note(note) => {
            text.line(format!("{name}: {}", flat(note)));
        }
        Heard::Hit(_) | Heard::Stats(_) => {}
    }
    text
}

/// What was told, and what was not.
pub(crate) fn summary(ended: &Ended) -> Text {
    let mut text = Text::new();
    let Ok(Some(summary)) = &ended.outcome else { return text };
    let Summary { passed, hits, failures, open, .. } = summary;
    let dropped: Vec<String> = summary
        .dropped
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(why, count)| format!("{count} {}", reason(why)))
        .collect();
    text.plain(format!("{}: {passed} passings, {hits} told", place_name(ended.place)));
    for part in dropped {
        text.plain(format!(", {part}"));
    }
    if *open > 0 {
        text.plain(format!(", {open} not ended"));
    }
    if *failures > 0 {
        text.plain(format!("; the condition raised {failures} times"));
    }
    text.plain("\n");
    text
}

pub(super) fn reason(word: &str) -> &str {
    match word {
        "rate" => "over the rate",
        "limit" => "over the limit",
        "slow" => "dropped since nobody read them",
        "busy" => "made by the telling itself",
        other => other,
    }
}

// ---- JSON

pub(crate) fn hit_json(place: Place, hit: &Hit, shows: Shows) -> Json {
    let milliseconds = |d: std::time::Duration| (d.as_secs_f64() * 1e9).round() / 1e6;
    json!({
        "event": if hit.line.is_some() { "line" } else { "call" },
        "time": Moment::from(hit.time).iso(),
        "pid": place.pid,
        "interpreter": place.interpreter,
        "thread": hit.who.thread,
        "thread_name": hit.who.name,
        "greenlet": hit.who.greenlet,
        "task": hit.who.task,
        "function": hit.function,
        "line": hit.line,
        "arguments": hit.arguments.iter().map(|(name, value)| json!({
            "name": name, "repr": shows.value(name, value),
        })).collect::<Json>(),
        "result": hit.result,
        "exception": hit.error.as_ref().map(|(kind, message)| json!({
            "type": kind, "message": message,
        })),
        "duration_ms": hit.duration.map(milliseconds),
        "show": hit.shown.iter().map(|shown| json!({
            "expression": shown.expression,
            "repr": shows.value(&shown.expression, &shown.text),
            "ok": shown.is_value,
        })).collect::<Json>(),
        "stack": hit.stack.iter().map(frame).collect::<Json>(),
    })
}

pub(super) fn frame(frame: &TraceFrame) -> Json {
    json!({"function": frame.function, "file": frame.file, "line": frame.line})
}

/// Anything else that is heard; `None` for what has a form of its own.
pub(crate) fn heard_json(place: Place, heard: &Heard, now: Moment) -> Option<Json> {
    let mut json = json!({
        "event": "", "time": now.iso(), "pid": place.pid, "interpreter": place.interpreter,
    });
    match heard {
        Heard::Hit(_) => return None,
        Heard::Placed { label, how, functions, notes, moved_to } => {
            json["event"] = "placed".into();
            json["label"] = label.as_str().into();
            json["how"] = how.as_str().into();
            json["functions"] = (*functions).into();
            json["notes"] = notes.clone().into();
            json["moved_to"] = (*moved_to).into();
        }
        Heard::Stats(stats) => {
            json["event"] = "stats".into();
            json["calls"] = stats.calls.into();
            json["errors"] = stats.errors.into();
            for (key, seconds) in
                [("p50_ms", stats.p50), ("p99_ms", stats.p99), ("max_ms", stats.max)]
            {
                json[key] = ((seconds * 1e9).round() / 1e6).into();
            }
        }
        Heard::Note(text) => {
            json["event"] = "note".into();
            json["text"] = text.as_str().into();
        }
    }
    Some(json)
}

pub(crate) fn ended_json(ended: &Ended, now: Moment) -> Json {
    let mut json = json!({
        "event": "ended",
        "time": now.iso(),
        "pid": ended.place.pid,
        "interpreter": ended.place.interpreter,
        "error": ended.outcome.as_ref().err().map(error_json),
    });
    if let Ok(Some(summary)) = &ended.outcome {
        json["passed"] = summary.passed.into();
        json["told"] = summary.hits.into();
        json["open"] = summary.open.into();
        json["condition_raised"] = summary.failures.into();
        json["dropped"] =
            summary.dropped.iter().map(|(why, count)| (why.clone(), Json::from(*count))).collect();
    }
    json
}
