//! Probes in many processes at the same time: put in, listened to, taken out.
//!
//! It decides when a probe ends, and counts. What a probe is, and what it costs, is the agent's matter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use spyhole_agent::bundle;
use spyhole_agent::message::{self, Event, Probe};
use spyhole_attach::{Gate, Interpreter};
use spyhole_proc::pidfd::Pidfd;

use crate::conversation::{Conversation, Hold, Incoming};
use crate::evaluate::Reach;
use crate::model::{ErrorKind, EvalError, Place, TraceFrame};
use crate::{Cancel, failure, interpreters, probing, received, target::Target};

pub use spyhole_agent::message::{Shown, Stats, Summary, Who};

/// What is to be told of.
#[derive(Clone, Debug)]
pub struct Request {
    /// `module:function` or `file:line`.
    pub place: String,
    pub when: Option<String>,
    pub show: Vec<String>,
    pub stack: bool,
    /// How deep values are shown.
    pub depth: u32,
    /// Characters of a value.
    pub max: usize,
    /// Passings that are told, in all processes together.
    pub limit: u64,
    /// Passings in a second, in each interpreter.
    pub rate: f64,
    /// Numbers for each such interval instead of lines.
    pub stats: Option<Duration>,
    pub reach: Reach,
}

/// What is heard while it goes on.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A probe is in place.
    Placed {
        label: String,
        how: String,
        functions: u32,
        notes: Vec<String>,
        moved_to: Option<u32>,
    },
    Hit(Box<Hit>),
    Stats(Stats),
    Note(String),
}

/// One passing.
#[derive(Clone, Debug)]
pub struct Hit {
    pub time: SystemTime,
    pub who: Who,
    pub function: String,
    /// `None` for a call.
    pub line: Option<u32>,
    pub arguments: Vec<(String, String)>,
    pub result: Option<String>,
    /// Type and message.
    pub error: Option<(String, String)>,
    pub duration: Option<Duration>,
    pub shown: Vec<Shown>,
    /// Outermost first.
    pub stack: Vec<TraceFrame>,
}

/// How it went in one interpreter.
pub type Ended = probing::Ended<Option<Summary>>;

const JOB: u32 = 1;
/// How often it is looked whether the user has had enough.
const LOOK: Duration = Duration::from_millis(20);
/// How long a process may take to place a probe: it may be busy, and its modules large.
const PLACING: Duration = Duration::from_secs(20);
const FAREWELL: Duration = Duration::from_secs(5);
/// How often it is looked whether a module was loaded anew.
const CHECK: Duration = Duration::from_secs(1);

