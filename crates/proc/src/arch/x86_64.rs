//! x86-64: the registers of a stopped thread, when it may be borrowed, and how it is made to call a function.
//!
//! A call is made so that the kernel itself puts the thread back if the tracer dies: below the thread's stack lies a
//! chain of `rt_sigframe`s (`arch/x86/include/asm/sigframe.h`), and the called function returns into libc's
//! `rt_sigreturn`, which loads the next frame; the last one holds the state in which the thread was found.

use crate::Address;

/// The general registers.
pub type Registers = libc::user_regs_struct;

/// libc's signal restorer: `mov $15, %rax; syscall`.
pub const RESTORER: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];

/// The number of `rt_sigreturn`.
pub const RT_SIGRETURN: u64 = 15;

/// Bytes below the stack pointer that the System V ABI lets a leaf function use.
const RED_ZONE: u64 = 128;

/// Signals that the processor raises. Blocked while they are forced, their handlers would be reset.
const FAULTS: [i32; 6] =
    [libc::SIGSEGV, libc::SIGTRAP, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGSYS];

/// Whether the processor raises this signal.
pub fn is_fault(signal: i32) -> bool {
    FAULTS.contains(&signal)
}

/// All signals but faults: what is blocked while a thread is borrowed.
pub fn borrowed_mask() -> u64 {
    FAULTS.iter().fold(!0, |mask, signal| mask & !(1 << (signal - 1)))
}

/// Whether a thread that is blocked in this system call may be borrowed, and how gladly (higher is better).
///
/// Refused is what may hold the locks of malloc, of the thread library or of the loader: mapping, cloning, executing.
/// `futex`: glibc's condition variables and semaphores, which Python's locks and GIL are made of, wait with
/// `FUTEX_WAIT_BITSET`; its low-level locks (malloc's) with `FUTEX_WAIT` on the value 2.
pub fn borrowable(number: i64, arguments: &[u64; 6]) -> Option<u8> {
    const GLADLY: u8 = 3;
    const RELUCTANTLY: u8 = 2;
    match number {
        libc::SYS_futex => match arguments[1] & 127 {
            9 => Some(GLADLY),
            0 if arguments[2] != 2 => Some(1),
            _ => None,
        },
        libc::SYS_read
        | libc::SYS_write
        | libc::SYS_poll
        | libc::SYS_select
        | libc::SYS_nanosleep
        | libc::SYS_connect
        | libc::SYS_accept
        | libc::SYS_sendto
        | libc::SYS_recvfrom
        | libc::SYS_sendmsg
        | libc::SYS_recvmsg
        | libc::SYS_readv
        | libc::SYS_writev
        | libc::SYS_pread64
        | libc::SYS_pwrite64
        | libc::SYS_clock_nanosleep
        | libc::SYS_pselect6
        | libc::SYS_ppoll
        | libc::SYS_accept4
        | libc::SYS_wait4
        | libc::SYS_waitid
        | libc::SYS_pause
        | libc::SYS_rt_sigsuspend
        | libc::SYS_rt_sigtimedwait
        | libc::SYS_flock
        | libc::SYS_fcntl
        | libc::SYS_restart_syscall
        | libc::SYS_recvmmsg
        | SYS_FUTEX_WAITV => Some(GLADLY),
        // These end with EINTR when they are stopped; the call is begun anew and its time limit with it.
        libc::SYS_epoll_wait
        | libc::SYS_epoll_pwait
        | libc::SYS_epoll_pwait2
        | libc::SYS_io_getevents
        | libc::SYS_semop
        | libc::SYS_semtimedop
        | libc::SYS_msgrcv => Some(RELUCTANTLY),
        _ => None,
    }
}

const SYS_FUTEX_WAITV: i64 = 449;

/// What a wait for the world gives when it ends before its time: the time limit of a sleep, a `select` or a `poll` is up
/// (the kernel would have written so as well); what waits for a peer has lost it. `None`: it must not be ended, as a
/// wait for a lock, which is held when it returns.
pub fn early_end(number: i64) -> Option<i64> {
    match number {
        libc::SYS_nanosleep
        | libc::SYS_clock_nanosleep
        | libc::SYS_select
        | libc::SYS_pselect6
        | libc::SYS_poll
        | libc::SYS_ppoll
        | libc::SYS_epoll_wait
        | libc::SYS_epoll_pwait
        | libc::SYS_epoll_pwait2 => Some(0),
        libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_recvmmsg => {
            Some(-i64::from(libc::ECONNRESET))
        }
        libc::SYS_accept | libc::SYS_accept4 => Some(-i64::from(libc::ECONNABORTED)),
        _ => None,
    }
}

