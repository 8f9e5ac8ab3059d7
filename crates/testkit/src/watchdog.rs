//! Hard time limits: whatever a test is stuck in, the process it started dies in time.
//!
//! It knows pids only through pidfds, so it can never kill a process that took the number over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that is killed when its time is over.
#[derive(Debug)]
pub struct Watchdog {
    process: Arc<OwnedFd>,
    /// Who gets the signals, if it is another.
    child: Option<OwnedFd>,
    off: Arc<OwnedFd>,
    bit: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches a child that its owner has not reaped, until `limit` is over or this is dropped.
    pub fn over(child: &Child, limit: Duration) -> io::Result<Self> {
        let pid = Pid::from_child(child);
        let process = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
        let off = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let bit = Arc::new(AtomicBool::new(false));
        let thread = {
            let (process, off, bit) = (Arc::clone(&process), Arc::clone(&off), Arc::clone(&bit));
            let deadline = Instant::now() + limit;
            std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
                let mut fds =
                    [PollFd::new(&process, PollFlags::IN), PollFd::new(&off, PollFlags::IN)];
                if wait(&mut fds, deadline).is_ok_and(|ready| !ready) {
                    bit.store(true, Ordering::SeqCst);
                    // An error means that it is gone already.
                    let _ = pidfd_send_signal(&process, Signal::KILL);
                }
            })?
        };
        Ok(Self { process, child: None, off, bit, thread: Some(thread) })
    }

    /// Signals go to this process from now on, which dies with the one that is watched.
    pub fn signals(&mut self, pid: i32) -> io::Result<()> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        self.child = Some(pidfd_open(pid, PidfdFlags::empty())?);
        Ok(())
    }

    /// Whether the limit was reached and the process killed for it.
    pub fn has_bitten(&self) -> bool {
        self.bit.load(Ordering::SeqCst)
    }

    /// Sends a signal to the very process that is watched, or to its child.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(self.child.as_ref().unwrap_or(&self.process), signal)?)
    }

    /// Waits until the process has ended, without reaping it; `false` if `limit` was over first.
    pub fn wait_ended(&self, limit: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.process, PollFlags::IN)];
        wait(&mut fds, Instant::now() + limit)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Writing 8 bytes to an eventfd of count 0 cannot fail or block.
        let _ = rustix::io::write(&self.off, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until something can be read; `false` if the deadline came first.
pub(crate) fn readable(fd: impl AsFd, deadline: Instant) -> io::Result<bool> {
    let fd = fd.as_fd();
    wait(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], deadline)
}

fn wait(fds: &mut [PollFd<'_>], deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(fds, Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
