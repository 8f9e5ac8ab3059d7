//! Tasks and greenlets, told: their frames and names, what each of them waits for, and who waits for them.
//!
//! It knows `asyncio` by its functions, and how gevent and eventlet name what they run.

use std::collections::{HashMap, HashSet};

use spyhole_cpython::Reader;
use spyhole_cpython::frames::{End, RawFrame};
use spyhole_cpython::greenlets::State;
use spyhole_proc::Address;
use spyhole_proc::memory::{Cached, ReadMemory};
use spyhole_proc::tasks::Tasks;

use crate::beyond::{Beyond, SeenGreenlet, SeenTask};
use crate::later::{self, Later, Subject, Wants};
use crate::model::{InterpreterStacks, StackFrame};
use crate::pause::SeenInterpreter;
use crate::resolving::Share;
use crate::suspended::{
    GreenletRole, GreenletStack, GreenletState, TaskName, TaskStack, TaskState,
};
use crate::waits::{Deadlock, DeadlockKind, GreenletName, Line, Member, Owner, Wait, Who};
use crate::{asyncio, beyond, deadlocks, hubs};

/// Tells the tasks and greenlets of these interpreters, and the deadlocks among them.
pub(crate) fn tell<M: ReadMemory + Clone, T: Tasks>(
    share: &Share<'_, T>,
    reader: Reader<'_>,
    memory: &Cached<M>,
    seen: &[SeenInterpreter],
    beyond: &Beyond,
    again: Option<Reader<'_>>,
    interpreters: &mut [InterpreterStacks],
) -> Vec<Deadlock> {
    let mut deadlocks = Vec::new();
    for ((interpreter, seen), told) in seen.iter().zip(&beyond.interpreters).zip(interpreters) {
        if !seen.tasks.is_empty() {
            let raw: Vec<&[RawFrame]> =
                seen.tasks.iter().map(|one| one.frames.as_slice()).collect();
            let frames = share.stacks(&raw, memory);
            let mut tasks: Vec<TaskStack> = seen
                .tasks
                .iter()
                .zip(frames)
                .map(|(one, frames)| task(&reader, one, frames, told))
                .collect();
            deadlocks.extend(awaits(share, reader, again, interpreter, &seen.tasks, &mut tasks));
            told.tasks = tasks;
        }
        if !seen.greenlets.is_empty() {
            let raw: Vec<&[RawFrame]> =
                seen.greenlets.iter().map(|one| one.greenlet.stack.frames.as_slice()).collect();
            let frames = share.stacks(&raw, memory);
            let names = Names::of(&reader, &seen.greenlets);
            let mut greenlets: Vec<GreenletStack> = seen
                .greenlets
                .iter()
                .zip(frames)
                .map(|(one, frames)| greenlet(&reader, &names, one, frames))
                .collect();
            deadlocks.extend(waits(share, reader, again, &seen.greenlets, &mut greenlets));
            told.greenlets = greenlets;
        }
    }
    deadlocks
}

