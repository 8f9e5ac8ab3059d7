//! A process that is held by a descriptor, so that its number cannot pass to another one unseen.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::sys;

/// A held process.
#[derive(Debug)]
pub struct Pidfd {
    pub pid: i32,
    fd: OwnedFd,
}

impl Pidfd {
    /// Takes hold of the process that has this number now.
    pub fn open(pid: i32) -> sys::Result<Self> {
        Ok(Self { pid, fd: sys::pidfd_open(pid)? })
    }

    /// Another hold on the very same process.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { pid: self.pid, fd: self.fd.try_clone()? })
    }

    /// Whether it has ended (a zombie has).
    pub fn has_ended(&self) -> bool {
        sys::pidfd_ended(&self.fd)
    }

    /// Whether it ends within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        sys::wait_readable(&self.fd, Some(limit))
    }

    /// Sends it a signal.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        sys::bell::signal(self.fd.as_fd(), number)
    }

    /// A copy of its descriptor `fd`.
    pub fn get(&self, fd: i32) -> sys::Result<OwnedFd> {
        sys::pidfd_getfd(&self.fd, fd)
    }
}
