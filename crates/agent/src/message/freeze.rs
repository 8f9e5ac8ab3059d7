//! What is told of an interpreter that stands still between commands.

use super::fields::{Fields, MessageError};
use crate::marshal::Value;

/// A message about the freeze.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Freeze {
    /// It stands still from now on; a command has to come, and to end, within so many seconds.
    Frozen { job: u32, limit: f64 },
    /// It goes on.
    Thawed { job: u32, reason: Thaw },
    /// Other threads have run Python while the code of `job` ran, for no longer than that took: so many seconds.
    Ran { job: u32, duration: f64 },
}

/// Why it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thaw {
    /// It was asked for.
    Asked,
    /// No command has come in time.
    Idle,
    /// A command has not ended in time.
    Late,
    /// A command was given up, and may wait for the program.
    Abandoned,
}

impl Freeze {
    pub(super) fn of(name: &str, dict: &Value) -> Result<Self, MessageError> {
        match name {
            "frozen" => {
                let fields = Fields { message: "frozen", dict };
                Ok(Self::Frozen { job: fields.number("job")?, limit: fields.seconds("limit")? })
            }
            "ran" => {
                let fields = Fields { message: "ran", dict };
                Ok(Self::Ran { job: fields.number("job")?, duration: fields.seconds("duration")? })
            }
            _ => {
                let fields = Fields { message: "thawed", dict };
                let reason = match fields.text("reason")?.as_str() {
                    "asked" => Thaw::Asked,
                    "idle" => Thaw::Idle,
                    "late" => Thaw::Late,
                    "abandoned" => Thaw::Abandoned,
                    _ => return Err(fields.wrong("reason", "a reason to go on")),
                };
                Ok(Self::Thawed { job: fields.number("job")?, reason })
            }
        }
    }

    pub(super) fn job(self) -> u32 {
        match self {
            Self::Frozen { job, .. } | Self::Thawed { job, .. } | Self::Ran { job, .. } => job,
        }
    }
}
