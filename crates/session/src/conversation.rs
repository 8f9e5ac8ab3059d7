//! One agent that runs in a process, and what is said with it.
//!
//! It numbers jobs, remembers their code, and turns the agent's events into models. It does not decide how long to
//! wait, or for what.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spyhole_agent::bundle::{self, Feature};
use spyhole_agent::frame::Frames;
use spyhole_agent::message::{About, Complete, Control, Event, Freeze, Placement, Probe, Request};
use spyhole_attach::{AttachError, Gate, Interpreter, Link, Situation, lend};

use crate::entering::{attach_twice, first_requests, framed, loads, opening, options, request};
use crate::evaluate::Reach;
use crate::model::{EvalError, Left, Place, Running};
use crate::place::Within;
use crate::rousing::Rousing;
use crate::starved::{self, Helper};
use crate::visiting::{Step, Visiting};
pub(crate) use crate::work::{Hold, Last, Work};
use crate::{failure, freezing, received, unreached};

/// What came.
#[derive(Debug)]
pub(crate) enum Incoming {
    Event(Event),
    /// Nothing within the time.
    Nothing,
    /// The channel has ended.
    End,
}

#[derive(Debug)]
struct Job {
    code: String,
    within: Within,
    abandoned: bool,
    at: Option<String>,
    thread: i32,
}

/// A conversation with the agent of one process.
#[derive(Debug)]
pub(crate) struct Conversation<'t> {
    process: Hold<'t>,
    link: Link,
    interpreter: Interpreter,
    frames: Frames,
    /// Features that were sent since.
    later: Vec<Feature>,
    frozen: bool,
    jobs: BTreeMap<u32, Job>,
    next_job: u32,
    /// What the stub said where the agent could not.
    stub_said: Option<u8>,
    greeted: bool,
    left: Vec<String>,
    /// The agent was told to leave when it was started.
    said_bye: bool,
    others_stay: bool,
    interpreter_ends: bool,
    leaving: bool,
    /// Where other interpreters might keep the agent from running.
    helper: Option<Helper>,
    rousing: Option<Rousing>,
    visiting: Option<Visiting>,
    ended: bool,
}

