//! The conversation itself: a line is read, its code runs, what comes back is shown; and so on until somebody leaves.
//!
//! It knows no terminal modes and no doors: lines come from an `Editor`, answers from a `Conversation`.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spyhole_session::Cancel;
use spyhole_session::console::Event;
use spyhole_session::model::EvalError;

use super::commands::{self, Command};
use super::conversation::{Conversation, Wants};
use super::editor::{Editor, Input};
use super::files;
use crate::failure::{Failure, Kind};
use crate::views::answers::is_of_code;
use crate::views::leaving::still_running;
use crate::views::terminal::{OutputError, Terminal};
use crate::views::text::Text;
use crate::views::traceback;

/// How often the wait for an event looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(10);

/// Late events that are shown at once.
const LATE_LIMIT: usize = 1000;

pub(crate) const LEAVING: &str =
    "Ctrl-D or exit() leaves and the program goes on; :help lists more";

/// Why a console ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Left,
    /// The process is gone; the reason.
    Gone(String),
}

/// What a console knows of its process without asking it.
pub(crate) trait Outside {
    /// Which one it is, and how it was entered.
    fn whereabouts(&self) -> Text;
    fn stacks(&self) -> Result<Text, Failure>;
}

/// What came of one thing that was shown.
enum Shown {
    Went,
    /// The present job ended: how long it ran, and whether it did without an error.
    Done(Duration, bool),
    Over(Ended),
}

/// What became of a job while it was waited for.
#[derive(Default)]
struct Waited {
    over: Option<Ended>,
    /// It ended by itself: after how long, and whether without an error.
    took: Option<Duration>,
    well: bool,
}

pub(crate) struct Shell<Talk> {
    conversation: Arc<Mutex<Talk>>,
    terminal: Terminal,
    cancel: Cancel,
    outside: Option<Box<dyn Outside>>,
    /// What ran without an error, for `:save`; and what ran last, for `:edit`.
    ran: RefCell<Vec<String>>,
    last: RefCell<String>,
}

