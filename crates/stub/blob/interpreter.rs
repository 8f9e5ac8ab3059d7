//! Into an interpreter and out of it.
//!
//! The main one is entered by the functions made for that, and stays entered. Another one is lent: a thread has a state
//! in it only while it has something to do there, since ending an interpreter in which another thread still has one
//! ends the process (Python/pylifecycle.c, Py_EndInterpreter: "not the last thread").

use core::sync::atomic::Ordering;

use crate::kernel::*;
use crate::params::*;
use crate::watcher::interrupt;
use crate::{Object, P};

section! {
/// Takes the GIL with a state of the calling thread in the agent's interpreter. 0: that is not there any more.
pub(crate) unsafe fn enter(p: P) -> u64 {
    if (*p).interpreter == 0 {
        return call!(p, PyGILState_Ensure() -> i32) as u64 + 1;
    }
    // First counted, then looked; whoever ends it does it the other way round.
    word(&raw mut (*p).present).fetch_add(1, Ordering::SeqCst);
    let state = if is_ending(p) { 0 } else { enter_lent(p) };
    if state != 0 {
        word(&raw mut (*p).inside).fetch_add(1, Ordering::SeqCst);
    } else {
        word(&raw mut (*p).present).fetch_sub(1, Ordering::SeqCst);
    }
    state
}

pub(crate) unsafe fn is_ending(p: P) -> bool {
    word(&raw mut (*p).ending).load(Ordering::SeqCst) != 0
}

/// Whether the interpreter says itself that somebody ends it.
unsafe fn is_finalizing(p: P) -> bool {
    let at = ((*p).interpreter + (*p).finalizing) as *const u32;
    (*p).finalizing != 0 && at.read_volatile() != 0
}

unsafe fn enter_lent(p: P) -> u64 {
    let was = call!(p, PyGILState_Ensure() -> i32);
    // Whoever ends it, ends or frees the threads that come now.
    if !is_there(p) || is_finalizing(p) {
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
        // Its end does not wait for our GIL. Before the guard is there a moment remains in which it can begin unseen.
        if is_finalizing(p) {
            call!(p, PyThreadState_Delete(state));
            call!(p, PyGILState_Release(was));
            return 0;
        }
        call!(p, PyGILState_Release(was));
        call!(p, PyEval_RestoreThread(state));
        if (*p).guard == 0 && is_finalizing(p) {
            call!(p, PyThreadState_Clear(state));
            call!(p, PyThreadState_DeleteCurrent());
            return 0;
        }
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
    word(&raw mut (*p).inside).fetch_sub(1, Ordering::SeqCst);
    call!(p, PyThreadState_Clear(held));
    call!(p, PyThreadState_DeleteCurrent());
    word(&raw mut (*p).present).fetch_sub(1, Ordering::SeqCst);
}

/// `enter` for the watcher. Where code of ours runs in the lent interpreter, that one is there for certain, and is
/// entered at once: from the main one the GIL might never be given (3.9 to 3.12 ask the waiter's interpreter for it).
pub(crate) unsafe fn enter_watching(p: P) -> u64 {
    if (*p).interpreter == 0 {
        return enter(p);
    }
    word(&raw mut (*p).present).fetch_add(1, Ordering::SeqCst);
    let mut state = 0;
    if word(&raw mut (*p).closed).load(Ordering::SeqCst) != 0 {
        // The owner does not wait for us any more.
    } else if word(&raw mut (*p).inside).load(Ordering::SeqCst) != 0 {
        state = call!(p, PyThreadState_New((*p).interpreter));
        if state != 0 {
            call!(p, PyEval_RestoreThread(state));
        }
    } else if !is_ending(p) {
        state = enter_lent(p);
    }
    if state == 0 {
        word(&raw mut (*p).present).fetch_sub(1, Ordering::SeqCst);
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
    word(&raw mut (*p).present).fetch_sub(1, Ordering::SeqCst);
}

/// Registers an exit function of the lent interpreter that waits for us. To end an interpreter while one more thread
/// has a state in it is a fatal error (Python/pylifecycle.c, Py_EndInterpreter); exit functions run before that is
/// looked at. Does nothing but call C functions, so that the GIL is kept. Whether it is there.
pub(crate) unsafe fn guard(p: P) -> bool {
    if (*p).guard != 0 {
        return true;
    }
    let modules = call!(p, PyImport_GetModuleDict());
    let module = call!(p, PyDict_GetItemString(modules, &raw const (*p).name_atexit));
    if module == 0 {
        return false;
    }
    let register = call!(p, PyObject_GetAttrString(module, &raw const (*p).name_register));
    let unregister = call!(p, PyObject_GetAttrString(module, &raw const (*p).name_unregister));
    let own = call!(p, PyLong_FromLong(p as i64));
    let guard = call!(p, PyCFunction_NewEx(&raw const (*p).guard_method, own, 0));
    call!(p, Py_DecRef(own));
    let mut registered = false;
    if register != 0 && unregister != 0 && guard != 0 {
        registered = call_with(p, register, guard);
    }
    if register != 0 {
        call!(p, Py_DecRef(register));
    }
    if registered {
        (*p).guard = guard;
        (*p).unregister = unregister;
        return true;
    }
    call!(p, PyErr_Clear());
    if guard != 0 {
        call!(p, Py_DecRef(guard));
    }
    if unregister != 0 {
        call!(p, Py_DecRef(unregister));
    }
    false
}

/// In the thread that ends the lent interpreter: lets nobody in any more, interrupts our code, and waits until it has
/// left.
pub(crate) unsafe fn hold(p: P) {
    // The exit functions were called for another reason (`atexit._run_exitfuncs`). They are all gone after that, until
    // `guard_again`. Where the interpreter does not say whether it is being ended, code of ours at least, which would
    // wait for itself, is known.
    let told = (*p).finalizing != 0;
    if told && !is_finalizing(p) || is_armed(p, call!(p, pthread_self())) {
        drop_guard(p);
        return;
    }
    word(&raw mut (*p).ending).store(1, Ordering::SeqCst);
    if word(&raw mut (*p).closed).load(Ordering::SeqCst) == 0 {
        interrupt(p, 0);
        say_beside((*p).descriptors[1], &raw mut (*p).send_lock, says::ENDING);
    }
    let present = word(&raw mut (*p).present);
    if present.load(Ordering::SeqCst) != 0 {
        let saved = call!(p, PyEval_SaveThread());
        while present.load(Ordering::SeqCst) != 0 {
            pause(100);
        }
        call!(p, PyEval_RestoreThread(saved));
    }
    drop_guard(p);
}

/// Whether this thread runs code of the client's.
unsafe fn is_armed(p: P, ident: u64) -> bool {
    let armed = &raw const (*p).armed as *const Armed;
    let mut i = 0;
    while i < ARMED_AT_MOST {
        let one = core::ptr::read_volatile(armed.add(i));
        if one.job != 0 && one.ident == ident {
            return true;
        }
        i += 1;
    }
    false
}

/// Registers the guard once more, if it was called although nobody ends the lent interpreter. Done where code of ours
/// begins and ends.
pub(crate) unsafe fn guard_again(p: P) {
    if (*p).interpreter != 0 && !is_ending(p) && word(&raw mut (*p).closed).load(Ordering::SeqCst) == 0 {
        guard(p);
    }
}

unsafe fn drop_guard(p: P) {
    let (guard, unregister) = ((*p).guard, (*p).unregister);
    if guard != 0 {
        (*p).guard = 0;
        call!(p, Py_DecRef(unregister));
        call!(p, Py_DecRef(guard));
    }
}

/// The last `leave` of an agent. `false`: the interpreter is being ended, and may still call the guard.
pub(crate) unsafe fn leave_for_good(p: P, held: u64) -> bool {
    if (*p).interpreter == 0 || (*p).guard == 0 {
        leave(p, held);
        return true;
    }
    // The watcher first: the guard goes at once with our own state. It looks for `closed` when it is counted.
    while word(&raw mut (*p).present).load(Ordering::SeqCst) > 1 {
        call!(p, PyEval_SaveThread());
        pause(100);
        call!(p, PyEval_RestoreThread(held));
    }
    let mut free = !is_ending(p);
    if free {
        call_with(p, (*p).unregister, (*p).guard);
        // Those that run are called from a copy of the list (Modules/atexitmodule.c of 3.14).
        free = *((*p).guard as *const u32) == 1;
        drop_guard(p);
    }
    leave(p, held);
    free
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

/// Whether the call raised nothing.
pub(crate) unsafe fn call_with(p: P, callable: Object, argument: Object) -> bool {
    let f: unsafe extern "C" fn(Object, ...) -> Object =
        core::mem::transmute((*p).functions[Function::PyObject_CallFunctionObjArgs as usize]);
    let result = f(callable, argument, 0_u64);
    if result != 0 {
        call!(p, Py_DecRef(result));
    } else {
        call!(p, PyErr_Clear());
    }
    result != 0
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
