//! What a console needs of a process. Tests hold the other end themselves.

use std::time::Duration;

use spyhole_session::console::{Console, Event};
use spyhole_session::model::{Candidate, Running};

use super::lexer;

/// How long code that was interrupted may take to end before the prompt is given back without it: our agent raises the
/// interrupt within a few milliseconds, or it waits for a call in C.
pub(crate) const GRACE: Duration = Duration::from_millis(120);

/// What the next input is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Code, of one line or several.
    #[default]
    Code,
    /// One line more of what the other side takes for unfinished.
    More,
    /// One line for the code that runs.
    Answer,
    /// A command of a debugger.
    Command,
}

pub(crate) trait Conversation: Send {
    fn start(&mut self, code: &str) -> u32;
    fn next(&mut self, patience: Duration) -> Option<Event>;
    fn interrupt(&mut self);
    fn abandon(&mut self, job: u32);
    fn running(&self) -> Vec<Running>;
    fn complete(&mut self, text: &str) -> (usize, Vec<Candidate>);

    /// The same as `start`; the value is shown whole.
    fn start_full(&mut self, code: &str) -> u32 {
        self.start(code)
    }

    /// What a name stands for; answered as code is. `None`: the other side tells nothing of that.
    fn about(&mut self, _name: &str, _source: bool) -> Option<u32> {
        None
    }

    fn wants(&self) -> Wants {
        Wants::Code
    }

    /// Ctrl-C at the prompt: what the other side has of a statement is forgotten.
    fn forget_line(&mut self) {}

    /// How long the code may take to end after a Ctrl-C.
    fn grace(&self) -> Duration {
        GRACE
    }
}

impl Conversation for Console {
    fn start(&mut self, code: &str) -> u32 {
        Console::start(self, &lexer::without_indent(code))
    }

    fn start_full(&mut self, code: &str) -> u32 {
        Console::start_full(self, &lexer::without_indent(code))
    }

    fn about(&mut self, name: &str, source: bool) -> Option<u32> {
        Some(Console::about(self, name, source))
    }

    fn next(&mut self, patience: Duration) -> Option<Event> {
        Console::next(self, patience)
    }

    fn interrupt(&mut self) {
        Console::interrupt(self);
    }

    fn abandon(&mut self, job: u32) {
        Console::abandon(self, job);
    }

    fn running(&self) -> Vec<Running> {
        Console::running(self)
    }

    fn complete(&mut self, text: &str) -> (usize, Vec<Candidate>) {
        Console::complete(self, text)
    }
}
