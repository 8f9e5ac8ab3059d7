//! Tasks of asyncio and greenlets, as plain data: part of the model of stacks.
//!
//! It knows names and states. How they are found is told in `beyond`.

use crate::model::StackFrame;
use crate::waits::Wait;

/// A task that is not done.
#[derive(Clone, Debug)]
pub struct TaskStack {
    /// Its address, which no other has at the same time.
    pub id: u64,
    /// `None` where the version gives it none (3.6, 3.7).
    pub name: Option<String>,
    /// The qualified name of what it runs.
    pub coroutine: Option<String>,
    pub state: TaskState,
    /// The address of its event loop.
    pub event_loop: u64,
    /// The thread that runs it at this moment.
    pub thread: Option<i32>,
    /// `None` if it waits for nothing.
    pub awaits: Option<Wait>,
    /// Tasks that go on when this one is done.
    pub awaited_by: Vec<TaskName>,
    /// Its frames changed while they were read.
    pub torn: bool,
    /// There are more frames than these.
    pub cut: bool,
    /// Innermost first.
    pub frames: Vec<StackFrame>,
}

/// A task, named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    pub id: u64,
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// A thread runs it at this moment.
    Running,
    /// It has begun, and waits for a future.
    Waiting,
    /// It has begun, and its event loop will let it go on.
    Ready,
    /// It was not begun.
    New,
}

impl TaskState {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::New => "new",
        }
    }
}

/// A greenlet.
#[derive(Clone, Debug)]
pub struct GreenletStack {
    /// Its address, which no other has at the same time.
    pub id: u64,
    /// What it runs, or what its library calls it.
    pub name: Option<String>,
    /// `module.qualname` of its class.
    pub type_name: String,
    /// gevent's `minimal_ident`, once the program has asked for it.
    pub ident: Option<u64>,
    pub state: GreenletState,
    pub role: GreenletRole,
    /// To which it returns, by its id.
    pub parent: Option<u64>,
    /// The main one of its thread, by its id; `None` if it was not begun.
    pub main: Option<u64>,
    /// The thread that it belongs to.
    pub thread: Option<i32>,
    /// `None` if it waits for nothing, or it is not known for what.
    pub waits_for: Option<Wait>,
    /// Its frames changed while they were read.
    pub torn: bool,
    /// There are more frames than these.
    pub cut: bool,
    /// Innermost first; empty if it is not suspended, as those of one that runs are its thread's.
    pub frames: Vec<StackFrame>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GreenletState {
    /// It was not begun.
    New,
    Suspended,
    /// Its thread runs it.
    Running,
    /// It has ended.
    Dead,
}

impl GreenletState {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Suspended => "suspended",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }
}

/// What a greenlet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GreenletRole {
    /// It was there before all others of its thread.
    Main,
    /// The loop of gevent or eventlet.
    Hub,
    Plain,
}

impl GreenletRole {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Hub => "hub",
            Self::Plain => "greenlet",
        }
    }
}
