//! Watching over code that was interrupted until it hears of it.
//!
//! The exception is set by the stub when it has the GIL. A wait in which the code stood then is ended once; one that it
//! begins later, when it has heard of the exception, is its own affair.

use std::time::{Duration, Instant};

use spyhole_attach::{Link, Roused};
use spyhole_proc::pidfd::Pidfd;

/// One interrupted job.
#[derive(Debug)]
pub(crate) struct Rousing {
    job: u32,
    since: Instant,
    raised: Option<Instant>,
    next: Instant,
}

impl Rousing {
    pub(crate) fn new(job: u32) -> Self {
        let now = Instant::now();
        Self { job, since: now, raised: None, next: now }
    }

    /// Ends its wait if that can be done now. In how long it is to be tried again; `None`: no more.
    pub(crate) fn rouse(&mut self, link: &Link, process: &Pidfd) -> Option<Duration> {
        const SOON: Duration = Duration::from_millis(1);
        /// A program that keeps the GIL in C.
        const PATIENCE: Duration = Duration::from_secs(2);
        /// A thread that runs gets the GIL in this time, and raises.
        const RUNNING: Duration = Duration::from_millis(15);
        let now = Instant::now();
        if now < self.next {
            return Some(self.next - now);
        }
        self.next = now + SOON;
        match link.rouse(process, self.job) {
            Roused::NotYet if self.since.elapsed() < PATIENCE => Some(SOON),
            Roused::Elsewhere if self.raised.get_or_insert(now).elapsed() < RUNNING => Some(SOON),
            _ => None,
        }
    }
}
