//! The one seam to the kernel: each call that touches another process goes through here and is counted.
//!
//! It knows how to make the calls, not what they are for.

pub mod bell;
#[cfg(feature = "die")]
pub mod die;
pub mod files;
pub mod passing;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::Address;

/// A kernel call of this seam, by its name in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Seize,
    Interrupt,
    Wait,
    GetRegs,
    SetRegs,
    GetRegSet,
    SetRegSet,
    GetSigMask,
    SetSigMask,
    Run,
    Syscall,
    Detach,
    PokeData,
    ReadMemory,
    WriteMemory,
    OpenMem,
    WriteMem,
    PidfdOpen,
    PidfdGetfd,
    Send,
    Receive,
}

/// A kernel call that failed.
#[derive(Debug, Error)]
#[error("{call:?}: {source}")]
pub struct SysError {
    pub call: Call,
    pub source: io::Error,
}

impl SysError {
    /// The `errno` of the failure, 0 if it had none.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }
}

pub type Result<T> = std::result::Result<T, SysError>;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many calls were made so far.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn gate(call: Call, real: impl FnOnce() -> i64) -> Result<i64> {
    #[cfg(feature = "die")]
    die::before(call);
    let result = real();
    let result = if result < 0 {
        Err(SysError { call, source: io::Error::last_os_error() })
    } else {
        Ok(result)
    };
    let _number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    #[cfg(feature = "die")]
    die::after_call(call, _number);
    result
}

fn ptrace(call: Call, request: libc::c_uint, tid: i32, address: usize, data: usize) -> Result<i64> {
    // SAFETY: callers pass addresses of live local buffers that fit the request, or plain numbers.
    gate(call, || unsafe { libc::ptrace(request, tid, address, data) })
}

/// Begins to trace one thread without stopping it.
pub fn seize(tid: i32) -> Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD as usize;
    ptrace(Call::Seize, libc::PTRACE_SEIZE, tid, 0, options).map(drop)
}

/// Asks a seized thread to stop; the stop itself is seen by [`wait`].
pub fn interrupt(tid: i32) -> Result<()> {
    ptrace(Call::Interrupt, libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Lets a stopped thread run to its next system call entry or exit, with `signal` (0: none).
pub fn run_to_syscall(tid: i32, signal: i32) -> Result<()> {
    ptrace(Call::Syscall, libc::PTRACE_SYSCALL, tid, 0, signal as usize).map(drop)
}

/// Lets a stopped thread run, with `signal` (0: none).
pub fn run(tid: i32, signal: i32) -> Result<()> {
    ptrace(Call::Run, libc::PTRACE_CONT, tid, 0, signal as usize).map(drop)
}

/// Lets a stopped thread go, untraced, with `signal` (0: none).
pub fn detach(tid: i32, signal: i32) -> Result<()> {
    ptrace(Call::Detach, libc::PTRACE_DETACH, tid, 0, signal as usize).map(drop)
}

/// What became of a thread that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing yet.
    Running,
    /// `PTRACE_EVENT_STOP` for our interrupt.
    EventStop,
    /// `PTRACE_EVENT_STOP` for a signal that stops the process.
    GroupStop,
    /// Entry or exit of a system call.
    SyscallStop,
    /// About to get this signal.
    Signal(i32),
    /// Another ptrace event.
    OtherEvent(i32),
    /// The thread is no more.
    Gone,
}

/// Asks, without waiting, whether a traced thread has stopped.
pub fn wait(tid: i32) -> Result<Status> {
    let mut status = 0;
    let got = gate(Call::Wait, || {
        // SAFETY: `status` outlives the call.
        unsafe { libc::waitpid(tid, &mut status, libc::__WALL | libc::WNOHANG) }.into()
    })?;
    if got == 0 {
        return Ok(Status::Running);
    }
    if !libc::WIFSTOPPED(status) {
        return Ok(Status::Gone);
    }
    let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
    Ok(match (event, signal) {
        (libc::PTRACE_EVENT_STOP, libc::SIGTRAP) => Status::EventStop,
        (libc::PTRACE_EVENT_STOP, _) => Status::GroupStop,
        (0, s) if s == libc::SIGTRAP | 0x80 => Status::SyscallStop,
        (0, s) => Status::Signal(s),
        (e, _) => Status::OtherEvent(e),
    })
}

/// The general registers of a stopped thread.
pub fn registers(tid: i32) -> Result<libc::user_regs_struct> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    ptrace(Call::GetRegs, libc::PTRACE_GETREGS, tid, 0, (&raw mut registers) as usize)?;
    Ok(registers)
}

/// Sets the general registers of a stopped thread, all at once.
pub fn set_registers(tid: i32, registers: &libc::user_regs_struct) -> Result<()> {
    let address = std::ptr::from_ref(registers) as usize;
    ptrace(Call::SetRegs, libc::PTRACE_SETREGS, tid, 0, address).map(drop)
}

