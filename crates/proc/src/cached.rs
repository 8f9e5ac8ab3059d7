//! Memory that remembers the pages that were read: what is looked at together lies together, and a read costs a kernel
//! call.
//!
//! It knows pages, and not what is in them.

use std::cell::RefCell;

use crate::Address;
use crate::memory::{Copied, PAGE, ReadMemory, Unreadable};
use crate::spread::QuickMap;
use crate::sys;

/// Pages that are read together, around the one that is asked for: what comes next is mostly beside it.
const TOGETHER: u64 = 4;

/// Beyond this only what is asked for is read.
const PLENTY: usize = 64 << 20;
/// No process needs as much; one that leads through more of its memory is not followed.
const AT_MOST: usize = 1 << 30;

/// Room that is made at once.
const AT_LEAST: usize = 32 * PAGE as usize;

/// A memory, and what was read of it.
pub struct Cached<M> {
    memory: M,
    pages: RefCell<Pages>,
}

struct Pages {
    bytes: Vec<u8>,
    /// So many of the bytes were there from the beginning.
    copied: usize,
    by_number: QuickMap<u64, Page>,
    /// The page that was asked for last, and its place.
    last: (u64, usize),
}

#[derive(Clone, Copy)]
struct Page {
    /// `None`: it cannot be read.
    place: Option<usize>,
    /// It was asked for, and not only read beforehand.
    asked_for: bool,
}

/// No page has this number.
const NO_PAGE: u64 = u64::MAX;

impl<M: ReadMemory> Cached<M> {
    pub fn new(memory: M) -> Self {
        Self::with(memory, Copied::of(Vec::new()))
    }

    /// A cache that begins with what was copied.
    pub fn with(memory: M, copied: Copied) -> Self {
        let mut by_number = QuickMap::default();
        by_number.reserve(copied.pages.len());
        for (index, (at, held)) in copied.pages.iter().zip(&copied.held).enumerate() {
            if *held {
                let place = Some(index * PAGE as usize);
                by_number.insert(at.0 / PAGE, Page { place, asked_for: true });
            }
        }
        let pages = Pages {
            copied: copied.bytes.len(),
            bytes: copied.bytes,
            by_number,
            last: (NO_PAGE, 0),
        };
        Self { memory, pages: RefCell::new(pages) }
    }

    /// The addresses of the pages that were asked for since it began, in order.
    pub fn added(&self) -> Vec<Address> {
        let pages = self.pages.borrow();
        let added = |page: &Page| page.asked_for && page.place >= Some(pages.copied);
        let asked_for = pages.by_number.iter().filter(|(_, page)| added(page));
        let mut found: Vec<Address> = asked_for.map(|(at, _)| Address(at * PAGE)).collect();
        found.sort();
        found
    }

    /// What was asked for, as if it had been copied together.
    pub fn into_copied(self) -> Copied {
        let pages = self.added();
        let mut known = self.pages.into_inner();
        let mut copied = Copied { held: vec![true; pages.len()], bytes: Vec::new(), pages };
        copied.bytes = known.in_order(&copied.pages);
        copied
    }

    /// Reads the pages of all these addresses, as far as they are not there yet, in few kernel calls.
    pub fn prefetch(&self, addresses: impl IntoIterator<Item = Address>) {
        let mut pages = self.pages.borrow_mut();
        let mut missing: Vec<Address> = addresses
            .into_iter()
            .map(|at| at.0 / PAGE)
            .filter(|number| !pages.by_number.contains_key(number))
            .map(|number| Address(number * PAGE))
            .collect();
        missing.sort();
        missing.dedup();
        pages.read(&self.memory, &missing);
    }
}

impl Pages {
    /// The bytes of these pages, one after the other.
    fn in_order(&mut self, pages: &[Address]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(pages.len() * PAGE as usize);
        for at in pages {
            let place = self.by_number.get(&(at.0 / PAGE)).and_then(|page| page.place);
            match place {
                Some(place) => bytes.extend_from_slice(&self.bytes[place..place + PAGE as usize]),
                None => bytes.resize(bytes.len() + PAGE as usize, 0),
            }
        }
        bytes
    }

    /// Reads pages that are not there.
    fn read(&mut self, memory: &impl ReadMemory, missing: &[Address]) {
        let first = self.bytes.len();
        let room = AT_MOST.saturating_sub(first) / PAGE as usize;
        let missing = &missing[..missing.len().min(room)];
        let length = first + missing.len() * PAGE as usize;
        if length > self.bytes.capacity() {
            self.bytes.reserve(first.max(length - first).max(AT_LEAST));
            sys::prefer_huge_pages(&mut self.bytes);
        }
        self.bytes.resize(length, 0);
        let held = memory.read_pages(missing, &mut self.bytes[first..]);
        for (index, (at, held)) in missing.iter().zip(held).enumerate() {
            let place = held.then_some(first + index * PAGE as usize);
            self.by_number.insert(at.0 / PAGE, Page { place, asked_for: false });
        }
    }

    /// Where the bytes of a page are.
    fn place(&mut self, memory: &impl ReadMemory, number: u64) -> Option<usize> {
        if self.last.0 == number {
            return Some(self.last.1);
        }
        if !self.by_number.contains_key(&number) {
            self.read(memory, &[Address(number * PAGE)]);
        }
        let page = self.by_number.get_mut(&number)?;
        page.asked_for = true;
        self.last = (number, page.place?);
        page.place
    }
}

impl<M: ReadMemory> ReadMemory for Cached<M> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let failed = Unreadable { address, length: buffer.len() };
        let mut pages = self.pages.borrow_mut();
        let mut done = 0;
        while done < buffer.len() {
            let here = address.0.checked_add(done as u64).ok_or(failed)?;
            let (number, within) = (here / PAGE, (here % PAGE) as usize);
            let place = pages.place(&self.memory, number).ok_or(failed)? + within;
            let count = (PAGE as usize - within).min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&pages.bytes[place..place + count]);
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
    fn a_cached_read_crosses_pages_and_fails_as_a_whole() {
        let memory = Cached::new(Pattern);
        let bytes = memory.bytes(Address(PAGE - 3), 6).unwrap();
        assert_eq!(bytes, [0xfd, 0xfe, 0xff, 0, 1, 2]);
        assert!(memory.bytes(Address(3 * PAGE - 1), 2).is_err());
        assert!(memory.bytes(Address(u64::MAX), 2).is_err());
    }

    #[test]
    fn what_is_read_along_was_not_asked_for() {
        let memory = Cached::new(Pattern);
        memory.prefetch([Address(5), Address(PAGE), Address(9 * PAGE)]);
        assert!(memory.added().is_empty());
        assert_eq!(memory.bytes(Address(PAGE + 7), 1).unwrap(), [7]);
        assert!(memory.bytes(Address(9 * PAGE), 1).is_err());
        assert_eq!(memory.added(), [Address(PAGE)]);
        assert_eq!(memory.bytes(Address(2 * PAGE + 7), 1).unwrap(), [7]);
        assert_eq!(memory.added(), [Address(PAGE), Address(2 * PAGE)]);
    }
}
