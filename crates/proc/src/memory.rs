//! Reading the memory of a process: bounded, and with failures as values.

use std::cell::RefCell;
use std::collections::HashMap;

use thiserror::Error;

use crate::{Address, sys};

/// Bytes that could not be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("cannot read {length} bytes at {address}")]
pub struct Unreadable {
    pub address: Address,
    pub length: usize,
}

/// Where bytes of a target come from: a live process, or a recorded capture of one.
pub trait ReadMemory {
    /// Fills `buffer` from `address` on, all of it or nothing.
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable>;

    /// A little-endian word of 8 bytes.
    fn word(&self, address: Address) -> Result<u64, Unreadable> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A little-endian word of 4 bytes.
    fn half(&self, address: Address) -> Result<u32, Unreadable> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// An address stored in memory.
    fn pointer(&self, address: Address) -> Result<Address, Unreadable> {
        self.word(address).map(Address)
    }

    /// `length` bytes in a new buffer. Callers bound `length`: it may come from the target.
    fn bytes(&self, address: Address, length: usize) -> Result<Vec<u8>, Unreadable> {
        let mut buffer = vec![0; length];
        self.read(address, &mut buffer)?;
        Ok(buffer)
    }
}

impl<M: ReadMemory + ?Sized> ReadMemory for &M {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        (**self).read(address, buffer)
    }
}

/// The memory of a live process.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    pub pid: i32,
}

impl ReadMemory for Live {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        match sys::read_memory(self.pid, address, buffer) {
            Ok(n) if n == buffer.len() => Ok(()),
            _ => Err(Unreadable { address, length: buffer.len() }),
        }
    }
}

const PAGE: u64 = 4096;

/// Pages that are copied together, at one moment, into memory that was made ready before.
#[derive(Debug)]
pub struct Copied {
    pages: Vec<Address>,
    bytes: Vec<u8>,
    /// Which of the pages could be read.
    held: Vec<bool>,
}

impl Copied {
    /// Makes ready for these pages, which are not read yet.
    pub fn of(pages: Vec<Address>) -> Self {
        // Written to once, so that the copy itself meets no page that the kernel has yet to give.
        let bytes = vec![1; pages.len() * PAGE as usize];
        let held = vec![false; pages.len()];
        Self { pages, bytes, held }
    }

    /// Copies, in as few calls as can be; a page that is gone is left out.
    pub fn copy(&mut self, memory: Live) {
        self.held.fill(false);
        let ranges: Vec<(Address, usize)> =
            self.pages.iter().map(|at| (*at, PAGE as usize)).collect();
        let mut first = 0;
        while first < ranges.len() {
            let end = ranges.len().min(first + sys::RANGES_AT_MOST);
            let place = first * PAGE as usize..end * PAGE as usize;
            let read = sys::read_ranges(memory.pid, &ranges[first..end], &mut self.bytes[place]);
            let whole = (read.unwrap_or(0) / PAGE as usize).min(end - first);
            self.held[first..first + whole].fill(true);
            // The one that ended it early is passed over.
            first = if first + whole == end { end } else { first + whole + 1 };
        }
    }

    /// Whether two copies of the same pages are alike.
    pub fn is_like(&self, other: &Self) -> bool {
        self.held == other.held && self.bytes == other.bytes
    }
}

/// Remembers each page that was read: what is looked at together lies together, and a read costs a kernel call.
pub struct Cached<M> {
    memory: M,
    copied: Vec<u8>,
    /// Places in `copied`, by page.
    places: HashMap<u64, usize>,
    pages: RefCell<HashMap<u64, Option<Box<[u8]>>>>,
}

impl<M: ReadMemory> Cached<M> {
    pub fn new(memory: M) -> Self {
        Self::with(memory, Copied::of(Vec::new()))
    }

    /// A cache that begins with what was copied.
    pub fn with(memory: M, copied: Copied) -> Self {
        let held = copied.pages.iter().zip(&copied.held).enumerate();
        let places = held
            .filter(|(_, (_, held))| **held)
            .map(|(index, (at, _))| (at.0 / PAGE, index * PAGE as usize))
            .collect();
        Self { memory, copied: copied.bytes, places, pages: RefCell::default() }
    }

    /// The addresses of the pages that were read since it began, in order.
    pub fn added(&self) -> Vec<Address> {
        let pages = self.pages.borrow();
        let read = pages.iter().filter(|(_, bytes)| bytes.is_some());
        let mut found: Vec<Address> = read.map(|(page, _)| Address(page * PAGE)).collect();
        found.sort();
        found
    }
}

impl<M: ReadMemory> ReadMemory for Cached<M> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let failed = Unreadable { address, length: buffer.len() };
        let mut pages = self.pages.borrow_mut();
        let mut done = 0;
        while done < buffer.len() {
            let here = address.0.checked_add(done as u64).ok_or(failed)?;
            let (page, within) = (here / PAGE, (here % PAGE) as usize);
            let bytes = match self.places.get(&page) {
                Some(place) => &self.copied[*place..*place + PAGE as usize],
                None => {
                    let bytes = pages.entry(page).or_insert_with(|| {
                        let mut bytes = vec![0; PAGE as usize];
                        self.memory.read(Address(page * PAGE), &mut bytes).ok()?;
                        Some(bytes.into_boxed_slice())
                    });
                    bytes.as_ref().ok_or(failed)?
                }
            };
            let count = (PAGE as usize - within).min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&bytes[within..within + count]);
            done += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pattern;

    impl ReadMemory for Pattern {
        fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
            if address.0 >= 3 * PAGE {
                return Err(Unreadable { address, length: buffer.len() });
            }
            for (i, byte) in buffer.iter_mut().enumerate() {
                *byte = (address.0 as usize + i) as u8;
            }
            Ok(())
        }
    }

    #[test]
    fn pages_are_copied_around_those_that_are_missing() {
        let own = vec![7_u8; 5 * PAGE as usize];
        let first = (own.as_ptr() as u64).div_ceil(PAGE) * PAGE;
        let live = Live { pid: std::process::id() as i32 };
        let pages = [Address(first), Address(PAGE), Address(first + 2 * PAGE)];
        let mut copied = Copied::of(pages.to_vec());
        copied.copy(live);
        assert_eq!(copied.held, [true, false, true]);
        let copied = Cached::with(live, copied);
        assert!(copied.added().is_empty());
        assert_eq!(copied.bytes(Address(first + 2 * PAGE), 3).unwrap(), [7; 3]);
        assert_eq!(copied.bytes(Address(first + PAGE), 3).unwrap(), [7; 3]);
        assert_eq!(copied.added(), [Address(first + PAGE)]);
    }

    #[test]
    fn a_cached_read_crosses_pages_and_fails_as_a_whole() {
        let memory = Cached::new(Pattern);
        let bytes = memory.bytes(Address(PAGE - 3), 6).unwrap();
        assert_eq!(bytes, [0xfd, 0xfe, 0xff, 0, 1, 2]);
        assert!(memory.bytes(Address(3 * PAGE - 1), 2).is_err());
        assert!(memory.bytes(Address(u64::MAX), 2).is_err());
    }
}
