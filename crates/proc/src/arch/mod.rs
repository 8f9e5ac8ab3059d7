//! What depends on the processor: registers, system call restart, how a call is set up.

mod x86_64;

pub use x86_64::*;
