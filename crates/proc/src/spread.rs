//! A quick hash for addresses and numbers of one process, which an attacker cannot foresee.
//!
//! Looking at a process looks up pages and objects by the hundred thousand; the standard hash takes longer than all
//! else that is done with what is found.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map by addresses or numbers.
pub type QuickMap<K, V> = HashMap<K, V, Spread>;

/// Makes hashers; each map gets a seed of its own, so that no process can place its objects so that they collide.
#[derive(Clone, Copy, Debug)]
pub struct Spread(u64);

impl Default for Spread {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for Spread {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// Mixes by one long multiplication a word.
#[derive(Clone, Copy, Debug)]
pub struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, word: u64) {
        // The golden ratio's first 64 digits.
        const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0 ^ word) * FACTOR;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_i32(&mut self, word: i32) {
        self.write_u64(word.cast_unsigned().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    #[test]
    fn what_is_put_in_is_found() {
        let mut map = QuickMap::default();
        for n in 0..10_000_u64 {
            map.insert(Address(n << 12), n);
        }
        assert!((0..10_000).all(|n| map.get(&Address(n << 12)) == Some(&n)));
        assert_eq!(map.get(&Address(1)), None);
    }

    #[test]
    fn regular_addresses_do_not_collide() {
        let spread = Spread::default();
        let mut low = [0_u32; 256];
        for n in 0..25_600_u64 {
            low[(spread.hash_one(Address(0x7f00_0000_0000 + (n << 12))) & 0xff) as usize] += 1;
        }
        assert!(low.iter().all(|count| (20..500).contains(count)), "{low:?}");
    }
}
