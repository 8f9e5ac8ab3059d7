//! What the tasks of asyncio wait for, who has that, who awaits whom, and which of them wait for each other in a ring.
//!
//! It knows the functions of `Lib/asyncio`, and what ends together with a task: that is told by the task's callbacks, which
//! `gather`, `shield`, `wait`, `wait_for` and `TaskGroup` set, and from 3.14 on by the task itself.

use std::collections::{HashMap, HashSet};

use spyhole_cpython::Reader;
use spyhole_cpython::frames::RawFrame;
use spyhole_cpython::layout::SOCKET_DESCRIPTOR;
use spyhole_cpython::tasks::{Tasks, Told};
use spyhole_proc::Address;

use crate::beyond::SeenTask;
use crate::deadlocks;
use crate::later::{Later, Subject, Wants};
use crate::model::StackFrame;
use crate::pause::SeenInterpreter;
use crate::waiting::{at, place};
use crate::waits::WaitKind;

/// Futures between a task and one that awaits it.
const FUTURES_AT_MOST: usize = 64;
/// Frames of asyncio that may lie between a program and what it waits for.
const LIBRARY_FRAMES: usize = 6;

/// Who awaits whom, by their places in the list of tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edges {
    /// For each task those that go on when it is done.
    pub(crate) by: Vec<Vec<usize>>,
    /// For each task those that it waits for at this moment.
    pub(crate) on: Vec<Vec<usize>>,
}

/// Finds who awaits whom.
pub(crate) fn edges(reader: Reader<'_>, interpreter: &SeenInterpreter, seen: &[SeenTask]) -> Edges {
    let mut edges = Edges { by: vec![Vec::new(); seen.len()], on: vec![Vec::new(); seen.len()] };
    let Some(mut tasks) = Tasks::of(reader, &interpreter.state) else { return edges };
    let places: HashMap<Address, usize> =
        seen.iter().enumerate().map(|(index, one)| (one.task.at, index)).collect();
    let mut waiting: HashMap<Address, Vec<usize>> = HashMap::new();
    for (index, one) in seen.iter().enumerate() {
        if !one.task.waiter.is_null() {
            waiting.entry(one.task.waiter).or_default().push(index);
        }
    }
    for (index, one) in seen.iter().enumerate() {
        let (mut by, mut parents) = (Vec::new(), Vec::new());
        let mut futures = vec![one.task.at];
        let mut passed = HashSet::new();
        while let Some(future) = futures.pop() {
            if passed.len() == FUTURES_AT_MOST || !passed.insert(future) {
                continue;
            }
            by.extend(waiting.get(&future).into_iter().flatten().copied());
            for told in tasks.told(future) {
                match told {
                    Told::Future(future) => futures.push(future),
                    Told::Parent(parent) => parents.extend(places.get(&parent).copied()),
                }
            }
            for awaiter in tasks.awaited_by(future) {
                match places.get(&awaiter) {
                    Some(place) => parents.push(*place),
                    None => futures.push(awaiter),
                }
            }
        }
        for awaiter in &by {
            edges.on[*awaiter].push(index);
        }
        for parent in parents {
            if by.contains(&parent) {
                continue;
            }
            by.push(parent);
            // A group's own task may do other things first.
            if in_group(&reader, &seen[parent]) {
                edges.on[parent].push(index);
            }
        }
        by.sort_unstable();
        by.dedup();
        edges.by[index] = by;
    }
    for on in &mut edges.on {
        on.sort_unstable();
        on.dedup();
    }
    edges
}

/// Whether a task waits at the end of a group for all that are in it.
fn in_group(reader: &Reader<'_>, one: &SeenTask) -> bool {
    one.frames.first().is_some_and(|frame| {
        reader.module_name(frame.globals).is_some_and(|module| {
            module == "asyncio.taskgroups" || module == "anyio._backends._asyncio"
        })
    })
}

/// What a task waits for, which is in `frames` and awaits these others.
pub(crate) fn wants(
    later: &mut Later<'_>,
    seen: &SeenTask,
    frames: &[StackFrame],
    on: &[usize],
    name: impl Fn(usize) -> String,
) -> Wants {
    let wants = by_library(later, &seen.frames, frames).filter(|_| on.is_empty()).unwrap_or_else(
        || match on {
            [] => Wants::new(WaitKind::Future, {
                let class = later.class(seen.task.waiter).unwrap_or_else(|| "Future".to_owned());
                at(&class, seen.task.waiter)
            }),
            [one] => Wants::new(WaitKind::Task, name(*one)),
            many => Wants::new(WaitKind::Task, format!("{} tasks", many.len())),
        },
    );
    Wants { on: on.to_vec(), ..wants }
}

