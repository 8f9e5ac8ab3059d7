//! The moment at which a process is read: only the thread that holds the GIL is stopped, for as long as it takes to
//! copy the states of the threads and their frames.
//!
//! Who holds the GIL alone changes Python's state, so with that thread stopped all of it stands still; one that holds
//! it in a system call changes nothing either, and is not stopped. What the copied addresses mean is looked up later.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use spyhole_cpython::frames::{self, RawStack};
use spyhole_cpython::runtime::{InterpreterState, Roots};
use spyhole_cpython::threads::{self, Descriptor, THREADS_AT_MOST, ThreadState};
use spyhole_cpython::{Layout, Opened, Reader, Types};
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::{Cached, Copied, Live, ReadMemory};
use spyhole_proc::tracer::Tracer;
use spyhole_proc::turns::Undisturbed;
use spyhole_proc::{Address, stat::Stat};

use crate::beyond::Candidates;
use crate::holding::{Frozen, Held};
use crate::natives::Standing;

/// A thread's state with its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenThread {
    pub(crate) state: ThreadState,
    pub(crate) stack: RawStack,
    /// Read twice, it was not the same.
    pub(crate) moved: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Where those were in C that hold a GIL, by their states.
    pub(crate) standing: Vec<(Address, Standing)>,
    pub(crate) paused: Duration,
    pub(crate) torn: bool,
    /// Why it was not paused, if that was wanted.
    pub(crate) not_paused: Option<String>,
    /// Its threads, which are all stopped as long as this is here.
    pub(crate) frozen: Option<Frozen>,
}

impl<M> Moment<M> {
    fn of(interpreters: Vec<SeenInterpreter>, memory: Cached<M>) -> Self {
        Self {
            interpreters,
            memory,
            standing: Vec::new(),
            paused: Duration::ZERO,
            torn: false,
            not_paused: None,
            frozen: None,
        }
    }
}

impl<M: ReadMemory> Moment<M> {
    /// Takes the frames out that the interpreter made for itself.
    pub(crate) fn forget_own(&mut self, layout: &Layout, types: &Types) {
        let reader = Reader { memory: &self.memory, layout, types };
        for thread in self.interpreters.iter_mut().flat_map(|one| &mut one.threads) {
            reader.forget_own(&mut thread.stack.frames);
        }
    }
}

/// Which threads are stopped for a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// None: what moves is read again, and marked if it never reads the same twice.
    Nothing,
    /// Those that hold a GIL, for the moment of the copy.
    #[default]
    Holder,
    /// All, until everything is looked up.
    Everything,
}

/// How long threads may be stopped for a copy.
const BUDGET: Duration = Duration::from_millis(5);
/// So often a copy that took longer is given up and made again: we may have lost the processor meanwhile.
const LATE_AT_MOST: usize = 2;
/// Then there is more to copy than fits in, or the machine is overloaded: this is still less than any other way.
const BUDGET_AT_LAST: Duration = Duration::from_millis(50);
/// How long all threads of a process may be stopped; a look takes a tenth of a second.
const FREEZE_AT_MOST: Duration = Duration::from_secs(5);
/// How often the holder may change hands before it is left at that.
const ATTEMPTS: usize = 30;

/// What is kept of one process, however much a hostile one shows.
const ALL_FRAMES_AT_MOST: usize = 1 << 20;
/// How much deeper a thread may be when it is read again.
const MORE_FRAMES: usize = 2000;

/// Reads from a memory what belongs to these threads.
pub(crate) type Also<'a> = dyn Fn(&Cached<Live>, &[SeenInterpreter]) + 'a;

/// What is looked at, and how.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) pid: i32,
    pub(crate) layout: Layout,
    pub(crate) roots: Roots,
    pub(crate) descriptor: Option<Descriptor>,
    /// This machine's numbers for those that the process uses for its threads.
    pub(crate) tids: HashMap<i32, i32>,
    /// To tell whose stack an address is on.
    pub(crate) maps: Arc<Maps>,
    /// Where greenlets may be; `None` if there are none.
    pub(crate) greenlets: Option<Arc<Candidates>>,
}

impl View {
    /// `tids`: see [`spyhole_proc::tasks::Tasks::by_inner_id`].
    pub(crate) fn new(
        pid: i32,
        memory: &dyn ReadMemory,
        opened: &Opened,
        tids: HashMap<i32, i32>,
        maps: Maps,
    ) -> Self {
        let (layout, roots) = (opened.layout, opened.roots);
        let descriptor = layout
            .thread
            .native_id
            .is_none()
            .then(|| opened.calibrate(memory, tids.keys().copied().collect()));
        let maps = Arc::new(maps);
        let descriptor = descriptor.flatten();
        Self { pid, layout, roots, descriptor, tids, maps, greenlets: None }
    }

