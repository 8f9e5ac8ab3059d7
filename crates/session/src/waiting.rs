//! Who waits for what, and who has that: told from the frames of threads and from what the kernel says of them.
//!
//! It knows `threading`, `queue`, `concurrent.futures` and the import system by their functions (`Lib/threading.py`,
//! `Lib/queue.py`, `Lib/concurrent/futures/_base.py`, `Lib/importlib/_bootstrap.py`). Locks on value stacks are `locks`'.

use std::collections::HashMap;

use spyhole_cpython::Reader;
use spyhole_cpython::frames::RawFrame;
use spyhole_cpython::locals::Variables;
use spyhole_cpython::locks::{Kind, Lock, Locks};
use spyhole_proc::Address;
use spyhole_proc::spread::QuickMap;
use spyhole_proc::syscalls;
use spyhole_proc::tasks::{Activity, Tasks};

use crate::model::{InterpreterStacks, StackFrame, ThreadStack};
use crate::pause::{SeenInterpreter, SeenThread, View};
use crate::waits::{Line, Owner, Owning, ThreadName, Wait, WaitKind};

/// Frames of the library that may lie between a program and the lock that it waits for.
const LIBRARY_FRAMES: usize = 6;
const NAME_AT_MOST: usize = 100;

/// What a thread waits for, before it is known who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: WaitKind,
    pub(crate) what: String,
    /// The lock that somebody must give back.
    pub(crate) lock: Option<Lock>,
    /// The thread that must do something, by its ident, where an object tells.
    pub(crate) ident: Option<u64>,
    /// A lock that it gave back for as long as it waits.
    released: Option<Lock>,
    fd: Option<i32>,
}

impl Found {
    fn new(kind: WaitKind, what: String) -> Self {
        Self { kind, what, lock: None, ident: None, released: None, fd: None }
    }
}

/// One thread, with all that is known of it.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) interpreter: &'a SeenInterpreter,
    pub(crate) seen: &'a SeenThread,
    pub(crate) told: &'a ThreadStack,
    pub(crate) activity: Option<Activity>,
}

/// Looks at the threads of one moment.
pub(crate) struct Waiting<'a> {
    pub(crate) reader: Reader<'a>,
    view: &'a View,
    pub(crate) locks: Locks<'a>,
    variables: QuickMap<Address, Option<Variables>>,
}

