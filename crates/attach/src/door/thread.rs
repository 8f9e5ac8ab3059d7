//! The door `thread`: one thread is borrowed for a quarter of a millisecond to start another one, which runs the agent.
//!
//! The borrowed thread makes two calls: `mmap` for the stub's code, and the stub's `launch`, which maps its page,
//! starts the agent's thread, and waits to be put back. Should we die, the kernel brings it home by the chain of
//! signal frames, which until `launch` begins also unmaps. Then `launch`, and from its success on the new thread, own
//! the mappings: that thread waits one second for a byte from us, serves, and unmaps itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spyhole_cpython::layout;
use spyhole_cpython::published::Published;
use spyhole_cpython::{Opened, Runtime, Version};
use spyhole_proc::access::{self, Cause};
use spyhole_proc::arch::{self, Undo};
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::{Cached, Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stop::{Attached, SeizeError};
use spyhole_proc::tasks::{self, Activity};
use spyhole_proc::tracer::Tracer;
use spyhole_proc::{Address, sys};
use spyhole_stub::field::head;
use spyhole_stub::params::{self, error, launched, state};
use spyhole_stub::{Interpreter, Plan, entry, field};

use super::Door;
use crate::ends::Ends;
use crate::error::{AttachError, NotHere};
use crate::lend::Footing;
use crate::link::Shell;
use crate::look::{Seen, denied, see};
use crate::{Link, MakeOpening, Opening, Options, Situation, refusal};

pub(crate) struct Thread;

/// As much as Python gives its own threads; only what is used is ever real.
const STACK_SIZE: u64 = 8 << 20;

/// What a look from outside gathers for the attach.
#[derive(Debug)]
pub(crate) struct Blueprint {
    maps: Maps,
    python: Vec<(Address, Address)>,
    pub(crate) plan: Plan,
    pub(crate) restorer: Address,
    /// `clock_nanosleep`, for a thread that is to wait.
    pub(crate) sleep: Option<Address>,
    mmap: Address,
    munmap: Address,
    defines_malloc: bool,
    /// Where the state of the thread stands that runs Python, in a version that may have no GIL yet.
    current: Option<Address>,
    version: Version,
    others: Vec<Interpreter>,
    opened: Option<Arc<Opened>>,
}

/// Looks for all that is needed, touching nothing.
pub(crate) fn look(
    process: &Pidfd,
    override_opt_out: bool,
    interpreter: Interpreter,
) -> Result<Blueprint, AttachError> {
    let pid = process.pid;
    let memory = Cached::new(Live { pid });
    let Seen { maps, runtime, version } = see(process, &memory)?;
    if !override_opt_out && is_switched_off(&memory, &runtime) {
        return Err(AttachError::OptedOut { pid });
    }
    let symbol = |name: &str| {
        runtime
            .libc_symbol(&memory, name)
            .map(|s| s.address)
            .ok_or_else(|| AttachError::NotHere(NotHere::NoSymbol { symbol: name.into() }))
    };
    let restorer = runtime
        .libc_code(&memory, &arch::RESTORER, "sigaction")
        .ok_or(AttachError::NotHere(NotHere::NoRestorer))?;
    let length = params::CODE_LENGTH + params::DATA_LENGTH;
    let base = maps
        .quiet_gap(length, params::ALIGNMENT, choice())
        .ok_or(AttachError::NotHere(NotHere::NoRoom))?;
    let mut blueprint = Blueprint {
        python: maps
            .of_file(&runtime.python_mapping)
            .filter(|m| m.executable)
            .map(|m| (m.start, m.end))
            .collect(),
        plan: Plan {
            base: base.0,
            functions: functions(&memory, &runtime)?,
            make_gil: layout::makes_gil_late(version),
            own_gils: layout::has_own_gils(version),
            finalizing: layout::finalizing(version),
            interpreter,
            rendezvous: None,
            stack_size: STACK_SIZE,
        },
        restorer,
        sleep: symbol("clock_nanosleep").ok(),
        mmap: symbol("mmap")?,
        munmap: symbol("munmap")?,
        defines_malloc: runtime.defines_malloc(&memory),
        current: layout::makes_gil_late(version)
            .then(|| runtime.python_symbol(&memory, "_PyThreadState_Current"))
            .flatten()
            .map(|symbol| symbol.address),
        version,
        maps,
        others: Vec::new(),
        opened: None,
    };
    // A process that cannot be read can still be asked.
    if let Ok(opened) = Opened::of(&memory, runtime, version) {
        let states = opened.roots.interpreters(&memory, &opened.layout);
        if states.as_ref().is_ok_and(Vec::is_empty) {
            return Err(AttachError::without_interpreter(pid, &memory, &opened));
        }
        let states = states.unwrap_or_default();
        let others = states.iter().filter(|state| state.id != 0);
        blueprint.others = others.map(|s| Interpreter { address: s.address.0, id: s.id }).collect();
        blueprint.opened = Some(Arc::new(opened));
    }
    Ok(blueprint)
}

/// `look`, again and again where the process has no interpreter yet: it may just have started.
fn look_until(
    process: &Pidfd,
    options: &Options,
    deadline: Instant,
) -> Result<Blueprint, AttachError> {
    const PAUSE: Duration = Duration::from_millis(5);
    loop {
        match look(process, options.override_opt_out, options.interpreter) {
            Err(AttachError::NotInitialised { .. })
                if Instant::now() < deadline && !process.has_ended() =>
            {
                std::thread::sleep(PAUSE);
            }
            looked => return looked,
        }
    }
}

/// A number that two programs, or two moments, do not share.
pub(crate) fn choice() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn is_switched_off(memory: &dyn ReadMemory, runtime: &Runtime) -> bool {
    runtime
        .address(memory)
        .and_then(|at| Published::read(memory, at))
        .and_then(|p| p.remote_debugging(memory).ok().flatten())
        == Some(false)
}

fn functions(
    memory: &dyn ReadMemory,
    runtime: &Runtime,
) -> Result<[u64; params::FUNCTIONS], AttachError> {
    let mut table = [0; params::FUNCTIONS];
    for (name, slot) in params::FUNCTION_NAMES.iter().zip(&mut table) {
        let found = if name.contains("Py") {
            runtime.python_symbol(memory, name)
        } else {
            runtime.libc_symbol(memory, name)
        };
        match found {
            Some(symbol) => *slot = symbol.address.0,
            None if params::OPTIONAL.contains(name) => {}
            None => {
                let symbol = (*name).to_owned();
                return Err(AttachError::NotHere(NotHere::NoSymbol { symbol }));
            }
        }
    }
    Ok(table)
}

impl Door for Thread {
    fn name(&self) -> &'static str {
        "thread"
    }

    fn open(
        &self,
        process: &Pidfd,
        options: &Options,
        opening: MakeOpening<'_>,
        deadline: Instant,
    ) -> Result<Link, AttachError> {
        let pid = process.pid;
        refusal::check_borrowing(pid)?;
        let mut blueprint = look_until(process, options, deadline)?;
        let version = blueprint.version;
        let base = Address(blueprint.plan.base);
        let ends = Ends::of(process, choice())?;
        blueprint.plan.rendezvous = ends.name();
        let others = std::mem::take(&mut blueprint.others);
        let opened = blueprint.opened.take();
        let patience = options.patience;
        let tracer = Tracer::start().map_err(|source| AttachError::Proc { pid, source })?;
        let held_process =
            process.try_clone().map_err(|source| AttachError::Proc { pid, source })?;
        let blueprint = Arc::new(blueprint);
        let footing = opened.clone().map(|opened| Footing::new(Arc::clone(&blueprint), opened));
        let held = tracer
            .run(move || borrow_one(&held_process, &blueprint, deadline, patience))
            .ok_or(AttachError::AgentFailed { pid })??;
        let shell = Shell { base, page: base.plus(params::CODE_LENGTH), ends, held, version };
        let opening = opening(Situation { version, others: &others });
        let link = greet(process, shell, &opening, &|| true)?;
        Ok(Link { others, opened, footing: footing.map(Arc::new), ..link })
    }
}

