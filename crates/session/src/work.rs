//! What a conversation is begun with: the process, the code, and when the agent leaves.

use spyhole_attach::Interpreter;
use spyhole_proc::pidfd::Pidfd;

use crate::place::Within;

/// How a piece of code is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub code: String,
    pub max: usize,
    pub full: bool,
    pub want_value: bool,
    pub console: bool,
    pub within: Within,
    /// Dotted names of which the agent says whether they are loaded modules.
    pub modules: Vec<String>,
}

impl Work {
    /// The interpreter, where the place is one of the main one's alone.
    pub(crate) fn is_of_one_interpreter(&self) -> Option<Interpreter> {
        (self.within != Within::Thread).then(Interpreter::default)
    }
}

/// When an agent leaves by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    No,
    IfAlone,
    Yes,
}

/// A process that is held: borrowed from a target, or of one's own.
#[derive(Debug)]
pub(crate) enum Hold<'t> {
    Borrowed(&'t Pidfd),
    Own(Pidfd),
}

impl Hold<'_> {
    pub(crate) fn get(&self) -> &Pidfd {
        match self {
            Self::Borrowed(process) => process,
            Self::Own(process) => process,
        }
    }
}
