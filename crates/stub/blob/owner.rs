//! The stub's first thread: makes the channels, runs the agent, tidies up.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::freezing::{thaw, thaw_child};
use crate::home::wait_until_home;
use crate::interpreter::{enter, go_on, guard, leave, leave_for_good, wait_for_its_end};
use crate::kernel::*;
use crate::params::*;
use crate::sessions::{end_session, join_sessions};
use crate::{Object, P};

section! {
/// In the borrowed thread: makes the page, starts the owner, and waits a moment to be brought home.
///
/// The wait is a `select`, since a call that the kernel would have to restart by its `restart_block` (poll, nanosleep)
/// would take the place of the one that the thread was found in. If nobody comes, the thread goes home by itself.
pub(crate) extern "C" fn launch(template: P) -> i32 { unsafe {
    let p = ((*template).base + CODE_LENGTH) as P;
    const READ_WRITE: i64 = 3;
    // MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    const FLAGS: i64 = 0x10_0022;
    let mapped = system(SYS_MMAP, p as i64, DATA_LENGTH as i64, READ_WRITE, FLAGS, -1, 0);
    if mapped != p as i64 {
        linger();
        return 1;
    }
    asm!("rep movsb", inout("rcx") core::mem::size_of::<Params>() => _, inout("rsi") template => _,
        inout("rdi") p => _, options(nostack, preserves_flags));
    (*p).borrowed = system(SYS_GETTID, 0, 0, 0, 0, 0, 0) as i32;
    let errno = call!(p, __errno_location()) as *mut i32;
    let saved = *errno;
    let failed = start(p);
    *errno = saved;
    let launched = if failed == 0 { launched::DONE } else { launched::FAILED };
    word(&raw mut (*p).launched).store(launched, Ordering::Release);
    linger();
    failed
}}

/// A tenth of a second, in which the client stops the thread and puts it back.
pub(crate) unsafe fn linger() {
    let mut left = 100;
    while left > 0 {
        let mut time = Time { seconds: 0, nanoseconds: 1000 };
        system(SYS_SELECT, 0, 0, 0, 0, &raw mut time as i64, 0);
        left -= 1;
    }
}

/// Makes the GIL of a 3.6 that has none (Python/ceval.c, PyEval_InitThreads), in the one thread that may: Python's
/// own. Then starts the owner.
unsafe fn start(p: P) -> i32 {
    if (*p).make_gil != 0 && call!(p, PyEval_ThreadsInitialized() -> i32) == 0 {
        if call!(p, PyGILState_GetThisThreadState()) == 0 {
            (*p).error = error::NOT_A_PYTHON_THREAD;
            return 1;
        }
        let was = call!(p, PyGILState_Ensure() -> i32);
        call!(p, PyEval_InitThreads());
        call!(p, PyGILState_Release(was));
    }
    let attributes = &raw mut (*p).attributes;
    call!(p, pthread_attr_init(attributes));
    call!(p, pthread_attr_setstacksize(attributes, (*p).stack_size));
    let mut thread = 0_u64;
    let failed =
        call!(p, pthread_create(&raw mut thread, attributes, (*p).owner_entry, p) -> i32);
    if failed != 0 {
        (*p).detail = failed;
        (*p).error = error::NO_THREAD;
        return 1;
    }
    0
}

/// The agent's life. 0: the mappings have to stay.
pub(crate) extern "C" fn owner(p: P) -> i32 { unsafe {
    const PR_SET_NAME: i64 = 15;
    system(SYS_PRCTL, PR_SET_NAME, &raw const (*p).thread_name as i64, 0, 0, 0, 0);
    ask_for_short_turns();
    (*p).thread = system(SYS_GETTID, 0, 0, 0, 0, 0, 0) as i32;
    if (*p).session == 0 {
        call!(p, pthread_detach(call!(p, pthread_self())));
    }
    let descriptors = &raw mut (*p).descriptors as *mut i32;
    // Our page stands for the library that the handler belongs to.
    if (*p).session == 0 {
        call!(p, __register_atfork(0, 0, (*p).fork_entry, p));
    }
    if !open_channels(p, descriptors) {
        if (*p).session == 0 {
            // Who has read the error has put the borrowed thread back before.
            if word(&raw mut (*p).acknowledged).load(Ordering::Acquire) == 0 {
                wait_until_home(p);
            }
            call!(p, __cxa_finalize(p));
        }
        end_session(p, true);
        return 1;
    }
    if (*p).rendezvous_length != 0 {
        pass_channels(p);
    }
    word(&raw mut (*p).state).store(state::READY, Ordering::Release);
    let main = *descriptors.add(1);
    let mut go = 0_u8;
    let began = wait_for(main, POLLIN, 1000)
        && system(SYS_READ, main as i64, &raw mut go as i64, 1, 0, 0, 0) == 1;
    forget(descriptors);
    forget(descriptors.add(2));
    let mut unmap = true;
    if began {
        // Who says so has put the borrowed thread back.
        unmap = serve(p, main);
    } else if (*p).session == 0 {
        wait_until_home(p);
    }
    // Takes the handlers of that library out (glibc's stdlib/cxa_finalize.c).
    if (*p).session == 0 {
        call!(p, __cxa_finalize(p));
    }
    forget(descriptors.add(1));
    forget(descriptors.add(3));
    end_session(p, unmap);
    unmap as i32
}}

/// Hands the client its ends, where it may not take them. If that fails it does not say `go`.
unsafe fn pass_channels(p: P) {
    const AF_UNIX: i64 = 1;
    const STREAM_CLOEXEC: i64 = 1 | 0o2000000;
    let fd = system(SYS_SOCKET, AF_UNIX, STREAM_CLOEXEC, 0, 0, 0, 0);
    if fd < 0 {
        return;
    }
    let (at, length) = (&raw const (*p).rendezvous as i64, (*p).rendezvous_length as i64);
    if system(SYS_CONNECT, fd, at, length, 0, 0, 0) == 0 {
        // struct cmsghdr (length, SOL_SOCKET, SCM_RIGHTS) and two descriptors, struct iovec, struct msghdr.
        let two = (*p).descriptors[0] as u32 as u64 | ((*p).descriptors[2] as u32 as u64) << 32;
        let control = [24_u64, 1 | 1 << 32, two];
        let page = p as u64;
        let part = [&raw const page as u64, 8];
        let message = [0_u64, 0, &raw const part as u64, 1, &raw const control as u64, 24, 0];
        system(SYS_SENDMSG, fd, &raw const message as i64, MSG_NOSIGNAL, 0, 0, 0);
    }
    close(fd as i32);
}

/// Closes a descriptor. Its number is struck out first: a child that is forked in between rather keeps the descriptor
/// than closes another that got the same number.
unsafe fn forget(descriptor: *mut i32) {
    let fd = descriptor.read_volatile();
    descriptor.write_volatile(-1);
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    close(fd);
}

/// In a child that the program has forked, however it did: it is none of the client's business, and must not keep the
/// channels open.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_forked() {
    let p = here();
    word(&raw mut (*p).closed).store(1, Ordering::SeqCst);
    close_all(p);
    let sessions = &raw const (*p).sessions as *const Session;
    let mut i = 0;
    while i < SESSIONS_AT_MOST {
        let page = (*sessions.add(i)).page as P;
        if !page.is_null() {
            word(&raw mut (*page).closed).store(1, Ordering::SeqCst);
            close_all(page);
        }
        i += 1;
    }
}

