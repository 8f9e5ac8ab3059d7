//! The tasks and greenlets of one moment, as bare addresses: what threads will go on with, beside what they do.
//!
//! It knows when they were read at one moment with the threads, and reads those again that were not. What their frames mean
//! is looked up by `snapshot`, and what they wait for by `awaiting`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use spyhole_cpython::Reader;
use spyhole_cpython::frames::{End, FRAMES_AT_MOST, RawFrame};
use spyhole_cpython::generators;
use spyhole_cpython::greenlets::{self, Finder, Greenlet, Types};
use spyhole_cpython::tasks::{Task, Tasks};
use spyhole_cpython::threads;
use spyhole_proc::Address;
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::{Cached, Live, ReadMemory};

use crate::pause::{SeenInterpreter, View};
use crate::suspended::TaskState;

/// Frames of all tasks, and of all greenlets of a process.
const ALL_FRAMES_AT_MOST: usize = 1 << 20;
/// How often what moves is read again.
const TRIES: usize = 4;

/// A task of one moment.
#[derive(Clone, Debug)]
pub(crate) struct SeenTask {
    pub(crate) task: Task,
    pub(crate) state: TaskState,
    /// The thread that runs it, by its place among those of its interpreter.
    pub(crate) thread: Option<usize>,
    /// Innermost first; of one that runs they are its thread's.
    pub(crate) frames: Vec<RawFrame>,
    pub(crate) end: End,
    /// It never read the same twice.
    pub(crate) moved: bool,
}

/// A greenlet of one moment.
#[derive(Clone, Debug)]
pub(crate) struct SeenGreenlet {
    pub(crate) greenlet: Greenlet,
    pub(crate) thread: Option<i32>,
    pub(crate) moved: bool,
}

/// The tasks and greenlets of one interpreter.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenBeyond {
    pub(crate) tasks: Vec<SeenTask>,
    pub(crate) greenlets: Vec<SeenGreenlet>,
}

/// What a process has beside its threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beyond {
    /// In the order of the interpreters.
    pub(crate) interpreters: Vec<SeenBeyond>,
    /// What should be known of it.
    pub(crate) notes: Vec<String>,
}

/// Where greenlets may be, found before the moment.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    types: Types,
    found: Vec<Address>,
    whole: bool,
    /// The places of the interpreters that have loaded the package.
    homes: Vec<i64>,
}

impl Candidates {
    /// `None` if no interpreter has loaded greenlet. `raw` reads without remembering.
    pub(crate) fn of(
        reader: &Reader<'_>,
        view: &View,
        raw: &dyn ReadMemory,
        maps: &Maps,
    ) -> Option<Arc<Self>> {
        let states = view.roots.interpreters(reader.memory, &view.layout).ok()?;
        let mut all: Option<Types> = None;
        let mut homes = Vec::new();
        for state in &states {
            let Some(types) = Types::of(reader, state) else { continue };
            homes.push(state.id);
            match &mut all {
                Some(all) => all.join(&types),
                None => all = Some(types),
            }
        }
        let types = all?;
        let (found, whole) = greenlets::find(raw, maps, &types);
        Some(Arc::new(Self { types, found, whole, homes }))
    }
}

/// Reads what the tasks and greenlets of these interpreters need, so that it is copied in the pause; not so much that the
/// pause gets much longer.
pub(crate) fn rehearse(
    memory: &Cached<Live>,
    reader: Reader<'_>,
    view: &View,
    seen: &[SeenInterpreter],
) {
    const PAGES: usize = 768;
    const GREENLETS: usize = 256;
    let reader = Reader { memory, ..reader };
    let most = memory.asked() + PAGES;
    for interpreter in seen {
        let Some(mut tasks) = Tasks::of(reader, &interpreter.state) else { continue };
        // What tasks are and run was mostly made together, and lies together.
        memory.expect_much();
        let states = states(interpreter);
        let (found, _) = tasks.list(&interpreter.state, &states);
        tasks.running(&states);
        for at in found {
            if memory.asked() >= most {
                return;
            }
            tasks.read(at, FRAMES_AT_MOST);
        }
    }
    if let Some(candidates) = &view.greenlets {
        let some = &candidates.found[..candidates.found.len().min(GREENLETS)];
        let finder = Finder::new(reader, &candidates.types, some);
        for at in some {
            if memory.asked() >= most {
                return;
            }
            finder.one(*at, FRAMES_AT_MOST);
        }
    }
}

fn states(interpreter: &SeenInterpreter) -> Vec<Address> {
    interpreter.threads.iter().map(|thread| thread.state.address).collect()
}

