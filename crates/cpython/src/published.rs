//! The offsets that CPython 3.13+ publishes at the beginning of `_PyRuntime` (`Include/internal/pycore_debug_offsets.h`,
//! `struct _Py_DebugOffsets`).
//!
//! Here is what attaching needs: whether the owner of a 3.14+ process has switched remote debugging off (PEP 768). The
//! offsets themselves are compared with the version table by `layout`.

use spyhole_proc::Address;
use spyhole_proc::memory::{ReadMemory, Unreadable};

use crate::layout;
use crate::version::Version;

pub(crate) const COOKIE: &[u8; 8] = b"xdebugpy";
/// Position of `runtime_state.interpreters_head`.
const INTERPRETERS_HEAD: u64 = 40;

/// The table of one process.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    runtime: Address,
    pub version: Version,
}

impl Published {
    /// Reads the table's head; `None` where there is none.
    pub fn read(memory: &dyn ReadMemory, runtime: Address) -> Option<Self> {
        let head = memory.bytes(runtime, 16).ok()?;
        let version = u64::from_le_bytes(head[8..].try_into().ok()?);
        (&head[..8] == COOKIE).then(|| Self { runtime, version: Version::from_hex(version) })
    }

    /// Whether its owner allows code to be run from outside; `None` where the version knows no such switch.
    pub fn remote_debugging(&self, memory: &dyn ReadMemory) -> Result<Option<bool>, Unreadable> {
        let Some(place) = layout::remote_debugging_switch(self.version) else { return Ok(None) };
        let head = memory.word(self.runtime.plus(INTERPRETERS_HEAD))?;
        let interpreter = memory.pointer(self.runtime.plus(head))?;
        if interpreter.is_null() {
            // Not initialised yet: nobody has decided.
            return Ok(None);
        }
        let offset = memory.word(self.runtime.plus(place))?;
        memory.half(interpreter.plus(offset)).map(|enabled| Some(enabled != 0))
    }
}
