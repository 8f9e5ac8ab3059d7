//! What is looked at before a process is touched.

use std::time::Duration;

use spyhole_proc::maps::Maps;
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stat::{Stat, Status};

use crate::error::AttachError;

/// States and owners that forbid an attach.
pub(crate) fn check(process: &Pidfd) -> Result<(), AttachError> {
    let pid = process.pid;
    if pid == std::process::id() as i32 {
        return Err(AttachError::Ourselves { pid });
    }
    let status = Status::of(pid).map_err(|_| AttachError::Gone { pid })?;
    if Stat::of(pid).is_ok_and(|stat| stat.is_kernel_thread()) {
        return Err(AttachError::KernelThread { pid });
    }
    match status.state {
        'Z' => return Err(AttachError::Zombie { pid }),
        'X' | 'x' => return Err(AttachError::Gone { pid }),
        'T' => return Err(AttachError::Stopped { pid }),
        _ => {}
    }
    if process.has_ended() {
        return Err(AttachError::Gone { pid });
    }
    Ok(())
}

/// What forbids to borrow a thread.
pub(crate) fn check_borrowing(pid: i32) -> Result<(), AttachError> {
    let status = Status::of(pid).map_err(|_| AttachError::Gone { pid })?;
    if status.seccomp != 0 {
        return Err(AttachError::Seccomp { pid });
    }
    if status.shadow_stack {
        return Err(AttachError::ShadowStack { pid });
    }
    Ok(())
}

/// Whether what went wrong went wrong because the process has ended, or is about to.
///
/// A process ends in steps, and on an overloaded machine they lie far apart: from a SIGKILL on its threads run once
/// more and refuse every ptrace call (kernel/signal.c, `complete_signal`), then its memory goes, then it is a zombie.
pub(crate) fn ending(process: &Pidfd, error: &AttachError) -> Option<AttachError> {
    const DYING: Duration = Duration::from_secs(1);
    const MOMENT: Duration = Duration::from_millis(10);
    let pid = process.pid;
    let lost = error.lost_a_thread();
    let empty = Maps::of(pid).is_ok_and(|maps| maps.is_empty());
    let limit = match lost || is_killed(pid) {
        true => DYING,
        false if empty => MOMENT,
        false => Duration::ZERO,
    };
    if process.ends_within(limit) {
        return Some(AttachError::Gone { pid });
    }
    empty.then_some(AttachError::Exiting { pid })
}

/// Whether it has a SIGKILL, which each of its threads gets.
fn is_killed(pid: i32) -> bool {
    Status::of(pid).is_ok_and(|s| (s.pending | s.shared_pending) & (1 << (libc::SIGKILL - 1)) != 0)
}

/// What failed because the process is going away.
pub(crate) fn gone(pid: i32) -> AttachError {
    AttachError::Gone { pid }
}

/// The tracer that holds a thread now.
pub(crate) fn tracer(pid: i32, tid: i32) -> Option<AttachError> {
    let tracer = Status::of_thread(pid, tid).ok()?.tracer;
    if tracer == 0 {
        return None;
    }
    let name = std::fs::read_to_string(format!("/proc/{tracer}/comm")).unwrap_or_default();
    Some(AttachError::Traced { pid, tracer, name: name.trim_end().to_owned() })
}
