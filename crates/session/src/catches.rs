//! Exceptions of running processes: kept where they happen, listed as they come, asked for later.
//!
//! It decides for how long, and counts. What is kept lives in the agent that caught it, and goes with it; other clients'
//! agents in the same interpreter find it there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use spyhole_agent::bundle;
use spyhole_agent::message::{self, Event, Probe};

use crate::conversation::{Conversation, Incoming};
use crate::evaluate::Reach;
use crate::model::{EvalError, Place, Raised, TraceFrame};
use crate::probing::Probing;
use crate::{Cancel, failure, probes, received, target::Target};

pub use crate::probing::Ended;
pub use spyhole_agent::message::{AboutKept, Summary, Watching, Who};

/// What is to be kept.
#[derive(Clone, Debug)]
pub struct Request {
    /// `module:function`, `file:line`, or `*` for what nobody handles.
    pub place: String,
    pub when: Option<String>,
    /// How many are kept, the newest ones.
    pub last: u32,
    /// For how long each.
    pub age: Duration,
    /// Memory that they may hold in each interpreter, as far as that can be told.
    pub bytes: u64,
    /// How many are kept in a second, in each interpreter.
    pub rate: f64,
    pub depth: u32,
    /// Characters of a value.
    pub max: usize,
    /// It goes on for so long though nobody looks.
    pub stay: Option<Duration>,
    pub reach: Reach,
}

/// What is heard while it goes on.
#[derive(Clone, Debug)]
pub enum Heard {
    /// It is in place in an interpreter.
    Placed {
        label: String,
        how: String,
        functions: u32,
        notes: Vec<String>,
        moved_to: Option<u32>,
    },
    Caught(Box<Caught>),
    Note(String),
    /// It can not be put in place there.
    Failed(EvalError),
    /// It is in place wherever it can be.
    Settled,
}

/// An exception that is kept.
#[derive(Clone, Debug)]
pub struct Caught {
    /// What it is called by within its interpreter.
    pub id: u32,
    pub time: SystemTime,
    pub who: Who,
    /// What watched for it.
    pub place: String,
    /// Who had it: `function`, `thread`, `task`, `log`, `print` or `program`.
    pub by: String,
    /// The exception itself is the last one.
    pub chain: Vec<Raised>,
    /// Names and values of each frame of the last one; empty where they were not asked for.
    pub locals: Vec<Vec<(String, String)>>,
    /// Who called the outermost of these frames; outermost first.
    pub callers: Vec<TraceFrame>,
    /// Through how many calls of the function it went.
    pub times: u32,
    /// Its frames are still there for a debugger.
    pub is_live: bool,
}

/// What was asked for of that which is kept in an interpreter.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub found: Vec<Caught>,
    /// How many it was about.
    pub count: u32,
    pub watching: Vec<Watching>,
}

const JOB: u32 = 1;
const LOOK: Duration = Duration::from_millis(20);
/// While nobody looks.
const SELDOM: Duration = Duration::from_millis(500);
const PLACING: Duration = Duration::from_secs(20);
const FAREWELL: Duration = Duration::from_secs(5);
/// How often it is looked for what is too old, and for modules that were loaded anew.
const CHECK: Duration = Duration::from_secs(1);
const CHECK_SELDOM: Duration = Duration::from_secs(60);
/// Of many kept exceptions.
const ANSWERING: Duration = Duration::from_secs(20);