/// Where a thread has taken a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Its place in the list of threads.
    pub(crate) thread: usize,
    pub(crate) place: Line,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(reader: Reader<'a>, view: &'a View) -> Self {
        let variables = QuickMap::default();
        Self { reader, view, locks: Locks::new(reader), variables }
    }

    pub(crate) fn of(&mut self, thread: Subject<'_>) -> Option<Found> {
        let Some(Activity::Blocked { number, arguments }) = thread.activity else { return None };
        let call = syscalls::name(number)?;
        if call != "futex" {
            return called(&self.reader, call, &arguments);
        }
        let futex = Address(arguments[0]);
        let (memory, layout) = (self.reader.memory, self.reader.layout);
        let state = &thread.interpreter.state;
        if self.view.roots.is_of_gil(memory, layout, state, futex) {
            return Some(Found::new(WaitKind::Gil, "the GIL".to_owned()));
        }
        let innermost = thread.seen.stack.frames.first()?;
        let wanted = self.locks.wanted(innermost, futex);
        if let Some(found) = self.of_library(thread, wanted) {
            return Some(found);
        }
        let lock = wanted?;
        let (kind, name) = match lock.kind {
            Kind::Lock => (WaitKind::Lock, "Lock"),
            Kind::RLock => (WaitKind::RLock, "RLock"),
            Kind::SimpleQueue => {
                return Some(Found::new(WaitKind::Queue, at("get of SimpleQueue", lock.at)));
            }
        };
        Some(Found { lock: Some(lock), ..Found::new(kind, at(name, lock.at)) })
    }

    /// What the standard library makes of locks.
    fn of_library(&mut self, thread: Subject<'_>, wanted: Option<Lock>) -> Option<Found> {
        let told = &thread.told.frames;
        let raw = &thread.seen.stack.frames;
        let first = told.first()?;
        match place(first)? {
            ("threading", "wait") => {
                let condition = self.own(raw.first()?)?;
                let released = self.locks.lock_of(condition);
                // It was woken and takes its own lock again.
                if wanted.is_some() && wanted == released {
                    return None;
                }
                let found = self.condition(thread, condition);
                Some(Found { released, ..found })
            }
            ("threading", "_wait_for_tstate_lock" | "join") => {
                let joined = self.own(raw.first()?)?;
                let ident = self.attribute(joined, "_ident").and_then(|at| self.reader.word(at));
                let name = self.name(joined, "_name").unwrap_or_default();
                let what = format!("the end of thread {name}");
                Some(Found { ident, ..Found::new(WaitKind::Join, what) })
            }
            ("threading", "_shutdown") => {
                Some(Found::new(WaitKind::Join, "the end of all threads".to_owned()))
            }
            ("importlib._bootstrap" | "_frozen_importlib", "acquire") => {
                let lock = self.own(raw.first()?)?;
                let ident = self.attribute(lock, "owner").and_then(|at| self.reader.word(at));
                let name = self.name(lock, "name").unwrap_or_default();
                let what = format!("the import of {name}");
                Some(Found { ident, ..Found::new(WaitKind::Import, what) })
            }
            _ => None,
        }
    }

    /// What waits on a condition: the outermost function of the library that does tells it.
    fn condition(&mut self, thread: Subject<'_>, condition: Address) -> Found {
        let frames = thread.told.frames.iter().zip(&thread.seen.stack.frames);
        let mut found = Found::new(WaitKind::Condition, at("Condition", condition));
        for (told, raw) in frames.skip(1).take(LIBRARY_FRAMES) {
            let kind = match place(told) {
                Some(("threading", "wait_for")) => continue,
                Some(("threading", "wait")) if found.kind == WaitKind::Barrier => continue,
                Some(("threading", "wait")) => WaitKind::Event,
                Some(("threading", "_wait" | "_enter")) => WaitKind::Barrier,
                Some(("threading", "acquire" | "__enter__")) => WaitKind::Semaphore,
                Some(("queue", "get" | "put" | "join")) => WaitKind::Queue,
                Some(("concurrent.futures._base", "result" | "exception")) => WaitKind::Future,
                _ => break,
            };
            let Some(own) = self.own(raw) else { break };
            let kind_of_it = self.reader.kind(own).ok();
            let class = kind_of_it.and_then(|kind| self.reader.type_name(kind));
            let class = class.unwrap_or_else(|| "object".to_owned());
            let class = class.rsplit('.').next().unwrap_or(&class).to_owned();
            let what = match (kind, place(told)) {
                (WaitKind::Queue, Some((_, name))) => at(&format!("{name} of {class}"), own),
                _ => at(&class, own),
            };
            found = Found::new(kind, what);
        }
        found
    }

    /// `self` of a method's frame.
    pub(crate) fn own(&mut self, frame: &RawFrame) -> Option<Address> {
        self.variable(frame, "self")
    }

    /// A variable of a function's frame.
    pub(crate) fn variable(&mut self, frame: &RawFrame, name: &str) -> Option<Address> {
        let reader = self.reader;
        let variables = self
            .variables
            .entry(frame.code)
            .or_insert_with(|| Variables::read(&reader, frame.code).ok());
        let locals = variables.as_ref()?.of_frame(&reader, frame.address);
        locals.found.iter().find(|local| &*local.name == name).map(|local| local.value)
    }

    fn attribute(&self, of: Address, name: &str) -> Option<Address> {
        self.reader.attribute(of, name)
    }

    fn name(&self, of: Address, name: &str) -> Option<String> {
        let name = self.attribute(of, name)?;
        Some(self.reader.text(name, NAME_AT_MOST)?.text)
    }

    /// The locks that a thread has taken by `with`.
    pub(crate) fn taken(&mut self, thread: Subject<'_>) -> Vec<(Lock, Line)> {
        let frames = thread.told.frames.iter().zip(&thread.seen.stack.frames);
        let mut taken = Vec::new();
        for (told, raw) in frames {
            // A method of a lock that is written in Python takes it for the one who calls it.
            if told.module.as_deref() == Some("threading") {
                continue;
            }
            for held in self.locks.held(raw) {
                taken.push((held.lock, Line { line: held.line, ..of_frame(told) }));
            }
        }
        taken
    }

    /// Who has what was found, and where that was taken. `all` are all threads, `taken` what they have taken.
    pub(crate) fn owner(
        &mut self,
        thread: Subject<'_>,
        found: &Found,
        all: &[Subject<'_>],
        taken: &HashMap<Lock, Vec<Taken>>,
    ) -> Has {
        let here = thread.interpreter.state.id;
        let of_ident = |ident: u64| {
            let own = |one: &Subject<'_>| {
                one.interpreter.state.id == here && one.seen.state.ident == ident
            };
            all.iter().position(own)
        };
        if found.kind == WaitKind::Gil {
            let holder = thread.interpreter.holder;
            let own = |one: &Subject<'_>| Some(one.seen.state.address) == holder;
            return all.iter().position(own).map_or(Has::Unknown, |index| Has::Thread(index, None));
        }
        if let Some(ident) = found.ident {
            return of_ident(ident).map_or(Has::Ended(ident), |index| Has::Thread(index, None));
        }
        let Some(lock) = found.lock else { return Has::Unknown };
        let places = taken.get(&lock).map(Vec::as_slice).unwrap_or_default();
        if lock.kind == Kind::RLock {
            let Some(ident) = self.locks.owner(lock) else { return Has::Unknown };
            let Some(index) = of_ident(ident) else { return Has::Ended(ident) };
            // The outermost one took it.
            let own = places.iter().rfind(|taken| taken.thread == index);
            return Has::Thread(index, own.map(|taken| taken.place.clone()));
        }
        if !self.locks.is_taken(lock) {
            return Has::Unknown;
        }
        match places {
            [first, rest @ ..] if rest.iter().all(|taken| taken.thread == first.thread) => {
                let outermost = rest.last().unwrap_or(first);
                Has::Thread(first.thread, Some(outermost.place.clone()))
            }
            _ => Has::Unknown,
        }
    }
}

