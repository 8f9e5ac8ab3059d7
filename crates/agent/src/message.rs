//! What is said on the two channels; `WIRE.md` describes each message.

mod caught;
mod control;
mod event;
mod fields;
mod freeze;
mod probe;
mod request;

pub use caught::{Ask, Caught, Kept, Watching};
pub use control::Control;
pub use event::Value as ValueEvent;
pub use event::{
    Candidate, Candidates, Event, EventKind, Frame, Hello, Kind, Link, Output, Raised, Refused,
    Relation, Stream, Syntax, Where,
};
pub use fields::MessageError;
pub use freeze::{Freeze, Thaw};
pub use probe::{Hit, Probe, Shown, Stats, Summary, Who};
pub use request::{
    About, AboutKept, Catch, Complete, Eval, GilWords, Load, Placement, Request, Trace,
};
