//! Gets the agent into a process, and out again.
//!
//! Each way in is a door of its own ([`door`]); all give a [`Link`], the two channels to an agent that runs.
//! What the agent is told is not known here.

pub mod door;
mod ends;
pub mod error;
pub mod lend;
mod link;
pub mod look;
mod refusal;
mod rouse;
mod visit;

use std::time::{Duration, Instant};

pub use error::{AttachError, NotHere};
pub use link::{Gate, Link};
pub use rouse::Roused;
use spyhole_cpython::Version;
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::sys;
pub use spyhole_stub::Interpreter;
pub use visit::Visited;

/// What is asked of an attach.
#[derive(Clone, Debug)]
pub struct Options {
    /// This door and no other.
    pub door: Option<String>,
    /// Attach although its owner switched remote debugging off (3.14+).
    pub override_opt_out: bool,
    /// A prepared process is to call back to this port of the loopback.
    pub port: Option<u16>,
    /// How long to look for a safe moment.
    pub patience: Duration,
    /// Where the agent is to run.
    pub interpreter: Interpreter,
}

/// What a look from outside tells before the opening is made.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub version: Version,
    /// All but the main one; none, too, if they could not be listed.
    pub others: &'a [Interpreter],
}

/// What goes with the first message: the agent's code, and what it shall read without waiting.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// For an interpreter that has this magic number ...
    pub magic: u32,
    /// ... the compiled source; may be empty.
    pub compiled: Vec<u8>,
    pub source: Vec<u8>,
    /// Whole frames.
    pub frames: Vec<u8>,
}

impl Opening {
    /// The first message: the agent with its length, then the frames.
    pub(crate) fn message(&self) -> Vec<u8> {
        let length = spyhole_stub::params::OPENING_HEADER + self.compiled.len() + self.source.len();
        let mut first = vec![b'G'];
        first.extend((length as u32).to_le_bytes());
        first.extend(self.magic.to_le_bytes());
        first.extend((self.compiled.len() as u32).to_le_bytes());
        first.extend(&self.compiled);
        first.extend(&self.source);
        first.extend(&self.frames);
        first
    }
}

/// Makes the opening for a process.
pub type MakeOpening<'a> = &'a (dyn Fn(Situation<'_>) -> Opening + Sync);

/// Attaches through the first door that is ready. Tells of each one that is not.
pub fn attach(
    process: &Pidfd,
    options: &Options,
    opening: MakeOpening<'_>,
) -> Result<Link, AttachError> {
    sys::ask_for_short_turns();
    refusal::check(process)?;
    // Whatever went wrong with a process that was ending meanwhile went wrong for that.
    by_a_door(process, options, opening)
        .map_err(|error| refusal::ending(process, &error).unwrap_or(error))
}

fn by_a_door(
    process: &Pidfd,
    options: &Options,
    opening: MakeOpening<'_>,
) -> Result<Link, AttachError> {
    let deadline = Instant::now() + options.patience;
    let mut reasons = Vec::new();
    for door in door::all() {
        if options.door.as_deref().is_some_and(|wanted| wanted != door.name()) {
            continue;
        }
        match door.open(process, options, opening, deadline) {
            Ok(link) => {
                log::info!("process {}: door {}, held {:?}", link.pid, link.door, link.held);
                return Ok(link);
            }
            Err(AttachError::NotHere(reason)) => {
                log::debug!("door {}: not here: {reason}", door.name());
                reasons.push((door.name(), reason));
            }
            Err(error) => return Err(error),
        }
    }
    // The last door is the one that needs nothing prepared: its reason counts, unless one door was asked for.
    Err(match reasons.pop() {
        Some((_, reason)) => AttachError::NotHere(reason),
        None => AttachError::NoSuchDoor {
            door: options.door.clone().unwrap_or_default(),
            known: door::all().iter().map(|d| d.name()).collect(),
        },
    })
}

/// Whether code could be run in a process now, as far as a look from outside tells. Touches nothing.
pub fn could_attach(process: &Pidfd) -> Result<&'static str, AttachError> {
    refusal::check(process)?;
    if door::doorbell::is_there(process.pid) {
        return Ok("doorbell");
    }
    refusal::check_borrowing(process.pid)?;
    door::thread::look(process, false, Interpreter::default()).map(|_| "thread")
}
