//! Runs code in one or many processes and compares what they answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use spyhole_agent::message::{Control, Event};
use spyhole_attach::Interpreter;
use spyhole_proc::pidfd::Pidfd;

use crate::compare;
use crate::conversation::{Conversation, Hold, Incoming, Last, Work, name_of};
use crate::model::{Answer, ErrorKind, EvalError, EvalReport, Left, Outcome, Place};
use crate::place::Within;
use crate::{Cancel, failure, interpreters, names, received, target::Target};

/// How to reach a process.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Use this door and no other.
    pub door: Option<String>,
    /// Attach although its owner switched remote debugging off (3.14+).
    pub override_opt_out: bool,
    /// A prepared process is to call back to this port of the loopback.
    pub port: Option<u16>,
    /// How long to look for a safe moment.
    pub patience: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        Self { door: None, override_opt_out: false, port: None, patience: Duration::from_secs(2) }
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub code: String,
    /// From the start of the evaluation to its answer.
    pub timeout: Duration,
    /// Bytes of rendered text and of printed text at most.
    pub max: usize,
    /// No bound on the rendered text.
    pub full: bool,
    /// Send the value itself where it is plain data.
    pub want_value: bool,
    /// Where in each process.
    pub within: Within,
    pub reach: Reach,
}

impl Request {
    fn work(&self) -> Work {
        Work {
            code: self.code.clone(),
            max: self.max,
            full: self.full,
            want_value: self.want_value,
            console: false,
            within: self.within,
            modules: names::dotted(&self.code),
        }
    }
}

/// How often a waiting thread looks whether its user has had enough.
const LOOK: Duration = Duration::from_millis(10);
/// How long an interrupted evaluation gets to say so, and a blocked one to say where it is.
const GRACE: Duration = Duration::from_millis(200);
/// Threads that attach at the same time.
const AT_ONCE: usize = 32;

/// Evaluates in all targets at the same time; `each` hears of every answer as soon as it is there (still attached),
/// the report comes when all are left again. Ctrl-C (`cancel`) interrupts what still runs.
pub fn in_all(
    targets: &[Target],
    request: &Request,
    cancel: &Cancel,
    each: &mut (dyn FnMut(&Answer) + Send),
) -> EvalReport {
    let work = request.work();
    let mut answers = Vec::with_capacity(targets.len());
    for part in targets.chunks(AT_ONCE) {
        let of_part =
            together(part, each, |target, answered| once(target, &work, request, cancel, answered));
        answers.extend(of_part.into_iter().flatten());
    }
    compare::report(request.code.clone(), answers)
}

