//! What changed between two rounds of `get --watch`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use spyhole_session::model::Place;
use spyhole_session::objects::{ObjectAnswer, ObjectReport, Outcome, Tree, compare};

use super::{Extent, json as as_json, lines, tree};
use crate::views::clock::Moment;
use crate::views::json::place as place_name;
use crate::views::text::{Ink, Text};
use crate::views::watch::{Change, not_loaded, stamp};

/// What a place had last.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Tree(Box<Tree>),
    Error(String),
    NotLoaded,
}

/// Remembers the last round.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<Place, Seen>);

impl Changes {
    /// What is new in this round.
    pub(crate) fn of(&mut self, report: &ObjectReport, now: Moment, extent: Extent) -> Vec<Change> {
        let mut changes = Vec::new();
        for answer in &report.answers {
            changes.extend(self.one(answer, now, extent));
        }
        for place in &report.not_loaded {
            if self.0.insert(*place, Seen::NotLoaded) != Some(Seen::NotLoaded) {
                changes.push(not_loaded(now, *place));
            }
        }
        changes
    }

    fn one(&mut self, answer: &ObjectAnswer, now: Moment, extent: Extent) -> Option<Change> {
        let mut text = stamp(now, &place_name(answer.place));
        let mut json = as_json::answer(answer, extent);
        let (event, seen) = match &answer.outcome {
            Outcome::Found(found) => {
                let seen = Seen::Tree(Box::new(found.tree.clone()));
                match self.0.get(&answer.place) {
                    Some(Seen::Tree(before)) => {
                        let differences = compare::differences(before, &found.tree);
                        if differences.is_empty() {
                            return None;
                        }
                        text.plain("\n");
                        for difference in &differences {
                            text.append(lines(difference, "gone:", "new:", "  "));
                        }
                        json["differs"] = as_json::differences(&differences);
                        ("changed", seen)
                    }
                    _ => {
                        let mut shown = Text::new();
                        tree(&mut shown, found, "", extent);
                        text.plain(" ").append(shown);
                        ("value", seen)
                    }
                }
            }
            Outcome::Nowhere(nowhere) => {
                let message = format!("`{}`: {}", nowhere.step, nowhere.message);
                ("error", Seen::Error(message))
            }
            Outcome::Failed(error) => ("error", Seen::Error(error.message.clone())),
        };
        if let Seen::Error(message) = &seen {
            if self.0.get(&answer.place) == Some(&seen) {
                return None;
            }
            text.ink(Ink::Bad, " error:").line(format!(" {message}"));
        }
        self.0.insert(answer.place, seen);
        let mut told = json!({"event": event, "time": now.iso()});
        if let (Json::Object(told), Json::Object(fields)) = (&mut told, json) {
            // Groups belong to a report, which a stream is not.
            told.extend(fields.into_iter().filter(|(key, _)| key != "group"));
        }
        Some(Change { text, json: told })
    }
}
