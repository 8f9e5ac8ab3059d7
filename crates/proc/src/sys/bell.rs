//! Calls that make a unix socket or a file without a name, say who is at the other end, and send a signal to a held
//! process.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn done(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A listening socket at a path, for its owner alone: its mode is set before it has a name (net/unix/af_unix.c takes
/// the mode of the socket for that of the file). Waits in it never block.
pub fn listen(path: &CStr) -> io::Result<OwnedFd> {
    const WAITING: i32 = 8;
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers are passed.
    let listener = owned(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: no pointers are passed.
    done(unsafe { libc::fchmod(listener.as_raw_fd(), 0o600) })?;
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.to_bytes();
    if bytes.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = byte.cast_signed();
    }
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is a live struct of the length that is told.
    done(unsafe { libc::bind(listener.as_raw_fd(), (&raw const address).cast(), length) })?;
    // SAFETY: no pointers are passed.
    done(unsafe { libc::listen(listener.as_raw_fd(), WAITING) })?;
    Ok(listener)
}

/// Whoever has connected; `None` if nobody waits.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let none = std::ptr::null_mut();
    // SAFETY: the address of the peer is not asked for.
    let fd = unsafe {
        libc::accept4(listener.as_raw_fd(), none, std::ptr::null_mut(), libc::SOCK_CLOEXEC)
    };
    match owned(fd) {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The process and the user at the other end, as they were when it connected; unix(7), SO_PEERCRED.
pub fn peer(connection: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let mut told = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the struct and its length outlive the call.
    done(unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut told).cast(),
            &raw mut length,
        )
    })?;
    Ok((told.pid, told.uid))
}

/// Makes a folder for its owner alone.
pub fn make_folder(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: the name ends in a zero and outlives the call.
    done(unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), 0o700) })
}

/// Takes a name out of a folder.
pub fn unlink(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: the name ends in a zero and outlives the call.
    done(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) })
}

/// A file that is nowhere but in memory, with this content, from its beginning; it outlives an `exec`.
pub fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    use std::io::{Seek, Write};
    // SAFETY: the name ends in a zero.
    let file = owned(unsafe { libc::memfd_create(c"spyhole".as_ptr(), 0) })?;
    let mut file = std::fs::File::from(file);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

/// Sends a signal to the process that a pidfd holds, and to no other.
pub fn signal(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no siginfo is passed.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, none, 0) };
    done(sent as i32)
}
