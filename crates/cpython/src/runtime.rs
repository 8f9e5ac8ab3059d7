//! The interpreters of a process and who holds the GIL.
//!
//! It knows the variables where these lists begin (`Python/pylifecycle.c`, `Python/pystate.c`) and how to follow them,
//! within bounds. What a thread does is told by `threads` and `frames`.

use std::ops::Range;

use spyhole_proc::Address;
use spyhole_proc::memory::{ReadMemory, Unreadable};
use thiserror::Error;

use crate::layout::{Gil, Layout};
use crate::locate::Runtime;

/// Why the list of interpreters was not found.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RootsError {
    #[error("it does not export `{symbol}`")]
    NoSymbol { symbol: &'static str },
    #[error("the function `PyInterpreterState_Head` has an unknown form")]
    UnknownFunction,
}

/// Where everything begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Where the address of the first interpreter is stored.
    interpreters: Address,
    /// `_PyRuntime`, or the variable `_PyThreadState_Current` before there was one; that one cannot always be found.
    gil: Option<Address>,
}

/// An interpreter's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterState {
    pub address: Address,
    /// 0 is the main one.
    pub id: i64,
    /// The state of its first thread.
    pub threads: Address,
    /// `sys.modules`
    pub modules: Address,
}

/// More interpreters than anybody has; a list that is longer is not one.
const INTERPRETERS_AT_MOST: usize = 1024;

impl Roots {
    pub fn find(
        memory: &dyn ReadMemory,
        runtime: &Runtime,
        layout: &Layout,
    ) -> Result<Self, RootsError> {
        if let Some(offset) = layout.runtime_interpreters {
            let symbol = "_PyRuntime";
            let at = runtime.address(memory).ok_or(RootsError::NoSymbol { symbol })?;
            return Ok(Self { interpreters: at.plus(offset), gil: Some(at) });
        }
        let symbol = |symbol: &'static str| {
            let found = runtime.python_symbol(memory, symbol);
            found.map(|s| s.address).ok_or(RootsError::NoSymbol { symbol })
        };
        if let Some(first) = runtime.first_interpreter() {
            return Ok(Self { interpreters: first, gil: symbol("_PyThreadState_Current").ok() });
        }
        let function = symbol("PyInterpreterState_Head")?;
        let code = memory.bytes(function, 24).map_err(|_| RootsError::UnknownFunction)?;
        let loaded = loaded_variable(function, &code).ok_or(RootsError::UnknownFunction)?;
        Ok(Self { interpreters: loaded, gil: symbol("_PyThreadState_Current").ok() })
    }

    /// Whether it can be told who holds a GIL.
    pub fn knows_holders(&self) -> bool {
        self.gil.is_some()
    }

    /// All interpreters, the main one first.
    pub fn interpreters(
        &self,
        memory: &dyn ReadMemory,
        layout: &Layout,
    ) -> Result<Vec<InterpreterState>, Unreadable> {
        let mut states: Vec<InterpreterState> = Vec::new();
        let mut at = memory.pointer(self.interpreters)?;
        while !at.is_null()
            && states.len() < INTERPRETERS_AT_MOST
            && !states.iter().any(|state| state.address == at)
        {
            let of = &layout.interpreter;
            states.push(InterpreterState {
                address: at,
                id: of.id.map_or(Ok(0), |id| memory.word(at.plus(id)))? as i64,
                threads: memory.pointer(at.plus(of.threads))?,
                modules: memory.pointer(at.plus(of.modules))?,
            });
            at = memory.pointer(at.plus(of.next))?;
        }
        // A new one is put before the others.
        states.reverse();
        if layout.interpreter.id.is_none() {
            for (number, state) in (0..).zip(&mut states) {
                state.id = number;
            }
        }
        states.sort_by_key(|state| state.id);
        Ok(states)
    }

    /// Whether there were interpreters, in a process that has none: the number of the next one, which follows the first and
    /// the main one (`struct pyinterpreters` in `Include/internal/pycore_interp_structs.h`), is only counted up. Before the
    /// first one it is 0 or -1. Always `false` for versions that do not number them.
    pub fn were_ended(&self, memory: &dyn ReadMemory, layout: &Layout) -> bool {
        const NEXT_ID: u64 = 16;
        layout.interpreter.id.is_some()
            && memory.pointer(self.interpreters).is_ok_and(Address::is_null)
            && memory.word(self.interpreters.plus(NEXT_ID)).is_ok_and(|next| next as i64 > 0)
    }

    /// Where the threads wait that want the GIL of an interpreter: its condition variable, which follows `locked` and
    /// `switch_number` (`Include/internal/pycore_gil.h`, 3.7+).
    pub fn waiting_place(
        &self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        interpreter: &InterpreterState,
    ) -> Option<Range<u64>> {
        const BETWEEN: u64 = 16;
        const CONDITION: u64 = 48;
        let gil = self.gil(memory, layout, interpreter)?;
        let start = gil.plus(layout.gil?.locked).plus(BETWEEN).0;
        Some(start..start.checked_add(CONDITION)?)
    }

    /// From where [`crate::layout::GilWords`] count, for an interpreter's GIL.
    pub fn gil(
        &self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        interpreter: &InterpreterState,
    ) -> Option<Address> {
        match (layout.shape.gil, layout.interpreter.gil) {
            (Gil::Interpreter, Some(gil)) => memory.pointer(interpreter.address.plus(gil)).ok(),
            _ => self.gil,
        }
    }

    /// The state of the thread that holds the GIL of an interpreter; `None`: nobody does.
    pub fn holder(
        &self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        interpreter: &InterpreterState,
    ) -> Result<Option<Address>, Unreadable> {
        let gil = match (layout.shape.gil, layout.interpreter.gil, self.gil) {
            (Gil::Interpreter, Some(gil), _) => memory.pointer(interpreter.address.plus(gil))?,
            (_, _, Some(gil)) => gil,
            (_, _, None) => return Ok(None),
        };
        let holder = match layout.gil {
            None => memory.pointer(gil)?,
            Some(words) if memory.half(gil.plus(words.locked))? == 1 => {
                memory.pointer(gil.plus(words.holder))?
            }
            Some(_) => Address(0),
        };
        Ok((!holder.is_null()).then_some(holder))
    }
}

