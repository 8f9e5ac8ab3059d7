//! Bringing code into the main thread: by a call made in it where it is blocked, by a pending call where it runs.
//!
//! Which of the two is right shows from outside, and changes; so it is looked at again until the code has begun or is
//! given up. The agent is told to queue a pending call once at most.

use std::time::{Duration, Instant};

use spyhole_attach::{Link, Visited};
use spyhole_proc::pidfd::Pidfd;

/// One job that waits for the main thread.
#[derive(Debug)]
pub(crate) struct Visiting {
    pub(crate) job: u32,
    object: u64,
    next: Instant,
    queued: Option<Instant>,
    /// Why it was not reached at the last attempt.
    pub(crate) reason: Option<&'static str>,
}

/// What is to be done next.
pub(crate) enum Step {
    /// Nothing any more: the thread is on its way.
    Done,
    /// Look again after so long.
    Later(Duration),
    /// Tell the agent to queue a pending call, and look again.
    Queue,
}

impl Visiting {
    pub(crate) fn new(job: u32, object: u64) -> Self {
        Self { job, object, next: Instant::now(), queued: None, reason: None }
    }

    pub(crate) fn step(&mut self, link: &Link, process: &Pidfd) -> Step {
        const SOON: Duration = Duration::from_millis(1);
        const NOT_NOW: Duration = Duration::from_millis(10);
        /// A thread that runs comes to a pending call in this time.
        const PENDING: Duration = Duration::from_millis(100);
        let now = Instant::now();
        if now < self.next {
            return Step::Later(self.next - now);
        }
        if self.queued.is_some_and(|at| at.elapsed() < PENDING) {
            self.next = now + NOT_NOW;
            return Step::Later(NOT_NOW);
        }
        match link.visit(process, self.object) {
            Visited::Sent => Step::Done,
            Visited::Busy if self.queued.is_none() => {
                self.queued = Some(now);
                self.next = now + SOON;
                Step::Queue
            }
            Visited::Busy => {
                self.next = now + NOT_NOW;
                Step::Later(NOT_NOW)
            }
            Visited::NotNow(reason) => {
                self.reason = Some(reason);
                self.next = now + NOT_NOW;
                Step::Later(NOT_NOW)
            }
        }
    }
}
