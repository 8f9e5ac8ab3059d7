//! The conversation itself: a line is read, its code runs, what comes back is shown; and so on until somebody leaves.
//!
//! It knows no terminal modes and no doors: lines come from an `Editor`, answers from a `Conversation`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spyhole_session::Cancel;
use spyhole_session::console::Event;
use spyhole_session::model::EvalError;

use super::conversation::{Conversation, Wants};
use super::editor::{Editor, Input};
use crate::failure::{Failure, Kind};
use crate::views::answers::is_of_code;
use crate::views::leaving::still_running;
use crate::views::terminal::{OutputError, Terminal};
use crate::views::text::Text;
use crate::views::traceback;

/// How long code that was interrupted may take to end before the prompt is given back without it.
pub(crate) const GRACE: Duration = Duration::from_millis(120);
/// How often the wait for an event looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(10);

/// Late events that are shown at once.
const LATE_LIMIT: usize = 1000;

pub(crate) const LEAVING: &str =
    "Ctrl-D or exit() leaves and the program goes on; :help lists more";

const HELP: &str = "\
Code runs inside the process; names are those of `__main__`, loaded modules, builtins.
  Ctrl-C      interrupts the code that runs; at the prompt it clears the line
  Ctrl-D      leaves (also :quit, exit(), quit()); the program goes on
  Ctrl-R      searches the history; a line that begins with a space is not kept in it
  Tab         completes names and attributes
  :jobs       lists code that is still running in the process
  :help       this text
";

/// Why a console ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Left,
    /// The process is gone; the reason.
    Gone(String),
}

/// What came of one thing that was shown.
enum Shown {
    Went,
    /// The present job ended.
    Done,
    Over(Ended),
}

pub(crate) struct Shell<Talk> {
    conversation: Arc<Mutex<Talk>>,
    terminal: Terminal,
    cancel: Cancel,
}

/// A console whose other side panicked is still closed in good order.
pub(crate) fn locked<Talk>(conversation: &Mutex<Talk>) -> MutexGuard<'_, Talk> {
    conversation.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<Talk: Conversation> Shell<Talk> {
    pub(crate) fn new(conversation: Arc<Mutex<Talk>>, terminal: Terminal, cancel: Cancel) -> Self {
        Self { conversation, terminal, cancel }
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
            match code.trim() {
                // An empty line is one, too, and a colon no command.
                _ if wants != Wants::Code => {
                    if let Some(ended) = self.evaluate(&code)? {
                        return Ok(ended);
                    }
                }
                "" => continue,
                ":quit" => return Ok(Ended::Left),
                ":help" => self.terminal.talk(&Text::of(HELP)),
                ":jobs" => self.show_jobs(),
                command if command.starts_with(':') => {
                    let command = command.split_whitespace().next().unwrap_or(command);
                    let failure =
                        Failure::new(Kind::Usage, format!("there is no command `{command}`"))
                            .hint(":help");
                    self.terminal.talk(&failure.text());
                }
                _ => {
                    if let Some(ended) = self.evaluate(&code)? {
                        return Ok(ended);
                    }
                }
            }
        }
    }

    /// Runs one piece of code until it ends, or until it is given up.
    fn evaluate(&self, code: &str) -> Result<Option<Ended>, OutputError> {
        let before = self.cancel.count();
        let mut interrupted_at: Option<Instant> = None;
        let job = locked(&self.conversation).start(code);
        loop {
            let event = locked(&self.conversation).next(TICK);
            if let Some(event) = event {
                match self.show(event, Some(job))? {
                    Shown::Went => {}
                    Shown::Done => return Ok(None),
                    Shown::Over(ended) => return Ok(Some(ended)),
                }
            }
            let raised = self.cancel.count() - before;
            match interrupted_at {
                None if raised > 0 => {
                    interrupted_at = Some(Instant::now());
                    locked(&self.conversation).interrupt();
                }
                Some(at) if raised > 1 || at.elapsed() >= GRACE => {
                    self.give_up(job);
                    return Ok(None);
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
            Event::Value { value, .. } => {
                if !value.is_none {
                    let mut text = Text::new();
                    text.line(value.repr);
                    self.terminal.data(&text)?;
                }
                if value.truncated {
                    self.terminal.talk(&Text::of("the value was cut\n"));
                }
                return Ok(Shown::Done);
            }
            Event::Error { error, .. } => {
                self.terminal.talk(&error_text(&error));
                return Ok(Shown::Done);
            }
            Event::Exit => return Ok(Shown::Over(Ended::Left)),
            Event::Gone { reason } => return Ok(Shown::Over(Ended::Gone(reason))),
        }
        Ok(Shown::Went)
    }
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
