//! Objects by their paths, read from outside in one or many processes, and compared.
//!
//! It knows processes and interpreters. How a path is written is `path`'s, what it leads to `resolve`'s, and what makes
//! two answers equal `compare`'s. Nothing runs in the processes.

pub mod compare;
pub(crate) mod near;
pub mod path;
mod resolve;

use std::thread;

use spyhole_attach::AttachError;
use spyhole_cpython::heap::Instances;
use spyhole_cpython::values::{Bounds, Limits, Values};
pub use spyhole_cpython::values::{Item, Tree};
use spyhole_cpython::{Opened, Reader, Types};
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::{Cached, Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::tasks::Tasks;

use crate::interpreters::is_meant;
use crate::model::{EvalError, Place};
use crate::pause::{Moment, Pause, SeenInterpreter, View};
use crate::target::Target;
use crate::{failure, interpreters, redaction, snapshot};
pub use compare::{Difference, ObjectGroup, What};
pub use path::{Path, PathError};
pub use resolve::Nowhere;
use resolve::{Inside, Reached};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: Path,
    /// Levels below the value.
    pub depth: usize,
    /// Secrets, too.
    pub reveal: bool,
}

/// The answers of one `get` over one or many processes.
#[derive(Clone, Debug)]
pub struct ObjectReport {
    pub path: String,
    pub answers: Vec<ObjectAnswer>,
    /// Equal answers, largest group first.
    pub groups: Vec<ObjectGroup>,
    /// Places that have nothing of what was asked for.
    pub not_loaded: Vec<Place>,
}

/// What one interpreter has at the path.
#[derive(Clone, Debug)]
pub struct ObjectAnswer {
    pub place: Place,
    pub outcome: Outcome,
    /// Index into `ObjectReport::groups`.
    pub group: Option<usize>,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    Found(Found),
    /// The path leads nowhere there.
    Nowhere(Nowhere),
    /// The process could not be looked at.
    Failed(EvalError),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub tree: Tree,
    /// It changed while it was read.
    pub torn: bool,
    /// What else should be known of it.
    pub note: Option<String>,
}

/// An answer, and what decides whether it is one.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) answer: ObjectAnswer,
    /// Modules on the way of the path that are loaded there.
    pub(crate) loaded: Vec<String>,
}

/// Values of one answer that are compared; those beyond are not read.
const NODES_AT_MOST: usize = 1 << 16;
/// Items of one value that are read.
const ITEMS_AT_MOST: usize = 1 << 15;
/// Characters of one value.
const CHARACTERS: usize = 10_000;
/// Processes that are looked at the same time.
const AT_ONCE: usize = 8;
/// How often what changes meanwhile is read again.
const TRIES: usize = 4;

impl Request {
    fn bounds(&self) -> Bounds {
        Bounds { depth: self.depth, items: ITEMS_AT_MOST, nodes: NODES_AT_MOST }
    }

    fn hides(&self) -> fn(&str) -> bool {
        match self.reveal {
            true => redaction::nothing_is_secret,
            false => redaction::is_secret,
        }
    }
}

