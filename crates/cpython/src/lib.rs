//! What the memory of a CPython process means.
//!
//! It reads; it never writes, and never lets anything run.

pub mod blocks;
pub mod code;
pub mod dicts;
pub mod frames;
pub mod generators;
pub mod greenlets;
pub mod heap;
pub mod instances;
pub mod integers;
pub mod layout;
pub mod lines;
pub mod locals;
pub mod locate;
pub mod locks;
pub mod names;
pub mod natives;
pub mod opened;
pub mod operands;
pub mod published;
pub mod reader;
pub mod runtime;
mod scan;
pub mod sets;
pub mod switching;
pub mod tasks;
pub mod text;
pub mod threads;
pub mod values;
pub mod version;

pub use layout::Layout;
pub use locate::{NotPython, Runtime, holds_python, locate, runs_python};
pub use opened::{OpenError, Opened};
pub use reader::{Reader, Types};
pub use version::Version;

#[cfg(test)]
mod tests;
