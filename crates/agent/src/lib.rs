//! The Python agent, and the words that it and the program speak.
//!
//! This crate knows what is sent into a process ([`bundle`]), how it is put into bytes ([`marshal`],
//! [`frame`]) and what it means ([`message`]). It does not know how bytes get into a process or out
//! of it, and it does no input or output. `WIRE.md` beside this crate's manifest is the protocol.
//!
//! Everything that comes from a process is hostile: decoders bound depth, count and length, and
//! answer with an error instead of panicking.

pub mod bundle;
pub mod compiled;
pub mod frame;
pub mod marshal;
pub mod message;

pub use frame::Frames;
pub use marshal::{Text, Value};
pub use message::{Control, Event, Request};
