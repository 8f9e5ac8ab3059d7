//! What all threads of a process do, read from outside.
//!
//! It turns the addresses that `pause` copied into names, files and lines. Nothing runs in the process.

use std::thread;

use spyhole_attach::AttachError;
use spyhole_attach::look::{self, Seen};
use spyhole_cpython::frames::End;
use spyhole_cpython::runtime::RootsError;
use spyhole_cpython::threads;
use spyhole_cpython::{NotPython, OpenError, Opened, Reader, Types};
use spyhole_proc::elf::file::MappedFiles;
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::{Cached, Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stat;
use spyhole_proc::tasks::Tasks;
use thiserror::Error;

use crate::beyond::{self, Candidates};
use crate::holding::Thawed;
use crate::interpreters::is_meant;
use crate::locals::{self, Wanted};
use crate::model::{ErrorKind, EvalError, InterpreterStacks, ProcessStacks};
pub use crate::pause::Pause;
use crate::pause::{Moment, View};
use crate::resolving::{Done, Named, Plan, Share};
use crate::sources::Sources;
use crate::waiting::{self, Waiting};
use crate::{awaiting, deadlocks, failure, interpreters, natives, requests, target::Target};

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which threads are stopped for it.
    pub pause: Pause,
    /// Read the source lines of the frames.
    pub sources: bool,
    /// Tell the local variables of the frames.
    pub locals: Option<Wanted>,
    /// Tell the web requests that are being served.
    pub requests: Option<requests::Wanted>,
}

/// The stacks of one process, or why there are none.
#[derive(Debug)]
pub struct Look {
    pub pid: i32,
    pub outcome: Result<ProcessStacks, EvalError>,
}

/// Processes that are looked at the same time.
const AT_ONCE: usize = 8;

/// Looks at all targets.
pub fn of_all(targets: &[Target], options: Options) -> Vec<Look> {
    let mut looks = Vec::with_capacity(targets.len());
    for part in targets.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let one = |target: &Target| Look { pid: target.pid, outcome: stacks(target, options) };
            let (first, rest) = part.split_first().expect("a chunk is not empty");
            let threads: Vec<_> =
                rest.iter().map(|target| scope.spawn(move || one(target))).collect();
            looks.push(one(first));
            for thread in threads {
                looks.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
    }
    looks
}

fn stacks(target: &Target, options: Options) -> Result<ProcessStacks, EvalError> {
    let process = target.process.as_ref().ok_or_else(|| failure::no_process(target.pid))?;
    let sources = options.sources.then(|| Sources::of(target.pid));
    let mut stacks = of_process(process, options).map_err(|error| {
        let failure = failure::of_attach(&error);
        // What was missing may be missing because it ends: its memory goes before its number does.
        let ends =
            || process.has_ended() || stat::Stat::of(target.pid).map_or(true, |s| s.is_exiting());
        if failure.kind != ErrorKind::Gone && ends() { failure::gone(target.pid) } else { failure }
    })?;
    if let Some(wanted) = &target.interpreter {
        let is_meant = |one: &InterpreterStacks| is_meant(wanted, one.id, one.name.as_deref());
        if !stacks.interpreters.iter().any(is_meant) {
            return Err(failure::unknown_interpreter(target, &interpreters::rows(process)));
        }
        stacks.interpreters.retain(is_meant);
        let is_there = |id: i64| stacks.interpreters.iter().any(|one| one.id == id);
        stacks.requests.retain(|request| is_there(request.interpreter));
    }
    if let Some(sources) = sources {
        sources.quote(&mut stacks);
    }
    // A number that passed to another process in the meantime told of the wrong one.
    if process.has_ended() {
        return Err(failure::gone(target.pid));
    }
    Ok(stacks)
}

pub(crate) fn open(process: &Pidfd, memory: &Cached<Live>) -> Result<(Opened, Maps), AttachError> {
    let pid = process.pid;
    let Seen { runtime, version, maps } = look::see(process, memory)?;
    let opened = Opened::of(memory, runtime, version);
    let opened = opened.map_err(|error| match error {
        OpenError::Layout(_) => AttachError::Unsupported { pid, version },
        OpenError::Roots(RootsError::NoSymbol { .. } | RootsError::UnknownFunction) => {
            AttachError::NotPython { pid, reason: NotPython::NoRuntime }
        }
    })?;
    Ok((opened, maps))
}

