//! Lets the program die at a chosen step, for the tests of what it leaves in a process. Not in what is released.

use std::time::Duration;

use spyhole_proc::sys;

/// A call to the kernel, by its name.
pub use spyhole_proc::sys::Call;
/// Dies right after the given call to the kernel; `last_words` hears its number and its name before.
pub use spyhole_proc::sys::die::after;
/// Dies at a time after the first ptrace call.
pub use spyhole_proc::sys::die::at;

/// How many calls to the kernel were made so far, and how long it was from the first ptrace call to the last.
pub fn calls() -> (u64, Option<Duration>) {
    (sys::count(), sys::die::span())
}