/// Looks the path up in all targets, and compares.
pub fn in_all(targets: &[Target], request: &Request) -> ObjectReport {
    let mut answers = Vec::new();
    for part in targets.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let threads: Vec<_> =
                part.iter().map(|target| scope.spawn(move || in_one(target, request))).collect();
            for thread in threads {
                let answered = thread.join();
                answers.extend(answered.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
    }
    compare::report(request, answers)
}

fn in_one(target: &Target, request: &Request) -> Vec<Answered> {
    let failed = |error: EvalError| {
        let place = Place { pid: target.pid, interpreter: 0 };
        let outcome = Outcome::Failed(error);
        vec![Answered { answer: ObjectAnswer { place, outcome, group: None }, loaded: Vec::new() }]
    };
    let Some(process) = &target.process else { return failed(failure::no_process(target.pid)) };
    let found = of_process(process, target.interpreter.as_deref(), request);
    // A number that passed to another process in the meantime told of the wrong one.
    if process.has_ended() {
        return failed(failure::gone(target.pid));
    }
    match found {
        Ok(found) if found.is_empty() => {
            failed(failure::unknown_interpreter(target, &interpreters::rows(process)))
        }
        Ok(found) => found,
        Err(error) => failed(failure::of_attach(&error)),
    }
}

fn of_process(
    process: &Pidfd,
    interpreter: Option<&str>,
    request: &Request,
) -> Result<Vec<Answered>, AttachError> {
    let pid = process.pid;
    let live = Live { pid };
    let memory = Cached::new(live);
    let (opened, maps) = snapshot::open(process, &memory)?;
    let types = opened.types(&memory);
    let tids = live.by_inner_id().map_err(|_| AttachError::Gone { pid })?;
    let view = View::new(pid, &live, &opened, tids, maps.clone());
    let looking = Looking { request, opened: &opened, types: &types, view: &view, interpreter };
    // Instances are looked for in all of its memory, which takes longer than anybody may be stopped for.
    let instances = looking.instances(&live, &maps);
    let moment = view.moment(Pause::Holder, &|memory, seen| {
        looking.all(memory, seen, &instances);
    });
    if moment.interpreters.is_empty() {
        return Err(AttachError::NotInitialised { pid });
    }
    Ok(looking.checked(&moment, live, &instances))
}

/// The same of a process that stands still, from whatever holds its memory.
pub fn of_still<P>(pid: i32, maps: &Maps, process: &P, request: &Request) -> ObjectReport
where
    P: ReadMemory + Tasks + spyhole_proc::elf::file::MappedFiles,
{
    let memory = Cached::new(process);
    let answered = spyhole_cpython::locate(&memory, maps, process).ok().and_then(|runtime| {
        let version = runtime.version?;
        let opened = Opened::of(&memory, runtime, version).ok()?;
        let types = opened.types(&memory);
        let tids = process.by_inner_id().unwrap_or_default();
        let view = View::new(pid, process, &opened, tids, maps.clone());
        let looking =
            Looking { request, opened: &opened, types: &types, view: &view, interpreter: None };
        let instances = looking.instances(process, maps);
        let moment = view.still(process);
        Some(looking.all(&moment.memory, &moment.interpreters, &instances))
    });
    compare::report(request, answered.unwrap_or_default())
}

/// A process and what is looked up in it.
struct Looking<'a> {
    request: &'a Request,
    opened: &'a Opened,
    types: &'a Types,
    view: &'a View,
    interpreter: Option<&'a str>,
}