unsafe fn close_all(p: P) {
    thaw_child(p);
    // Those of the parent; whoever ends the interpreter here has nobody to wait for.
    word(&raw mut (*p).inside).store(0, Ordering::SeqCst);
    word(&raw mut (*p).present).store(0, Ordering::SeqCst);
    let mut i = 0;
    while i < 4 {
        let fd = (*p).descriptors[i];
        if fd >= 0 {
            close(fd);
        }
        i += 1;
    }
}

pub(crate) unsafe fn open_channels(p: P, descriptors: *mut i32) -> bool {
    const AF_UNIX: i64 = 1;
    const STREAM_CLOEXEC: i64 = 1 | 0o2000000;
    let mut failed = 0;
    let mut i = 0;
    while i < 4 && failed == 0 {
        failed = system(SYS_SOCKETPAIR, AF_UNIX, STREAM_CLOEXEC, 0, descriptors.add(i) as i64, 0, 0);
        i += 2;
    }
    if failed == 0 {
        return true;
    }
    if i == 4 {
        forget(descriptors);
        forget(descriptors.add(1));
    }
    (*p).error = -failed as i32;
    word(&raw mut (*p).state).store(state::FAILED, Ordering::Release);
    let mut left = 1000;
    while left > 0 && word(&raw mut (*p).acknowledged).load(Ordering::Acquire) == 0 {
        pause(1000);
        left -= 1;
    }
    false
}

