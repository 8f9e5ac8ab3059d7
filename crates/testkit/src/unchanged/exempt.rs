//! What glibc keeps after a thread has ended, recognised by its shape.

use std::fmt;
use std::os::unix::fs::FileExt;

use super::addresses::Region;
use crate::fingerprint::Fingerprint;

/// The size and alignment of a glibc arena's reserve (`HEAP_MAX_SIZE` in glibc's malloc/arena.c).
const ARENA: u64 = 64 << 20;

/// The largest thread stack that counts as one: the usual limit of 8 MiB, and its guard.
const STACK: u64 = (8 << 20) + (64 << 10);

const PAGE: u64 = 4096;

/// One thing that is different and may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// glibc made a malloc arena for a new thread.
    Arena { start: u64 },
    /// An arena that was there gives out more, or less, of its reserve.
    ArenaResized { start: u64 },
    /// glibc keeps the stack of an ended thread for the next one.
    CachedStack { start: u64, size: u64 },
    /// The heap below the program break grew or shrank.
    Heap { by: i64 },
    /// The kernel let the main thread's stack grow.
    MainStack { by: u64 },
    /// A block of Python's own allocator.
    ObjectArena { start: u64, size: u64 },
    /// A table, as Python's of interned strings, grew to twice its size; 0: it has no mapping of its own.
    Table { from: u64, to: u64 },
    /// glibc catches its internal SIGSETXID from the first thread on.
    SetxidHandler,
}

impl fmt::Display for Exempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arena { start } => write!(f, "a glibc arena at {start:x}"),
            Self::ArenaResized { start } => write!(f, "the glibc arena at {start:x} resized"),
            Self::CachedStack { start, size } => {
                write!(f, "a cached thread stack of {} KiB at {start:x}", size >> 10)
            }
            Self::Heap { by } => write!(f, "the heap changed by {by} bytes"),
            Self::MainStack { by } => write!(f, "the main stack grew by {by} bytes"),
            Self::ObjectArena { start, size } => {
                write!(f, "a block of Python's allocator of {} KiB at {start:x}", size >> 10)
            }
            Self::Table { from, to } => {
                write!(f, "a table grew from {} to {} KiB", from >> 10, to >> 10)
            }
            Self::SetxidHandler => f.write_str("glibc's SIGSETXID handler"),
        }
    }
}

/// The start of the arena that an address would lie in.
pub(super) fn arena_of(address: u64) -> u64 {
    address & !(ARENA - 1)
}

/// Takes one new arena out of the new memory, if there is one: an aligned block of 64 MiB, a
/// readable and writable beginning and an inaccessible rest.
pub(super) fn take_arena(new: &mut Vec<Region>) -> Option<Exempt> {
    let start = new.iter().filter(|region| region.is("rw-p")).find_map(|region| {
        let mut block = region.start.next_multiple_of(ARENA);
        while block < region.end {
            if is_arena(new, block) {
                return Some(block);
            }
            block += ARENA;
        }
        None
    })?;
    cut(new, start, start + ARENA);
    Some(Exempt::Arena { start })
}

/// Whether all of the block at `start` is anonymous memory in the two states that an arena has.
pub(super) fn is_arena(regions: &[Region], start: u64) -> bool {
    let mut at = start;
    let mut reserve = false;
    while at < start + ARENA {
        let Some(region) = regions.iter().find(|region| region.start <= at && at < region.end)
        else {
            return false;
        };
        match region.permissions.as_str() {
            "rw-p" if !reserve => {}
            "---p" if at > start => reserve = true,
            _ => return false,
        }
        at = region.end;
    }
    true
}

/// Takes one cached thread stack out of the new memory.
///
/// With its guard page below it is known by its shape. glibc 2.42 and later guards a stack without
/// a mapping of its own; then the thread descriptor at the top must be there.
pub(super) fn take_stack(new: &mut Vec<Region>, after: &Fingerprint) -> Option<Exempt> {
    const USUAL: u64 = 8 << 20;
    let (start, end) = new.iter().filter(|region| region.is("rw-p")).find_map(|region| {
        let size = region.end - region.start;
        let guard = new.iter().find(|guard| {
            guard.is("---p")
                && guard.end == region.start
                && guard.end - guard.start <= STACK - USUAL
        });
        // Other new memory may lie beside it, without a border.
        if let Some(guard) = guard {
            let end = if size > STACK { region.start + USUAL } else { region.end };
            return (size >= 4 * PAGE).then_some((guard.start, end));
        }
        let places = if size > STACK {
            let whole = USUAL + PAGE;
            vec![(region.end - whole, region.end), (region.start, region.start + whole)]
        } else {
            vec![(region.start, region.end)]
        };
        let known = |end| size >= 4 * PAGE && has_thread_descriptor(after, end);
        places.into_iter().find(|(_, end)| known(*end))
    })?;
    cut(new, start, end);
    Some(Exempt::CachedStack { start, size: end - start })
}

