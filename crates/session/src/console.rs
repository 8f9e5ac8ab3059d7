//! A conversation with one process: code goes in, values and printed text come out, until it is closed.

use std::time::{Duration, Instant};

use spyhole_agent::message::{Event as Wire, Freeze, Stream};

use crate::conversation::{Conversation, Hold, Incoming, Last, Work, name_of};
use crate::evaluate::Reach;
use crate::freezing::{Clock, Thaw};
use crate::model::{Candidate, EvalError, Left, Running, Value};
use crate::place::Within;
use crate::target::Target;
use crate::{failure, interpreters, received};

/// What a console hears from its process.
#[derive(Clone, Debug)]
pub enum Event {
    /// Text that the code of `job` printed.
    Output { job: u32, stderr: bool, text: String },
    /// The code of `job` ended.
    Value { job: u32, value: Value, duration: Duration },
    /// The code of `job` raised, or was interrupted.
    Error { job: u32, error: EvalError, duration: Duration },
    /// The interpreter stands still between commands, by the wish of `job`; it goes on when none comes for so long.
    Frozen { job: u32, limit: Duration },
    /// It goes on; of no `job` (0) where nobody asked for it.
    Thawed { job: u32, reason: Thaw },
    /// Other threads have run while the code of `job` ran frozen, for no longer than that.
    Ran { job: u32, duration: Duration },
    /// `exit()` or `quit()` was called.
    Exit,
    /// The process, or the way to it, is gone; nothing follows.
    Gone { reason: String },
}

/// What is known of the other side.
#[derive(Clone, Debug)]
pub struct Hello {
    pub pid: i32,
    /// Its pid in its own namespace.
    pub own_pid: i32,
    /// 0 is the main one.
    pub interpreter: i64,
    /// `3.11.7`
    pub python: String,
    pub executable: String,
    /// Native id of the thread that serves.
    pub thread: i32,
    /// `thread`: where the code runs.
    pub place: String,
    /// The door that was taken.
    pub door: String,
    pub held: Duration,
}

/// Bytes of rendered text at most.
const MAX: usize = 1 << 20;
/// How long the agent may take to greet: a busy program gives up the GIL after milliseconds.
const GREETING: Duration = Duration::from_secs(10);
/// How long to wait for word of where abandoned code is.
const WHEREABOUTS: Duration = Duration::from_millis(30);
const COMPLETION: Duration = Duration::from_millis(300);

/// One open console. Dropping it leaves the process, too.
pub struct Console {
    conversation: Conversation<'static>,
    hello: Hello,
    /// Events that came while something else was waited for.
    waiting: std::collections::VecDeque<Event>,
    /// Code of jobs, for the lines of their tracebacks.
    codes: std::collections::BTreeMap<u32, String>,
    serving: Option<u32>,
    within: Within,
    frozen: Option<Clock>,
}

impl Console {
    /// Gets into the process.
    pub fn open(target: &Target, reach: &Reach) -> Result<Self, EvalError> {
        let process = target.hold_again().map_err(|_| failure::gone(target.pid))?;
        let interpreter = interpreters::choose(target, &process)?.unwrap_or_default();
        let mut conversation =
            Conversation::open(Hold::Own(process), interpreter, reach, None, Last::No)?;
        let deadline = Instant::now() + GREETING;
        let hello = loop {
            match conversation.next(deadline.saturating_duration_since(Instant::now())) {
                Incoming::Event(Wire::Hello(hello)) => break hello,
                Incoming::Event(_) => {}
                Incoming::Nothing => {
                    return Err(conversation.why_unreached(GREETING));
                }
                Incoming::End => {
                    conversation.process_ended(Duration::from_millis(200));
                    return Err(conversation.reason());
                }
            }
        };
        let (major, minor, micro, ..) = hello.python;
        let hello = Hello {
            pid: target.pid,
            own_pid: hello.pid,
            interpreter: conversation.place().interpreter,
            python: format!("{major}.{minor}.{micro}"),
            executable: hello.executable,
            thread: hello.thread,
            place: "thread".into(),
            door: conversation.door().into(),
            held: conversation.held(),
        };
        let (waiting, codes) = Default::default();
        let (within, frozen) = (Within::Thread, None);
        Ok(Self { conversation, hello, waiting, codes, serving: None, within, frozen })
    }

    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Starts one piece of code and gives its number; events tell the rest.
    pub fn start(&mut self, code: &str) -> u32 {
        self.start_for(code, false)
    }

    /// The same; the value is given whole.
    pub fn start_full(&mut self, code: &str) -> u32 {
        self.start_for(code, true)
    }

    /// Asks what a name stands for, with its source if that is wanted; answered by events as code is.
    pub fn about(&mut self, text: &str, source: bool) -> u32 {
        let job = self.conversation.about(text, source);
        self.codes.insert(job, text.to_owned());
        self.serving = Some(job);
        job
    }