/// `NT_X86_XSTATE` of `elf.h`.
const NT_X86_XSTATE: usize = 0x202;

/// The extended (vector, floating point) state of a stopped thread, in the layout of XSAVE.
pub fn extended_state(tid: i32) -> Result<Vec<u8>> {
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    ptrace(
        Call::GetRegSet,
        libc::PTRACE_GETREGSET,
        tid,
        NT_X86_XSTATE,
        (&raw mut vector) as usize,
    )?;
    buffer.truncate(vector.iov_len);
    Ok(buffer)
}

/// Puts the extended state back.
pub fn set_extended_state(tid: i32, state: &[u8]) -> Result<()> {
    let mut vector =
        libc::iovec { iov_base: state.as_ptr().cast_mut().cast(), iov_len: state.len() };
    ptrace(Call::SetRegSet, libc::PTRACE_SETREGSET, tid, NT_X86_XSTATE, (&raw mut vector) as usize)
        .map(drop)
}

/// The blocked signals of a stopped thread, bit 0 for signal 1.
pub fn signal_mask(tid: i32) -> Result<u64> {
    let mut mask = 0_u64;
    ptrace(Call::GetSigMask, libc::PTRACE_GETSIGMASK, tid, 8, (&raw mut mask) as usize)?;
    Ok(mask)
}

/// Sets the blocked signals of a stopped thread.
pub fn set_signal_mask(tid: i32, mask: u64) -> Result<()> {
    let address = std::ptr::from_ref(&mask) as usize;
    ptrace(Call::SetSigMask, libc::PTRACE_SETSIGMASK, tid, 8, address).map(drop)
}

/// Writes one word into a stopped thread's memory, read-only pages included.
pub fn poke(tid: i32, address: Address, word: u64) -> Result<()> {
    ptrace(Call::PokeData, libc::PTRACE_POKEDATA, tid, address.0 as usize, word as usize).map(drop)
}

/// Reads memory of a process; less than asked where a page is missing.
pub fn read_memory(pid: i32, address: Address, buffer: &mut [u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address.0 as *mut _, iov_len: buffer.len() };
    // SAFETY: `local` describes `buffer`; `remote` is looked up in the other process by the kernel.
    gate(Call::ReadMemory, || unsafe {
        libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) as i64
    })
    .map(|n| n as usize)
}

/// The most ranges that one call reads: `IOV_MAX`.
pub const RANGES_AT_MOST: usize = 1024;

/// Reads ranges of a process's memory in one call, one after the other into `buffer`, which is as long as all of them
/// together; at most [`RANGES_AT_MOST`]. It stops at the first page that is missing, and tells the bytes read so far.
pub fn read_ranges(pid: i32, ranges: &[(Address, usize)], buffer: &mut [u8]) -> Result<usize> {
    let remote: Vec<libc::iovec> = ranges
        .iter()
        .map(|(at, length)| libc::iovec { iov_base: at.0 as *mut _, iov_len: *length })
        .collect();
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let count = remote.len() as libc::c_ulong;
    // SAFETY: `local` describes `buffer`, beyond which the kernel writes nothing however long the ranges are; the
    // ranges are looked up in the other process by the kernel.
    gate(Call::ReadMemory, || unsafe {
        libc::process_vm_readv(pid, &local, 1, remote.as_ptr(), count, 0) as i64
    })
    .map(|n| n as usize)
}

/// Asks for large pages for a large buffer that is about to be filled: else its filling is interrupted for each 4 KiB
/// that the kernel gives.
pub fn prefer_huge_pages(buffer: &mut Vec<u8>) {
    const HUGE: usize = 2 << 20;
    const PAGE: usize = 4096;
    let start = buffer.as_mut_ptr().addr().next_multiple_of(PAGE);
    let end = (buffer.as_ptr().addr() + buffer.capacity()) / PAGE * PAGE;
    if end.saturating_sub(start) >= 2 * HUGE {
        // SAFETY: the range lies within the buffer's own memory, and the advice changes nothing in it. Refused, it is
        // no loss.
        unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_HUGEPAGE) };
    }
}

/// Writes memory of a process (writable pages alone).
pub fn write_memory(pid: i32, address: Address, bytes: &[u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address.0 as *mut _, iov_len: bytes.len() };
    // SAFETY: as in `read_memory`; the kernel reads `bytes` alone.
    gate(Call::WriteMemory, || unsafe {
        libc::process_vm_writev(pid, &local, 1, &remote, 1, 0) as i64
    })
    .map(|n| n as usize)
}

/// Writes memory of a process through `/proc/PID/mem`, read-only pages included.
pub fn write_through_mem(pid: i32, address: Address, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let fail = |call, source| SysError { call, source };
    let file = File::options()
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .map_err(|e| fail(Call::OpenMem, e));
    gate(Call::OpenMem, || 0)?;
    let written = file?.write_all_at(bytes, address.0).map_err(|e| fail(Call::WriteMem, e));
    gate(Call::WriteMem, || 0)?;
    written
}

