//! A recorded process: its mappings, what its threads did, and the pages that a look touched.
//!
//! One file holds all of it, compressed; what the look did not touch is not in it, and cannot be read. Whoever records
//! decides what a look is.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs::File;
use std::io;

use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use thiserror::Error;

use crate::Address;
use crate::elf::file::MappedFiles;
use crate::maps::{Mapping, Maps};
use crate::memory::{Cached, Live, ReadMemory, Unreadable};
use crate::tasks::{self, Activity, Tasks};

/// The file begins with it; the number changes with the form of the rest.
const HEAD: &[u8] = b"spyhole capture 1\n";
const PAGE: usize = 4096;
/// More than any capture holds: 64 Ki pages.
const LARGEST: usize = 256 << 20;

/// Why bytes are no capture.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotACapture {
    #[error("it does not begin as a capture does")]
    Head,
    #[error("its compressed part is damaged")]
    Compression,
    #[error("`{what}` is missing or damaged")]
    Part { what: &'static str },
}

/// A thread as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    /// The process's own number for it.
    inner: i32,
    activity: Option<Activity>,
    name: Vec<u8>,
}

/// A process as it was recorded.
#[derive(Clone, Debug)]
pub struct Capture {
    pub pid: i32,
    stopped: bool,
    maps: Vec<u8>,
    tasks: BTreeMap<i32, Task>,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Capture {
    /// Records a live process while `look` looks at it. It is not stopped: choose one that is still.
    pub fn record<T>(pid: i32, look: impl FnOnce(&Maps, &Recording) -> T) -> io::Result<(Self, T)> {
        let live = Live { pid };
        let maps = std::fs::read(format!("/proc/{pid}/maps"))?;
        let recording = Recording { live, memory: Cached::new(live) };
        let looked = look(&Maps::parse(&maps), &recording);
        let tasks = live.by_inner_id()?.into_iter().map(|(inner, tid)| {
            let name = live.name(tid).unwrap_or_default();
            (tid, Task { inner, activity: live.activity(tid), name })
        });
        let mut pages = BTreeMap::new();
        for page in recording.memory.added() {
            if let Ok(bytes) = recording.memory.bytes(page, PAGE) {
                pages.insert(page.0, bytes);
            }
        }
        let stopped = live.is_stopped();
        Ok((Self { pid, stopped, maps, tasks: tasks.collect(), pages }, looked))
    }

    /// Reads a capture; whatever the bytes are, no more than a bound is taken for them.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotACapture> {
        let packed = bytes.strip_prefix(HEAD).ok_or(NotACapture::Head)?;
        let body = decompress_to_vec_zlib_with_limit(packed, LARGEST)
            .map_err(|_| NotACapture::Compression)?;
        let damaged = |what| NotACapture::Part { what };
        let mut rest = body.as_slice();
        let (pid, stopped) = (|| {
            let line = std::str::from_utf8(line(&mut rest)?).ok()?;
            let (pid, stopped) = line.strip_prefix("process ")?.split_once(' ')?;
            Some((pid.parse().ok()?, stopped == "stopped"))
        })()
        .ok_or(damaged("process"))?;
        let mut tasks = BTreeMap::new();
        let mut maps = Vec::new();
        loop {
            let line = line(&mut rest).ok_or(damaged("pages"))?;
            if line == b"pages" {
                break;
            } else if let Some(map) = line.strip_prefix(b"map ") {
                maps.extend_from_slice(map);
                maps.push(b'\n');
            } else {
                let (tid, task) = task(line).ok_or(damaged("task"))?;
                tasks.insert(tid, task);
            }
        }
        let mut pages = BTreeMap::new();
        let records = rest.chunks_exact(8 + PAGE);
        if !records.remainder().is_empty() {
            return Err(damaged("pages"));
        }
        for record in records {
            let (at, bytes) = record.split_at(8);
            let at = u64::from_le_bytes(at.try_into().map_err(|_| damaged("pages"))?);
            pages.insert(at, bytes.to_vec());
        }
        Ok(Self { pid, stopped, maps, tasks, pages })
    }

