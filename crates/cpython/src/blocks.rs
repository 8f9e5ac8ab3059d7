//! The `with` and `try` blocks that a frame is in, and the lines where they begin.
//!
//! It knows the block stack of a frame (`PyFrame_BlockSetup` of `Objects/frameobject.c`, to 3.10) and the exception table
//! of a code object (`Objects/exception_handling_notes.txt`, 3.11+). What lies on the value stack below a block is in use.

use std::rc::Rc;

use spyhole_proc::Address;
use spyhole_proc::spread::QuickMap;

use crate::code::Code;
use crate::frames::RawFrame;
use crate::layout::{Blocks as Kept, Position};
use crate::reader::Reader;

/// A block that a frame is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Slots of the value stack that are in use as long as the block lasts.
    pub level: usize,
    /// Where it begins if it is a `with`; where a `try` handles exceptions.
    pub line: Option<u32>,
}

/// More nested blocks than the compiler allows (`CO_MAXBLOCKS`, 20 or 40), each with its way out.
const BLOCKS_AT_MOST: usize = 100;
const BYTES_AT_MOST: usize = 1 << 20;

/// Blocks by their code, which was read once.
pub struct Blocks<'a> {
    reader: Reader<'a>,
    codes: QuickMap<Address, Option<Rc<Known>>>,
    found: QuickMap<(Address, u64), Rc<[Block]>>,
}

struct Known {
    code: Code,
    /// The exception table, or the instructions.
    bytes: Vec<u8>,
}

impl<'a> Blocks<'a> {
    pub fn new(reader: Reader<'a>) -> Self {
        Self { reader, codes: QuickMap::default(), found: QuickMap::default() }
    }

    /// The blocks that a frame is in, innermost first.
    pub fn of(&mut self, frame: &RawFrame) -> Rc<[Block]> {
        match self.reader.layout.operands.blocks {
            Kept::Listed { count, list, bytes } => {
                let read = |at: u64| self.reader.memory.half(frame.address.plus(at));
                match read(count) {
                    Ok(count @ 1..) if count as usize <= BLOCKS_AT_MOST => {
                        self.listed(frame, count, list, bytes).unwrap_or_default().into()
                    }
                    _ => Rc::default(),
                }
            }
            Kept::Table(table) => {
                let key = (frame.code, frame.position);
                if let Some(known) = self.found.get(&key) {
                    return known.clone();
                }
                let blocks: Rc<[Block]> = self
                    .known(frame.code, table)
                    .map(|known| tabled(&self.reader, &known, frame))
                    .unwrap_or_default()
                    .into();
                self.found.insert(key, blocks.clone());
                blocks
            }
        }
    }

    fn known(&mut self, code: Address, bytes: u64) -> Option<Rc<Known>> {
        let reader = self.reader;
        let read = || {
            let at = reader.memory.pointer(code.plus(bytes)).ok()?;
            if reader.kind(at).ok()? != reader.types.bytes {
                return None;
            }
            let length = usize::try_from(reader.size(at).ok()?).ok()?.min(BYTES_AT_MOST);
            let bytes = reader.memory.bytes(at.plus(reader.layout.objects.bytes), length).ok()?;
            Some(Rc::new(Known { code: Code::read(&reader, code).ok()?, bytes }))
        };
        self.codes.entry(code).or_insert_with(read).clone()
    }

    fn listed(
        &mut self,
        frame: &RawFrame,
        count: u32,
        list: u64,
        bytes: u64,
    ) -> Option<Vec<Block>> {
        /// `int b_type, b_handler, b_level`
        const LENGTH: usize = 12;
        let known = self.known(frame.code, bytes)?;
        let reader = self.reader;
        let first = frame.address.plus(list);
        let list = reader.memory.bytes(first, count as usize * LENGTH).ok()?;
        let unit = if reader.layout.shape.position == Position::Words { 2 } else { 1 };
        let blocks = list.chunks_exact(LENGTH).rev().filter_map(|block| {
            let number = |at: usize| {
                let bytes = block.get(at..at + 4)?.try_into().ok()?;
                usize::try_from(i32::from_le_bytes(bytes)).ok()
            };
            let handler = number(4)?.checked_mul(unit)?;
            let line = with_to(&known.bytes, handler, unit)
                .and_then(|at| known.code.located(&reader, at as i64).line);
            Some(Block { level: number(8)?, line })
        });
        Some(blocks.collect())
    }
}

