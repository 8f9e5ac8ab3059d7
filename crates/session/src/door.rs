//! The door of a prepared process, as a whole: closing it.

use spyhole_proc::bell;

use crate::failure;
use crate::model::{ErrorKind, EvalError};
use crate::target::Target;

/// Ends every session that came in by the doorbell of a process; whether it has a doorbell. It does not wait for
/// their ends.
pub fn close(target: &Target) -> Result<(), EvalError> {
    let pid = target.pid;
    let process = target.hold_again().map_err(|_| failure::no_process(pid))?;
    match bell::send(&process, bell::CLOSE) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let message = format!(
                "process {pid} has no door to close: `spyhole.install()` was not called in it"
            );
            Err(failure::error(ErrorKind::Unreachable, "Unreachable", message))
        }
        Err(_) if process.has_ended() => Err(failure::gone(pid)),
        Err(error) => {
            let kind = match error.kind() {
                std::io::ErrorKind::PermissionDenied => ErrorKind::AccessDenied,
                _ => ErrorKind::Unreachable,
            };
            let name = if kind == ErrorKind::AccessDenied { "AccessDenied" } else { "Unreachable" };
            let mut failed =
                failure::error(kind, name, format!("process {pid} cannot be sent a signal"));
            failed.causes.push(error.to_string());
            Err(failed)
        }
    }
}
