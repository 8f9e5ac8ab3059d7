//! Ending the wait in which interrupted code of ours stands.
//!
//! An exception that was set from another thread is raised when the thread runs bytecode again (`Python/ceval.c`,
//! `_PyThreadState_GET()->async_exc`), which it does not while it sleeps. So the sleep, or another wait for the world, is
//! made to return as if its time were up. Only a thread of ours is asked, only while the code that was meant runs in it,
//! and never while it waits for a lock.

use spyhole_proc::arch;
use spyhole_proc::memory::{Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stop::Attached;
use spyhole_proc::tasks::{self, Activity, Tasks};
use spyhole_proc::tracer::Tracer;
use spyhole_proc::{Address, maps::Maps};
use spyhole_stub::{field, params};

use crate::link::Link;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roused {
    /// The exception has not been set yet.
    NotYet,
    /// The code stands in no wait that may be ended.
    Elsewhere,
    /// The wait was ended.
    Done,
    /// The code has ended, or nothing can be done about its thread.
    Over,
}

/// Code of ours that was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raised {
    tid: i32,
    times: u32,
}

impl Link {
    /// Ends the wait in which the code of `job` stands, if that was interrupted.
    pub fn rouse(&self, process: &Pidfd, job: u32) -> Roused {
        let (Some(page), Some(base)) = (self.page, self.base) else { return Roused::Over };
        let pid = self.pid;
        let Some(raised) = armed(pid, page, job) else { return Roused::Over };
        if raised.times == 0 {
            return Roused::NotYet;
        }
        let tids = Live { pid }.by_inner_id().unwrap_or_default();
        let Some(tid) = tids.get(&raised.tid).copied() else { return Roused::Over };
        match tasks::activity(pid, tid) {
            Ok(Activity::Blocked { number, .. }) if arch::early_end(number).is_some() => {}
            Ok(_) => return Roused::Elsewhere,
            Err(_) => return Roused::Over,
        }
        let (Ok(held), Ok(tracer)) = (process.try_clone(), Tracer::start()) else {
            return Roused::Over;
        };
        let ended = tracer.run(move || {
            let Ok(attached) = Attached::seize(tid) else { return false };
            // It stands still now: what is seen stays so.
            let own = base..base.plus(params::CODE_LENGTH);
            let counter = attached.found.program_counter();
            if held.has_ended()
                || armed(pid, page, job) != Some(raised)
                || own.contains(&counter)
                || !is_of_a_file(pid, counter)
            {
                attached.release();
                return false;
            }
            attached.end_wait().unwrap_or_else(|error| {
                log::debug!("process {pid}: the wait of thread {tid} was not ended: {error}");
                false
            })
        });
        if ended == Some(true) { Roused::Done } else { Roused::Elsewhere }
    }
}

fn is_of_a_file(pid: i32, at: Address) -> bool {
    Maps::of(pid).is_ok_and(|maps| maps.at(at).is_some_and(|mapping| mapping.is_file()))
}

/// Where the stub says that a job runs.
fn armed(pid: i32, page: Address, job: u32) -> Option<Raised> {
    use field::armed::{JOB, RAISED, THREAD};
    const LENGTH: usize = field::ARMED_LENGTH;
    let table = Live { pid }.bytes(page.plus(field::ARMED), params::ARMED_AT_MOST * LENGTH).ok()?;
    let part = |entry: &[u8], at: usize| -> [u8; 4] {
        entry.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
    };
    table.chunks_exact(LENGTH).find(|entry| u32::from_le_bytes(part(entry, JOB)) == job).map(
        |entry| Raised {
            tid: i32::from_le_bytes(part(entry, THREAD)),
            times: u32::from_le_bytes(part(entry, RAISED)),
        },
    )
}
