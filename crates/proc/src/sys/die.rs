//! Lets this program die at a chosen step, for the tests of what it leaves behind. Not in what is released.
//!
//! It knows when to die, not who asked for it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Call;

/// Told right before the end: the number of the last call, and which it was.
pub type LastWords = fn(u64, Call);

static AFTER: OnceLock<(u64, LastWords)> = OnceLock::new();
static AT: OnceLock<Duration> = OnceLock::new();
static FIRST: OnceLock<Instant> = OnceLock::new();
static LAST: std::sync::Mutex<Option<Instant>> = std::sync::Mutex::new(None);

/// Dies by SIGKILL right after call number `call` (1 is the first). The first word counts.
pub fn after(call: u64, last_words: LastWords) {
    AFTER.get_or_init(|| (call, last_words));
}

/// Dies by SIGKILL at this time after the first ptrace call, wherever the program is then.
pub fn at(time: Duration) {
    AT.get_or_init(|| time);
}

/// From the first ptrace call to the end of the last one.
pub fn span() -> Option<Duration> {
    let last = *LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Some(last?.duration_since(*FIRST.get()?))
}

/// Before a call is made.
pub(super) fn before(call: Call) {
    if !is_ptrace(call) {
        return;
    }
    FIRST.get_or_init(|| {
        if let Some(time) = AT.get() {
            kill_in(*time);
        }
        Instant::now()
    });
}

/// After a call was made.
pub(super) fn after_call(call: Call, number: u64) {
    if is_ptrace(call) {
        *LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Instant::now());
    }
    if let Some((last, last_words)) = AFTER.get()
        && number >= *last
    {
        last_words(number, call);
        // SAFETY: kill and getpid take no pointers.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

fn is_ptrace(call: Call) -> bool {
    matches!(
        call,
        Call::Seize
            | Call::Interrupt
            | Call::GetRegs
            | Call::SetRegs
            | Call::GetRegSet
            | Call::SetRegSet
            | Call::GetSigMask
            | Call::SetSigMask
            | Call::Run
            | Call::Syscall
            | Call::Detach
            | Call::PokeData
    )
}

/// A timer of the kernel whose signal is SIGKILL: no thread of ours has to be awake for it.
fn kill_in(time: Duration) {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGKILL;
    let nothing = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let value = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        // A zero would switch the timer off.
        tv_nsec: libc::c_long::from(time.subsec_nanos()).max(1),
    };
    let setting = libc::itimerspec { it_interval: nothing, it_value: value };
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: `event`, `timer` and `setting` outlive the calls, which keep no pointer to them.
    let failed = unsafe {
        libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) != 0
            || libc::timer_settime(timer, 0, &setting, std::ptr::null_mut()) != 0
    };
    assert!(!failed, "no timer: {}", std::io::Error::last_os_error());
}
