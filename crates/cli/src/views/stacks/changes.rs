//! What changed between two rounds of `stack --watch`: a thread is told again when its frames are others. Whether it
//! runs or waits at one moment changes all the time, and is no news by itself.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use spyhole_session::model::{EvalError, ProcessStacks, StackFrame};
use spyhole_session::snapshot::Look;

use super::fold::{self, Member};
use super::{Style, frames, json, waits};
use crate::views::clock::Moment;
use crate::views::json::error as error_json;
use crate::views::text::Ink;
use crate::views::watch::{Change, stamp};

/// A thread of a process: interpreter, ident, native id. A number that is used again is a new thread to the kernel.
type Thread = (i64, u64, Option<i32>);

/// What was told of a process last.
#[derive(Debug)]
enum Seen {
    Threads(BTreeMap<Thread, Known>),
    Error(String),
}

#[derive(Debug)]
struct Known {
    label: String,
    name: Option<String>,
    frames: Vec<StackFrame>,
}

/// Remembers the last round.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<i32, Seen>);

impl Changes {
    /// What is new in this round.
    pub(crate) fn of(&mut self, looks: &[Look], now: Moment, style: Style) -> Vec<Change> {
        let mut news: Vec<(Member<'_>, &str)> = Vec::new();
        let mut rest = Vec::new();
        for look in looks {
            match &look.outcome {
                Ok(process) => self.process(process, now, &mut news, &mut rest),
                Err(error) => rest.extend(self.error(look.pid, error, now)),
            }
        }
        let events: BTreeMap<*const _, &str> = news
            .iter()
            .map(|(member, event)| (std::ptr::from_ref(member.thread), *event))
            .collect();
        let members = news.iter().map(|(member, _)| *member).collect();
        let mut changes = Vec::new();
        for group in fold::groups(members, style.all) {
            let mut text = stamp(now, "");
            fold::head(&mut text, &group, true, style.width);
            waits::of_group(&mut text, &group, style.width);
            frames::frames(&mut text, group.first().thread, style);
            // The text tells of all of them; each has a line of JSON.
            for member in group.members() {
                let event = events.get(&std::ptr::from_ref(member.thread)).copied();
                let json = thread_json(*member, event.unwrap_or("stack"), now);
                changes.push(Change { text: std::mem::take(&mut text), json });
            }
        }
        changes.extend(rest);
        changes
    }

    fn process<'a>(
        &mut self,
        process: &'a ProcessStacks,
        now: Moment,
        news: &mut Vec<(Member<'a>, &'static str)>,
        rest: &mut Vec<Change>,
    ) {
        let mut before = match self.0.remove(&process.pid) {
            Some(Seen::Threads(threads)) => threads,
            Some(Seen::Error(_)) | None => BTreeMap::new(),
        };
        let mut threads = BTreeMap::new();
        for member in fold::members(process) {
            let thread = member.thread;
            let key = (member.interpreter.id, thread.ident, thread.native_id);
            let known = match before.remove(&key) {
                Some(known) if known.frames == thread.frames => known,
                old => {
                    news.push((member, if old.is_some() { "changed" } else { "stack" }));
                    Known {
                        label: fold::label(thread),
                        name: thread.name.clone(),
                        frames: thread.frames.clone(),
                    }
                }
            };
            threads.insert(key, known);
        }
        for ((interpreter, ident, native_id), known) in before {
            let mut text = stamp(now, &format!("process {}, {}", process.pid, known.label));
            text.line(": ended");
            let json = json!({
                "event": "ended",
                "time": now.iso(),
                "pid": process.pid,
                "interpreter": interpreter,
                "native_id": native_id,
                "ident": ident,
                "name": known.name,
            });
            rest.push(Change { text, json });
        }
        self.0.insert(process.pid, Seen::Threads(threads));
    }