/// Whether a glibc thread descriptor lies at the top of the memory that ends at `end`: it begins
/// with its own address, and has it again two words later (`tcb` and `self` of `tcbhead_t`, in
/// glibc's sysdeps/x86_64/nptl/tls.h).
fn has_thread_descriptor(after: &Fingerprint, end: u64) -> bool {
    const TOP: usize = 16 << 10;
    let Some(memory) = &after.memory else { return false };
    let base = end - TOP as u64;
    let mut bytes = vec![0; TOP];
    if memory.read_exact_at(&mut bytes, base).is_err() {
        return false;
    }
    let word = |offset: usize| -> Option<u64> {
        let bytes = bytes.get(offset..offset + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().expect("eight bytes")))
    };
    (0..TOP).step_by(64).any(|offset| {
        let own = Some(base + offset as u64);
        word(offset) == own && word(offset + 16) == own
    })
}

/// The sizes of the blocks of Python's allocator: 256 KiB, from 3.10 on 1 MiB (`ARENA_SIZE` in
/// CPython's Objects/obmalloc.c).
const OLD: u64 = 256 << 10;
const NEW: u64 = 1 << 20;

/// Takes one table that grew: memory that is gone, and memory about twice as large instead, which
/// may lie side by side with blocks of Python's allocator, or in an arena. A `dict` doubles so
/// (`dictresize` in CPython's Objects/dictobject.c), and does not shrink when names are taken out.
pub(super) fn take_table(new: &mut Vec<Region>, gone: &mut Vec<Region>) -> Option<Exempt> {
    let index = gone.iter().position(|old| old.is("rw-p") && is_table(old.end - old.start))?;
    let old = gone.remove(index);
    let from = old.end - old.start;
    let sizes = ((from * 15 / 8)..=(from * 2 + PAGE)).filter(|size| size % PAGE == 0);
    let grown = new.iter().filter(|region| region.is("rw-p")).find_map(|region| {
        let size = sizes.clone().find(|size| {
            (region.end - region.start).checked_sub(*size).is_some_and(|rest| rest % OLD == 0)
        })?;
        Some((region.end - size, region.end))
    });
    if let Some((start, end)) = grown {
        cut(new, start, end);
    }
    Some(Exempt::Table { from, to: grown.map_or(0, |(start, end)| end - start) })
}

/// Takes one table that became so large that malloc gave it a mapping of its own.
pub(super) fn take_new_table(new: &mut Vec<Region>) -> Option<Exempt> {
    let index =
        new.iter().position(|region| region.is("rw-p") && is_table(region.end - region.start))?;
    let region = new.remove(index);
    Some(Exempt::Table { from: 0, to: region.end - region.start })
}

/// Whether malloc gives a block of that size a mapping of its own (`M_MMAP_THRESHOLD`), and a table
/// of names has it.
fn is_table(size: u64) -> bool {
    (128 << 10..1 << 20).contains(&size)
}

/// Takes one block of Python's allocator out of the new memory.
pub(super) fn take_object_arena(new: &mut Vec<Region>) -> Option<Exempt> {
    let (start, size) = new.iter().filter(|region| region.is("rw-p")).find_map(|region| {
        match region.end - region.start {
            NEW.. => Some((region.start, NEW)),
            OLD.. => Some((region.start, OLD)),
            _ => None,
        }
    })?;
    cut(new, start, start + size);
    Some(Exempt::ObjectArena { start, size })
}

/// Removes a range from the regions.
fn cut(regions: &mut Vec<Region>, start: u64, end: u64) {
    let mut rest = Vec::with_capacity(regions.len() + 1);
    for region in regions.drain(..) {
        for (from, to) in
            [(region.start, region.end.min(start)), (region.start.max(end), region.end)]
        {
            if from < to {
                rest.push(Region { start: from, end: to, permissions: region.permissions.clone() });
            }
        }
    }
    *regions = rest;
}
