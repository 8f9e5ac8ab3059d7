//! Whether the borrowed thread has left our code, where no client says so.
//!
//! One that is killed leaves it in `launch`, from where it goes home by itself. On a machine that is busy enough that takes
//! longer than any time that could be given to it, and the code must not go before it does.

use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;

use crate::P;
use crate::kernel::*;
use crate::params::CODE_LENGTH;

/// What it uses of the processor in our code is some tenths of a millisecond.
const MORE_THAN_LAUNCH_USES: i64 = 1_000_000_000;

/// In our code, or stopped there.
const WITHIN: i32 = 0;
/// Elsewhere, or it has ended.
const AWAY: i32 = 1;
/// It runs, or would if it had a processor.
const RUNNING: i32 = 2;
const UNSEEN: i32 = 3;

section! {
/// Returns when the borrowed thread does not run our code and never will again.
pub(crate) unsafe fn wait_until_home(p: P) {
    const PAUSE: i64 = 2000;
    // Where nothing can be seen of it (no /proc, no descriptors left).
    const UNSEEN_AT_MOST: i64 = 30_000_000;
    const RUNNING_AT_MOST: i64 = 1500;
    let mut running = 0_i64;
    let mut unseen = 0;
    let mut used = -1;
    while unseen < UNSEEN_AT_MOST {
        // Before that it may be anywhere in libc and come back.
        if word(&raw mut (*p).launched).load(Ordering::Acquire) != 0 {
            // No `match` of them all: its table would lie outside of this section.
            let place = core::hint::black_box(place(p));
            if place == AWAY {
                return;
            }
            if place == RUNNING {
                let now = used_by((*p).borrowed);
                if used < 0 {
                    used = now;
                }
                // In our code it would have been seen in a call by then.
                running += 1;
                if running > RUNNING_AT_MOST || now - used > MORE_THAN_LAUNCH_USES {
                    return;
                }
            } else if place == UNSEEN {
                unseen += PAUSE;
            }
        }
        pause(PAUSE);
    }
}

/// By /proc/self/task/TID/syscall: `running`, or what it does with its stack pointer and its program counter at the end
/// (fs/proc/base.c, proc_pid_syscall).
unsafe fn place(p: P) -> i32 {
    const O_CLOEXEC: i64 = 0o2000000;
    const LENGTH: i64 = 256;
    let tid = (*p).borrowed;
    // Part by part: as a whole it would lie outside of this section.
    let mut path = MaybeUninit::<[u64; 5]>::uninit();
    let path = path.as_mut_ptr() as *mut u64;
    path.write_volatile(u64::from_le_bytes(*b"/proc/se"));
    path.add(1).write_volatile(u64::from_le_bytes(*b"lf/task/"));
    let end = write_number(path.add(2) as *mut u8, tid as u32);
    (end as *mut u64).write_unaligned(u64::from_le_bytes(*b"/syscall"));
    end.add(8).write_volatile(0);
    let fd = system(SYS_OPEN, path as i64, O_CLOEXEC, 0, 0, 0, 0);
    if fd < 0 {
        const ESRCH: i64 = -3;
        let own = system(SYS_GETPID, 0, 0, 0, 0, 0, 0);
        let is_there = system(SYS_TGKILL, own, tid as i64, 0, 0, 0, 0) != ESRCH;
        return if is_there { UNSEEN } else { AWAY };
    }
    let mut text = MaybeUninit::<[u8; LENGTH as usize]>::uninit();
    let text = text.as_mut_ptr() as *mut u8;
    let length = system(SYS_READ, fd, text as i64, LENGTH, 0, 0, 0);
    close(fd as i32);
    if length <= 0 {
        // It has ended meanwhile, which is seen when it is looked for again.
        return UNSEEN;
    }
    if *text == b'r' {
        return RUNNING;
    }
    let (counter, base) = (last_number(text, length), (*p).base);
    if counter >= base && counter < base + CODE_LENGTH { WITHIN } else { AWAY }
}

/// The hexadecimal number at the end of a line.
unsafe fn last_number(text: *const u8, length: i64) -> u64 {
    let (mut number, mut shift) = (0_u64, 0);
    let mut at = length - 1;
    while at >= 0 && shift < 64 {
        let byte = *text.offset(at as isize);
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'\n' => {
                at -= 1;
                continue;
            }
            _ => break,
        };
        number |= (digit as u64) << shift;
        shift += 4;
        at -= 1;
    }
    number
}

/// In decimal; where it ends.
unsafe fn write_number(at: *mut u8, number: u32) -> *mut u8 {
    let mut digits = 1;
    let mut rest = number / 10;
    while rest > 0 {
        digits += 1;
        rest /= 10;
    }
    let mut left = number;
    let mut index = digits;
    while index > 0 {
        index -= 1;
        at.add(index).write_volatile(b'0' + (left % 10) as u8);
        left /= 10;
    }
    at.add(digits)
}

/// Nanoseconds of the processor that a thread has used: the clock of its number (include/linux/posix-timers_types.h).
unsafe fn used_by(tid: i32) -> i64 {
    const PER_THREAD_AND_BY_SCHEDULER: i32 = 6;
    let clock = (!tid << 3) | PER_THREAD_AND_BY_SCHEDULER;
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    system(SYS_CLOCK_GETTIME, clock as i64, &raw mut time as i64, 0, 0, 0, 0);
    time.seconds * 1_000_000_000 + time.nanoseconds
}
}
