//! How a target looks from inside, as its `state` command tells it.
//!
//! It knows which of the told things change by themselves. What they are is in
//! `tests/targets/commands.py`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Told for the record, but changed by the telling itself.
const VOLATILE: &[&str] = &["gc_count", "gc_objects"];

/// One answer of `state`.
#[derive(Clone, Debug, PartialEq)]
pub struct Inside {
    told: Map<String, Value>,
}

impl Inside {
    pub fn parse(json: &str) -> Option<Self> {
        match serde_json::from_str(json).ok()? {
            Value::Object(told) => Some(Self { told }),
            _ => None,
        }
    }

    /// One told thing by name; null if it was not told.
    pub fn get(&self, name: &str) -> &Value {
        self.told.get(name).unwrap_or(&Value::Null)
    }

    /// The number of objects that the collector tracks.
    pub fn tracked_objects(&self) -> u64 {
        self.get("gc_objects").as_u64().unwrap_or(0)
    }

    /// The names in `sys.modules`.
    pub fn modules(&self) -> BTreeSet<&str> {
        self.get("modules").as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What is different now, one line for each; empty if nothing is.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.told.keys().chain(now.told.keys()).collect();
        names
            .into_iter()
            .filter(|name| !VOLATILE.contains(&name.as_str()))
            .filter_map(|name| difference(name, self.get(name), now.get(name)))
            .collect()
    }
}

fn difference(name: &str, before: &Value, now: &Value) -> Option<String> {
    if before == now {
        return None;
    }
    let (Value::Array(old), Value::Array(new)) = (before, now) else {
        return Some(format!("inside: `{name}` was {before} and is {now}"));
    };
    let only = |these: &[Value], those: &[Value]| {
        these
            .iter()
            .filter(|item| !those.contains(item))
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    Some(format!("inside: `{name}` gained [{}] and lost [{}]", only(new, old), only(old, new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_telling_changes_is_no_difference() {
        let before = Inside::parse(r#"{"modules":["sys"],"gc_count":[1,2,3]}"#).unwrap();
        let now = Inside::parse(r#"{"modules":["sys"],"gc_count":[9,2,3]}"#).unwrap();
        assert!(before.differences(&now).is_empty());
    }

    #[test]
    fn each_difference_is_named() {
        let before = Inside::parse(r#"{"modules":["sys","os"],"trace":1}"#).unwrap();
        let now = Inside::parse(r#"{"modules":["sys","gc"],"trace":2}"#).unwrap();
        assert_eq!(
            before.differences(&now),
            [
                "inside: `modules` gained [\"gc\"] and lost [\"os\"]",
                "inside: `trace` was 1 and is 2"
            ]
        );
    }
}