/// The tasks and greenlets of one moment. `changes`: the process runs meanwhile.
pub(crate) fn see<M: ReadMemory + Clone>(
    reader: Reader<'_>,
    memory: &Cached<M>,
    view: &View,
    interpreters: &[SeenInterpreter],
    changes: bool,
) -> Beyond {
    let reader = Reader { memory, ..reader };
    let mut beyond =
        Beyond { interpreters: vec![SeenBeyond::default(); interpreters.len()], notes: Vec::new() };
    let mut left = ALL_FRAMES_AT_MOST;
    for (index, interpreter) in interpreters.iter().enumerate() {
        let (tasks, notes) = tasks(reader, memory, interpreter, changes, &mut left);
        beyond.interpreters[index].tasks = tasks;
        beyond.notes.extend(notes);
    }
    if let Some(candidates) = &view.greenlets {
        of_greenlets(reader, memory, view, candidates, interpreters, changes, &mut beyond);
    }
    beyond
}

fn tasks<M: ReadMemory + Clone>(
    reader: Reader<'_>,
    memory: &Cached<M>,
    interpreter: &SeenInterpreter,
    changes: bool,
    left: &mut usize,
) -> (Vec<SeenTask>, Vec<String>) {
    let mut notes = Vec::new();
    let Some(mut tasks) = Tasks::of(reader, &interpreter.state) else { return (Vec::new(), notes) };
    if tasks.unknown {
        notes.push("the tasks of its `_asyncio` are of an unknown form, and not told".to_owned());
    }
    let states = states(interpreter);
    let (found, whole) = tasks.list(&interpreter.state, &states);
    if !whole {
        notes.push("not all of its tasks are told".to_owned());
    }
    let running = tasks.running(&states);
    let mut seen = Vec::with_capacity(found.len());
    let mut unsettled = Vec::new();
    for at in found {
        memory.went_beyond();
        let most = FRAMES_AT_MOST.min(*left);
        let Some(task) = tasks.read(at, most) else { continue };
        *left -= task.chain.frames.len().min(*left);
        if changes && memory.went_beyond() {
            unsettled.push(seen.len());
        }
        seen.push(SeenTask {
            state: state(&task, &mut tasks, &running),
            frames: task.chain.frames.clone(),
            end: task.chain.end,
            task,
            thread: None,
            moved: false,
        });
    }
    // What was not copied with the threads is believed when it reads the same twice.
    for last in (0..TRIES).map(|round| round + 1 == TRIES) {
        if unsettled.is_empty() {
            break;
        }
        let anew = memory.anew();
        let Some(mut now) = Tasks::of(Reader { memory: &anew, ..reader }, &interpreter.state)
        else {
            break;
        };
        let running = now.running(&states);
        unsettled.retain(|index| {
            let one = &mut seen[*index];
            let task = now.read(one.task.at, FRAMES_AT_MOST);
            match task {
                Some(task) if task == one.task => return false,
                Some(task) => {
                    one.state = state(&task, &mut now, &running);
                    one.frames.clone_from(&task.chain.frames);
                    one.end = task.chain.end;
                    one.task = task;
                    one.moved = last;
                }
                None => one.moved = true,
            }
            true
        });
    }
    of_threads(&mut seen, interpreter);
    // Sets have no order; the numbers of names do.
    let number = |one: &SeenTask| -> Option<u64> {
        one.task.name.as_deref()?.strip_prefix("Task-")?.parse().ok()
    };
    seen.sort_by_key(|one| (number(one).unwrap_or(u64::MAX), one.task.at));
    (seen, notes)
}

/// Which of these tasks are still where they were.
pub(crate) fn unmoved_tasks(
    reader: Reader<'_>,
    interpreter: &SeenInterpreter,
    seen: &[SeenTask],
    members: &[usize],
) -> HashSet<usize> {
    let Some(mut tasks) = Tasks::of(reader, &interpreter.state) else { return HashSet::new() };
    let same = |index: &&usize| {
        let one = &seen[**index].task;
        tasks.read(one.at, FRAMES_AT_MOST).as_ref() == Some(one)
    };
    members.iter().filter(same).copied().collect()
}

/// Which of these greenlets are still where they were.
pub(crate) fn unmoved_greenlets(
    reader: Reader<'_>,
    view: &View,
    seen: &[SeenGreenlet],
    members: &[usize],
) -> HashSet<usize> {
    let Some(candidates) = &view.greenlets else { return HashSet::new() };
    let finder = Finder::new(reader, &candidates.types, &candidates.found);
    let same = |index: &&usize| {
        let one = &seen[**index].greenlet;
        finder.one(one.at, FRAMES_AT_MOST).as_ref() == Some(one)
    };
    members.iter().filter(same).copied().collect()
}

