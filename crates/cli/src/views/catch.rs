//! Exceptions that are kept, as lines, as tracebacks with their locals, and as JSON.

use serde_json::{Value as Json, json};
use spyhole_session::catches::{Answer, Caught, Ended, Heard, Summary, Watching};
use spyhole_session::model::{Place, Raised, TraceFrame};

use super::clock::Moment;
use super::escape::flat;
use super::json::{error as error_json, place as place_name};
use super::text::{Ink, Text};
use super::trace::{Shows, frame as frame_json, reason, who};
use super::traceback;
use super::watch::stamp;
use crate::duration::short;

/// Its number, who had it, what it is and where it was raised.
pub(crate) fn caught(place: Place, caught: &Caught) -> Text {
    let mut text = stamp(Moment::from(caught.time), &place_name(place));
    text.plain(" ").ink(Ink::Strong, format!("[{}]", caught.id)).plain(" ");
    text.ink(Ink::Faint, who(&caught.who)).plain(" ");
    let Some(raised) = caught.chain.last() else { return text };
    text.plain(flat(&subject(caught)).into_owned()).ink(Ink::Bad, " raised");
    text.plain(format!(" {}", flat(&raised.type_name)));
    if !raised.message.is_empty() {
        text.plain(format!(": {}", flat(&raised.message)));
    }
    if let Some(frame) = raised.frames.last() {
        text.ink(Ink::Faint, format!(" ({}:{})", flat(&frame.file), frame.line));
    }
    if !caught.is_live {
        text.ink(Ink::Faint, " [text alone]");
    }
    text.plain("\n");
    text
}

/// The function that it left, or who found it unhandled.
fn subject(caught: &Caught) -> String {
    let innermost = caught.chain.last().and_then(|raised| raised.frames.last());
    match caught.by.as_str() {
        "function" => caught.place.clone(),
        by => match innermost {
            Some(frame) => format!("{} (seen by: {by})", frame.function),
            None => format!("(seen by: {by})"),
        },
    }
}

/// The traceback, with what each frame held.
pub(crate) fn printed(place: Place, one: &Caught, shows: Shows) -> Text {
    let mut text = caught(place, one);
    for frame in &one.callers {
        text.ink(
            Ink::Faint,
            format!(
                "  called by {} ({}:{})\n",
                flat(&frame.function),
                flat(&frame.file),
                frame.line
            ),
        );
    }
    let below = |index: usize| {
        let locals = one.locals.get(index).map(Vec::as_slice).unwrap_or_default();
        let line = |(name, value): &(String, String)| {
            format!("      {} = {}\n", flat(name), flat(shows.value(name, value)))
        };
        locals.iter().map(line).collect()
    };
    text.plain(traceback::with_frames(&one.chain, &below));
    text
}

/// What is said on the side. Empty where there is nothing.
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
        Heard::Caught(_) | Heard::Failed(_) | Heard::Settled => {}
    }
    text
}

/// What was caught, and what was not kept.
pub(crate) fn summary(ended: &Ended<Option<Summary>>) -> Text {
    let mut text = Text::new();
    let Ok(Some(summary)) = &ended.outcome else { return text };
    let (seen, kept) = (summary.passed, summary.hits);
    text.plain(format!("{}: {seen} exceptions, {kept} kept", place_name(ended.place)));
    for (why, count) in summary.dropped.iter().filter(|(_, count)| *count > 0) {
        text.plain(format!(", {count} {}", reason(why)));
    }
    if summary.failures > 0 {
        text.plain(format!("; the condition raised {} times", summary.failures));
    }
    text.plain("\n");
    text
}

/// What watches in an interpreter.
pub(crate) fn watching(place: Place, all: &[Watching]) -> Text {
    let mut text = Text::new();
    for one in all {
        let (label, count) = (flat(&one.place), one.count);
        text.plain(format!("{}: {label} is watched, {count} kept", place_name(place)));
        if let Some(left) = one.left {
            let left = std::time::Duration::from_secs_f64(left.clamp(0.0, 1e9));
            text.plain(format!(", for {} more", short(left)));
        }
        text.plain("\n");
    }
    text
}

