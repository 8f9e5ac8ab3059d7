//! Standing still: the agent's thread keeps the GIL while it waits for the client, so that no other thread of the program
//! runs Python between two commands.
//!
//! Who waits for the GIL asks for it after an interval (`Python/ceval_gil.h`, `take_gil`). That is made long meanwhile, and
//! what was asked for during a wait is forgotten at its end. A long interval must never outlive its reason: the watcher
//! takes it back when the client is gone or the time is up, without the GIL, and whoever ends the agent does so again.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::functions::{page, none};
use crate::kernel::*;
use crate::params::*;
use crate::watcher::any_armed;
use crate::{Object, P};

/// `_PY_GIL_DROP_REQUEST_BIT` (Include/internal/pycore_ceval.h, 3.13+)
const DROP_REQUEST: u64 = 1;
/// States of `frozen`.
const NOT: u32 = 0;
const FROZEN: u32 = 1;
/// The interval is the program's own again, by the watcher's doing; the agent has still to say so.
const OVER: u32 = 2;

section! {
unsafe fn now(p: P) -> u64 {
    const CLOCK_MONOTONIC: i64 = 1;
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    call!(p, clock_gettime(CLOCK_MONOTONIC, &raw mut time));
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

#[inline(always)]
unsafe fn frozen<'a>(p: P) -> &'a core::sync::atomic::AtomicU32 {
    word(&raw mut (*p).freezing.frozen)
}

unsafe fn lock(p: P) {
    while word(&raw mut (*p).freezing.lock).swap(1, Ordering::Acquire) != 0 {
        pause(20);
    }
}

unsafe fn unlock(p: P) {
    word(&raw mut (*p).freezing.lock).store(0, Ordering::Release);
}

/// The program's own interval, if ours is still there. Needs no GIL: it is one aligned word, which `sys.setswitchinterval`
/// writes in the same way.
unsafe fn put_back(p: P) {
    let f = &raw mut (*p).freezing;
    let interval = AtomicU64::from_ptr((*f).interval as *mut u64);
    if interval.load(Ordering::SeqCst) == (*f).long {
        interval.store((*f).normal, Ordering::SeqCst);
    }
}

/// Forgets that somebody asked for the GIL.
unsafe fn forget_requests(p: P) {
    let f = &raw mut (*p).freezing;
    if (*f).in_state != 0 {
        AtomicU64::from_ptr(((*f).state + (*f).in_state) as *mut u64)
            .fetch_and(!DROP_REQUEST, Ordering::SeqCst);
    } else {
        word((*f).request as *mut u32).store(0, Ordering::SeqCst);
    }
}

/// Asks the agent's thread for the GIL, as a thread does that has waited long enough. Only where one does wait or is about
/// to: who gives it up goes on when another one has taken it.
unsafe fn ask(p: P) {
    let f = &raw mut (*p).freezing;
    if (*f).in_state != 0 {
        AtomicU64::from_ptr(((*f).state + (*f).in_state) as *mut u64)
            .fetch_or(DROP_REQUEST, Ordering::SeqCst);
    } else {
        word((*f).request as *mut u32).store(1, Ordering::SeqCst);
        word((*f).breaker as *mut u32).store(1, Ordering::SeqCst);
    }
}

/// In the watcher, which is about to take the GIL from code that runs frozen. `ends`: it is over with the freeze, and not
/// only until the code has ended.
pub(crate) unsafe fn loosen(p: P, ends: bool) -> bool {
    let mut loosened = false;
    lock(p);
    if frozen(p).load(Ordering::SeqCst) == FROZEN {
        loosened = true;
        put_back(p);
        if ends {
            frozen(p).store(OVER, Ordering::SeqCst);
        }
        if any_armed(p) {
            ask(p);
        }
    }
    unlock(p);
    loosened
}

/// Whether the time is up, in which a command has to end.
pub(crate) unsafe fn is_late(p: P) -> bool {
    frozen(p).load(Ordering::SeqCst) == FROZEN && now(p) > (*p).freezing.deadline
}

/// The end of a freeze, if there is one; by whoever has the GIL. The watcher does not look at our thread's state after it.
pub(crate) unsafe fn thaw(p: P) {
    lock(p);
    thaw_child(p);
    unlock(p);
}

/// The same in a child, where the lock may be that of a thread which is not there.
pub(crate) unsafe fn thaw_child(p: P) {
    if frozen(p).swap(NOT, Ordering::SeqCst) != NOT {
        put_back(p);
    }
}

/// (where the interval is, where switches are counted, the request, what makes it heard, where it is in a thread's state
/// or 0, the interval as it is and the long one, in microseconds, the time for a command in milliseconds). Does nothing if
/// the interval is another one than that.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_freeze(own: Object, all: Object) -> Object {
    let p = page(own);
    let f = &raw mut (*p).freezing;
    let mut numbers = [0_u64; 8];
    let mut i = 0;
    while i < 8 {
        let number = call!(p, PyTuple_GetItem(all, i));
        if number == 0 {
            return 0;
        }
        core::ptr::write_volatile(numbers.as_mut_ptr().add(i), call!(p, PyLong_AsLong(number)));
        i += 1;
    }
    let [interval, switches, request, breaker, in_state, normal, long, limit] = numbers;
    lock(p);
    if frozen(p).load(Ordering::SeqCst) == NOT && *(interval as *const u64) == normal {
        (*f).interval = interval;
        (*f).switches = switches;
        (*f).request = request;
        (*f).breaker = breaker;
        (*f).in_state = in_state;
        (*f).state = call!(p, PyGILState_GetThisThreadState());
        (*f).limit = limit;
        (*f).long = long;
        (*f).normal = normal;
        (*f).seen = *(switches as *const u64);
        (*f).deadline = now(p) + limit * 1_000_000;
        *(interval as *mut u64) = long;
        frozen(p).store(FROZEN, Ordering::SeqCst);
        // Who waits already asks after the interval as it was, and then after the long one.
        const AT_MOST: u64 = 20_000;
        pause(if normal < AT_MOST { normal + 1000 } else { AT_MOST } as i64);
        forget_requests(p);
    }
    unlock(p);
    none(p)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_thaw(own: Object, _: Object) -> Object {
    let p = page(own);
    thaw(p);
    none(p)
}

/// Waits with the GIL until there is something to read. `False`: the time is up.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_still(own: Object, _: Object) -> Object {
    let p = page(own);
    let limit = (*p).freezing.limit;
    (*p).freezing.deadline = now(p) + limit * 1_000_000;
    let mut there = false;
    lock(p);
    let stays = frozen(p).load(Ordering::SeqCst) == FROZEN;
    if stays {
        // The watcher may have loosened it. Whoever has the GIL to write this need not wait for it.
        *((*p).freezing.interval as *mut u64) = (*p).freezing.long;
    }
    unlock(p);
    if stays {
        there = wait_for((*p).descriptors[1], POLLIN, limit as i64);
        lock(p);
        // The watcher may have ended it meanwhile.
        there &= frozen(p).load(Ordering::SeqCst) == FROZEN;
        if there {
            (*p).freezing.deadline = now(p) + limit * 1_000_000;
            forget_requests(p);
        }
        unlock(p);
    }
    call!(p, PyBool_FromLong(there as i64))
}

/// Whether another thread has had the GIL since this was asked the last time.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_yielded(own: Object, _: Object) -> Object {
    let p = page(own);
    let f = &raw mut (*p).freezing;
    let switches = *((*f).switches as *const u64);
    let yielded = switches != (*f).seen;
    (*f).seen = switches;
    call!(p, PyBool_FromLong(yielded as i64))
}
}