/// Runs `one` for all targets, each in a thread; what it passes to its second argument is heard by `each` at once.
fn together<R: Send>(
    targets: &[Target],
    each: &mut (dyn FnMut(&Answer) + Send),
    one: impl Fn(&Target, &(dyn Fn(&Answer) + Sync)) -> R + Sync,
) -> Vec<R> {
    if let [target] = targets {
        // Without a thread more. A poisoned lock guards nothing.
        let each = Mutex::new(each);
        let tell = |answer: &Answer| (each.lock().unwrap_or_else(PoisonError::into_inner))(answer);
        return vec![one(target, &tell)];
    }
    let (early, heard) = mpsc::channel::<Answer>();
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = targets
            .iter()
            .map(|target| {
                let early = early.clone();
                scope.spawn(move || {
                    one(target, &|answer| {
                        // The receiver waits for all of us.
                        let _ = early.send(answer.clone());
                    })
                })
            })
            .collect();
        drop(early);
        for answer in heard {
            each(&answer);
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// In, evaluate, out; in every interpreter of the process unless one is named.
fn once(
    target: &Target,
    work: &Work,
    request: &Request,
    cancel: &Cancel,
    answered: &(dyn Fn(&Answer) + Sync),
) -> Vec<Answered> {
    let opened = match &target.process {
        Some(process) => interpreters::choose(target, process).and_then(|chosen| {
            let chosen = chosen.or_else(|| work.is_of_one_interpreter());
            let hold = Hold::Borrowed(process);
            let last = if chosen.is_some() { Last::Yes } else { Last::IfAlone };
            let interpreter = chosen.unwrap_or_default();
            Conversation::open(hold, interpreter, &request.reach, Some(work), last)
        }),
        None => Err(failure::no_process(target.pid)),
    };
    let conversation = match opened {
        Ok(conversation) => conversation,
        Err(error) => {
            let answered_now = Answered::failed(Place { pid: target.pid, interpreter: 0 }, error);
            answered(&answered_now.answer);
            return vec![answered_now];
        }
    };
    let asked = Asked { work, request, cancel, answered };
    let one = target.interpreter.is_some() || work.is_of_one_interpreter().is_some();
    if one || conversation.others().is_empty() {
        let mut conversation = conversation;
        let result = asked.collect(&mut conversation, 1);
        return vec![asked.leave(conversation, result)];
    }
    let Some(process) = &target.process else { return Vec::new() };
    let mut conversation = conversation;
    let mut results = asked.everywhere(&mut conversation, process, 1);
    let first = results.swap_remove(0);
    let first = asked.leave(conversation, first);
    results.push(first);
    results.sort_by_key(|result| result.answer.place);
    results
}

/// What is asked in some places, and who hears of the answers.
#[derive(Clone, Copy)]
struct Asked<'a> {
    work: &'a Work,
    request: &'a Request,
    cancel: &'a Cancel,
    answered: &'a (dyn Fn(&Answer) + Sync),
}

/// Agents in interpreters of one process at the same time.
const INTERPRETERS_AT_ONCE: usize = 16;

impl Asked<'_> {
    fn collect(&self, conversation: &mut Conversation<'_>, job: u32) -> Answered {
        let result = collect(conversation, job, self.work, self.request, self.cancel);
        (self.answered)(&result.answer);
        result
    }

    /// Of a process that has ended nothing is left.
    fn leave(&self, conversation: Conversation<'_>, mut result: Answered) -> Answered {
        if !conversation.process_ended(Duration::ZERO) {
            result.answer.left = Some(conversation.leave());
        }
        result
    }

    /// What `job` of the conversation comes to, first, and what each of the process's other interpreters says to the
    /// same, in any order.
    fn everywhere(
        &self,
        conversation: &mut Conversation<'_>,
        process: &Pidfd,
        job: u32,
    ) -> Vec<Answered> {
        let others = conversation.others().to_vec();
        let pid = conversation.pid();
        let gate = conversation.gate();
        let next = AtomicUsize::new(0);
        let one = |interpreter: Interpreter| {
            let opened = match &gate {
                Ok(gate) => {
                    let hold = Hold::Borrowed(process);
                    Conversation::through(gate, hold, interpreter, self.work)
                }
                Err(error) => Err(error.clone()),
            };
            match opened {
                Ok(mut conversation) => {
                    let result = self.collect(&mut conversation, 1);
                    self.leave(conversation, result)
                }
                Err(error) => {
                    let place = Place { pid, interpreter: interpreter.id };
                    let result = Answered::failed(place, error);
                    (self.answered)(&result.answer);
                    result
                }
            }
        };
        let worker = || {
            let mut results = Vec::new();
            while let Some(interpreter) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                results.push(one(*interpreter));
            }
            results
        };
        let results = thread::scope(|scope| {
            let count = others.len().min(INTERPRETERS_AT_ONCE);
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
            let mut results = vec![self.collect(conversation, job)];
            for thread in threads {
                results
                    .extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            results
        });
        let stays = |result: &Answered| {
            let left = result.answer.left.as_ref();
            left.is_some_and(|left| !left.still_running.is_empty() || !left.kept.is_empty())
        };
        if results.iter().any(stays) {
            conversation.others_stay();
        }
        results
    }
}

/// An answer, and which of the modules that were asked about are loaded there.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub answer: Answer,
    pub loaded: Vec<String>,
    /// The dotted name whose lack made it fail.
    pub missing: Option<String>,
}

impl Answered {
    fn failed(place: Place, error: EvalError) -> Self {
        let answer = Answer {
            place,
            outcome: Outcome::Error(error),
            stdout: String::new(),
            stderr: String::new(),
            output_cut: 0,
            duration: Duration::ZERO,
            group: None,
            left: None,
        };
        Self { answer, loaded: Vec::new(), missing: None }
    }
}

