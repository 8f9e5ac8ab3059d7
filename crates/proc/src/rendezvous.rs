//! A place where a process can hand descriptors over to us, where we may not take them.
//!
//! `pidfd_getfd` is refused by the seccomp profiles of containers, and missing before Linux 5.6. A socket of an abstract
//! name, which no file system shows, in the process's own network namespace serves as well: the process connects to
//! it and passes them. Nobody else's connection is taken.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::{self, passing};

/// Bytes of a name.
pub const NAME_LENGTH: usize = 16;

/// A socket that waits for one process.
#[derive(Debug)]
pub struct Rendezvous {
    pid: i32,
    listener: UnixListener,
    /// Its name in the abstract namespace, without the zero byte before it.
    pub name: [u8; NAME_LENGTH],
}

impl Rendezvous {
    /// Opens one where `pid` can reach it. `choice`: what nobody can guess.
    pub fn with(pid: i32, choice: u64) -> io::Result<Self> {
        let mut name = [0; NAME_LENGTH];
        name.copy_from_slice(format!("{choice:016x}").as_bytes());
        let address = SocketAddr::from_abstract_name(name)?;
        let namespace = format!("/proc/{pid}/ns/net");
        let elsewhere = fs::metadata(&namespace)?.ino() != fs::metadata("/proc/self/ns/net")?.ino();
        let listener = if elsewhere {
            // A thread of its own goes there, and its socket stays there.
            let namespace = File::open(&namespace)?;
            let bind = move || {
                passing::enter_network(namespace.as_fd())?;
                UnixListener::bind_addr(&address)
            };
            thread::spawn(bind).join().map_err(|_| io::Error::other("the thread failed"))??
        } else {
            UnixListener::bind_addr(&address)?
        };
        listener.set_nonblocking(true)?;
        Ok(Self { pid, listener, name })
    }

    /// Waits for the process to pass two descriptors and a number of its choice.
    pub fn receive(&self, limit: Duration) -> io::Result<([OwnedFd; 2], u64)> {
        let deadline = Instant::now() + limit;
        loop {
            match self.listener.accept() {
                Ok((socket, _)) if passing::peer(socket.as_fd())? == self.pid => {
                    socket.set_nonblocking(false)?;
                    socket.set_read_timeout(Some(limit))?;
                    return passing::receive_two(socket.as_fd()).map_err(|error| error.source);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || !sys::wait_readable(&self.listener, Some(left)) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_another_process_connects_with_is_not_taken() {
        let own = std::process::id() as i32;
        let place = Rendezvous::with(own, 0x1234_5678_9abc_def0).unwrap();
        assert_eq!(&place.name, b"123456789abcdef0");
        let other = Rendezvous { pid: 1, ..Rendezvous::with(own, 77).unwrap() };
        let address = SocketAddr::from_abstract_name(other.name).unwrap();
        let _stranger = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
        let refused = other.receive(Duration::from_millis(20)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert!(place.listener.as_raw_fd() >= 0);
    }

    #[test]
    fn a_connection_that_passes_nothing_is_an_error() {
        let place = Rendezvous::with(std::process::id() as i32, 99).unwrap();
        let address = SocketAddr::from_abstract_name(place.name).unwrap();
        drop(std::os::unix::net::UnixStream::connect_addr(&address).unwrap());
        assert!(place.receive(Duration::from_secs(5)).is_err());
    }
}