/// Keeps exceptions in all targets until the user has had enough (`cancel`), the time of `stay` is over, or all are
/// gone. `each` hears what is told, and ends it by giving `false`.
pub fn keep(
    targets: &[Target],
    request: &Request,
    cancel: &Cancel,
    each: &mut dyn FnMut(Place, Heard) -> bool,
) -> Vec<Ended<Option<Summary>>> {
    let (sender, receiver) = mpsc::channel();
    let over = AtomicBool::new(false);
    let unsettled = AtomicUsize::new(targets.len());
    let watch = Watch { request, cancel, over: &over, unsettled: &unsettled };
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let sender = Mutex::new(sender);
            let tell = |place, heard| {
                // The receiver waits for all of us.
                if let Ok(sender) = sender.lock() {
                    let _ = sender.send((place, heard));
                }
            };
            let talk = |conversation: &mut Conversation<'_>| watch.talk(conversation, &tell);
            let unfit = |place, error: &EvalError| watch.settled(place, Some(error), &tell);
            let more = |count| {
                watch.unsettled.fetch_add(count, Ordering::SeqCst);
            };
            let (reach, first) = (&request.reach, watch.first());
            let features = bundle::FOR_CATCH;
            let probing =
                Probing { reach, features, first, talk: &talk, unfit: &unfit, more: &more };
            probing.of_all(targets)
        });
        for (place, heard) in receiver {
            if !each(place, heard) {
                over.store(true, Ordering::Relaxed);
            }
        }
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Asks all interpreters of the targets for what is kept there.
pub fn ask(targets: &[Target], reach: &Reach, what: AboutKept) -> Vec<Ended<Answer>> {
    let talk = |conversation: &mut Conversation<'_>| answer(conversation);
    Probing {
        reach,
        features: bundle::FOR_KEPT,
        first: message::Request::Kept { job: JOB, what },
        talk: &talk,
        unfit: &|_, _| {},
        more: &|_| {},
    }
    .of_all(targets)
}

fn answer(conversation: &mut Conversation<'_>) -> Result<Answer, EvalError> {
    let deadline = Instant::now() + ANSWERING;
    let mut found = Vec::new();
    loop {
        match conversation.next(deadline.saturating_duration_since(Instant::now())) {
            Incoming::Event(Event::Caught(caught)) => found.push(model(*caught)),
            Incoming::Event(Event::Kept(kept)) => {
                return Ok(Answer { found, count: kept.count, watching: kept.watching });
            }
            Incoming::Event(Event::Refused(refused)) => {
                return Err(failure::refused(&refused));
            }
            Incoming::Event(_) => {}
            Incoming::Nothing => return Err(conversation.why_unreached(ANSWERING)),
            Incoming::End => {
                conversation.process_ended(Duration::from_millis(200));
                return Err(conversation.reason());
            }
        }
    }
}

type Tell<'a> = dyn Fn(Place, Heard) + 'a;

struct Watch<'a> {
    request: &'a Request,
    cancel: &'a Cancel,
    over: &'a AtomicBool,
    unsettled: &'a AtomicUsize,
}