/// Waits for what becomes of a job.
fn collect(
    conversation: &mut Conversation<'_>,
    job: u32,
    work: &Work,
    request: &Request,
    cancel: &Cancel,
) -> Answered {
    let start = Instant::now();
    let mut result =
        Answered::failed(conversation.place(), failure::timed_out(request.timeout, None));

    let mut interrupts = 0;
    let mut ending: Option<Ending> = None;
    loop {
        let now = start.elapsed();
        let asked = cancel.count();
        if ending.is_none() && (now >= request.timeout || asked > 0) {
            conversation.interrupt(job);
            interrupts = asked;
            let at = Instant::now();
            ending = Some(Ending { at, by_user: asked > 0, sought: None, found: false });
        }
        if let Some(ending) = &mut ending {
            if ending.sought.is_none()
                && (ending.at.elapsed() >= GRACE || asked > interrupts.max(1))
            {
                conversation.control(Control::Where { job });
                ending.sought = Some(Instant::now());
            }
            if ending.found || ending.sought.is_some_and(|at| at.elapsed() >= GRACE) {
                let error = still_in(conversation, job, request, ending.by_user, ending.found);
                result.answer.outcome = Outcome::Error(error);
                result.answer.duration = start.elapsed();
                break;
            }
        }
        let left = request.timeout.saturating_sub(now);
        let limit = if ending.is_some() { LOOK } else { left.min(LOOK) };
        match conversation.next(limit) {
            Incoming::Event(Event::Output(out)) if out.job == job => {
                let (to, other) = match out.stream {
                    spyhole_agent::message::Stream::Stdout => {
                        (&mut result.answer.stdout, result.answer.stderr.len())
                    }
                    spyhole_agent::message::Stream::Stderr => {
                        (&mut result.answer.stderr, result.answer.stdout.len())
                    }
                };
                let room = request.max.saturating_sub(to.len() + other);
                let cut = floor(&out.text, room);
                to.push_str(&out.text[..cut]);
                result.answer.output_cut += (out.text.len() - cut) as u64;
            }
            Incoming::Event(Event::Value(value)) if value.job == job => {
                result.answer.duration = Duration::from_secs_f64(value.duration.max(0.0));
                result.answer.outcome = Outcome::Value(received::value(value));
                break;
            }
            Incoming::Event(Event::Raised(raised)) if raised.job == job => {
                result.missing.clone_from(&raised.missing);
                result.answer.duration = Duration::from_secs_f64(raised.duration.max(0.0));
                let mut error = received::raised(&raised, &work.code, &name_of(job));
                if error.kind == ErrorKind::Interrupted
                    && let Some(Ending { by_user: false, .. }) = ending
                {
                    let traceback = std::mem::take(&mut error.traceback);
                    error = failure::timed_out(request.timeout, None);
                    error.traceback = traceback;
                }
                if error.kind == ErrorKind::Interrupted
                    && let Some(ended) = conversation.interrupted_by_its_end()
                {
                    error = ended;
                }
                result.answer.outcome = Outcome::Error(error);
                break;
            }
            // Of code that has ended meanwhile the end itself is on its way.
            Incoming::Event(Event::Where(place)) if place.job == job && place.thread != 0 => {
                if let Some(ending) = &mut ending {
                    ending.found = true;
                }
            }
            Incoming::Event(Event::Loaded { names }) => result.loaded = names,
            Incoming::Event(Event::Refused(refused)) if refused.job == job => {
                if let Some(ending) = ending.filter(|_| refused.misplaced) {
                    // It was taken back before it began.
                    let error = match ending.by_user {
                        true => failure::given_up(None),
                        false => conversation.why_not_there(request.within, request.timeout),
                    };
                    result.answer.outcome = Outcome::Error(error);
                    result.answer.duration = start.elapsed();
                    break;
                }
                result.answer.outcome = Outcome::Error(failure::refused(&refused));
                break;
            }
            Incoming::End => {
                // A process that ends takes the channel with it a moment before it is seen to have ended.
                conversation.process_ended(GRACE);
                result.answer.outcome = Outcome::Error(conversation.reason());
                break;
            }
            Incoming::Event(_) | Incoming::Nothing => {}
        }
    }
    result
}

struct Ending {
    at: Instant,
    by_user: bool,
    /// When it was asked where the code is.
    sought: Option<Instant>,
    /// The code still runs, and it is known where.
    found: bool,
}