/// The three sets of a `select`, which are empty when its time is up: addresses, and the length of each.
pub fn sets_of_select(number: i64, arguments: &[u64; 6]) -> ([Address; 3], usize) {
    const MOST: u64 = 1 << 20;
    let is_select = matches!(number, libc::SYS_select | libc::SYS_pselect6);
    let sets = [arguments[1], arguments[2], arguments[3]].map(Address);
    let words = if is_select { arguments[0].min(MOST).div_ceil(64) } else { 0 };
    (sets, words as usize * 8)
}

// Internal results of an interrupted system call (`include/linux/errno.h`).
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
const EINTR: i64 = -(libc::EINTR as i64);

/// A stopped thread's state, seen three ways.
#[derive(Clone, Debug)]
pub struct Found {
    /// Exactly as it was found.
    pub registers: Registers,
    /// The same, but so that it runs on from user mode (an interrupted system call is begun again).
    pub resumable: Registers,
    /// What the kernel shall load if the tracer dies: as `resumable`, for a kernel that has forgotten how to continue
    /// a restartable call (`rt_sigreturn` resets `restart_block`).
    pub reloadable: Registers,
    /// The system call that it was stopped in.
    pub call: Option<(i64, [u64; 6])>,
}

impl Found {
    pub fn new(registers: Registers) -> Self {
        let (mut found, mut resumable) = (registers, registers);
        let mut call = None;
        let number = registers.orig_rax as i64;
        resumable.orig_rax = u64::MAX;
        let mut reloadable = resumable;
        if number >= 0 {
            let r = &registers;
            call = Some((number, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]));
            let mut result = registers.rax as i64;
            if result == EINTR {
                // Our stop made it; the kernel would have returned it for any signal. Told that the call may be
                // restarted unless a handler runs, it does what it would have done without us.
                result = ERESTARTNOHAND;
                found.rax = result as u64;
            }
            let again = match result {
                ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND => Some(number),
                ERESTART_RESTARTBLOCK => Some(libc::SYS_restart_syscall),
                _ => None,
            };
            if let Some(again) = again {
                resumable.rip -= 2;
                resumable.rax = again as u64;
                reloadable = resumable;
                reloadable.rax = number as u64;
            }
        }
        Self { registers: found, resumable, reloadable, call }
    }

    /// Whether the kernel has to finish the interrupted system call itself.
    pub fn restarts(&self) -> bool {
        self.call.is_some() && self.resumable.rip != self.registers.rip
    }

    /// Where the call that it was stopped in has a time limit that would begin anew with it, it ends with `EINTR` after
    /// the frames that were laid for it, as after any signal that a handler was run for: CPython and others then go on
    /// for the rest of the time. A sleep that was told to note the rest goes on with that. All other calls begin anew.
    pub fn lets_limits_be(&mut self) {
        let r = &mut self.reloadable;
        match self.call {
            // The kernel wrote the rest there when the call was interrupted (kernel/time/hrtimer.c, do_nanosleep).
            Some((libc::SYS_nanosleep, arguments)) if arguments[1] != 0 => r.rdi = arguments[1],
            Some((libc::SYS_clock_nanosleep, arguments))
                if arguments[3] != 0 && arguments[1] & libc::TIMER_ABSTIME as u64 == 0 =>
            {
                r.rdx = arguments[3];
            }
            _ => self.end_limited(),
        }
    }

    fn end_limited(&mut self) {
        let limited = self.call.is_some_and(|(number, arguments)| match number {
            libc::SYS_poll => arguments[2] as i32 > 0,
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait => arguments[3] as i32 > 0,
            libc::SYS_epoll_pwait2 => arguments[3] != 0,
            libc::SYS_nanosleep => true,
            libc::SYS_clock_nanosleep => arguments[1] & libc::TIMER_ABSTIME as u64 == 0,
            libc::SYS_restart_syscall | libc::SYS_rt_sigtimedwait | libc::SYS_semtimedop => true,
            _ => false,
        });
        if let Some(ended) = self.ended_with(EINTR).filter(|_| limited) {
            self.reloadable = ended;
        }
    }

    /// The registers with which an interrupted system call has ended and given `result`; `None` in any other state.
    pub fn ended_with(&self, result: i64) -> Option<Registers> {
        let mut ended = self.registers;
        ended.rax = result as u64;
        ended.orig_rax = u64::MAX;
        self.restarts().then_some(ended)
    }

    pub fn program_counter(&self) -> Address {
        Address(self.registers.rip)
    }

    pub fn stack_pointer(&self) -> Address {
        Address(self.registers.rsp)
    }

    /// `pthread_self()` of that thread: glibc's thread control block.
    pub fn thread_pointer(&self) -> Address {
        Address(self.registers.fs_base)
    }
}

