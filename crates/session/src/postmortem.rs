//! The debugger of a process on an exception that is kept there: lines go in, text comes out, until it ends.
//!
//! What it understands is the debugger's own matter; this knows when it wants a line, and for what.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spyhole_agent::bundle;
use spyhole_agent::message::{self, Control, Event as Wire, Probe, Stream};

use crate::conversation::{Conversation, Hold, Incoming};
use crate::evaluate::Reach;
use crate::model::{Candidate, EvalError, Left, Place, Running};
use crate::target::Target;
use crate::{failure, interpreters, probes, received};

/// What is heard from it.
#[derive(Clone, Debug)]
pub enum Event {
    Output {
        job: u32,
        stderr: bool,
        text: String,
    },
    /// It wants a line: its own prompt, or that of a command.
    Asks {
        job: u32,
        prompt: String,
    },
    /// A line was not understood, or its command was given up.
    Error {
        job: u32,
        error: EvalError,
    },
    /// It has ended.
    Over,
    Gone {
        reason: String,
    },
}

/// Its own prompt.
pub const PROMPT: &str = "(Pdb) ";
/// To find the exception, and to import the debugger.
const OPENING: Duration = Duration::from_secs(20);
const WHEREABOUTS: Duration = Duration::from_millis(30);
const COMPLETION: Duration = Duration::from_millis(300);

/// A debugger that waits for lines. Dropping it leaves the process, too.
pub struct Postmortem {
    conversation: Conversation<'static>,
    waiting: VecDeque<Event>,
    serving: Option<u32>,
}

impl Postmortem {
    /// The job whose events are its first words.
    pub const FIRST: u32 = 1;

    /// The debugger on exception `id`. Its first words, and its prompt, come as events of job 1.
    pub fn open(target: &Target, reach: &Reach, id: u32) -> Result<Self, EvalError> {
        let process = target.hold_again().map_err(|_| failure::gone(target.pid))?;
        let interpreter = interpreters::choose(target, &process)?.unwrap_or_default();
        let first = message::Request::Postmortem { job: Self::FIRST, id };
        let hold = Hold::Own(process);
        let features = bundle::FOR_POSTMORTEM;
        let mut conversation = Conversation::open_for(hold, interpreter, reach, features, &first)?;
        conversation.began(Self::FIRST, "");
        let deadline = Instant::now() + OPENING;
        loop {
            match conversation.next(deadline.saturating_duration_since(Instant::now())) {
                Incoming::Event(Wire::Probe(Probe::Placed { .. })) => break,
                Incoming::Event(Wire::Probe(Probe::Unplaced { kind, message, hints, .. })) => {
                    let error = probes::unplaced(conversation.place(), &kind, message, hints);
                    conversation.leave();
                    return Err(error);
                }
                Incoming::Event(Wire::Refused(refused)) => {
                    conversation.leave();
                    return Err(failure::refused(&refused));
                }
                Incoming::Event(_) => {}
                Incoming::Nothing => return Err(conversation.why_unreached(OPENING)),
                Incoming::End => {
                    conversation.process_ended(Duration::from_millis(200));
                    return Err(conversation.reason());
                }
            }
        }
        Ok(Self { conversation, waiting: VecDeque::new(), serving: Some(Self::FIRST) })
    }

    pub fn place(&self) -> Place {
        self.conversation.place()
    }

    /// A line for whatever asks, and the number that its events carry.
    pub fn start(&mut self, line: &str) -> u32 {
        self.send(Some(line))
    }

    /// The end of the input, for whatever asks.
    pub fn end_of_input(&mut self) -> u32 {
        self.send(None)
    }

    fn send(&mut self, line: Option<&str>) -> u32 {
        let job = self.conversation.next_number(line.unwrap_or_default());
        let text = line.map(Into::into);
        self.conversation.say(&message::Request::Line { job, text });
        self.serving = Some(job);
        job
    }

    /// The next event within `patience`; `None` if there was none.
    pub fn next(&mut self, patience: Duration) -> Option<Event> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        let deadline = Instant::now() + patience;
        loop {
            match self.conversation.next(deadline.saturating_duration_since(Instant::now())) {
                Incoming::Event(wire) => {
                    if let Some(event) = self.event(wire) {
                        return Some(event);
                    }
                }
                Incoming::Nothing => return None,
                Incoming::End => {
                    self.conversation.process_ended(Duration::from_millis(200));
                    return Some(Event::Gone { reason: self.conversation.reason().message });
                }
            }
        }
    }

    fn event(&mut self, wire: Wire) -> Option<Event> {
        match wire {
            Wire::Output(out) => {
                let stderr = out.stream == Stream::Stderr;
                Some(Event::Output { job: out.job, stderr, text: out.text })
            }
            Wire::Ask(ask) => {
                self.ended(ask.job);
                Some(Event::Asks { job: ask.job, prompt: ask.prompt })
            }
            Wire::Exit { .. } => Some(Event::Over),
            Wire::Raised(raised) => {
                self.ended(raised.job);
                Some(Event::Error { job: raised.job, error: received::raised(&raised, "", "\0") })
            }
            // A refused completion is no event.
            Wire::Refused(refused) if self.serving == Some(refused.job) => {
                self.ended(refused.job);
                let error = failure::refused(&refused);
                Some(Event::Error { job: refused.job, error })
            }
            _ => None,
        }
    }

    fn ended(&mut self, job: u32) {
        if self.serving == Some(job) {
            self.serving = None;
        }
    }

    /// Raises `KeyboardInterrupt` in the command that runs.
    pub fn interrupt(&mut self) {
        if let Some(job) = self.serving {
            self.conversation.control(Control::Interrupt { job });
        }
    }

    /// Gives up waiting for a command: it runs on until it returns.
    pub fn abandon(&mut self, job: u32) {
        self.conversation.abandon(job);
        let deadline = Instant::now() + WHEREABOUTS;
        while let Incoming::Event(event) =
            self.conversation.next(deadline.saturating_duration_since(Instant::now()))
        {
            let told = matches!(event, Wire::Where(_));
            let event = self.event(event);
            self.waiting.extend(event);
            if told {
                break;
            }
        }
        self.ended(job);
    }

    /// Commands that were given up and have not returned yet.
    pub fn running(&self) -> Vec<Running> {
        self.conversation.running()
    }

    /// What the end of a line could become: commands, and names of the frame. As `Console::complete`.
    pub fn complete(&mut self, text: &str) -> (usize, Vec<Candidate>) {
        if self.serving.is_some() {
            return (text.len(), Vec::new());
        }
        let (found, others) = self.conversation.completed(text, COMPLETION);
        for event in others {
            let event = self.event(event);
            self.waiting.extend(event);
        }
        found
    }

    /// Leaves the process and says how it was left.
    pub fn close(self) -> Left {
        self.conversation.leave()
    }
}
