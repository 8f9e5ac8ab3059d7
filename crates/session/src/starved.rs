//! Helping an agent that waits for the GIL and would not get it by itself.
//!
//! From 3.9 to 3.12 a thread that waits for the GIL asks its own interpreter to give it up (`Python/ceval_gil.h`,
//! `take_gil`; `ceval_gil.c` in 3.12), and the one that runs hears nothing of it: a busy loop of one interpreter keeps
//! those that share its GIL out for as long as it runs. While an agent of ours waits there, what it should have asked is
//! asked from here: two words that any waiter of the right interpreter would set. Only while somebody does wait: who gives
//! the GIL up goes on when another thread has taken it, and not before (`drop_gil`, FORCE_SWITCHING).
//!
//! And in every version a thread may keep the GIL while it waits in C for its next request, as workers of uWSGI do that
//! have no threads: then it is made to lend it ([`spyhole_attach::lend`]).

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spyhole_attach::{Interpreter, Link};
use spyhole_cpython::Opened;
use spyhole_cpython::layout::DropRequest;
use spyhole_cpython::runtime::InterpreterState;
use spyhole_cpython::threads::{self, THREADS_AT_MOST};
use spyhole_proc::memory::{Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::tasks::{self, Activity};
use spyhole_proc::{Address, sys, syscalls};

/// How often a waiting agent is helped.
pub(crate) const PERIOD: Duration = Duration::from_millis(10);

/// Helps the agent of one interpreter of a process.
#[derive(Debug)]
pub(crate) struct Helper {
    pid: i32,
    opened: Arc<Opened>,
    /// `None` where no interpreter keeps another one waiting: other versions, or only one interpreter.
    words: Option<DropRequest>,
    interpreter: Interpreter,
    next: Instant,
    /// Until then a thread of the agent that is not known here may wait, too.
    urgent: Option<Instant>,
    lent: bool,
}

impl Helper {
    /// `None` where nothing is known of the process.
    pub(crate) fn new(
        pid: i32,
        opened: Option<&Arc<Opened>>,
        interpreter: Interpreter,
        alone: bool,
    ) -> Option<Self> {
        let opened = opened?;
        let several = !alone || interpreter.address != 0;
        Some(Self {
            pid,
            opened: Arc::clone(opened),
            words: opened.layout.interpreter.drop_request.filter(|_| several),
            interpreter,
            next: Instant::now() + PERIOD,
            urgent: None,
            lent: false,
        })
    }

    /// The watcher has something to do, and takes the GIL for it.
    pub(crate) fn hurry(&mut self) {
        const LONG_ENOUGH: Duration = Duration::from_millis(500);
        self.urgent = Some(Instant::now() + LONG_ENOUGH);
    }

    /// Whether a thread of the process was made to lend the GIL.
    pub(crate) fn has_lent(&self) -> bool {
        self.lent
    }

    /// If it is time: whether the agent waits, and asks whoever keeps it waiting.
    ///
    /// `busy`: code of ours runs, which must not keep the program's own threads waiting either.
    pub(crate) fn help(&mut self, link: &Link, process: &Pidfd, busy: bool) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + PERIOD;
        let (tid, urgent) = (link.thread, self.urgent.is_some_and(|until| now < until));
        let mut waiting = vec![tid];
        if urgent {
            waiting.extend(tasks::ids(self.pid).unwrap_or_default());
        }
        if link.lend(process, waiting) {
            self.lent = true;
            return;
        }
        let Some(words) = self.words else { return };
        if let Some(running) = self.running(tid, urgent || busy) {
            for offset in [words.gil_drop_request, words.eval_breaker] {
                // A process that has just ended needs no help.
                let _ = sys::write_memory(self.pid, running.plus(offset), &1_u32.to_ne_bytes());
            }
        }
    }

    /// The interpreter that runs while thread `tid` waits for its GIL in another interpreter, or with `any` a thread in any.
    fn running(&self, tid: i32, any: bool) -> Option<Address> {
        let memory = Live { pid: self.pid };
        let (roots, layout) = (&self.opened.roots, &self.opened.layout);
        let all = roots.interpreters(&memory, layout).ok()?;
        let own = match self.interpreter.address {
            0 => all.iter().find(|state| state.id == 0)?,
            address => all.iter().find(|state| state.address == Address(address))?,
        };
        if any {
            // Who entered another interpreter without giving up the GIL is not noted as its holder (`PyThreadState_Swap`),
            // as an agent does; the state that is noted has been deleted. It waits for nobody's taking the GIL then.
            let holder = roots.holder(&memory, layout, own).ok()??;
            let known = |state: &InterpreterState| {
                let (threads, whole) = threads::states(&memory, layout, state, THREADS_AT_MOST);
                !whole || threads.iter().any(|thread| thread.address == holder)
            };
            if !all.iter().any(known) {
                let place = roots.waiting_place(&memory, layout, own)?;
                let others = tasks::ids(self.pid).unwrap_or_default();
                let runs = matches!(tasks::activity(self.pid, tid), Ok(Activity::Running));
                let waited = runs && others.into_iter().any(|tid| self.waits(tid, &place));
                return waited.then_some(own.address);
            }
        }
        // Whoever waits has entered the main interpreter before its own.
        for waited_for in [own, all.first()?] {
            let holder = roots.holder(&memory, layout, waited_for).ok()??;
            let running = memory.pointer(holder.plus(layout.thread.interpreter)).ok()?;
            if (any || running != waited_for.address)
                && all.iter().any(|state| state.address == running)
            {
                let place = roots.waiting_place(&memory, layout, waited_for)?;
                let waits = |tid: i32| self.waits(tid, &place);
                let others = || tasks::ids(self.pid).unwrap_or_default();
                return (waits(tid) || (any && others().into_iter().any(waits))).then_some(running);
            }
        }
        None
    }

    fn waits(&self, tid: i32, place: &Range<u64>) -> bool {
        matches!(tasks::activity(self.pid, tid), Ok(Activity::Blocked { number, arguments })
            if syscalls::name(number) == Some("futex") && place.contains(&arguments[0]))
    }
}
