//! A prepared process's doorbell, as an outsider sees and rings it.
//!
//! It needs no right to trace: which signals a process catches is there for everybody to read. The socket that the
//! process calls back to is made with the process's own rights to files, below its root where that can be reached,
//! so that a process can not let us make or change what it could not make or change itself.

mod loopback;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use self::loopback::Loopback;
use crate::pidfd::Pidfd;
use crate::stat::{Stat, Status};
use crate::sys::{bell as sys, files};

/// The two signals of the name-plate; `spyhole/_doorbell.py` has the same.
pub const RING: i32 = 45;
pub const CLOSE: i32 = 54;

/// Whether a process has the name-plate. One that catches the neighbours as well catches all, and means nothing by it.
pub fn has_name_plate(status: &Status) -> bool {
    let catches = |number: i32| status.caught & (1 << (number - 1)) != 0;
    let neighbours = [RING - 1, RING + 1, CLOSE - 1, CLOSE + 1];
    catches(RING) && catches(CLOSE) && !neighbours.iter().all(|number| catches(*number))
}

/// Whether we may ring at a process: it must be ours, or we root, for the socket is made as the process would make it.
pub fn may_ring(status: &Status) -> bool {
    Status::own().is_ok_and(|own| [0, status.uids.effective].contains(&own.uids.effective))
}

/// Sends one of the two signals, and only to a process that has the name-plate at this moment.
pub fn send(process: &Pidfd, number: i32) -> io::Result<bool> {
    if !has_name_plate(&Status::of(process.pid)?) {
        return Ok(false);
    }
    process.signal(number).map(|()| true)
}

/// A place that one process is asked to call back to.
#[derive(Debug)]
pub struct Bell {
    place: Place,
    pid: i32,
    uid: u32,
}

#[derive(Debug)]
enum Place {
    File(Socket),
    Loopback(Loopback),
}

/// A unix socket with a name. Dropping it takes the name away.
#[derive(Debug)]
struct Socket {
    listener: OwnedFd,
    folder: OwnedFd,
    name: CString,
}

impl Bell {
    /// Makes the socket, or listens at that port of the loopback. `choice` is a number that no other ringer has.
    pub fn hang(pid: i32, choice: u64, port: Option<u16>) -> io::Result<Self> {
        let status = Status::of(pid)?;
        let stat = Stat::of(pid)?;
        let own_pid = status.namespace_pids.last().copied().unwrap_or(pid);
        let name = format!("{own_pid}-{}.{choice:016x}", stat.start_ticks);
        let place = match port {
            Some(port) => Place::Loopback(Loopback::listen(port, &name)?),
            None => Place::File(Socket::make(pid, &status, CString::new(name)?)?),
        };
        Ok(Self { place, pid, uid: status.uids.effective })
    }

    /// The next connection of that very process within `limit`; strangers are sent away.
    pub fn accept(&self, limit: Duration) -> io::Result<Option<OwnedFd>> {
        match &self.place {
            Place::File(socket) => socket.accept(self.pid, self.uid, limit),
            Place::Loopback(port) => port.accept(self.pid, self.uid, limit),
        }
    }
}

impl Socket {
    fn make(pid: i32, status: &Status, name: CString) -> io::Result<Self> {
        let (uid, gid) = (status.uids.effective, status.gids.effective);
        let own_uid = as_itself(pid, uid);
        let root = root_of(pid)?;
        // What a thread takes on for the making of the socket ends with the thread.
        let maker = std::thread::Builder::new().name("bell".to_owned());
        let made = maker.spawn(move || -> io::Result<(OwnedFd, OwnedFd, CString)> {
            let ours = crate::stat::Status::own()?.uids.filesystem == uid;
            if !ours && !files::take_filesystem_ids(uid, gid) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            let folder = folder(&root, uid, own_uid)?;
            let path = format!("/proc/self/fd/{}/", folder.as_raw_fd());
            let path = [path.as_bytes(), name.as_bytes()].concat();
            let listener = sys::listen(&CString::new(path)?)?;
            Ok((listener, folder, name))
        })?;
        let (listener, folder, name) =
            made.join().map_err(|_| io::Error::other("the thread that makes it failed"))??;
        Ok(Self { listener, folder, name })
    }

