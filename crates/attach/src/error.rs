//! Why code cannot be brought into a process.

use std::io;
use std::time::Duration;

use spyhole_cpython::{NotPython, Opened, Version};
use spyhole_proc::memory::ReadMemory;
use spyhole_proc::stop::CallError;
use spyhole_proc::sys::SysError;
use thiserror::Error;

/// Why a process cannot be attached to.
#[derive(Debug, Error)]
pub enum AttachError {
    #[error("no process {pid}")]
    NoProcess { pid: i32 },
    #[error("process {pid} ended meanwhile")]
    Gone { pid: i32 },
    #[error(
        "process {pid} is a zombie: it has ended, and its parent has not asked for its exit code"
    )]
    Zombie { pid: i32 },
    #[error("process {pid} is stopped (SIGSTOP or a terminal's Ctrl-Z); code cannot run in it")]
    Stopped { pid: i32 },
    #[error("process {pid} is a kernel thread")]
    KernelThread { pid: i32 },
    #[error("process {pid} is ending")]
    Exiting { pid: i32 },
    #[error("another tracer (pid {tracer}, {name}) holds process {pid}")]
    Traced { pid: i32, tracer: i32, name: String },
    #[error("process {pid} is this very program")]
    Ourselves { pid: i32 },
    #[error("process {pid} runs no Python: {reason}")]
    NotPython { pid: i32, reason: NotPython },
    #[error("process {pid} runs Python {version}; this build knows 3.6 to 3.15")]
    Unsupported { pid: i32, version: Version },
    #[error(
        "the owner of process {pid} has switched remote debugging off (PYTHON_DISABLE_REMOTE_DEBUG or -X)"
    )]
    OptedOut { pid: i32 },
    #[error("process {pid} has a seccomp filter, which might end it for a system call of ours")]
    Seccomp { pid: i32 },
    #[error("process {pid} has a shadow stack, which a borrowed call would violate")]
    ShadowStack { pid: i32 },
    #[error("no permission to look into process {pid}: {reason}")]
    Denied { pid: i32, reason: String, hint: Option<String> },
    #[error("no thread of process {pid} came to a safe point within {within:?}: {last}")]
    NoSafeThread { pid: i32, within: Duration, last: String },
    #[error("process {pid} cannot start a thread: {}", io::Error::from_raw_os_error(*errno))]
    NoThread { pid: i32, errno: i32 },
    #[error("process {pid} cannot make a channel: {}", io::Error::from_raw_os_error(*errno))]
    NoChannel { pid: i32, errno: i32 },
    #[error("the interpreter of process {pid} is not initialised, or no longer")]
    NotInitialised { pid: i32 },
    #[error("process {pid} has ended its interpreter (Py_Finalize) and goes on without one")]
    Finalised { pid: i32 },
    #[error("interpreter {id} of process {pid} has ended")]
    NoInterpreter { pid: i32, id: i64 },
    #[error("process {pid} cannot start another agent: it has no memory or no thread for it")]
    NoSession { pid: i32 },
    #[error("the agent could not start in process {pid}")]
    AgentFailed { pid: i32 },
    #[error("the agent in process {pid} did not answer within {within:?}")]
    NoAnswer { pid: i32, within: Duration },
    #[error("no door is called `{door}` (known: {})", known.join(", "))]
    NoSuchDoor { door: String, known: Vec<&'static str> },
    #[error(transparent)]
    NotHere(NotHere),
    #[error("reading /proc of process {pid}")]
    Proc { pid: i32, source: io::Error },
    #[error("a call in process {pid} failed")]
    Call { pid: i32, source: CallError },
    #[error("a kernel call on process {pid} failed")]
    Sys { pid: i32, source: SysError },
}

impl AttachError {
    /// A thread that was held is held no more: only its end, or its process's, takes it away.
    pub(crate) fn lost_a_thread(&self) -> bool {
        match self {
            Self::Call { source: CallError::Gone, .. } => true,
            Self::Call { source: CallError::Sys(source), .. } | Self::Sys { source, .. } => {
                source.errno() == libc::ESRCH
            }
            _ => false,
        }
    }

    /// Why a process has no interpreter.
    pub fn without_interpreter(pid: i32, memory: &dyn ReadMemory, opened: &Opened) -> Self {
        match opened.roots.were_ended(memory, &opened.layout) {
            true => Self::Finalised { pid },
            false => Self::NotInitialised { pid },
        }
    }
}

/// Why one door is not ready for a process; another one may be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotHere {
    #[error("the process may not map executable memory ({})", io::Error::from_raw_os_error(*errno))]
    NoExecutableMemory { errno: i32 },
    #[error("`{symbol}` is not among the symbols of its CPython or libc")]
    NoSymbol { symbol: String },
    #[error("its libc has no signal restorer of the known form")]
    NoRestorer,
    #[error("its address space has no free range")]
    NoRoom,
    #[error("it has no doorbell: `spyhole.install()` was not called in it")]
    NoBell,
    #[error("a prepared process is only heard in its main interpreter")]
    MainOnly,
    #[error("it has the doorbell's signals, but did not call back within {within:?}")]
    RangInVain { within: Duration },
    #[error("its doorbell cannot be rung: {reason}")]
    BellBroken { reason: String },
    #[error("this kernel cannot copy descriptors between processes (pidfd_getfd, Linux 5.6)")]
    NoPidfdGetfd,
}
