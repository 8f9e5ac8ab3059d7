//! Memory that remembers the pages that were read: what is looked at together lies together, and a read costs a kernel
//! call.
//!
//! It knows pages, and not what is in them.

use std::cell::RefCell;
use std::sync::Arc;

use crate::Address;
use crate::memory::{Copied, PAGE, ReadMemory, Unreadable};
use crate::spread::QuickMap;
use crate::sys;

/// No process needs as much; one that leads through more of its memory is not followed.
const AT_MOST: usize = 256 << 20;
/// Room that is made at once, in pages: for what an attach looks at, for a look at a small process, and for one that
/// needs more.
const ROOMS: [usize; 3] = [128, 512, 2048];
/// From so much on large pages are faster; to clear one takes as long as all that a small look does.
const LARGE: usize = 2048;
/// Pages that were missing one by one, after which those beside the next ones are read along. Who asks for so many goes
/// through a heap, where what is made together lies together; few are read sooner alone.
const ALONE_AT_MOST: usize = 128;
/// Pages that are read along before it must have paid.
const TRIED: usize = 256;

/// A memory, and what was read of it.
pub struct Cached<M> {
    memory: M,
    pages: RefCell<Pages>,
}

/// What was copied at the beginning.
struct Beginning {
    bytes: Vec<u8>,
    /// Where the bytes of a page begin.
    by_number: QuickMap<u64, u32>,
}

struct Pages {
    beginning: Arc<Beginning>,
    /// Each is as long as it will get when it is made, so that nothing that was read is ever moved.
    rooms: Vec<Vec<u8>>,
    /// How much of the last room is taken.
    taken: usize,
    bytes: usize,
    by_number: QuickMap<u64, Page>,
    /// Pages that were asked for lately, each at the place that its number gives it, and where they are.
    recent: [(u64, Place); RECENT],
    /// Pages that were asked for and neither there from the beginning nor only read beforehand.
    asked: usize,
    /// Pages that were missing when they were asked for.
    missed: usize,
    /// Pages that were read along, and those of them that were asked for later.
    along: (usize, usize),
    /// Something was read that was not copied at the beginning.
    beyond: bool,
}

/// A room and where in it; number 0 is what was copied at the beginning.
type Place = (u32, u32);

#[derive(Clone, Copy)]
struct Page {
    /// `None`: it cannot be read.
    place: Option<Place>,
    /// It was asked for, and neither there from the beginning nor only read beforehand.
    added: bool,
    /// It was read along with another, and not asked for yet.
    along: bool,
}

/// No page has this number.
const NO_PAGE: u64 = u64::MAX;
const RECENT: usize = 64;

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
                by_number.insert(at.0 / PAGE, (index * PAGE as usize) as u32);
            }
        }
        Self::beginning(memory, Arc::new(Beginning { bytes: copied.bytes, by_number }))
    }

    fn beginning(memory: M, beginning: Arc<Beginning>) -> Self {
        let pages = Pages {
            bytes: beginning.bytes.len(),
            beginning,
            taken: 0,
            rooms: Vec::new(),
            by_number: QuickMap::default(),
            recent: [(NO_PAGE, (0, 0)); RECENT],
            asked: 0,
            missed: 0,
            along: (0, 0),
            beyond: false,
        };
        Self { memory, pages: RefCell::new(pages) }
    }

    /// Another one, for another thread, that begins with the same: what was copied is there once.
    pub fn fork(&self) -> Self
    where
        M: Clone,
    {
        Self::beginning(self.memory.clone(), self.pages.borrow().beginning.clone())
    }

    /// A new one of the same memory, without what was copied.
    pub fn anew(&self) -> Self
    where
        M: Clone,
    {
        Self::new(self.memory.clone())
    }

    /// The addresses of the pages that were asked for since it began, in order.
    pub fn added(&self) -> Vec<Address> {
        let pages = self.pages.borrow();
        let added = pages.by_number.iter().filter(|(_, page)| page.added && page.place.is_some());
        let mut found: Vec<Address> = added.map(|(at, _)| Address(at * PAGE)).collect();
        found.sort();
        found
    }

    /// How many pages were asked for since it began.
    pub fn asked(&self) -> usize {
        self.pages.borrow().asked
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
            let place = pages.known(at.0 / PAGE).flatten();
            match place {
                Some(place) => *held && pages.at(place) == bytes,
                None => !held,
            }
        })
    }

    /// Says that much will be asked for page by page: those beside a page that is missing are read along from now on, as
    /// long as that pays.
    pub fn expect_much(&self) {
        let mut pages = self.pages.borrow_mut();
        pages.missed = pages.missed.max(ALONE_AT_MOST);
    }

    /// Reads the pages of all these addresses, as far as they are not there yet, in few kernel calls.
    pub fn prefetch(&self, addresses: impl IntoIterator<Item = Address>) {
        // What they are may itself be read from here.
        let mut missing: Vec<Address> =
            addresses.into_iter().map(|at| Address(at.0 / PAGE * PAGE)).collect();
        missing.sort();
        missing.dedup();
        let mut pages = self.pages.borrow_mut();
        missing.retain(|at| pages.known(at.0 / PAGE).is_none());
        pages.read(&self.memory, &missing, None);
    }
}