impl<'t> Conversation<'t> {
    /// Gets in. `first` is run at once; `last`: and then the agent leaves by itself, unless the process has other
    /// interpreters that may be asked through it.
    pub(crate) fn open(
        process: Hold<'t>,
        interpreter: Interpreter,
        reach: &Reach,
        first: Option<&Work>,
        last: Last,
    ) -> Result<Self, EvalError> {
        let options = options(reach, interpreter);
        let leaves = |others: &[Interpreter]| match last {
            Last::No => false,
            Last::IfAlone => others.is_empty(),
            Last::Yes => true,
        };
        let place = match first {
            Some(work) => work.within.placement(process.get())?,
            None => Placement::Thread,
        };
        let opening = |situation: Situation<'_>| {
            let features = match last {
                Last::No => bundle::FOR_CONSOLE,
                _ if place != Placement::Thread => bundle::FOR_EVAL_ELSEWHERE,
                _ => bundle::FOR_EVAL,
            };
            let requests = first.map(|work| first_requests(work, place)).unwrap_or_default();
            let leaves = leaves(situation.others);
            opening(situation.version.minor, features, &requests, leaves)
        };
        let link = attach_twice(process.get(), &options, &opening)
            .map_err(|error| failure::of_attach(&error))?;
        let said_bye = leaves(&link.others);
        Ok(Self::over(process, link, interpreter, first, said_bye))
    }

    /// Gets in with these features, says this at once, and stays.
    pub(crate) fn open_for(
        process: Hold<'t>,
        interpreter: Interpreter,
        reach: &Reach,
        features: &[Feature],
        first: &Request,
    ) -> Result<Self, EvalError> {
        let options = options(reach, interpreter);
        let requests = std::slice::from_ref(first);
        let opening =
            |situation: Situation<'_>| opening(situation.version.minor, features, requests, false);
        let link = attach_twice(process.get(), &options, &opening)
            .map_err(|error| failure::of_attach(&error))?;
        Ok(Self::over(process, link, interpreter, None, false))
    }

    /// As `open_for`, into another interpreter of a process that has been entered.
    pub(crate) fn through_for(
        gate: &Gate,
        process: Hold<'t>,
        interpreter: Interpreter,
        features: &[Feature],
        first: &Request,
    ) -> Result<Self, EvalError> {
        let requests = std::slice::from_ref(first);
        let opening = opening(gate.version.minor, features, requests, false);
        let link = gate
            .enter(process.get(), interpreter, &opening)
            .map_err(|error| failure::of_attach(&error))?;
        Ok(Self::over(process, link, interpreter, None, false))
    }

    /// Gets into another interpreter of a process that has been entered, and runs `first`; then the agent leaves by
    /// itself.
    pub(crate) fn through(
        gate: &Gate,
        process: Hold<'t>,
        interpreter: Interpreter,
        first: &Work,
    ) -> Result<Self, EvalError> {
        let requests = first_requests(first, Placement::Thread);
        let minor = gate.version.minor;
        let opening = opening(minor, bundle::FOR_EVAL, &requests, true);
        let link = gate
            .enter(process.get(), interpreter, &opening)
            .map_err(|error| failure::of_attach(&error))?;
        Ok(Self::over(process, link, interpreter, Some(first), true))
    }

    fn over(
        process: Hold<'t>,
        link: Link,
        interpreter: Interpreter,
        first: Option<&Work>,
        said_bye: bool,
    ) -> Self {
        let (opened, alone) = (link.opened.as_ref(), link.others.is_empty());
        let helper = Helper::new(link.pid, opened, interpreter, alone);
        let jobs: BTreeMap<u32, Job> = first.map(|work| (1, job(work))).into_iter().collect();
        Self {
            process,
            link,
            interpreter,
            frames: Frames::default(),
            later: Vec::new(),
            frozen: false,
            next_job: jobs.len() as u32 + 1,
            jobs,
            stub_said: None,
            greeted: false,
            left: Vec::new(),
            said_bye,
            others_stay: false,
            interpreter_ends: false,
            leaving: false,
            helper,
            rousing: None,
            visiting: None,
            ended: false,
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place { pid: self.link.pid, interpreter: self.interpreter.id }
    }

    /// The process's interpreters but for the main one.
    pub(crate) fn others(&self) -> &[Interpreter] {
        &self.link.others
    }

    /// The way into these; to be dropped before this conversation is left.
    pub(crate) fn gate(&self) -> Result<Gate, EvalError> {
        self.link.gate().map_err(|error| failure::of_attach(&error))
    }

    /// Why code was interrupted without us: its interpreter is being ended.
    pub(crate) fn interrupted_by_its_end(&self) -> Option<EvalError> {
        let (pid, id) = (self.link.pid, self.interpreter.id);
        self.interpreter_ends.then(|| failure::of_attach(&AttachError::NoInterpreter { pid, id }))
    }

    /// Agents in other interpreters have not ended, so that this one's code stays.
    pub(crate) fn others_stay(&mut self) {
        self.others_stay = true;
    }

    pub(crate) fn pid(&self) -> i32 {
        self.link.pid
    }

    pub(crate) fn door(&self) -> &'static str {
        self.link.door
    }

    pub(crate) fn held(&self) -> Duration {
        self.link.held
    }

    /// Whether the agent has run at all.
    pub(crate) fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// Features that are not sent ahead: more than the channel has room for would have to wait until the agent runs.
    fn need(&mut self, features: &[Feature]) {
        let missing: Vec<Feature> =
            features.iter().filter(|one| !self.later.contains(one)).copied().collect();
        for load in loads(self.link.version.minor, &missing) {
            self.say(&load);
        }
        self.later.extend(missing);
    }

    /// Starts a piece of code and gives its number.
    pub(crate) fn start(&mut self, work: &Work) -> Result<u32, EvalError> {
        let place = work.within.placement(self.process.get())?;
        if place != Placement::Thread {
            self.need(bundle::FOR_PLACES);
        }
        let number = self.next_job;
        self.next_job += 1;
        self.jobs.insert(number, job(work));
        if !work.modules.is_empty() {
            self.say(&Request::Loaded(work.modules.clone()));
        }
        self.say(&request(number, work, place));
        Ok(number)
    }

    /// A number that no job has.
    pub(crate) fn number(&mut self) -> u32 {
        let number = self.next_job;
        self.next_job += 1;
        number
    }

    /// A job that was begun by the first request.
    pub(crate) fn began(&mut self, number: u32, code: &str) {
        let code = code.to_owned();
        self.jobs.insert(
            number,
            Job { code, within: Within::Thread, abandoned: false, at: None, thread: 0 },
        );
        self.next_job = self.next_job.max(number + 1);
    }

    /// A number for a job that begins.
    pub(crate) fn next_number(&mut self, code: &str) -> u32 {
        let number = self.next_job;
        self.began(number, code);
        number
    }

    /// Asks for candidates; the answer carries the number.
    pub(crate) fn complete(&mut self, text: &str) -> u32 {
        let number = self.next_job;
        self.next_job += 1;
        self.say(&Request::Complete(Complete { job: number, text: text.into() }));
        number
    }

    /// The interpreter shall stand still between commands, or (`None`) go on.
    pub(crate) fn freeze(&mut self, limit: Option<Duration>) -> Result<u32, EvalError> {
        let words =
            freezing::words(self.link.pid, self.link.opened.as_deref(), self.interpreter.id);
        self.need(&[bundle::FREEZE]);
        let limit = match limit {
            Some(limit) => Some((limit.as_secs_f64(), words?)),
            None => None,
        };
        if limit.is_some() {
            self.control(Control::Watch { on: true });
        }
        let job = self.next_number("");
        self.say(&Request::Freeze { job, limit });
        Ok(job)
    }

    /// Asks what a name stands for; it is answered as code is.
    pub(crate) fn about(&mut self, text: &str, source: bool) -> u32 {
        let number = self.next_number(text);
        self.say(&Request::About(About { job: number, text: text.into(), source }));
        number
    }

    pub(crate) fn say(&mut self, request: &Request) {
        if self.link.send(&framed(request)).is_err() {
            log::debug!("process {}: the agent does not listen any more", self.link.pid);
        }
    }

    pub(crate) fn control(&mut self, control: Control) {
        if let Some(helper) = &mut self.helper {
            helper.hurry();
        }
        if self.link.send_control(&control.encode()).is_err() {
            log::debug!("process {}: the stub does not listen any more", self.link.pid);
        }
    }

    /// Raises `KeyboardInterrupt` in the code of `job`, and ends the wait for the world in which it may stand.
    pub(crate) fn interrupt(&mut self, job: u32) {
        if self.jobs.get(&job).is_some_and(|job| job.within.is_of_the_program()) {
            // What waits for its turn, or in the manner of its place, hears of it so.
            self.control(Control::Cancel { job });
        }
        self.control(Control::Interrupt { job });
        self.rousing = Some(Rousing::new(job));
    }

    /// A fresh thread shall serve; `job` runs on until it returns.
    pub(crate) fn abandon(&mut self, job: u32) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.abandoned = true;
        }
        self.control(Control::TakeOver { job });
        self.control(Control::Where { job });
    }

    /// Code that was abandoned and has not returned yet.
    pub(crate) fn running(&self) -> Vec<Running> {
        let abandoned = self.jobs.iter().filter(|(_, job)| job.abandoned);
        abandoned.map(|(number, job)| running(*number, job)).collect()
    }

    /// What has not ended, abandoned or not.
    pub(crate) fn unfinished(&self) -> Vec<Running> {
        self.jobs.iter().map(|(number, job)| running(*number, job)).collect()
    }

    /// The next event, if one comes within `limit`.
    pub(crate) fn next(&mut self, limit: Duration) -> Incoming {
        let deadline = Instant::now() + limit;
        loop {
            match self.frames.pop() {
                Ok(Some(body)) => match self.understand(&body) {
                    Some(event) => return Incoming::Event(event),
                    None => continue,
                },
                Ok(None) => {}
                Err(error) => {
                    log::warn!("process {}: {error}", self.link.pid);
                    self.ended = true;
                }
            }
            if self.ended {
                return Incoming::End;
            }
            if !self.wait(deadline) {
                return Incoming::Nothing;
            }
            let mut buffer = [0; 64 << 10];
            match self.link.receive(&mut buffer) {
                Ok(n) if n > 0 => self.frames.push(&buffer[..n]),
                _ => self.ended = true,
            }
        }
    }

    /// Whether something can be received before `deadline`.
    fn wait(&mut self, deadline: Instant) -> bool {
        let busy = !self.jobs.is_empty();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let is_asked = !self.greeted || self.leaving || busy;
            let limit = match &mut self.helper {
                // Others are not to get the GIL from code that runs frozen.
                Some(helper) if is_asked && !self.frozen => {
                    helper.help(&self.link, self.process.get(), busy);
                    left.min(starved::PERIOD)
                }
                _ => left,
            };
            let limit = match &mut self.rousing {
                Some(rousing) => match rousing.rouse(&self.link, self.process.get()) {
                    Some(soon) => limit.min(soon),
                    None => {
                        self.rousing = None;
                        limit
                    }
                },
                None => limit,
            };
            let limit = self.visit().map_or(limit, |soon| limit.min(soon));
            if self.link.wait(Some(limit)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
        }
    }

    /// Brings the code that waits for the main thread to it; in how long it is to be tried again.
    fn visit(&mut self) -> Option<Duration> {
        let visiting = self.visiting.as_mut()?;
        match visiting.step(&self.link, self.process.get()) {
            Step::Done => {
                self.visiting = None;
                None
            }
            Step::Later(pause) => Some(pause),
            Step::Queue => {
                let job = visiting.job;
                self.control(Control::Queue { job });
                Some(Duration::ZERO)
            }
        }
    }

    fn understand(&mut self, body: &[u8]) -> Option<Event> {
        if let [spyhole_stub_says::MARK, what] = body {
            match *what {
                spyhole_stub_says::ENDING => self.interpreter_ends = true,
                what => self.stub_said = Some(what),
            }
            return None;
        }
        let event = match Event::decode(body) {
            Ok(event) => event,
            Err(error) => {
                log::warn!("process {}: an event that is none: {error}", self.link.pid);
                return None;
            }
        };
        self.note(&event);
        Some(event)
    }

    fn note(&mut self, event: &Event) {
        let over = matches!(
            event,
            Event::Value(_) | Event::Raised(_) | Event::Exit { .. } | Event::Refused(_)
        );
        // Why it was not let in is asked for afterwards.
        let over = over && !matches!(event, Event::Refused(refused) if refused.misplaced);
        if over && event.job().is_some() && event.job() == self.visiting.as_ref().map(|v| v.job) {
            self.visiting = None;
        }
        match event {
            Event::Visit { job, object } => self.visiting = Some(Visiting::new(*job, *object)),
            Event::Hello(_) => self.greeted = true,
            Event::Value(value) => drop(self.jobs.remove(&value.job)),
            Event::Raised(raised) => drop(self.jobs.remove(&raised.job)),
            Event::Exit { job, .. } => drop(self.jobs.remove(job)),
            Event::Ask(ask) => drop(self.jobs.remove(&ask.job)),
            Event::Probe(Probe::Unplaced { job, .. }) => drop(self.jobs.remove(job)),
            Event::Refused(refused) => drop(self.jobs.remove(&refused.job)),
            Event::Freeze(Freeze::Frozen { job, .. }) => {
                self.jobs.remove(job);
                self.frozen = true;
            }
            Event::Freeze(Freeze::Thawed { job, .. }) => {
                self.jobs.remove(job);
                self.frozen = false;
                self.control(Control::Watch { on: false });
            }
            Event::Bye { left } => self.left.clone_from(left),
            Event::Where(place) => {
                if let Some(job) = self.jobs.get_mut(&place.job) {
                    job.thread = place.thread;
                    job.at = received::expression(&place.frames, &job.code);
                }
            }
            _ => {}
        }
    }

    /// Why nothing came: what the stub said, or that the process is gone.
    pub(crate) fn reason(&self) -> EvalError {
        let pid = self.link.pid;
        let error = match self.stub_said {
            Some(spyhole_stub_says::NOT_INITIALISED) => AttachError::NotInitialised { pid },
            Some(spyhole_stub_says::AGENT_FAILED) => AttachError::AgentFailed { pid },
            Some(spyhole_stub_says::NO_INTERPRETER) => {
                AttachError::NoInterpreter { pid, id: self.interpreter.id }
            }
            _ if self.process.get().has_ended() => AttachError::Gone { pid },
            _ => AttachError::AgentFailed { pid },
        };
        failure::of_attach(&error)
    }

    /// Why the agent has not run within `limit`.
    pub(crate) fn why_unreached(&self, limit: Duration) -> EvalError {
        unreached::why(self.process.get(), self.place(), limit)
    }

    /// Why code has not begun, or not ended, within `limit` in a place of the program.
    pub(crate) fn why_not_there(&self, within: Within, limit: Duration) -> EvalError {
        let reason = self.visiting.as_ref().and_then(|visiting| visiting.reason);
        unreached::why_not_there(self.process.get(), self.place(), within, limit, reason)
    }

    /// Whether the process has ended, or does so within `limit`.
    pub(crate) fn process_ended(&self, limit: Duration) -> bool {
        self.process.get().ends_within(limit)
    }

    /// Leaves. Waits until nothing of ours is there, unless code still runs.
    pub(crate) fn leave(mut self) -> Left {
        // On a busy machine the collector of a program with much in its hands takes some of it.
        const FAREWELL: Duration = Duration::from_secs(5);
        let mut still_running = self.unfinished();
        self.leaving = true;
        if still_running.is_empty() {
            if !self.said_bye {
                self.say(&Request::Bye);
            }
            let deadline = Instant::now() + FAREWELL;
            while let Incoming::Event(event) =
                self.next(deadline.saturating_duration_since(Instant::now()))
            {
                if self.others_stay && matches!(event, Event::Bye { .. }) {
                    break;
                }
            }
        } else {
            // Without us it ends as soon as the code returns.
            still_running.retain(|running| running.job != 0);
        }
        if !self.greeted {
            // What the agent has not begun it will not begin without us.
            still_running.clear();
        }
        let lent = self.helper.as_ref().is_some_and(Helper::has_lent);
        let held = if lent { self.link.held.max(lend::AWAY) } else { self.link.held };
        let mut kept = std::mem::take(&mut self.left);
        if self.stub_said == Some(spyhole_stub_says::KEPT) {
            kept.push(
                "two mappings, since code of the program holds a function of the agent".into(),
            );
        } else if still_running.is_empty()
            && !self.others_stay
            && self.ended
            && !self.link.wait_gone(self.process.get(), FAREWELL)
        {
            kept.push(format!("thread {}, which has not ended yet", self.link.thread));
        }
        if still_running.is_empty() && !self.others_stay && !self.ended {
            kept.push("the agent, which has not answered; it leaves as soon as it can run".into());
        }
        Left { held, kept, still_running }
    }
}

/// What the stub says in frames of its own; see `spyhole_stub::params`.
mod spyhole_stub_says {
    pub(super) const MARK: u8 = b'!';
    pub(super) const NOT_INITIALISED: u8 = b'i';
    pub(super) const AGENT_FAILED: u8 = b'a';
    pub(super) const KEPT: u8 = b'k';
    pub(super) const NO_INTERPRETER: u8 = b'n';
    pub(super) const ENDING: u8 = b'e';
}

/// The file name of a job's code in tracebacks.
pub(crate) fn name_of(job: u32) -> String {
    format!("<spyhole-{job}>")
}

fn job(work: &Work) -> Job {
    let (code, within) = (work.code.clone(), work.within);
    Job { code, within, abandoned: false, at: None, thread: 0 }
}

fn running(number: u32, job: &Job) -> Running {
    Running { job: number, code: job.code.clone(), at: job.at.clone(), thread: job.thread }
}
