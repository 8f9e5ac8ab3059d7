//! The agent's files, compiled ahead for each version of CPython.
//!
//! Compiling in the target holds its GIL for milliseconds; loading what was compiled takes a twentieth of that. The
//! files under `compiled/` are made by `cargo xtask compile`; one that was made from other sources is not used. The
//! target checks the magic number (`Lib/importlib/_bootstrap_external.py`, `MAGIC_NUMBER`) and compiles the source if it is another.

use crate::bundle::{ALL, CORE};

/// The compiled files of one version.
#[derive(Clone, Copy, Debug)]
pub struct Compiled {
    /// As `PyImport_GetMagicNumber` gives it.
    pub magic: u32,
    parts: &'static [u8],
}

const FILES: [(u8, &[u8]); 10] = [
    (6, include_bytes!("../compiled/cpython-3.6.bin")),
    (7, include_bytes!("../compiled/cpython-3.7.bin")),
    (8, include_bytes!("../compiled/cpython-3.8.bin")),
    (9, include_bytes!("../compiled/cpython-3.9.bin")),
    (10, include_bytes!("../compiled/cpython-3.10.bin")),
    (11, include_bytes!("../compiled/cpython-3.11.bin")),
    (12, include_bytes!("../compiled/cpython-3.12.bin")),
    (13, include_bytes!("../compiled/cpython-3.13.bin")),
    (14, include_bytes!("../compiled/cpython-3.14.bin")),
    (15, include_bytes!("../compiled/cpython-3.15.bin")),
];

#[allow(long_running_const_eval)]
/// Of all sources, in the order in which they are compiled; FNV-1a, which tells changes and nothing else.
pub const SOURCES: u64 = {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, CORE.as_bytes());
    let mut i = 0;
    while i < ALL.len() {
        hash = fnv(hash, ALL[i].source.as_bytes());
        i += 1;
    }
    hash
};

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

/// What was compiled for Python 3.`minor`, if it was compiled from today's sources.
pub fn for_minor(minor: u8) -> Option<Compiled> {
    let (_, bytes) = FILES.iter().find(|(m, _)| *m == minor)?;
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (sources, parts) = rest.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*sources) == SOURCES)
        .then_some(Compiled { magic: u32::from_le_bytes(*magic), parts })
}

impl Compiled {
    /// The core's code, marshalled.
    pub fn core(&self) -> &'static [u8] {
        self.part(0)
    }

    /// The code of a feature, by its place in [`ALL`].
    pub fn feature(&self, place: usize) -> &'static [u8] {
        self.part(place + 1)
    }

    fn part(&self, number: usize) -> &'static [u8] {
        let mut rest = self.parts;
        for i in 0..=number {
            let Some((length, after)) = rest.split_first_chunk::<4>() else { return &[] };
            let length = u32::from_le_bytes(*length) as usize;
            let Some((part, after)) = after.split_at_checked(length) else { return &[] };
            if i == number {
                return part;
            }
            rest = after;
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_compiled_from_todays_sources() {
        for (minor, _) in FILES {
            let compiled = for_minor(minor);
            let compiled = compiled.unwrap_or_else(|| {
                panic!("compiled/cpython-3.{minor}.bin is stale: run `cargo xtask compile`")
            });
            assert!(compiled.core().len() > 1000);
            for place in 0..ALL.len() {
                assert!(compiled.feature(place).len() > 100);
            }
            assert!(compiled.part(ALL.len() + 1).is_empty());
        }
    }
}