impl Pages {
    fn at(&self, (room, from): Place) -> &[u8] {
        let room = match room {
            0 => &self.beginning.bytes,
            later => &self.rooms[later as usize - 1],
        };
        &room[from as usize..from as usize + PAGE as usize]
    }

    /// Where the bytes of a page are that is there, if it could be read.
    fn known(&self, number: u64) -> Option<Option<Place>> {
        match self.beginning.by_number.get(&number) {
            Some(from) => Some(Some((0, *from))),
            None => self.by_number.get(&number).map(|page| page.place),
        }
    }

    /// Reads pages that are not there, all but the `asked` one along with it.
    fn read(&mut self, memory: &impl ReadMemory, missing: &[Address], asked: Option<u64>) {
        let mut missing = missing;
        while !missing.is_empty() && self.bytes < AT_MOST {
            let free = self.rooms.last().map_or(0, |room| room.len() - self.taken);
            if free < PAGE as usize {
                let usual = ROOMS[self.rooms.len().min(ROOMS.len() - 1)];
                let pages = if missing.len() > ROOMS[1] { LARGE } else { usual };
                // Asked for as zeros, which the kernel gives when they are touched: it is written to once.
                let mut room = vec![0; pages * PAGE as usize];
                if pages >= LARGE {
                    sys::prefer_huge_pages(&mut room);
                }
                self.rooms.push(room);
                self.taken = 0;
                continue;
            }
            let (now, later) = missing.split_at(missing.len().min(free / PAGE as usize));
            let index = self.rooms.len();
            let first = self.taken;
            self.taken += now.len() * PAGE as usize;
            let held = memory.read_pages(now, &mut self.rooms[index - 1][first..self.taken]);
            for (number, (at, held)) in now.iter().zip(held).enumerate() {
                let from = first + number * PAGE as usize;
                let place = held.then_some((index as u32, from as u32));
                let along = asked.is_some_and(|asked| asked != at.0 / PAGE);
                self.along.0 += usize::from(along && held);
                self.by_number.insert(at.0 / PAGE, Page { place, added: false, along });
            }
            self.bytes += now.len() * PAGE as usize;
            missing = later;
        }
    }

    /// Reads a page, and those beside it if that pays.
    fn miss(&mut self, memory: &impl ReadMemory, number: u64) {
        self.missed += 1;
        let (read, used) = self.along;
        let pays = self.missed > ALONE_AT_MOST && (read < TRIED || used * 2 >= read);
        let width = if pays { memory.along().max(1) } else { 1 };
        let first = number - number % width;
        let missing: Vec<Address> = (first..first + width)
            .filter(|one| self.known(*one).is_none())
            .map(|one| Address(one * PAGE))
            .collect();
        self.read(memory, &missing, Some(number));
    }

    /// Where the bytes of a page are.
    fn place(&mut self, memory: &impl ReadMemory, number: u64) -> Option<Place> {
        let recent = (number % RECENT as u64) as usize;
        let (known, place) = self.recent[recent];
        if known == number {
            self.beyond |= place.0 > 0;
            return Some(place);
        }
        if let Some(from) = self.beginning.by_number.get(&number) {
            self.recent[recent] = (number, (0, *from));
            return Some((0, *from));
        }
        if !self.by_number.contains_key(&number) {
            self.miss(memory, number);
        }
        let page = self.by_number.get_mut(&number)?;
        self.along.1 += usize::from(std::mem::take(&mut page.along));
        self.asked += usize::from(!std::mem::replace(&mut page.added, true));
        self.beyond = true;
        self.recent[recent] = (number, page.place?);
        page.place
    }
}