// ---- JSON

pub(crate) fn caught_json(place: Place, caught: &Caught, shows: Shows) -> Json {
    let raised = caught.chain.last();
    let last = caught.chain.len().saturating_sub(1);
    json!({
        "event": "caught",
        "time": Moment::from(caught.time).iso(),
        "pid": place.pid,
        "interpreter": place.interpreter,
        "id": caught.id,
        "thread": caught.who.thread,
        "thread_name": caught.who.name,
        "greenlet": caught.who.greenlet,
        "task": caught.who.task,
        "where": caught.place,
        "by": caught.by,
        "times": caught.times,
        "live": caught.is_live,
        "exception": raised.map(|raised| json!({
            "type": raised.type_name, "message": raised.message,
        })),
        "chain": caught.chain.iter().enumerate().map(|(index, raised)| {
            link_json(raised, if index == last { &caught.locals } else { &[] }, shows)
        }).collect::<Json>(),
        "stack": caught.callers.iter().map(frame_json).collect::<Json>(),
    })
}

fn link_json(raised: &Raised, locals: &[Vec<(String, String)>], shows: Shows) -> Json {
    let frame = |(index, frame): (usize, &TraceFrame)| {
        let mut json = frame_json(frame);
        if let Some(locals) = locals.get(index) {
            let local = |(name, value): &(String, String)| json!({"name": name, "repr": shows.value(name, value)});
            json["locals"] = locals.iter().map(local).collect();
        }
        json
    };
    json!({
        "type": raised.type_name,
        "message": raised.message,
        "frames": raised.frames.iter().enumerate().map(frame).collect::<Json>(),
        "notes": raised.notes,
    })
}

/// Anything else that is heard; `None` for what has a form of its own.
pub(crate) fn heard_json(place: Place, heard: &Heard, now: Moment) -> Option<Json> {
    let mut json = json!({
        "event": "", "time": now.iso(), "pid": place.pid, "interpreter": place.interpreter,
    });
    match heard {
        Heard::Placed { label, how, functions, notes, moved_to } => {
            json["event"] = "placed".into();
            json["label"] = label.as_str().into();
            json["how"] = how.as_str().into();
            json["functions"] = (*functions).into();
            json["notes"] = notes.clone().into();
            json["moved_to"] = (*moved_to).into();
        }
        Heard::Note(text) => {
            json["event"] = "note".into();
            json["text"] = text.as_str().into();
        }
        Heard::Caught(_) | Heard::Failed(_) | Heard::Settled => return None,
    }
    Some(json)
}

pub(crate) fn ended_json(ended: &Ended<Option<Summary>>, now: Moment) -> Json {
    let mut json = json!({
        "event": "ended",
        "time": now.iso(),
        "pid": ended.place.pid,
        "interpreter": ended.place.interpreter,
        "error": ended.outcome.as_ref().err().map(error_json),
    });
    if let Ok(Some(summary)) = &ended.outcome {
        json["seen"] = summary.passed.into();
        json["kept"] = summary.hits.into();
        json["condition_raised"] = summary.failures.into();
        json["dropped"] =
            summary.dropped.iter().map(|(why, count)| (why.clone(), Json::from(*count))).collect();
    }
    json
}

/// What was asked for in an interpreter, after the exceptions themselves.
pub(crate) fn answer_json(place: Place, answer: &Answer, now: Moment) -> Json {
    json!({
        "event": "kept",
        "time": now.iso(),
        "pid": place.pid,
        "interpreter": place.interpreter,
        "count": answer.count,
        "watching": answer.watching.iter().map(|one| json!({
            "where": one.place, "how": one.how, "count": one.count, "left_s": one.left,
        })).collect::<Json>(),
    })
}
