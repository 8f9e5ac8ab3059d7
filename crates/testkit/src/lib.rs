//! Real Python processes to test on: finds the interpreters, starts targets, and proves from
//! outside that a target is unchanged.
//!
//! It knows Linux and Python, and nothing of spyhole: its readings of `/proc` are its own, so
//! that no mistake is shared with what they check.

pub mod census;
pub mod document;
pub mod fingerprint;
pub mod hostile;
pub mod inside;
pub mod interpreters;
pub mod limited;
pub mod place;
pub mod plain;
pub mod required;
pub mod screen;
pub mod target;
pub mod unchanged;
pub mod watchdog;

pub use fingerprint::Fingerprint;
pub use inside::Inside;
pub use interpreters::{Interpreter, Origin};
pub use limited::{Finished, run};
pub use plain::plain;
pub use target::{Start, Target, TargetError};
pub use unchanged::{Changes, Kept, Rules, unchanged};