    /// The interpreter shall stand still between commands, or (`None`) go on; answered by events as code is.
    pub fn freeze(&mut self, limit: Option<Duration>) -> u32 {
        match self.conversation.freeze(limit) {
            Ok(job) => {
                self.codes.insert(job, String::new());
                self.serving = Some(job);
                job
            }
            Err(error) => self.failed(error),
        }
    }

    /// The interpreter stands still when this returns.
    pub fn freeze_now(&mut self, limit: Duration) -> Result<(), EvalError> {
        let job = self.freeze(Some(limit));
        let deadline = Instant::now() + GREETING;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(Event::Frozen { .. }) => return Ok(()),
                Some(Event::Error { job: failed, error, .. }) if failed == job => {
                    return Err(error);
                }
                Some(Event::Gone { .. }) => return Err(self.conversation.reason()),
                Some(_) => {}
                None => return Err(self.conversation.why_unreached(GREETING)),
            }
        }
    }

    /// How long it will stand still if no command comes; `None`: it does not.
    pub fn frozen(&self) -> Option<Duration> {
        self.frozen.map(|clock| clock.left())
    }

    /// Where code runs from now on.
    pub fn set_place(&mut self, within: Within) {
        self.hello.place = within.to_string();
        self.within = within;
    }

    fn start_for(&mut self, code: &str, full: bool) -> u32 {
        let work = Work {
            code: code.to_owned(),
            max: MAX,
            full,
            want_value: false,
            console: true,
            within: self.within,
            modules: Vec::new(),
        };
        let job = match self.conversation.start(&work) {
            Ok(job) => job,
            Err(error) => return self.failed(error),
        };
        if let Some(clock) = &mut self.frozen {
            clock.begin_again();
        }
        self.codes.insert(job, work.code);
        self.serving = Some(job);
        job
    }

    /// A job that the process does not know.
    fn failed(&mut self, error: EvalError) -> u32 {
        let job = self.conversation.number();
        self.waiting.push_back(Event::Error { job, error, duration: Duration::ZERO });
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
        let duration = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        match wire {
            Wire::Output(out) => Some(Event::Output {
                job: out.job,
                stderr: out.stream == Stream::Stderr,
                text: out.text,
            }),
            Wire::Value(value) => {
                self.ended(value.job);
                let (job, duration) = (value.job, duration(value.duration));
                Some(Event::Value { job, duration, value: received::value(value) })
            }
            Wire::Raised(raised) => {
                let code = self.ended(raised.job);
                let error = received::raised(&raised, &code, &name_of(raised.job));
                Some(Event::Error { job: raised.job, error, duration: duration(raised.duration) })
            }
            // A refused completion is no event.
            Wire::Refused(refused) if !self.codes.contains_key(&refused.job) => None,
            Wire::Refused(refused) => {
                self.ended(refused.job);
                let error = failure::refused(&refused);
                Some(Event::Error { job: refused.job, error, duration: Duration::ZERO })
            }
            Wire::Freeze(Freeze::Frozen { job, limit }) => {
                self.ended(job);
                let limit = duration(limit);
                self.frozen = Some(Clock::new(limit));
                Some(Event::Frozen { job, limit })
            }
            Wire::Freeze(Freeze::Thawed { job, reason }) => {
                self.ended(job);
                self.frozen = None;
                Some(Event::Thawed { job, reason })
            }
            Wire::Freeze(Freeze::Ran { job, duration: took }) => {
                Some(Event::Ran { job, duration: duration(took) })
            }
            Wire::Exit { job, .. } => {
                self.ended(job);
                Some(Event::Exit)
            }
            _ => None,
        }
    }

    fn ended(&mut self, job: u32) -> String {
        if self.serving == Some(job) {
            self.serving = None;
        }
        if let Some(clock) = &mut self.frozen {
            clock.begin_again();
        }
        self.codes.remove(&job).unwrap_or_default()
    }

    /// Raises `KeyboardInterrupt` in the running code.
    pub fn interrupt(&mut self) {
        if let Some(job) = self.serving {
            self.conversation.interrupt(job);
        }
    }

    /// Gives up waiting for `job`: a fresh thread in the process takes over, the old code runs on until it returns,
    /// is listed by `running`, and its late events still arrive under its own number.
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
        if self.serving == Some(job) {
            self.serving = None;
        }
    }

    /// Code that was abandoned and has not returned yet.
    pub fn running(&self) -> Vec<Running> {
        self.conversation.running()
    }

    /// Candidates for the dotted name at the end of `text`, and where in `text` (bytes) the completed word begins.
    /// Empty while code runs, or if there is no answer within 300 ms.
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
