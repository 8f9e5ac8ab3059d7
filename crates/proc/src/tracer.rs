//! The thread that owns a target's ptrace: requests must come from the thread that seized, so work is handed to it.
//!
//! All its signals are blocked; a Ctrl-C is for the others.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::sys;

type Work = Box<dyn FnOnce() + Send>;

/// One operating system thread for the ptrace of one target.
#[derive(Debug)]
pub struct Tracer {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    /// There may be work that nobody waited for.
    posted: AtomicBool,
}

impl Tracer {
    pub fn start() -> io::Result<Self> {
        let (work, rest) = mpsc::channel::<Work>();
        let thread = thread::Builder::new().name("tracer".into()).spawn(move || {
            sys::block_signals();
            sys::ask_for_short_turns();
            for work in rest {
                work();
            }
        })?;
        Ok(Self { work: Some(work), thread: Some(thread), posted: AtomicBool::new(false) })
    }

    /// Runs `work` on the thread and waits for it. `None` if it panicked; what it had attached is let go by then.
    pub fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        let (answer, result) = mpsc::channel();
        let sent = self.send(move || {
            // The receiver waits; it cannot be gone.
            let _ = answer.send(work());
        });
        sent.then(|| result.recv().ok())?
    }

    /// Runs `work` on the thread, and does not wait for it; `false` if an earlier one panicked.
    pub fn post(&self, work: impl FnOnce() + Send + 'static) -> bool {
        self.posted.store(true, Ordering::Relaxed);
        self.send(work)
    }

    fn send(&self, work: impl FnOnce() + Send + 'static) -> bool {
        self.work.as_ref().is_some_and(|queue| queue.send(Box::new(work)).is_ok())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.work.take());
        // One that has nothing left to do ends by itself, which nobody needs to wait for.
        if let Some(thread) = self.thread.take().filter(|_| self.posted.load(Ordering::Relaxed)) {
            // A panic was reported to whoever asked for the work.
            let _ = thread.join();
        }
    }
}