    fn accept(&self, pid: i32, uid: u32, limit: Duration) -> io::Result<Option<OwnedFd>> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !crate::sys::wait_readable(&self.listener, Some(left)) {
                return Ok(None);
            }
            let Some(connection) = sys::accept(self.listener.as_fd())? else { continue };
            let peer = sys::peer(connection.as_fd())?;
            if peer == (pid, uid) {
                return Ok(Some(connection));
            }
            log::warn!("sent process {} of user {} away from the bell of {pid}", peer.0, peer.1);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // With our own rights: root may, and whoever is not root has made it himself.
        if let Err(error) = sys::unlink(self.folder.as_fd(), &self.name) {
            log::debug!("the bell's socket stays: {error}");
        }
    }
}

/// The process's root, or ours where we may not see its.
fn root_of(pid: i32) -> io::Result<OwnedFd> {
    let open = |path: &str| {
        File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(path)
    };
    open(&format!("/proc/{pid}/root")).or_else(|_| open("/")).map(Into::into)
}

/// A user as the process itself sees it: user_namespaces(7), the lines of `uid_map` are inside, outside, length.
fn as_itself(pid: i32, uid: u32) -> u32 {
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap_or_default();
    for line in map.lines().take(400) {
        let words: Vec<u32> =
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let [inside, outside, length] = words[..]
            && uid.checked_sub(outside).is_some_and(|over| over < length)
        {
            return inside.saturating_add(uid - outside);
        }
    }
    uid
}

/// The folder of such sockets: the first of two that can be had, for its owner alone.
fn folder(root: &OwnedFd, uid: u32, own_uid: u32) -> io::Result<OwnedFd> {
    let places = [
        (format!("/run/user/{own_uid}"), "spyhole".to_owned()),
        ("/tmp".to_owned(), format!("spyhole-{own_uid}")),
    ];
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (parent, name) in places {
        match within(root, &parent, &name, uid) {
            Ok(folder) => return Ok(folder),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn within(root: &OwnedFd, parent: &str, name: &str, uid: u32) -> io::Result<OwnedFd> {
    const PLACE: i32 = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let at = CString::new(parent)?;
    let parent_folder = files::open_within(root.as_fd(), &at, PLACE)?;
    let name_at = CString::new(name)?;
    match sys::make_folder(parent_folder.as_fd(), &name_at) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let refused = || {
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("`{parent}/{name}` is a link, somebody else's, or open to others"),
        )
    };
    let folder = files::open_within(parent_folder.as_fd(), &name_at, PLACE | libc::O_NOFOLLOW)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOTDIR | libc::ELOOP) => refused(),
            _ => error,
        })?;
    let folder = File::from(folder);
    let seen = folder.metadata()?;
    if !seen.is_dir() || seen.uid() != uid || seen.mode() & 0o077 != 0 {
        return Err(refused());
    }
    Ok(folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_plate_is_two_signals_and_not_all() {
        let status = |mask: u64| Status::parse(format!("SigCgt:\t{mask:016x}\n").as_bytes());
        let caught = |numbers: &[i32]| status(numbers.iter().map(|n| 1_u64 << (n - 1)).sum());
        assert!(has_name_plate(&caught(&[2, 45, 54])));
        assert!(has_name_plate(&caught(&[45, 46, 54])));
        assert!(!has_name_plate(&caught(&[45])));
        assert!(!has_name_plate(&caught(&[54, 46])));
        assert!(!has_name_plate(&status(u64::MAX)));
    }

    #[test]
    fn nothing_is_sent_to_a_process_without_it() {
        let own = Pidfd::open(std::process::id() as i32).unwrap();
        assert!(!send(&own, RING).unwrap());
    }
}