/// Who has something: a place in the list of threads, with the `with` that took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Has {
    Unknown,
    Ended(u64),
    Thread(usize, Option<Line>),
}

/// Everything about all threads: what each waits for and who has that.
pub(crate) fn all(waiting: &mut Waiting<'_>, threads: &[Subject<'_>]) -> Vec<Option<(Found, Has)>> {
    let found: Vec<Option<Found>> = threads.iter().map(|thread| waiting.of(*thread)).collect();
    let mut taken: HashMap<Lock, Vec<Taken>> = HashMap::new();
    for one in found.iter().flatten() {
        if let Some(lock) = one.lock {
            taken.entry(lock).or_default();
        }
    }
    if !taken.is_empty() {
        for (index, thread) in threads.iter().enumerate() {
            let released = found[index].as_ref().and_then(|found| found.released);
            for (lock, place) in waiting.taken(*thread) {
                if Some(lock) != released
                    && let Some(places) = taken.get_mut(&lock)
                {
                    places.push(Taken { thread: index, place });
                }
            }
        }
    }
    let owned = threads.iter().zip(found).map(|(thread, found)| {
        let found = found?;
        let has = waiting.owner(*thread, &found, threads, &taken);
        Some((found, has))
    });
    owned.collect()
}

/// As it is shown. `tasks` tells what file descriptors are.
pub(crate) fn told(
    found: Vec<Option<(Found, Has)>>,
    threads: &[Subject<'_>],
    tasks: &dyn Tasks,
) -> Vec<Option<Wait>> {
    let mut wanted: Vec<i32> = found.iter().flatten().filter_map(|(one, _)| one.fd).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let descriptors = match wanted.is_empty() {
        true => HashMap::new(),
        false => tasks.descriptors(&wanted),
    };
    let one = |(found, has): (Found, Has)| {
        let mut what = found.what;
        if let Some(kind) = found.fd.and_then(|fd| descriptors.get(&fd)) {
            what = format!("{what} ({kind})");
        }
        let owner = match has {
            Has::Unknown => Owner::Unknown,
            Has::Ended(ident) => Owner::Ended(ident),
            Has::Thread(index, taken) => {
                Owner::Thread(Owning { thread: named(threads[index].told), taken })
            }
        };
        Wait { kind: found.kind, what, owner, tasks: Vec::new() }
    };
    found.into_iter().map(|found| found.map(one)).collect()
}

pub(crate) fn named(thread: &ThreadStack) -> ThreadName {
    ThreadName { native_id: thread.native_id, ident: thread.ident, name: thread.name.clone() }
}

/// All threads, in the order in which they were told.
pub(crate) fn subjects<'a>(
    seen: &'a [SeenInterpreter],
    told: &'a [InterpreterStacks],
    activities: &[Option<Activity>],
) -> Vec<Subject<'a>> {
    let pairs = seen.iter().zip(told).flat_map(|(interpreter, told)| {
        let threads = interpreter.threads.iter().zip(&told.threads);
        threads.map(move |(seen, told)| (interpreter, seen, told))
    });
    pairs
        .zip(activities)
        .map(|((interpreter, seen, told), activity)| Subject {
            interpreter,
            seen,
            told,
            activity: *activity,
        })
        .collect()
}

