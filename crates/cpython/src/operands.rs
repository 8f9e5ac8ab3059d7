//! The value stack of a frame: what it has at hand at this moment.
//!
//! It knows where the stack lies. Up to 3.13 a frame that runs does not tell how much of it is in use
//! (`Python/ceval.c` keeps that in a register): what lies above may be left from before.

use spyhole_proc::Address;

use crate::frames::RawFrame;
use crate::layout::{Begin, StackEnd, Variables};
use crate::reader::Reader;

/// What lies on a value stack, the lowest first; null for no object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operands {
    pub slots: Vec<Address>,
    /// All of it is in use.
    pub exact: bool,
}

/// Slots that are looked at; code written by people needs some tens.
pub const SLOTS_AT_MOST: u64 = 2000;
const VARIABLES_AT_MOST: i64 = 1 << 16;

impl Reader<'_> {
    /// The value stack of a frame; `None` if that cannot be read.
    pub fn operands(&self, frame: &RawFrame) -> Option<Operands> {
        if self.kind(frame.code).ok()? != self.types.code {
            return None;
        }
        let of = &self.layout.operands;
        let first = match (of.begin, self.layout.code.variables) {
            (Begin::Told(place), _) => self.memory.pointer(frame.address.plus(place)).ok()?,
            (Begin::BehindVariables, Variables::Together { names, .. }) => {
                let names = self.memory.pointer(frame.code.plus(names)).ok()?;
                let count = self.size(names).ok()?;
                if !(0..=VARIABLES_AT_MOST).contains(&count) {
                    return None;
                }
                frame.address.plus(self.layout.frame.locals + count as u64 * 8)
            }
            (Begin::BehindVariables, Variables::Apart { .. }) => return None,
        };
        let size = self.memory.half(frame.code.plus(of.size)).ok()?;
        let size = u64::from(size).min(SLOTS_AT_MOST);
        let used = self.used(frame, first).filter(|used| *used <= size);
        let count = used.unwrap_or(size);
        let bytes = self.memory.bytes(first, count as usize * 8).ok()?;
        let words = bytes.chunks_exact(8).map(|b| b.try_into().map_or(0, u64::from_le_bytes));
        let slots = words.map(|word| self.layout.shape.references.address(word)).collect();
        Some(Operands { slots, exact: used.is_some() })
    }

    /// How many slots of a frame's value stack, which begins at `first`, are in use; `None` if it does not tell.
    fn used(&self, frame: &RawFrame, first: Address) -> Option<u64> {
        let place = frame.address.plus(self.layout.operands.end);
        let depth = || {
            let depth = self.memory.half(place).ok()? as i32;
            u64::try_from(depth).ok()
        };
        match self.layout.shape.generators.end {
            StackEnd::Address => {
                let end = self.memory.pointer(place).ok().filter(|end| !end.is_null())?;
                Some(end.0.wrapping_sub(first.0) / 8)
            }
            StackEnd::Depth => depth(),
            StackEnd::BehindLocals => {
                let locals = frame.address.plus(self.layout.frame.locals);
                depth()?.checked_sub(first.0.wrapping_sub(locals.0) / 8)
            }
        }
    }
}