    fn live(&self) -> Live {
        Live { pid: self.pid }
    }

    /// This machine's number for a thread. `doubtful`: states whose numbers may be another thread's.
    pub(crate) fn tid(
        &self,
        memory: &dyn ReadMemory,
        thread: &ThreadState,
        doubtful: &HashSet<Address>,
    ) -> Option<i32> {
        let inner = match thread.native_id {
            _ if doubtful.contains(&thread.address) => {
                let tids = &self.tids;
                let at = threads::c_stack(memory, &self.layout, thread)?;
                return match self.maps.at(at)?.path.as_slice() {
                    b"[stack]" => Some(self.pid),
                    _ => tids.get(&threads::owner(memory, &self.maps, at, tids)?).copied(),
                };
            }
            Some(inner) if self.tids.contains_key(&inner) => inner,
            Some(_) => threads::noted_number(memory, thread.ident)?,
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
    fn holders(&self, doubtful: &HashSet<Address>) -> Vec<(Address, Option<i32>)> {
        let memory = self.live();
        let states = self.roots.interpreters(&memory, &self.layout).unwrap_or_default();
        let mut holders: Vec<(Address, Option<i32>)> = Vec::new();
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
            holders.push((holder, self.tid(&memory, &thread, doubtful)));
        }
        holders
    }

    /// States whose numbers may be another thread's, of all interpreters as they are now.
    fn doubtful(&self, memory: &dyn ReadMemory) -> HashSet<Address> {
        let states = self.roots.interpreters(memory, &self.layout).unwrap_or_default();
        if states.len() < 2 {
            return HashSet::new();
        }
        let mut left = THREADS_AT_MOST;
        let all = states.iter().flat_map(|state| {
            let threads = threads::states(memory, &self.layout, state, left).0;
            left -= threads.len();
            threads.into_iter().map(|thread| (state.id, thread))
        });
        threads::doubtful(&self.layout, &all.collect::<Vec<_>>())
    }

    /// Reads what a walk will read, in few kernel calls.
    fn prefetch(&self, memory: &Cached<Live>) {
        let mut left = THREADS_AT_MOST;
        for state in self.roots.interpreters(memory, &self.layout).unwrap_or_default() {
            let threads = threads::states(memory, &self.layout, &state, left).0;
            left -= threads.len();
            let addresses: Vec<Address> = threads.iter().map(|thread| thread.address).collect();
            frames::prefetch(memory, &self.layout, &addresses);
        }
    }

    /// The moment of a process that stands still.
    pub(crate) fn still<M: ReadMemory>(&self, memory: M) -> Moment<M> {
        let memory = Cached::new(memory);
        let (interpreters, whole) = self.walk(&memory);
        Moment { torn: !whole, ..Moment::of(interpreters, memory) }
    }

    /// Where those are in C that hold a GIL, if they stand still.
    fn standing(&self, moment: &Moment) -> Vec<(Address, Standing)> {
        let doubtful = self.doubtful(&moment.memory);
        let holders = self.holders(&doubtful);
        let tids = holders.iter().filter_map(|(_, tid)| *tid);
        let all = tids.filter_map(|tid| Some((tid, Standing::of_still(self.pid, tid)?)));
        by_state(&holders, all.collect())
    }

    /// Looks at one moment. `also` reads what else is to be copied in it, beside the frames.
    pub(crate) fn moment(&self, pause: Pause, also: &Also<'_>) -> Moment {
        let is_stopped = || Stat::of(self.pid).is_ok_and(|stat| stat.is_stopped());
        if is_stopped() {
            let moment = self.still(self.live());
            let standing = self.standing(&moment);
            if is_stopped() {
                return Moment { standing, ..moment };
            }
        }
        match pause {
            Pause::Nothing => self.unpaused(None),
            Pause::Holder => self.paused(also),
            Pause::Everything => match Frozen::start(self.pid, FREEZE_AT_MOST) {
                Ok(frozen) => {
                    let moment = self.still(self.live());
                    let standing = self.standing(&moment);
                    Moment { frozen: Some(frozen), standing, ..moment }
                }
                Err(reason) => self.unpaused(Some(reason)),
            },
        }
    }

    /// With those threads stopped that hold a GIL.
    fn paused(&self, also: &Also<'_>) -> Moment {
        // A first look, to know which memory will be needed. Where nobody holds a GIL, it is half of the answer.
        let holders = states(&self.holders(&HashSet::new()));
        let rehearsal = Cached::new(self.live());
        self.prefetch(&rehearsal);
        let (seen, _) = self.walk(&rehearsal);
        also(&rehearsal, &seen);
        let doubtful = self.doubtful(&rehearsal);
        let view = self.clone();
        let tracer = match Tracer::start() {
            Ok(tracer) => tracer,
            Err(error) => return self.unpaused(Some(error.to_string())),
        };
        match tracer.run(move || view.copied_at_once(rehearsal, holders, &doubtful)) {
            Some(Ok(moment)) => moment,
            Some(Err(reason)) => self.unpaused(Some(reason)),
            None => self.unpaused(Some("the thread that stops others failed".into())),
        }
    }

    /// Runs on the thread that does the tracing. `before` is what was read already, page by page, and who held a GIL
    /// when that began.
    fn copied_at_once(
        &self,
        mut before: Cached<Live>,
        mut holders_before: Vec<Address>,
        doubtful: &HashSet<Address>,
    ) -> Result<Moment, String> {
        let mut paused = Duration::ZERO;
        let mut last = "the GIL changed hands too quickly".to_owned();
        let mut pages = before.added();
        let mut late = 0;
        for attempt in 1..=ATTEMPTS {
            let mut copied = Copied::of(pages.clone());
            let holders = self.holders(doubtful);
            let tids: Option<Vec<i32>> = holders.iter().map(|(_, tid)| *tid).collect();
            let mut held = match tids {
                Some(tids) => Held::these(self.pid, tids),
                // One of them holds a GIL, and which one it is cannot be told.
                None => Held::all(self.pid),
            };
            if let Some(reason) = held.missed() {
                last = reason.to_owned();
            }
            if held.missed().is_some() || self.holders(doubtful) != holders {
                paused = paused.max(held.release());
                continue;
            }
            let limit = if late < LATE_AT_MOST { BUDGET } else { BUDGET_AT_LAST };
            let undisturbed = Undisturbed::start();
            let in_time = copied.copy(self.live(), || held.longest() < limit);
            let standing = by_state(&holders, held.standing(self.pid));
            let mut alone = true;
            if held.stands_still() {
                paused = paused.max(held.release());
            } else {
                // Then nothing may have moved since it was read last.
                alone = held.are_in_same_calls(self.pid)
                    && holders_before == states(&holders)
                    && self.holders(doubtful) == holders
                    && (before.is_like(&copied) || self.walks_alike(&copied, &before));
                paused = paused.max(held.release());
                holders_before = states(&holders);
            }
            drop(undisturbed);
            if !in_time && late < LATE_AT_MOST {
                late += 1;
                continue;
            }
            if !alone {
                before = Cached::with(self.live(), copied);
                continue;
            }
            let memory = Cached::with(self.live(), copied);
            let (interpreters, whole) = self.walk(&memory);
            let missing = memory.added();
            if !missing.is_empty() && attempt < ATTEMPTS {
                // A thread came or went deeper since it was first looked at: those pages are wanted, too.
                pages.extend(missing);
                pages.sort();
                before = memory;
                continue;
            }
            let torn = !whole || !in_time || !missing.is_empty();
            return Ok(Moment { paused, torn, standing, ..Moment::of(interpreters, memory) });
        }
        Err(last)
    }

    /// Whether two copies show the same threads with the same frames. Their pages may differ: a thread that runs C code
    /// without the GIL writes to its stack, and what frames lie in may lie beside what it works on.
    fn walks_alike(&self, now: &Copied, before: &Cached<Live>) -> bool {
        let now = Cached::with(self.live(), now.clone());
        let walked = self.walk(&now);
        now.added().is_empty() && walked == self.walk(before)
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
        let moment = Moment { torn, not_paused, ..Moment::of(interpreters, memory) };
        Moment { standing: self.standing(&moment), ..moment }
    }
}

/// Those of threads, by the states of these.
fn by_state(
    holders: &[(Address, Option<i32>)],
    standing: Vec<(i32, Standing)>,
) -> Vec<(Address, Standing)> {
    let state = |tid: i32| holders.iter().find(|(_, own)| *own == Some(tid)).map(|(at, _)| *at);
    standing.into_iter().filter_map(|(tid, one)| Some((state(tid)?, one))).collect()
}

fn states(holders: &[(Address, Option<i32>)]) -> Vec<Address> {
    holders.iter().map(|(state, _)| *state).collect()
}
