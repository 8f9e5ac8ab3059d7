//! A recorded process whose memory was damaged: by chance that a number or a fuzzer's bytes decide.
//!
//! It knows what hurts readers: wild and cyclic pointers, lengths that are too large, memory that is missing and memory
//! that never ends. It does not know what the memory means.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;

use spyhole_proc::Address;
use spyhole_proc::capture::Capture;
use spyhole_proc::elf::file::MappedFiles;
use spyhole_proc::maps::{Mapping, Maps};
use spyhole_proc::memory::{ReadMemory, Unreadable};
use spyhole_proc::tasks::{Activity, Tasks};

const PAGE: usize = 4096;

/// Numbers to decide by.
pub(crate) trait Chance {
    /// One of `0..bound`.
    fn below(&mut self, bound: u64) -> u64;
}

/// The same numbers for the same seed (splitmix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Chance for Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % bound.max(1)
    }
}

/// What is read where nothing was recorded.
#[derive(Clone, Copy)]
enum Beyond {
    Nothing,
    Zeros,
    /// Words that lead to recorded pages, to each other, or nowhere.
    Pointers(u64),
}

/// A capture with damage.
pub(crate) struct Damaged<'a> {
    capture: &'a Capture,
    pages: Vec<Address>,
    changed: HashMap<u64, Vec<u8>>,
    missing: HashSet<u64>,
    beyond: Beyond,
    maps: Maps,
    bytes_read: Cell<u64>,
}

impl<'a> Damaged<'a> {
    pub(crate) fn new(capture: &'a Capture, chance: &mut dyn Chance) -> Self {
        let mut damaged = Self {
            capture,
            pages: capture.pages(),
            changed: HashMap::new(),
            missing: HashSet::new(),
            beyond: Beyond::Nothing,
            maps: capture.maps(),
            bytes_read: Cell::new(0),
        };
        damaged.beyond = match chance.below(8) {
            0 => Beyond::Zeros,
            1 => Beyond::Pointers(chance.below(u64::MAX)),
            _ => Beyond::Nothing,
        };
        // Mostly little: much damage is seen early, and what comes after is not reached.
        let most = 1 << chance.below(8);
        let count = 1 + chance.below(most);
        for _ in 0..count {
            damaged.hurt(chance);
        }
        if chance.below(16) == 0 {
            let drop = chance.below(40) as usize;
            let text: Vec<u8> = damaged.maps.iter().enumerate().fold(Vec::new(), |all, (i, m)| {
                let execute = if m.executable { 'x' } else { '-' };
                let write = if m.writable { 'w' } else { '-' };
                let (major, minor) = m.device;
                let line = format!(
                    "{:x}-{:x} r{write}{execute}p {:x} {major:x}:{minor:x} {} {}\n",
                    m.start.0,
                    m.end.0,
                    m.offset,
                    m.inode,
                    String::from_utf8_lossy(&m.path)
                );
                if i == drop { all } else { [all, line.into_bytes()].concat() }
            });
            damaged.maps = Maps::parse(&text);
        }
        damaged
    }

    pub(crate) fn maps(&self) -> &Maps {
        &self.maps
    }

