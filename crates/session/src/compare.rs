//! Many answers, one report: equal ones grouped, places that have not the module set apart.

use crate::evaluate::Answered;
use crate::failure;
use crate::model::{Answer, ErrorKind, EvalReport, Group, Outcome, Place};

/// Groups the answers. A place that lacks the module that was asked for is no answer, if another one has it.
pub(crate) fn report(code: String, answers: Vec<Answered>) -> EvalReport {
    let somebody_answers = answers.iter().any(|a| !is_uninitialised(a));
    let no_answer =
        |a: &Answered| lacks_module(a, &answers) || (somebody_answers && is_uninitialised(a));
    let lacking: Vec<bool> = answers.iter().map(no_answer).collect();
    let mut not_loaded: Vec<Place> = Vec::new();
    let (mut kept, mut passed_over): (Vec<Answer>, Vec<Answer>) = Default::default();
    for (answered, lacks) in answers.into_iter().zip(lacking) {
        if lacks {
            not_loaded.push(answered.answer.place);
            passed_over.push(answered.answer);
        } else {
            kept.push(answered.answer);
        }
    }
    let mut keyed: Vec<(Key, Group)> = Vec::new();
    for answer in &kept {
        let key = Key::of(answer);
        match keyed.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.members.push(answer.place),
            None => keyed.push((key, group(answer))),
        }
    }
    // A stable sort: among equals the first answer comes first.
    keyed.sort_by_key(|(_, group)| std::cmp::Reverse(group.members.len()));
    for answer in &mut kept {
        let key = Key::of(answer);
        answer.group = keyed.iter().position(|(known, _)| *known == key);
    }
    let groups = keyed.into_iter().map(|(_, group)| group).collect();
    EvalReport { code, answers: kept, groups, not_loaded, passed_over }
}

/// Its interpreter is not made yet, or is gone already.
fn is_uninitialised(one: &Answered) -> bool {
    matches!(&one.answer.outcome, Outcome::Error(error) if error.type_name == failure::NOT_INITIALISED
        && error.kind == ErrorKind::Unreachable)
}

/// It failed for a dotted name of which a module is loaded elsewhere, but not here.
fn lacks_module(one: &Answered, all: &[Answered]) -> bool {
    let Some(missing) = &one.missing else { return false };
    all.iter().flat_map(|other| &other.loaded).any(|module| {
        !one.loaded.contains(module)
            && (missing == module
                || missing.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with('.'))
                || module.strip_prefix(missing.as_str()).is_some_and(|rest| rest.starts_with('.')))
    })
}

fn group(answer: &Answer) -> Group {
    let (repr, is_error) = match &answer.outcome {
        Outcome::Value(value) => (value.repr.clone(), false),
        Outcome::Error(error) if error.message.is_empty() => (error.type_name.clone(), true),
        Outcome::Error(error) => (format!("{}: {}", error.type_name, error.message), true),
    };
    Group { repr, members: vec![answer.place], is_error }
}

/// What two answers must share to be equal.
#[derive(PartialEq)]
enum Key {
    Value(String, String),
    Error(&'static str, String, String),
}

impl Key {
    fn of(answer: &Answer) -> Self {
        match &answer.outcome {
            Outcome::Value(v) => {
                Self::Value(v.type_name.clone(), v.key.as_ref().unwrap_or(&v.repr).clone())
            }
            // Messages of ours name the process.
            Outcome::Error(e) => {
                let pid = answer.place.pid.to_string();
                Self::Error(e.kind.name(), e.type_name.clone(), e.message.replace(&pid, "PID"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Value;

    fn answered(pid: i32, repr: &str, key: Option<&str>) -> Answered {
        let value = Value {
            type_name: "str".into(),
            repr: repr.into(),
            is_none: false,
            truncated: false,
            key: key.map(str::to_owned),
            json: None,
        };
        let answer = Answer {
            place: Place { pid, interpreter: 0 },
            outcome: Outcome::Value(value),
            stdout: String::new(),
            stderr: String::new(),
            output_cut: 0,
            duration: Duration::ZERO,
            group: None,
            left: None,
        };
        Answered { answer, loaded: vec!["shop".into()], missing: None }
    }

    #[test]
    fn the_largest_group_comes_first_and_keys_decide() {
        let report = report(
            "x".into(),
            vec![
                answered(1, "odd", None),
                answered(2, "{b, a}", Some("{a, b}")),
                answered(3, "{a, b}", None),
            ],
        );
        assert_eq!(report.groups.len(), 2);
        assert_eq!(report.groups[0].members.len(), 2);
        assert_eq!(report.answers[0].group, Some(1));
    }

    #[test]
    fn a_place_without_the_module_is_no_answer_only_if_another_has_it() {
        let mut without = answered(2, "", None);
        without.loaded.clear();
        without.missing = Some("shop.catalog".into());
        let both = report("shop.catalog".into(), vec![answered(1, "x", None), without.clone()]);
        assert_eq!(both.not_loaded, [Place { pid: 2, interpreter: 0 }]);
        let alone = report("shop.catalog".into(), vec![without]);
        assert!(alone.not_loaded.is_empty() && alone.answers.len() == 1);
    }
}
