//! The two channels to an agent that runs.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spyhole_cpython::{Opened, Version};
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::{Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::sys::{self, SysError};
use spyhole_proc::{Address, tasks};
use spyhole_stub::{Interpreter, field, params};

use crate::door::thread::{choice, greet};
use crate::ends::Ends;
use crate::error::{AttachError, NotHere};
use crate::lend::{self, Footing};
use crate::{Opening, refusal};

/// An agent that was brought in. Dropping it closes both channels, which the agent takes as our death.
#[derive(Debug)]
pub struct Link {
    pub pid: i32,
    /// Name of the door that was taken.
    pub door: &'static str,
    /// How long a thread was held.
    pub held: Duration,
    /// Native id of the agent's first thread, as we see it.
    pub thread: i32,
    pub(crate) main: OwnedFd,
    pub(crate) control: OwnedFd,
    /// Where the stub lies, if there is one.
    pub(crate) base: Option<Address>,
    /// Where its page lies.
    pub(crate) page: Option<Address>,
    pub(crate) ends: Ends,
    pub version: Version,
    /// The interpreters of the process when it was attached to, all but the main one.
    pub others: Vec<Interpreter>,
    /// What is needed to read the process; `None` if this build cannot.
    pub opened: Option<Arc<Opened>>,
    pub(crate) footing: Option<Arc<Footing>>,
}

impl Link {
    /// Sends bytes on the main channel.
    pub fn send(&self, bytes: &[u8]) -> Result<(), SysError> {
        sys::send_all(&self.main, bytes)
    }

    /// Sends a record on the control channel.
    pub fn send_control(&self, record: &[u8; 8]) -> Result<(), SysError> {
        sys::send_all(&self.control, record)
    }

    /// Whether something can be received within `limit` (`None`: for ever, or until a signal comes).
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        sys::wait_readable(&self.main, limit)
    }

    /// Receives what is there; 0 at the end.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize, SysError> {
        sys::receive(&self.main, buffer)
    }

    /// If one of these threads waits for the GIL, and the one that keeps it waits in C and runs no Python code: has it lent
    /// for a moment ([`crate::lend`]). Whether that was done.
    pub fn lend(&self, process: &Pidfd, waiting: impl IntoIterator<Item = i32>) -> bool {
        let (Some(footing), Some(opened)) = (&self.footing, &self.opened) else { return false };
        waiting.into_iter().any(|tid| lend::waits_for_gil(self.pid, tid, opened))
            && footing.lend(process)
    }

    /// The way into the process's other interpreters, which lasts as long as this agent does.
    pub fn gate(&self) -> Result<Gate, AttachError> {
        let failed = |source| AttachError::Proc { pid: self.pid, source };
        Ok(Gate {
            pid: self.pid,
            control: self.control.try_clone().map_err(failed)?,
            page: self.page.ok_or(AttachError::NoSession { pid: self.pid })?,
            version: self.version,
            ends: self.ends.clone(),
            opened: self.opened.clone(),
            footing: self.footing.clone(),
            turn: Mutex::new(()),
        })
    }

    /// After the agent's end: waits until its thread and the stub's mappings are gone. `false`: not within `limit`.
    pub fn wait_gone(&self, process: &Pidfd, limit: Duration) -> bool {
        // Without a stub the agent's end of the channel closes last of all.
        let Some(base) = self.base else { return true };
        const PAUSE: Duration = Duration::from_micros(50);
        let start = Instant::now();
        let mut byte = [0];
        loop {
            let mapped = sys::read_memory(self.pid, base, &mut byte).is_ok();
            if (!mapped && !tasks::exists(self.pid, self.thread)) || process.has_ended() {
                return true;
            }
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Starts further agents in a process that has one, without another visit to one of its threads. It may be used from
/// several threads. Close it before the first agent is left: it holds that one's control channel.
#[derive(Debug)]
pub struct Gate {
    pid: i32,
    control: OwnedFd,
    /// Of the first agent.
    page: Address,
    ends: Ends,
    pub version: Version,
    opened: Option<Arc<Opened>>,
    footing: Option<Arc<Footing>>,
    turn: Mutex<()>,
}

impl Gate {
    /// Starts an agent in another interpreter.
    pub fn enter(
        &self,
        process: &Pidfd,
        interpreter: Interpreter,
        opening: &Opening,
    ) -> Result<Link, AttachError> {
        let pid = self.pid;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let maps = Maps::of_living(pid).map_err(|_| refusal::gone(pid))?;
        let page = maps
            .quiet_gap(params::DATA_LENGTH, params::ALIGNMENT, choice())
            .ok_or(AttachError::NotHere(NotHere::NoRoom))?;
        let refused = self.refused().ok_or_else(|| refusal::gone(pid))?;
        sys::send_all(&self.control, &interpreter.session(page.0))
            .map_err(|_| refusal::gone(pid))?;
        let is_refused = || self.refused() != Some(refused);
        let ends = self.ends.clone();
        let shell = Shell { page, base: page, ends, held: Duration::ZERO, version: self.version };
        let link = greet(process, shell, opening, &is_refused)?;
        Ok(Link { opened: self.opened.clone(), footing: self.footing.clone(), ..link })
    }

    /// How many agents could not be started.
    fn refused(&self) -> Option<u32> {
        Live { pid: self.pid }.half(self.page.plus(field::REFUSED)).ok()
    }
}

/// A stub that was started and has to be greeted.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    pub(crate) base: Address,
    pub(crate) page: Address,
    pub(crate) ends: Ends,
    pub(crate) held: Duration,
    pub(crate) version: Version,
}
