//! A conversation with one process: code goes in, values and printed text come out, until it is closed.

use std::time::Duration;

use crate::evaluate::Reach;
use crate::model::{Candidate, EvalError, Left, Running, Value};
use crate::target::Target;

/// What a console hears from its process.
#[derive(Clone, Debug)]
pub enum Event {
    /// Text that the code of `job` printed.
    Output { job: u32, stderr: bool, text: String },
    /// The code of `job` ended.
    Value { job: u32, value: Value, duration: Duration },
    /// The code of `job` raised, or was interrupted.
    Error { job: u32, error: EvalError, duration: Duration },
    /// `exit()` or `quit()` was called.
    Exit,
    /// The process, or the way to it, is gone; nothing follows.
    Gone { reason: String },
}

/// What is known of the other side.
#[derive(Clone, Debug)]
pub struct Hello {
    pub pid: i32,
    /// Its pid in its own namespace.
    pub own_pid: i32,
    /// `3.11.7`
    pub python: String,
    pub executable: String,
    /// `thread`: where the code runs.
    pub place: String,
    /// The door that was taken.
    pub door: String,
    pub held: Duration,
}

/// One open console. Dropping it leaves the process, too.
pub struct Console {
    _private: (),
}

impl Console {
    /// Gets into the process.
    pub fn open(_target: &Target, _reach: &Reach) -> Result<Self, EvalError> {
        Ok(Self { _private: () })
    }

    pub fn hello(&self) -> &Hello {
        unreachable!()
    }

    /// Starts one piece of code and gives its number; events tell the rest.
    pub fn start(&mut self, _code: &str) -> u32 {
        0
    }

    /// The next event within `patience`; `None` if there was none.
    pub fn next(&mut self, _patience: Duration) -> Option<Event> {
        None
    }

    /// Raises `KeyboardInterrupt` in the running code.
    pub fn interrupt(&mut self) {}

    /// Gives up waiting for `job`: a fresh thread in the process takes over, the old code runs on until it returns,
    /// is listed by `running`, and its late events still arrive under its own number.
    pub fn abandon(&mut self, _job: u32) {}

    /// Code that was abandoned and has not returned yet.
    pub fn running(&self) -> Vec<Running> {
        Vec::new()
    }

    /// Candidates for the dotted name at the end of `text`, and where in `text` (bytes) the completed word begins.
    /// Empty while code runs, or if there is no answer within 300 ms.
    pub fn complete(&mut self, _text: &str) -> (usize, Vec<Candidate>) {
        (0, Vec::new())
    }

    /// Leaves the process and says how it was left.
    pub fn close(self) -> Left {
        Left::default()
    }
}
