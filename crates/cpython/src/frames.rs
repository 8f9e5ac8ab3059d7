//! The frames of a thread, as bare addresses: what changes while a thread runs, and so has to be read quickly.
//!
//! It knows the chains (`Include/internal/pycore_frame.h`, `Include/frameobject.h`). What a frame's code is called and
//! which line it is at is told by `code`, later.

use std::collections::HashSet;

use spyhole_proc::Address;
use spyhole_proc::memory::{ReadMemory, Unreadable};

use crate::layout::{ChainKind, Layout, Position};

/// One frame, not yet understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame {
    pub address: Address,
    /// A code object, or from 3.13 on perhaps something else that is executed.
    pub code: Address,
    /// As [`Position`] says.
    pub position: u64,
    pub globals: Address,
}

/// How far a chain was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// To its end.
    Whole,
    /// To an address that cannot be read, or that was passed before.
    Torn,
    /// As far as was allowed.
    Cut,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// Innermost first.
    pub frames: Vec<RawFrame>,
    pub end: End,
}

/// Frames that are followed if nothing else is said; many times the usual recursion limit.
pub const FRAMES_AT_MOST: usize = 20_000;

/// The frames of the thread whose state is at `thread`, at most `most`.
pub fn stack(memory: &dyn ReadMemory, layout: &Layout, thread: Address, most: usize) -> RawStack {
    let mut frames = Vec::new();
    let Ok(mut at) = innermost(memory, layout, thread) else {
        return RawStack { frames, end: End::Torn };
    };
    let mut seen = HashSet::new();
    let mut bytes = vec![0; layout.frame.length()];
    while !at.is_null() {
        if seen.len() == most {
            return RawStack { frames, end: End::Cut };
        }
        if !seen.insert(at) || memory.read(at, &mut bytes).is_err() {
            return RawStack { frames, end: End::Torn };
        }
        let of = &layout.frame;
        let interpreters_own = match (of.owner, layout.shape.entry_owner) {
            (Some(owner), Some(entry)) => bytes.get(owner as usize).is_some_and(|o| *o >= entry),
            _ => false,
        };
        if !interpreters_own {
            let position = match layout.shape.position {
                Position::Pointer => word(&bytes, of.position),
                Position::Bytes | Position::Words => half(&bytes, of.position),
            };
            frames.push(RawFrame {
                address: at,
                code: layout.shape.references.address(word(&bytes, of.code)),
                position,
                globals: Address(word(&bytes, of.globals)),
            });
        }
        at = Address(word(&bytes, of.previous));
    }
    RawStack { frames, end: End::Whole }
}

fn innermost(
    memory: &dyn ReadMemory,
    layout: &Layout,
    thread: Address,
) -> Result<Address, Unreadable> {
    let first = memory.pointer(thread.plus(layout.thread.frame))?;
    match (layout.shape.chain, layout.thread.cframe) {
        (ChainKind::CFrame, Some(frame)) if !first.is_null() => memory.pointer(first.plus(frame)),
        _ => Ok(first),
    }
}

fn word(bytes: &[u8], offset: u64) -> u64 {
    let at = offset as usize;
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A C `int`, its sign kept.
fn half(bytes: &[u8], offset: u64) -> u64 {
    let at = offset as usize;
    let value = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_le_bytes);
    i64::from(value) as u64
}
