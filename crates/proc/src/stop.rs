//! One borrowed thread: seized, stopped, made to call functions, and put back.
//!
//! [`Attached`] is a guard: dropped at any point, also by a panic, it lets the thread go, and the chain of signal
//! frames below its stack brings it home. All of it must happen on the thread that seized (see [`crate::tracer`]).

use std::marker::PhantomData;
use std::ops::Range;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::arch::{self, Errand, Found, FrameChain, RT_SIGRETURN, Registers};
use crate::sys::{self, Status, SysError};
use crate::{Address, memory::Live, memory::ReadMemory};

/// Why a thread could not be stopped.
#[derive(Debug, Error)]
pub enum SeizeError {
    /// The kernel refuses: no right, or another tracer. The cause is looked for by [`crate::access`].
    #[error("the kernel refuses to trace thread {tid}")]
    Refused { tid: i32, source: SysError },
    #[error("thread {tid} is gone")]
    Gone { tid: i32 },
    /// It was about to get a signal, which it has got; try again.
    #[error("thread {tid} got a signal first")]
    Signalled { tid: i32 },
    /// Its process was stopped meanwhile, by SIGSTOP or a terminal.
    #[error("the process of thread {tid} is stopped")]
    Stopped { tid: i32 },
    #[error("thread {tid} did not stop within {limit:?}")]
    Unstoppable { tid: i32, limit: Duration },
    #[error(transparent)]
    Sys(#[from] SysError),
}

/// Why a call in a borrowed thread did not end.
#[derive(Debug, Error)]
pub enum CallError {
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error("the thread is gone")]
    Gone,
    #[error("the call did not end within {0:?}")]
    TimedOut(Duration),
    #[error("the call ended in signal {signal} at {at}")]
    Fault { signal: i32, at: Address },
}

/// How long a single stop may take. A thread in an uninterruptible sleep does not stop.
/// On an overloaded machine any other one may get the processor late.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// How long one that did not stop is waited for once more, so that it goes on by our word.
const LET_GO_LIMIT: Duration = Duration::from_millis(200);
/// How long a called function may take; it is the target's own libc, on a possibly overloaded machine.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Where a borrowed thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Where it was found, or gone on from there.
    Found,
    /// Somewhere in a function that it was made to call; stopped by us if it is stopped.
    Away,
    /// At the entry of an `rt_sigreturn` that shall not happen.
    Return,
}

/// A thread that is stopped and ours until this is dropped.
#[derive(Debug)]
pub struct Attached {
    pub tid: i32,
    pub found: Found,
    chain: Option<FrameChain>,
    xstate: Vec<u8>,
    mask: u64,
    at: At,
    attached: bool,
    since: Instant,
    /// ptrace belongs to one thread.
    _not_send: PhantomData<*const ()>,
}

impl Attached {
    /// Seizes and stops a thread, and looks at its registers.
    pub fn seize(tid: i32) -> Result<Self, SeizeError> {
        if let Err(source) = sys::seize(tid) {
            return Err(match source.errno() {
                libc::ESRCH => SeizeError::Gone { tid },
                _ => SeizeError::Refused { tid, source },
            });
        }
        let mut this = Self {
            tid,
            found: Found::new(zeroed()),
            chain: None,
            xstate: Vec::new(),
            mask: 0,
            at: At::Found,
            attached: true,
            since: Instant::now(),
            _not_send: PhantomData,
        };
        sys::interrupt(tid)?;
        match wait_until(tid, STOP_LIMIT)? {
            Some(Status::EventStop) => {}
            Some(Status::GroupStop) => return Err(SeizeError::Stopped { tid }),
            Some(Status::Signal(signal)) => {
                this.let_go(signal);
                return Err(SeizeError::Signalled { tid });
            }
            Some(Status::Gone) => {
                this.attached = false;
                return Err(SeizeError::Gone { tid });
            }
            Some(_) => return Err(SeizeError::Signalled { tid }),
            None => {
                // The request to stop stays with the thread. It is answered as soon as it can be, by letting it go.
                if !matches!(
                    wait_until(tid, LET_GO_LIMIT),
                    Ok(Some(Status::EventStop | Status::GroupStop))
                ) {
                    this.attached = false;
                }
                return Err(SeizeError::Unstoppable { tid, limit: STOP_LIMIT });
            }
        }
        this.since = Instant::now();
        let registers = sys::registers(tid)?;
        this.found = Found::new(registers);
        if this.found.registers.rax != registers.rax {
            // At once, so that the thread gets no `EINTR` either if we die.
            sys::set_registers(tid, &this.found.registers)?;
        }
        Ok(this)
    }