/// What tasks wait for, who awaits them, and their deadlocks.
fn awaits<T: Tasks>(
    share: &Share<'_, T>,
    reader: Reader<'_>,
    again: Option<Reader<'_>>,
    interpreter: &SeenInterpreter,
    seen: &[SeenTask],
    told: &mut [TaskStack],
) -> Vec<Deadlock> {
    let edges = asyncio::edges(reader, interpreter, seen);
    let mut later = Later::new(reader, share.view);
    let subjects: Vec<Subject<'_>> = seen
        .iter()
        .zip(told.iter())
        .map(|(one, told)| Subject { raw: &one.frames, told: &told.frames })
        .collect();
    let wants: Vec<Option<Wants>> = seen
        .iter()
        .zip(told.iter())
        .zip(&edges.on)
        .map(|((one, told), on)| {
            let waits = one.state == TaskState::Waiting;
            waits.then(|| {
                asyncio::wants(&mut later, one, &told.frames, on, |index| {
                    format!("task {}", label(seen, index))
                })
            })
        })
        .collect();
    let taken = later.taken(&subjects, &wants);
    let owners: Vec<Option<(usize, Line)>> =
        wants.iter().map(|wants| later::owner(wants.as_ref()?, &taken)).collect();
    let by_place: Vec<Option<usize>> =
        owners.iter().map(|owner| owner.as_ref().map(|(index, _)| *index)).collect();
    let mut rings = asyncio::rings(&subjects, &wants, &by_place);
    if let Some(again) = again.filter(|_| !rings.is_empty()) {
        let still = beyond::unmoved_tasks(again, interpreter, seen, &rings.concat());
        rings.retain(|ring| ring.iter().all(|index| still.contains(index)));
    }
    let names: Vec<TaskName> =
        told.iter().map(|one| TaskName { id: one.id, name: one.name.clone() }).collect();
    let descriptors = later::descriptors(wants.iter().flatten(), share.tasks);
    let deadlocks = rings.iter().map(|ring| Deadlock {
        kind: DeadlockKind::Tasks,
        members: members(ring, &wants, &owners, &subjects, |index| Who::Task(names[index].clone())),
    });
    let deadlocks = deadlocks.collect();
    let waits: Vec<Option<Wait>> = wants
        .iter()
        .zip(&owners)
        .map(|(wants, owner)| {
            let wants = wants.as_ref()?;
            let owner = owner.as_ref().map_or(Owner::Unknown, |(index, line)| {
                Owner::Task(names[*index].clone(), Some(line.clone()))
            });
            let tasks = wants.on.iter().map(|index| names[*index].clone()).collect();
            Some(Wait { tasks, ..wants.told(owner, &descriptors) })
        })
        .collect();
    for ((one, wait), by) in told.iter_mut().zip(waits).zip(&edges.by) {
        one.awaits = wait;
        one.awaited_by = by.iter().map(|index| names[*index].clone()).collect();
    }
    deadlocks
}

/// The name of a task, or else its address.
fn label(seen: &[SeenTask], index: usize) -> String {
    let task = &seen[index].task;
    task.name.clone().unwrap_or_else(|| format!("{:#x}", task.at.0))
}

/// What greenlets wait for, and their deadlocks.
fn waits<T: Tasks>(
    share: &Share<'_, T>,
    reader: Reader<'_>,
    again: Option<Reader<'_>>,
    seen: &[SeenGreenlet],
    told: &mut [GreenletStack],
) -> Vec<Deadlock> {
    let mut later = Later::new(reader, share.view);
    let subjects: Vec<Subject<'_>> = seen
        .iter()
        .zip(told.iter())
        .map(|(one, told)| Subject { raw: &one.greenlet.stack.frames, told: &told.frames })
        .collect();
    let places: HashMap<Address, usize> =
        seen.iter().enumerate().map(|(index, one)| (one.greenlet.at, index)).collect();
    let wants: Vec<Option<Wants>> = seen
        .iter()
        .zip(&subjects)
        .map(|(one, subject)| hubs::wants(&mut later, one.greenlet.at, *subject, &places))
        .collect();
    let taken = later.taken(&subjects, &wants);
    let owners: Vec<Option<(usize, Line)>> =
        wants.iter().map(|wants| later::owner(wants.as_ref()?, &taken)).collect();
    let next = |index: usize| match &wants[index] {
        Some(wants) if !wants.on.is_empty() => wants.on.clone(),
        _ => owners[index].iter().map(|(index, _)| *index).collect(),
    };
    let mut rings = deadlocks::rings_of_many(seen.len(), next);
    if let Some(again) = again.filter(|_| !rings.is_empty()) {
        let still = beyond::unmoved_greenlets(again, share.view, seen, &rings.concat());
        rings.retain(|ring| ring.iter().all(|index| still.contains(index)));
    }
    let name = |index: usize| GreenletName { id: told[index].id, name: told[index].name.clone() };
    let descriptors = later::descriptors(wants.iter().flatten(), share.tasks);
    let deadlocks = rings.iter().map(|ring| Deadlock {
        kind: DeadlockKind::Greenlets,
        members: members(ring, &wants, &owners, &subjects, |index| Who::Greenlet(name(index))),
    });
    let deadlocks = deadlocks.collect();
    let waits: Vec<Option<Wait>> = wants
        .iter()
        .zip(&owners)
        .map(|(wants, owner)| {
            let wants = wants.as_ref()?;
            let owner = match (owner, wants.on.as_slice()) {
                (Some((index, line)), _) => Owner::Greenlet(name(*index), Some(line.clone())),
                (None, [one]) => Owner::Greenlet(name(*one), None),
                _ => Owner::Unknown,
            };
            Some(wants.told(owner, &descriptors))
        })
        .collect();
    for (one, wait) in told.iter_mut().zip(waits) {
        one.waits_for = wait;
    }
    deadlocks
}

