//! A call made in the main thread of a process, over the system call in which it is blocked.
//!
//! The thread takes the GIL, asks for the truth value of an object of the agent's, gives the GIL back, and begins its
//! system call anew; all of it by a chain of signal frames, and through functions of CPython alone: whenever that comes to
//! pass, nothing of ours that may have gone is called.

use spyhole_cpython::threads::{self, THREADS_AT_MOST};
use spyhole_proc::arch::{self, Call};
use spyhole_proc::memory::{Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stop::Attached;
use spyhole_proc::tasks::{self, Activity};
use spyhole_proc::tracer::Tracer;
use spyhole_proc::{Address, syscalls};
use spyhole_stub::params::Function;

use crate::door::thread::{borrowing, unsafe_reason};
use crate::lend::{Footing, waits_for_gil};
use crate::link::Link;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visited {
    /// It is on its way to the object.
    Sent,
    /// It runs Python, or is about to: a pending call reaches it.
    Busy,
    /// It cannot be called now; why, and perhaps later.
    NotNow(&'static str),
}

/// `PyGILState_UNLOCKED` (Include/pystate.h): what `PyGILState_Ensure` gives a thread that does not have the GIL.
const UNLOCKED: u64 = 1;

impl Link {
    /// Makes the main thread ask for the truth value of `object`, if it is blocked where that can be done.
    pub fn visit(&self, process: &Pidfd, object: u64) -> Visited {
        const UNKNOWN: Visited = Visited::NotNow("nothing is known of it");
        let (Some(footing), Some(opened)) = (&self.footing, &self.opened) else { return UNKNOWN };
        let pid = self.pid;
        match tasks::activity(pid, pid) {
            Ok(Activity::Running) => return Visited::Busy,
            Ok(Activity::Blocked { number, arguments }) => {
                if number == libc::SYS_futex && waits_for_gil(pid, pid, opened) {
                    return Visited::Busy;
                }
                if arch::borrowable(number, &arguments).is_none() {
                    log::debug!(
                        "process {pid}: its main thread is in {:?}",
                        syscalls::name(number)
                    );
                    return Visited::NotNow("it is in a system call that may hold locks");
                }
            }
            _ => return UNKNOWN,
        }
        let (Ok(held), Ok(tracer), footing) =
            (process.try_clone(), Tracer::start(), std::sync::Arc::clone(footing))
        else {
            return UNKNOWN;
        };
        tracer.run(move || footing.send(&held, object)).unwrap_or(UNKNOWN)
    }
}

impl Footing {
    /// On the tracer's thread.
    fn send(&self, process: &Pidfd, object: u64) -> Visited {
        let pid = process.pid;
        let blueprint = self.blueprint();
        let _turn = borrowing();
        let Ok(mut attached) = Attached::seize(pid) else {
            return Visited::NotNow("it does not stop");
        };
        // It stands still now: what is seen stays so.
        let reason = if process.has_ended() {
            Some("it has ended")
        } else if attached.found.call.is_none() {
            attached.release();
            return Visited::Busy;
        } else {
            self.unfit(pid, attached.found.thread_pointer().0)
                .or_else(|| unsafe_reason(pid, &attached, blueprint))
        };
        if let Some(reason) = reason {
            attached.release();
            return Visited::NotNow(reason);
        }
        attached.found.lets_limits_be();
        let call = |function: Function, argument: u64| Call {
            function: Address(blueprint.plan.functions[function as usize]),
            arguments: [argument, 0, 0, 0],
        };
        let calls = [
            call(Function::PyGILState_Ensure, 0),
            call(Function::PyObject_IsTrue, object),
            call(Function::PyGILState_Release, UNLOCKED),
        ];
        match attached.send_off(blueprint.restorer, &[], &calls) {
            Ok(()) => Visited::Sent,
            Err(error) => {
                log::debug!("process {pid}: its main thread was not called: {error}");
                Visited::NotNow("it cannot be called")
            }
        }
    }

    /// Why the thread with this descriptor must not take the GIL.
    fn unfit(&self, pid: i32, ident: u64) -> Option<&'static str> {
        const UNREADABLE: &str = "its interpreter cannot be read";
        let memory = Live { pid };
        let opened = self.opened();
        let (roots, layout) = (&opened.roots, &opened.layout);
        let Ok(all) = roots.interpreters(&memory, layout) else { return Some(UNREADABLE) };
        let Some(main) = all.iter().find(|state| state.id == 0) else { return Some(UNREADABLE) };
        let (own, _) = threads::states(&memory, layout, main, THREADS_AT_MOST);
        if !own.iter().any(|state| state.ident == ident) {
            return Some("it is not a thread of Python's");
        }
        match roots.holder(&memory, layout, main) {
            Ok(Some(holder)) => match memory.word(holder.plus(layout.thread.ident)) {
                Ok(of) if of == ident => Some("it keeps the GIL in C code"),
                Ok(_) => None,
                Err(_) => Some(UNREADABLE),
            },
            Ok(None) => None,
            Err(_) => Some(UNREADABLE),
        }
    }
}