/// Threads of different targets are borrowed one after the other: a thread is held the shorter, the fewer others want
/// the processor meanwhile.
static BORROWING: Mutex<()> = Mutex::new(());

/// The turn to borrow one.
pub(crate) fn borrowing() -> MutexGuard<'static, ()> {
    // A poisoned lock guards nothing: whoever panicked has let its thread go.
    BORROWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds a thread at a safe point and lets it start the stub.
fn borrow_one(
    process: &Pidfd,
    blueprint: &Blueprint,
    deadline: Instant,
    patience: Duration,
) -> Result<Duration, AttachError> {
    const BACK_OFF: Duration = Duration::from_micros(300);
    const BACK_OFF_AT_MOST: Duration = Duration::from_millis(20);
    let pid = process.pid;
    let mut pause = BACK_OFF;
    let mut last = String::from("no thread to try");
    // Threads that are not Python's, where one of Python's is needed.
    let mut foreign = Vec::new();
    loop {
        for tid in candidates(pid, blueprint, &foreign)? {
            let _turn = borrowing();
            match Attached::seize(tid) {
                // A thread is held now. Is it still one of the process that was meant, or has the number passed on?
                Ok(_) if process.has_ended() => return Err(AttachError::Gone { pid }),
                Ok(mut attached) => match unsafe_reason(pid, &attached, blueprint) {
                    Some(reason) => last = format!("thread {tid} {reason}"),
                    None => {
                        let launched = launch(pid, &mut attached, blueprint);
                        let held =
                            attached.finish().map_err(|source| AttachError::Call { pid, source });
                        if launched? {
                            return held;
                        }
                        last = format!("thread {tid} is not one of Python's");
                        foreign.push(tid);
                    }
                },
                Err(SeizeError::Refused { tid, .. }) => match refusal::tracer(pid, tid) {
                    // Perhaps one like us, gone in a moment.
                    Some(traced) if Instant::now() > deadline => return Err(traced),
                    Some(traced) => last = traced.to_string(),
                    // If nothing forbids it, the other tracer has gone just now.
                    None if tasks::exists(pid, tid) && is_forbidden(pid) => {
                        return Err(denied(pid));
                    }
                    None => last = format!("thread {tid} cannot be traced"),
                },
                Err(SeizeError::Stopped { .. }) => return Err(AttachError::Stopped { pid }),
                // It may stop any moment, and only the end of this tracer lets it go then: nothing else is tried.
                Err(error @ SeizeError::Unstoppable { .. }) => {
                    return Err(AttachError::NoSafeThread {
                        pid,
                        within: patience,
                        last: error.to_string(),
                    });
                }
                Err(error) => last = error.to_string(),
            }
        }
        if process.has_ended() {
            return Err(AttachError::Gone { pid });
        }
        if Instant::now() > deadline {
            return Err(refusal::tracer(pid, pid).unwrap_or(AttachError::NoSafeThread {
                pid,
                within: patience,
                last,
            }));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(BACK_OFF_AT_MOST);
    }
}

fn is_forbidden(pid: i32) -> bool {
    access::assess(pid).ask.is_err_and(|cause| !matches!(cause, Cause::Traced { .. }))
}

/// Threads that look as if they could be borrowed, best first. Among many it stops at the first that is as good as
/// can be.
fn candidates(pid: i32, blueprint: &Blueprint, foreign: &[i32]) -> Result<Vec<i32>, AttachError> {
    const AT_MOST: usize = 8;
    let ids = tasks::ids(pid).map_err(|_| AttachError::Gone { pid })?;
    let mut rated = Vec::new();
    for tid in ids.into_iter().filter(|tid| !foreign.contains(tid)) {
        let rating = match tasks::activity(pid, tid) {
            Ok(Activity::Blocked { number, arguments }) => arch::borrowable(number, &arguments),
            Ok(Activity::Running) if !blueprint.defines_malloc => Some(0),
            _ => None,
        };
        match rating {
            Some(3) => {
                rated.insert(0, (3, tid));
                break;
            }
            Some(rating) => rated.push((rating, tid)),
            None => {}
        }
    }
    rated.sort_by_key(|(rating, _)| std::cmp::Reverse(*rating));
    Ok(rated.into_iter().take(AT_MOST).map(|(_, tid)| tid).collect())
}

/// Why the stopped thread must not be borrowed at this point.
pub(crate) fn unsafe_reason(
    pid: i32,
    attached: &Attached,
    blueprint: &Blueprint,
) -> Option<&'static str> {
    let found = &attached.found;
    let at = found.program_counter();
    match found.call {
        Some((number, arguments)) => {
            if arch::borrowable(number, &arguments).is_none() {
                return Some("is in a system call that may hold locks");
            }
            let Some(mapping) = blueprint.maps.at(at).filter(|m| m.is_file()) else {
                return Some("makes system calls from memory that no file backs");
            };
            if mapping.file_name().starts_with(b"ld-") || mapping.file_name().starts_with(b"ld.") {
                return Some("is in the dynamic loader");
            }
        }
        None => {
            if blueprint.defines_malloc {
                return Some("is running, and its program brings an allocator of its own");
            }
            // malloc and the loader never call into CPython: who is there holds none of their locks.
            if !blueprint.python.iter().any(|(start, end)| (*start..*end).contains(&at)) {
                return Some("is running outside of CPython");
            }
            // Without a GIL one is made now. Who has just asked whether there is one, and is about to become the current
            // thread (Python/ceval.c, PyEval_RestoreThread), would run on without it.
            let is_current = |at: Address| Live { pid }.pointer(at).is_ok_and(|at| !at.is_null());
            if blueprint.plan.make_gil && !blueprint.current.is_some_and(is_current) {
                return Some("is just coming back to Python");
            }
        }
    }
    // Unless it is a signal handler of CPython's that interrupted them.
    const WORDS: usize = 512;
    if let Some(interrupted) = arch::interrupted_at(&attached.stack(WORDS), blueprint.restorer)
        && !blueprint.python.iter().any(|(start, end)| (*start..*end).contains(&interrupted))
    {
        return Some("is in a signal handler");
    }
    let stack = found.stack_pointer();
    let Ok(needed) = attached.headroom() else { return Some("cannot be saved") };
    // The map may be older than the stack.
    let below = |maps: &Maps| maps.at(stack).map_or(0, |m| stack.0 - m.start.0);
    if below(&blueprint.maps) < needed
        && Maps::of(pid).map(|maps| below(&maps)).unwrap_or(0) < needed
    {
        return Some("has too little stack left");
    }
    None
}

