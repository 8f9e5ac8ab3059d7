//! A recorded process of some version, with damage that the fuzzer chooses, is looked at.
//!
//! The limits are the fuzzer's own: `-timeout`, `-malloc_limit_mb`, `-rss_limit_mb`.

#![no_main]

#[path = "../../crates/session/tests/damage/mod.rs"]
mod damage;

use std::sync::OnceLock;

use damage::{Chance, Damaged};
use libfuzzer_sys::fuzz_target;
use spyhole_proc::capture::Capture;
use spyhole_session::locals::Wanted;
use spyhole_session::snapshot;

/// Values are read, too.
const LOCALS: Wanted = Wanted { characters: 200, reveal: false };

/// Numbers from the fuzzer's bytes; when they are used up, always the first choice.
struct Bytes<'a>(&'a [u8]);

impl Chance for Bytes<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        let wanted = match bound {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            0x1_0001..=0x1_0000_0000 => 4,
            _ => 8,
        };
        let (taken, rest) = self.0.split_at(self.0.len().min(wanted));
        self.0 = rest;
        taken.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)) % bound.max(1)
    }
}

fn captures() -> &'static [Capture] {
    static CAPTURES: OnceLock<Vec<Capture>> = OnceLock::new();
    CAPTURES.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/cpython/tests/captures");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| Capture::parse(&std::fs::read(file).unwrap()).unwrap()).collect()
    })
}

fuzz_target!(|bytes: &[u8]| {
    let captures = captures();
    let mut chance = Bytes(bytes);
    let capture = &captures[chance.below(captures.len() as u64) as usize];
    let process = Damaged::new(capture, &mut chance);
    let _ = snapshot::of_still(capture.pid, process.maps(), &process, Some(LOCALS));
});