/// What the functions of asyncio tell that a task is in.
fn by_library(later: &mut Later<'_>, raw: &[RawFrame], told: &[StackFrame]) -> Option<Wants> {
    let (first, innermost) = (raw.first()?, place(told.first()?)?);
    match innermost {
        ("asyncio.tasks", "sleep") => {
            let seconds = later.variable(first, "delay").and_then(|at| later.seconds(at));
            let what = seconds.map(|seconds| format!("a sleep of {seconds} s to end"));
            let what = what.unwrap_or_else(|| "a sleep to end".to_owned());
            Some(Wants::new(WaitKind::Sleep, what))
        }
        ("asyncio.selector_events" | "asyncio.proactor_events", call)
            if call.starts_with("sock") =>
        {
            let call = call.trim_start_matches("_").to_owned();
            let socket = later.variable(first, "sock")?;
            later.of_socket(&call, socket)
        }
        ("asyncio.streams", call) => {
            let own = later.variable(first, "self")?;
            let what = match call {
                "_wait_for_data" => "read",
                "_drain_helper" | "drain" => "drain",
                _ => return None,
            };
            later.of_stream(what, own)
        }
        ("asyncio.base_subprocess" | "asyncio.subprocess", _) => {
            Some(Wants::new(WaitKind::Child, "the end of a child process".to_owned()))
        }
        ("asyncio.locks" | "asyncio.queues", _) => synchronised(later, raw, told),
        _ => None,
    }
}

/// A lock or the like: the outermost function of the library that waits for it tells which; but who only takes a lock
/// again waits for that.
fn synchronised(later: &mut Later<'_>, raw: &[RawFrame], told: &[StackFrame]) -> Option<Wants> {
    let mut wants = None;
    for (raw, told) in raw.iter().zip(told).take(LIBRARY_FRAMES) {
        let Some(("asyncio.locks" | "asyncio.queues", name)) = place(told) else { break };
        let Some(own) = later.variable(raw, "self") else { continue };
        let Some(class) = later.class(own) else { continue };
        let known = later.synchroniser(own);
        let kind = match known.as_deref().unwrap_or(&class) {
            "Lock" => WaitKind::Lock,
            "Event" => WaitKind::Event,
            "Condition" => WaitKind::Condition,
            "Semaphore" | "BoundedSemaphore" => WaitKind::Semaphore,
            "Barrier" => WaitKind::Barrier,
            "Queue" | "PriorityQueue" | "LifoQueue" => WaitKind::Queue,
            _ => continue,
        };
        let what = match kind {
            WaitKind::Queue => at(&format!("{name} of {class}"), own),
            _ => at(&class, own),
        };
        let lock = (kind == WaitKind::Lock).then_some(own);
        wants = Some(Wants { lock, ..Wants::new(kind, what) });
        if kind == WaitKind::Lock {
            break;
        }
    }
    wants
}

/// Tasks that wait for each other in a ring: each waits for all of its next ones, or for one alone.
pub(crate) fn rings(
    subjects: &[Subject<'_>],
    wants: &[Option<Wants>],
    owner: &[Option<usize>],
) -> Vec<Vec<usize>> {
    // `wait` ends with the first of many.
    let needs_all = |index: usize| {
        let mut inner = subjects[index].told.iter().take(2).filter_map(place);
        !inner.any(|place| place == ("asyncio.tasks", "_wait"))
    };
    let next = |index: usize| -> Vec<usize> {
        let Some(wants) = &wants[index] else { return Vec::new() };
        match wants.on.as_slice() {
            [] => owner[index].into_iter().collect(),
            [one] => vec![*one],
            many if needs_all(index) => many.to_vec(),
            _ => Vec::new(),
        }
    };
    deadlocks::rings_of_many(subjects.len(), next)
}

impl Later<'_> {
    /// What is done with a `socket.socket`.
    pub(crate) fn of_socket(&mut self, call: &str, socket: Address) -> Option<Wants> {
        let reader = self.reader();
        let is_socket = reader.derives_from(socket, "_socket.socket");
        let fd = reader.memory.half(socket.plus(SOCKET_DESCRIPTOR)).ok()? as i32;
        (is_socket && fd >= 0).then(|| Wants {
            fd: Some(fd),
            ..Wants::new(WaitKind::Call, format!("{call} of fd {fd}"))
        })
    }

    /// What is done with a stream: its transport knows the descriptor, if it is written in Python.
    fn of_stream(&mut self, what: &str, stream: Address) -> Option<Wants> {
        let reader = self.reader();
        let transport = reader.attribute(stream, "_transport");
        let fd = transport
            .and_then(|transport| reader.attribute(transport, "_sock_fd"))
            .and_then(|fd| i32::try_from(reader.word(fd)?).ok());
        let class = self.class(stream).unwrap_or_else(|| "stream".to_owned());
        Some(match fd {
            Some(fd) => {
                Wants { fd: Some(fd), ..Wants::new(WaitKind::Call, format!("{what} of fd {fd}")) }
            }
            None => Wants::new(WaitKind::Call, at(&format!("{what} of {class}"), stream)),
        })
    }
}