pub(crate) fn of_process(process: &Pidfd, options: Options) -> Result<ProcessStacks, AttachError> {
    let pid = process.pid;
    let live = Live { pid };
    let memory = Cached::new(live);
    let (opened, maps) = open(process, &memory)?;
    let types = opened.types(&memory);
    let tids = live.by_inner_id().map_err(|_| AttachError::Gone { pid })?;
    let mut view = View::new(pid, &live, &opened, tids, maps);
    view.greenlets = {
        let reader = Reader { memory: &memory, layout: &view.layout, types: &types };
        Candidates::of(&reader, &view, &live, &view.maps)
    };
    let before = Cached::new(live);
    let mut moment = view.moment(options.pause, &|memory, seen| {
        let steady = Reader { memory: &before, layout: &view.layout, types: &types };
        if let Some(wanted) = options.locals {
            locals::rehearse(memory, steady, seen, wanted);
        }
        beyond::rehearse(memory, steady, &view, seen);
        if options.requests.is_some() {
            requests::rehearse(Reader { memory, ..steady }, seen);
        }
    });
    let frozen = moment.frozen.take();
    if moment.interpreters.is_empty() {
        return Err(AttachError::without_interpreter(pid, &live, &opened));
    }
    moment.forget_own(&view.layout, &types);
    let plan = options.locals.map(|wanted| Plan { wanted, changes: true });
    let later = Cached::new(live);
    let again = Some(&later as &dyn ReadMemory);
    let mut stacks = resolve(
        &opened,
        &types,
        &view,
        &moment,
        &live,
        (plan, options.requests),
        again,
        |share, named, memory| share.all(named, memory),
    );
    let reader = Reader { memory: &moment.memory, layout: &view.layout, types: &types };
    let places = (moment.interpreters.as_slice(), moment.standing.as_slice());
    natives::tell(&opened, reader, &view.maps, &live, places, &mut stacks.interpreters);
    if let Some(frozen) = frozen {
        let Thawed { held, early } = frozen.thaw();
        stacks.paused = held;
        stacks.torn |= early;
    }
    Ok(stacks)
}

/// The stacks of a process that stands still, from whatever holds its memory and tells of its threads: without a stop,
/// and without the process.
pub fn of_still<P: ReadMemory + Tasks + MappedFiles>(
    pid: i32,
    maps: &Maps,
    process: &P,
    locals: Option<Wanted>,
) -> Result<ProcessStacks, StillError> {
    let memory = Cached::new(process);
    let runtime = spyhole_cpython::locate(&memory, maps, process)?;
    let version = runtime.version.ok_or(StillError::NotInitialised)?;
    let opened = Opened::of(&memory, runtime, version)?;
    let types = opened.types(&memory);
    let tids = process.by_inner_id().unwrap_or_default();
    let mut view = View::new(pid, process, &opened, tids, maps.clone());
    view.greenlets = {
        let reader = Reader { memory: &memory, layout: &view.layout, types: &types };
        Candidates::of(&reader, &view, process, maps)
    };
    let mut moment = view.still(process);
    if moment.interpreters.is_empty() {
        return Err(StillError::NotInitialised);
    }
    moment.forget_own(&view.layout, &types);
    let plan = locals.map(|wanted| Plan { wanted, changes: false });
    Ok(resolve(
        &opened,
        &types,
        &view,
        &moment,
        process,
        (plan, None),
        None,
        |share, named, memory| share.part(named, memory),
    ))
}