/// Receives the agent, runs it, and tidies up. `false`: something of the target keeps a function of ours.
pub(crate) unsafe fn serve(p: P, main: i32) -> bool {
    let mut length = 0_u32;
    if !read_exactly(main, &raw mut length as u64, 4) || length as i64 > FRAME_AT_MOST {
        return true;
    }
    // One byte more at least: the source ends with a zero, as fresh pages do.
    const READ_WRITE: i64 = 3;
    const PRIVATE_ANONYMOUS: i64 = 0x22;
    let size = length as i64 + 1 + OPENING_HEADER as i64;
    let source = system(SYS_MMAP, 0, size, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
    if source < 0 && source > -4096 {
        return true;
    }
    let complete = read_exactly(main, source as u64, length as i64);
    // A process that has just started gets two seconds to make its interpreter.
    let mut tries = 2000;
    while complete && tries > 0 && call!(p, Py_IsInitialized() -> i32) == 0 {
        pause(1000);
        tries -= 1;
    }
    if !complete || tries == 0 {
        say(main, says::NOT_INITIALISED);
        system(SYS_MUNMAP, source, size, 0, 0, 0, 0);
        return true;
    }
    start_watcher(p);
    let mut held = enter(p);
    let mut kept = false;
    if held == 0 {
        say(main, says::NO_INTERPRETER);
        system(SYS_MUNMAP, source, size, 0, 0, 0, 0);
    } else if wait_for(main, 0, 0) {
        // The client has hung up while we waited for the GIL: nothing that it asked for is begun.
        word(&raw mut (*p).closed).store(1, Ordering::SeqCst);
        leave(p, held);
        system(SYS_MUNMAP, source, size, 0, 0, 0, 0);
    } else {
        if (*p).interpreter != 0 {
            guard(p);
        }
        let namespace = run_agent(p, main, source, size);
        held = go_on(p, held);
        if AtomicU64::from_ptr(&raw mut (*p).spawned_count).load(Ordering::Acquire) > 0 {
            // Their code may still run: what they use stays until it has returned.
            if held != 0 {
                leave(p, held);
            }
            join_spawned(p);
            held = enter(p);
        }
        if held == 0 {
            // The interpreter is gone, and with it all that was ours in it.
            word(&raw mut (*p).closed).store(1, Ordering::SeqCst);
            say(main, says::NO_INTERPRETER);
            wait_for_its_end(p);
        } else {
            kept = tidy(p, namespace);
            if !leave_for_good(p, held) {
                wait_for_its_end(p);
            }
        }
    }
    hang_up((*p).descriptors[3]);
    if (*p).watcher != 0 {
        call!(p, pthread_join((*p).watcher, 0));
    }
    let sessions_kept = join_sessions(p);
    if kept || sessions_kept {
        say(main, says::KEPT);
    }
    !kept && !sessions_kept
}

/// Its stack lies in our own mapping, so that libc keeps none for it.
pub(crate) unsafe fn start_watcher(p: P) {
    let attributes = &raw mut (*p).attributes;
    call!(p, pthread_attr_init(attributes));
    call!(p, pthread_attr_setstack(attributes, p as u64 + PARAMS_LENGTH, WATCHER_STACK));
    let mut thread = 0_u64;
    let mut failed = call!(p, pthread_create(&raw mut thread, attributes, (*p).watcher_entry, p) -> i32);
    if failed != 0 {
        // Much static thread-local storage: more than that stack has room for.
        failed = call!(p, pthread_create(&raw mut thread, 0, (*p).watcher_entry, p) -> i32);
    }
    (*p).watcher = if failed == 0 { thread } else { 0 };
}

pub(crate) unsafe fn set(p: P, namespace: Object, name: *const u8, value: Object) {
    call!(p, PyDict_SetItemString(namespace, name, value));
}

/// Compiles and runs the agent's core in a dictionary of its own.
pub(crate) unsafe fn run_agent(p: P, main: i32, source: i64, size: i64) -> Object {
    const FILE_INPUT: u64 = 257;
    let namespace = call!(p, PyDict_New());
    set(p, namespace, &raw const (*p).name_builtins as *const u8, call!(p, PyEval_GetBuiltins()));
    let name = call!(p, PyUnicode_FromString(&raw const (*p).value_name));
    set(p, namespace, &raw const (*p).name_name as *const u8, name);
    call!(p, Py_DecRef(name));
    let number = call!(p, PyLong_FromLong(main as i64));
    set(p, namespace, &raw const (*p).name_fd as *const u8, number);
    call!(p, Py_DecRef(number));
    let id = call!(p, PyLong_FromLong((*p).shown_id));
    set(p, namespace, &raw const (*p).name_interpreter as *const u8, id);
    call!(p, Py_DecRef(id));
    let lent = call!(p, PyBool_FromLong(((*p).interpreter != 0) as i64));
    set(p, namespace, &raw const (*p).name_lent as *const u8, lent);
    call!(p, Py_DecRef(lent));
    let methods = &raw mut (*p).methods as *mut PyMethodDef;
    let objects = &raw mut (*p).objects as *mut Object;
    let own = call!(p, PyLong_FromLong(p as i64));
    let mut i = 0;
    while i < METHODS {
        let function = call!(p, PyCFunction_NewEx(methods.add(i), own, 0));
        *objects.add(i) = function;
        if function != 0 {
            set(p, namespace, (*methods.add(i)).ml_name as *const u8, function);
        }
        i += 1;
    }
    call!(p, Py_DecRef(own));
    // Compiled for just this version it is there at once; compiling would hold the GIL for milliseconds.
    let (magic, length) = (*(source as *const u32), *(source as *const u32).add(1) as i64);
    let header = OPENING_HEADER as i64;
    let fits = length > 0 && length < size - header;
    let mut code = 0;
    if fits && call!(p, PyImport_GetMagicNumber()) as u32 == magic {
        code = call!(p, PyMarshal_ReadObjectFromString(source + header, length));
        call!(p, PyErr_Clear());
    }
    let compiled = call!(p, PyBool_FromLong((code != 0) as i64));
    set(p, namespace, &raw const (*p).name_compiled as *const u8, compiled);
    call!(p, Py_DecRef(compiled));
    if code == 0 {
        let text = source + header + if fits { length } else { 0 };
        let name = &raw const (*p).file_name;
        code = call!(p, Py_CompileStringExFlags(text, name, FILE_INPUT, 0, -1_i64 as u64));
    }
    system(SYS_MUNMAP, source, size, 0, 0, 0, 0);
    let mut result = 0;
    if code != 0 {
        result = call!(p, PyEval_EvalCode(code, namespace, namespace));
        call!(p, Py_DecRef(code));
    }
    if result != 0 {
        call!(p, Py_DecRef(result));
    } else {
        call!(p, PyErr_Clear());
        say(main, says::AGENT_FAILED);
    }
    namespace
}

pub(crate) unsafe fn join_spawned(p: P) {
    let spawned = &raw mut (*p).spawned as *mut Spawned;
    let mut i = 0;
    // More may be spawned by those that are still there.
    while i < AtomicU64::from_ptr(&raw mut (*p).spawned_count).load(Ordering::Acquire) as usize {
        call!(p, pthread_join((*spawned.add(i)).thread, 0));
        i += 1;
    }
}

/// Lets go of all objects; with the GIL. Whether somebody else still holds one of our functions.
pub(crate) unsafe fn tidy(p: P, namespace: Object) -> bool {
    word(&raw mut (*p).closed).store(1, Ordering::SeqCst);
    thaw(p);
    if (*p).control != 0 {
        call!(p, Py_DecRef((*p).control));
        (*p).control = 0;
    }
    if (*p).again != 0 {
        call!(p, Py_DecRef((*p).again));
        (*p).again = 0;
    }
    call!(p, PyDict_Clear(namespace));
    call!(p, Py_DecRef(namespace));
    if held_elsewhere(p) {
        // Perhaps by a cycle of garbage.
        call!(p, PyGC_Collect());
        call!(p, PyErr_Clear());
    }
    // Perhaps by a thread that is just within one of them, without the GIL: the watcher, which tells something.
    let mut tries = 200;
    while tries > 0 && held_elsewhere(p) {
        let saved = call!(p, PyEval_SaveThread());
        pause(1000);
        call!(p, PyEval_RestoreThread(saved));
        tries -= 1;
    }
    let kept = held_elsewhere(p);
    let objects = &raw mut (*p).objects as *mut Object;
    let mut i = 0;
    while i < METHODS {
        if *objects.add(i) != 0 {
            call!(p, Py_DecRef(*objects.add(i)));
        }
        i += 1;
    }
    kept
}

pub(crate) unsafe fn held_elsewhere(p: P) -> bool {
    let objects = &raw mut (*p).objects as *mut Object;
    let mut i = 0;
    while i < METHODS {
        // ob_refcnt, the first field of PyObject; its lower half is the count in every version with a GIL.
        if *objects.add(i) != 0 && *(*objects.add(i) as *const u32) > 1 {
            return true;
        }
        i += 1;
    }
    false
}
}
