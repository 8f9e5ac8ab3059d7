//! Calls that open files as somebody else, and below a root that is not ours.
//!
//! What a thread takes on here is its own affair: the other threads of this program keep their rights. (The C library's
//! functions of these names change all threads; these are the plain system calls.)

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Opens a path within `root`, which no link and no `..` leaves; links of the kernel's own (`/proc/PID/root`) are not
/// followed. `ENOSYS` from kernels before 5.6.
pub fn open_within(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    // `struct open_how` of linux/openat2.h: flags, mode, resolve.
    let how =
        [u64::from(flags.cast_unsigned()), 0, libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS];
    // SAFETY: the path ends in a zero, and `how` has the size that is told; both outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            how.as_ptr(),
            size_of_val(&how),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel just gave this descriptor to us alone.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kind of filesystem that a file lies on: the magic numbers of statfs(2).
pub fn filesystem(file: BorrowedFd<'_>) -> io::Result<i64> {
    // SAFETY: all-zero is a valid value of this plain struct, which outlives the call.
    let (result, told) = unsafe {
        let mut told: libc::statfs = std::mem::zeroed();
        (libc::fstatfs(file.as_raw_fd(), &mut told), told)
    };
    match result {
        #[allow(clippy::unnecessary_cast, reason = "its type differs between C libraries")]
        0 => Ok(told.f_type as i64),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes these the supplementary groups of the calling thread.
pub fn take_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list is as long as is told.
    match unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes these the user and group by which the kernel lets the calling thread at files. Whether they are now: the kernel
/// refuses without a word.
pub fn take_filesystem_ids(uid: u32, gid: u32) -> bool {
    let ask = |number, id: u32| {
        // SAFETY: no pointers are passed. An id of -1 is never taken on, and so asks for the present one.
        unsafe {
            libc::syscall(number, id);
            libc::syscall(number, u32::MAX)
        }
    };
    // The group first: without the user's capabilities it could not be changed any more.
    ask(libc::SYS_setfsgid, gid) == i64::from(gid) && ask(libc::SYS_setfsuid, uid) == i64::from(uid)
}

/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h, with pid 0 for the calling thread.
const CAPABILITIES: [u32; 2] = [0x2008_0522, 0];

/// Gives up the capabilities of the calling thread that are not in `mask`.
pub fn keep_capabilities(mask: u64) -> io::Result<()> {
    // Twice effective, permitted, inheritable: the low halves, then the high ones.
    let mut sets = [0_u32; 6];
    // SAFETY: the header and the six words are what this version of the call takes; they outlive the calls.
    let result = unsafe {
        match libc::syscall(libc::SYS_capget, CAPABILITIES.as_ptr(), sets.as_mut_ptr()) {
            0 => {
                let (low, high) = (mask as u32, (mask >> 32) as u32);
                (sets[0], sets[3]) = (sets[0] & low, sets[3] & high);
                libc::syscall(libc::SYS_capset, CAPABILITIES.as_ptr(), sets.as_ptr())
            }
            failed => failed,
        }
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