/// The module and the bare name of a frame's function.
pub(crate) fn place(frame: &StackFrame) -> Option<(&str, &str)> {
    let function = frame.function.as_deref()?;
    Some((frame.module.as_deref()?, function.rsplit('.').next().unwrap_or(function)))
}

pub(crate) fn of_frame(frame: &StackFrame) -> Line {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    Line { function: text(&frame.function), file: text(&frame.file), line: frame.line }
}

pub(crate) fn at(what: &str, at: Address) -> String {
    format!("{what} at {:#x}", at.0)
}

/// What a system call waits for, by its arguments.
fn called(reader: &Reader<'_>, call: &str, arguments: &[u64; 6]) -> Option<Found> {
    let sleep = || Some(Found::new(WaitKind::Sleep, "a sleep to end".to_owned()));
    let of_fd = |fd: u64| {
        let fd = fd as i32;
        Some(Found { fd: Some(fd), ..Found::new(WaitKind::Call, format!("{call} of fd {fd}")) })
    };
    match call {
        "nanosleep" | "clock_nanosleep" => sleep(),
        "pause" | "rt_sigtimedwait" | "rt_sigsuspend" => {
            Some(Found::new(WaitKind::Signal, "a signal".to_owned()))
        }
        "wait4" | "waitid" => {
            // `waitid` has its number behind the kind of the number.
            let number = if call == "wait4" { arguments[0] } else { arguments[1] } as i32;
            let what = match number {
                1.. => format!("the end of process {number}"),
                _ => "the end of a child process".to_owned(),
            };
            Some(Found::new(WaitKind::Child, what))
        }
        "select" | "pselect6" => {
            let sets = [arguments[1], arguments[2], arguments[3]];
            match selected(reader, arguments[0], &sets).as_slice() {
                [] if sets == [0; 3] || arguments[0] == 0 => sleep(),
                [one] => of_fd(*one),
                many => several(call, many),
            }
        }
        "poll" | "ppoll" => match polled(reader, arguments[0], arguments[1]).as_slice() {
            [] if arguments[1] == 0 => sleep(),
            [one] => of_fd(*one),
            many => several(call, many),
        },
        "read" | "write" | "readv" | "writev" | "pread64" | "pwrite64" | "preadv" | "pwritev"
        | "recvfrom" | "recvmsg" | "recvmmsg" | "sendto" | "sendmsg" | "sendmmsg" | "accept"
        | "accept4" | "connect" | "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "fsync"
        | "fdatasync" | "flock" | "fcntl" | "ioctl" | "sendfile" | "getdents64" | "ftruncate" => {
            of_fd(arguments[0])
        }
        _ => None,
    }
}

/// So many descriptors are looked at, and a few of them told.
const DESCRIPTORS_AT_MOST: u64 = 1024;

fn several(call: &str, fds: &[u64]) -> Option<Found> {
    const TOLD: usize = 5;
    let told: Vec<String> = fds.iter().take(TOLD).map(u64::to_string).collect();
    let more = if fds.len() > TOLD { ", ..." } else { "" };
    let what = match told.is_empty() {
        true => format!("{call} of some fds"),
        false => format!("{call} of fds {}{more}", told.join(", ")),
    };
    Some(Found::new(WaitKind::Call, what))
}

/// The descriptors of `struct pollfd` (`include/uapi/asm-generic/poll.h`).
fn polled(reader: &Reader<'_>, list: u64, count: u64) -> Vec<u64> {
    let count = count.min(DESCRIPTORS_AT_MOST) as usize;
    let bytes = reader.memory.bytes(Address(list), count * 8).unwrap_or_default();
    let fds = bytes.chunks_exact(8).filter_map(|one| one.get(..4)?.try_into().ok());
    fds.map(i32::from_le_bytes).filter_map(|fd| u64::try_from(fd).ok()).collect()
}

/// The descriptors in any of these sets of bits. The kernel does not change them before it is done.
fn selected(reader: &Reader<'_>, count: u64, sets: &[u64]) -> Vec<u64> {
    let count = count.min(DESCRIPTORS_AT_MOST);
    let sets: Vec<Vec<u8>> = sets
        .iter()
        .filter(|set| **set != 0)
        .map(|set| reader.memory.bytes(Address(*set), count.div_ceil(8) as usize))
        .filter_map(Result::ok)
        .collect();
    (0..count)
        .filter(|fd| sets.iter().any(|set| set[(fd / 8) as usize] >> (fd % 8) & 1 == 1))
        .collect()
}
