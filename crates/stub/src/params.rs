//! What the client and the stub share: the pages at the beginning of the stub's read-write mapping.
//!
//! This file is compiled twice: into the client, which fills the page, and into the stub, which runs on it.

/// What the stub calls, in this order. All but the optional ones are in `.dynsym` of every CPython from 3.6 on, or in
/// libc (libpthread before glibc 2.34).
macro_rules! functions {
    ($($name:ident),* $(,)?) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
        #[derive(Clone, Copy)]
        #[repr(usize)]
        pub enum Function { $($name),* }
        #[allow(dead_code)]
        pub const FUNCTION_NAMES: &[&str] = &[$(stringify!($name)),*];
        pub const FUNCTIONS: usize = [$(stringify!($name)),*].len();
    };
}

functions! {
    // libc
    munmap,
    pthread_create,
    pthread_join,
    pthread_detach,
    pthread_self,
    pthread_attr_init,
    pthread_attr_setstack,
    pthread_attr_setstacksize,
    __errno_location,
    __register_atfork,
    __cxa_finalize,
    clock_gettime,
    // CPython: Include/pystate.h, ceval.h, pythonrun.h, ...
    Py_IsInitialized,
    PyGILState_Ensure,
    PyGILState_Release,
    PyGILState_GetThisThreadState,
    PyEval_SaveThread,
    PyEval_RestoreThread,
    PyEval_GetBuiltins,
    Py_CompileStringExFlags,
    PyImport_GetMagicNumber,
    PyImport_GetModuleDict,
    PyMarshal_ReadObjectFromString,
    PyEval_EvalCode,
    PyErr_Clear,
    PyDict_New,
    PyDict_SetItemString,
    PyDict_GetItemString,
    PyDict_Clear,
    PyGC_Collect,
    Py_IncRef,
    Py_DecRef,
    PyLong_FromLong,
    PyLong_FromUnsignedLong,
    PyLong_AsLong,
    PyFloat_FromDouble,
    PyBool_FromLong,
    PyUnicode_FromString,
    PyBytes_FromStringAndSize,
    PyBytes_AsString,
    PyBytes_Size,
    PyObject_CallFunctionObjArgs,
    PyObject_GetAttrString,
    PyCFunction_NewEx,
    PyObject_IsTrue,
    PyObject_SetItem,
    PyTuple_GetItem,
    Py_AddPendingCall,
    PyThreadState_SetAsyncExc,
    PyThreadState_New,
    PyThreadState_Clear,
    PyThreadState_Swap,
    PyThreadState_Delete,
    PyThreadState_DeleteCurrent,
    PyInterpreterState_Head,
    PyInterpreterState_Next,
    // data
    _Py_NoneStruct,
    PyExc_KeyboardInterrupt,
    // 3.6 alone, where the GIL is made when it is first needed
    PyEval_ThreadsInitialized,
    PyEval_InitThreads,
    // from 3.7 on, where interpreters have numbers
    PyInterpreterState_GetID,
    // up to 3.12, where the dictionary of a frame's variables is a copy
    PyFrame_LocalsToFast,
}

/// Those that may be missing: 0 then.
#[allow(dead_code)]
pub const OPTIONAL: &[&str] = &[
    "PyEval_ThreadsInitialized",
    "PyEval_InitThreads",
    "PyInterpreterState_GetID",
    "PyFrame_LocalsToFast",
];

/// The stub's functions that Python sees, in this order.
pub const METHODS: usize = 20;

/// CPython's `PyMethodDef` (Include/methodobject.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PyMethodDef {
    pub ml_name: u64,
    pub ml_meth: u64,
    pub ml_flags: u64,
    pub ml_doc: u64,
}

/// Code that may be interrupted: `job` runs in the thread `ident`; job 0: free.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Armed {
    pub job: u64,
    pub ident: u64,
    /// Native id of that thread.
    pub thread: i32,
    /// How often it was interrupted: that is set when the exception is.
    pub raised: u32,
}

/// A thread that `stub_spawn` made.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Spawned {
    pub thread: u64,
    pub callable: u64,
    /// The page of the agent that asked for it.
    pub page: u64,
}