/// A descriptor of a process that stays with that very process.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = gate(Call::PidfdOpen, || unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A copy of a descriptor of another process.
pub fn pidfd_getfd(pidfd: &OwnedFd, fd: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let got = gate(Call::PidfdGetfd, || unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0)
    })?;
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(got as i32) })
}

/// Whether a pidfd's process has ended.
pub fn pidfd_ended(pidfd: &OwnedFd) -> bool {
    poll_in(pidfd.as_raw_fd(), 0)
}

fn poll_in(fd: i32, milliseconds: i32) -> bool {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry that outlives the call.
    unsafe { libc::poll(&mut entry, 1, milliseconds) > 0 }
}

/// Waits until a channel can be read or has ended; `None` waits for ever. `false`: the time is up, or a signal came.
pub fn wait_readable(fd: &impl AsRawFd, limit: Option<std::time::Duration>) -> bool {
    let milliseconds = limit.map_or(-1, |l| {
        // Rounded up, so that a short limit does not spin.
        i32::try_from(l.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    });
    poll_in(fd.as_raw_fd(), milliseconds)
}

/// Time since some moment that is the same for all processes of a time namespace.
pub fn monotonic() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one timespec that outlives the call; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    std::time::Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// Goes on without a terminal, in a session of its own: its end, and keys typed there, are not meant for us.
pub fn leave_terminal() {
    // SAFETY: no arguments; it fails where we have a session of our own already.
    unsafe { libc::setsid() };
}

/// Waits until the other side of a terminal or pipe has gone; takes no notice of what can be read.
pub fn wait_hangup(fd: BorrowedFd<'_>) {
    loop {
        let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one entry that outlives the call.
        let n = unsafe { libc::poll(&mut entry, 1, -1) };
        let interrupted = n < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINTR);
        if !interrupted {
            return;
        }
    }
}

/// Sends all bytes on a stream socket, never raising SIGPIPE.
pub fn send_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        // SAFETY: `bytes` is a live buffer.
        let sent = gate(Call::Send, || unsafe {
            libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
                as i64
        });
        match sent {
            Ok(n) => bytes = &bytes[n as usize..],
            Err(e) if e.errno() == libc::EINTR => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Receives what is there, waiting if nothing is; 0 at the end.
pub fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: `buffer` is a live buffer of that length.
        let got = gate(Call::Receive, || unsafe {
            libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) as i64
        });
        match got {
            Ok(n) => return Ok(n as usize),
            Err(e) if e.errno() == libc::EINTR => {}
            Err(e) if e.errno() == libc::ECONNRESET => return Ok(0),
            Err(e) => return Err(e),
        }
    }
}

/// Blocks every signal in the calling thread, so that a Ctrl-C never interrupts it in the middle of a hijack.
pub fn block_signals() {
    // SAFETY: a zeroed set is filled by sigfillset before it is used; both outlive the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Asks the scheduler to give the calling thread short turns that come soon (Linux 6.12 on; older ones take no notice):
/// else it waits behind a busy target for that one's whole turn, up to 4 ms.
pub fn ask_for_short_turns() {
    if is_scheduled_as_usual() {
        be_scheduled(libc::SCHED_OTHER, 0);
    }
}

/// Whether the calling thread has no policy of its own, also one that threads which it starts would not get.
pub(crate) fn is_scheduled_as_usual() -> bool {
    // SAFETY: it takes no pointers.
    let policy = unsafe { libc::sched_getscheduler(0) };
    policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_OTHER
}

/// Gives the calling thread a policy and a real-time priority (0: none); under the usual policy, short turns. `false`: the
/// kernel refuses.
pub(crate) fn be_scheduled(policy: i32, priority: u32) -> bool {
    const SHORTEST: u64 = 100_000;
    // Processes and threads that it starts are scheduled as usual.
    const RESET_ON_FORK: u64 = libc::SCHED_FLAG_RESET_ON_FORK as u64;
    // SAFETY: the plain calls take no pointers; `attributes` is a `struct sched_attr` of 48 bytes that outlives its call.
    unsafe {
        let nice = libc::getpriority(libc::PRIO_PROCESS, 0);
        let size_and_policy = 48 | u64::from(policy.cast_unsigned()) << 32;
        let nice_and_priority = u64::from(nice.cast_unsigned()) | u64::from(priority) << 32;
        // Flags in between, nice (which stays); then runtime, deadline, period.
        let attributes = [size_and_policy, RESET_ON_FORK, nice_and_priority, SHORTEST, 0, 0];
        libc::syscall(libc::SYS_sched_setattr, 0, attributes.as_ptr(), 0) == 0
    }
}

/// Gives the processor to another thread.
pub fn yield_now() {
    std::thread::yield_now();
}
