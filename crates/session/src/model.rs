//! What the service answers: plain data that views draw and `--json` prints.
//!
//! Every string that came from a target may hold anything; views escape it.

use std::sync::Arc;
use std::time::Duration;

use crate::requests::WebRequest;
use crate::suspended::{GreenletStack, TaskStack};
use crate::waits::{Deadlock, Wait};

/// A process and, where it matters, one of its interpreters: `PID/INTERP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub pid: i32,
    pub interpreter: i64,
}

/// One row of `ps`.
#[derive(Clone, Debug)]
pub struct ProcessRow {
    pub pid: i32,
    /// Its number in its own pid namespace, where that is another one.
    pub namespace_pid: Option<i32>,
    pub ppid: i32,
    pub user: String,
    /// `3.11.7`, where it could be told from outside.
    pub python: Option<String>,
    /// `cpython` or `pypy`.
    pub implementation: String,
    pub executable: Option<String>,
    pub cmdline: Vec<String>,
    pub age: Duration,
    pub threads: u32,
    /// All of them, where that was asked for.
    pub interpreter_list: Option<Vec<InterpreterRow>>,
    /// Number of interpreters; `None` where they were not counted.
    pub interpreters: Option<u32>,
    /// `gunicorn worker`, `mod_wsgi daemon`, ...; `None` if it is nothing known.
    pub kind: Option<String>,
    /// Which of `asyncio`, `eventlet` and `gevent` any of its interpreters has loaded.
    pub loaded: Vec<String>,
    /// The application groups that mod_wsgi gave its interpreters.
    pub groups: Vec<String>,
    pub look: Allowed,
    pub ask: Allowed,
}

/// An interpreter of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterpreterRow {
    /// 0 is the main one.
    pub id: i64,
    /// Its application group under mod_wsgi.
    pub name: Option<String>,
    /// Modules that it has loaded.
    pub modules: usize,
    /// Those of them that tell what it is for.
    pub packages: Vec<String>,
}

/// Whether something may be done to a process, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub ok: bool,
    /// The door that would be used (`thread`), for asking.
    pub door: Option<String>,
    pub reason: Option<String>,
}

/// The answers of one `eval` over one or many processes.
#[derive(Clone, Debug)]
pub struct EvalReport {
    pub code: String,
    pub answers: Vec<Answer>,
    /// Equal answers, largest group first.
    pub groups: Vec<Group>,
    /// Places that have not imported the module that was asked for.
    pub not_loaded: Vec<Place>,
    /// What was heard from those; nobody is shown it, but how they were left is said.
    pub passed_over: Vec<Answer>,
}

/// What one place answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub place: Place,
    pub outcome: Outcome,
    pub stdout: String,
    pub stderr: String,
    /// Bytes of printed text that were cut from `stdout` and `stderr`.
    pub output_cut: u64,
    pub duration: Duration,
    /// Index into `EvalReport::groups`.
    pub group: Option<usize>,
    /// How the process was left; `None` if nothing was ever done to it.
    pub left: Option<Left>,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    Value(Value),
    Error(EvalError),
}

/// A value, rendered in the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// `module.qualname`, bare for builtins.
    pub type_name: String,
    pub repr: String,
    pub is_none: bool,
    pub truncated: bool,
    /// Canonical text to compare by, where it differs from `repr`.
    pub key: Option<String>,
    /// The value itself where it is plain JSON data and was asked for.
    pub json: Option<serde_json::Value>,
}

/// Why there is no value.
#[derive(Clone, Debug)]
pub struct EvalError {
    pub kind: ErrorKind,
    /// Exception type, or a short name of the failure.
    pub type_name: String,
    pub message: String,
    /// Chain of exceptions, the one that ended the code last.
    pub traceback: Vec<Raised>,
    pub causes: Vec<String>,
    pub hints: Vec<String>,
}

/// The JSON `kind` of an error, which also decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The code raised an exception. `raised`, exit 1.
    Raised,
    /// The code does not parse. `syntax`, exit 1.
    Syntax,
    /// It was interrupted by Ctrl-C. `interrupted`, exit 130.
    Interrupted,
    /// The time limit passed. `timeout`, exit 1.
    Timeout,
    /// Code cannot run there. `unreachable`, exit 1.
    Unreachable,
    /// No permission. `access-denied`, exit 4.
    AccessDenied,
    /// The target is gone. `gone`, exit 5.
    Gone,
    /// What was asked makes no sense here. `usage`, exit 2.
    Usage,
    /// A bug of ours. `bug`, exit 70.
    Bug,
}

impl ErrorKind {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Syntax => "syntax",
            Self::Interrupted => "interrupted",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::AccessDenied => "access-denied",
            Self::Gone => "gone",
            Self::Usage => "usage",
            Self::Bug => "bug",
        }
    }
}

/// One exception of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    pub type_name: String,
    pub message: String,
    pub relation: Option<Relation>,
    /// Outermost first, as Python prints them.
    pub frames: Vec<TraceFrame>,
    pub syntax: Option<SyntaxPlace>,
    pub notes: Vec<String>,
}

