//! Places and shapes of what goes on later: generators and coroutines, the tasks of asyncio, and greenlets.
//!
//! Generators are in headers. The structures of `Modules/_asynciomodule.c` and of the greenlet package are in none: their
//! places were read from debug information, and whoever uses them checks what lies there first.

use super::{LayoutError, Numbers, Shape};
use crate::Version;

/// Where a generator's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorFrame {
    /// It points to a frame object.
    Object,
    /// It is within the generator.
    Within,
}

/// How a generator tells whether it was begun, and runs (`Include/internal/pycore_frame.h`, `PyFrameState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorStates {
    /// A flag says that it runs; the position before the first instruction that it was not begun.
    Flag,
    /// A number in its frame object.
    OfFrame { created: i8, suspended: (i8, i8) },
    /// A number in itself.
    Own { created: i8, suspended: (i8, i8) },
}

/// How a suspended generator tells that it waits for another (`_PyGen_yf` of `Objects/genobject.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaiting {
    /// The next instruction is `YIELD_FROM`.
    Instruction,
    /// The next instruction is a `RESUME` with an argument of 2 or more.
    Argument,
    /// By its state.
    State(i8, i8),
}

/// How a frame that does not run tells how much of its value stack is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// An address.
    Address,
    /// A number of slots.
    Depth,
    /// A number of slots, the variables among them.
    BehindLocals,
}

/// Generators and coroutines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generators {
    pub frame: GeneratorFrame,
    pub states: GeneratorStates,
    pub awaiting: Awaiting,
    pub end: StackEnd,
    /// Slots of the value stack above what is awaited.
    pub above: usize,
}

pub(super) const GENERATORS_OLDEST: Generators = Generators {
    frame: GeneratorFrame::Object,
    states: GeneratorStates::Flag,
    awaiting: Awaiting::Instruction,
    end: StackEnd::Address,
    above: 0,
};

pub(super) const GENERATORS_TEN: Generators = Generators {
    states: GeneratorStates::OfFrame { created: -2, suspended: (-1, -1) },
    end: StackEnd::Depth,
    ..GENERATORS_OLDEST
};

pub(super) const GENERATORS_ELEVEN: Generators = Generators {
    frame: GeneratorFrame::Within,
    states: GeneratorStates::Own { created: -2, suspended: (-1, -1) },
    awaiting: Awaiting::Argument,
    end: StackEnd::BehindLocals,
    above: 0,
};

pub(super) const GENERATORS_THIRTEEN: Generators = Generators {
    states: GeneratorStates::Own { created: -3, suspended: (-2, -1) },
    awaiting: Awaiting::State(-1, -1),
    ..GENERATORS_ELEVEN
};

pub(super) const GENERATORS_FOURTEEN: Generators =
    Generators { end: StackEnd::Address, ..GENERATORS_THIRTEEN };

pub(super) const GENERATORS_FIFTEEN: Generators = Generators {
    states: GeneratorStates::Own { created: 0, suspended: (1, 3) },
    awaiting: Awaiting::State(2, 3),
    above: 1,
    ..GENERATORS_FOURTEEN
};

/// Places that only what is suspended needs.
#[derive(Clone, Copy, Debug)]
pub struct Suspended {
    pub generator_frame: u64,
    pub generator_state: u64,
    pub function_closure: u64,
    pub type_subclasses: u64,
    /// Bytes of what the garbage collector keeps before an object.
    pub gc_head: u64,
    /// Lists of tasks, where threads and interpreters have them (`Include/internal/pycore_tstate.h`).
    pub task_lists: Option<TaskLists>,
    /// `None` where the version has none that is known.
    pub tasks: Option<Tasks>,
    pub greenlets: Option<GreenletPlaces>,
}

#[derive(Clone, Copy, Debug)]
pub struct TaskLists {
    pub running_task: u64,
    pub of_thread: u64,
    pub of_interpreter: u64,
}

impl Suspended {
    pub(super) fn build(n: &Numbers, version: Version) -> Result<Self, LayoutError> {
        let task_lists = match (
            n.find("thread.running_task"),
            n.find("thread.tasks"),
            n.find("interpreter.tasks"),
        ) {
            (Some(running_task), Some(of_thread), Some(of_interpreter)) => {
                Some(TaskLists { running_task, of_thread, of_interpreter })
            }
            _ => None,
        };
        Ok(Self {
            generator_frame: n.get("generator.frame")?,
            generator_state: n.get("generator.state")?,
            function_closure: n.get("function.closure")?,
            type_subclasses: n.get("type.subclasses")?,
            gc_head: n.get("gc.head")?,
            task_lists,
            tasks: row(TASKS, version),
            greenlets: row(GREENLETS, version),
        })
    }
}

fn row<T: Copy>(table: &[(u8, T)], version: Version) -> Option<T> {
    table.iter().find(|(minor, _)| *minor == version.minor).map(|(_, row)| *row)
}

