//! The calls on a thread's C stack, innermost first, told from outside.
//!
//! It follows the tables that compilers leave for exceptions (`.eh_frame` and its index `.eh_frame_hdr`; System V ABI for
//! x86-64, 3.7; DWARF 4, 6.4). They are mapped with the code, in stripped files, too, and tell where each function begins
//! and ends. It does not know what functions are called, and not the calls of code that has no such table.

use std::collections::HashMap;
use std::ops::Range;

use crate::Address;
use crate::arch;
use crate::elf::Image;
use crate::maps::Maps;
use crate::memory::ReadMemory;

/// Registers as DWARF numbers them: 16 of the processor, and where the code goes on.
const REGISTERS: usize = 17;
const RBX: usize = 3;
const RBP: usize = 6;
const RSP: usize = 7;
const R12: usize = 12;
const RIP: usize = 16;
/// The calls that are followed.
const CALLS_AT_MOST: usize = 200;
/// What describes one function; the longest ones have a few kilobytes.
const ENTRY_AT_MOST: u32 = 1 << 16;
const FUNCTIONS_AT_MOST: u32 = 1 << 22;
const REMEMBERED_AT_MOST: usize = 16;

/// The registers of a thread, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers([Option<u64>; REGISTERS]);

impl Registers {
    /// Of a thread in a system call or stopped by a signal: the kernel tells these two alone.
    pub fn told(stack: Address, code: Address) -> Self {
        let mut registers = [None; REGISTERS];
        (registers[RSP], registers[RIP]) = (Some(stack.0), Some(code.0));
        Self(registers)
    }

    pub fn of(found: &arch::Registers) -> Self {
        let mut registers = [None; REGISTERS];
        let known = [
            (RBX, found.rbx),
            (RBP, found.rbp),
            (RSP, found.rsp),
            (R12, found.r12),
            (R12 + 1, found.r13),
            (R12 + 2, found.r14),
            (R12 + 3, found.r15),
            (RIP, found.rip),
        ];
        for (number, value) in known {
            registers[number] = Some(value);
        }
        Self(registers)
    }

    pub fn stack_pointer(&self) -> Option<Address> {
        self.0[RSP].map(Address)
    }
}

/// The top of a thread's stack, as it was with the registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackCopy {
    pub at: Address,
    pub bytes: Vec<u8>,
}

impl StackCopy {
    /// As much of it as there is, from `at` on, at most `most` bytes.
    pub fn read(memory: &dyn ReadMemory, at: Address, most: usize) -> Self {
        let page_rest = 4096 - (at.0 % 4096) as usize;
        let lengths = std::iter::successors(Some(most), |length| Some(length / 2));
        let lengths = lengths.take_while(|length| *length > page_rest).chain([page_rest]);
        let bytes = lengths.into_iter().find_map(|length| memory.bytes(at, length).ok());
        Self { at, bytes: bytes.unwrap_or_default() }
    }

    fn word(&self, at: u64) -> Option<u64> {
        let from = usize::try_from(at.checked_sub(self.at.0)?).ok()?;
        let bytes = self.bytes.get(from..from.checked_add(8)?)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }
}

/// One call that has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// An instruction in it: the one that is next, or of the outer ones the call.
    pub at: Address,
    /// Its function's code, or a part of that; `None` if no table tells.
    pub function: Option<Range<Address>>,
}

/// Where the index of a file's tables lies.
#[derive(Clone, Copy, Debug)]
struct Index {
    base: Address,
    entries: Address,
    count: u64,
}

/// Follows calls, and remembers the files that it met.
pub struct Unwinder<'a> {
    memory: &'a dyn ReadMemory,
    maps: &'a Maps,
    indexes: HashMap<Address, Option<Index>>,
}

impl<'a> Unwinder<'a> {
    pub fn new(memory: &'a dyn ReadMemory, maps: &'a Maps) -> Self {
        Self { memory, maps, indexes: HashMap::new() }
    }

    /// The code of the function that an instruction belongs to.
    pub fn function(&mut self, at: Address) -> Option<Range<Address>> {
        Some(self.entry(at)?.code)
    }

    /// The calls of a thread, as far as they can be followed.
    pub fn calls(&mut self, registers: Registers, stack: &StackCopy) -> Vec<Call> {
        let mut registers = registers;
        let mut calls = Vec::new();
        let mut returned_to = false;
        while calls.len() < CALLS_AT_MOST {
            // A call may be the last instruction of its function.
            let Some(at) = registers.0[RIP].map(|at| Address(at.wrapping_sub(returned_to.into())))
            else {
                break;
            };
            if at.0 < 4096 {
                break;
            }
            let entry = self.entry(at);
            calls.push(Call { at, function: entry.as_ref().map(|entry| entry.code.clone()) });
            let Some(entry) = entry else { break };
            let Some(next) = entry.row(at).and_then(|row| row.caller(&registers, stack)) else {
                break;
            };
            returned_to = !entry.common.is_signal;
            registers = next;
        }
        calls
    }

