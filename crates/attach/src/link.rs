//! The two channels to an agent that runs.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::sys::{self, SysError};
use spyhole_proc::{Address, tasks};

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
