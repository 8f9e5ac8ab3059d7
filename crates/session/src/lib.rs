//! The service behind every face of spyhole: it names targets, runs code in them and compares what they answer.
//!
//! It knows processes, doors and answers. It knows no terminal, no environment and no arguments: a face hands it
//! resolved values and shows the models that come back.

mod asyncio;
mod awaiting;
mod beyond;
pub mod cancel;
pub mod catches;
mod compare;
mod completing;
pub mod console;
mod conversation;
mod deadlocks;
#[cfg(feature = "die")]
pub mod die;
pub mod doctor;
pub mod door;
mod entering;
pub mod evaluate;
mod failure;
pub mod freezing;
mod holding;
mod hubs;
pub mod interpreters;
pub mod ispy;
mod later;
pub mod live;
pub mod locals;
pub mod model;
mod names;
mod natives;
pub mod objects;
mod pause;
pub mod place;
pub mod postmortem;
pub mod probes;
mod probing;
pub mod processes;
mod received;
pub mod redaction;
pub mod report;
pub mod requests;
mod resolving;
mod rousing;
pub mod snapshot;
pub mod socket;
mod sources;
mod starved;
pub mod suspended;
pub mod target;
mod unreached;
mod visiting;
mod waiting;
pub mod waits;
mod work;

pub use cancel::Cancel;