/// A console whose other side panicked is still closed in good order.
pub(crate) fn locked<Talk>(conversation: &Mutex<Talk>) -> MutexGuard<'_, Talk> {
    conversation.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<Talk: Conversation> Shell<Talk> {
    pub(crate) fn new(conversation: Arc<Mutex<Talk>>, terminal: Terminal, cancel: Cancel) -> Self {
        let (ran, last) = Default::default();
        Self { conversation, terminal, cancel, outside: None, ran, last }
    }

    pub(crate) fn with_outside(mut self, outside: impl Outside + 'static) -> Self {
        self.outside = Some(Box::new(outside));
        self
    }

    /// As `run`, after a job that the other side has begun by itself.
    pub(crate) fn run_after(&self, editor: &mut dyn Editor, job: u32) -> Result<Ended, Failure> {
        match self.wait(job)?.over {
            Some(ended) => Ok(ended),
            None => self.run(editor),
        }
    }

    /// Reads and runs until the end of the input, `exit()`, or the end of the process.
    pub(crate) fn run(&self, editor: &mut dyn Editor) -> Result<Ended, Failure> {
        loop {
            if let Some(ended) = self.show_late_events()? {
                return Ok(ended);
            }
            let wants = locked(&self.conversation).wants();
            let code = match editor.read(wants)? {
                Input::End => {
                    return Ok(match editor.last_event() {
                        Some(Event::Gone { reason }) => Ended::Gone(reason),
                        Some(_) => Ended::Left,
                        None => self.show_late_events()?.unwrap_or(Ended::Left),
                    });
                }
                Input::Cleared => {
                    locked(&self.conversation).forget_line();
                    continue;
                }
                Input::Code(code) => code,
            };
            // To a question an empty line is an answer, too, and a colon no command.
            if wants == Wants::Code {
                if code.trim().is_empty() {
                    continue;
                }
                match commands::parse(&code) {
                    Some(Ok(Command::Quit)) => return Ok(Ended::Left),
                    Some(Ok(command)) => {
                        if let Some(ended) = self.command(command)? {
                            return Ok(ended);
                        }
                        continue;
                    }
                    Some(Err(failure)) => {
                        self.terminal.talk(&failure.text());
                        continue;
                    }
                    None => {}
                }
            }
            if let Some(ended) = self.evaluate(&code)? {
                return Ok(ended);
            }
        }
    }

    /// What is no Python. A failure is told, and the prompt comes again.
    fn command(&self, command: Command) -> Result<Option<Ended>, OutputError> {
        let done = match command {
            Command::Help => {
                self.terminal.talk(&Text::of(commands::help()));
                Ok(())
            }
            Command::Jobs => {
                self.show_jobs();
                Ok(())
            }
            Command::Where => self.outside().map(|it| self.terminal.talk(&it.whereabouts())),
            Command::Stack => match self.outside().and_then(Outside::stacks) {
                Ok(text) => return self.terminal.data(&text).map(|()| None),
                Err(failure) => Err(failure),
            },
            Command::About { name, source } => {
                let job = locked(&self.conversation).about(&name, source);
                match job {
                    Some(job) => return self.wait(job).map(|waited| waited.over),
                    None => Err(not_here()),
                }
            }
            Command::Time(code) => {
                let begun = Instant::now();
                let waited = self.evaluate_timed(&code, false)?;
                // Where the other side does not tell, our own clock does.
                let told = waited.took.filter(|took| !took.is_zero());
                let took = told.unwrap_or_else(|| begun.elapsed());
                self.terminal.talk(&Text::of(format!("it took {took:.3?}\n")));
                return Ok(waited.over);
            }
            Command::Full(code) => {
                return self.evaluate_timed(&code, true).map(|waited| waited.over);
            }
            Command::Load(file) => match files::read(&file) {
                Ok(code) => return self.evaluate(&code),
                Err(failure) => Err(failure),
            },
            Command::Edit(file) => match files::edit(file.as_deref(), &self.last.borrow()) {
                Ok(code) if code.trim().is_empty() => Ok(()),
                Ok(code) => return self.evaluate(&code),
                Err(failure) => Err(failure),
            },
            Command::Save(file) => files::save(&file, &self.ran.borrow()),
            Command::Quit => return Ok(Some(Ended::Left)),
        };
        if let Err(failure) = done {
            self.terminal.talk(&failure.text());
        }
        Ok(None)
    }

    fn outside(&self) -> Result<&dyn Outside, Failure> {
        self.outside.as_deref().ok_or_else(not_here)
    }

    /// Runs one piece of code until it ends, or until it is given up.
    fn evaluate(&self, code: &str) -> Result<Option<Ended>, OutputError> {
        self.evaluate_timed(code, false).map(|waited| waited.over)
    }

    /// The same, and how long it ran if it ended.
    fn evaluate_timed(&self, code: &str, full: bool) -> Result<Waited, OutputError> {
        let mut conversation = locked(&self.conversation);
        let job = if full { conversation.start_full(code) } else { conversation.start(code) };
        drop(conversation);
        code.trim_end().clone_into(&mut self.last.borrow_mut());
        let waited = self.wait(job)?;
        if waited.well {
            self.ran.borrow_mut().push(code.trim_end().to_owned());
        }
        Ok(waited)
    }

    /// Until a job ends, or is given up.
    fn wait(&self, job: u32) -> Result<Waited, OutputError> {
        let before = self.cancel.count();
        let grace = locked(&self.conversation).grace();
        let mut interrupted_at: Option<Instant> = None;
        loop {
            let event = locked(&self.conversation).next(TICK);
            if let Some(event) = event {
                match self.show(event, Some(job))? {
                    Shown::Went => {}
                    Shown::Done(took, well) => {
                        return Ok(Waited { over: None, took: Some(took), well });
                    }
                    Shown::Over(ended) => {
                        return Ok(Waited { over: Some(ended), ..Waited::default() });
                    }
                }
            }
            let raised = self.cancel.count() - before;
            match interrupted_at {
                None if raised > 0 => {
                    interrupted_at = Some(Instant::now());
                    locked(&self.conversation).interrupt();
                }
                Some(at) if raised > 1 || at.elapsed() >= grace => {
                    self.give_up(job);
                    return Ok(Waited::default());
                }
                _ => {}
            }
        }
    }

    fn give_up(&self, job: u32) {
        let mut conversation = locked(&self.conversation);
        conversation.abandon(job);
        let running = conversation.running();
        drop(conversation);
        let what = running
            .iter()
            .find(|running| running.job == job)
            .map_or_else(|| format!("still running: job {job}"), still_running);
        self.terminal.talk(&Text::of(format!("\n{what}; :jobs lists it\n")));
    }

    fn show_jobs(&self) {
        let running = locked(&self.conversation).running();
        if running.is_empty() {
            self.terminal.talk(&Text::of("no code is still running\n"));
        }
        for running in running {
            self.terminal.talk(&Text::of(format!(
                "[{}] {}\n",
                running.job,
                still_running(&running)
            )));
        }
    }

    /// What came while nobody waited for it; not more of it than leaves room for Ctrl-C.
    fn show_late_events(&self) -> Result<Option<Ended>, OutputError> {
        for _ in 0..LATE_LIMIT {
            let event = locked(&self.conversation).next(Duration::ZERO);
            let Some(event) = event else { return Ok(None) };
            if let Shown::Over(ended) = self.show(event, None)? {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Shows an event; those of any other job than the present one carry its number.
    fn show(&self, event: Event, present: Option<u32>) -> Result<Shown, OutputError> {
        if let Some(late) = late(&event, present) {
            self.terminal.talk(&late);
            return Ok(Shown::Went);
        }
        match event {
            Event::Output { stderr: true, text, .. } => self.terminal.talk(&Text::of(text)),
            Event::Output { text, .. } => self.terminal.data(&Text::of(text))?,
            Event::Value { value, duration, .. } => {
                if !value.is_none {
                    let mut text = Text::new();
                    text.line(value.repr);
                    self.terminal.data(&text)?;
                }
                if value.truncated {
                    self.terminal.talk(&Text::of("the value was cut; `:full _` shows it whole\n"));
                }
                return Ok(Shown::Done(duration, true));
            }
            Event::Error { error, duration, .. } => {
                self.terminal.talk(&error_text(&error));
                return Ok(Shown::Done(duration, false));
            }
            Event::Exit => return Ok(Shown::Over(Ended::Left)),
            Event::Gone { reason } => return Ok(Shown::Over(Ended::Gone(reason))),
        }
        Ok(Shown::Went)
    }
}

fn not_here() -> Failure {
    Failure::new(Kind::Failed, "a prompt on a socket tells nothing but what its code prints")
}

fn error_text(error: &EvalError) -> Text {
    if is_of_code(error) {
        return Text::of(traceback::text(error));
    }
    let mut failure = Failure::new(error.kind.into(), error.message.clone());
    failure.causes.clone_from(&error.causes);
    failure.hints.clone_from(&error.hints);
    failure.text()
}

/// How the event of a job looks that is not the present one.
pub(crate) fn late(event: &Event, present: Option<u32>) -> Option<Text> {
    let (job, lines) = match event {
        Event::Output { job, text, .. } => (*job, text.clone()),
        Event::Value { job, value, .. } => (*job, format!("ended: {}", value.repr)),
        Event::Error { job, error, .. } => (*job, format!("ended: {}", traceback::headline(error))),
        Event::Exit | Event::Gone { .. } => return None,
    };
    if present == Some(job) {
        return None;
    }
    // It belongs to none.
    if job == 0 {
        return Some(Text::of(lines));
    }
    let mut text = Text::new();
    for line in lines.lines() {
        text.line(format!("[job {job}] {line}"));
    }
    Some(text)
}