impl Watch<'_> {
    fn first(&self) -> message::Request {
        let request = self.request;
        message::Request::Catch(message::Catch {
            job: JOB,
            place: request.place.clone(),
            when: request.when.clone(),
            last: request.last,
            age: request.age.as_secs_f64(),
            bytes: request.bytes,
            rate: request.rate,
            depth: request.depth,
            max: request.max,
            stay: request.stay.map(|stay| stay.as_secs_f64()),
        })
    }

    fn is_over(&self) -> bool {
        self.cancel.is_raised() || self.over.load(Ordering::Relaxed)
    }

    /// It is known of one more interpreter whether it is in place there.
    fn settled(&self, place: Place, failed: Option<&EvalError>, tell: &Tell<'_>) {
        if let Some(error) = failed {
            tell(place, Heard::Failed(error.clone()));
        }
        if self.unsettled.fetch_sub(1, Ordering::SeqCst) == 1 {
            tell(place, Heard::Settled);
        }
    }

    fn talk(
        &self,
        conversation: &mut Conversation<'_>,
        tell: &Tell<'_>,
    ) -> Result<Option<Summary>, EvalError> {
        let place = conversation.place();
        let hear = |heard| tell(place, heard);
        let placed = self.place(conversation, &hear);
        self.settled(place, placed.as_ref().err(), tell);
        match placed? {
            Placed::Yes => self.listen(conversation, &hear),
            Placed::TooLate => Ok(None),
        }
    }

    /// Until it is in place.
    fn place(
        &self,
        conversation: &mut Conversation<'_>,
        tell: &dyn Fn(Heard),
    ) -> Result<Placed, EvalError> {
        let start = Instant::now();
        // A thread may have had one before it is said that it is in place.
        let mut early = Vec::new();
        while !self.is_over() {
            match conversation.next(LOOK) {
                Incoming::Event(Event::Probe(Probe::Unplaced { kind, message, hints, .. })) => {
                    return Err(probes::unplaced(conversation.place(), &kind, message, hints));
                }
                Incoming::Event(Event::Refused(refused)) => {
                    return Err(failure::refused(&refused));
                }
                Incoming::Event(Event::Probe(probe @ Probe::Placed { .. })) => {
                    hear(conversation, Event::Probe(probe), tell);
                    early.drain(..).for_each(|event| hear(conversation, event, tell));
                    return Ok(Placed::Yes);
                }
                Incoming::Event(event) => early.push(event),
                Incoming::Nothing if start.elapsed() > PLACING => {
                    return Err(conversation.why_unreached(PLACING));
                }
                Incoming::Nothing => {}
                Incoming::End => {
                    conversation.process_ended(Duration::from_millis(200));
                    return Err(conversation.reason());
                }
            }
        }
        Ok(if conversation.is_greeted() { Placed::Yes } else { Placed::TooLate })
    }

    fn listen(
        &self,
        conversation: &mut Conversation<'_>,
        tell: &dyn Fn(Heard),
    ) -> Result<Option<Summary>, EvalError> {
        let (look, check) =
            if self.request.stay.is_some() { (SELDOM, CHECK_SELDOM) } else { (LOOK, CHECK) };
        let check = check.min(self.request.age.max(CHECK));
        let begun = Instant::now();
        let mut checked = begun;
        while !self.is_over() && self.request.stay.is_none_or(|stay| begun.elapsed() < stay) {
            match conversation.next(look) {
                // Another client has ended it.
                Incoming::Event(Event::Probe(Probe::Summary(summary))) => return Ok(Some(summary)),
                Incoming::Event(event) => hear(conversation, event, tell),
                Incoming::Nothing => {}
                Incoming::End => {
                    conversation.process_ended(Duration::from_millis(200));
                    return Err(conversation.reason());
                }
            }
            if checked.elapsed() >= check {
                checked = Instant::now();
                conversation.say(&message::Request::Recheck { job: JOB });
            }
        }
        conversation.say(&message::Request::Uncatch { job: JOB });
        let deadline = Instant::now() + FAREWELL;
        loop {
            match conversation.next(deadline.saturating_duration_since(Instant::now())) {
                Incoming::Event(Event::Probe(Probe::Summary(summary))) => return Ok(Some(summary)),
                Incoming::Event(Event::Refused(_)) | Incoming::Nothing => return Ok(None),
                Incoming::Event(event) => hear(conversation, event, tell),
                Incoming::End => {
                    conversation.process_ended(Duration::from_millis(200));
                    return Err(conversation.reason());
                }
            }
        }
    }
}

enum Placed {
    Yes,
    /// The user had enough before the agent ran.
    TooLate,
}

fn hear(conversation: &mut Conversation<'_>, event: Event, tell: &dyn Fn(Heard)) {
    let seq = match event {
        Event::Caught(caught) => {
            let seq = caught.seq;
            tell(Heard::Caught(Box::new(model(*caught))));
            seq
        }
        Event::Probe(Probe::Note { seq, text, .. }) => {
            tell(Heard::Note(text));
            seq
        }
        Event::Probe(Probe::Placed { label, how, functions, notes, line, moved, .. }) => {
            let moved_to = moved.then_some(line);
            tell(Heard::Placed { label, how, functions, notes, moved_to });
            return;
        }
        _ => return,
    };
    conversation.say(&message::Request::Took { job: JOB, seq });
}

fn model(caught: message::Caught) -> Caught {
    Caught {
        id: caught.id,
        time: probes::wall_clock(Duration::from_secs_f64(caught.at.clamp(0.0, 1e9))),
        who: caught.who,
        place: caught.place,
        by: caught.by,
        chain: received::links(&caught.chain),
        locals: caught.locals,
        callers: caught.callers.iter().map(received::place).collect(),
        times: caught.times,
        is_live: caught.is_live,
    }
}
