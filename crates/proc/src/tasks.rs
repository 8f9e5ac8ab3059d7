//! The threads of a process and what each is doing, from `/proc/PID/task`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};

use crate::memory::Live;
use crate::stat::Stat;
use crate::{Address, bounded, descriptors};

/// What `/proc/PID/task/TID/syscall` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// On a processor, or about to be.
    Running,
    /// Blocked in this system call, with its six arguments.
    Blocked { number: i64, arguments: [u64; 6] },
    /// Blocked, but in no system call (a page fault).
    Faulting,
}

/// What a process's threads do, as the kernel tells it: now, or when it was recorded.
pub trait Tasks {
    /// This machine's numbers of its threads, by those that the process uses itself.
    fn by_inner_id(&self) -> io::Result<HashMap<i32, i32>>;

    fn activity(&self, tid: i32) -> Option<Activity>;

    /// The kernel's name for a thread.
    fn name(&self, tid: i32) -> Option<Vec<u8>>;

    /// Whether the whole process is stopped by a signal.
    fn is_stopped(&self) -> bool;

    /// What these file descriptors are; those that cannot be told are left out.
    fn descriptors(&self, _: &[i32]) -> HashMap<i32, String> {
        HashMap::new()
    }
}

impl Tasks for Live {
    fn by_inner_id(&self) -> io::Result<HashMap<i32, i32>> {
        Ok(inner_ids(self.pid, &ids(self.pid)?))
    }

    fn activity(&self, tid: i32) -> Option<Activity> {
        activity(self.pid, tid).ok()
    }

    fn name(&self, tid: i32) -> Option<Vec<u8>> {
        Some(Stat::of_thread(self.pid, tid).ok()?.comm)
    }

    fn is_stopped(&self) -> bool {
        Stat::of(self.pid).is_ok_and(|stat| stat.is_stopped())
    }

    fn descriptors(&self, wanted: &[i32]) -> HashMap<i32, String> {
        descriptors::of(self.pid, wanted)
    }
}

/// The native thread ids of a process, the main thread first.
pub fn ids(pid: i32) -> io::Result<Vec<i32>> {
    let mut ids: Vec<i32> = fs::read_dir(format!("/proc/{pid}/task"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_by_key(|tid| (*tid != pid, *tid));
    Ok(ids)
}

/// The number that a thread has in its own pid namespace.
pub fn inner_id(pid: i32, tid: i32) -> Option<i32> {
    const AT_MOST: u64 = 64 << 10;
    let text = bounded::read(format!("/proc/{pid}/task/{tid}/status"), AT_MOST).ok()?;
    // Its name may be any bytes; it is a line of its own.
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"NSpid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The threads of a process by the numbers that it uses itself: others than ours in another pid namespace.
pub fn inner_ids(pid: i32, tids: &[i32]) -> HashMap<i32, i32> {
    let inner = |tid| inner_id(pid, tid);
    if inner(pid).is_none_or(|inside| inside == pid) {
        return tids.iter().map(|tid| (*tid, *tid)).collect();
    }
    tids.iter().filter_map(|tid| Some((inner(*tid)?, *tid))).collect()
}

/// What a thread is doing now.
pub fn activity(pid: i32, tid: i32) -> io::Result<Activity> {
    // A line, which the kernel gives at once: this is asked for each of hundreds of threads.
    let mut line = [0; 256];
    let length = File::open(format!("/proc/{pid}/task/{tid}/syscall"))?.read(&mut line)?;
    let text = std::str::from_utf8(&line[..length]).unwrap_or_default();
    parse(text).ok_or_else(|| io::Error::other("unexpected content"))
}

/// Where a thread that is not running is: its stack pointer, and the instruction that is next.
pub fn place(pid: i32, tid: i32) -> Option<(Address, Address)> {
    let text = bounded::read(format!("/proc/{pid}/task/{tid}/syscall"), 256).ok()?;
    parse_place(std::str::from_utf8(&text).ok()?)
}

fn parse_place(text: &str) -> Option<(Address, Address)> {
    let mut last = text
        .split_ascii_whitespace()
        .rev()
        .map_while(|field| u64::from_str_radix(field.strip_prefix("0x")?, 16).ok().map(Address));
    let code = last.next()?;
    Some((last.next()?, code))
}

pub(crate) fn parse(text: &str) -> Option<Activity> {
    if text.starts_with("running") {
        return Some(Activity::Running);
    }
    let mut fields = text.split_ascii_whitespace();
    let number: i64 = fields.next()?.parse().ok()?;
    if number < 0 {
        return Some(Activity::Faulting);
    }
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = u64::from_str_radix(fields.next()?.trim_start_matches("0x"), 16).ok()?;
    }
    Some(Activity::Blocked { number, arguments })
}

/// Whether that thread is (still) there.
pub fn exists(pid: i32, tid: i32) -> bool {
    fs::metadata(format!("/proc/{pid}/task/{tid}")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_told_apart() {
        assert_eq!(parse("running\n"), Some(Activity::Running));
        assert_eq!(parse("-1 0x7ffc 0x7f\n"), Some(Activity::Faulting));
        let blocked = parse("230 0x1 0x0 0x7ff 0x0 0x0 0x2a 0x7ffc 0x7f\n");
        assert_eq!(
            blocked,
            Some(Activity::Blocked { number: 230, arguments: [1, 0, 0x7ff, 0, 0, 42] })
        );
        let place = Some((Address(0x7ffc), Address(0x7f)));
        assert_eq!(parse_place("230 0x1 0x0 0x7ff 0x0 0x0 0x2a 0x7ffc 0x7f\n"), place);
        assert_eq!(parse_place("-1 0x7ffc 0x7f\n"), place);
        assert_eq!((parse_place("running\n"), parse_place("")), (None, None));
        assert_eq!(parse(""), None);
        assert_eq!(parse("7 0x1"), None);
    }

    #[test]
    fn our_own_threads_are_listed() {
        let pid = std::process::id() as i32;
        let ids = ids(pid).unwrap();
        assert_eq!(ids[0], pid);
        assert!(exists(pid, pid));
        assert_eq!(inner_ids(pid, &ids).get(&pid), Some(&pid));
    }
}