/// The two calls in the borrowed thread. `false`: 3.6 has no GIL yet, and this thread is not the one to make it.
fn launch(pid: i32, attached: &mut Attached, blueprint: &Blueprint) -> Result<bool, AttachError> {
    let (base, data) = (blueprint.plan.base, blueprint.plan.base + params::CODE_LENGTH);
    let undo = Undo {
        function: blueprint.munmap,
        arguments: [base, params::CODE_LENGTH + params::DATA_LENGTH],
    };
    let failed = |source| AttachError::Call { pid, source };
    attached.prepare(blueprint.restorer, undo).map_err(failed)?;
    map_code(pid, attached, blueprint)?;
    if let Err(source) = write_code(attached.tid, Address(base), &blueprint.plan.code()) {
        attached.call(blueprint.munmap, &undo.arguments, false).map_err(failed)?;
        return Err(AttachError::Sys { pid, source });
    }
    let mut launched = None;
    let mut mapping_since = None;
    let mut ready = || {
        launched = read_head(pid, Address(data)).filter(|h| h[head::LAUNCHED] != 0);
        // Without the page nothing can be said: that its mapping failed shows by its not coming.
        let since = *mapping_since.get_or_insert_with(Instant::now);
        launched.is_some() || (since.elapsed() > MAPPING && read_head(pid, Address(data)).is_none())
    };
    let launch = Address(base + entry::STUB_LAUNCH);
    let code = Address(base)..Address(data);
    let there =
        attached.visit(launch, &[base + params::TEMPLATE], code, &mut ready).map_err(failed)?;
    if launched.is_some_and(|h| h[head::LAUNCHED] == launched::DONE as i32) {
        return Ok(true);
    }
    if there {
        attached.call(blueprint.munmap, &undo.arguments, false).map_err(failed)?;
    }
    let Some(head) = launched else { return Err(AttachError::NotHere(NotHere::NoRoom)) };
    match head[head::ERROR] {
        error::NO_THREAD => Err(AttachError::NoThread { pid, errno: head[head::DETAIL] }),
        _ => Ok(false),
    }
}