/// Why a process that stands still has no stacks to show.
#[derive(Debug, Error)]
pub enum StillError {
    #[error(transparent)]
    NotPython(#[from] NotPython),
    #[error("its interpreter is not initialised")]
    NotInitialised,
    #[error(transparent)]
    Unknown(#[from] OpenError),
}

/// Looks up what the addresses of a moment mean. `later` reads what is there then; `None` where nothing can change.
/// `tell` does it for the threads.
#[expect(clippy::too_many_arguments, reason = "they are all that a look has")]
fn resolve<M: ReadMemory + Clone, T: Tasks>(
    opened: &Opened,
    types: &Types,
    view: &View,
    moment: &Moment<M>,
    tasks: &T,
    (plan, web): (Option<Plan>, Option<requests::Wanted>),
    later: Option<&dyn ReadMemory>,
    tell: impl FnOnce(&Share<'_, T>, &[Named<'_>], &Cached<M>) -> Vec<Done>,
) -> ProcessStacks {
    let version = opened.version;
    let mut notes: Vec<String> = opened
        .mismatches
        .iter()
        .map(|m| {
            format!(
                "`{}` is {} in this process, not {} as in the version table",
                m.name, m.process, m.table
            )
        })
        .collect();
    if !opened.roots.knows_holders() {
        notes.push("who holds its GIL is not known: the program tells nothing of itself".into());
    }
    if let Some(reason) = &moment.not_paused {
        notes.push(format!("it was read while it ran: {reason}"));
    }
    let reader = Reader { memory: &moment.memory, layout: &view.layout, types };
    let all: Vec<_> = moment
        .interpreters
        .iter()
        .flat_map(|i| i.threads.iter().map(|thread| (i.state.id, thread.state)))
        .collect();
    let doubtful = threads::doubtful(&view.layout, &all);
    if let Some(descriptor) = view.descriptor {
        let idents = all.iter().map(|(_, thread)| descriptor.place(thread.ident));
        moment.memory.prefetch(idents);
    }
    let unknown = all
        .iter()
        .filter(|(_, thread)| doubtful.contains(&thread.address))
        .filter(|(_, thread)| view.tid(&moment.memory, thread, &doubtful).is_none());
    let unknown = unknown.count();
    let stopped = tasks.is_stopped();
    if unknown > 0 {
        notes.push(format!(
            "which native threads run {} of its sub-interpreters is not known: Python {version} keeps others' numbers",
            unknown
        ));
    }
    let names: Vec<_> = moment
        .interpreters
        .iter()
        .map(|interpreter| reader.thread_names(&interpreter.state))
        .collect();
    let named: Vec<Named<'_>> = moment
        .interpreters
        .iter()
        .zip(&names)
        .flat_map(|(interpreter, names)| {
            interpreter.threads.iter().map(|thread| Named {
                thread,
                name: names.get(&thread.state.ident),
                holds_gil: interpreter.holder == Some(thread.state.address),
            })
        })
        .collect();
    let share = Share { layout: &view.layout, types, view, tasks, stopped, doubtful, plan };
    let (told, activities): (Vec<_>, Vec<_>) =
        tell(&share, &named, &moment.memory).into_iter().unzip();
    let mut told = told.into_iter();
    let beyond = beyond::see(reader, &moment.memory, view, &moment.interpreters, later.is_some());
    notes.extend(beyond.notes.iter().cloned());
    let interpreters = moment.interpreters.iter().map(|interpreter| InterpreterStacks {
        id: interpreter.state.id,
        name: interpreters::group(&reader, &interpreter.state),
        threads: told.by_ref().take(interpreter.threads.len()).collect(),
        tasks: Vec::new(),
        greenlets: Vec::new(),
    });
    let mut interpreters: Vec<InterpreterStacks> = interpreters.collect();
    let later = later.map(|memory| Reader { memory, ..reader });
    let seen = &moment.interpreters;
    let of_others =
        awaiting::tell(&share, reader, &moment.memory, seen, &beyond, later, &mut interpreters);
    let requests = web.map(|wanted| {
        let seen = (moment.interpreters.as_slice(), beyond.interpreters.as_slice());
        requests::find(reader, &moment.memory, later.is_some(), seen, &interpreters, wanted)
    });
    let threads = waiting::subjects(&moment.interpreters, &interpreters, &activities);
    let found = waiting::all(&mut Waiting::new(reader, view), &threads);
    let tasks: &dyn Tasks = tasks;
    let mut deadlocks = deadlocks::of(&found, &threads, view, later.as_ref().map(|r| (r, tasks)));
    deadlocks.extend(of_others);
    let waits = waiting::told(found, &threads, tasks);
    let all = interpreters.iter_mut().flat_map(|interpreter| &mut interpreter.threads);
    for (thread, wait) in all.zip(waits) {
        thread.waits_for = wait;
    }
    let torn = moment.torn
        || moment.interpreters.iter().flat_map(|i| &i.threads).any(|t| t.stack.end == End::Torn);
    ProcessStacks {
        pid: view.pid,
        python: version.to_string(),
        paused: moment.paused,
        torn,
        notes,
        deadlocks,
        requests: requests.unwrap_or_default(),
        interpreters,
    }
}