    fn index(&mut self, at: Address) -> Option<Index> {
        let mapping = self.maps.at(at).filter(|mapping| mapping.executable)?;
        let (memory, maps) = (self.memory, self.maps);
        *self.indexes.entry(mapping.start).or_insert_with(|| {
            let image = Image::of(memory, maps, mapping).ok()?;
            Index::read(memory, image.unwinding?)
        })
    }

    /// The entry for an instruction, found by halves in the index.
    fn entry(&mut self, at: Address) -> Option<Entry> {
        let index = self.index(at)?;
        let place = |half: u32| Address(index.base.0.wrapping_add(i64::from(half as i32) as u64));
        let begin = |number: u64| self.memory.half(index.entries.plus(number * 8)).map(&place).ok();
        let (mut low, mut high) = (0, index.count);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if begin(middle)? <= at { low = middle } else { high = middle }
        }
        let entry = place(self.memory.half(index.entries.plus(low * 8 + 4)).ok()?);
        Entry::read(self.memory, entry).filter(|entry| entry.code.contains(&at))
    }
}

impl Index {
    /// `.eh_frame_hdr` as all linkers make it: 4-byte numbers, sorted, counted from its own beginning (Linux Standard Base
    /// Core 5.0, 10.6.2).
    fn read(memory: &dyn ReadMemory, at: Address) -> Option<Self> {
        const FORM: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
        if memory.bytes(at, 4).ok()? != FORM {
            return None;
        }
        let count = memory.half(at.plus(8)).ok()?.min(FUNCTIONS_AT_MOST);
        (count > 0).then(|| Self { base: at, entries: at.plus(12), count: count.into() })
    }
}

/// What many functions have in common (a CIE).
#[derive(Clone, Debug)]
struct Common {
    code_step: u64,
    data_step: i64,
    /// How addresses are written.
    form: u8,
    /// There is more before the instructions.
    has_more: bool,
    /// The frame of a signal handler's return: what it goes back to did not call.
    is_signal: bool,
    instructions: Vec<u8>,
}

/// What tells of one function (an FDE).
#[derive(Clone, Debug)]
struct Entry {
    common: Common,
    code: Range<Address>,
    instructions: Vec<u8>,
}

impl Entry {
    fn read(memory: &dyn ReadMemory, at: Address) -> Option<Self> {
        let bytes = record(memory, at)?;
        let mut bytes = Bytes(&bytes);
        let back = bytes.half()?;
        if back == 0 {
            return None;
        }
        let common = Common::read(memory, Address(at.0.wrapping_add(4) - u64::from(back)))?;
        let start = bytes.address(common.form, at.plus(8))?;
        // The length is written as the beginning is, counted from nothing.
        let length = bytes.address(common.form & 0x0f, Address(0))?.0;
        if common.has_more {
            let more = bytes.unsigned()?;
            bytes.skip(more)?;
        }
        let end = Address(start.0.checked_add(length)?);
        Some(Self { common, code: start..end, instructions: bytes.0.to_vec() })
    }

    /// What holds at an instruction.
    fn row(&self, at: Address) -> Option<Row> {
        let mut row = Row::default();
        let begin = self.code.start;
        row.run(&self.common, &self.common.instructions, begin, at, &Row::default())?;
        let initial = row.clone();
        row.run(&self.common, &self.instructions, begin, at, &initial)?;
        Some(row)
    }
}

