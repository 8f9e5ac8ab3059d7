//! Where lines come from.

use spyhole_session::console::Event;

use super::conversation::Wants;
use crate::failure::Failure;

/// What the user gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Something to run: a line, or a whole block.
    Code(String),
    /// Ctrl-C at the prompt.
    Cleared,
    /// Ctrl-D, or the end of the input.
    End,
}

pub(crate) trait Editor {
    fn read(&mut self, wants: Wants) -> Result<Input, Failure>;

    /// What ended the reading, where that was the process and not the user.
    fn last_event(&mut self) -> Option<Event> {
        None
    }
}