/// How long the page's mapping may take, on a machine whose processors are all taken: less than any call may. By then a
/// `launch` that could not map has gone home.
const MAPPING: Duration = Duration::from_secs(4);

fn map_code(pid: i32, attached: &mut Attached, blueprint: &Blueprint) -> Result<(), AttachError> {
    let (at, length) = (blueprint.plan.base, params::CODE_LENGTH);
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let arguments = [at, length, protection as u64, flags as u64, u64::MAX, 0];
    let mapped = attached
        .call(blueprint.mmap, &arguments, true)
        .map_err(|source| AttachError::Call { pid, source })?;
    if mapped == at {
        return Ok(());
    }
    const ERRORS: u64 = -4095_i64 as u64;
    if mapped < ERRORS {
        // A kernel that does not know MAP_FIXED_NOREPLACE put it elsewhere.
        attached
            .call(blueprint.munmap, &[mapped, length], false)
            .map_err(|source| AttachError::Call { pid, source })?;
        return Err(AttachError::NotHere(NotHere::NoRoom));
    }
    Err(AttachError::NotHere(NotHere::NoExecutableMemory { errno: -(mapped as i64) as i32 }))
}

fn write_code(tid: i32, at: Address, code: &[u8]) -> Result<(), sys::SysError> {
    if sys::write_through_mem(tid, at, code).is_ok() {
        return Ok(());
    }
    for (i, chunk) in code.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sys::poke(tid, at.plus(i as u64 * 8), u64::from_le_bytes(word))?;
    }
    Ok(())
}