/// The `SETUP_WITH` or `SETUP_ASYNC_WITH` that leads to a handler when something is raised (`Include/opcode.h`, the same to 3.10).
fn with_to(instructions: &[u8], handler: usize, unit: usize) -> Option<usize> {
    const SETUP_WITH: u8 = 143;
    const SETUP_ASYNC_WITH: u8 = 154;
    const EXTENDED_ARG: u8 = 144;
    let mut argument = 0_usize;
    for (index, pair) in instructions.chunks_exact(2).enumerate() {
        argument = (argument << 8 | usize::from(pair[1])) & 0xffff_ffff;
        match pair[0] {
            EXTENDED_ARG => continue,
            SETUP_WITH | SETUP_ASYNC_WITH if index * 2 + 2 + argument * unit == handler => {
                return Some(index * 2);
            }
            _ => argument = 0,
        }
    }
    None
}

/// From the instruction that runs to what handles its exceptions, and from there on to what handles those.
fn tabled(reader: &Reader<'_>, known: &Known, frame: &RawFrame) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut passed: Vec<u64> = Vec::new();
    let Ok(mut at) = u64::try_from(known.code.offset(reader, frame) / 2) else { return blocks };
    while let Some(entry) = covering(&known.bytes, at) {
        // What handles the handler itself has more on the stack than what it handles.
        let inner = blocks.last().map(|block| block.level);
        let line = known.code.located(reader, entry.target.saturating_mul(2) as i64).line;
        let block = Block { level: entry.level, line };
        match inner {
            Some(inner) if entry.level > inner => {}
            _ => blocks.push(block),
        }
        if passed.contains(&entry.target) || passed.len() == BLOCKS_AT_MOST {
            break;
        }
        passed.push(entry.target);
        at = entry.target;
    }
    blocks
}

struct Entry {
    target: u64,
    level: usize,
}

/// The entry for an instruction, counted in units of two bytes.
fn covering(table: &[u8], at: u64) -> Option<Entry> {
    let mut bytes = table.iter();
    let mut number = || {
        let mut value = 0_u64;
        loop {
            let byte = bytes.next()?;
            value = value << 6 & 0xffff_ffff | u64::from(byte & 63);
            if byte & 64 == 0 {
                return Some(value);
            }
        }
    };
    loop {
        let (start, length, target) = (number()?, number()?, number()?);
        // The lowest bit: the position is pushed, too.
        let level = (number()? >> 1) as usize;
        if (start..start + length).contains(&at) {
            return Some(Entry { target, level });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_of_an_instruction_is_found() {
        // 2..5 to 20, one slot; 70..72 to 30, two slots and the position.
        let table = [0x80 | 2, 3, 20, 2, 0x80 | 64 | 1, 6, 2, 30, 5];
        let found = |at| covering(&table, at).map(|entry| (entry.target, entry.level));
        assert_eq!(found(1), None);
        assert_eq!(found(2), Some((20, 1)));
        assert_eq!(found(5), None);
        assert_eq!(found(71), Some((30, 2)));
        assert_eq!(covering(&[0xff; 9], 3).map(|entry| entry.level), None);
    }

    #[test]
    fn a_with_is_found_by_its_handler() {
        // 2: extended by 1, 4: `SETUP_WITH` 4: 6 + 260 or 6 + 520.
        let code = [1, 0, 144, 1, 143, 4, 1, 0, 143, 8];
        assert_eq!(with_to(&code, 266, 1), Some(4));
        assert_eq!(with_to(&code, 526, 2), Some(4));
        assert_eq!(with_to(&code, 18, 1), Some(8));
        assert_eq!(with_to(&code, 19, 1), None);
    }
}
