//! System calls, made without libc, and what is built of them.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::P;
use crate::params::{ALIGNMENT, CODE_LENGTH, STUB_SAYS};

pub(crate) const SYS_READ: i64 = 0;
pub(crate) const SYS_OPEN: i64 = 2;
pub(crate) const SYS_CLOSE: i64 = 3;
pub(crate) const SYS_POLL: i64 = 7;
pub(crate) const SYS_MMAP: i64 = 9;
pub(crate) const SYS_MUNMAP: i64 = 11;
pub(crate) const SYS_SELECT: i64 = 23;
pub(crate) const SYS_IOCTL: i64 = 16;
pub(crate) const SYS_NANOSLEEP: i64 = 35;
pub(crate) const SYS_SOCKET: i64 = 41;
pub(crate) const SYS_CONNECT: i64 = 42;
pub(crate) const SYS_SENDTO: i64 = 44;
pub(crate) const SYS_RECVFROM: i64 = 45;
pub(crate) const SYS_SENDMSG: i64 = 46;
pub(crate) const SYS_SHUTDOWN: i64 = 48;
pub(crate) const SYS_SOCKETPAIR: i64 = 53;
pub(crate) const SYS_GETPRIORITY: i64 = 140;
pub(crate) const SYS_CLOCK_GETTIME: i64 = 228;
pub(crate) const SYS_GETPID: i64 = 39;
pub(crate) const SYS_TGKILL: i64 = 234;
pub(crate) const SYS_SCHED_GETSCHEDULER: i64 = 145;
pub(crate) const SYS_SCHED_SETATTR: i64 = 314;
pub(crate) const SYS_PRCTL: i64 = 157;
pub(crate) const SYS_GETTID: i64 = 186;

pub(crate) const EAGAIN: i64 = -11;
pub(crate) const EINTR: i64 = -4;
pub(crate) const POLLIN: i16 = 1;
pub(crate) const POLLOUT: i16 = 4;
pub(crate) const MSG_PEEK: i64 = 2;
pub(crate) const MSG_DONTWAIT: i64 = 0x40;
pub(crate) const MSG_NOSIGNAL: i64 = 0x4000;
/// Frames of more than this are a fault of ours.
pub(crate) const FRAME_AT_MOST: i64 = 64 << 20;

#[repr(C)]
pub(crate) struct PollEntry {
    pub(crate) fd: i32,
    pub(crate) events: i16,
    pub(crate) happened: i16,
}

#[repr(C)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: i64,
}

section! {
#[inline(always)]
pub(crate) unsafe fn system(n: i64, a: i64, b: i64, c: i64, d: i64, e: i64, f: i64) -> i64 {
    let result;
    asm!("syscall", inlateout("rax") n => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
        in("r9") f, out("rcx") _, out("r11") _, options(nostack));
    result
}

/// The shared page, found from where this code lies.
#[inline(always)]
pub(crate) unsafe fn here() -> P {
    let counter: u64;
    asm!("lea {}, [rip]", out(reg) counter, options(nomem, nostack, preserves_flags));
    ((counter & !(ALIGNMENT - 1)) + CODE_LENGTH) as P
}

#[inline(always)]
pub(crate) unsafe fn word<'a>(at: *mut u32) -> &'a AtomicU32 {
    AtomicU32::from_ptr(at)
}

pub(crate) unsafe fn pause(microseconds: i64) {
    let time = Time { seconds: 0, nanoseconds: microseconds * 1000 };
    system(SYS_NANOSLEEP, &raw const time as i64, 0, 0, 0, 0, 0);
}

/// Asks the scheduler for short turns that come soon (Linux 6.12 on; kernel/sched/syscalls.c, `__setparam_fair`). Each
/// thing that this thread does is short, and otherwise it would wait behind a busy thread for that one's whole turn.
pub(crate) unsafe fn ask_for_short_turns() {
    const SHORTEST: u64 = 100_000;
    const SCHED_NORMAL: i64 = 0;
    // What the code starts gets turns of the usual length.
    const SCHED_FLAG_RESET_ON_FORK: u64 = 1;
    if system(SYS_SCHED_GETSCHEDULER, 0, 0, 0, 0, 0, 0) != SCHED_NORMAL {
        return;
    }
    // 20 less the nice value, which stays as it is.
    let nice = 20 - system(SYS_GETPRIORITY, 0, 0, 0, 0, 0, 0);
    // struct sched_attr: size and policy, flags, nice and priority, runtime, deadline, period.
    let attributes = [48_u64, SCHED_FLAG_RESET_ON_FORK, nice as u32 as u64, SHORTEST, 0, 0];
    system(SYS_SCHED_SETATTR, 0, &raw const attributes as i64, 0, 0, 0, 0);
}

/// Waits for an event; `false` when the time is up.
pub(crate) unsafe fn wait_for(fd: i32, events: i16, milliseconds: i64) -> bool {
    let mut entry = PollEntry { fd, events, happened: 0 };
    loop {
        let n = system(SYS_POLL, &raw mut entry as i64, 1, milliseconds, 0, 0, 0);
        if n != EINTR {
            return n > 0;
        }
    }
}

/// Reads exactly so many bytes; `false` at end of file or after 5 s of silence.
pub(crate) unsafe fn read_exactly(fd: i32, mut to: u64, mut length: i64) -> bool {
    while length > 0 {
        if !wait_for(fd, POLLIN, 5000) {
            return false;
        }
        let n = system(SYS_READ, fd as i64, to as i64, length, 0, 0, 0);
        if n == EINTR {
            continue;
        }
        if n <= 0 {
            return false;
        }
        to += n as u64;
        length -= n;
    }
    true
}

/// Ends a connection for both sides, and for all that wait on it.
pub(crate) unsafe fn hang_up(fd: i32) {
    const SHUT_RDWR: i64 = 2;
    system(SYS_SHUTDOWN, fd as i64, SHUT_RDWR, 0, 0, 0, 0);
}

pub(crate) unsafe fn close(fd: i32) {
    system(SYS_CLOSE, fd as i64, 0, 0, 0, 0, 0);
}

/// `say` while others may speak: unless one of them stands in the way, which tells enough.
pub(crate) unsafe fn say_beside(fd: i32, lock: *mut u32, what: u8) {
    let mut left = 100;
    while word(lock).swap(1, Ordering::Acquire) != 0 {
        if left == 0 {
            return;
        }
        left -= 1;
        pause(100);
    }
    say(fd, what);
    word(lock).store(0, Ordering::Release);
}

/// Sends two bytes of the stub's own as a frame.
pub(crate) unsafe fn say(fd: i32, what: u8) {
    let frame = [2, 0, 0, 0, STUB_SAYS, what];
    system(SYS_SENDTO, fd as i64, &raw const frame as i64, 6, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
}
}
