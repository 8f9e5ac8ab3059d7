//! What changed between two rounds of `--watch`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use spyhole_session::model::{Answer, EvalReport, Outcome, Place};

use super::answers::is_of_code;
use super::clock::Moment;
use super::difference;
use super::json::{answer as answer_json, place as place_name};
use super::terminal::{OutputError, Terminal};
use super::text::{Ink, Text};
use super::traceback;

/// What a place answered last.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    /// What answers are compared by.
    key: String,
    /// What they look like.
    shown: String,
    is_error: bool,
}

impl Seen {
    fn of(answer: &Answer) -> Self {
        match &answer.outcome {
            Outcome::Value(value) => Self {
                key: value.key.clone().unwrap_or_else(|| value.repr.clone()),
                shown: value.repr.clone(),
                is_error: false,
            },
            Outcome::Error(error) => {
                let shown = if is_of_code(error) {
                    traceback::headline(error)
                } else {
                    error.message.clone()
                };
                Self { key: shown.clone(), shown, is_error: true }
            }
        }
    }
}

/// One thing to tell.
pub(crate) struct Change {
    pub(crate) text: Text,
    pub(crate) json: Json,
}

impl Change {
    /// Tells it, in the form that was asked for.
    pub(crate) fn tell(&self, terminal: &Terminal, json: bool) -> Result<(), OutputError> {
        if json { terminal.json(&self.json, false) } else { terminal.data(&self.text) }
    }
}

/// Remembers the last round.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<Place, Option<Seen>>);

impl Changes {
    /// What is new in this round.
    pub(crate) fn of(&mut self, report: &EvalReport, now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        for answer in &report.answers {
            let seen = Seen::of(answer);
            let before = self.0.insert(answer.place, Some(seen.clone()));
            if let Some(Some(before)) = &before
                && before.key == seen.key
                && before.is_error == seen.is_error
            {
                // What the code prints is news, too.
                if !answer.stdout.is_empty() || !answer.stderr.is_empty() {
                    changes.push(told("printed", now, answer, Text::new()));
                }
                continue;
            }
            let before = before.flatten();
            let event = match (&before, seen.is_error) {
                (_, true) => "error",
                (None, false) => "value",
                (Some(_), false) => "changed",
            };
            changes.push(told(event, now, answer, shown(before.as_ref(), &seen)));
        }
        for place in &report.not_loaded {
            if self.0.insert(*place, None) != Some(None) {
                changes.push(not_loaded(now, *place));
            }
        }
        changes
    }
}

/// That an interpreter has not what is asked for.
pub(crate) fn not_loaded(now: Moment, place: Place) -> Change {
    let mut text = stamp(now, &place_name(place));
    text.line(" not loaded");
    let json = json!({
        "event": "not-loaded",
        "time": now.iso(),
        "pid": place.pid,
        "interpreter": place.interpreter,
    });
    Change { text, json }
}

/// When, and of whom something is told.
pub(crate) fn stamp(now: Moment, who: &str) -> Text {
    let mut text = Text::new();
    text.ink(Ink::Faint, now.time_of_day()).plain(" ").ink(Ink::Strong, who);
    text
}

fn shown(before: Option<&Seen>, seen: &Seen) -> Text {
    match before {
        Some(before) if before.shown != seen.shown && !seen.is_error && !before.is_error => {
            let mut text = Text::of("\n");
            text.append(difference::between(&before.shown, &seen.shown, "  "));
            text
        }
        _ => {
            let mut text = Text::new();
            for (index, line) in seen.shown.lines().enumerate() {
                let sign = match (index, seen.is_error) {
                    (0, true) => " error: ",
                    (0, false) => " ",
                    _ => "  ",
                };
                text.line(format!("{sign}{line}"));
            }
            if !text.ends_a_line() || text.is_empty() {
                text.plain("\n");
            }
            text
        }
    }
}

fn told(event: &str, now: Moment, answer: &Answer, body: Text) -> Change {
    let mut text = stamp(now, &place_name(answer.place));
    if body.is_empty() {
        text.line(format!(" {event}"));
    } else {
        text.append(body);
    }
    for line in answer.stdout.lines() {
        text.ink(Ink::Faint, "  printed| ").line(line);
    }
    for line in answer.stderr.lines() {
        text.ink(Ink::Faint, "  stderr| ").line(line);
    }
    let mut json = json!({"event": event, "time": now.iso()});
    if let (Json::Object(json), Json::Object(fields)) = (&mut json, answer_json(answer)) {
        // Groups and closings belong to a report, which a stream is not.
        json.extend(
            fields.into_iter().filter(|(key, _)| !matches!(key.as_str(), "group" | "left")),
        );
    }
    Change { text, json }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use spyhole_session::model::Value;

    use super::*;

    fn report(reprs: &[(i32, &str)]) -> EvalReport {
        EvalReport {
            code: "x".to_owned(),
            answers: reprs
                .iter()
                .map(|(pid, repr)| Answer {
                    place: Place { pid: *pid, interpreter: 0 },
                    outcome: Outcome::Value(Value {
                        type_name: "int".to_owned(),
                        repr: (*repr).to_owned(),
                        is_none: false,
                        truncated: false,
                        key: None,
                        json: None,
                    }),
                    stdout: String::new(),
                    stderr: String::new(),
                    output_cut: 0,
                    duration: Duration::ZERO,
                    group: Some(0),
                    left: None,
                })
                .collect(),
            groups: vec![],
            not_loaded: vec![],
            passed_over: vec![],
        }
    }

    #[test]
    fn only_changes_are_told() {
        let now = Moment::from(UNIX_EPOCH);
        let mut changes = Changes::default();
        let told: Vec<_> = changes.of(&report(&[(1, "5"), (2, "5")]), now);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].json["event"], "value");
        assert_eq!(told[0].json["pid"], 1);
        assert!(changes.of(&report(&[(1, "5"), (2, "5")]), now).is_empty());
        let told: Vec<_> = changes.of(&report(&[(1, "5"), (2, "6")]), now);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].json["event"], "changed");
        assert_eq!(told[0].json["repr"], "6");
        let plain: String = told[0].text.pieces().iter().map(|(_, piece)| piece.as_str()).collect();
        assert_eq!(plain, "00:00:00.000Z 2/0\n  - 5\n  + 6\n");
    }
}
