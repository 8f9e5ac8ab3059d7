//! Reading the memory of a process: bounded, and with failures as values.

use thiserror::Error;

pub use crate::cached::Cached;
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

    /// Fills `buffer`, which has room for these pages one after the other, and tells of each whether it could be read.
    fn read_pages(&self, pages: &[Address], buffer: &mut [u8]) -> Vec<bool> {
        let places = buffer.chunks_mut(PAGE as usize);
        pages.iter().zip(places).map(|(at, place)| self.read(*at, place).is_ok()).collect()
    }

    /// How many pages that lie together are read in about the time that one takes.
    fn along(&self) -> u64 {
        1
    }

    /// These will be read soon: who remembers what was read may read them together.
    fn expect(&self, _addresses: &mut dyn Iterator<Item = Address>) {}

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

    fn read_pages(&self, pages: &[Address], buffer: &mut [u8]) -> Vec<bool> {
        (**self).read_pages(pages, buffer)
    }

    fn along(&self) -> u64 {
        (**self).along()
    }

    fn expect(&self, addresses: &mut dyn Iterator<Item = Address>) {
        (**self).expect(addresses);
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

    fn along(&self) -> u64 {
        16
    }

    /// In as few kernel calls as can be: pages in order that lie together are one range.
    fn read_pages(&self, pages: &[Address], buffer: &mut [u8]) -> Vec<bool> {
        let mut held = vec![false; pages.len()];
        let mut ranges: Vec<(Address, usize)> = Vec::new();
        let mut first = 0;
        while first < pages.len() {
            ranges.clear();
            let mut end = first;
            while let Some(page) = pages.get(end) {
                let full = ranges.len() == sys::RANGES_AT_MOST;
                match ranges.last_mut() {
                    Some((at, length)) if at.plus(*length as u64) == *page => {
                        *length += PAGE as usize;
                    }
                    _ if full => break,
                    _ => ranges.push((*page, PAGE as usize)),
                }
                end += 1;
            }
            let place = first * PAGE as usize..end * PAGE as usize;
            let Some(buffer) = buffer.get_mut(place) else { break };
            let read = sys::read_ranges(self.pid, &ranges, buffer).unwrap_or(0);
            let whole = (read / PAGE as usize).min(end - first);
            held[first..first + whole].fill(true);
            // The one that ended it early is passed over.
            first = if first + whole == end { end } else { first + whole + 1 };
        }
        held
    }
}

/// Bytes of a page, the unit in which the kernel maps memory.
pub(crate) const PAGE: u64 = 4096;

/// Pages that are copied together, at one moment, into memory that was made ready before.
#[derive(Clone, Debug)]
pub struct Copied {
    pub(crate) pages: Vec<Address>,
    pub(crate) bytes: Vec<u8>,
    /// Which of the pages could be read.
    pub(crate) held: Vec<bool>,
}

impl Copied {
    /// Makes ready for these pages, which are not read yet.
    pub fn of(pages: Vec<Address>) -> Self {
        let length = pages.len() * PAGE as usize;
        let mut bytes = vec![0; length];
        sys::prefer_huge_pages(&mut bytes);
        // Each page is written to once, so that the copy itself meets none that the kernel has yet to give.
        bytes.iter_mut().step_by(PAGE as usize).for_each(|byte| *byte = 1);
        let held = vec![false; pages.len()];
        Self { pages, bytes, held }
    }

    /// Copies; a page that is gone is left out. As long as `in_time` says so: `false` if it did not get to the end.
    pub fn copy(&mut self, memory: Live, in_time: impl Fn() -> bool) -> bool {
        /// Pages between two looks at the time.
        const PART: usize = 512;
        self.held.clear();
        let places = self.bytes.chunks_mut(PART * PAGE as usize);
        for (part, place) in self.pages.chunks(PART).zip(places) {
            if !self.held.is_empty() && !in_time() {
                self.held.resize(self.pages.len(), false);
                return false;
            }
            self.held.extend(memory.read_pages(part, place));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_copied_around_those_that_are_missing() {
        let own = vec![7_u8; 5 * PAGE as usize];
        let first = (own.as_ptr() as u64).div_ceil(PAGE) * PAGE;
        let live = Live { pid: std::process::id() as i32 };
        let pages = [Address(first), Address(PAGE), Address(first + 2 * PAGE)];
        let mut copied = Copied::of(pages.to_vec());
        assert!(copied.copy(live, || true));
        assert_eq!(copied.held, [true, false, true]);
        let before = Cached::with(live, copied.clone());
        assert!(before.is_like(&copied));
        copied.bytes[0] = 8;
        assert!(!before.is_like(&copied));
        assert!(copied.copy(live, || true));
        let copied = Cached::with(live, copied);
        assert!(copied.added().is_empty());
        assert_eq!(copied.bytes(Address(first + 2 * PAGE), 3).unwrap(), [7; 3]);
        assert_eq!(copied.bytes(Address(first + PAGE), 3).unwrap(), [7; 3]);
        assert_eq!(copied.added(), [Address(first + PAGE)]);
    }
}
