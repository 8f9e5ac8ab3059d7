//! Memory that remembers the pages that were read: what is looked at together lies together, and a read costs a kernel
//! call.
//!
//! It knows pages, and not what is in them.

use std::cell::RefCell;

use crate::Address;
use crate::memory::{Copied, PAGE, ReadMemory, Unreadable};
use crate::spread::QuickMap;

/// No process needs as much; one that leads through more of its memory is not followed.
const AT_MOST: usize = 256 << 20;
/// Room that is made at once, in pages: for a small process, and for one that needed more.
const FIRST_ROOM: usize = 64;
const ROOM: usize = 512;

/// A memory, and what was read of it.
pub struct Cached<M> {
    memory: M,
    pages: RefCell<Pages>,
}

struct Pages {
    /// Each is as long as it will get when it is made, so that nothing that was read is ever moved.
    rooms: Vec<Vec<u8>>,
    bytes: usize,
    by_number: QuickMap<u64, Page>,
    /// The page that was asked for last, and its place.
    last: (u64, Place),
    /// Something was read that was not copied at the beginning.
    beyond: bool,
}

/// A room and where in it.
type Place = (u32, u32);

#[derive(Clone, Copy)]
struct Page {
    /// `None`: it cannot be read.
    place: Option<Place>,
    /// It was asked for, and neither there from the beginning nor only read beforehand.
    added: bool,
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
                let place = Some((0, (index * PAGE as usize) as u32));
                by_number.insert(at.0 / PAGE, Page { place, added: false });
            }
        }
        let pages = Pages {
            bytes: copied.bytes.len(),
            rooms: vec![copied.bytes],
            by_number,
            last: (NO_PAGE, (0, 0)),
            beyond: false,
        };
        Self { memory, pages: RefCell::new(pages) }
    }

    /// The addresses of the pages that were asked for since it began, in order.
    pub fn added(&self) -> Vec<Address> {
        let pages = self.pages.borrow();
        let added = pages.by_number.iter().filter(|(_, page)| page.added && page.place.is_some());
        let mut found: Vec<Address> = added.map(|(at, _)| Address(at * PAGE)).collect();
        found.sort();
        found
    }

    /// How many pages are there.
    pub fn count(&self) -> usize {
        self.pages.borrow().by_number.len()
    }

    /// Whether something was read, since this was last asked, that was not copied at the beginning.
    pub fn went_beyond(&self) -> bool {
        std::mem::take(&mut self.pages.borrow_mut().beyond)
    }

    /// Whether all that was copied is here, too, and the same.
    pub fn is_like(&self, copied: &Copied) -> bool {
        let pages = self.pages.borrow();
        let there = copied.pages.iter().zip(&copied.held).zip(copied.bytes.chunks(PAGE as usize));
        there.into_iter().all(|((at, held), bytes)| {
            let place = pages.by_number.get(&(at.0 / PAGE)).and_then(|page| page.place);
            match place {
                Some(place) => *held && pages.at(place) == bytes,
                None => !held,
            }
        })
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
    fn at(&self, (room, from): Place) -> &[u8] {
        &self.rooms[room as usize][from as usize..from as usize + PAGE as usize]
    }

    /// Reads pages that are not there.
    fn read(&mut self, memory: &impl ReadMemory, missing: &[Address]) {
        let mut missing = missing;
        while !missing.is_empty() && self.bytes < AT_MOST {
            let free = self.rooms.last().map_or(0, |room| room.capacity() - room.len());
            if free < PAGE as usize {
                let room = if self.rooms.len() == 1 { FIRST_ROOM } else { ROOM };
                self.rooms.push(Vec::with_capacity(room * PAGE as usize));
                continue;
            }
            let (now, later) = missing.split_at(missing.len().min(free / PAGE as usize));
            let index = self.rooms.len() - 1;
            let room = &mut self.rooms[index];
            let first = room.len();
            room.resize(first + now.len() * PAGE as usize, 0);
            let held = memory.read_pages(now, &mut room[first..]);
            for (number, (at, held)) in now.iter().zip(held).enumerate() {
                let from = first + number * PAGE as usize;
                let place = held.then_some((index as u32, from as u32));
                self.by_number.insert(at.0 / PAGE, Page { place, added: false });
            }
            self.bytes += now.len() * PAGE as usize;
            missing = later;
        }
    }

    /// Where the bytes of a page are.
    fn place(&mut self, memory: &impl ReadMemory, number: u64) -> Option<Place> {
        if self.last.0 == number {
            self.beyond |= self.last.1.0 > 0;
            return Some(self.last.1);
        }
        if !self.by_number.contains_key(&number) {
            self.read(memory, &[Address(number * PAGE)]);
        }
        let page = self.by_number.get_mut(&number)?;
        // What was copied at the beginning is in the first room.
        page.added = page.place.is_none_or(|(room, _)| room > 0);
        self.beyond |= page.added;
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
            let place = pages.place(&self.memory, number).ok_or(failed)?;
            let count = (PAGE as usize - within).min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&pages.at(place)[within..within + count]);
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

    #[test]
    fn nothing_is_lost_when_there_is_much() {
        struct Numbers;
        impl ReadMemory for Numbers {
            fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
                buffer[..8].copy_from_slice(&address.0.to_le_bytes());
                Ok(())
            }
        }
        let memory = Cached::new(Numbers);
        memory.prefetch((0..3000).step_by(2).map(|number| Address(number * PAGE)));
        for _ in 0..2 {
            assert!((0..3000).all(|n| memory.word(Address(n * PAGE)) == Ok(n * PAGE)));
        }
        assert_eq!(memory.added().len(), 3000);
    }
}
