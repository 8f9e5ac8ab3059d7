//! Places of what a frame works on: its value stack, and the `with` and `try` blocks that it is in.

use super::{LayoutError, Numbers};

/// Where a frame's value stack begins.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// Where the frame says.
    Told(u64),
    /// Behind its variables.
    BehindVariables,
}

/// How it is known which blocks a frame is in.
#[derive(Clone, Copy, Debug)]
pub enum Blocks {
    /// The frame lists them (`PyTryBlock` of `Include/cpython/frameobject.h`); `bytes` are its code's instructions.
    Listed { count: u64, list: u64, bytes: u64 },
    /// Its code has a table of them by instruction (`Objects/exception_handling_notes.txt`).
    Table(u64),
}

#[derive(Clone, Copy, Debug)]
pub struct Operands {
    pub begin: Begin,
    /// Where the frame tells how much of its stack is in use, in the way of [`super::StackEnd`].
    pub end: u64,
    /// In a code object: how large the stack can get.
    pub size: u64,
    pub blocks: Blocks,
}

impl Operands {
    pub(super) fn build(n: &Numbers) -> Result<Self, LayoutError> {
        let blocks = match n.find("code.handlers") {
            Some(table) => Blocks::Table(table),
            None => Blocks::Listed {
                count: n.get("frame.block_count")?,
                list: n.get("frame.blocks")?,
                bytes: n.get("code.bytes")?,
            },
        };
        Ok(Self {
            begin: n.find("frame.operands").map_or(Begin::BehindVariables, Begin::Told),
            end: n.get("frame.suspended_end")?,
            size: n.get("code.stack_size")?,
            blocks,
        })
    }
}
