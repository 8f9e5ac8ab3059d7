//! The places of a process in which code can run.

use std::fmt;
use std::str::FromStr;

use spyhole_agent::message::Placement;
use spyhole_proc::pidfd::Pidfd;

use crate::failure;
use crate::model::{ErrorKind, EvalError};
use crate::snapshot::{self, Options, Pause};

/// Where code is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Within {
    /// The agent's own native thread.
    #[default]
    Thread,
    /// The main thread.
    Main,
    /// The asyncio loop that runs.
    Loop,
    /// The hub of gevent or eventlet.
    Hub,
    /// The variables of a frame.
    Frame {
        /// Native id.
        thread: i32,
        /// 0 is the innermost one.
        number: u32,
    },
}

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no place: it is `thread`, `main`, `loop`, `hub` or `frame:TID[:N]`"
            )
        };
        Ok(match text {
            "thread" => Self::Thread,
            "main" => Self::Main,
            "loop" => Self::Loop,
            "hub" => Self::Hub,
            _ => {
                let rest = text.strip_prefix("frame:").ok_or_else(wrong)?;
                let (thread, number) = rest.split_once(':').unwrap_or((rest, "0"));
                let thread = thread.parse().ok().filter(|tid| *tid > 0).ok_or_else(wrong)?;
                Self::Frame { thread, number: number.parse().map_err(|_| wrong())? }
            }
        })
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread => f.write_str("thread"),
            Self::Main => f.write_str("main"),
            Self::Loop => f.write_str("loop"),
            Self::Hub => f.write_str("hub"),
            Self::Frame { thread, number: 0 } => write!(f, "frame:{thread}"),
            Self::Frame { thread, number } => write!(f, "frame:{thread}:{number}"),
        }
    }
}

impl Within {
    /// As the agent is told. A frame is told by its thread's number among those of the C library, which is looked up.
    pub(crate) fn placement(self, process: &Pidfd) -> Result<Placement, EvalError> {
        Ok(match self {
            Self::Thread => Placement::Thread,
            Self::Main => Placement::Main,
            Self::Loop => Placement::Loop,
            Self::Hub => Placement::Hub,
            Self::Frame { thread, number } => {
                let ident = ident(process, thread)?;
                Placement::Frame { ident, number, native: thread }
            }
        })
    }

    /// Whether code there waits for something of the program's own to let it in.
    pub(crate) fn is_of_the_program(self) -> bool {
        matches!(self, Self::Main | Self::Loop | Self::Hub)
    }
}

fn ident(process: &Pidfd, thread: i32) -> Result<u64, EvalError> {
    let options = Options { pause: Pause::Nothing, sources: false, locals: None, requests: None };
    let stacks =
        snapshot::of_process(process, options).map_err(|error| failure::of_attach(&error))?;
    let mut threads = stacks.interpreters.iter().flat_map(|one| &one.threads);
    threads.find(|one| one.native_id == Some(thread)).map(|one| one.ident).ok_or_else(|| {
        let pid = process.pid;
        let message = format!("process {pid} has no thread {thread} that runs Python");
        let mut error = failure::error(ErrorKind::Usage, "Usage", message);
        error.hints.push(format!("see its threads with `spyhole stack {pid}`"));
        error
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named() {
        for text in ["thread", "main", "loop", "hub", "frame:4123", "frame:4123:2"] {
            assert_eq!(text.parse::<Within>().unwrap().to_string(), text);
        }
        assert_eq!("frame:7:0".parse::<Within>().unwrap().to_string(), "frame:7");
        for text in
            ["", "Main", "frame", "frame:", "frame:0", "frame:-1", "frame:1:x", "frame:1:-1"]
        {
            assert!(text.parse::<Within>().is_err(), "{text}");
        }
    }
}