/// The registers with which a thread calls `function`, returning to what `frame` begins with.
pub fn calling(
    from: &Registers,
    frame: Address,
    function: Address,
    arguments: &[u64],
) -> Registers {
    const DIRECTION_AND_TRAP: u64 = 0x500;
    let mut r = *from;
    let argument = |i: usize| arguments.get(i).copied().unwrap_or(0);
    r.rsp = frame.0;
    r.rip = function.0;
    r.rax = 0;
    r.orig_rax = u64::MAX;
    r.rdi = argument(0);
    r.rsi = argument(1);
    r.rdx = argument(2);
    r.rcx = argument(3);
    r.r8 = argument(4);
    r.r9 = argument(5);
    r.eflags &= !DIRECTION_AND_TRAP;
    r
}

/// A chain of signal frames, ready to be written below a thread's stack.
#[derive(Clone, Debug)]
pub struct FrameChain {
    /// Where the bytes go.
    pub start: Address,
    pub bytes: Vec<u8>,
    /// The frame from which the thread goes back to where it was.
    pub home: Address,
    /// The frame from which it first calls `undo`, then goes back.
    pub undo: Address,
}

/// A function that the chain calls on its way back.
#[derive(Clone, Copy, Debug)]
pub struct Undo {
    pub function: Address,
    pub arguments: [u64; 2],
}

/// A function that a thread calls by itself, on its own.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub function: Address,
    pub arguments: [u64; 4],
}

/// What the frames and the called functions need of a stack, beside the extended state.
pub const HEADROOM: u64 = 16 * 1024;

// Offsets within `struct rt_sigframe`: the return address, then `struct ucontext`.
const FRAME_SIZE: u64 = 8 + 304 + 128;
const UC_FLAGS: usize = 8;
const UC_STACK_FLAGS: usize = 8 + 24;
const UC_MCONTEXT: usize = 8 + 40;
const UC_SIGMASK: usize = UC_MCONTEXT + 256;

impl FrameChain {
    /// Builds the two frames for a thread that was found in this state. `restorer` is libc's `rt_sigreturn`.
    pub fn new(found: &Found, xstate: &[u8], mask: u64, restorer: Address, undo: Undo) -> Self {
        let top = found.registers.rsp - RED_ZONE;
        let xstate_at = (top - (xstate.len() as u64 + 4) - 64) & !63;
        // At a function's entry the stack pointer is 8 below a multiple of 16, and it is these very addresses.
        let home = ((xstate_at - FRAME_SIZE) & !15) - 8;
        let undo_frame = ((home - FRAME_SIZE) & !15) - 8;
        let mut bytes = vec![0; (xstate_at - undo_frame) as usize + xstate.len() + 4];
        let undoing = {
            let mut r = calling(&found.reloadable, Address(home), undo.function, &undo.arguments);
            r.orig_rax = u64::MAX;
            r
        };
        write_frame(&mut bytes[..], restorer, &undoing, borrowed_mask(), 0);
        let at = (home - undo_frame) as usize;
        write_frame(&mut bytes[at..], restorer, &found.reloadable, mask, xstate_at);
        write_xstate(&mut bytes[(xstate_at - undo_frame) as usize..], xstate);
        Self { start: Address(undo_frame), bytes, home: Address(home), undo: Address(undo_frame) }
    }
}

/// Frames that lead a thread through some calls and home, with nobody who traces it.
#[derive(Clone, Debug)]
pub struct Errand {
    /// Where the bytes go.
    pub start: Address,
    pub bytes: Vec<u8>,
    /// With these registers the first call begins.
    pub begin: Registers,
}

