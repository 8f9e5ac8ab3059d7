//! Lending the GIL: a thread that keeps it while it waits in C is sent to sleep without it for some milliseconds.
//!
//! A worker of uWSGI without `enable-threads` waits for its next request so, and nothing of Python runs in it meanwhile
//! (`plugins/python/python_plugin.c`, `gil_fake_release`). The thread itself calls `PyEval_SaveThread`, sleeps, calls
//! `PyEval_RestoreThread`, and begins its system call anew, all of it by a chain of signal frames: nobody has to be there
//! to bring it home. Only a thread that runs no Python code is asked: the code of a program that waits there has nothing
//! of Python's in its hands.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spyhole_cpython::frames::{self, End};
use spyhole_cpython::{Opened, threads};
use spyhole_proc::Address;
use spyhole_proc::arch::{self, Call};
use spyhole_proc::memory::{Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stop::Attached;
use spyhole_proc::tasks::{self, Activity, Tasks};
use spyhole_proc::tracer::Tracer;
use spyhole_stub::params::Function;

use crate::door::thread::{Blueprint, borrowing, unsafe_reason};

/// How long the thread sleeps: as long as a thread of Python keeps the GIL when others want it.
pub const AWAY: Duration = Duration::from_millis(5);
/// How long it is left alone after that, so that the program can do its own work.
const AT_HOME: Duration = Duration::from_millis(5);

/// What is needed to lend the GIL of a process again and again.
#[derive(Debug)]
pub(crate) struct Footing {
    blueprint: Arc<Blueprint>,
    opened: Arc<Opened>,
    last: Mutex<Option<Instant>>,
}

/// The thread that keeps the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Keeper {
    /// Of the main interpreter.
    state: Address,
    /// Its C library's descriptor.
    ident: u64,
}

impl Footing {
    pub(crate) fn new(blueprint: Arc<Blueprint>, opened: Arc<Opened>) -> Self {
        Self { blueprint, opened, last: Mutex::new(None) }
    }

    pub(crate) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Sends the thread away that keeps the GIL of the main interpreter, if it waits and runs no Python code.
    pub(crate) fn lend(&self, process: &Pidfd) -> bool {
        let pid = process.pid;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|at| at.elapsed() < AWAY + AT_HOME) {
            return false;
        }
        let Some((keeper, tid)) = self.find(pid) else { return false };
        let (blueprint, opened) = (Arc::clone(&self.blueprint), Arc::clone(&self.opened));
        let Ok(held) = process.try_clone() else { return false };
        let Ok(tracer) = Tracer::start() else { return false };
        let sent = tracer.run(move || send(&held, tid, keeper, &blueprint, &opened));
        if sent == Some(true) {
            *last = Some(Instant::now());
            log::debug!("process {pid}: thread {tid} lends the GIL for {AWAY:?}");
            return true;
        }
        false
    }

    fn find(&self, pid: i32) -> Option<(Keeper, i32)> {
        let live = Live { pid };
        let keeper = keeper(pid, &self.opened)?;
        let own = threads::noted_number(&live, keeper.ident)?;
        let tid = live.by_inner_id().ok()?.get(&own).copied()?;
        match tasks::activity(pid, tid) {
            Ok(Activity::Blocked { number, arguments }) if is_wait(number, &arguments) => {
                Some((keeper, tid))
            }
            _ => None,
        }
    }
}

/// A system call in which a program waits for the world, and not for another thread.
fn is_wait(number: i64, arguments: &[u64; 6]) -> bool {
    number != libc::SYS_futex && arch::borrowable(number, arguments).is_some()
}

/// Who keeps the GIL now, if it runs no Python code.
fn keeper(pid: i32, opened: &Opened) -> Option<Keeper> {
    let memory = Live { pid };
    let (roots, layout) = (&opened.roots, &opened.layout);
    let all = roots.interpreters(&memory, layout).ok()?;
    let main = all.iter().find(|state| state.id == 0)?;
    let state = roots.holder(&memory, layout, main).ok()??;
    if memory.pointer(state.plus(layout.thread.interpreter)).ok()? != main.address {
        return None;
    }
    let stack = frames::stack(&memory, layout, state, 1);
    if !stack.frames.is_empty() || stack.end != End::Whole {
        return None;
    }
    Some(Keeper { state, ident: memory.word(state.plus(layout.thread.ident)).ok()? })
}

/// On the tracer's thread. `false`: it is not as it looked from outside.
fn send(
    process: &Pidfd,
    tid: i32,
    expected: Keeper,
    blueprint: &Blueprint,
    opened: &Opened,
) -> bool {
    let pid = process.pid;
    let _turn = borrowing();
    let Ok(attached) = Attached::seize(tid) else { return false };
    let found = &attached.found;
    let waits = found.call.is_some_and(|(number, arguments)| is_wait(number, &arguments));
    // It stands still now: what is seen stays so.
    if !waits
        || process.has_ended()
        || found.thread_pointer().0 != expected.ident
        || keeper(pid, opened) != Some(expected)
        || unsafe_reason(pid, &attached, blueprint).is_some()
    {
        attached.release();
        return false;
    }
    let Some(sleep) = blueprint.sleep else {
        attached.release();
        return false;
    };
    let words = [AWAY.as_secs(), AWAY.subsec_nanos().into()];
    let time = attached.place_of(&words).0;
    let call = |function: u64, arguments: [u64; 4]| Call { function: Address(function), arguments };
    let of_python = |function: Function| blueprint.plan.functions[function as usize];
    let calls = [
        call(of_python(Function::PyEval_SaveThread), [0; 4]),
        call(sleep.0, [libc::CLOCK_MONOTONIC as u64, 0, time, 0]),
        call(of_python(Function::PyEval_RestoreThread), [expected.state.0, 0, 0, 0]),
    ];
    match attached.send_off(blueprint.restorer, &words, &calls) {
        Ok(()) => true,
        Err(error) => {
            log::debug!("process {pid}: thread {tid} was not sent away: {error}");
            false
        }
    }
}

/// Whether a thread waits for the GIL of any interpreter.
pub(crate) fn waits_for_gil(pid: i32, tid: i32, opened: &Opened) -> bool {
    let Ok(Activity::Blocked { number, arguments }) = tasks::activity(pid, tid) else {
        return false;
    };
    let memory = Live { pid };
    let (roots, layout) = (&opened.roots, &opened.layout);
    number == libc::SYS_futex
        && roots.interpreters(&memory, layout).is_ok_and(|all| {
            all.iter().any(|state| roots.is_of_gil(&memory, layout, state, Address(arguments[0])))
        })
}