/// The members of a ring, each of which waits for the next one.
fn members(
    ring: &[usize],
    wants: &[Option<Wants>],
    owners: &[Option<(usize, Line)>],
    subjects: &[Subject<'_>],
    who: impl Fn(usize) -> Who,
) -> Vec<Member> {
    let what = |index: usize| wants[index].as_ref().map(|wants| wants.what.clone());
    let members = ring.iter().enumerate().map(|(at, index)| {
        let before = ring[(at + ring.len() - 1) % ring.len()];
        Member {
            who: who(*index),
            holds: what(before).unwrap_or_default(),
            wants: what(*index).unwrap_or_default(),
            taken: owners[before].as_ref().map(|(_, line)| line.clone()),
            now: deadlocks::now(subjects[*index].told),
        }
    });
    members.collect()
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

/// What the classes of greenlets are called, which greenlets are hubs, and their numbers.
struct Names {
    types: HashMap<Address, String>,
    hubs: HashSet<Address>,
    idents: HashMap<Address, u64>,
}

impl Names {
    fn of(reader: &Reader<'_>, seen: &[SeenGreenlet]) -> Self {
        let mut names =
            Self { types: HashMap::new(), hubs: HashSet::new(), idents: HashMap::new() };
        for one in seen {
            let kind = one.greenlet.kind;
            names.types.entry(kind).or_insert_with(|| class_name(reader, kind));
        }
        for SeenGreenlet { greenlet, .. } in seen {
            match names.types.get(&greenlet.kind).map_or("", String::as_str) {
                // It runs its loop in a plain greenlet, below which all others are.
                "eventlet.greenthread.GreenThread" if greenlet.parent != greenlet.main => {
                    names.hubs.insert(greenlet.parent);
                }
                name if name.starts_with("gevent.") && name.ends_with(".Hub") => {
                    names.hubs.insert(greenlet.at);
                    names.idents.extend(idents(reader, greenlet.at).unwrap_or_default());
                }
                _ => {}
            }
        }
        names
    }
}

/// gevent numbers a greenlet when it is first asked for its number (`gevent/_ident.py`): a `WeakKeyDictionary`, which the
/// hub's registry has as its first field.
fn idents(reader: &Reader<'_>, hub: Address) -> Option<Vec<(Address, u64)>> {
    const FIRST: u64 = 24;
    const AT_MOST: usize = 1 << 17;
    let registry = reader.attribute(hub, "ident_registry")?;
    let known = reader.memory.pointer(registry.plus(FIRST)).ok()?;
    if reader.type_name(reader.kind(known).ok()?)? != "WeakKeyDictionary" {
        return None;
    }
    let data = reader.attribute(known, "data")?;
    if reader.kind(data).ok()? != reader.types.dict {
        return None;
    }
    let entries = reader.dict_entries(data, AT_MOST).ok()?;
    let numbers = entries.iter().filter_map(|entry| {
        let greenlet = entry.key.plus(reader.layout.details.weakref_object);
        let greenlet = reader.memory.pointer(greenlet).ok()?;
        let number = reader.items(entry.value, 2).into_iter().find_map(|item| {
            let is_number = reader.kind(item).ok()? == reader.types.integer;
            is_number.then(|| reader.word(item)).flatten()
        });
        Some((greenlet, number?))
    });
    Some(numbers.collect())
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
        () if names.hubs.contains(&of.at) => GreenletRole::Hub,
        () if of.is_main => GreenletRole::Main,
        () => GreenletRole::Plain,
    };
    let address = |at: Address| (!at.is_null()).then_some(at.0);
    GreenletStack {
        id: of.at.0,
        name: name(reader, of.at, role, &frames),
        type_name,
        ident: names.idents.get(&of.at).copied(),
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