/// A freeze: where the interpreter keeps what it needs, and what was there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Freezing {
    pub lock: u32,
    /// 0: there is none.
    pub frozen: u32,
    /// The watcher looks at `deadline`.
    pub watched: u32,
    pub unused: u32,
    /// How long a thread waits before it asks for the GIL, in microseconds.
    pub interval: u64,
    /// How often the GIL has changed hands.
    pub switches: u64,
    /// The request that it be given up, and what makes the running thread look for requests.
    pub request: u64,
    pub breaker: u64,
    /// 3.13+: where that is in a thread's state, instead of the two.
    pub in_state: u64,
    /// The state of the agent's thread.
    pub state: u64,
    /// The program's own interval, and ours.
    pub normal: u64,
    pub long: u64,
    /// Milliseconds for a command, and for the wait until it comes.
    pub limit: u64,
    /// Nanoseconds of the monotonic clock.
    pub deadline: u64,
    /// `switches` when it was asked for.
    pub seen: u64,
}

/// A further agent, in another interpreter: it has a page of its own and shares the code of the first one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// 0: free.
    pub thread: u64,
    /// Its thread touches nothing any more but its own page, which it unmaps.
    pub ended: u64,
    /// Its page, as long as that is its own.
    pub page: u64,
}

/// What the first agent's watcher is told to start a further one: these four numbers follow the record.
pub const SESSION_WORDS: usize = 4;
/// First byte of a record that says whether the watcher has to look at the time of a freeze.
pub const WATCH_FREEZE: u8 = b'F';
/// First byte of that record.
pub const OPEN_SESSION: u8 = b'E';

pub const SPAWNED_AT_MOST: usize = 24;
pub const ARMED_AT_MOST: usize = 32;
/// Further agents at the same time.
pub const SESSIONS_AT_MOST: usize = 32;

/// Bytes of the read-execute mapping; the read-write one follows it directly.
pub const CODE_LENGTH: u64 = 0x7000;
/// Where in the read-execute mapping the first content of [`Params`] lies, which `launch` copies.
pub const TEMPLATE: u64 = 0x4000;
/// The watcher's stack ends the read-write mapping.
pub const WATCHER_STACK: u64 = 0x4_0000;
pub const PARAMS_LENGTH: u64 = 0x2000;
/// Bytes of the read-write mapping.
pub const DATA_LENGTH: u64 = PARAMS_LENGTH + WATCHER_STACK;
/// Both mappings begin at a multiple of this, so that code finds its page from its own address.
pub const ALIGNMENT: u64 = 0x10_0000;

/// States that the stub goes through.
pub mod state {
    pub const NEW: u32 = 0;
    /// The channels are made: `descriptors` hold.
    pub const READY: u32 = 1;
    /// It failed with `error`; it waits for `acknowledged`, then unmaps itself.
    pub const FAILED: u32 = 2;
}

/// What `launched` says.
pub mod launched {
    /// A thread was started; the mappings are its own from now on.
    pub const DONE: u32 = 1;
    /// It was not; `error` says why, and nobody owns the mappings.
    pub const FAILED: u32 = 2;
}

/// What `error` says; positive numbers are `errno`s of the socket pairs.
pub mod error {
    /// `pthread_create` failed; the number behind it is in `detail`.
    pub const NO_THREAD: i32 = -1;
    /// 3.6 without a GIL, and the borrowed thread is not one of Python's.
    pub const NOT_A_PYTHON_THREAD: i32 = -2;
}

/// Before the agent's source in the first message: the magic number of its compiled form, and the length of that form,
/// which follows. An interpreter of another magic number compiles the source.
pub const OPENING_HEADER: usize = 8;

/// First byte of a frame that the stub itself sends, where the agent cannot; no `marshal` value begins so.
pub const STUB_SAYS: u8 = b'!';
/// Second byte of such a frame.
pub mod says {
    /// The interpreter is not initialised.
    pub const NOT_INITIALISED: u8 = b'i';
    /// The agent's code did not compile or raised.
    pub const AGENT_FAILED: u8 = b'a';
    /// Code of the target keeps a function of ours: the mappings stay.
    pub const KEPT: u8 = b'k';
    /// The interpreter that the agent is for is not there, or no longer.
    pub const NO_INTERPRETER: u8 = b'n';
    /// Somebody ends the agent's interpreter, and waits until the code that is interrupted now has left it.
    pub const ENDING: u8 = b'e';
}

