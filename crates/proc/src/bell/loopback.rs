//! A port of the loopback that a prepared process is asked to call back to.
//!
//! A connection says nothing of who made it. The kernel's list of them does (proc_net_tcp(5)): its user, and the number
//! of its socket, which is found again among the process's descriptors where we may see those.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::sys;

/// For a few bytes into an empty buffer.
const GREETING: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Loopback {
    listener: TcpListener,
    /// Tells the process that it is meant. Without it nobody can know who listens at a port.
    greeting: String,
}

impl Loopback {
    pub(super) fn listen(port: u16, name: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
            io::Error::new(error.kind(), format!("port {port} of the loopback: {error}"))
        })?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, greeting: format!("spyhole {name}\n") })
    }

    /// The next connection of that process within `limit`; strangers are sent away.
    pub(super) fn accept(
        &self,
        pid: i32,
        uid: u32,
        limit: Duration,
    ) -> io::Result<Option<OwnedFd>> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !sys::wait_readable(&self.listener, Some(left)) {
                return Ok(None);
            }
            match self.listener.accept() {
                Ok((connection, from)) => match self.greet(connection, from, pid, uid) {
                    Ok(connection) => return Ok(Some(connection)),
                    Err(error) => log::warn!("sent {from} away from the bell of {pid}: {error}"),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn greet(
        &self,
        mut connection: TcpStream,
        from: SocketAddr,
        pid: i32,
        uid: u32,
    ) -> io::Result<OwnedFd> {
        let refused = |reason: &str| io::Error::new(io::ErrorKind::PermissionDenied, reason);
        let (SocketAddr::V4(here), SocketAddr::V4(there)) = (connection.local_addr()?, from) else {
            return Err(refused("it comes by another family of addresses"));
        };
        let list = BufReader::new(File::open("/proc/self/net/tcp")?);
        let peer =
            find(list, there, here).ok_or_else(|| refused("its user cannot be determined"))?;
        if peer.uid != uid {
            return Err(refused("it is another user"));
        }
        if holds(pid, peer.inode) == Some(false) {
            return Err(refused("it is another process"));
        }
        connection.set_nonblocking(false)?;
        connection.set_nodelay(true)?;
        connection.set_write_timeout(Some(GREETING))?;
        connection.write_all(self.greeting.as_bytes())?;
        connection.set_write_timeout(None)?;
        Ok(connection.into())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Peer {
    uid: u32,
    inode: u64,
}

/// As net/ipv4/tcp_ipv4.c prints it: the address as one of this machine's numbers, then the port.
fn as_listed(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

/// The end of the connection that is at `local`. One that was closed is listed as root's, with no inode.
fn find(list: impl BufRead, local: SocketAddrV4, remote: SocketAddrV4) -> Option<Peer> {
    let (local, remote) = (as_listed(local), as_listed(remote));
    for line in list.lines().skip(1).map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() > 9 && words[1] == local && words[2] == remote {
            let peer = Peer { uid: words[7].parse().ok()?, inode: words[9].parse().ok()? };
            return (peer.inode != 0).then_some(peer);
        }
    }
    None
}

/// Whether that socket is among a process's descriptors; `None` where those are not to be seen.
fn holds(pid: i32, inode: u64) -> Option<bool> {
    let wanted = format!("socket:[{inode}]");
    let mut seen_all = true;
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        match entry.and_then(|entry| fs::read_link(entry.path())) {
            Ok(target) if target.as_os_str() == wanted.as_str() => return Some(true),
            Ok(_) => {}
            // Closed meanwhile, or hidden from us.
            Err(error) => seen_all &= error.kind() == io::ErrorKind::NotFound,
        }
    }
    seen_all.then_some(false)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connected() -> (Loopback, TcpStream) {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let bell = Loopback::listen(port, "12-34.x").unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        (bell, stream)
    }

    fn own() -> (i32, u32) {
        let uid = crate::stat::Status::own().unwrap().uids.effective;
        (std::process::id() as i32, uid)
    }

    #[test]
    fn the_process_that_is_meant_is_greeted() {
        let (bell, mut stream) = connected();
        let (pid, uid) = own();
        assert!(bell.accept(pid, uid, SECOND).unwrap().is_some_and(|fd| fd.as_raw_fd() >= 0));
        let mut greeting = [0; 16];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"spyhole 12-34.x\n");
        assert!(bell.accept(pid, uid, Duration::ZERO).unwrap().is_none());
    }

    #[test]
    fn another_user_and_another_process_hear_nothing() {
        let (pid, uid) = own();
        let mut parent =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let other = parent.id() as i32;
        for (pid, uid) in [(pid, uid + 1), (other, uid)] {
            let (bell, mut stream) = connected();
            assert!(bell.accept(pid, uid, Duration::from_millis(50)).unwrap().is_none());
            assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Loopback::listen(port, "x").unwrap_err().to_string();
        assert!(error.starts_with(&format!("port {port} of the loopback: ")), "{error}");
    }

    #[test]
    fn the_list_is_read_with_care() {
        let address = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let text = "  sl  local_address rem_address\n   0: short\n\
                    1: 0100007F:0BB8 0100007F:0001 01 0:0 0:0 0 7 0 0 1\n\
                    2: 0100007F:0BB8 0100007F:0002 01 0:0 0:0 0 7 0 99 1\n\
                    3: 0100007F:0BB8 0100007F:0003 01 0:0 0:0 0 x 0 99 1\n";
        let find = |remote| find(text.as_bytes(), address(3000), address(remote));
        assert_eq!(find(1), None);
        assert_eq!(find(2), Some(Peer { uid: 7, inode: 99 }));
        assert_eq!((find(3), find(4)), (None, None));
    }
}
