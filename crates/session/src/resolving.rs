//! What addresses of frames mean: names, files, lines, locals, looked up by as many threads as are worth their while.
//!
//! It remembers what it looked up. What a thread waits for is told by `waiting`.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use spyhole_cpython::code::Code;
use spyhole_cpython::frames::{End, RawFrame};
use spyhole_cpython::names::ThreadName;
use spyhole_cpython::{Layout, Reader, Types};
use spyhole_proc::Address;
use spyhole_proc::memory::{Cached, ReadMemory};
use spyhole_proc::spread::QuickMap;
use spyhole_proc::syscalls;
use spyhole_proc::tasks::{Activity, Tasks};

use crate::locals::{Locals, Wanted};
use crate::model::{SourceLine, StackFrame, ThreadStack, ThreadState};
use crate::pause::{SeenThread, View};

/// How local variables are told.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) wanted: Wanted,
    /// The process runs meanwhile: what was not copied at one moment is looked at again.
    pub(crate) changes: bool,
}

/// One thread of a moment, and what is known of it already.
pub(crate) struct Named<'a> {
    pub(crate) thread: &'a SeenThread,
    pub(crate) name: Option<&'a ThreadName>,
    pub(crate) holds_gil: bool,
}

/// What a thread does: as it is told, and as the kernel tells it.
pub(crate) type Done = (ThreadStack, Option<Activity>);

/// What those need who share in the work: a process with many frames is divided, thread by thread.
pub(crate) struct Share<'a, T> {
    pub(crate) layout: &'a Layout,
    pub(crate) types: &'a Types,
    pub(crate) view: &'a View,
    pub(crate) tasks: &'a T,
    /// The whole process is stopped by a signal.
    pub(crate) stopped: bool,
    /// States whose numbers may be another thread's.
    pub(crate) doubtful: HashSet<Address>,
    pub(crate) plan: Option<Plan>,
}

