//! The moment at which a process is read: only the thread that holds the GIL is stopped, for as long as it takes to
//! copy the states of the threads and their frames.
//!
//! Who holds the GIL alone changes Python's state, so with that thread stopped all of it stands still; one that holds
//! it in a system call changes nothing either, and is not stopped. What the copied addresses mean is looked up later.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use spyhole_cpython::frames::{self, RawStack};
use spyhole_cpython::runtime::{InterpreterState, Roots};
use spyhole_cpython::threads::{self, Descriptor, THREADS_AT_MOST, ThreadState};
use spyhole_cpython::{Layout, Opened};
use spyhole_proc::memory::{Cached, Copied, Live, ReadMemory};
use spyhole_proc::stop::Attached;
use spyhole_proc::tasks::{self, Activity};
use spyhole_proc::tracer::Tracer;
use spyhole_proc::{Address, stat::Stat};

/// A thread's state with its frames.
#[derive(Clone, Debug)]
pub(crate) struct SeenThread {
    pub(crate) state: ThreadState,
    pub(crate) stack: RawStack,
    /// Read twice, it was not the same.
    pub(crate) moved: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct SeenInterpreter {
    pub(crate) state: InterpreterState,
    /// The state of the thread that holds its GIL.
    pub(crate) holder: Option<Address>,
    pub(crate) threads: Vec<SeenThread>,
}

/// Everything that changes quickly, as it was at one moment.
pub(crate) struct Moment<M = Live> {
    pub(crate) interpreters: Vec<SeenInterpreter>,
    /// The memory in which it was seen; what was not needed then is read when it is asked for.
    pub(crate) memory: Cached<M>,
    pub(crate) paused: Duration,
    pub(crate) torn: bool,
    /// Why it was not paused, if that was wanted.
    pub(crate) not_paused: Option<String>,
}

/// How long threads may be stopped at most.
const BUDGET: Duration = Duration::from_millis(5);
/// How often the holder may change hands before it is left at that.
const ATTEMPTS: usize = 30;

/// What is kept of one process, however much a hostile one shows.
const ALL_FRAMES_AT_MOST: usize = 1 << 20;
/// How much deeper a thread may be when it is read again.
const MORE_FRAMES: usize = 2000;

/// What is looked at, and how.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) pid: i32,
    pub(crate) layout: Layout,
    pub(crate) roots: Roots,
    pub(crate) descriptor: Option<Descriptor>,
    /// This machine's numbers for those that the process uses for its threads.
    pub(crate) tids: HashMap<i32, i32>,
}

impl View {
    /// `tids`: see [`spyhole_proc::tasks::Tasks::by_inner_id`].
    pub(crate) fn new(
        pid: i32,
        memory: &dyn ReadMemory,
        opened: &Opened,
        tids: HashMap<i32, i32>,
    ) -> Self {
        let (layout, roots) = (opened.layout, opened.roots);
        let descriptor = layout
            .thread
            .native_id
            .is_none()
            .then(|| opened.calibrate(memory, tids.keys().copied().collect()));
        Self { pid, layout, roots, descriptor: descriptor.flatten(), tids }
    }

    fn live(&self) -> Live {
        Live { pid: self.pid }
    }

    /// This machine's number for a thread.
    pub(crate) fn tid(&self, memory: &dyn ReadMemory, thread: &ThreadState) -> Option<i32> {
        let inner = match thread.native_id {
            Some(inner) => inner,
            None => self.descriptor?.native_id(memory, thread.ident)?,
        };
        self.tids.get(&inner).copied()
    }

    /// All threads with their frames, and whether the lists of them were whole.
    fn walk(&self, memory: &dyn ReadMemory) -> (Vec<SeenInterpreter>, bool) {
        let Ok(states) = self.roots.interpreters(memory, &self.layout) else {
            return (Vec::new(), false);
        };
        let mut all_whole = true;
        let (mut frames_left, mut threads_left) = (ALL_FRAMES_AT_MOST, THREADS_AT_MOST);
        let seen = states.into_iter().map(|state| {
            let (threads, whole) = threads::states(memory, &self.layout, &state, threads_left);
            all_whole &= whole;
            threads_left -= threads.len();
            let threads = threads.into_iter().map(|thread| {
                let most = frames::FRAMES_AT_MOST.min(frames_left);
                let stack = frames::stack(memory, &self.layout, thread.address, most);
                frames_left -= stack.frames.len().min(frames_left);
                SeenThread { state: thread, stack, moved: false }
            });
            let threads = threads.collect();
            let holder = self.roots.holder(memory, &self.layout, &state).ok().flatten();
            SeenInterpreter { state, holder, threads }
        });
        let seen = seen.collect();
        (seen, all_whole)
    }

    /// The threads that hold a GIL now: their states, and their numbers where they are known.
    fn holders(&self) -> Vec<(Address, Option<i32>)> {
        let memory = self.live();
        let states = self.roots.interpreters(&memory, &self.layout).unwrap_or_default();
        let mut holders: Vec<(Address, Option<i32>)> = Vec::new();
        let doubtful = match states.len() {
            0 | 1 => HashSet::new(),
            _ => {
                let mut left = THREADS_AT_MOST;
                let all = states.iter().flat_map(|state| {
                    let threads = threads::states(&memory, &self.layout, state, left).0;
                    left -= threads.len();
                    threads.into_iter().map(|thread| (state.id, thread))
                });
                threads::doubtful(&self.layout, &all.collect::<Vec<_>>())
            }
        };
        for state in states {
            let Ok(Some(holder)) = self.roots.holder(&memory, &self.layout, &state) else {
                continue;
            };
            if holders.iter().any(|(known, _)| *known == holder) {
                continue;
            }
            let of = &self.layout.thread;
            let thread = ThreadState {
                address: holder,
                ident: memory.word(holder.plus(of.ident)).unwrap_or(0),
                native_id: of
                    .native_id
                    .and_then(|at| memory.word(holder.plus(at)).ok())
                    .map(|tid| tid as i32),
            };
            let tid = if doubtful.contains(&holder) { None } else { self.tid(&memory, &thread) };
            holders.push((holder, tid));
        }
        holders
    }