fn state(task: &Task, tasks: &mut Tasks<'_>, running: &HashSet<Address>) -> TaskState {
    if running.contains(&task.at) || task.chain.runs {
        return TaskState::Running;
    }
    match task.chain.state {
        generators::State::Running => TaskState::Running,
        generators::State::Created => TaskState::New,
        _ if !task.waiter.is_null() && tasks.is_pending(task.waiter) => TaskState::Waiting,
        _ => TaskState::Ready,
    }
}

/// What runs, runs in a thread: its frames are the innermost ones of that thread.
fn of_threads(seen: &mut [SeenTask], interpreter: &SeenInterpreter) {
    let mut outermost: HashMap<Address, usize> = HashMap::new();
    for (index, one) in seen.iter().enumerate() {
        if let Some(frame) = one.frames.last().filter(|_| one.state == TaskState::Running) {
            outermost.insert(frame.address, index);
        }
    }
    if outermost.is_empty() {
        return;
    }
    for (number, thread) in interpreter.threads.iter().enumerate() {
        for (depth, frame) in thread.stack.frames.iter().enumerate() {
            if let Some(index) = outermost.get(&frame.address) {
                let one = &mut seen[*index];
                one.thread = Some(number);
                one.frames = thread.stack.frames[..=depth].to_vec();
            }
        }
    }
}

fn of_greenlets<M: ReadMemory + Clone>(
    reader: Reader<'_>,
    memory: &Cached<M>,
    view: &View,
    candidates: &Candidates,
    interpreters: &[SeenInterpreter],
    changes: bool,
    beyond: &mut Beyond,
) {
    let finder = Finder::new(reader, &candidates.types, &candidates.found);
    memory.went_beyond();
    let found = finder.all(&candidates.found, FRAMES_AT_MOST, ALL_FRAMES_AT_MOST);
    let settled = !changes || !memory.went_beyond();
    if found.unknown > 0 {
        beyond
            .notes
            .push(format!("{} greenlets are of an unknown form, and not told", found.unknown));
    }
    if !candidates.whole {
        beyond.notes.push("not all of its memory was looked through for greenlets".to_owned());
    }
    let mut seen: Vec<SeenGreenlet> = found
        .known
        .into_iter()
        .map(|greenlet| SeenGreenlet { greenlet, thread: None, moved: false })
        .collect();
    let mut unsettled: Vec<usize> = if settled { Vec::new() } else { (0..seen.len()).collect() };
    for last in (0..TRIES).map(|round| round + 1 == TRIES) {
        if unsettled.is_empty() {
            break;
        }
        let anew = memory.anew();
        let now =
            Finder::new(Reader { memory: &anew, ..reader }, &candidates.types, &candidates.found);
        unsettled.retain(|index| {
            let one = &mut seen[*index];
            match now.one(one.greenlet.at, FRAMES_AT_MOST) {
                Some(greenlet) if greenlet == one.greenlet => return false,
                Some(greenlet) => {
                    one.greenlet = greenlet;
                    one.moved = last;
                }
                None => one.moved = true,
            }
            true
        });
    }
    threads_of_greenlets(reader.memory, view, &mut seen);
    // Of which interpreter it is, its thread tells.
    let doubtful = HashSet::new();
    let home: HashMap<i32, usize> = interpreters
        .iter()
        .enumerate()
        .rev()
        .flat_map(|(index, interpreter)| {
            let threads = interpreter.threads.iter();
            let tids = threads.filter_map(|t| view.tid(reader.memory, &t.state, &doubtful));
            tids.map(move |tid| (tid, index)).collect::<Vec<_>>()
        })
        .collect();
    let first = candidates.homes.first().copied().unwrap_or(0);
    let first = interpreters.iter().position(|i| i.state.id == first).unwrap_or(0);
    for one in seen {
        let index = one.thread.and_then(|tid| home.get(&tid).copied()).unwrap_or(first);
        if let Some(place) = beyond.interpreters.get_mut(index) {
            place.greenlets.push(one);
        }
    }
}

/// The thread of each: by where its part of the C stack lies, or else by the main greenlet that it has in common with others.
fn threads_of_greenlets(memory: &dyn ReadMemory, view: &View, seen: &mut [SeenGreenlet]) {
    let mut of_main: HashMap<Address, Option<i32>> = HashMap::new();
    for one in seen.iter() {
        let Greenlet { main, c_stack, .. } = &one.greenlet;
        let Some(at) = c_stack.filter(|_| !main.is_null()) else { continue };
        let known = of_main.entry(*main).or_insert(None);
        if known.is_none() {
            *known = match view.maps.at(at) {
                Some(mapping) if mapping.path == b"[stack]" => Some(view.pid),
                Some(_) => threads::owner(memory, &view.maps, at, &view.tids)
                    .and_then(|tid| view.tids.get(&tid).copied()),
                None => None,
            };
        }
    }
    for one in seen.iter_mut() {
        one.thread = of_main.get(&one.greenlet.main).copied().flatten();
    }
}