/// Traces in all targets until the limit is reached, the user has had enough (`cancel`), or all are gone. `each` hears
/// what is told, and ends it by giving `false`.
pub fn trace(
    targets: &[Target],
    request: &Request,
    cancel: &Cancel,
    each: &mut dyn FnMut(Place, Heard) -> bool,
) -> Vec<Ended> {
    let (sender, receiver) = mpsc::channel();
    let watched =
        Watched { request, cancel, over: AtomicBool::new(false), told: AtomicU64::new(0) };
    thread::scope(|scope| {
        let watched = &watched;
        let threads: Vec<_> = targets
            .iter()
            .map(|target| {
                let sender = sender.clone();
                scope.spawn(move || watched.target(target, &sender))
            })
            .collect();
        drop(sender);
        for (place, heard) in receiver {
            if !each(place, heard) {
                watched.over.store(true, Ordering::Relaxed);
            }
        }
        threads
            .into_iter()
            .flat_map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

type Told = Sender<(Place, Heard)>;

struct Watched<'a> {
    request: &'a Request,
    cancel: &'a Cancel,
    over: AtomicBool,
    told: AtomicU64,
}

impl Watched<'_> {
    fn message(&self) -> message::Request {
        let request = self.request;
        message::Request::Trace(message::Trace {
            job: JOB,
            place: request.place.clone(),
            when: request.when.clone(),
            show: request.show.clone(),
            stack: request.stack,
            depth: request.depth,
            max: request.max,
            limit: request.limit,
            rate: request.rate,
            stats: request.stats.is_some(),
        })
    }

    fn is_over(&self) -> bool {
        self.cancel.is_raised() || self.over.load(Ordering::Relaxed)
    }

    /// Every interpreter of a process unless one is named.
    fn target(&self, target: &Target, told: &Told) -> Vec<Ended> {
        let failed = |error| {
            let place = Place { pid: target.pid, interpreter: 0 };
            vec![Ended { place, outcome: Err(error), left: None }]
        };
        let Some(process) = &target.process else { return failed(failure::no_process(target.pid)) };
        let opened = interpreters::choose(target, process).and_then(|chosen| {
            let (hold, interpreter) = (Hold::Borrowed(process), chosen.unwrap_or_default());
            let (reach, first) = (&self.request.reach, self.message());
            Conversation::open_for(hold, interpreter, reach, bundle::FOR_TRACE, &first)
        });
        let mut conversation = match opened {
            Ok(conversation) => conversation,
            Err(error) => return failed(error),
        };
        if target.interpreter.is_some() || conversation.others().is_empty() {
            let outcome = self.listen(&mut conversation, told);
            return vec![ended(conversation, outcome)];
        }
        let others = conversation.others().to_vec();
        let gate = conversation.gate();
        let (mut all, outcome) = thread::scope(|scope| {
            let threads: Vec<_> = others
                .iter()
                .map(|other| {
                    let (gate, told) = (&gate, told.clone());
                    scope.spawn(move || self.another(gate, process, *other, &told))
                })
                .collect();
            let outcome = self.listen(&mut conversation, told);
            let joined = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            (joined.collect::<Vec<_>>(), outcome)
        });
        drop(gate);
        if all.iter().any(|one| one.left.as_ref().is_some_and(|left| !left.kept.is_empty())) {
            conversation.others_stay();
        }
        all.push(ended(conversation, outcome));
        all.sort_by_key(|one| one.place);
        all
    }

    fn another(
        &self,
        gate: &Result<Gate, EvalError>,
        process: &Pidfd,
        interpreter: Interpreter,
        told: &Told,
    ) -> Ended {
        let place = Place { pid: process.pid, interpreter: interpreter.id };
        let opened = gate.as_ref().map_err(Clone::clone).and_then(|gate| {
            let hold = Hold::Borrowed(process);
            let first = self.message();
            Conversation::through_for(gate, hold, interpreter, bundle::FOR_TRACE, &first)
        });
        match opened {
            Ok(mut conversation) => {
                let outcome = self.listen(&mut conversation, told);
                ended(conversation, outcome)
            }
            Err(error) => Ended { place, outcome: Err(error), left: None },
        }
    }

    fn listen(
        &self,
        conversation: &mut Conversation<'_>,
        told: &Told,
    ) -> Result<Option<Summary>, EvalError> {
        let place = conversation.place();
        // A receiver waits for all of us.
        let tell = |heard| drop(told.send((place, heard)));
        let start = Instant::now();
        let mut placed = false;
        // A thread may pass before it is said that the probe is in place.
        let mut early = Vec::new();
        let (mut checked, mut counted) = (start, start);
        while !self.is_over() {
            match conversation.next(LOOK) {
                Incoming::Event(Event::Probe(Probe::Unplaced { kind, message, hints, .. })) => {
                    return Err(unplaced(place, &kind, message, hints));
                }
                Incoming::Event(Event::Refused(refused)) => {
                    return Err(failure::refused(&refused));
                }
                Incoming::Event(Event::Probe(probe)) => {
                    placed |= matches!(probe, Probe::Placed { .. });
                    let seq = match &probe {
                        Probe::Hit(hit) => Some(hit.seq),
                        Probe::Note { seq, .. } => Some(*seq),
                        _ => None,
                    };
                    if let Some(seq) = seq {
                        conversation.say(&message::Request::Ack { job: JOB, seq });
                    }
                    early.push(probe);
                    if placed {
                        // What came last may be what the others waited for.
                        early.sort_by_key(|probe| !matches!(probe, Probe::Placed { .. }));
                        early.drain(..).for_each(|probe| self.hear(probe, &tell));
                    }
                }
                Incoming::Event(_) => {}
                Incoming::Nothing if !placed && start.elapsed() > PLACING => {
                    return Err(conversation.why_unreached(PLACING));
                }
                Incoming::Nothing => {}
                Incoming::End => {
                    conversation.process_ended(Duration::from_millis(200));
                    return Err(conversation.reason());
                }
            }
            if placed && checked.elapsed() >= CHECK {
                checked = Instant::now();
                conversation.say(&message::Request::Check { job: JOB });
            }
            if let Some(period) = self.request.stats
                && placed
                && counted.elapsed() >= period
            {
                counted += period;
                conversation.say(&message::Request::Stats { job: JOB });
            }
        }
        if !conversation.is_greeted() {
            return Ok(None);
        }
        self.sum_up(conversation, &tell)
    }

    /// What was told before it was taken out is heard, too.
    fn sum_up(
        &self,
        conversation: &mut Conversation<'_>,
        tell: &dyn Fn(Heard),
    ) -> Result<Option<Summary>, EvalError> {
        if self.request.stats.is_some() {
            conversation.say(&message::Request::Stats { job: JOB });
        }
        conversation.say(&message::Request::Untrace { job: JOB });
        let deadline = Instant::now() + FAREWELL;
        loop {
            match conversation.next(deadline.saturating_duration_since(Instant::now())) {
                Incoming::Event(Event::Probe(Probe::Summary(summary))) => return Ok(Some(summary)),
                Incoming::Event(Event::Probe(probe)) => self.hear(probe, tell),
                Incoming::Event(Event::Refused(_)) | Incoming::Nothing => return Ok(None),
                Incoming::Event(_) => {}
                Incoming::End => {
                    conversation.process_ended(Duration::from_millis(200));
                    return Err(conversation.reason());
                }
            }
        }
    }

    fn hear(&self, probe: Probe, tell: &dyn Fn(Heard)) {
        match probe {
            Probe::Placed { label, how, functions, notes, line, moved, .. } => {
                let moved_to = moved.then_some(line);
                tell(Heard::Placed { label, how, functions, notes, moved_to });
            }
            Probe::Hit(hit) => {
                let number = self.told.fetch_add(1, Ordering::Relaxed);
                if number < self.request.limit {
                    tell(Heard::Hit(Box::new(passing(*hit))));
                }
                if number + 1 >= self.request.limit {
                    self.over.store(true, Ordering::Relaxed);
                }
            }
            Probe::Stats(stats) => tell(Heard::Stats(stats)),
            Probe::Note { text, .. } => tell(Heard::Note(text)),
            Probe::Unplaced { .. } | Probe::Summary(_) => {}
        }
    }
}

/// Of a process that has ended nothing is left.
fn ended(conversation: Conversation<'_>, outcome: Result<Option<Summary>, EvalError>) -> Ended {
    let place = conversation.place();
    let left = (!conversation.process_ended(Duration::ZERO)).then(|| conversation.leave());
    Ended { place, outcome, left }
}

pub(crate) fn unplaced(place: Place, kind: &str, message: String, hints: Vec<String>) -> EvalError {
    let (kind, name) = match kind {
        "not-loaded" => (ErrorKind::Raised, failure::NOT_LOADED),
        "not-found" => (ErrorKind::Raised, "NotFound"),
        "refused" => (ErrorKind::AccessDenied, "Refused"),
        _ => (ErrorKind::Usage, "Usage"),
    };
    let message = format!("{}/{}: {message}", place.pid, place.interpreter);
    let mut error = failure::error(kind, name, message);
    error.hints = hints;
    error
}

fn passing(hit: message::Hit) -> Hit {
    let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
    let mut stack: Vec<_> = hit.stack.iter().map(received::place).collect();
    stack.reverse();
    Hit {
        time: wall_clock(seconds(hit.at)),
        who: hit.who,
        function: hit.function,
        line: (hit.line != 0).then_some(hit.line),
        arguments: hit.arguments,
        result: hit.result,
        error: hit.error,
        duration: hit.duration.map(seconds),
        shown: hit.shown,
        stack,
    }
}

/// A moment of the monotonic clock. A process in another time namespace has another one; then it is now.
pub(crate) fn wall_clock(at: Duration) -> SystemTime {
    const PLAUSIBLE: Duration = Duration::from_secs(7 * 24 * 3600);
    let now = SystemTime::now();
    match spyhole_proc::sys::monotonic().checked_sub(at) {
        Some(ago) if ago < PLAUSIBLE => now.checked_sub(ago).unwrap_or(now),
        _ => now,
    }
}
