//! The frames of a thread, as bare addresses: what changes while a thread runs, and so has to be read quickly.
//!
//! It knows the chains (`Include/internal/pycore_frame.h`, `Include/frameobject.h`). What a frame's code is called and
//! which line it is at is told by `code`, later.

use std::collections::HashSet;

use spyhole_proc::Address;
use spyhole_proc::memory::{Cached, ReadMemory, Unreadable};

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
    match innermost(memory, layout, thread) {
        Ok(at) => from(memory, layout, at, most),
        Err(_) => RawStack { frames: Vec::new(), end: End::Torn },
    }
}

/// The frame at `at` and those that called it, at most `most`.
pub fn from(memory: &dyn ReadMemory, layout: &Layout, at: Address, most: usize) -> RawStack {
    let mut at = at;
    let mut frames = Vec::new();
    let mut bytes = vec![0; layout.frame.length()];
    let (mut passed, mut milestone) = (0, Address(0));
    while !at.is_null() {
        if passed == most {
            return RawStack { frames, end: End::Cut };
        }
        if at == milestone {
            forget_repeated(&mut frames);
            return RawStack { frames, end: End::Torn };
        }
        // Brent's way to find a circle: it leads back to the last of the milestones, each twice as far as the one before.
        if passed.is_power_of_two() {
            milestone = at;
        }
        passed += 1;
        if memory.read(at, &mut bytes).is_err() {
            return RawStack { frames, end: End::Torn };
        }
        let of = &layout.frame;
        let interpreters_own = match (of.owner, layout.shape.entry_owner) {
            (Some(owner), Some(entry)) => bytes.get(owner as usize).is_some_and(|o| *o >= entry),
            _ => false,
        };
        if !interpreters_own {
            frames.push(parsed(layout, at, &bytes));
        }
        at = Address(word(&bytes, of.previous));
    }
    RawStack { frames, end: End::Whole }
}

/// The one frame at `at`, whoever called it.
pub fn one(memory: &dyn ReadMemory, layout: &Layout, at: Address) -> Result<RawFrame, Unreadable> {
    let bytes = memory.bytes(at, layout.frame.length())?;
    Ok(parsed(layout, at, &bytes))
}

fn parsed(layout: &Layout, address: Address, bytes: &[u8]) -> RawFrame {
    let of = &layout.frame;
    RawFrame {
        address,
        code: layout.shape.references.address(word(bytes, of.code)),
        position: match layout.shape.position {
            Position::Pointer => word(bytes, of.position),
            Position::Bytes | Position::Words => half(bytes, of.position),
        },
        globals: Address(word(bytes, of.globals)),
    }
}

/// Reads into `memory` what [`stack`] will look at for all these threads, one step of all chains at a time: far fewer
/// kernel calls than one chain after the other.
pub fn prefetch<M: ReadMemory>(memory: &Cached<M>, layout: &Layout, threads: &[Address]) {
    // No loss if it is less than there is: the rest is read when it is asked for.
    const STEPS_AT_MOST: usize = 1 << 18;
    let length = layout.frame.length() as u64;
    let follow = |pointers: Vec<Address>| -> Vec<Address> {
        memory.prefetch(pointers.iter().copied());
        let found = pointers.iter().filter_map(|at| memory.pointer(*at).ok());
        found.filter(|at| !at.is_null()).collect()
    };
    let mut at = follow(threads.iter().map(|thread| thread.plus(layout.thread.frame)).collect());
    if let (ChainKind::CFrame, Some(frame)) = (layout.shape.chain, layout.thread.cframe) {
        at = follow(at.into_iter().map(|first| first.plus(frame)).collect());
    }
    let mut steps = 0;
    while !at.is_empty() && steps < STEPS_AT_MOST {
        steps += at.len();
        memory.prefetch(at.iter().flat_map(|frame| [*frame, frame.plus(length - 1)]));
        at = follow(at.into_iter().map(|frame| frame.plus(layout.frame.previous)).collect());
    }
}

/// A circle is told once.
fn forget_repeated(frames: &mut Vec<RawFrame>) {
    let mut seen = HashSet::new();
    let once = frames.iter().take_while(|frame| seen.insert(frame.address)).count();
    frames.truncate(once);
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
