//! What the memory of a CPython process means.
//!
//! It reads; it never writes, and never lets anything run.

pub mod locate;
pub mod published;
pub mod version;

pub use locate::{NotPython, Runtime, locate};
pub use version::Version;