impl<T: Tasks> Share<'_, T> {
    /// All threads, in their order.
    pub(crate) fn all<M>(&self, named: &[Named<'_>], memory: &Cached<M>) -> Vec<Done>
    where
        M: ReadMemory + Clone + Send,
        T: Sync,
    {
        let mut parts = divided(named, SHARES_AT_MOST).into_iter();
        let Some(first) = parts.next() else { return Vec::new() };
        thread::scope(|scope| {
            let rest: Vec<_> = parts
                .map(|part| {
                    let memory = memory.fork();
                    scope.spawn(move || self.part(part, &memory))
                })
                .collect();
            let mut told = self.part(first, memory);
            for part in rest {
                told.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            told
        })
    }

    pub(crate) fn part<M: ReadMemory + Clone>(
        &self,
        named: &[Named<'_>],
        memory: &Cached<M>,
    ) -> Vec<Done> {
        let frames = named.iter().map(|one| one.thread.stack.frames.len()).sum();
        self.looking(memory, frames, |resolver| {
            let (mut threads, mut activities) = (Vec::new(), Vec::new());
            for some in named.chunks(STACKS_TOGETHER) {
                resolver.expect(some.iter().flat_map(|one| &one.thread.stack.frames));
                for one in some {
                    let (thread, activity) = resolver.thread(one);
                    threads.push(thread);
                    activities.push(activity);
                }
            }
            resolver.check(memory, threads.iter_mut().flat_map(|thread| &mut thread.frames));
            threads.into_iter().zip(activities).collect()
        })
    }

    /// The frames of these stacks.
    pub(crate) fn stacks<M>(
        &self,
        stacks: &[&[RawFrame]],
        memory: &Cached<M>,
    ) -> Vec<Vec<StackFrame>>
    where
        M: ReadMemory + Clone,
    {
        let frames = stacks.iter().map(|stack| stack.len()).sum();
        self.looking(memory, frames, |resolver| {
            let mut told: Vec<Vec<StackFrame>> = Vec::with_capacity(stacks.len());
            for some in stacks.chunks(STACKS_TOGETHER) {
                resolver.expect(some.iter().copied().flatten());
                let frames =
                    |stack: &&[RawFrame]| stack.iter().map(|frame| resolver.frame(frame)).collect();
                told.extend(some.iter().map(frames));
            }
            resolver.check(memory, told.iter_mut().flatten());
            told
        })
    }

    fn looking<M: ReadMemory + Clone, R>(
        &self,
        memory: &Cached<M>,
        frames: usize,
        look: impl FnOnce(&mut Resolver<'_, T>) -> R,
    ) -> R {
        let reader = Reader { memory, layout: self.layout, types: self.types };
        let steady = memory.anew();
        let beyond = || memory.went_beyond();
        let locals = self.plan.map(|plan| match plan.changes {
            true => Locals::new(reader, Reader { memory: &steady, ..reader }, plan.wanted)
                .telling(&beyond, frames),
            false => Locals::new(reader, reader, plan.wanted),
        });
        look(&mut Resolver {
            reader,
            share: self,
            codes: QuickMap::default(),
            modules: QuickMap::default(),
            frames: QuickMap::default(),
            locals,
        })
    }
}

/// So many look things up at the same time; more would each have to find out what the others know.
const SHARES_AT_MOST: usize = 4;
/// Stacks whose locals are read together, and frames of them at most.
const STACKS_TOGETHER: usize = 16;
const FRAMES_AHEAD: usize = 500;
/// Frames for which another is worth its while.
const FRAMES_OF_SHARE: usize = 500;

/// Parts with about as many frames each, at most so many.
fn divided<'n, 'a>(named: &'n [Named<'a>], most: usize) -> Vec<&'n [Named<'a>]> {
    let frames = |named: &[Named<'_>]| -> usize {
        named.iter().map(|one| one.thread.stack.frames.len()).sum()
    };
    let all = frames(named);
    let mut count = (all / FRAMES_OF_SHARE).clamp(1, most);
    if count > 1 {
        // To ask for it takes as long as a hundred frames.
        count = count.min(thread::available_parallelism().map_or(1, usize::from));
    }
    let mut rest = named;
    let mut parts = Vec::with_capacity(count);
    let mut left = all;
    while count > 1 {
        let mut taken = 0;
        let end = rest.iter().position(|one| {
            let enough = taken >= left / count;
            taken += one.thread.stack.frames.len();
            enough
        });
        let (part, later) = rest.split_at(end.unwrap_or(rest.len()));
        left -= frames(part);
        parts.push(part);
        rest = later;
        count -= 1;
    }
    parts.push(rest);
    parts
}

/// Remembers what was looked up: many frames run the same code.
struct Resolver<'a, T> {
    reader: Reader<'a>,
    share: &'a Share<'a, T>,
    codes: QuickMap<Address, Option<Code>>,
    modules: QuickMap<Address, Option<Arc<str>>>,
    /// Frames by what they run, where they are in it, and their globals; without their locals.
    frames: QuickMap<(Address, u64, Address), StackFrame>,
    locals: Option<Locals<'a>>,
}

impl<T: Tasks> Resolver<'_, T> {
    /// Marks the locals that are others by now.
    fn check<'f, M: ReadMemory + Clone>(
        &mut self,
        memory: &Cached<M>,
        frames: impl Iterator<Item = &'f mut StackFrame>,
    ) {
        if let Some(locals) = self.locals.take()
            && self.share.plan.is_some_and(|plan| plan.changes)
        {
            let again = memory.anew();
            locals.check(frames, &Reader { memory: &again, ..self.reader });
        }
    }

    /// These frames are asked for next, in this order.
    fn expect<'f>(&mut self, frames: impl Iterator<Item = &'f RawFrame>) {
        if let Some(locals) = &mut self.locals {
            locals.expect(frames.take(FRAMES_AHEAD));
        }
    }

    fn thread(&mut self, one: &Named<'_>) -> Done {
        let Named { thread, name, holds_gil } = *one;
        let Share { view, tasks, stopped, doubtful, .. } = self.share;
        let tid = view.tid(self.reader.memory, &thread.state, doubtful);
        let activity = tid.and_then(|tid| tasks.activity(tid));
        let (state, syscall) = match tid {
            Some(_) if *stopped => (ThreadState::Stopped, None),
            Some(_) => doing(activity),
            None => (ThreadState::Unknown, None),
        };
        let native_name = || Some(String::from_utf8_lossy(&tasks.name(tid?)?).into_owned());
        let told = ThreadStack {
            native_id: tid,
            ident: thread.state.ident,
            name: name.and_then(|known| known.name.clone()).or_else(native_name),
            daemon: name.and_then(|known| known.daemon),
            state,
            syscall,
            holds_gil,
            in_c: None,
            waits_for: None,
            torn: thread.moved || thread.stack.end == End::Torn,
            cut: thread.stack.end == End::Cut,
            frames: thread.stack.frames.iter().map(|frame| self.frame(frame)).collect(),
        };
        (told, activity)
    }

    fn frame(&mut self, frame: &RawFrame) -> StackFrame {
        let key = (frame.code, frame.position, frame.globals);
        let mut resolved = match self.frames.get(&key) {
            Some(known) => known.clone(),
            None => {
                let resolved = self.resolve(frame);
                self.frames.insert(key, resolved.clone());
                resolved
            }
        };
        if let Some(locals) = &mut self.locals
            && resolved.function.is_some()
        {
            (resolved.locals, resolved.locals_cut) = locals.of(frame);
        }
        resolved
    }

    fn resolve(&mut self, frame: &RawFrame) -> StackFrame {
        let reader = self.reader;
        let code =
            self.codes.entry(frame.code).or_insert_with(|| Code::read(&reader, frame.code).ok());
        let Some(code) = code else { return StackFrame::default() };
        let location = code.location(&reader, frame);
        let module = self
            .modules
            .entry(frame.globals)
            .or_insert_with(|| reader.module_name(frame.globals).map(Arc::from))
            .clone();
        StackFrame {
            function: Some(code.function.clone()),
            module,
            file: Some(code.file.clone()),
            line: location.line,
            end_line: location.end_line,
            column: location.column,
            end_column: location.end_column,
            source: SourceLine::Unknown,
            locals: Vec::new(),
            locals_cut: false,
        }
    }
}

fn doing(activity: Option<Activity>) -> (ThreadState, Option<String>) {
    match activity {
        Some(Activity::Blocked { number, .. }) => {
            let name = syscalls::name(number).map_or_else(|| number.to_string(), str::to_owned);
            (ThreadState::Waiting, Some(name))
        }
        Some(Activity::Running) => (ThreadState::Running, None),
        Some(Activity::Faulting) => (ThreadState::Waiting, None),
        None => (ThreadState::Unknown, None),
    }
}
