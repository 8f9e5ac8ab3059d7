//! What can be seen of a Python process from outside, whichever way in is taken later.
//!
//! It touches nothing, and asks for no more than the right to read memory.

use spyhole_cpython::{Runtime, Version, locate};
use spyhole_proc::access;
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::{Cached, Live, ReadMemory};
use spyhole_proc::pidfd::Pidfd;

use crate::error::AttachError;
use crate::refusal;

/// A process with a CPython that this build knows.
#[derive(Debug)]
pub struct Seen {
    pub maps: Maps,
    pub runtime: Runtime,
    pub version: Version,
}

/// Looks, through `memory`, which remembers what was read.
pub fn see(process: &Pidfd, memory: &Cached<Live>) -> Result<Seen, AttachError> {
    let pid = process.pid;
    let maps = Maps::of(pid).map_err(|source| match source.kind() {
        std::io::ErrorKind::PermissionDenied => denied(pid),
        std::io::ErrorKind::NotFound => AttachError::Gone { pid },
        _ => AttachError::Proc { pid, source },
    })?;
    if maps.is_empty() {
        return Err(match refusal::check(process) {
            Ok(()) => AttachError::Exiting { pid },
            Err(error) => error,
        });
    }
    // The map may be read by more than may read the memory.
    if let Some(first) = maps.iter().find(|m| m.readable)
        && memory.bytes(first.start, 1).is_err()
    {
        return Err(if process.has_ended() { AttachError::Gone { pid } } else { denied(pid) });
    }
    let runtime = locate(memory, &maps).map_err(|reason| AttachError::NotPython { pid, reason })?;
    let version = runtime.version.ok_or(AttachError::NotInitialised { pid })?;
    if !version.is_supported() {
        return Err(AttachError::Unsupported { pid, version });
    }
    Ok(Seen { maps, runtime, version })
}

pub(crate) fn denied(pid: i32) -> AttachError {
    let cause = access::explain(pid);
    AttachError::Denied { pid, reason: cause.to_string(), hint: cause.hint() }
}