/// `FutureObj` and `TaskObj` of `Modules/_asynciomodule.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// `tp_basicsize` of `_asyncio.Task`: of another size it is another structure.
    pub size: u64,
    /// The first callback, where it is kept apart.
    pub first_callback: Option<u64>,
    pub callbacks: u64,
    pub state: u64,
    /// What it is told by when it ends: one, or a set.
    pub awaited_by: Option<u64>,
    pub waiter: u64,
    pub coroutine: u64,
    pub name: Option<u64>,
    /// Its place in the list of tasks.
    pub node: Option<u64>,
}

/// The event loop of a future, in all versions.
pub const FUTURE_LOOP: u64 = 16;
/// What an iterator over a future, a coroutine's wrapper or a step of an asynchronous generator leads to, its first
/// field (`Modules/_asynciomodule.c`, `Objects/genobject.c`, `Objects/iterobject.c`).
pub const WRAPPED: u64 = 16;
/// The descriptor of a `socket.socket` (`Modules/socketmodule.h`).
pub const SOCKET_DESCRIPTOR: u64 = 16;

const SIX: Tasks = Tasks {
    size: 112,
    first_callback: None,
    callbacks: 24,
    state: 56,
    awaited_by: None,
    waiter: 88,
    coroutine: 96,
    name: None,
    node: None,
};

const SEVEN: Tasks = Tasks {
    size: 136,
    first_callback: Some(24),
    callbacks: 40,
    state: 72,
    waiter: 104,
    coroutine: 112,
    ..SIX
};

const ELEVEN: Tasks =
    Tasks { size: 176, state: 88, waiter: 128, coroutine: 136, name: Some(144), ..SEVEN };

const FOURTEEN: Tasks = Tasks {
    size: 168,
    state: 104,
    awaited_by: Some(96),
    waiter: 120,
    coroutine: 128,
    name: Some(136),
    node: Some(152),
    ..ELEVEN
};

const TASKS: &[(u8, Tasks)] = &[
    (6, SIX),
    (7, SEVEN),
    (8, Tasks { size: 144, name: Some(120), ..SEVEN }),
    (9, Tasks { size: 184, state: 80, waiter: 144, coroutine: 152, name: Some(160), ..SEVEN }),
    (10, Tasks { size: 192, state: 88, waiter: 152, coroutine: 160, name: Some(168), ..SEVEN }),
    (11, ELEVEN),
    (12, ELEVEN),
    (13, Tasks { size: 144, state: 96, waiter: 112, coroutine: 120, name: Some(128), ..ELEVEN }),
    (14, FOURTEEN),
    (15, FOURTEEN),
];

/// Places in a greenlet's state that depend on the version of Python (`TGreenlet.hpp` and its like of the greenlet package,
/// from 2.0 on; to 1.1 all of it is in the object).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GreenletPlaces {
    /// Where its part of the C stack begins, in greenlet 2.0 and 3.0; later 8 bytes behind that.
    pub stack_start: u64,
    /// The same of its innermost frame.
    pub frame: u64,
    /// The main greenlet, in greenlet 2.0 and 3.0; before it lies a reference to the greenlet itself.
    pub main: Option<u64>,
    /// The same from greenlet 3.1 on, where it differs between its versions: one of these.
    pub main_later: [u64; 2],
}

const GREENLET_SEVEN: GreenletPlaces =
    GreenletPlaces { stack_start: 64, frame: 112, main: Some(136), main_later: [136, 136] };

const GREENLET_ELEVEN: GreenletPlaces =
    GreenletPlaces { stack_start: 48, frame: 96, main: Some(168), main_later: [168, 168] };

const GREENLETS: &[(u8, GreenletPlaces)] = &[
    (6, GreenletPlaces { stack_start: 48, frame: 88, main: Some(112), main_later: [112, 112] }),
    (7, GREENLET_SEVEN),
    (8, GREENLET_SEVEN),
    (9, GREENLET_SEVEN),
    (10, GreenletPlaces { main: Some(152), main_later: [152, 152], ..GREENLET_SEVEN }),
    (11, GREENLET_ELEVEN),
    (12, GREENLET_ELEVEN),
    (13, GreenletPlaces { main: None, main_later: [160, 168], ..GREENLET_ELEVEN }),
    (14, GreenletPlaces { main: None, main_later: [168, 184], ..GREENLET_ELEVEN }),
    (15, GreenletPlaces { main: None, main_later: [184, 184], ..GREENLET_ELEVEN }),
];

/// Places in a `PyGreenlet` (`greenlet.h`), the same for every Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greenlet {
    /// The rest of it, from 2.0 on.
    pub rest: u64,
    /// In greenlet 1.
    pub stack_start: u64,
    pub parent: u64,
    pub frame: u64,
}

pub const GREENLET: Greenlet = Greenlet { rest: 32, stack_start: 16, parent: 56, frame: 72 };

impl Shape {
    /// Whether a number is a state in which a generator does not run and goes on later.
    pub(crate) fn is_suspended(state: i8, (first, last): (i8, i8)) -> bool {
        (first..=last).contains(&state)
    }
}
