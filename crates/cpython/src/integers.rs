//! Ints: sign and digits (`Include/cpython/longintrepr.h`).
//!
//! It knows digits of 30 bits, which every build for this machine has.

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use crate::layout::Integers;
use crate::reader::Reader;

/// An int of any length: its sign and its digits, the lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integer {
    pub negative: bool,
    pub digits: Vec<u32>,
    /// How many digits it has; more than `digits` holds if it was cut.
    pub count: u64,
}

const BITS: u32 = 30;

impl Reader<'_> {
    /// At most `most` digits of the int at `at`, which must be known to be one.
    pub fn integer(&self, at: Address, most: usize) -> Result<Integer, Unreadable> {
        let of = &self.layout.objects;
        let tag = self.memory.word(at.plus(of.integer_tag))?;
        let (negative, count) = match self.layout.shape.integers {
            Integers::SignedSize => ((tag as i64) < 0, (tag as i64).unsigned_abs()),
            // 0 positive, 1 zero, 2 negative.
            Integers::Tag if tag & 3 == 1 => (false, 0),
            Integers::Tag => (tag & 3 == 2, tag >> 3),
        };
        let taken = usize::try_from(count).unwrap_or(usize::MAX).min(most);
        let bytes = self.memory.bytes(at.plus(of.integer_digits), taken * 4)?;
        let digits = bytes
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]) & ((1 << BITS) - 1))
            .collect();
        Ok(Integer { negative, digits, count })
    }

    /// An int that is a 64-bit word; `None` if it is another kind of object or does not fit.
    pub fn word(&self, at: Address) -> Option<u64> {
        if self.kind(at).ok()? != self.types.integer {
            return None;
        }
        let integer = self.integer(at, 3).ok()?;
        if integer.negative || integer.count > 3 {
            return None;
        }
        let value = integer
            .digits
            .iter()
            .rev()
            .fold(0_u128, |value, digit| value << BITS | u128::from(*digit));
        u64::try_from(value).ok()
    }
}
