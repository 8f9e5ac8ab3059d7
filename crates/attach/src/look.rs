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
    let maps = Maps::of_living(pid).map_err(|source| match source.kind() {
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
    if !is_readable(memory, &maps) {
        return Err(if process.has_ended() { AttachError::Gone { pid } } else { denied(pid) });
    }
    let runtime = locate(memory, &maps, &Live { pid })
        .map_err(|reason| AttachError::NotPython { pid, reason })?;
    let version = runtime.version.ok_or(AttachError::NotInitialised { pid })?;
    if !version.is_supported() {
        return Err(AttachError::Unsupported { pid, version });
    }
    Ok(Seen { maps, runtime, version })
}

/// The map may be read by more than may read the memory. A single mapping that cannot be read says nothing: it may have
/// gone since, as another client's has that just left.
fn is_readable(memory: &dyn ReadMemory, maps: &Maps) -> bool {
    const SAMPLES: usize = 16;
    let mut readable = maps.iter().filter(|m| m.readable).take(SAMPLES).peekable();
    readable.peek().is_none() || readable.any(|m| memory.bytes(m.start, 1).is_ok())
}

pub(crate) fn denied(pid: i32) -> AttachError {
    let cause = access::explain(pid);
    AttachError::Denied { pid, reason: cause.to_string(), hint: cause.hint() }
}

#[cfg(test)]
mod tests {
    use spyhole_proc::Address;
    use spyhole_proc::memory::Unreadable;

    use super::*;

    struct Only(Address);

    impl ReadMemory for Only {
        fn read(&self, at: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
            buffer.fill(0);
            if at == self.0 {
                Ok(())
            } else {
                Err(Unreadable { address: at, length: buffer.len() })
            }
        }
    }

    #[test]
    fn a_mapping_that_has_gone_is_no_refusal() {
        let text = b"1000-2000 rw-p 00000000 00:00 0 \n4000-5000 r-xp 00000000 00:00 0 \n";
        let maps = Maps::parse(text);
        assert!(is_readable(&Only(Address(0x4000)), &maps));
        assert!(!is_readable(&Only(Address(0x9000)), &maps));
    }
}
