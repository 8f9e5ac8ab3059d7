//! The stub's other threads: the one that hears the control channel, and those that the agent spawns.

use core::sync::atomic::Ordering;

use crate::interpreter::{enter, enter_watching, go_on, leave, leave_watching};
use crate::kernel::*;
use crate::params::*;
use crate::sessions::open_session;
use crate::{Object, P};

section! {
/// Hears the control channel: records of 8 bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_watcher(p: P) -> u64 {
    let fd = (*p).descriptors[3];
    loop {
        let mut record = [0_u32; 2];
        let mut done = 0;
        while done < 8 {
            let n = system(SYS_READ, fd as i64, &raw mut record as i64 + done, 8 - done, 0, 0, 0);
            if n == EINTR {
                continue;
            }
            if n <= 0 {
                break;
            }
            done += n;
        }
        if done < 8 {
            word(&raw mut (*p).gone).store(1, Ordering::SeqCst);
            record = [0, 0];
        }
        if done == 8 && record[0] as u8 == OPEN_SESSION {
            open_session(p, fd);
            continue;
        }
        act(p, record[0] as u8, record[1] as u64);
        if done < 8 {
            return 0;
        }
    }
}

pub(crate) unsafe fn act(p: P, op: u8, job: u64) {
    let closed = word(&raw mut (*p).closed);
    if closed.load(Ordering::SeqCst) != 0 || (op == 0 && !any_armed(p)) {
        return;
    }
    let held = enter_watching(p);
    if held == 0 {
        return;
    }
    if closed.load(Ordering::SeqCst) == 0 {
        if op == b'I' || op == 0 {
            interrupt(p, job);
        }
        if op != b'I' && (*p).control != 0 {
            let (a, b) = (call!(p, PyLong_FromLong(op as i64)), call!(p, PyLong_FromLong(job as i64)));
            let f: unsafe extern "C" fn(Object, ...) -> Object =
                core::mem::transmute((*p).functions[Function::PyObject_CallFunctionObjArgs as usize]);
            let control = (*p).control;
            call!(p, Py_IncRef(control));
            let result = f(control, a, b, 0_u64);
            call!(p, Py_DecRef(control));
            if result != 0 {
                call!(p, Py_DecRef(result));
            } else {
                call!(p, PyErr_Clear());
            }
            call!(p, Py_DecRef(a));
            call!(p, Py_DecRef(b));
        }
    }
    leave_watching(p, held);
}

pub(crate) unsafe fn any_armed(p: P) -> bool {
    let armed = &raw const (*p).armed as *const Armed;
    let mut i = 0;
    while i < ARMED_AT_MOST {
        if core::ptr::read_volatile(armed.add(i)).job != 0 {
            return true;
        }
        i += 1;
    }
    false
}

/// Raises KeyboardInterrupt in the thread of that job (0: of every one), if it still runs. With the GIL, so that it
/// cannot end between the look and the raise.
pub(crate) unsafe fn interrupt(p: P, job: u64) {
    let exception = *((*p).functions[Function::PyExc_KeyboardInterrupt as usize] as *const Object);
    let armed = &raw mut (*p).armed as *mut Armed;
    let mut i = 0;
    while i < ARMED_AT_MOST {
        let one = *armed.add(i);
        if one.job != 0 && (job == 0 || one.job == job) {
            call!(p, PyThreadState_SetAsyncExc(one.ident, exception));
            (*armed.add(i)).raised = one.raised.wrapping_add(1);
        }
        i += 1;
    }
}

/// A thread that the agent asked for.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_spawned(one: *mut Spawned) -> u64 {
    let p = (*one).page as P;
    let mut held = enter(p);
    if held == 0 {
        return 0;
    }
    let callable = (*one).callable;
    let f: unsafe extern "C" fn(Object, ...) -> Object =
        core::mem::transmute((*p).functions[Function::PyObject_CallFunctionObjArgs as usize]);
    let result = f(callable, 0_u64);
    if result != 0 {
        call!(p, Py_DecRef(result));
    } else {
        call!(p, PyErr_Clear());
    }
    call!(p, Py_DecRef(callable));
    held = go_on(p, held);
    if held != 0 {
        leave(p, held);
    }
    0
}
}
