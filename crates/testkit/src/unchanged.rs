//! Whether a process is as it was: two fingerprints compared, with the few things exempt that
//! glibc keeps for itself.
//!
//! Everything exempt is listed in what is returned, so that a test can print it. It knows nothing
//! of who might have changed the process.

mod addresses;
mod exempt;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::fingerprint::{Fingerprint, Thread};

pub use exempt::Exempt;

/// SIGSETXID, which glibc 2.34 and later catches from the first `pthread_create` on.
const SETXID: u64 = 1 << 32;

/// The masks under which glibc itself forks and makes threads: everything that can be blocked, in
/// older versions without its own two signals. A thread at work has one of them for a moment; a
/// debugger that blocks signals must leave faults out, so this is never its doing.
const ALL_BLOCKED: [u64; 2] = [0xffff_ffff_fffb_feff, 0xffff_fffe_7ffb_feff];

/// What of a process is compared, and how much glibc may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The process does nothing between the two readings. Otherwise its threads, children, pipes
    /// and anonymous memory are its own business, and only what it never changes by itself counts.
    pub still: bool,
    /// How many new glibc arenas are exempt.
    pub arenas: usize,
    /// How many new cached thread stacks are exempt.
    pub stacks: usize,
    /// How many new blocks of Python's own allocator are exempt.
    pub object_arenas: usize,
    /// How many tables that have a mapping of their own may have grown to twice their size.
    pub tables: usize,
}

impl Rules {
    /// For a process that is blocked.
    pub const STILL: Self = Self { still: true, arenas: 1, stacks: 1, object_arenas: 0, tables: 0 };

    /// For a process that goes on with its own work.
    pub const BUSY: Self = Self { still: false, ..Self::STILL };

    /// Compares two readings of one process.
    pub fn compare(self, before: &Fingerprint, after: &Fingerprint) -> Result<Kept, Changes> {
        let mut found = Found::default();
        self.threads(before, after, &mut found);
        self.descriptors(before, after, &mut found);
        addresses::compare(self, before, after, &mut found);
        if self.still && before.children != after.children {
            let (old, new) = (&before.children, &after.children);
            found.change(format!("children were {old:?} and are {new:?}"));
        }
        if before.working_folder != after.working_folder {
            let (old, new) = (&before.working_folder, &after.working_folder);
            found.change(format!("working folder was {old} and is {new}"));
        }
        if before.umask != after.umask {
            found.change(format!("umask was {} and is {}", before.umask, after.umask));
        }
        if found.changes.is_empty() {
            return Ok(found.kept);
        }
        Err(Changes { pid: after.pid, changes: found.changes, kept: found.kept })
    }

    /// Reads the process until it is as it was, for at most `limit`.
    ///
    /// The last thread of a session ends by itself, after its client is gone, and the kernel tells
    /// nobody outside when a thread has ended: so this reads again and again.
    pub fn settle(self, before: &Fingerprint, limit: Duration) -> Result<Kept, SettleError> {
        let deadline = Instant::now() + limit;
        loop {
            let changes = match self.compare(before, &Fingerprint::of(before.pid)?) {
                Ok(kept) => return Ok(kept),
                Err(changes) => changes,
            };
            if Instant::now() >= deadline {
                return Err(SettleError::Changed(changes));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn threads(self, before: &Fingerprint, after: &Fingerprint, found: &mut Found) {
        for (tid, thread) in &after.threads {
            let name = &thread.name;
            if matches!(thread.state, 't' | 'T') {
                found.change(format!("thread {tid} `{name}` is stopped ({})", thread.state));
            }
            if thread.tracer != 0 {
                found.change(format!("thread {tid} `{name}` is traced by {}", thread.tracer));
            }
            match before.threads.get(tid) {
                Some(old) => self.thread(*tid, old, thread, found),
                None if self.still => found.change(format!("new thread {tid} `{name}`")),
                None => {}
            }
        }
        for (tid, thread) in &before.threads {
            if !after.threads.contains_key(tid) && (self.still || *tid == before.pid) {
                found.change(format!("thread {tid} `{}` is gone", thread.name));
            }
        }
    }

    fn thread(self, tid: i32, before: &Thread, after: &Thread, found: &mut Found) {
        if before.name != after.name {
            found.change(format!("thread {tid} was named `{}`, is `{}`", before.name, after.name));
        }
        // A signal that is caught now is not ignored any more.
        let handled = before.caught & SETXID == 0 && after.caught & SETXID != 0;
        let (caught, ignored) = if handled {
            found.kept.add(Exempt::SetxidHandler);
            (before.caught | SETXID, before.ignored & !SETXID)
        } else {
            (before.caught, before.ignored)
        };
        for (what, old, new) in [
            ("blocked", before.blocked, after.blocked),
            ("ignored", ignored, after.ignored),
            ("caught", caught, after.caught),
        ] {
            let passing = !self.still
                && what == "blocked"
                && [old, new].iter().any(|mask| ALL_BLOCKED.contains(mask));
            if old != new && !passing {
                found.change(format!(
                    "thread {tid}: {what} signals were {old:016x}, are {new:016x}"
                ));
            }
        }
    }

    fn descriptors(self, before: &Fingerprint, after: &Fingerprint, found: &mut Found) {
        // A process at work opens files and pipes; sockets and anonymous files would be ours.
        let counts = |link: &str| {
            self.still
                || link.starts_with("socket:")
                || link.starts_with("anon_inode:")
                || link.starts_with("/memfd:")
        };
        for (number, new) in after.descriptors.iter().filter(|(_, new)| counts(&new.link)) {
            match before.descriptors.get(number) {
                Some(old) if old == new => {}
                Some(old) => found.change(format!(
                    "descriptor {number} was {} ({}) and is {} ({})",
                    old.link, old.flags, new.link, new.flags
                )),
                None => found.change(format!("new descriptor {number}: {}", new.link)),
            }
        }
        for (number, old) in before.descriptors.iter().filter(|(_, old)| counts(&old.link)) {
            if !after.descriptors.contains_key(number) {
                found.change(format!("descriptor {number} is closed: {}", old.link));
            }
        }
    }
}

/// Compares two readings of a process that did nothing between them.
pub fn unchanged(before: &Fingerprint, after: &Fingerprint) -> Result<Kept, Changes> {
    Rules::STILL.compare(before, after)
}

/// What a comparison gathers.
#[derive(Debug, Default)]
pub(crate) struct Found {
    changes: Vec<String>,
    kept: Kept,
}

impl Found {
    fn change(&mut self, change: String) {
        self.changes.push(change);
    }
}

/// What is different and exempt; to be printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub exempt: Vec<Exempt>,
}

impl Kept {
    fn add(&mut self, exempt: Exempt) {
        if !self.exempt.contains(&exempt) {
            self.exempt.push(exempt);
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exempt.is_empty() {
            return f.write_str("nothing");
        }
        for (index, exempt) in self.exempt.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{exempt}")?;
        }
        Ok(())
    }
}

/// What is different and not exempt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Changes {
    pub pid: i32,
    pub changes: Vec<String>,
    pub kept: Kept,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "process {} is not as it was:", self.pid)?;
        for change in &self.changes {
            writeln!(f, "  {change}")?;
        }
        write!(f, "  (exempt: {})", self.kept)
    }
}

/// Why a process did not become as it was.
#[derive(Debug, Error)]
pub enum SettleError {
    #[error(transparent)]
    Changed(Changes),
    #[error("cannot read the process")]
    Unreadable(#[from] io::Error),
}

#[cfg(test)]
mod tests;