impl Common {
    fn read(memory: &dyn ReadMemory, at: Address) -> Option<Self> {
        let bytes = record(memory, at)?;
        let mut bytes = Bytes(&bytes);
        if bytes.half()? != 0 {
            return None;
        }
        let version = bytes.byte()?;
        let length = bytes.0.iter().position(|byte| *byte == 0)?;
        let (augmentation, rest) = bytes.0.split_at(length);
        bytes.0 = &rest[1..];
        let code_step = bytes.unsigned()?;
        let data_step = bytes.signed()?;
        let returns = if version == 1 { u64::from(bytes.byte()?) } else { bytes.unsigned()? };
        if returns != RIP as u64 {
            return None;
        }
        let (mut form, mut is_signal) = (0, false);
        let has_more = augmentation.first() == Some(&b'z');
        if has_more {
            let length = bytes.unsigned()?;
            let mut more = Bytes(bytes.0.get(..usize::try_from(length).ok()?)?);
            bytes.skip(length)?;
            for what in &augmentation[1..] {
                match what {
                    b'R' => form = more.byte()?,
                    b'S' => is_signal = true,
                    b'L' => drop(more.byte()?),
                    b'P' => {
                        let form = more.byte()?;
                        more.address(form, Address(0))?;
                    }
                    _ => return None,
                }
            }
        } else if !augmentation.is_empty() {
            return None;
        }
        let instructions = bytes.0.to_vec();
        Some(Self { code_step, data_step, form, has_more, is_signal, instructions })
    }
}

/// A record of `.eh_frame`, without its length.
fn record(memory: &dyn ReadMemory, at: Address) -> Option<Vec<u8>> {
    let length = memory.half(at).ok().filter(|length| (4..=ENTRY_AT_MOST).contains(length))?;
    memory.bytes(at.plus(4), length as usize).ok()
}

/// Where a caller's register is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rule {
    /// Where it was: not changed.
    #[default]
    Same,
    /// There is none.
    Undefined,
    /// On the stack, so far from the frame's address.
    Saved(i64),
    /// So far from the frame's address.
    Value(i64),
    Register(usize),
    /// Told by a formula, which is not worked out.
    Formula,
}

/// How the caller's registers are found.
#[derive(Clone, Debug, Default)]
struct Row {
    /// The frame's address: a register and a distance; `None`: a formula.
    frame: Option<(usize, i64)>,
    /// It is code of the procedure linkage table, which pushes a word at this place of each 16 bytes.
    linkage: Option<u64>,
    rules: [Rule; REGISTERS],
}

impl Row {
    /// Works off instructions up to those for code behind `at`. `None` if one is not known.
    fn run(
        &mut self,
        common: &Common,
        instructions: &[u8],
        begin: Address,
        at: Address,
        initial: &Row,
    ) -> Option<()> {
        let mut bytes = Bytes(instructions);
        let mut location = begin.0;
        let mut remembered: Vec<Row> = Vec::new();
        let data = |count: u64| (count as i64).wrapping_mul(common.data_step);
        let data_of = |count: i64| count.wrapping_mul(common.data_step);
        while !bytes.0.is_empty() {
            let instruction = bytes.byte()?;
            let low = usize::from(instruction & 0x3f);
            let step = match (instruction >> 6, instruction) {
                (1, _) => Some(low as u64),
                (_, 0x02) => Some(bytes.byte()?.into()),
                (_, 0x03) => Some(u64::from(bytes.byte()?) | u64::from(bytes.byte()?) << 8),
                (_, 0x04) => Some(bytes.half()?.into()),
                _ => None,
            };
            if let Some(step) = step {
                location = location.wrapping_add(step.wrapping_mul(common.code_step));
                if location > at.0 {
                    return Some(());
                }
                continue;
            }
            match (instruction >> 6, instruction) {
                (2, _) => self.set(low as u64, Rule::Saved(data(bytes.unsigned()?))),
                (3, _) => self.set(low as u64, *initial.rules.get(low).unwrap_or(&Rule::Same)),
                (_, 0x00) => {}
                (_, 0x05) => {
                    let register = bytes.unsigned()?;
                    self.set(register, Rule::Saved(data(bytes.unsigned()?)));
                }
                (_, 0x06) => {
                    let register = bytes.unsigned()?;
                    let rule = usize::try_from(register).ok().and_then(|r| initial.rules.get(r));
                    self.set(register, *rule.unwrap_or(&Rule::Same));
                }
                (_, 0x07) => self.set(bytes.unsigned()?, Rule::Undefined),
                (_, 0x08) => self.set(bytes.unsigned()?, Rule::Same),
                (_, 0x09) => {
                    let register = bytes.unsigned()?;
                    let other = usize::try_from(bytes.unsigned()?).ok()?;
                    self.set(register, Rule::Register(other));
                }
                (_, 0x0a) => {
                    if remembered.len() == REMEMBERED_AT_MOST {
                        return None;
                    }
                    remembered.push(self.clone());
                }
                (_, 0x0b) => *self = remembered.pop()?,
                (_, 0x0c) => {
                    let register = usize::try_from(bytes.unsigned()?).ok()?;
                    self.frame = Some((register, bytes.unsigned()? as i64));
                }
                (_, 0x0d) => self.frame.as_mut()?.0 = usize::try_from(bytes.unsigned()?).ok()?,
                (_, 0x0e) => self.frame.as_mut()?.1 = bytes.unsigned()? as i64,
                (_, 0x0f) => {
                    let length = usize::try_from(bytes.unsigned()?).ok()?;
                    let formula = bytes.0.get(..length)?;
                    bytes.0 = &bytes.0[length..];
                    self.frame = None;
                    self.linkage = linkage(formula);
                }
                (_, 0x10 | 0x16) => {
                    let register = bytes.unsigned()?;
                    let length = bytes.unsigned()?;
                    bytes.skip(length)?;
                    self.set(register, Rule::Formula);
                }
                (_, 0x11) => {
                    let register = bytes.unsigned()?;
                    self.set(register, Rule::Saved(data_of(bytes.signed()?)));
                }
                (_, 0x12) => {
                    let register = usize::try_from(bytes.unsigned()?).ok()?;
                    self.frame = Some((register, data_of(bytes.signed()?)));
                }
                (_, 0x13) => self.frame.as_mut()?.1 = data_of(bytes.signed()?),
                (_, 0x14) => {
                    let register = bytes.unsigned()?;
                    self.set(register, Rule::Value(data(bytes.unsigned()?)));
                }
                (_, 0x15) => {
                    let register = bytes.unsigned()?;
                    self.set(register, Rule::Value(data_of(bytes.signed()?)));
                }
                // How much is pushed for a call: changes nothing here.
                (_, 0x2e) => drop(bytes.unsigned()?),
                _ => return None,
            }
        }
        Some(())
    }