    fn error(&mut self, pid: i32, error: &EvalError, now: Moment) -> Option<Change> {
        let before = self.0.insert(pid, Seen::Error(error.message.clone()));
        if matches!(before, Some(Seen::Error(message)) if message == error.message) {
            return None;
        }
        let mut text = stamp(now, &format!("process {pid}"));
        text.plain(" ").ink(Ink::Bad, "error:").line(format!(" {}", error.message));
        let json = json!({
            "event": "error",
            "time": now.iso(),
            "pid": pid,
            "error": error_json(error),
        });
        Some(Change { text, json })
    }
}

fn thread_json(member: Member<'_>, event: &str, now: Moment) -> Json {
    let mut json = json!({
        "event": event,
        "time": now.iso(),
        "pid": member.process.pid,
        "interpreter": member.interpreter.id,
    });
    if let (Json::Object(json), Json::Object(fields)) = (&mut json, json::thread(member.thread)) {
        json.extend(fields);
    }
    json
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use spyhole_session::model::ErrorKind;

    use super::super::models::{frame, process, thread};
    use super::*;

    fn round(changes: &mut Changes, looks: Vec<Look>) -> (String, Vec<String>) {
        let told = changes.of(&looks, Moment::from(UNIX_EPOCH), Style::default());
        let text = told.iter().flat_map(|change| change.text.pieces());
        let text = text.map(|(_, piece)| piece.as_str()).collect();
        let json = told.iter().map(|change| {
            assert_eq!(change.json["time"], "1970-01-01T00:00:00.000Z");
            format!("{} {} {}", change.json["event"], change.json["pid"], change.json["name"])
        });
        (text, json.collect())
    }

    fn seen(process: ProcessStacks) -> Look {
        Look { pid: process.pid, outcome: Ok(process) }
    }

    #[test]
    fn only_changes_are_told() {
        let mut changes = Changes::default();
        let work = |line| vec![frame("work", "/srv/shop/work.py", line)];
        let first = || vec![thread("one", 2, work(7)), thread("two", 3, work(7))];
        let (text, json) = round(&mut changes, vec![seen(process(1, first()))]);
        assert_eq!(
            text,
            "00:00:00.000Z 2 threads in process 1: waiting in futex\n  one (2), two (3)\n    \
             work  /srv/shop/work.py:7\n      work(7)\n"
        );
        assert_eq!(json, ["\"stack\" 1 \"one\"", "\"stack\" 1 \"two\""]);
        // What it waits for is no news.
        let mut same = first();
        same[0].syscall = None;
        assert_eq!(round(&mut changes, vec![seen(process(1, same))]), (String::new(), vec![]));
        let (text, json) =
            round(&mut changes, vec![seen(process(1, vec![thread("one", 2, work(8))]))]);
        assert!(text.ends_with("00:00:00.000Z process 1, two (3): ended\n"), "{text}");
        assert!(text.starts_with("00:00:00.000Z process 1, one (2): waiting in futex\n"), "{text}");
        assert_eq!(json, ["\"changed\" 1 \"one\"", "\"ended\" 1 \"two\""]);
    }

    #[test]
    fn an_error_is_told_once_and_a_return_is_news() {
        let mut changes = Changes::default();
        let failed = || {
            let outcome = Err(EvalError {
                kind: ErrorKind::Gone,
                type_name: String::new(),
                message: "process 1 is gone".to_owned(),
                traceback: vec![],
                causes: vec![],
                hints: vec![],
            });
            Look { pid: 1, outcome }
        };
        let (text, json) = round(&mut changes, vec![failed()]);
        assert_eq!(text, "00:00:00.000Z process 1 error: process 1 is gone\n");
        assert_eq!(json, ["\"error\" 1 null"]);
        assert_eq!(round(&mut changes, vec![failed()]).1, Vec::<String>::new());
        let back = process(1, vec![thread("one", 2, vec![])]);
        assert_eq!(round(&mut changes, vec![seen(back)]).1, ["\"stack\" 1 \"one\""]);
    }
}
