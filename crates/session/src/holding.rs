//! Threads that are stopped so that a process can be looked at: those that hold a GIL, or all of them.
//!
//! It knows whom to stop, and that whoever is stopped runs again. What is copied meanwhile is `pause`'s.

use std::collections::HashSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use spyhole_proc::stop::{Attached, SeizeError};
use spyhole_proc::tasks::{self, Activity};
use spyhole_proc::tracer::Tracer;

use crate::natives::Standing;

/// Threads that change nothing as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Held {
    attached: Vec<Attached>,
    /// They are in these system calls, and so were not stopped.
    in_calls: Vec<(i32, Activity)>,
    /// Some that were to be held are not, and why.
    missed: Option<String>,
}

impl Held {
    /// Stops these threads, but for those that are in a system call.
    pub(crate) fn these(pid: i32, tids: impl IntoIterator<Item = i32>) -> Self {
        let mut held = Self::default();
        for tid in tids {
            match tasks::activity(pid, tid) {
                Ok(call @ Activity::Blocked { .. }) => held.in_calls.push((tid, call)),
                _ => match Attached::seize(tid) {
                    Ok(thread) => held.attached.push(thread),
                    Err(error) => held.missed = Some(error.to_string()),
                },
            }
        }
        held
    }

    /// Stops all threads of a process, whatever they do, also those that are made meanwhile.
    pub(crate) fn all(pid: i32) -> Self {
        let mut held = Self::default();
        let mut tried = HashSet::new();
        loop {
            let tids = tasks::ids(pid).unwrap_or_default();
            let fresh: Vec<i32> = tids.into_iter().filter(|tid| tried.insert(*tid)).collect();
            if fresh.is_empty() {
                return held;
            }
            for tid in fresh {
                held.add(tid);
            }
        }
    }

    fn add(&mut self, tid: i32) {
        // A thread that is about to get a signal gets it and is tried again.
        const TRIES: usize = 20;
        for _ in 0..TRIES {
            match Attached::seize(tid) {
                Ok(thread) => return self.attached.push(thread),
                Err(SeizeError::Gone { .. }) => return,
                Err(SeizeError::Signalled { .. }) => {}
                Err(error) => {
                    self.missed = Some(error.to_string());
                    return;
                }
            }
        }
        self.missed = Some(format!("thread {tid} gets signals all the time"));
    }

    /// Why not all are held; `None`: they are.
    pub(crate) fn missed(&self) -> Option<&str> {
        self.missed.as_deref()
    }

    /// Whether all of them are stopped, and it is at least one: then nothing needs to be compared afterwards.
    pub(crate) fn stands_still(&self) -> bool {
        self.missed.is_none() && self.in_calls.is_empty() && !self.attached.is_empty()
    }

    /// How long one has been stopped so far, at most.
    pub(crate) fn longest(&self) -> Duration {
        self.attached.iter().map(Attached::held).max().unwrap_or_default()
    }

    /// Whether those that were in system calls still are in the same ones.
    pub(crate) fn are_in_same_calls(&self, pid: i32) -> bool {
        self.in_calls
            .iter()
            .all(|(tid, call)| tasks::activity(pid, *tid).is_ok_and(|now| now == *call))
    }

    /// Where these threads are in C, as far as they were stopped or are in system calls.
    pub(crate) fn standing(&self, pid: i32) -> Vec<(i32, Standing)> {
        let stopped = self.attached.iter();
        let stopped = stopped.filter_map(|one| Some((one.tid, Standing::of_stopped(pid, one)?)));
        let in_calls = self.in_calls.iter();
        let in_calls = in_calls.filter_map(|(tid, _)| Some((*tid, Standing::of_still(pid, *tid)?)));
        stopped.chain(in_calls).collect()
    }

    /// Lets the threads run; the longest time that one was stopped.
    pub(crate) fn release(&mut self) -> Duration {
        self.in_calls.clear();
        self.attached.drain(..).map(Attached::release).max().unwrap_or_default()
    }
}

/// All threads of a process, stopped until this is dropped or a time is up. They run again, too, when this program
/// dies: the kernel lets go what a dead tracer held.
pub(crate) struct Frozen {
    tracer: Option<Tracer>,
    thaw: Option<mpsc::Sender<()>>,
    held: mpsc::Receiver<Thawed>,
}

/// How a freeze ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Thawed {
    /// The longest time that a thread was stopped.
    pub(crate) held: Duration,
    /// They were let go before anybody asked for it.
    pub(crate) early: bool,
}

impl Frozen {
    /// Stops all threads of a process, for `limit` at most.
    pub(crate) fn start(pid: i32, limit: Duration) -> Result<Self, String> {
        let tracer = Tracer::start().map_err(|error| error.to_string())?;
        let (thaw, asked) = mpsc::channel();
        let (tell, held) = mpsc::channel();
        let (begun, ready) = mpsc::channel();
        let posted = tracer.post(move || {
            let mut all = Held::all(pid);
            let missed = all.missed().map(str::to_owned);
            // Who waits for these is there, or has given up, which ends the freeze, too.
            let _ = begun.send(missed);
            let early = asked.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            let _ = tell.send(Thawed { held: all.release(), early });
        });
        let frozen = Self { tracer: Some(tracer), thaw: Some(thaw), held };
        match posted.then(|| ready.recv()) {
            Some(Ok(None)) => Ok(frozen),
            Some(Ok(Some(missed))) => Err(missed),
            _ => Err("the thread that stops others failed".to_owned()),
        }
    }

    /// Lets the threads run.
    pub(crate) fn thaw(mut self) -> Thawed {
        drop(self.thaw.take());
        self.held.recv().unwrap_or_default()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.thaw.take());
        // Waits until all of them run.
        drop(self.tracer.take());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::{Child, Command};
    use std::time::Instant;

    use spyhole_proc::stat::Stat;

    use super::*;

    /// A process that does nothing, ended when this is dropped.
    struct Sleeping(Child);

    impl Sleeping {
        fn start() -> Self {
            Self(Command::new("sleep").arg("600").spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.0.id()).unwrap()
        }

        fn is_stopped(&self) -> bool {
            matches!(Stat::of(self.pid()).unwrap().state, 't' | 'T')
        }

        /// It was let go; the kernel wakes it in its own time.
        #[track_caller]
        fn assert_runs(&self) {
            let deadline = Instant::now() + Duration::from_secs(30);
            while self.is_stopped() {
                assert!(Instant::now() < deadline, "it is still stopped");
                std::thread::yield_now();
            }
        }
    }

    impl Drop for Sleeping {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_panic_lets_a_frozen_process_go() {
        let process = Sleeping::start();
        let frozen = Frozen::start(process.pid(), Duration::from_secs(600)).unwrap();
        assert!(process.is_stopped());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _frozen = frozen;
            std::panic::resume_unwind(Box::new("the look fails"));
        }));
        assert!(panicked.is_err());
        process.assert_runs();
    }

    #[test]
    fn a_panic_of_the_tracer_lets_a_held_thread_go() {
        let process = Sleeping::start();
        let tracer = Tracer::start().unwrap();
        let pid = process.pid();
        let given: Option<()> = tracer.run(move || {
            let held = Held::all(pid);
            assert!(held.stands_still());
            std::panic::resume_unwind(Box::new("the copy fails"));
        });
        assert_eq!(given, None);
        process.assert_runs();
    }

    #[test]
    fn a_freeze_ends_by_itself() {
        let process = Sleeping::start();
        let frozen = Frozen::start(process.pid(), Duration::from_millis(1)).unwrap();
        process.assert_runs();
        assert!(frozen.thaw().early);
    }
}
