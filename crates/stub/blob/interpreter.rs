//! Into an interpreter and out of it.
//!
//! The main one is entered by the functions made for that, and stays entered. Another one is lent: a thread has a state
//! in it only while it has something to do there, since ending an interpreter in which another thread still has one
//! ends the process (Python/pylifecycle.c, Py_EndInterpreter: "not the last thread").

use core::sync::atomic::Ordering;

use crate::kernel::*;
use crate::params::*;
use crate::{Object, P};

section! {
/// Takes the GIL with a state of the calling thread in the agent's interpreter. 0: that is not there any more.
pub(crate) unsafe fn enter(p: P) -> u64 {
    if (*p).interpreter == 0 {
        return call!(p, PyGILState_Ensure() -> i32) as u64 + 1;
    }
    let state = enter_lent(p);
    if state != 0 {
        word(&raw mut (*p).inside).fetch_add(1, Ordering::SeqCst);
    }
    state
}

unsafe fn enter_lent(p: P) -> u64 {
    let was = call!(p, PyGILState_Ensure() -> i32);
    // Whoever ends it, ends or frees the threads that come now.
    let ending = ((*p).interpreter + (*p).finalizing) as *const u32;
    if !is_there(p) || ((*p).finalizing != 0 && *ending != 0) {
        call!(p, PyGILState_Release(was));
        return 0;
    }
    // The first state of an interpreter lies within it, and is made fit for use again only after its thread gave up the
    // GIL (Python/pystate.c of 3.11 to 3.13.0, PyThreadState_DeleteCurrent): another thread that made one just then would
    // end the process. So that one is only held while ours is made.
    let blocked = call!(p, PyThreadState_New((*p).interpreter));
    if blocked == 0 {
        // No memory.
        call!(p, PyGILState_Release(was));
        return 0;
    }
    if (*p).own_gils != 0 {
        // Restoring it makes it the state that PyGILState_Ensure finds (Python/pystate.c, tstate_activate).
        let state = instead_of(p, blocked, call!(p, PyThreadState_New((*p).interpreter)));
        call!(p, PyGILState_Release(was));
        call!(p, PyEval_RestoreThread(state));
        return state;
    }
    // PyGILState_Ensure, which extensions call, finds a thread's first state, and takes the GIL again for another than
    // the current one, for ever. So the one made by our own call goes first; the GIL is kept meanwhile, so that the
    // interpreter cannot end.
    let first = call!(p, PyGILState_GetThisThreadState());
    call!(p, PyThreadState_Clear(first));
    call!(p, PyThreadState_Swap(0));
    call!(p, PyThreadState_Delete(first));
    let state = instead_of(p, blocked, call!(p, PyThreadState_New((*p).interpreter)));
    call!(p, PyThreadState_Swap(state));
    state
}

/// The second of two states, and the first one deleted; without a second one (no memory) the first.
unsafe fn instead_of(p: P, first: u64, second: u64) -> u64 {
    if second == 0 {
        return first;
    }
    call!(p, PyThreadState_Delete(first));
    second
}

/// Undoes `enter`.
pub(crate) unsafe fn leave(p: P, held: u64) {
    if (*p).interpreter == 0 {
        call!(p, PyGILState_Release(held as i32 - 1));
        return;
    }
    // Whoever ends the interpreter waits for us; so the watcher goes first.
    word(&raw mut (*p).inside).fetch_sub(1, Ordering::SeqCst);
    while word(&raw mut (*p).watching).load(Ordering::SeqCst) != 0 {
        call!(p, PyEval_SaveThread());
        pause(100);
        call!(p, PyEval_RestoreThread(held));
    }
    unlatch(p);
    call!(p, PyThreadState_Clear(held));
    call!(p, PyThreadState_DeleteCurrent());
}

/// `enter` for the watcher. Where code of ours runs in the lent interpreter, that one is there for certain, and is
/// entered at once: from the main one the GIL might never be given (3.9 to 3.12 ask the waiter's interpreter for it).
pub(crate) unsafe fn enter_watching(p: P) -> u64 {
    if (*p).interpreter == 0 {
        return enter(p);
    }
    let watching = word(&raw mut (*p).watching);
    watching.store(1, Ordering::SeqCst);
    let state;
    if word(&raw mut (*p).inside).load(Ordering::SeqCst) != 0 {
        state = call!(p, PyThreadState_New((*p).interpreter));
        if state != 0 {
            call!(p, PyEval_RestoreThread(state));
        }
    } else {
        state = enter_lent(p);
    }
    if state == 0 {
        watching.store(0, Ordering::SeqCst);
    }
    state
}

/// Undoes `enter_watching`.
pub(crate) unsafe fn leave_watching(p: P, held: u64) {
    if (*p).interpreter == 0 {
        leave(p, held);
        return;
    }
    call!(p, PyThreadState_Clear(held));
    call!(p, PyThreadState_DeleteCurrent());
    word(&raw mut (*p).watching).store(0, Ordering::SeqCst);
}

/// Makes the last calls of the calling thread's stay. They are C functions, so that the GIL is not given up before its
/// state has gone.
unsafe fn unlatch(p: P) {
    let ident = call!(p, pthread_self());
    let latches = &raw mut (*p).latches as *mut Latch;
    let mut i = 0;
    while i < LATCHES {
        let one = latches.add(i);
        if (*one).thread == ident {
            let calls = (*one).calls;
            (*one).thread = 0;
            let count = call!(p, PyTuple_Size(calls) -> i64);
            let mut at = 1;
            while at + 1 < count {
                let none = (*p).functions[Function::_Py_NoneStruct as usize];
                let argument = call!(p, PyTuple_GetItem(calls, at + 1));
                let callable = call!(p, PyTuple_GetItem(calls, at));
                call_with(p, callable, if argument == none { 0 } else { argument });
                at += 2;
            }
            call!(p, Py_DecRef(calls));
            return;
        }
        i += 1;
    }
}

/// Whether the agent's interpreter is still one of the process; with the GIL of the main one.
unsafe fn is_there(p: P) -> bool {
    let mut at = call!(p, PyInterpreterState_Head());
    while at != 0 {
        if at == (*p).interpreter {
            return (*p).functions[Function::PyInterpreterState_GetID as usize] == 0
                || call!(p, PyInterpreterState_GetID(at) -> i64) == (*p).interpreter_id;
        }
        at = call!(p, PyInterpreterState_Next(at));
    }
    false
}

/// Waits until the agent's interpreter has been taken apart: its garbage collection still looks at our functions, and
/// those lie in our page.
pub(crate) unsafe fn wait_for_its_end(p: P) {
    loop {
        let was = call!(p, PyGILState_Ensure() -> i32);
        let there = is_there(p);
        call!(p, PyGILState_Release(was));
        if !there {
            return;
        }
        pause(5000);
    }
}

pub(crate) unsafe fn call_with(p: P, callable: Object, argument: Object) {
    let f: unsafe extern "C" fn(Object, ...) -> Object =
        core::mem::transmute((*p).functions[Function::PyObject_CallFunctionObjArgs as usize]);
    let result = f(callable, argument, 0_u64);
    if result != 0 {
        call!(p, Py_DecRef(result));
    } else {
        call!(p, PyErr_Clear());
    }
}

/// As long as the agent in this thread only rests: leaves, waits for something to read, enters, and lets it go on. Gives
/// what `enter` gave at last.
pub(crate) unsafe fn go_on(p: P, held: u64) -> u64 {
    let mut held = held;
    while (*p).again != 0 && (*p).again_thread == call!(p, pthread_self()) {
        leave(p, held);
        wait_for((*p).descriptors[1], POLLIN, -1);
        held = enter(p);
        if held == 0 {
            return 0;
        }
        let callable = (*p).again;
        (*p).again = 0;
        call_with(p, callable, 0);
        call!(p, Py_DecRef(callable));
    }
    held
}
}