/// The largest boundary of a character that is no more than `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// What to say of code that has not ended: where it is, or that it never began.
fn still_in(
    conversation: &Conversation<'_>,
    job: u32,
    request: &Request,
    by_user: bool,
    found: bool,
) -> EvalError {
    if !conversation.is_greeted() && !by_user {
        return conversation.why_unreached(request.timeout);
    }
    if request.within.is_of_the_program() && !by_user && !found {
        return conversation.why_not_there(request.within, request.timeout);
    }
    let unfinished = conversation.unfinished();
    let running = unfinished.iter().find(|r| r.job == job);
    let at = running.and_then(|r| Some((r.at.as_deref()?, r.thread)));
    if by_user { failure::given_up(at) } else { failure::timed_out(request.timeout, at) }
}

/// Evaluations repeated over the same targets, which stay attached in between.
pub struct Watch {
    places: Vec<Watched>,
    request: Request,
    work: Work,
}

struct Watched {
    pid: i32,
    /// Every interpreter is asked.
    whole: bool,
    state: Result<(Conversation<'static>, Pidfd), EvalError>,
}

impl Watch {
    /// Attaches to all targets.
    pub fn open(targets: &[Target], request: &Request, _cancel: &Cancel) -> Self {
        let places = together(targets, &mut |_| (), |target, _| {
            let hold = || target.hold_again().map_err(|_| failure::gone(target.pid));
            let open = || {
                let process = hold()?;
                let interpreter = interpreters::choose(target, &process)?.unwrap_or_default();
                let own = Hold::Own(hold()?);
                let conversation =
                    Conversation::open(own, interpreter, &request.reach, None, Last::No)?;
                Ok((conversation, process))
            };
            Watched {
                pid: target.pid,
                whole: target.interpreter.is_none() && request.within == Within::Thread,
                state: open(),
            }
        });
        Self { places, request: request.clone(), work: request.work() }
    }

    /// Evaluates once more everywhere.
    pub fn round(&mut self, cancel: &Cancel) -> EvalReport {
        let asked =
            Asked { work: &self.work, request: &self.request, cancel, answered: &|_: &Answer| () };
        let answers: Vec<Answered> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .places
                .iter_mut()
                .map(|place| scope.spawn(move || place.round(asked)))
                .collect();
            threads
                .into_iter()
                .flat_map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        compare::report(self.request.code.clone(), answers)
    }

    /// Leaves all targets; each answer's `left` says how.
    pub fn close(self) -> Vec<Answer> {
        let leave = |place: Watched| {
            let (left, error) = match place.state {
                Ok((conversation, _)) => (Some(conversation.leave()), None),
                Err(error) => (None, Some(error)),
            };
            let error = error.unwrap_or_else(|| failure::given_up(None));
            let mut answered = Answered::failed(Place { pid: place.pid, interpreter: 0 }, error);
            answered.answer.left = left;
            answered.answer
        };
        self.places.into_iter().map(leave).collect()
    }
}

impl Watched {
    fn round(&mut self, asked: Asked<'_>) -> Vec<Answered> {
        let (conversation, process) = match &mut self.state {
            Ok((conversation, process)) => (conversation, process),
            Err(error) => {
                let place = Place { pid: self.pid, interpreter: 0 };
                return vec![Answered::failed(place, error.clone())];
            }
        };
        if let Some(busy) = conversation.unfinished().first() {
            // The round before has not come back; it is not asked twice.
            let at = busy.at.as_deref().map(|at| (at, busy.thread));
            let error = failure::timed_out(asked.request.timeout, at);
            return vec![Answered::failed(conversation.place(), error)];
        }
        let job = match conversation.start(asked.work) {
            Ok(job) => job,
            Err(error) => {
                let place = Place { pid: self.pid, interpreter: 0 };
                return vec![Answered::failed(place, error)];
            }
        };
        let mut results = if self.whole {
            asked.everywhere(conversation, process, job)
        } else {
            vec![asked.collect(conversation, job)]
        };
        let over = results.first().and_then(|first| match &first.answer.outcome {
            Outcome::Error(error) if error.kind == ErrorKind::Gone => Some(error.clone()),
            _ => None,
        });
        if let Some(error) = over {
            self.state = Err(error);
        }
        results.sort_by_key(|result| result.answer.place);
        results
    }
}

/// How a place was left where nothing of ours ever ran.
impl Answer {
    /// Whether code of ours still runs there.
    pub fn leaves_code_running(&self) -> bool {
        self.left.as_ref().is_some_and(|left: &Left| !left.still_running.is_empty())
    }
}