fn read_head(pid: i32, data: Address) -> Option<[i32; field::HEAD_WORDS]> {
    let bytes = Live { pid }.bytes(data, field::HEAD_WORDS * 4).ok()?;
    let mut head = [0; field::HEAD_WORDS];
    for (word, chunk) in head.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = i32::from_le_bytes(chunk.try_into().ok()?);
    }
    Some(head)
}

/// Takes our ends of the channels and hands over the agent. `is_refused`: if there is no page, there will be none.
pub(crate) fn greet(
    process: &Pidfd,
    shell: Shell,
    opening: &Opening,
    is_refused: &dyn Fn() -> bool,
) -> Result<Link, AttachError> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_micros(20);
    let pid = process.pid;
    let data = shell.page;
    let start = Instant::now();
    let head = loop {
        let Some(head) = read_head(pid, data) else {
            if start.elapsed() < PATIENCE && !process.has_ended() && !is_refused() {
                std::thread::sleep(PAUSE);
                continue;
            }
            let further = shell.page == shell.base;
            return Err(gone_or(
                process,
                match further {
                    true => AttachError::NoSession { pid },
                    false => AttachError::NoAnswer { pid, within: start.elapsed() },
                },
            ));
        };
        match head[head::STATE] as u32 {
            state::NEW if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            state::NEW => return Err(AttachError::NoAnswer { pid, within: PATIENCE }),
            state::FAILED => {
                // Failing to say so costs the stub a second.
                let _ =
                    sys::write_memory(pid, data.plus(field::ACKNOWLEDGED), &1_u32.to_le_bytes());
                return Err(AttachError::NoChannel { pid, errno: head[head::ERROR] });
            }
            _ => break head,
        }
    };
    let numbers = [head[head::MAIN], head[head::CONTROL]];
    let [main, control] = shell.ends.receive(process, numbers, shell.page, PATIENCE)?;
    let link = Link {
        pid,
        door: "thread",
        held: shell.held,
        thread: head[head::THREAD],
        main,
        control,
        base: Some(shell.base),
        page: Some(shell.page),
        ends: shell.ends,
        version: shell.version,
        others: Vec::new(),
        opened: None,
        footing: None,
    };
    let first = opening.message();
    link.send(&first)
        .map_err(|_| gone_or(process, AttachError::NoAnswer { pid, within: start.elapsed() }))?;
    Ok(link)
}

fn gone_or(process: &Pidfd, other: AttachError) -> AttachError {
    if process.has_ended() { AttachError::Gone { pid: process.pid } } else { other }
}
