//! Generators and coroutines that do not run: where they are, and what they wait for.
//!
//! It knows `Objects/genobject.c`. A chain of awaits is followed through coroutines, generators, asynchronous generators and
//! the wrappers around them; whatever else is awaited ends it.

use std::collections::HashSet;

use spyhole_proc::Address;

use crate::frames::{self, End, RawFrame};
use crate::layout::{Awaiting, Blocks, GeneratorFrame, GeneratorStates, Position, Shape, WRAPPED};
use crate::reader::Reader;

/// What a generator or coroutine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was not begun.
    Created,
    Suspended,
    Running,
    Ended,
}

/// A generator or coroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generator {
    pub state: State,
    /// Where it is; `None` if it ended.
    pub frame: Option<RawFrame>,
    /// What it awaits; null if that is nothing, or it is not told.
    pub awaits: Address,
}

/// A coroutine and those that it awaits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Of the first one; the others are suspended, too, or run.
    pub state: State,
    /// Innermost first.
    pub frames: Vec<RawFrame>,
    pub end: End,
    /// The innermost one runs.
    pub runs: bool,
    /// What the innermost one awaits, and is no coroutine itself; null for nothing.
    pub awaits: Address,
}

impl Reader<'_> {
    /// Whether the object is a generator or a coroutine of Python code.
    pub fn is_generator(&self, at: Address) -> bool {
        let types = self.types;
        let kinds = [types.coroutine, types.generator, types.async_generator];
        self.kind(at).is_ok_and(|kind| !kind.is_null() && kinds.contains(&kind))
    }

    /// The generator at `at`, which must be known to be one.
    pub fn generator(&self, at: Address) -> Option<Generator> {
        let of = &self.layout.suspended;
        let ended = Generator { state: State::Ended, frame: None, awaits: Address(0) };
        let place = at.plus(of.generator_frame);
        let frame = match self.layout.shape.generators.frame {
            GeneratorFrame::Within => place,
            GeneratorFrame::Object => self.memory.pointer(place).ok()?,
        };
        if frame.is_null() {
            return Some(ended);
        }
        let byte = |at: Address| Some(self.memory.bytes(at, 1).ok()?[0] as i8);
        let number = match self.layout.shape.generators.states {
            GeneratorStates::OfFrame { .. } => byte(frame.plus(of.generator_state))?,
            GeneratorStates::Own { .. } | GeneratorStates::Flag => {
                byte(at.plus(of.generator_state))?
            }
        };
        let raw = frames::one(self.memory, self.layout, frame).ok()?;
        let state = match self.layout.shape.generators.states {
            GeneratorStates::Flag if number != 0 => State::Running,
            GeneratorStates::Flag if raw.position as i64 == -1 => State::Created,
            GeneratorStates::Flag => State::Suspended,
            GeneratorStates::OfFrame { created, suspended }
            | GeneratorStates::Own { created, suspended } => match number {
                number if number == created => State::Created,
                number if Shape::is_suspended(number, suspended) => State::Suspended,
                // Whichever number means that it runs lies between what is suspended and what is done.
                number if number == suspended.1 + 1 => State::Running,
                _ => return Some(ended),
            },
        };
        let awaits = match state {
            State::Suspended if self.is_awaiting(&raw, number) => self.awaited(&raw),
            _ => None,
        };
        Some(Generator { state, frame: Some(raw), awaits: awaits.unwrap_or_default() })
    }

    /// Whether a suspended generator waits for another, and did not just give a value.
    fn is_awaiting(&self, frame: &RawFrame, state: i8) -> bool {
        const YIELD_FROM: u8 = 72;
        match (self.layout.shape.generators.awaiting, self.layout.operands.blocks) {
            (Awaiting::State(first, last), _) => Shape::is_suspended(state, (first, last)),
            // The low bits of the argument, before others were added to them (`Include/internal/pycore_opcode_utils.h`).
            (Awaiting::Argument, _) => {
                let next = Address(frame.position).plus(3);
                self.memory.bytes(next, 1).is_ok_and(|argument| argument[0] & 3 >= 2)
            }
            (Awaiting::Instruction, Blocks::Listed { bytes, .. }) => {
                let unit = match self.layout.shape.position {
                    Position::Words => 2,
                    _ => 1,
                };
                let next = frame.position.wrapping_mul(unit).wrapping_add(2);
                let code = self.memory.pointer(frame.code.plus(bytes));
                let code = code.map(|code| code.plus(self.layout.objects.bytes).plus(next));
                code.and_then(|at| self.memory.bytes(at, 1)).is_ok_and(|op| op[0] == YIELD_FROM)
            }
            (Awaiting::Instruction, Blocks::Table(_)) => false,
        }
    }

    /// What lies on top of a suspended frame's value stack.
    fn awaited(&self, frame: &RawFrame) -> Option<Address> {
        let operands = self.operands(frame).filter(|operands| operands.exact)?;
        let above = self.layout.shape.generators.above;
        let index = operands.slots.len().checked_sub(1 + above)?;
        operands.slots.get(index).copied()
    }

    /// A coroutine with those that it awaits, at most `most` frames.
    pub fn await_chain(&self, coroutine: Address, most: usize) -> Chain {
        let mut frames = Vec::new();
        let mut seen = HashSet::new();
        let mut chain = Chain {
            state: State::Ended,
            frames: Vec::new(),
            end: End::Whole,
            runs: false,
            awaits: Address(0),
        };
        let mut at = coroutine;
        while !at.is_null() {
            if frames.len() == most {
                chain.end = End::Cut;
                break;
            }
            if !seen.insert(at) {
                chain.end = End::Torn;
                break;
            }
            if !self.is_generator(at) {
                match self.unwrapped(at) {
                    Some(inner) => {
                        at = inner;
                        continue;
                    }
                    None => {
                        chain.awaits = at;
                        break;
                    }
                }
            }
            let Some(generator) = self.generator(at) else {
                chain.end = End::Torn;
                break;
            };
            if at == coroutine {
                chain.state = generator.state;
            }
            chain.runs = generator.state == State::Running;
            frames.extend(generator.frame);
            at = generator.awaits;
        }
        frames.reverse();
        chain.frames = frames;
        chain
    }

    /// What a wrapper around an awaited object leads to.
    fn unwrapped(&self, at: Address) -> Option<Address> {
        let name = self.type_name(self.kind(at).ok()?)?;
        let name = name.rsplit('.').next()?;
        let known = [
            "async_generator_asend",
            "async_generator_athrow",
            "coroutine_wrapper",
            "anext_awaitable",
            "FutureIter",
        ];
        if !known.contains(&name) {
            return None;
        }
        let inner = self.memory.pointer(at.plus(WRAPPED)).ok()?;
        (!inner.is_null() && inner != at).then_some(inner)
    }

    /// `__qualname__` of a generator or coroutine.
    pub fn generator_name(&self, at: Address) -> Option<String> {
        const NAME_AT_MOST: usize = 1000;
        let name = self.memory.pointer(at.plus(self.layout.details.generator_name)).ok()?;
        self.text(name, NAME_AT_MOST).map(|name| name.text)
    }
}
