//! What a console needs of a process. Tests hold the other end themselves.

use std::time::Duration;

use spyhole_session::console::{Console, Event};
use spyhole_session::model::{Candidate, Running};

pub(crate) trait Conversation: Send {
    fn start(&mut self, code: &str) -> u32;
    fn next(&mut self, patience: Duration) -> Option<Event>;
    fn interrupt(&mut self);
    fn abandon(&mut self, job: u32);
    fn running(&self) -> Vec<Running>;
    fn complete(&mut self, text: &str) -> (usize, Vec<Candidate>);
}

impl Conversation for Console {
    fn start(&mut self, code: &str) -> u32 {
        Console::start(self, code)
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