    /// The file that [`Capture::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let state = if self.stopped { "stopped" } else { "running" };
        let mut body = format!("process {} {state}\n", self.pid).into_bytes();
        for (tid, task) in &self.tasks {
            let mut text = format!("task {tid} {} ", task.inner);
            for byte in &task.name {
                let _ = write!(text, "{byte:02x}");
            }
            text.push_str(match task.activity {
                Some(Activity::Running) => " running",
                Some(Activity::Faulting) => " -1",
                Some(Activity::Blocked { .. }) => "",
                None => " unknown",
            });
            if let Some(Activity::Blocked { number, arguments }) = task.activity {
                let _ = write!(text, " {number}");
                arguments.iter().for_each(|argument| {
                    let _ = write!(text, " {argument:#x}");
                });
            }
            body.extend_from_slice(text.as_bytes());
            body.push(b'\n');
        }
        for line in self.maps.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            body.extend_from_slice(b"map ");
            body.extend_from_slice(line);
            body.push(b'\n');
        }
        body.extend_from_slice(b"pages\n");
        for (at, bytes) in &self.pages {
            body.extend_from_slice(&at.to_le_bytes());
            body.extend_from_slice(bytes);
        }
        const SMALLEST: u8 = 9;
        [HEAD, &compress_to_vec_zlib(&body, SMALLEST)].concat()
    }

    pub fn maps(&self) -> Maps {
        Maps::parse(&self.maps)
    }

    /// Tells paths as a process below `root` sees them: the kernel tells them as whoever reads does.
    #[must_use]
    pub fn below(mut self, root: &[u8]) -> Self {
        let before: Vec<u8> = [b" ", root, b"/"].concat();
        let mut lines: Vec<Vec<u8>> =
            self.maps.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        for line in &mut lines {
            if let Some(at) = line.windows(before.len()).position(|part| part == before) {
                line.drain(at + 1..at + before.len() - 1);
            }
        }
        self.maps = lines.join(&b'\n');
        self
    }

    /// The addresses of the pages that it holds, in order.
    pub fn pages(&self) -> Vec<Address> {
        self.pages.keys().map(|at| Address(*at)).collect()
    }
}

/// The next line, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    Some(line)
}

/// `task TID INNER NAME ACTIVITY`: the name in hexadecimal, the activity as `/proc` writes it.
fn task(line: &[u8]) -> Option<(i32, Task)> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("task ")?;
    let mut fields = text.splitn(4, ' ');
    let tid = fields.next()?.parse().ok()?;
    let inner = fields.next()?.parse().ok()?;
    let digits = fields.next()?;
    let name = digits.as_bytes().chunks_exact(2).map(|pair| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    let name = name.collect::<Option<Vec<u8>>>()?;
    let activity = fields.next()?;
    let activity = if activity == "unknown" { None } else { Some(tasks::parse(activity)?) };
    Some((tid, Task { inner, activity, name }))
}

impl ReadMemory for Capture {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let failed = Unreadable { address, length: buffer.len() };
        let mut done = 0;
        while done < buffer.len() {
            let here = address.0.checked_add(done as u64).ok_or(failed)?;
            let within = (here % PAGE as u64) as usize;
            let bytes = self.pages.get(&(here - within as u64)).ok_or(failed)?;
            let count = (PAGE - within).min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&bytes[within..within + count]);
            done += count;
        }
        Ok(())
    }
}

impl Tasks for Capture {
    fn by_inner_id(&self) -> io::Result<HashMap<i32, i32>> {
        Ok(self.tasks.iter().map(|(tid, task)| (task.inner, *tid)).collect())
    }

    fn activity(&self, tid: i32) -> Option<Activity> {
        self.tasks.get(&tid)?.activity
    }

    fn name(&self, tid: i32) -> Option<Vec<u8>> {
        Some(self.tasks.get(&tid)?.name.clone())
    }

    fn is_stopped(&self) -> bool {
        self.stopped
    }
}

/// The files are not in it.
impl MappedFiles for Capture {
    fn open(&self, _: &Mapping) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A live process that is being recorded: every page that is read of it is kept, as it was when it was first read.
pub struct Recording {
    live: Live,
    memory: Cached<Live>,
}

impl ReadMemory for Recording {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        self.memory.read(address, buffer)
    }
}