impl Roots {
    /// Whether who waits on this futex waits for an interpreter's GIL: it is that of its lock or its conditions
    /// (`Include/internal/pycore_gil.h`), which lie behind the words that are read here. To 3.6 they are variables of
    /// `Python/ceval_gil.h`, somewhere beside those of `Python/pystate.c`.
    pub fn is_of_gil(
        &self,
        memory: &dyn ReadMemory,
        layout: &Layout,
        interpreter: &InterpreterState,
        futex: Address,
    ) -> bool {
        /// The switch number, two conditions and two locks of pthread, with room for padding.
        const LENGTH: u64 = 224;
        const BESIDE: u64 = 1 << 18;
        let gil = match (layout.shape.gil, layout.interpreter.gil, self.gil) {
            (Gil::Interpreter, Some(gil), _) => {
                memory.pointer(interpreter.address.plus(gil)).unwrap_or_default()
            }
            (_, _, gil) => gil.unwrap_or_default(),
        };
        if gil.is_null() {
            return false;
        }
        match layout.gil {
            Some(words) => futex.0.wrapping_sub(gil.plus(words.locked).0) < LENGTH,
            None => futex.0.abs_diff(gil.0) < BESIDE,
        }
    }
}

/// The variable that a function returns: `mov DISPLACEMENT(%rip), %rax`, before which only a landing pad or the
/// setting up of a frame may stand.
fn loaded_variable(function: Address, code: &[u8]) -> Option<Address> {
    const LOAD: [u8; 3] = [0x48, 0x8b, 0x05];
    const BEFORE: [&[u8]; 4] = [
        &[],
        &[0xf3, 0x0f, 0x1e, 0xfa],
        &[0x55, 0x48, 0x89, 0xe5],
        &[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5],
    ];
    BEFORE.iter().find_map(|before| {
        let rest = code.strip_prefix(*before)?.strip_prefix(&LOAD)?;
        let displacement = i32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let next = function.plus((before.len() + LOAD.len() + 4) as u64);
        Some(next.plus(i64::from(displacement) as u64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_a_getter_is_decoded() {
        let plain = [0x48, 0x8b, 0x05, 0x10, 0, 0, 0, 0xc3];
        assert_eq!(loaded_variable(Address(0x1000), &plain), Some(Address(0x1017)));
        let padded = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x8b, 0x05, 0xf0, 0xff, 0xff, 0xff, 0xc3];
        assert_eq!(loaded_variable(Address(0x1000), &padded), Some(Address(0xffb)));
        assert_eq!(loaded_variable(Address(0x1000), &[0x90; 8]), None);
    }
}