/// How an exception belongs to the one that follows it in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Cause,
    Context,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TraceFrame {
    pub file: String,
    pub line: u32,
    pub function: String,
    /// 0-based columns, in bytes of UTF-8, of the running expression, where the version tells them.
    pub columns: Option<(u32, u32)>,
    /// The line's text, where it is known.
    pub text: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SyntaxPlace {
    pub file: String,
    pub line: u32,
    /// 1-based, as Python counts it.
    pub column: u32,
    pub text: String,
}

/// Places that answered the same.
#[derive(Clone, Debug)]
pub struct Group {
    pub repr: String,
    pub members: Vec<Place>,
    /// `true` if the members failed alike instead of answering.
    pub is_error: bool,
}

/// How a process was left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Left {
    /// How long its one thread was held at attaching.
    pub held: Duration,
    /// What could not be undone; empty: as it was.
    pub kept: Vec<String>,
    /// Code of ours that still runs there, with the expression it is in.
    pub still_running: Vec<Running>,
}

/// Code that has not returned yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    pub job: u32,
    pub code: String,
    /// The expression or line it is in, where that could be told.
    pub at: Option<String>,
    /// Native thread id.
    pub thread: i32,
}

/// One candidate of a completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub name: String,
    /// `function`, `class`, `module`, `keyword`, `property` or `value`.
    pub kind: String,
}

/// What a process was doing at one moment.
#[derive(Clone, Debug)]
pub struct ProcessStacks {
    pub pid: i32,
    /// `3.11.7`
    pub python: String,
    /// How long any of its threads was stopped.
    pub paused: Duration,
    /// Something changed while it was read.
    pub torn: bool,
    /// What else should be known of this look.
    pub notes: Vec<String>,
    /// Threads that wait for each other in a ring.
    pub deadlocks: Vec<Deadlock>,
    /// Web requests that are being served, if they were asked for.
    pub requests: Vec<WebRequest>,
    pub interpreters: Vec<InterpreterStacks>,
}

#[derive(Clone, Debug, Default)]
pub struct InterpreterStacks {
    pub id: i64,
    /// Its application group under mod_wsgi.
    pub name: Option<String>,
    pub threads: Vec<ThreadStack>,
    /// Of asyncio, all that are not done.
    pub tasks: Vec<TaskStack>,
    pub greenlets: Vec<GreenletStack>,
}

#[derive(Clone, Debug)]
pub struct ThreadStack {
    /// As this machine numbers it; `None` where that could not be told.
    pub native_id: Option<i32>,
    pub ident: u64,
    /// From `threading`, or else the kernel's name for it.
    pub name: Option<String>,
    pub daemon: Option<bool>,
    pub state: ThreadState,
    /// The system call that it waits in.
    pub syscall: Option<String>,
    pub holds_gil: bool,
    /// Of one that holds the GIL: what it is in in C; `None` if it runs Python, or that is not known.
    pub in_c: Option<NativeCall>,
    /// `None` if it waits for nothing, or it is not known for what.
    pub waits_for: Option<Wait>,
    /// Its frames changed while they were read.
    pub torn: bool,
    /// There are more frames than these.
    pub cut: bool,
    /// Innermost first.
    pub frames: Vec<StackFrame>,
}

/// A function in C that has not returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NativeCall {
    /// The function that Python called: `zlib.compress`; `None` if that is not known.
    pub function: Option<String>,
    /// The innermost function that a symbol names: `deflate`.
    pub symbol: Option<String>,
    /// Where that lies, or, without a symbol, the code that runs; `None`: in no file.
    pub file: Option<String>,
}

impl NativeCall {
    /// `zlib.compress`, `deflate of libz.so.1`, `an unnamed function of libz.so.1`
    pub fn name(&self) -> String {
        if let Some(function) = &self.function {
            return function.clone();
        }
        let symbol = self.symbol.as_deref().unwrap_or("an unnamed function");
        match &self.file {
            Some(file) => format!("{symbol} of {}", file.rsplit('/').next().unwrap_or(file)),
            None => format!("{symbol} that no file holds"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// On a processor, or about to be.
    Running,
    /// Waiting for the kernel.
    Waiting,
    /// Stopped by a signal or a tracer.
    Stopped,
    Unknown,
}

impl ThreadState {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StackFrame {
    /// Qualified where the version knows that; `None` if its code could not be read.
    pub function: Option<Arc<str>>,
    pub module: Option<Arc<str>>,
    pub file: Option<Arc<str>>,
    pub line: Option<u32>,
    pub end_line: Option<u32>,
    /// 0-based, in bytes of UTF-8.
    pub column: Option<u32>,
    pub end_column: Option<u32>,
    pub source: SourceLine,
    /// In the order of the code; empty where they were not asked for.
    pub locals: Vec<Local>,
    /// There are more locals than these.
    pub locals_cut: bool,
}

/// The text of the line that a frame is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum SourceLine {
    /// There is no file, or it may not or cannot be read.
    #[default]
    Unknown,
    /// The whole line, without its end; a very long one is cut.
    Text(Arc<str>),
    /// The file was changed after the process began: it may hold something else by now.
    Changed,
    /// The file has fewer lines.
    Missing,
}

/// A local variable, rendered from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    pub name: Arc<str>,
    /// `module.qualname`, bare for builtins.
    pub type_name: Arc<str>,
    /// As Python's `repr` where that needs no code of the program; `<redacted>`, `<changed>`, `<unreadable>`.
    pub repr: Arc<str>,
    pub truncated: bool,
}
