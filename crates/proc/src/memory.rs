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

/// Remembers each page that was read: what is looked at together lies together, and a read costs a kernel call.
pub struct Cached<M> {
    memory: M,
    pages: RefCell<HashMap<u64, Option<Box<[u8]>>>>,
}

impl<M: ReadMemory> Cached<M> {
    pub fn new(memory: M) -> Self {
        Self { memory, pages: RefCell::new(HashMap::new()) }
    }
}

impl<M> Cached<M> {
    /// The addresses of the pages that were read so far, in order.
    pub fn pages(&self) -> Vec<Address> {
        let pages = self.pages.borrow();
        let mut found: Vec<Address> = pages
            .iter()
            .filter(|(_, bytes)| bytes.is_some())
            .map(|(page, _)| Address(page * PAGE))
            .collect();
        found.sort();
        found
    }
}

impl Cached<Live> {
    /// A cache that already holds these pages, copied in as few calls as can be; one that is gone by now is left out.
    pub fn copied(memory: Live, pages: &[Address]) -> Self {
        let mut copied = HashMap::with_capacity(pages.len());
        for part in pages.chunks(sys::RANGES_AT_MOST) {
            let mut buffer = vec![0; part.len() * PAGE as usize];
            let mut first = 0;
            while first < part.len() {
                let ranges: Vec<(Address, usize)> =
                    part[first..].iter().map(|at| (*at, PAGE as usize)).collect();
                let rest = &mut buffer[first * PAGE as usize..];
                let read = sys::read_ranges(memory.pid, &ranges, rest).unwrap_or(0);
                let whole = read / PAGE as usize;
                let chunks = rest.chunks_exact(PAGE as usize);
                for (at, bytes) in part[first..].iter().zip(chunks).take(whole) {
                    copied.insert(at.0 / PAGE, Some(Box::from(bytes)));
                }
                // The one that ended it is passed over.
                first += whole + 1;
            }
        }
        Self { memory, pages: RefCell::new(copied) }
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
            let bytes = pages.entry(page).or_insert_with(|| {
                let mut bytes = vec![0; PAGE as usize];
                self.memory.read(Address(page * PAGE), &mut bytes).ok()?;
                Some(bytes.into_boxed_slice())
            });
            let bytes = bytes.as_ref().ok_or(failed)?;
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
        let copied = Cached::copied(live, &pages);
        assert_eq!(copied.pages(), [Address(first), Address(first + 2 * PAGE)]);
        assert_eq!(copied.bytes(Address(first + 2 * PAGE), 3).unwrap(), [7; 3]);
        assert_eq!(copied.bytes(Address(first + PAGE), 3).unwrap(), [7; 3]);
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
