//! Code objects: what a frame runs, and at which line (`Objects/codeobject.c`).
//!
//! It knows names, files and line tables. The frames that run code are `frames`'.

use std::sync::Arc;

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;
use thiserror::Error;

use crate::frames::RawFrame;
use crate::layout::Position;
use crate::lines::{self, Location};
use crate::reader::Reader;

/// Why something is no code object that can be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotCode {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("the object at {at} is no code")]
    AnotherKind { at: Address },
}

/// A code object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The qualified name where the version has one, else the name.
    pub function: Arc<str>,
    pub file: Arc<str>,
    pub first_line: i32,
    table: Vec<u8>,
    instructions: Option<Address>,
}

const NAME_AT_MOST: usize = 1000;
const PATH_AT_MOST: usize = 4096;
const TABLE_AT_MOST: usize = 4 << 20;

impl Reader<'_> {
    /// Takes the frames out that the interpreter made for itself with code of its own, beside those that say so: behind an
    /// `__init__` that was called often stands one that drops what it returns (`_Py_InitCleanup` of `Python/specialize.c`).
    pub fn forget_own(&self, frames: &mut Vec<RawFrame>) {
        frames.retain(|frame| !self.is_own(frame.code));
    }

    /// Such code is optimised without a namespace of its own, which no compiler makes, and is its own file.
    fn is_own(&self, code: Address) -> bool {
        /// `CO_OPTIMIZED` and `CO_NEWLOCALS` (`Include/cpython/code.h`)
        const OPTIMISED: u32 = 1;
        const NEW_LOCALS: u32 = 2;
        let of = &self.layout.code;
        let flags = self.memory.half(code.plus(self.layout.details.code_flags));
        let text = |place: u64| self.memory.pointer(code.plus(place)).ok();
        flags.is_ok_and(|flags| flags & (OPTIMISED | NEW_LOCALS) == OPTIMISED)
            && text(of.name).is_some_and(|name| text(of.file) == Some(name))
    }
}

impl Code {
    /// Reads the code object at `at`.
    pub fn read(reader: &Reader<'_>, at: Address) -> Result<Self, NotCode> {
        let another = NotCode::AnotherKind { at };
        if at.is_null() || reader.kind(at)? != reader.types.code {
            return Err(another);
        }
        let of = &reader.layout.code;
        let text = |offset: u64, most: usize| -> Result<Arc<str>, NotCode> {
            let object = reader.memory.pointer(at.plus(offset))?;
            Ok(reader.text(object, most).ok_or(another)?.text.into())
        };
        let table = reader.memory.pointer(at.plus(of.lines))?;
        if reader.kind(table)? != reader.types.bytes {
            return Err(another);
        }
        let length = usize::try_from(reader.size(table)?).map_err(|_| another)?;
        Ok(Self {
            function: text(of.qualified_name.unwrap_or(of.name), NAME_AT_MOST)?,
            file: text(of.file, PATH_AT_MOST)?,
            first_line: reader.memory.half(at.plus(of.first_line))? as i32,
            table: reader
                .memory
                .bytes(table.plus(reader.layout.objects.bytes), length.min(TABLE_AT_MOST))?,
            instructions: of.instructions.map(|offset| at.plus(offset)),
        })
    }

    /// Where a frame that runs this code is.
    pub fn location(&self, reader: &Reader<'_>, frame: &RawFrame) -> Location {
        self.located(reader, self.offset(reader, frame))
    }

    /// Bytes from the first instruction to where a frame is; negative before it.
    pub(crate) fn offset(&self, reader: &Reader<'_>, frame: &RawFrame) -> i64 {
        match (reader.layout.shape.position, self.instructions) {
            (Position::Pointer, Some(first)) => frame.position.wrapping_sub(first.0) as i64,
            (Position::Words, _) => (frame.position as i64).saturating_mul(2),
            _ => frame.position as i64,
        }
    }

    /// Where the instruction so many bytes after the first one is.
    pub(crate) fn located(&self, reader: &Reader<'_>, offset: i64) -> Location {
        lines::locate(reader.layout.shape.lines, &self.table, self.first_line, offset)
    }
}
