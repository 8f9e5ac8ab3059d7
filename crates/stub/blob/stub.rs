//! The few hundred instructions that are mapped into a target.
//!
//! They lie in one section, refer to nothing outside of it and have no relocations (the build fails otherwise), so
//! that they can be copied to any address. Their page is found from the program counter: the read-execute mapping is
//! aligned, and the read-write one, with [`Params`] at its beginning, follows it. System calls are made directly,
//! since libc's `errno` belongs to the target; C-API calls go through the table in [`Params`].
//!
//! Threads: `owner` (runs the agent, ends last and unmaps), `watcher` (hears the control channel while Python code of
//! the agent is busy), and those that the agent spawns. The owner joins all the others before it unmaps.

#![no_std]
#![allow(unsafe_op_in_unsafe_fn, clippy::missing_safety_doc, clippy::undocumented_unsafe_blocks)]

#[path = "../src/params.rs"]
mod params;

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use params::*;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

macro_rules! section {
    ($($item:item)*) => { $(#[unsafe(link_section = ".text.stub")] $item)* };
}

// The two ways out that must not come back into the code that they unmap: a jump, not a call, to munmap.
global_asm!(
    ".section .text.stub,\"ax\",@progbits",
    // launch(params): in the borrowed thread. 0: a thread is on its way and owns the mappings. Else they are unmapped.
    ".globl stub_launch",
    "stub_launch:",
    "push rbx",
    "mov rbx, rdi",
    "call {launch}",
    "test eax, eax",
    "jz 2f",
    "mov rdi, [rbx + {base}]",
    "mov rsi, [rbx + {length}]",
    "mov rax, [rbx + {munmap}]",
    "pop rbx",
    "jmp rax",
    "2:",
    "pop rbx",
    "ret",
    // owner(params): a thread's start routine.
    ".globl stub_owner",
    "stub_owner:",
    "push rbx",
    "mov rbx, rdi",
    "call {owner}",
    "test eax, eax",
    "jz 2f",
    "mov rdi, [rbx + {base}]",
    "mov rsi, [rbx + {length}]",
    "mov rax, [rbx + {munmap}]",
    "pop rbx",
    "jmp rax",
    "2:",
    "xor eax, eax",
    "pop rbx",
    "ret",
    launch = sym launch,
    owner = sym owner,
    base = const core::mem::offset_of!(Params, base),
    length = const core::mem::offset_of!(Params, length),
    munmap = const core::mem::offset_of!(Params, functions),
);

const SYS_READ: i64 = 0;
const SYS_CLOSE: i64 = 3;
const SYS_POLL: i64 = 7;
const SYS_MMAP: i64 = 9;
const SYS_MUNMAP: i64 = 11;
const SYS_IOCTL: i64 = 16;
const SYS_NANOSLEEP: i64 = 35;
const SYS_SENDTO: i64 = 44;
const SYS_RECVFROM: i64 = 45;
const SYS_SENDMSG: i64 = 46;
const SYS_SHUTDOWN: i64 = 48;
const SYS_SOCKETPAIR: i64 = 53;
const SYS_PRCTL: i64 = 157;
const SYS_GETTID: i64 = 186;
const SYS_CLOCK_GETTIME: i64 = 228;

const EAGAIN: i64 = -11;
const EINTR: i64 = -4;
const POLLIN: i16 = 1;
const POLLOUT: i16 = 4;
const MSG_PEEK: i64 = 2;
const MSG_DONTWAIT: i64 = 0x40;
const MSG_NOSIGNAL: i64 = 0x4000;
/// Frames of more than this are a fault of ours.
const FRAME_AT_MOST: i64 = 64 << 20;

#[repr(C)]
struct PollEntry {
    fd: i32,
    events: i16,
    happened: i16,
}

#[repr(C)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

type Object = u64;
type P = *mut Params;

macro_rules! call {
    ($p:expr, $name:ident ( $($argument:expr),* ) -> $result:ty) => {{
        let f: extern "C" fn($(call!(@u64 $argument)),*) -> $result =
            core::mem::transmute((*$p).functions[Function::$name as usize]);
        f($($argument as u64),*)
    }};
    ($p:expr, $name:ident ( $($argument:expr),* )) => { call!($p, $name($($argument),*) -> u64) };
    (@u64 $e:expr) => { u64 };
}

section! {
#[inline(always)]
unsafe fn system(n: i64, a: i64, b: i64, c: i64, d: i64, e: i64, f: i64) -> i64 {
    let result;
    asm!("syscall", inlateout("rax") n => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
        in("r9") f, out("rcx") _, out("r11") _, options(nostack));
    result
}

/// The shared page, found from where this code lies.
#[inline(always)]
unsafe fn here() -> P {
    let counter: u64;
    asm!("lea {}, [rip]", out(reg) counter, options(nomem, nostack, preserves_flags));
    ((counter & !(ALIGNMENT - 1)) + CODE_LENGTH) as P
}

#[inline(always)]
unsafe fn word<'a>(at: *mut u32) -> &'a AtomicU32 {
    AtomicU32::from_ptr(at)
}

unsafe fn pause(microseconds: i64) {
    let time = Time { seconds: 0, nanoseconds: microseconds * 1000 };
    system(SYS_NANOSLEEP, &raw const time as i64, 0, 0, 0, 0, 0);
}

/// Waits for an event; `false` when the time is up.
unsafe fn wait_for(fd: i32, events: i16, milliseconds: i64) -> bool {
    let mut entry = PollEntry { fd, events, happened: 0 };
    loop {
        let n = system(SYS_POLL, &raw mut entry as i64, 1, milliseconds, 0, 0, 0);
        if n != EINTR {
            return n > 0;
        }
    }
}

/// Reads exactly so many bytes; `false` at end of file or after 5 s of silence.
unsafe fn read_exactly(fd: i32, mut to: u64, mut length: i64) -> bool {
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

unsafe fn close(fd: i32) {
    system(SYS_CLOSE, fd as i64, 0, 0, 0, 0, 0);
}

/// Makes the GIL of a 3.6 that has none (Python/ceval.c, PyEval_InitThreads), in the one thread that may: Python's
/// own. Then starts the owner.
extern "C" fn launch(p: P) -> i32 { unsafe {
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
}}

/// The agent's life. 0: the mappings have to stay.
extern "C" fn owner(p: P) -> i32 { unsafe {
    const PR_SET_NAME: i64 = 15;
    system(SYS_PRCTL, PR_SET_NAME, &raw const (*p).thread_name as i64, 0, 0, 0, 0);
    (*p).thread = system(SYS_GETTID, 0, 0, 0, 0, 0, 0) as i32;
    call!(p, pthread_detach(call!(p, pthread_self())));
    let descriptors = &raw mut (*p).descriptors as *mut i32;
    if !open_channels(p, descriptors) {
        return 1;
    }
    word(&raw mut (*p).state).store(state::READY, Ordering::Release);
    let main = *descriptors.add(1);
    let mut go = 0_u8;
    let began = wait_for(main, POLLIN, 1000)
        && system(SYS_READ, main as i64, &raw mut go as i64, 1, 0, 0, 0) == 1;
    close(*descriptors);
    close(*descriptors.add(2));
    let mut unmap = true;
    if began {
        unmap = serve(p, main);
    }
    close(main);
    close(*descriptors.add(3));
    unmap as i32
}}

unsafe fn open_channels(p: P, descriptors: *mut i32) -> bool {
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
        close(*descriptors);
        close(*descriptors.add(1));
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

/// Sends two bytes of the stub's own as a frame.
unsafe fn say(fd: i32, what: u8) {
    let frame = [2, 0, 0, 0, STUB_SAYS, what];
    system(SYS_SENDTO, fd as i64, &raw const frame as i64, 6, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
}

/// Receives the agent, runs it, and tidies up. `false`: something of the target keeps a function of ours.
unsafe fn serve(p: P, main: i32) -> bool {
    let mut length = 0_u32;
    if !read_exactly(main, &raw mut length as u64, 4) || length as i64 > FRAME_AT_MOST {
        return true;
    }
    // One byte more: the source ends with a zero, as fresh pages do.
    const READ_WRITE: i64 = 3;
    const PRIVATE_ANONYMOUS: i64 = 0x22;
    let size = length as i64 + 1;
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
    let held = call!(p, PyGILState_Ensure() -> i32);
    let namespace = run_agent(p, main, source, size);
    let mut held = held;
    if AtomicU64::from_ptr(&raw mut (*p).spawned_count).load(Ordering::Acquire) > 0 {
        // Their code may still run: what they use stays until it has returned.
        call!(p, PyGILState_Release(held));
        join_spawned(p);
        held = call!(p, PyGILState_Ensure() -> i32);
    }
    let kept = tidy(p, namespace);
    call!(p, PyGILState_Release(held));
    const SHUT_RDWR: i64 = 2;
    system(SYS_SHUTDOWN, (*p).descriptors[3] as i64, SHUT_RDWR, 0, 0, 0, 0);
    if (*p).watcher != 0 {
        call!(p, pthread_join((*p).watcher, 0));
    }
    if kept {
        say(main, says::KEPT);
    }
    !kept
}

/// Its stack lies in our own mapping, so that libc keeps none for it.
unsafe fn start_watcher(p: P) {
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

unsafe fn set(p: P, namespace: Object, name: *const u8, value: Object) {
    call!(p, PyDict_SetItemString(namespace, name, value));
}

/// Compiles and runs the agent's core in a dictionary of its own.
unsafe fn run_agent(p: P, main: i32, source: i64, size: i64) -> Object {
    const FILE_INPUT: u64 = 257;
    let namespace = call!(p, PyDict_New());
    set(p, namespace, &raw const (*p).name_builtins as *const u8, call!(p, PyEval_GetBuiltins()));
    let name = call!(p, PyUnicode_FromString(&raw const (*p).value_name));
    set(p, namespace, &raw const (*p).name_name as *const u8, name);
    call!(p, Py_DecRef(name));
    let number = call!(p, PyLong_FromLong(main as i64));
    set(p, namespace, &raw const (*p).name_fd as *const u8, number);
    call!(p, Py_DecRef(number));
    let methods = &raw mut (*p).methods as *mut PyMethodDef;
    let objects = &raw mut (*p).objects as *mut Object;
    let mut i = 0;
    while i < METHODS {
        let function = call!(p, PyCFunction_NewEx(methods.add(i), 0, 0));
        *objects.add(i) = function;
        if function != 0 {
            set(p, namespace, (*methods.add(i)).ml_name as *const u8, function);
        }
        i += 1;
    }
    let code =
        call!(p, Py_CompileStringExFlags(source, &raw const (*p).file_name, FILE_INPUT, 0, -1_i64 as u64));
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

unsafe fn join_spawned(p: P) {
    let spawned = &raw mut (*p).spawned as *mut Spawned;
    let mut i = 0;
    // More may be spawned by those that are still there.
    while i < AtomicU64::from_ptr(&raw mut (*p).spawned_count).load(Ordering::Acquire) as usize {
        call!(p, pthread_join((*spawned.add(i)).thread, 0));
        i += 1;
    }
}

/// Lets go of all objects; with the GIL. Whether somebody else still holds one of our functions.
unsafe fn tidy(p: P, namespace: Object) -> bool {
    word(&raw mut (*p).closed).store(1, Ordering::SeqCst);
    if (*p).control != 0 {
        call!(p, Py_DecRef((*p).control));
        (*p).control = 0;
    }
    call!(p, PyDict_Clear(namespace));
    call!(p, Py_DecRef(namespace));
    if held_elsewhere(p) {
        // Perhaps by a cycle of garbage.
        call!(p, PyGC_Collect());
        call!(p, PyErr_Clear());
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

unsafe fn held_elsewhere(p: P) -> bool {
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
        act(p, record[0] as u8, record[1] as u64);
        if done < 8 {
            return 0;
        }
    }
}

unsafe fn act(p: P, op: u8, job: u64) {
    let closed = word(&raw mut (*p).closed);
    if closed.load(Ordering::SeqCst) != 0 || (op == 0 && !any_armed(p)) {
        return;
    }
    let held = call!(p, PyGILState_Ensure() -> i32);
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
    call!(p, PyGILState_Release(held));
}

unsafe fn any_armed(p: P) -> bool {
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
unsafe fn interrupt(p: P, job: u64) {
    let exception = *((*p).functions[Function::PyExc_KeyboardInterrupt as usize] as *const Object);
    let armed = &raw const (*p).armed as *const Armed;
    let mut i = 0;
    while i < ARMED_AT_MOST {
        let one = *armed.add(i);
        if one.job != 0 && (job == 0 || one.job == job) {
            call!(p, PyThreadState_SetAsyncExc(one.ident, exception));
        }
        i += 1;
    }
}

/// A thread that the agent asked for.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_spawned(one: *mut Spawned) -> u64 {
    let p = here();
    let held = call!(p, PyGILState_Ensure() -> i32);
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
    call!(p, PyGILState_Release(held));
    0
}

unsafe fn none(p: P) -> Object {
    let none = (*p).functions[Function::_Py_NoneStruct as usize];
    call!(p, Py_IncRef(none));
    none
}

#[inline(always)]
unsafe fn is_closed(p: P) -> bool {
    word(&raw mut (*p).closed).load(Ordering::SeqCst) != 0
}

// What Python sees. Each takes (self, argument) and gives a new reference.

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_now(_: Object, _: Object) -> Object {
    const CLOCK_MONOTONIC: i64 = 1;
    let p = here();
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    system(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, &raw mut time as i64, 0, 0, 0, 0);
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
unsafe extern "C" fn stub_send(_: Object, data: Object) -> Object {
    let p = here();
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
unsafe extern "C" fn stub_take(_: Object, _: Object) -> Object {
    const FIONREAD: i64 = 0x541b;
    const AT_MOST: i32 = 64 << 10;
    let p = here();
    let fd = (*p).descriptors[1] as i64;
    let mut there = 0_i32;
    if is_closed(p) {
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
unsafe extern "C" fn stub_arm(_: Object, job: Object) -> Object {
    let p = here();
    let job = call!(p, PyLong_AsLong(job));
    let ident = call!(p, pthread_self());
    let armed = &raw mut (*p).armed as *mut Armed;
    let mut i = 0;
    while i < ARMED_AT_MOST {
        if (*armed.add(i)).job == 0 {
            (*armed.add(i)).ident = ident;
            core::ptr::write_volatile(&raw mut (*armed.add(i)).job, job);
            break;
        }
        i += 1;
    }
    // The client went before the code began: nobody would interrupt it any more.
    if word(&raw mut (*p).gone).load(Ordering::SeqCst) != 0 {
        interrupt(p, job);
    }
    none(p)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_disarm(_: Object, job: Object) -> Object {
    let p = here();
    let job = call!(p, PyLong_AsLong(job));
    let ident = call!(p, pthread_self());
    let armed = &raw mut (*p).armed as *mut Armed;
    let mut i = 0;
    while i < ARMED_AT_MOST {
        if (*armed.add(i)).job == job && (*armed.add(i)).ident == ident {
            core::ptr::write_volatile(&raw mut (*armed.add(i)).job, 0);
        }
        i += 1;
    }
    call!(p, PyThreadState_SetAsyncExc(ident, 0));
    none(p)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stub_spawn(_: Object, callable: Object) -> Object {
    let p = here();
    let count = AtomicU64::from_ptr(&raw mut (*p).spawned_count);
    let n = count.load(Ordering::Acquire) as usize;
    if n >= SPAWNED_AT_MOST || is_closed(p) {
        return call!(p, PyBool_FromLong(0));
    }
    let one = (&raw mut (*p).spawned as *mut Spawned).add(n);
    (*one).callable = callable;
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
unsafe extern "C" fn stub_control(_: Object, callable: Object) -> Object {
    let p = here();
    call!(p, Py_IncRef(callable));
    let old = (*p).control;
    (*p).control = callable;
    if old != 0 {
        call!(p, Py_DecRef(old));
    }
    none(p)
}
}