    /// Lets a thread go that was only looked at, and gives how long it was held. A system call that the stop interrupted
    /// goes on as if there had been none; also one that the kernel would otherwise end with `EINTR`.
    pub fn release(mut self) -> Duration {
        self.let_go(0);
        self.since.elapsed()
    }

    /// How long it has been stopped so far.
    pub fn held(&self) -> Duration {
        self.since.elapsed()
    }

    /// Saves what a call would change and lays the way home below the stack. From here on the thread finds back by
    /// itself, through `undo` where a call was begun so.
    pub fn prepare(&mut self, restorer: Address, undo: arch::Undo) -> Result<(), CallError> {
        self.xstate = sys::extended_state(self.tid)?;
        self.mask = sys::signal_mask(self.tid)?;
        let chain = FrameChain::new(&self.found, &self.xstate, self.mask, restorer, undo);
        let written = sys::write_memory(self.tid, chain.start, &chain.bytes)?;
        if written != chain.bytes.len() {
            return Err(CallError::Fault { signal: libc::SIGSEGV, at: chain.start });
        }
        self.chain = Some(chain);
        Ok(())
    }

    /// Bytes that [`Self::prepare`] will need below the stack pointer, at most.
    pub fn headroom(&self) -> Result<u64, CallError> {
        Ok(sys::extended_state(self.tid)?.len() as u64 + arch::HEADROOM)
    }

    /// Lets the thread call a function and gives what it returned. `undoing`: if we die, the thread first undoes.
    pub fn call(
        &mut self,
        function: Address,
        arguments: &[u64],
        undoing: bool,
    ) -> Result<u64, CallError> {
        let chain = self.chain.as_ref().ok_or(CallError::Gone)?;
        let frame = if undoing { chain.undo } else { chain.home };
        let calling = arch::calling(&self.found.resumable, frame, function, arguments);
        sys::set_registers(self.tid, &calling)?;
        if self.at == At::Found {
            sys::set_signal_mask(self.tid, arch::borrowed_mask())?;
        }
        // After a skipped system call comes its exit stop first.
        let mut entry = self.at != At::Return;
        let mut returned = 0;
        self.at = At::Away;
        let mut signal = 0;
        loop {
            sys::run_to_syscall(self.tid, std::mem::take(&mut signal))?;
            match wait_until(self.tid, CALL_LIMIT)? {
                Some(Status::SyscallStop) => {
                    let registers = sys::registers(self.tid)?;
                    if !entry {
                        returned = registers.rax;
                    } else if registers.orig_rax == RT_SIGRETURN
                        && registers.rsp == frame.0.wrapping_add(8)
                    {
                        self.at = At::Return;
                        // The result of its last system call, which is that of mmap and munmap.
                        return Ok(returned);
                    }
                    entry = !entry;
                }
                // A group stop or a leftover of our interrupt: the thread has to end its call first. The kernel
                // knows that its process is stopped, if it is, and stops the thread again when it is let go.
                Some(Status::EventStop | Status::GroupStop | Status::OtherEvent(_)) => {}
                // SIGSTOP, which cannot be blocked. It gets it now: kept for later it might outlive its SIGCONT.
                Some(Status::Signal(came)) if !arch::is_fault(came) => signal = came,
                Some(Status::Signal(signal)) => {
                    let at = Address(sys::registers(self.tid)?.rip);
                    self.recover();
                    return Err(CallError::Fault { signal, at });
                }
                Some(Status::Gone) => {
                    self.attached = false;
                    return Err(CallError::Gone);
                }
                Some(Status::Running) | None => return Err(CallError::TimedOut(CALL_LIMIT)),
            }
        }
    }

