//! Tasks and greenlets, told: their frames and names, what each of them waits for, and who waits for them.
//!
//! It knows `asyncio` by its functions, and how gevent and eventlet name what they run.

use std::collections::HashMap;

use spyhole_cpython::Reader;
use spyhole_cpython::frames::{End, RawFrame};
use spyhole_cpython::greenlets::State;
use spyhole_proc::Address;
use spyhole_proc::memory::{Cached, ReadMemory};
use spyhole_proc::tasks::Tasks;

use crate::beyond::{Beyond, SeenGreenlet, SeenTask};
use crate::model::{InterpreterStacks, StackFrame};
use crate::resolving::Share;
use crate::suspended::{GreenletRole, GreenletStack, GreenletState, TaskStack};

/// Tells the tasks and greenlets of these interpreters.
pub(crate) fn tell<M: ReadMemory + Clone, T: Tasks>(
    share: &Share<'_, T>,
    reader: Reader<'_>,
    memory: &Cached<M>,
    beyond: &Beyond,
    interpreters: &mut [InterpreterStacks],
) {
    for (seen, told) in beyond.interpreters.iter().zip(interpreters) {
        let raw: Vec<&[RawFrame]> = seen.tasks.iter().map(|one| one.frames.as_slice()).collect();
        let frames = share.stacks(&raw, memory);
        told.tasks = seen
            .tasks
            .iter()
            .zip(frames)
            .map(|(one, frames)| task(&reader, one, frames, told))
            .collect();
        let raw: Vec<&[RawFrame]> =
            seen.greenlets.iter().map(|one| one.greenlet.stack.frames.as_slice()).collect();
        let frames = share.stacks(&raw, memory);
        let names = Names::of(&reader, &seen.greenlets);
        told.greenlets = seen
            .greenlets
            .iter()
            .zip(frames)
            .map(|(one, frames)| greenlet(&reader, &names, one, frames))
            .collect();
    }
}

fn task(
    reader: &Reader<'_>,
    seen: &SeenTask,
    frames: Vec<StackFrame>,
    told: &InterpreterStacks,
) -> TaskStack {
    let of = &seen.task;
    TaskStack {
        id: of.at.0,
        name: of.name.clone(),
        coroutine: reader
            .is_generator(of.coroutine)
            .then(|| reader.generator_name(of.coroutine))
            .flatten(),
        state: seen.state,
        event_loop: of.event_loop.0,
        thread: seen.thread.and_then(|number| told.threads.get(number)?.native_id),
        awaits: None,
        awaited_by: Vec::new(),
        torn: seen.moved || seen.end == End::Torn,
        cut: seen.end == End::Cut,
        frames,
    }
}

/// What the classes of greenlets are called, and which greenlets are hubs.
struct Names {
    types: HashMap<Address, String>,
}

impl Names {
    fn of(reader: &Reader<'_>, seen: &[SeenGreenlet]) -> Self {
        let mut types = HashMap::new();
        for one in seen {
            let kind = one.greenlet.kind;
            types.entry(kind).or_insert_with(|| class_name(reader, kind));
        }
        Self { types }
    }
}

fn class_name(reader: &Reader<'_>, kind: Address) -> String {
    reader.class_name(kind).unwrap_or_else(|| "greenlet".to_owned())
}

fn greenlet(
    reader: &Reader<'_>,
    names: &Names,
    seen: &SeenGreenlet,
    frames: Vec<StackFrame>,
) -> GreenletStack {
    let of = &seen.greenlet;
    let type_name = names.types.get(&of.kind).cloned().unwrap_or_default();
    let role = match () {
        () if is_hub(&type_name) => GreenletRole::Hub,
        () if of.is_main => GreenletRole::Main,
        () => GreenletRole::Plain,
    };
    let address = |at: Address| (!at.is_null()).then_some(at.0);
    GreenletStack {
        id: of.at.0,
        name: name(reader, of.at, role, &frames),
        type_name,
        ident: None,
        state: match of.state {
            State::New => GreenletState::New,
            State::Suspended => GreenletState::Suspended,
            State::Running => GreenletState::Running,
            State::Dead => GreenletState::Dead,
        },
        role,
        parent: address(of.parent),
        main: address(of.main),
        thread: seen.thread,
        waits_for: None,
        torn: seen.moved || of.stack.end == End::Torn,
        cut: of.stack.end == End::Cut,
        frames,
    }
}

/// gevent's `Hub` (`gevent/hub.py`); eventlet runs the `run` of its hub in a plain greenlet.
fn is_hub(type_name: &str) -> bool {
    type_name.starts_with("gevent.") && type_name.ends_with(".Hub")
}

/// gevent keeps what a `Greenlet` runs as its `_run` (`gevent/greenlet.py`), eventlet gives it to `GreenThread.main`; of any
/// other the outermost frame tells.
fn name(
    reader: &Reader<'_>,
    at: Address,
    role: GreenletRole,
    frames: &[StackFrame],
) -> Option<String> {
    if role != GreenletRole::Plain {
        return Some(role.name().to_owned());
    }
    if let Some(run) = reader.attribute(at, "_run").and_then(|run| reader.callable_name(run)) {
        return Some(run);
    }
    let of_library = |frame: &&StackFrame| {
        frame
            .module
            .as_deref()
            .is_some_and(|module| module == "eventlet.greenthread" || module.starts_with("gevent."))
    };
    let mut outer = frames.iter().rev();
    let first = outer.find(|frame| !of_library(frame)).or(frames.last())?;
    first.function.as_deref().map(str::to_owned)
}