#[repr(C)]
pub struct Params {
    pub state: u32,
    pub error: i32,
    pub detail: i32,
    /// Native id of the stub's first thread.
    pub thread: i32,
    /// Set by the client when it has read `error`.
    pub acknowledged: u32,
    /// Set by `launch` at its end: see [`launched`].
    pub launched: u32,
    /// Set when the agent has ended: functions do nothing from then on.
    pub closed: u32,
    /// Main channel: client's end, ours; control channel: client's end, ours.
    pub descriptors: [i32; 4],
    pub send_lock: u32,
    pub gone: u32,
    /// How many times a further agent was asked for and could not be started.
    pub refused: u32,
    /// Native id of the thread that was borrowed.
    pub borrowed: i32,
    pub spawned_count: u64,
    /// What the owner unmaps at its end: for the first agent the code and this page behind it, for a further one its
    /// page alone.
    pub base: u64,
    pub length: u64,
    /// The interpreter to run in; 0: the main one, by the functions that know no other.
    pub interpreter: u64,
    /// Its number, which must still be right.
    pub interpreter_id: i64,
    /// What the agent is told as its interpreter's number.
    pub shown_id: i64,
    /// 1: interpreters may have GILs of their own (3.12+).
    pub own_gils: u64,
    /// Where an interpreter's state tells that it is being ended; 0: nowhere.
    pub finalizing: u64,
    /// In the page of a further agent: where the first one keeps its [`Session`].
    pub session: u64,
    /// A further agent's page has to stay, and so has the code.
    pub kept: u64,
    /// Held while the page of a further agent is used by somebody else, or taken away.
    pub pages_lock: u32,
    /// Threads of ours that are on their way into the lent interpreter, in it, or on their way out.
    pub present: u32,
    /// Those of them that are in it for certain.
    pub inside: u32,
    /// Somebody ends it: nobody enters it any more.
    pub ending: u32,
    /// The exit function of that interpreter which waits until none of ours is present; and how to take it out again.
    pub guard: u64,
    pub unregister: u64,
    /// What to call when there is something to read, and the thread that has to.
    pub again: u64,
    pub again_thread: u64,
    /// 1e-9, so that the code needs no constant of its own.
    pub billionth: f64,
    /// 1: make the GIL first (3.6).
    pub make_gil: u64,
    /// Bytes of stack for the threads that run Python code.
    pub stack_size: u64,
    /// Entry points, as addresses.
    pub owner_entry: u64,
    pub watcher_entry: u64,
    pub spawned_entry: u64,
    pub fork_entry: u64,
    /// Where to pass the client's ends of the channels: the address of a socket, and its length; 0: it takes them.
    pub rendezvous_length: u64,
    pub rendezvous: [u8; 24],
    pub freezing: Freezing,
    pub watcher: u64,
    pub control: u64,
    pub functions: [u64; FUNCTIONS],
    pub methods: [PyMethodDef; METHODS],
    pub guard_method: PyMethodDef,
    pub objects: [u64; METHODS],
    pub armed: [Armed; ARMED_AT_MOST],
    pub spawned: [Spawned; SPAWNED_AT_MOST],
    pub sessions: [Session; SESSIONS_AT_MOST],
    pub attributes: [u64; 8],
    pub name_locals: [u8; 16],
    pub name_builtins: [u8; 16],
    pub name_name: [u8; 16],
    pub name_fd: [u8; 16],
    pub name_compiled: [u8; 16],
    pub name_interpreter: [u8; 24],
    pub name_lent: [u8; 16],
    pub name_atexit: [u8; 16],
    pub name_register: [u8; 16],
    pub name_unregister: [u8; 16],
    pub value_name: [u8; 16],
    pub file_name: [u8; 24],
    pub thread_name: [u8; 16],
    pub method_names: [[u8; 24]; METHODS],
}

const _: () = assert!(size_of::<Params>() <= PARAMS_LENGTH as usize);
const _: () = assert!(TEMPLATE + size_of::<Params>() as u64 <= CODE_LENGTH);
