//! The calls by which another process passes descriptors to us, and enters of its network namespace.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Call, Result, SysError, gate};

/// Takes the calling thread into a network namespace.
pub fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: it touches no memory of ours.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The process at the other end of a unix socket, as we number it.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut peer = MaybeUninit::<libc::ucred>::zeroed();
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `peer`, for which any bytes are valid.
    let (failed, peer) = unsafe {
        let failed = libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            peer.as_mut_ptr().cast(),
            &mut length,
        );
        (failed, peer.assume_init())
    };
    if failed == 0 { Ok(peer.pid) } else { Err(io::Error::last_os_error()) }
}

/// Two descriptors that come with 8 bytes of data.
pub fn receive_two(socket: BorrowedFd<'_>) -> Result<([OwnedFd; 2], u64)> {
    const CALL: Call = Call::Receive;
    let mut data = [0_u8; 8];
    // Room for two descriptors, aligned as `cmsghdr` is.
    let mut control = [0_u64; 4];
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_WAITALL;
    // SAFETY: the message refers to live local buffers of the lengths that it tells.
    let length =
        gate(CALL, || unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) } as i64)?;
    // SAFETY: the kernel has filled in `msg_controllen`, within which the macros stay.
    let descriptors = unsafe {
        let head = libc::CMSG_FIRSTHDR(&message);
        let mut found = Vec::new();
        if !head.is_null() && (*head).cmsg_type == libc::SCM_RIGHTS {
            let bytes = (*head).cmsg_len - libc::CMSG_LEN(0) as usize;
            let first = libc::CMSG_DATA(head).cast::<i32>();
            for i in 0..bytes / size_of::<i32>() {
                found.push(OwnedFd::from_raw_fd(first.add(i).read_unaligned()));
            }
        }
        found
    };
    match <[OwnedFd; 2]>::try_from(descriptors) {
        Ok(two) if length == 8 => Ok((two, u64::from_le_bytes(data))),
        _ => Err(SysError { call: CALL, source: io::ErrorKind::UnexpectedEof.into() }),
    }
}
