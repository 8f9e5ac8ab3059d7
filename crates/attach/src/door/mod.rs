//! The ways into a process, gentlest first. A door says that it is ready, or why it is not.

pub mod doorbell;
pub mod thread;

use std::time::Instant;

use spyhole_proc::pidfd::Pidfd;

use crate::{AttachError, Link, MakeOpening, Options};

/// One way into a process.
pub(crate) trait Door {
    fn name(&self) -> &'static str;

    /// Goes in and brings the agent. `AttachError::NotHere` says that another door may be tried; any other error is
    /// final.
    fn open(
        &self,
        process: &Pidfd,
        options: &Options,
        opening: MakeOpening<'_>,
        deadline: Instant,
    ) -> Result<Link, AttachError>;
}

/// All doors, in the order in which they are tried.
pub(crate) fn all() -> [&'static dyn Door; 2] {
    [&doorbell::Doorbell, &thread::Thread]
}
