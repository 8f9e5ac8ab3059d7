//! What threads wait for, as plain data: part of the model of stacks.
//!
//! It knows names and kinds. How they are found is told in `waiting`.

use crate::suspended::TaskName;
/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub kind: WaitKind,
    /// `Lock at 0x7f3c5a10`, `read of fd 3 (pipe)`.
    pub what: String,
    pub owner: Owner,
    /// The tasks whose ends a task waits for.
    pub tasks: Vec<TaskName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitKind {
    Lock,
    RLock,
    Condition,
    Event,
    Semaphore,
    Barrier,
    Queue,
    Future,
    /// The end of other tasks.
    Task,
    /// The end of a thread or of a greenlet.
    Join,
    /// A module that another thread imports.
    Import,
    Gil,
    /// A child process.
    Child,
    Signal,
    Sleep,
    /// A system call on a file descriptor.
    Call,
}

impl WaitKind {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::RLock => "rlock",
            Self::Condition => "condition",
            Self::Event => "event",
            Self::Semaphore => "semaphore",
            Self::Barrier => "barrier",
            Self::Queue => "queue",
            Self::Future => "future",
            Self::Task => "task",
            Self::Join => "join",
            Self::Import => "import",
            Self::Gil => "gil",
            Self::Child => "child",
            Self::Signal => "signal",
            Self::Sleep => "sleep",
            Self::Call => "call",
        }
    }

    /// It is somebody's until that one gives it back.
    pub fn is_owned(self) -> bool {
        matches!(self, Self::Lock | Self::RLock | Self::Import)
    }
}

/// Who has what a thread waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// That cannot be told, or there can be none.
    #[default]
    Unknown,
    Thread(Owning),
    /// A thread that has ended, by its ident.
    Ended(u64),
    Task(TaskName, Option<Line>),
    Greenlet(GreenletName, Option<Line>),
}

/// A greenlet, named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GreenletName {
    pub id: u64,
    pub name: Option<String>,
}

/// The thread that has something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owning {
    pub thread: ThreadName,
    /// The `with` that took it; `None` if none did, or that is not known.
    pub taken: Option<Line>,
}

/// A thread, named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadName {
    pub native_id: Option<i32>,
    pub ident: u64,
    pub name: Option<String>,
}

/// A line of source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub function: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// Who waits for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlock {
    pub kind: DeadlockKind,
    /// Each waits for the next one, and the last for the first.
    pub members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlockKind {
    Threads,
    Tasks,
    Greenlets,
}

impl DeadlockKind {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Tasks => "tasks",
            Self::Greenlets => "greenlets",
        }
    }
}

/// Who takes part in a deadlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Thread(ThreadName),
    Task(TaskName),
    Greenlet(GreenletName),
}

/// One of a deadlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub who: Who,
    /// What the one before waits for.
    pub holds: String,
    pub wants: String,
    /// The `with` that took what it holds.
    pub taken: Option<Line>,
    /// Where it is now: the innermost line of a file that is no part of `threading` and the like.
    pub now: Option<Line>,
}
