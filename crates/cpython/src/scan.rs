//! The runtime of a program that tells nothing: no exported symbol, no table of symbols, no section.
//!
//! What is left is its data. The text with the version is there, and of all its words one is the beginning of the list
//! of interpreters: what it points to has a list of threads, of which each points back to it. Built-in types are found
//! by what they are called.

use std::collections::HashMap;

use memchr::memmem;
use spyhole_proc::Address;
use spyhole_proc::elf::Image;
use spyhole_proc::memory::{ReadMemory, Unreadable};

use crate::layout::Layout;
use crate::published;
use crate::version::{self, Version};

/// What was found in a program's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) version: Version,
    /// `_PyRuntime`, or in 3.6 the variable that holds the first interpreter.
    pub(crate) runtime: Address,
}

/// Of the data of one program or library.
const DATA_AT_MOST: u64 = 16 << 20;
/// Of all that a process has mapped: what is read is kept.
pub(crate) const ALL_AT_MOST: u64 = 24 << 20;
const BLOCK: u64 = 256 << 10;

/// Looks for a runtime with at least one interpreter; `left` is how much data may still be searched.
pub(crate) fn runtime(memory: &dyn ReadMemory, image: &Image, left: &mut u64) -> Option<Found> {
    let data = image.segments.iter().filter(|segment| segment.writable);
    let length = data.fold(0_u64, |sum, segment| sum.saturating_add(segment.length));
    *left = left.checked_sub(length.min(DATA_AT_MOST))?;
    if let Some(found) = marked(memory, image) {
        return Some(found);
    }
    let version = version::text(memory, image).filter(|version| version.is_supported())?;
    let layout = Layout::of(version).ok()?;
    let mut best: Option<(usize, Address)> = None;
    words(memory, image, |at, word| {
        let first = Address(word);
        // Before there was a runtime, more than one variable held an interpreter: the first one leads to all others.
        let count = interpreters(memory, &layout, first);
        if count > 0 && best.is_none_or(|(most, _)| count > most) {
            let runtime = Address(at.0.wrapping_sub(layout.runtime_interpreters.unwrap_or(0)));
            if is_list(memory, &layout, at, count) {
                best = Some((count, runtime));
            }
        }
        true
    });
    best.map(|(_, runtime)| Found { version, runtime })
}

/// Looks for what 3.13+ marks for this (`Include/internal/pycore_debug_offsets.h`).
fn marked(memory: &dyn ReadMemory, image: &Image) -> Option<Found> {
    let mut found = None;
    blocks(memory, image, |begin, bytes| {
        for at in memmem::find_iter(bytes, published::COOKIE) {
            let runtime = begin.plus(at as u64);
            if let Some(table) = published::Published::read(memory, runtime)
                && table.version.is_supported()
            {
                found = Some(Found { version: table.version, runtime });
            }
        }
        found.is_none()
    });
    found
}

/// How many interpreters a list has that begins with this one; 0: it is none.
fn interpreters(memory: &dyn ReadMemory, layout: &Layout, first: Address) -> usize {
    const AT_MOST: usize = 64;
    let mut count = 0;
    let mut at = first;
    while count < AT_MOST && !at.is_null() {
        if is_interpreter(memory, layout, at) != Ok(true) {
            return 0;
        }
        count += 1;
        let Ok(next) = memory.pointer(at.plus(layout.interpreter.next)) else { return 0 };
        at = next;
    }
    count
}

/// Whether the first of its threads knows it, and it has modules.
fn is_interpreter(
    memory: &dyn ReadMemory,
    layout: &Layout,
    at: Address,
) -> Result<bool, Unreadable> {
    // A pointer to a structure; most words of a program are none.
    if !is_pointer(at) {
        return Ok(false);
    }
    let thread = memory.pointer(at.plus(layout.interpreter.threads))?;
    if !is_pointer(thread) || memory.pointer(thread.plus(layout.thread.interpreter))? != at {
        return Ok(false);
    }
    let modules = memory.pointer(at.plus(layout.interpreter.modules))?;
    if !is_pointer(modules) {
        return Ok(false);
    }
    let kind = memory.pointer(modules.plus(layout.objects.kind))?;
    Ok(is_called(memory, layout, kind, b"dict\0"))
}

fn is_pointer(at: Address) -> bool {
    (0x1_0000..1 << 47).contains(&at.0) && at.0.is_multiple_of(8)
}

/// Whether a word is the first of `struct pyinterpreters` (`Include/internal/pycore_runtime.h`): head, main, next id.
fn is_list(memory: &dyn ReadMemory, layout: &Layout, at: Address, count: usize) -> bool {
    if layout.runtime_interpreters.is_none() {
        return true;
    }
    let main = memory.pointer(at.plus(8)).unwrap_or_default();
    let next = memory.word(at.plus(16)).unwrap_or(0) as i64;
    is_interpreter(memory, layout, main) == Ok(true)
        && (count as i64..1 << 32).contains(&next)
        && layout.interpreter.id.is_none_or(|id| memory.word(main.plus(id)) == Ok(0))
}

/// The built-in types of these names, where `kind` is `type` itself.
pub(crate) fn types<'a>(
    memory: &dyn ReadMemory,
    layout: &Layout,
    image: &Image,
    kind: Address,
    names: &[&'a str],
) -> HashMap<&'a str, Address> {
    let mut found = HashMap::new();
    words(memory, image, |at, word| {
        if word == kind.0 {
            let object = Address(at.0.wrapping_sub(layout.objects.kind));
            let called =
                |name: &&&str| is_called(memory, layout, object, format!("{name}\0").as_bytes());
            if let Some(name) = names.iter().find(called) {
                found.entry(*name).or_insert(object);
            }
        }
        found.len() < names.len()
    });
    found
}

/// Whether a type has this name, which ends in 0.
fn is_called(memory: &dyn ReadMemory, layout: &Layout, kind: Address, name: &[u8]) -> bool {
    let text = memory.pointer(kind.plus(layout.kind.name));
    text.and_then(|text| memory.bytes(text, name.len())).is_ok_and(|found| found == name)
}

/// All words of a program's data, until `each` has enough.
fn words(memory: &dyn ReadMemory, image: &Image, mut each: impl FnMut(Address, u64) -> bool) {
    blocks(memory, image, |begin, bytes| {
        bytes.chunks_exact(8).zip(0_u64..).all(|(word, index)| {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            word == 0 || each(begin.plus(index * 8), word)
        })
    });
}

/// A program's data in blocks, until `each` has enough; a part that cannot be read is passed over.
fn blocks(memory: &dyn ReadMemory, image: &Image, mut each: impl FnMut(Address, &[u8]) -> bool) {
    let mut left = DATA_AT_MOST;
    for segment in image.segments.iter().filter(|segment| segment.writable) {
        let skipped = segment.start.0.wrapping_neg() % 8;
        let begin = segment.start.plus(skipped);
        let length = segment.length.saturating_sub(skipped).min(left);
        left -= length;
        let mut done = 0;
        while done < length {
            let part = (length - done).min(BLOCK);
            let at = begin.plus(done);
            if let Ok(bytes) = memory.bytes(at, part as usize)
                && !each(at, &bytes)
            {
                return;
            }
            done += part;
        }
    }
}