impl Tasks for Recording {
    fn by_inner_id(&self) -> io::Result<HashMap<i32, i32>> {
        self.live.by_inner_id()
    }

    fn activity(&self, tid: i32) -> Option<Activity> {
        self.live.activity(tid)
    }

    fn name(&self, tid: i32) -> Option<Vec<u8>> {
        Tasks::name(&self.live, tid)
    }

    fn is_stopped(&self) -> bool {
        self.live.is_stopped()
    }
}

/// What a file tells would not be in the capture.
impl MappedFiles for Recording {
    fn open(&self, _: &Mapping) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (Capture, Address, Vec<u8>) {
        let own: Vec<u8> = (0..3 * PAGE).map(|i| (i / 7) as u8).collect();
        let at = Address(own.as_ptr() as u64);
        let pid = std::process::id() as i32;
        let (capture, read) =
            Capture::record(pid, |_, recording| recording.bytes(at, own.len()).unwrap()).unwrap();
        assert_eq!(read, own);
        (capture, at, own)
    }

    #[test]
    fn what_was_read_can_be_read_again_and_nothing_else() {
        let (capture, at, bytes) = own();
        let again = Capture::parse(&capture.to_bytes()).unwrap();
        assert_eq!(again.bytes(at, bytes.len()), Ok(bytes));
        assert!(again.bytes(Address(16 * PAGE as u64), 1).is_err());
        assert!(again.bytes(Address(u64::MAX), 2).is_err());
        assert_eq!((again.pid, again.pages()), (capture.pid, capture.pages()));
        assert!(again.maps().at(at).is_some());
    }

    #[test]
    fn threads_are_told_as_they_were() {
        let (capture, ..) = own();
        let again = Capture::parse(&capture.to_bytes()).unwrap();
        assert_eq!(again.tasks, capture.tasks);
        assert!(!again.is_stopped());
        let inner = again.by_inner_id().unwrap();
        assert_eq!(inner.get(&again.pid), Some(&again.pid));
        let blocked = Task {
            inner: 7,
            activity: Some(Activity::Blocked { number: 230, arguments: [1, 0, 2, 3, 4, u64::MAX] }),
            name: b"a b\n\xff".to_vec(),
        };
        let mut other = capture.clone();
        for (tid, activity) in [(1, blocked.activity), (2, Some(Activity::Faulting)), (3, None)] {
            other.tasks.insert(tid, Task { activity, ..blocked.clone() });
        }
        assert_eq!(Capture::parse(&other.to_bytes()).unwrap().tasks, other.tasks);
    }

    #[test]
    fn paths_are_told_as_they_are_seen_below_a_root() {
        let maps = "1000-2000 r-xp 0 fe:00 42 /some/root/usr/a\n2000-3000 r-xp 0 fe:00 43 /usr/b\n";
        let capture = Capture { maps: maps.into(), ..own().0 }.below(b"/some/root");
        let paths: Vec<Vec<u8>> = capture.maps().iter().map(|m| m.path.clone()).collect();
        assert_eq!(paths, [b"/usr/a", b"/usr/b"]);
    }

    #[test]
    fn damage_is_told() {
        let bytes = own().0.to_bytes();
        assert_eq!(Capture::parse(b"").unwrap_err(), NotACapture::Head);
        let cut = &bytes[..bytes.len() - 20];
        assert_eq!(Capture::parse(cut).unwrap_err(), NotACapture::Compression);
        let packed = |body: &[u8]| [HEAD, &compress_to_vec_zlib(body, 1)].concat();
        let failed = |body: &[u8]| Capture::parse(&packed(body)).unwrap_err();
        assert_eq!(failed(b"process x"), NotACapture::Part { what: "process" });
        assert_eq!(failed(b"process 1 running\n"), NotACapture::Part { what: "pages" });
        let pages = b"process 1 running\npages\n12345";
        assert_eq!(failed(pages), NotACapture::Part { what: "pages" });
        let task = b"process 1 running\ntask 1 1 6 running\nother\npages\n";
        assert_eq!(failed(task), NotACapture::Part { what: "task" });
    }
}