impl<M: ReadMemory> ReadMemory for Cached<M> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let failed = Unreadable { address, length: buffer.len() };
        let mut pages = self.pages.borrow_mut();
        // Nearly all is short and within one page.
        let (number, within) = (address.0 / PAGE, (address.0 % PAGE) as usize);
        if (1..=PAGE as usize - within).contains(&buffer.len()) {
            let place = pages.place(&self.memory, number).ok_or(failed)?;
            buffer.copy_from_slice(&pages.at(place)[within..within + buffer.len()]);
            return Ok(());
        }
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

    fn expect(&self, addresses: &mut dyn Iterator<Item = Address>) {
        self.prefetch(addresses);
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
    fn what_is_read_along_may_be_read_from_here() {
        let memory = Cached::new(Pattern);
        memory.expect(&mut (0..2).map(|page| {
            let byte = memory.bytes(Address(page * PAGE + 1), 1).unwrap();
            Address(u64::from(byte[0]) + PAGE)
        }));
        assert_eq!(memory.added(), [Address(0), Address(PAGE)]);
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

    /// Tells how many pages each read took.
    #[derive(Clone, Default)]
    struct Counted(Arc<std::sync::Mutex<Vec<usize>>>);

    impl ReadMemory for Counted {
        fn read(&self, _address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
            buffer.fill(5);
            Ok(())
        }

        fn read_pages(&self, pages: &[Address], buffer: &mut [u8]) -> Vec<bool> {
            buffer.fill(5);
            self.0.lock().unwrap().push(pages.len());
            vec![true; pages.len()]
        }

        fn along(&self) -> u64 {
            16
        }
    }

    #[test]
    fn who_says_so_reads_along_at_once() {
        let memory = Cached::new(Counted::default());
        memory.expect_much();
        for page in 0..64 {
            assert_eq!(memory.bytes(Address(page * PAGE), 1).unwrap(), [5]);
        }
        assert_eq!(memory.asked(), 64);
        assert_eq!(*memory.memory.0.lock().unwrap(), [16; 4]);
    }

    #[test]
    fn who_goes_through_much_reads_along_as_long_as_it_pays() {
        let memory = Cached::new(Counted::default());
        for page in 0..640 {
            assert_eq!(memory.bytes(Address(page * PAGE), 1).unwrap(), [5]);
        }
        assert_eq!((memory.asked(), memory.added().len()), (640, 640));
        let reads = memory.memory.0.lock().unwrap().clone();
        assert_eq!(reads.len(), ALONE_AT_MOST + (640 - ALONE_AT_MOST) / 16);
        // Of each sixteen one is wanted.
        let memory = Cached::new(Counted::default());
        for page in 0..1000 {
            assert_eq!(memory.bytes(Address(page * 16 * PAGE), 1).unwrap(), [5]);
        }
        let all: usize = memory.memory.0.lock().unwrap().iter().sum();
        assert!((1000..1000 + TRIED + 16).contains(&all), "{all}");
        assert_eq!(memory.asked(), 1000);
    }

    #[test]
    fn a_fork_has_what_was_copied_and_no_more() {
        let copied = Copied { pages: vec![Address(PAGE)], bytes: vec![9; 4096], held: vec![true] };
        let first = Cached::with(Counted::default(), copied);
        assert_eq!(first.bytes(Address(2 * PAGE), 1).unwrap(), [5]);
        assert!(first.went_beyond());
        let fork = first.fork();
        assert_eq!(fork.bytes(Address(PAGE), 1).unwrap(), [9]);
        assert!(!fork.went_beyond() && fork.added().is_empty());
        assert_eq!(fork.bytes(Address(2 * PAGE), 1).unwrap(), [5]);
        assert!(fork.went_beyond());
        assert_eq!(first.anew().bytes(Address(PAGE), 1).unwrap(), [5]);
    }
}