    /// How much was read of it.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    fn any_page(&self, chance: &mut dyn Chance) -> u64 {
        self.pages[chance.below(self.pages.len() as u64) as usize].0
    }

    fn page_mut(&mut self, page: u64) -> &mut Vec<u8> {
        let capture = self.capture;
        self.changed
            .entry(page)
            .or_insert_with(|| capture.bytes(Address(page), PAGE).expect("it is recorded"))
    }

    fn hurt(&mut self, chance: &mut dyn Chance) {
        let page = self.any_page(chance);
        let at = chance.below(PAGE as u64 / 8) as usize * 8;
        let kind = chance.below(20);
        let word = match kind {
            0..=4 => {
                let bit = chance.below(PAGE as u64 * 8) as usize;
                self.page_mut(page)[bit / 8] ^= 1 << (bit % 8);
                return;
            }
            5 => {
                self.missing.insert(page);
                return;
            }
            6 => {
                let seed = chance.below(u64::MAX);
                let mut garbage = Seeded(seed);
                self.page_mut(page).fill_with(|| garbage.below(256) as u8);
                return;
            }
            7 => {
                let value = [0, 0xff, 1][chance.below(3) as usize];
                self.page_mut(page).fill(value);
                return;
            }
            8 => {
                let other = self.any_page(chance);
                let bytes = self.page_mut(other).clone();
                *self.page_mut(page) = bytes;
                return;
            }
            // A pointer to somewhere that is there: the same page, this word, another page.
            9..=10 => page + chance.below(PAGE as u64 / 8) * 8,
            11 => page + at as u64,
            12..=14 => self.any_page(chance) + chance.below(PAGE as u64 / 8) * 8,
            // A word that is there elsewhere, which likely means something.
            15..=16 => {
                let other = self.any_page(chance) + chance.below(PAGE as u64 / 8) * 8;
                self.word(Address(other)).unwrap_or(0)
            }
            17 => {
                let most = 1 << chance.below(63);
                chance.below(most)
            }
            18 => [0, 1, i64::MAX as u64, u64::MAX, 1 << 32, 1 << 20][chance.below(6) as usize],
            _ => chance.below(u64::MAX),
        };
        self.page_mut(page)[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn beyond(&self, page: u64, bytes: &mut [u8]) -> bool {
        // Not the page at zero, and nothing where the kernel is.
        if !(0x1_0000..1 << 47).contains(&page) {
            return false;
        }
        match self.beyond {
            Beyond::Nothing => return false,
            Beyond::Zeros => bytes.fill(0),
            Beyond::Pointers(seed) => {
                let mut chance = Seeded(seed ^ page);
                for word in bytes.chunks_exact_mut(8) {
                    let value = match chance.below(6) {
                        0 => 0,
                        1 => chance.below(300),
                        2 => page.wrapping_add(chance.below(1 << 16) * 8),
                        _ => self.any_page(&mut chance) + chance.below(PAGE as u64 / 8) * 8,
                    };
                    word.copy_from_slice(&value.to_le_bytes());
                }
            }
        }
        true
    }
}

impl ReadMemory for Damaged<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let failed = Unreadable { address, length: buffer.len() };
        self.bytes_read.set(self.bytes_read.get() + buffer.len() as u64);
        let mut done = 0;
        while done < buffer.len() {
            let here = address.0.checked_add(done as u64).ok_or(failed)?;
            let within = (here % PAGE as u64) as usize;
            let page = here - within as u64;
            let count = (PAGE - within).min(buffer.len() - done);
            let part = &mut buffer[done..done + count];
            if self.missing.contains(&page) {
                return Err(failed);
            } else if let Some(bytes) = self.changed.get(&page) {
                part.copy_from_slice(&bytes[within..within + count]);
            } else if self.capture.read(Address(here), part).is_err() {
                let mut bytes = [0; PAGE];
                if !self.beyond(page, &mut bytes) {
                    return Err(failed);
                }
                part.copy_from_slice(&bytes[within..within + count]);
            }
            done += count;
        }
        Ok(())
    }
}

impl MappedFiles for Damaged<'_> {
    fn open(&self, mapping: &Mapping) -> io::Result<File> {
        self.capture.open(mapping)
    }
}

impl Tasks for Damaged<'_> {
    fn by_inner_id(&self) -> io::Result<HashMap<i32, i32>> {
        self.capture.by_inner_id()
    }

    fn activity(&self, tid: i32) -> Option<Activity> {
        self.capture.activity(tid)
    }

    fn name(&self, tid: i32) -> Option<Vec<u8>> {
        Tasks::name(self.capture, tid)
    }

    fn is_stopped(&self) -> bool {
        self.capture.is_stopped()
    }
}