    /// The moment of a process that stands still.
    pub(crate) fn still<M: ReadMemory>(&self, memory: M) -> Moment<M> {
        let memory = Cached::new(memory);
        let (interpreters, whole) = self.walk(&memory);
        Moment { interpreters, memory, paused: Duration::ZERO, torn: !whole, not_paused: None }
    }

    /// Looks at one moment. `pause`: the threads that hold a GIL are stopped for it.
    pub(crate) fn moment(&self, pause: bool) -> Moment {
        // A first look, to know which memory will be needed.
        let rehearsal = Cached::new(self.live());
        self.walk(&rehearsal);
        let pages = rehearsal.added();
        let is_stopped = || Stat::of(self.pid).is_ok_and(|stat| stat.is_stopped());
        if is_stopped() {
            let moment = self.still(self.live());
            if is_stopped() {
                return moment;
            }
        }
        if !pause {
            return self.unpaused(None);
        }
        let view = self.clone();
        let tracer = match Tracer::start() {
            Ok(tracer) => tracer,
            Err(error) => return self.unpaused(Some(error.to_string())),
        };
        match tracer.run(move || view.paused(pages)) {
            Some(Ok(moment)) => moment,
            Some(Err(reason)) => self.unpaused(Some(reason)),
            None => self.unpaused(Some("the thread that stops others failed".into())),
        }
    }

    /// Runs on the thread that does the tracing.
    fn paused(&self, mut pages: Vec<Address>) -> Result<Moment, String> {
        let mut paused = Duration::ZERO;
        let mut last = "the GIL changed hands too quickly".to_owned();
        for attempt in 0..ATTEMPTS {
            let mut copied = Copied::of(pages.clone());
            let holders = self.holders();
            let mut attached = Vec::new();
            let mut in_calls = Vec::new();
            for (_, tid) in &holders {
                let Some(tid) = *tid else {
                    return Err("the thread that holds the GIL could not be told".into());
                };
                match tasks::activity(self.pid, tid) {
                    Ok(call @ Activity::Blocked { .. }) => in_calls.push((tid, call)),
                    _ => match Attached::seize(tid) {
                        Ok(thread) => attached.push(thread),
                        Err(error) => last = error.to_string(),
                    },
                }
            }
            let all = attached.len() + in_calls.len() == holders.len();
            if !all || self.holders() != holders {
                paused = paused.max(release(&mut attached));
                continue;
            }
            copied.copy(self.live());
            let late = attached.iter().any(|thread| thread.held() > BUDGET);
            let nobody_stopped = attached.len() < holders.len() || holders.is_empty();
            paused = paused.max(release(&mut attached));
            if nobody_stopped {
                // Then nothing may have moved meanwhile.
                let mut again = Copied::of(pages.clone());
                again.copy(self.live());
                let still_in_calls = in_calls.iter().all(|(tid, call)| {
                    tasks::activity(self.pid, *tid).is_ok_and(|now| now == *call)
                });
                if !still_in_calls || self.holders() != holders || !copied.is_like(&again) {
                    continue;
                }
            }
            let memory = Cached::with(self.live(), copied);
            let (interpreters, whole) = self.walk(&memory);
            let missing = memory.added();
            if !missing.is_empty() && attempt + 1 < ATTEMPTS {
                // A thread came or went deeper since it was first looked at: those pages are wanted, too.
                pages.extend(missing);
                pages.sort();
                continue;
            }
            let torn = late || !whole || !missing.is_empty();
            return Ok(Moment { interpreters, memory, paused, torn, not_paused: None });
        }
        Err(last)
    }

    /// Reads each thread until it reads the same twice.
    fn unpaused(&self, not_paused: Option<String>) -> Moment {
        const TRIES: usize = 8;
        let memory = Cached::new(self.live());
        let (mut interpreters, whole) = self.walk(&memory);
        let mut torn = !whole;
        for interpreter in &mut interpreters {
            for thread in &mut interpreter.threads {
                let most = frames::FRAMES_AT_MOST.min(thread.stack.frames.len() + MORE_FRAMES);
                thread.moved = true;
                for _ in 0..TRIES {
                    let fresh = Cached::new(self.live());
                    let again = frames::stack(&fresh, &self.layout, thread.state.address, most);
                    if again == thread.stack {
                        thread.moved = false;
                        break;
                    }
                    thread.stack = again;
                }
                torn |= thread.moved;
            }
        }
        // What the frames mean is read anew, not from before they were.
        let memory = Cached::new(self.live());
        Moment { interpreters, memory, paused: Duration::ZERO, torn, not_paused }
    }
}

/// Lets the threads run; the longest time that one was held.
fn release(attached: &mut Vec<Attached>) -> Duration {
    attached.drain(..).map(Attached::release).max().unwrap_or_default()
}