impl Errand {
    /// Where words for the calls will lie on the stack of a thread that was found so.
    pub fn place_of(words: &[u64], found: &Found) -> Address {
        Address((found.registers.rsp - RED_ZONE - words.len() as u64 * 8) & !15)
    }

    /// The way through `calls`, which may be given the addresses of `words`.
    pub fn new(
        found: &Found,
        xstate: &[u8],
        mask: u64,
        restorer: Address,
        words: &[u64],
        calls: &[Call],
    ) -> Self {
        let words_at = Self::place_of(words, found).0;
        let xstate_at = (words_at - (xstate.len() as u64 + 4) - 64) & !63;
        let below = |frame: u64| ((frame - FRAME_SIZE) & !15) - 8;
        let home = below(xstate_at);
        // Each call returns into the frame of the next one; the first one needs none.
        let start = calls.iter().skip(1).fold(home, |frame, _| below(frame));
        let mut bytes = vec![0; (words_at - start) as usize + words.len() * 8];
        for (i, word) in words.iter().enumerate() {
            put(&mut bytes, (words_at - start) as usize + i * 8, *word);
        }
        write_xstate(&mut bytes[(xstate_at - start) as usize..], xstate);
        write_frame(
            &mut bytes[(home - start) as usize..],
            restorer,
            &found.reloadable,
            mask,
            xstate_at,
        );
        let mut next = home;
        let mut begin = found.resumable;
        for (left, call) in calls.iter().enumerate().rev() {
            begin = calling(&found.reloadable, Address(next), call.function, &call.arguments);
            if left > 0 {
                let frame = below(next);
                let at = (frame - start) as usize;
                write_frame(&mut bytes[at..], restorer, &begin, borrowed_mask(), 0);
                next = frame;
            }
        }
        Self { start: Address(start), bytes, begin }
    }
}

