//! Lists the processes of this machine, and picks those that a user named.
//!
//! It knows who looks, what a command line is, and who descends from whom. It does not know what
//! Python is: what a file holds is decided by whoever asks (`recognise`).

pub mod recognise;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use crate::stat::{self, Stat, Status};

pub use recognise::{MappedFile, Recogniser};

/// More generations than any tree of processes has; what a damaged `/proc` shows may have cycles.
const GENERATIONS: usize = 1024;

/// A process as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub ppid: i32,
    /// The effective user id.
    pub uid: u32,
    pub state: char,
    pub threads: u32,
    /// In ticks since the machine started: tells a process from a later one of the same number.
    pub start_ticks: u64,
    pub age: Duration,
    /// Hostile bytes, cut at 1 MiB in all.
    pub command_line: Vec<Vec<u8>>,
}

impl Process {
    /// Reads one process, whoever's it is.
    pub fn of(pid: i32) -> io::Result<Self> {
        Self::read(pid, stat::uptime()?)
    }

    /// Whether its command line, arguments joined by spaces, holds these bytes.
    pub fn matches(&self, pattern: &[u8]) -> bool {
        let line = self.command_line.join(&b' ');
        pattern.is_empty() || line.windows(pattern.len()).any(|part| part == pattern)
    }

    fn read(pid: i32, uptime: Duration) -> io::Result<Self> {
        let stat = Stat::of(pid)?;
        if stat.is_kernel_thread() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a kernel thread"));
        }
        let status = Status::of(pid)?;
        Ok(Self {
            pid,
            ppid: stat.ppid,
            uid: status.uids.effective,
            state: stat.state,
            threads: stat.threads,
            start_ticks: stat.start_ticks,
            age: stat.age(uptime),
            command_line: stat::command_line(pid)?,
        })
    }
}

/// Who looks: decides what a list shows and what a pattern never matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The effective user id; root sees all processes, others their own.
    pub uid: u32,
    /// This process and all above it.
    pub lineage: Vec<i32>,
}

impl Viewer {
    /// The process that asks.
    pub fn this_process() -> io::Result<Self> {
        let own = Status::own()?;
        let mut lineage = vec![i32::try_from(std::process::id()).map_err(io::Error::other)?];
        let mut parent = own.ppid;
        while parent > 0 && lineage.len() < GENERATIONS && !lineage.contains(&parent) {
            lineage.push(parent);
            let Ok(stat) = Stat::of(parent) else { break };
            parent = stat.ppid;
        }
        Ok(Self { uid: own.uids.effective, lineage })
    }

    /// Whether a list may show it.
    pub fn sees(&self, process: &Process) -> bool {
        self.uid == 0 || self.uid == process.uid
    }

    /// Whether a pattern may match it: never ourselves or what started us, whose command lines
    /// hold the pattern because it was typed there.
    pub fn may_match(&self, process: &Process) -> bool {
        self.sees(process) && !self.lineage.contains(&process.pid)
    }
}

/// All processes that the viewer sees, by pid. Those that end meanwhile, and kernel threads, are
/// left out.
pub fn list(viewer: &Viewer) -> io::Result<Vec<Process>> {
    let uptime = stat::uptime()?;
    let mut found: Vec<Process> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Process::read(pid, uptime).ok())
        .filter(|process| viewer.sees(process))
        .collect();
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// The processes that the viewer can mean by a pattern, by pid.
pub fn matching<'a>(processes: &'a [Process], viewer: &Viewer, pattern: &[u8]) -> Vec<&'a Process> {
    processes
        .iter()
        .filter(|process| viewer.may_match(process) && process.matches(pattern))
        .collect()
}

/// A process and all that descend from it, parents before children, by pid among siblings.
pub fn descendants(processes: &[Process], pid: i32) -> Vec<&Process> {
    let mut children: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
    let mut waiting = Vec::new();
    for process in processes {
        if process.pid == pid {
            waiting.push(process);
        } else {
            children.entry(process.ppid).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    while let Some(process) = waiting.pop() {
        found.push(process);
        // Taken out, so that no cycle in a list that was read over time is walked twice.
        let mut next = children.remove(&process.pid).unwrap_or_default();
        next.sort_by_key(|child| std::cmp::Reverse(child.pid));
        waiting.extend(next);
    }
    found
}

#[cfg(test)]
mod tests;
