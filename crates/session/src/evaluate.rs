//! Runs code in one or many processes and compares what they answer.

use std::time::Duration;

use crate::model::{Answer, EvalReport};
use crate::{Cancel, target::Target};

/// How to reach a process.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Use this door and no other.
    pub door: Option<String>,
    /// Attach although its owner switched remote debugging off (3.14+).
    pub override_opt_out: bool,
    /// How long to look for a safe moment.
    pub patience: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        Self { door: None, override_opt_out: false, patience: Duration::from_secs(2) }
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub code: String,
    /// From the start of the evaluation to its answer.
    pub timeout: Duration,
    /// Bytes of rendered text and of printed text at most.
    pub max: usize,
    /// No bound on the rendered text.
    pub full: bool,
    /// Send the value itself where it is plain data.
    pub want_value: bool,
    pub reach: Reach,
}

/// Evaluates in all targets at the same time; `each` hears of every answer as soon as it is there (still attached),
/// the report comes when all are left again. Ctrl-C (`cancel`) interrupts what still runs.
pub fn in_all(
    _targets: &[Target],
    request: &Request,
    _cancel: &Cancel,
    _each: &mut dyn FnMut(&Answer),
) -> EvalReport {
    EvalReport { code: request.code.clone(), answers: vec![], groups: vec![], not_loaded: vec![] }
}

/// Evaluations repeated over the same targets, which stay attached in between.
pub struct Watch {
    _private: (),
}

impl Watch {
    /// Attaches to all targets.
    pub fn open(_targets: &[Target], _request: &Request, _cancel: &Cancel) -> Self {
        Self { _private: () }
    }

    /// Evaluates once more everywhere.
    pub fn round(&mut self, _cancel: &Cancel) -> EvalReport {
        EvalReport { code: String::new(), answers: vec![], groups: vec![], not_loaded: vec![] }
    }

    /// Leaves all targets; each answer's `left` says how.
    pub fn close(self) -> Vec<Answer> {
        Vec::new()
    }
}