impl Looking<'_> {
    fn reader<'m>(&'m self, memory: &'m dyn ReadMemory) -> Reader<'m> {
        Reader { memory, layout: &self.view.layout, types: self.types }
    }

    fn values<'m>(&'m self, memory: &'m dyn ReadMemory) -> Values<'m> {
        let limits = Limits { characters: CHARACTERS, hides: self.request.hides() };
        let reader = self.reader(memory);
        Values::new(reader, reader, limits)
    }

    /// The instances that the path asks for, of each interpreter.
    fn instances(&self, raw: &dyn ReadMemory, maps: &Maps) -> Vec<(i64, Instances)> {
        if !self.request.path.is_of_instances() {
            return Vec::new();
        }
        let memory = Cached::new(raw);
        let states = self.opened.roots.interpreters(&memory, &self.view.layout).unwrap_or_default();
        let mut found = Vec::new();
        for state in states {
            let seen = SeenInterpreter { state, holder: None, threads: Vec::new() };
            let inside = self.inside(&memory, &seen, &[], None);
            let mut values = self.values(&memory);
            let path = &self.request.path;
            if let Some(all) = resolve::find_instances(&inside, path, &mut values, raw, maps) {
                found.push((state.id, all));
            }
        }
        found
    }

    fn inside<'m>(
        &'m self,
        memory: &'m dyn ReadMemory,
        seen: &'m SeenInterpreter,
        tids: &'m [Option<i32>],
        instances: Option<&'m Instances>,
    ) -> Inside<'m> {
        let hides = self.request.hides();
        Inside { reader: self.reader(memory), seen, tids, instances, hides }
    }

    /// What all interpreters have, or the one that is meant.
    fn all(
        &self,
        memory: &dyn ReadMemory,
        seen: &[SeenInterpreter],
        instances: &[(i64, Instances)],
    ) -> Vec<Answered> {
        let reader = self.reader(memory);
        let meant = seen.iter().filter(|one| match self.interpreter {
            None => true,
            Some(wanted) => {
                let name = interpreters::group(&reader, &one.state);
                is_meant(wanted, one.state.id, name.as_deref())
            }
        });
        meant.map(|one| self.one(memory, seen, one, instances)).collect()
    }

    fn one(
        &self,
        memory: &dyn ReadMemory,
        all: &[SeenInterpreter],
        seen: &SeenInterpreter,
        instances: &[(i64, Instances)],
    ) -> Answered {
        let tids = match self.request.path.is_of_a_thread() {
            true => self.tids(memory, all, seen),
            false => Vec::new(),
        };
        let id = seen.state.id;
        let instances = instances.iter().find(|(of, _)| *of == id).map(|(_, all)| all);
        let inside = self.inside(memory, seen, &tids, instances);
        let mut values = self.values(memory);
        let path = &self.request.path;
        let outcome = match inside.tree(path, &mut values, self.request.bounds()) {
            Ok(Reached { tree, note }) => Outcome::Found(Found { tree, torn: false, note }),
            Err(nowhere) => Outcome::Nowhere(nowhere),
        };
        let place = Place { pid: self.view.pid, interpreter: id };
        let answer = ObjectAnswer { place, outcome, group: None };
        Answered { answer, loaded: inside.loaded(path) }
    }

    /// This machine's numbers of an interpreter's threads.
    fn tids(
        &self,
        memory: &dyn ReadMemory,
        all: &[SeenInterpreter],
        seen: &SeenInterpreter,
    ) -> Vec<Option<i32>> {
        let states: Vec<_> =
            all.iter().flat_map(|i| i.threads.iter().map(|t| (i.state.id, t.state))).collect();
        let doubtful = spyhole_cpython::threads::doubtful(&self.view.layout, &states);
        let own = seen.threads.iter();
        own.map(|thread| self.view.tid(memory, &thread.state, &doubtful)).collect()
    }

    /// The answers of a moment. Where something was read that was not copied in it, everything is read again, until it
    /// reads the same twice; what never does is marked.
    fn checked(
        &self,
        moment: &Moment,
        live: Live,
        instances: &[(i64, Instances)],
    ) -> Vec<Answered> {
        // The first question of a moment is what it copied.
        moment.memory.went_beyond();
        let mut answers = self.all(&moment.memory, &moment.interpreters, instances);
        if !moment.memory.went_beyond() {
            return answers;
        }
        for _ in 0..TRIES {
            let memory = Cached::new(live);
            let again = self.all(&memory, &moment.interpreters, instances);
            if reads_alike(&answers, &again) {
                return again;
            }
            answers = again;
        }
        for answered in &mut answers {
            if let Outcome::Found(found) = &mut answered.answer.outcome {
                found.torn = true;
            }
        }
        answers
    }
}

fn reads_alike(these: &[Answered], those: &[Answered]) -> bool {
    let alike =
        |(one, other): (&Answered, &Answered)| match (&one.answer.outcome, &other.answer.outcome) {
            (Outcome::Found(one), Outcome::Found(other)) => one == other,
            (Outcome::Nowhere(one), Outcome::Nowhere(other)) => one == other,
            _ => false,
        };
    these.len() == those.len() && these.iter().zip(those).all(alike)
}
