//! A Linux process, seen and touched from outside.
//!
//! It knows processes, threads, mappings, registers and ELF files. It does not know what Python is.

pub mod access;
pub mod address;
pub mod arch;
pub mod bell;
mod bounded;
mod cached;
pub mod capture;
pub mod descriptors;
pub mod elf;
pub mod files;
pub mod find;
pub mod image;
pub mod maps;
pub mod memory;
pub mod pidfd;
pub mod rendezvous;
pub mod spread;
pub mod stat;
pub mod stop;
pub mod surroundings;
pub mod sys;
pub mod syscalls;
pub mod tasks;
pub mod tracer;
pub mod turns;
pub mod unwind;
pub mod users;

pub use address::Address;