    /// Registers that are not followed have no rule.
    fn set(&mut self, register: u64, rule: Rule) {
        let register = usize::try_from(register).ok();
        if let Some(place) = register.and_then(|register| self.rules.get_mut(register)) {
            *place = rule;
        }
    }

    /// The registers of the caller; `None` at the outermost call, or where they cannot be told.
    fn caller(&self, here: &Registers, stack: &StackCopy) -> Option<Registers> {
        let frame = match (self.frame, self.linkage) {
            (Some((register, distance)), _) => {
                (*here.0.get(register)?)?.wrapping_add(distance as u64)
            }
            (None, Some(pushed)) => {
                let pushes = here.0[RIP]? & 15 >= pushed;
                here.0[RSP]?.wrapping_add(if pushes { 16 } else { 8 })
            }
            (None, None) => return None,
        };
        if frame <= here.0[RSP]? {
            return None;
        }
        let mut caller = [None; REGISTERS];
        for (number, rule) in self.rules.iter().enumerate() {
            // What a function may change without saying so is not known before its call.
            let is_kept = matches!(number, RBX | RBP) || (R12..RIP).contains(&number);
            caller[number] = match rule {
                Rule::Same if is_kept => here.0[number],
                Rule::Same | Rule::Undefined | Rule::Formula => None,
                Rule::Saved(from) => stack.word(frame.wrapping_add(*from as u64)),
                Rule::Value(from) => Some(frame.wrapping_add(*from as u64)),
                Rule::Register(other) => here.0.get(*other).copied().flatten(),
            };
        }
        caller[RSP] = Some(frame);
        caller[RIP].is_some().then_some(Registers(caller))
    }
}

/// The formula that linkers write for the procedure linkage table, `rsp + 8 + ((rip & 15 >= N) << 3)`: its N.
fn linkage(formula: &[u8]) -> Option<u64> {
    /// `DW_OP_lit0`
    const LITERAL: u8 = 0x30;
    match formula {
        [0x77, 8, 0x80, 0, 0x3f, 0x1a, number, 0x2a, 0x33, 0x24, 0x22] => {
            number.checked_sub(LITERAL).map(u64::from).filter(|number| *number < 16)
        }
        _ => None,
    }
}

/// Bytes that are read from their beginning on.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn half(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// LEB128
    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let mut value = 0_i64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let unused = 64_u32.saturating_sub(shift + 7);
                return Some(value << unused >> unused);
            }
        }
        None
    }

    /// An address in one of the forms that x86-64 has: whole or of 4 bytes, from nothing or from its own place.
    fn address(&mut self, form: u8, at: Address) -> Option<Address> {
        let value = match form & 0x0f {
            0x00 | 0x04 | 0x0c => u64::from_le_bytes(self.take()?),
            0x03 => self.half()?.into(),
            0x0b => i64::from(self.half()? as i32) as u64,
            _ => return None,
        };
        match form & 0x70 {
            0x00 => Some(Address(value)),
            0x10 => Some(Address(at.0.wrapping_add(value))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
