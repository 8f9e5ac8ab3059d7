//! Dying on demand, in a build for the tests of what is left in a process then (`--features die`); never in a release.
//!
//! `SPYHOLE_DIE_AFTER=N`: SIGKILL right after call N to the kernel. `SPYHOLE_DIE_AT=MICROSECONDS`: SIGKILL at that time
//! after the first ptrace call. `SPYHOLE_COUNT_CALLS=1`: tells at the end how many calls there were.

use std::time::Duration;

use spyhole_session::die;

/// Reads what is asked for.
pub(crate) fn arm() {
    if let Some(call) = number("SPYHOLE_DIE_AFTER") {
        die::after(call, |number, call| eprintln!("dies after call {number}: {call:?}"));
    }
    if let Some(time) = number("SPYHOLE_DIE_AT") {
        die::at(Duration::from_micros(time));
    }
}

/// Tells how many calls it took.
pub(crate) fn tell() {
    if std::env::var_os("SPYHOLE_COUNT_CALLS").is_some() {
        let (calls, span) = die::calls();
        eprintln!("calls {calls}, ptrace {} us", span.unwrap_or_default().as_micros());
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