fn put(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

fn write_frame(bytes: &mut [u8], restorer: Address, r: &Registers, mask: u64, xstate: u64) {
    // UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    const FLAGS: u64 = 7;
    // No mode that the kernel knows: it leaves the alternate stack as it is.
    const NO_STACK_CHANGE: u64 = 0x40;
    put(bytes, 0, restorer.0);
    put(bytes, UC_FLAGS, if xstate == 0 { FLAGS & !1 } else { FLAGS });
    put(bytes, UC_STACK_FLAGS, NO_STACK_CHANGE);
    let registers = [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx,
        r.rax, r.rcx, r.rsp, r.rip, r.eflags,
    ];
    for (i, register) in registers.into_iter().enumerate() {
        put(bytes, UC_MCONTEXT + i * 8, register);
    }
    put(bytes, UC_MCONTEXT + 18 * 8, (r.cs & 0xffff) | ((r.ss & 0xffff) << 48));
    // After err, trapno, oldmask and cr2 comes the address of the extended state; 0 resets it.
    put(bytes, UC_MCONTEXT + 23 * 8, xstate);
    put(bytes, UC_SIGMASK, mask);
}

/// The software-reserved part of the XSAVE area and the word behind it tell the kernel how much to load
/// (`struct _fpx_sw_bytes`).
fn write_xstate(bytes: &mut [u8], xstate: &[u8]) {
    const MAGIC1: u32 = 0x4650_5853;
    const MAGIC2: u32 = 0x4650_5845;
    let length = xstate.len();
    bytes[..length].copy_from_slice(xstate);
    let features: [u8; 8] = xstate[464..472].try_into().unwrap_or_default();
    bytes[464..468].copy_from_slice(&MAGIC1.to_le_bytes());
    bytes[468..472].copy_from_slice(&(length as u32 + 4).to_le_bytes());
    bytes[472..480].copy_from_slice(&features);
    bytes[480..484].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[length..length + 4].copy_from_slice(&MAGIC2.to_le_bytes());
}

/// Where a signal handler that lies on a stack was entered, if `words` (a stack from its lowest address on) hold its
/// frame: the return address is the restorer, and the saved program counter follows in the `ucontext`.
pub fn interrupted_at(words: &[u64], restorer: Address) -> Option<Address> {
    const RIP: usize = (UC_MCONTEXT / 8) + 16;
    let at = words.iter().position(|w| *w == restorer.0)?;
    words.get(at + RIP).copied().map(Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(orig_rax: i64, rax: i64) -> Registers {
        // SAFETY: all-zero is a valid value of this plain struct.
        let mut r: Registers = unsafe { std::mem::zeroed() };
        (r.orig_rax, r.rax, r.rip, r.rsp) = (orig_rax as u64, rax as u64, 0x1000, 0x7fff_0000);
        r
    }

    #[test]
    fn an_interrupted_call_is_begun_again() {
        let found = Found::new(registers(230, ERESTART_RESTARTBLOCK));
        assert!(found.restarts());
        assert_eq!((found.resumable.rip, found.resumable.rax), (0xffe, 219));
        assert_eq!(found.reloadable.rax, 230);
        assert_eq!(found.registers.rax as i64, ERESTART_RESTARTBLOCK);
    }

    #[test]
    fn an_interrupted_epoll_wait_is_told_as_restartable() {
        let found = Found::new(registers(232, EINTR));
        assert!(found.restarts());
        assert_eq!(found.registers.rax as i64, ERESTARTNOHAND);
        assert_eq!(found.resumable.rax, 232);
    }

    #[test]
    fn a_finished_call_and_user_mode_stay_as_they_are() {
        assert!(!Found::new(registers(0, 17)).restarts());
        let user = Found::new(registers(-1, 5));
        assert!(!user.restarts() && user.call.is_none());
        assert_eq!(user.resumable.rax, 5);
    }

    #[test]
    fn frames_are_placed_as_the_abi_wants_them() {
        let found = Found::new(registers(-1, 5));
        let undo = Undo { function: Address(0x77), arguments: [1, 2] };
        let chain = FrameChain::new(&found, &[7; 832], 3, Address(0x99), undo);
        for frame in [chain.home, chain.undo] {
            assert_eq!(frame.0 % 16, 8);
            let at = (frame.0 - chain.start.0) as usize;
            assert_eq!(chain.bytes[at..at + 8], 0x99_u64.to_le_bytes());
        }
        assert!(chain.start.0 + chain.bytes.len() as u64 <= 0x7fff_0000 - RED_ZONE);
        let at = UC_MCONTEXT + 16 * 8;
        assert_eq!(chain.bytes[at..at + 8], 0x77_u64.to_le_bytes());
    }

    #[test]
    fn an_errand_leads_home() {
        let found = Found::new(registers(232, EINTR));
        let call = |function| Call { function: Address(function), arguments: [1, 2, 3, 4] };
        let calls = [call(0x70), call(0x71), call(0x72)];
        let words = [5, 6];
        let errand = Errand::new(&found, &[7; 832], 3, Address(0x99), &words, &calls);
        let at = |address: u64| (address - errand.start.0) as usize;
        let word = |address: u64| {
            u64::from_le_bytes(errand.bytes[at(address)..at(address) + 8].try_into().unwrap())
        };
        assert_eq!(word(Errand::place_of(&words, &found).0 + 8), 6);
        let mut registers = (errand.begin.rip, errand.begin.rsp);
        for function in [0x70, 0x71, 0x72] {
            let (rip, frame) = registers;
            assert_eq!((rip, frame % 16, word(frame)), (function, 8, 0x99));
            let context = frame + UC_MCONTEXT as u64;
            registers = (word(context + 16 * 8), word(context + 15 * 8));
        }
        assert_eq!(registers, (0xffe, 0x7fff_0000));
        assert!(errand.start.0 + errand.bytes.len() as u64 <= 0x7fff_0000 - RED_ZONE);
    }

    #[test]
    fn a_handlers_frame_is_found() {
        let mut words = vec![0_u64; 64];
        words[5] = 0x99;
        words[5 + 6 + 16] = 0x1234;
        assert_eq!(interrupted_at(&words, Address(0x99)), Some(Address(0x1234)));
        assert_eq!(interrupted_at(&words, Address(0x98)), None);
    }

    #[test]
    fn locks_of_the_allocator_are_refused() {
        assert!(borrowable(libc::SYS_futex, &[0, 128, 2, 0, 0, 0]).is_none());
        assert!(borrowable(libc::SYS_futex, &[0, 0x189, 0, 0, 0, 0]).is_some());
        assert!(borrowable(libc::SYS_mmap, &[0; 6]).is_none());
        assert!(borrowable(libc::SYS_clone, &[0; 6]).is_none());
    }
}
