//! What Python sees of the stub: builtin functions, each of which takes (self, argument) and gives a new reference.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::interpreter::{guard, guard_again, hold, is_ending};
use crate::kernel::*;
use crate::params::*;
use crate::sessions::hang_up_sessions;
use crate::watcher::interrupt;
use crate::{Object, P};

section! {
unsafe fn none(p: P) -> Object {
    let none = (*p).functions[Function::_Py_NoneStruct as usize];
    call!(p, Py_IncRef(none));
    none
}

/// The page of the agent that a function was made for: its `self` is that page's address.
#[inline(always)]
unsafe fn page(own: Object) -> P {
    let p = here();
    call!(p, PyLong_AsLong(own)) as P
}

#[inline(always)]
unsafe fn is_closed(p: P) -> bool {
    word(&raw mut (*p).closed).load(Ordering::SeqCst) != 0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_now(_: Object, _: Object) -> Object {
    const CLOCK_MONOTONIC: i64 = 1;
    let p = here();
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    // libc's, which asks no kernel for this clock and cannot fail: a passing that is dropped must cost next to nothing.
    call!(p, clock_gettime(CLOCK_MONOTONIC, &raw mut time));
    let f: extern "C" fn(f64) -> Object =
        core::mem::transmute((*p).functions[Function::PyFloat_FromDouble as usize]);
    f(time.seconds as f64 + time.nanoseconds as f64 * (*p).billionth)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_ident(_: Object, _: Object) -> Object {
    let p = here();
    call!(p, PyLong_FromUnsignedLong(call!(p, pthread_self())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_tid(_: Object, _: Object) -> Object {
    let p = here();
    call!(p, PyLong_FromLong(system(SYS_GETTID, 0, 0, 0, 0, 0, 0)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_send(own: Object, data: Object) -> Object {
    let p = page(own);
    let bytes = call!(p, PyBytes_AsString(data));
    if bytes == 0 {
        // Not bytes: the error is set.
        return 0;
    }
    let length = call!(p, PyBytes_Size(data) -> i64);
    let sent = !is_closed(p) && length <= FRAME_AT_MOST && send_frame(p, bytes, length);
    call!(p, PyBool_FromLong(sent as i64))
}

/// One frame, never torn by that of another thread: at once if there is room, else without the GIL.
unsafe fn send_frame(p: P, bytes: u64, length: i64) -> bool {
    let lock = word(&raw mut (*p).send_lock);
    let fd = (*p).descriptors[1];
    let header = length as u32;
    let total = length + 4;
    let mut done = 0;
    let mut saved = 0;
    if lock.swap(1, Ordering::Acquire) != 0 {
        saved = call!(p, PyEval_SaveThread());
        while lock.swap(1, Ordering::Acquire) != 0 {
            pause(200);
        }
    }
    while done < total {
        // struct iovec twice, struct msghdr
        let mut parts = [&raw const header as u64, 4, bytes, length as u64];
        let message = if done < 4 {
            parts[0] += done as u64;
            parts[1] -= done as u64;
            [0_u64, 0, &raw const parts as u64, 2, 0, 0, 0]
        } else {
            parts[2] += (done - 4) as u64;
            parts[3] -= (done - 4) as u64;
            [0_u64, 0, &raw const parts as u64 + 16, 1, 0, 0, 0]
        };
        let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
        let n = system(SYS_SENDMSG, fd as i64, &raw const message as i64, flags, 0, 0, 0);
        if n > 0 {
            done += n;
        } else if n == EAGAIN {
            if saved == 0 {
                saved = call!(p, PyEval_SaveThread());
            }
            wait_for(fd, POLLOUT, -1);
        } else if n != EINTR {
            break;
        }
    }
    lock.store(0, Ordering::Release);
    if saved != 0 {
        call!(p, PyEval_RestoreThread(saved));
    }
    done == total
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_take(own: Object, _: Object) -> Object {
    const FIONREAD: i64 = 0x541b;
    const AT_MOST: i32 = 64 << 10;
    let p = page(own);
    let fd = (*p).descriptors[1] as i64;
    let mut there = 0_i32;
    if is_closed(p) || is_ending(p) {
        return none(p);
    }
    system(SYS_IOCTL, fd, FIONREAD, &raw mut there as i64, 0, 0, 0);
    if there <= 0 {
        let mut one = 0_u8;
        let n = system(SYS_RECVFROM, fd, &raw mut one as i64, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);
        if n == 0 || (n < 0 && n != EAGAIN && n != EINTR) {
            return call!(p, PyBytes_FromStringAndSize(0, 0));
        }
        return none(p);
    }
    let length = if there > AT_MOST { AT_MOST } else { there };
    let bytes = call!(p, PyBytes_FromStringAndSize(0, length as i64));
    if bytes != 0 && !read_exactly(fd as i32, call!(p, PyBytes_AsString(bytes)), length as i64) {
        call!(p, Py_DecRef(bytes));
        return call!(p, PyBytes_FromStringAndSize(0, 0));
    }
    bytes
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_arm(own: Object, job: Object) -> Object {
    let p = page(own);
    let job = call!(p, PyLong_AsLong(job));
    let ident = call!(p, pthread_self());
    let armed = &raw mut (*p).armed as *mut Armed;
    let mut i = 0;
    while i < ARMED_AT_MOST {
        if (*armed.add(i)).job == 0 {
            (*armed.add(i)).ident = ident;
            (*armed.add(i)).raised = 0;
            core::ptr::write_volatile(&raw mut (*armed.add(i)).job, job);
            break;
        }
        i += 1;
    }
    guard_again(p);
    // The client went before the code began, or the interpreter is being ended: nobody would interrupt it any more.
    if word(&raw mut (*p).gone).load(Ordering::SeqCst) != 0 || is_ending(p) {
        interrupt(p, job);
    }
    none(p)
}

/// True: it was interrupted meanwhile, and a KeyboardInterrupt comes at once, also if one has come already.
///
/// It cannot be taken back without harm. Up to 3.12 the interpreter remembers that there is one for some thread, until a
/// thread raises one (`_PyEval_SignalAsyncExc` and `UNSIGNAL_ASYNC_EXC` in Python/ceval.c), which setting it to NULL does not
/// undo: each thread would look for one again and again from then on, and on 3.11 one that has a trace function would never
/// enter another function (Python/ceval.c, DO_TRACING, which begins its instruction anew after each look).
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_disarm(own: Object, job: Object) -> Object {
    let p = page(own);
    let job = call!(p, PyLong_AsLong(job));
    let ident = call!(p, pthread_self());
    let armed = &raw mut (*p).armed as *mut Armed;
    let mut raised = false;
    let mut i = 0;
    while i < ARMED_AT_MOST {
        if (*armed.add(i)).job == job && (*armed.add(i)).ident == ident {
            core::ptr::write_volatile(&raw mut (*armed.add(i)).job, 0);
            raised |= (*armed.add(i)).raised != 0;
        }
        i += 1;
    }
    guard_again(p);
    if raised {
        let exception = *((*p).functions[Function::PyExc_KeyboardInterrupt as usize] as *const Object);
        call!(p, PyThreadState_SetAsyncExc(ident, exception));
    }
    call!(p, PyBool_FromLong(raised as i64))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_spawn(own: Object, callable: Object) -> Object {
    let p = page(own);
    let count = AtomicU64::from_ptr(&raw mut (*p).spawned_count);
    let n = count.load(Ordering::Acquire) as usize;
    if n >= SPAWNED_AT_MOST || is_closed(p) {
        return call!(p, PyBool_FromLong(0));
    }
    let one = (&raw mut (*p).spawned as *mut Spawned).add(n);
    (*one).callable = callable;
    (*one).page = p as u64;
    call!(p, Py_IncRef(callable));
    let attributes = &raw mut (*p).attributes;
    call!(p, pthread_attr_init(attributes));
    call!(p, pthread_attr_setstacksize(attributes, (*p).stack_size));
    let failed =
        call!(p, pthread_create(&raw mut (*one).thread, attributes, (*p).spawned_entry, one) -> i32);
    if failed != 0 {
        call!(p, Py_DecRef(callable));
    } else {
        count.store(n as u64 + 1, Ordering::Release);
    }
    call!(p, PyBool_FromLong((failed == 0) as i64))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_hangup(own: Object, _: Object) -> Object {
    let p = page(own);
    if !is_closed(p) {
        hang_up_sessions(p);
        hang_up((*p).descriptors[1]);
        hang_up((*p).descriptors[3]);
    }
    none(p)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_control(own: Object, callable: Object) -> Object {
    let p = page(own);
    call!(p, Py_IncRef(callable));
    let old = (*p).control;
    (*p).control = callable;
    if old != 0 {
        call!(p, Py_DecRef(old));
    }
    none(p)
}

/// The calling thread has nothing to do: it leaves the interpreter, and calls this when there is something to read.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_rest(own: Object, callable: Object) -> Object {
    let p = page(own);
    call!(p, Py_IncRef(callable));
    let old = (*p).again;
    (*p).again = callable;
    (*p).again_thread = call!(p, pthread_self());
    if old != 0 {
        call!(p, Py_DecRef(old));
    }
    none(p)
}

/// Tries once more to register the guard: see `guard`.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_guard(own: Object, _: Object) -> Object {
    let p = page(own);
    call!(p, PyBool_FromLong(guard(p) as i64))
}

/// The guard: the program ends our interpreter, in the calling thread, and has to wait for us.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_hold(own: Object, _: Object) -> Object {
    let p = page(own);
    hold(p);
    none(p)
}
}
