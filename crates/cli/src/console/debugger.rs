//! A debugger in a process, spoken to as if it were its console: each line is a piece of code, its answer is output.

use std::time::Duration;

use spyhole_session::console::Event;
use spyhole_session::model::{Candidate, Running, Value};
use spyhole_session::postmortem::{Event as Heard, PROMPT, Postmortem};

use super::conversation::{Conversation, Wants};

pub(crate) struct Debugger {
    postmortem: Postmortem,
    wants: Wants,
    /// A question of a command stands before the line that is wanted.
    question: Option<Event>,
}

impl Debugger {
    pub(crate) fn new(postmortem: Postmortem) -> Self {
        Self { postmortem, wants: Wants::Command, question: None }
    }

    pub(crate) fn into_inner(self) -> Postmortem {
        self.postmortem
    }
}

fn nothing() -> Value {
    Value {
        type_name: "NoneType".to_owned(),
        repr: "None".to_owned(),
        is_none: true,
        truncated: false,
        key: None,
        json: None,
    }
}

impl Conversation for Debugger {
    fn start(&mut self, code: &str) -> u32 {
        self.postmortem.start(code.trim_end_matches(['\r', '\n']))
    }

    fn next(&mut self, patience: Duration) -> Option<Event> {
        if let Some(event) = self.question.take() {
            return Some(event);
        }
        Some(match self.postmortem.next(patience)? {
            Heard::Output { job, stderr, text } => Event::Output { job, stderr, text },
            Heard::Asks { job, prompt } => {
                let done = Event::Value { job, value: nothing(), duration: Duration::ZERO };
                self.wants = if prompt == PROMPT { Wants::Command } else { Wants::Answer };
                if self.wants == Wants::Command || prompt.is_empty() {
                    return Some(done);
                }
                self.question = Some(done);
                Event::Output { job, stderr: false, text: prompt }
            }
            Heard::Error { job, error } => Event::Error { job, error, duration: Duration::ZERO },
            Heard::Over => Event::Exit,
            Heard::Gone { reason } => Event::Gone { reason },
        })
    }

    fn interrupt(&mut self) {
        self.postmortem.interrupt();
    }

    fn abandon(&mut self, job: u32) {
        self.wants = Wants::Command;
        self.postmortem.abandon(job);
    }

    fn running(&self) -> Vec<Running> {
        self.postmortem.running()
    }

    fn complete(&mut self, text: &str) -> (usize, Vec<Candidate>) {
        self.postmortem.complete(text)
    }

    fn wants(&self) -> Wants {
        self.wants
    }
}