    /// Lets the thread run `function`, which lies in `code`, until `ready` says that it has done its work and waits, and
    /// stops it there. The function owns from its first instruction on what was made before; if we die, or are late,
    /// it returns home: `false`, there is nothing to put back.
    pub fn visit(
        &mut self,
        function: Address,
        arguments: &[u64],
        code: Range<Address>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<bool, CallError> {
        const PAUSE: Duration = Duration::from_micros(50);
        const EAGER: Duration = Duration::from_micros(300);
        let chain = self.chain.as_ref().ok_or(CallError::Gone)?;
        let calling = arch::calling(&self.found.resumable, chain.home, function, arguments);
        sys::set_registers(self.tid, &calling)?;
        self.at = At::Away;
        sys::run(self.tid, 0)?;
        let start = Instant::now();
        while !ready() {
            if start.elapsed() > CALL_LIMIT {
                return Err(CallError::TimedOut(CALL_LIMIT));
            }
            if self.stopped_early()? {
                continue;
            }
            if start.elapsed() < EAGER { sys::yield_now() } else { std::thread::sleep(PAUSE) }
        }
        sys::interrupt(self.tid)?;
        loop {
            match wait_until(self.tid, CALL_LIMIT)? {
                Some(Status::EventStop | Status::GroupStop) => break,
                Some(status) => self.pass_on(status)?,
                None => return Err(CallError::TimedOut(CALL_LIMIT)),
            }
        }
        let there = code.contains(&Address(sys::registers(self.tid)?.rip));
        if !there {
            self.at = At::Found;
        }
        Ok(there)
    }

    /// Whether it stopped for something else meanwhile; it runs on then.
    fn stopped_early(&mut self) -> Result<bool, CallError> {
        match sys::wait(self.tid)? {
            Status::Running => Ok(false),
            status => self.pass_on(status).map(|()| true),
        }
    }

    /// Deals with a stop that was not asked for.
    fn pass_on(&mut self, status: Status) -> Result<(), CallError> {
        match status {
            Status::Signal(signal) if arch::is_fault(signal) => {
                let at = Address(sys::registers(self.tid)?.rip);
                self.recover();
                Err(CallError::Fault { signal, at })
            }
            Status::Gone => {
                self.attached = false;
                Err(CallError::Gone)
            }
            Status::Signal(signal) => Ok(sys::run(self.tid, signal)?),
            _ => Ok(sys::run(self.tid, 0)?),
        }
    }

    /// Lets the thread go on an errand: it makes `calls`, one after the other, and comes home by itself. What they return
    /// is lost; they may be given the addresses of `words`, which lie at [`Self::place_of`].
    pub fn send_off(
        mut self,
        restorer: Address,
        words: &[u64],
        calls: &[arch::Call],
    ) -> Result<(), CallError> {
        let xstate = sys::extended_state(self.tid)?;
        let mask = sys::signal_mask(self.tid)?;
        let errand = Errand::new(&self.found, &xstate, mask, restorer, words, calls);
        let written = sys::write_memory(self.tid, errand.start, &errand.bytes)?;
        if written != errand.bytes.len() {
            return Err(CallError::Fault { signal: libc::SIGSEGV, at: errand.start });
        }
        // Should we die in between, it goes with the signals that it had.
        sys::set_registers(self.tid, &errand.begin)?;
        sys::set_signal_mask(self.tid, arch::borrowed_mask())?;
        self.let_go(0);
        Ok(())
    }

    /// Lets it go with its wait for the world at an end ([`arch::early_end`]). `false`: it is in none, and goes on.
    pub fn end_wait(mut self) -> Result<bool, SysError> {
        let ended = self.found.call.and_then(|(number, arguments)| {
            let registers = self.found.ended_with(arch::early_end(number)?)?;
            Some((registers, arch::sets_of_select(number, &arguments)))
        });
        if let Some((registers, (sets, length))) = &ended {
            for set in sets.iter().filter(|set| set.0 != 0 && *length > 0) {
                sys::write_memory(self.tid, *set, &vec![0; *length])?;
            }
            sys::set_registers(self.tid, registers)?;
        }
        self.let_go(0);
        Ok(ended.is_some())
    }

    /// Where the words of an errand will lie.
    pub fn place_of(&self, words: &[u64]) -> Address {
        Errand::place_of(words, &self.found)
    }

    /// Puts the thread back exactly as it was found and lets it go. Gives how long it was held.
    pub fn finish(mut self) -> Result<Duration, CallError> {
        let tid = self.tid;
        if self.at == At::Found {
            self.let_go(0);
            return Ok(self.since.elapsed());
        }
        sys::set_extended_state(tid, &self.xstate)?;
        sys::set_signal_mask(tid, self.mask)?;
        if self.at == At::Away {
            // Stopped by us, as it was when it was found: the kernel goes on from there.
            sys::set_registers(tid, &self.found.registers)?;
            self.let_go(0);
            return Ok(self.since.elapsed());
        }
        // One atomic step from "the kernel brings it home" to "it is home": the pending sigreturn is skipped.
        sys::set_registers(tid, &self.found.resumable)?;
        if self.found.restarts() {
            // Only from a stop of our own does the kernel finish the interrupted call by its own rules (remaining
            // time, EINTR if a handler runs for a signal that came meanwhile). Any other stop on the way would answer
            // the request (kernel/signal.c, ptrace_stop), so the skipped call's exit must not be one.
            sys::interrupt(tid)?;
            sys::run(tid, 0)?;
            match wait_until(tid, CALL_LIMIT)? {
                Some(Status::EventStop | Status::GroupStop) => {}
                Some(Status::Gone) => {
                    self.attached = false;
                    return Err(CallError::Gone);
                }
                Some(Status::Signal(signal)) => {
                    self.let_go(signal);
                    return Ok(self.since.elapsed());
                }
                _ => return Err(CallError::TimedOut(CALL_LIMIT)),
            }
            sys::set_registers(tid, &self.found.registers)?;
        }
        self.let_go(0);
        Ok(self.since.elapsed())
    }

    /// Words of its stack from the stack pointer upwards, as far as there are.
    pub fn stack(&self, words: usize) -> Vec<u64> {
        let memory = Live { pid: self.tid };
        let at = self.found.stack_pointer();
        let page_rest = 4096 - (at.0 % 4096);
        [words as u64 * 8, page_rest]
            .into_iter()
            .find_map(|length| memory.bytes(at, length as usize).ok())
            .unwrap_or_default()
            .chunks_exact(8)
            .map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default()))
            .collect()
    }

    /// After a fault in a called function: back to where it was found, in one step, without the way home.
    fn recover(&mut self) {
        let restored = sys::set_extended_state(self.tid, &self.xstate)
            .and_then(|()| sys::set_signal_mask(self.tid, self.mask))
            .and_then(|()| sys::set_registers(self.tid, &self.found.resumable));
        if let Err(error) = restored {
            log::error!("thread {} could not be put back: {error}", self.tid);
        }
        self.let_go(0);
    }

    fn let_go(&mut self, signal: i32) {
        if std::mem::take(&mut self.attached) {
            // A failure means that the thread is gone.
            let _ = sys::detach(self.tid, signal);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.let_go(0);
    }
}

fn zeroed() -> Registers {
    // SAFETY: all-zero is a valid value of this plain struct.
    unsafe { std::mem::zeroed() }
}

/// Waits for a stop: at first only giving the processor away, since most come within microseconds, then in short
/// sleeps. `None`: it did not come in time.
fn wait_until(tid: i32, limit: Duration) -> Result<Option<Status>, SysError> {
    const EAGER: Duration = Duration::from_micros(300);
    const PAUSE: Duration = Duration::from_micros(50);
    let start = Instant::now();
    loop {
        match sys::wait(tid) {
            Ok(Status::Running) => {}
            Ok(status) => return Ok(Some(status)),
            Err(e) if e.errno() == libc::ECHILD => return Ok(Some(Status::Gone)),
            Err(e) if e.errno() == libc::EINTR => {}
            Err(e) => return Err(e),
        }
        let elapsed = start.elapsed();
        if elapsed > limit {
            return Ok(None);
        }
        if elapsed < EAGER { sys::yield_now() } else { std::thread::sleep(PAUSE) }
    }
}
