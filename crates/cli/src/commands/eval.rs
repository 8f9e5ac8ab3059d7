//! `spyhole eval`: one piece of code in one or many processes, compared.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use spyhole_session::Cancel;
use spyhole_session::evaluate::{self, Request, Watch};
use spyhole_session::model::{Answer, ErrorKind, EvalReport, Outcome as Answered};
use spyhole_session::place::Within;
use spyhole_session::target::{self, Target};

use super::{Outcome, questions, rounds};
use crate::arguments::Entry;
use crate::failure::{Failure, Kind};
use crate::views::clock::Moment;
use crate::views::terminal::Terminal;
use crate::views::watch::Changes;
use crate::views::{answers, json, leaving};
use crate::{audit, duration, interrupt};

/// Evaluate code in one or many processes, and compare what they answer
#[derive(Args, Debug)]
#[command(
    long_about = "Evaluate code in one or many processes, and compare what they answer. An expression prints its value; of \
                  statements the last one's value is printed. Names resolve to `__main__`'s globals, then to loaded modules \
                  (no import is needed), then to builtins. What several processes answer is grouped by equality, the odd one \
                  out first.",
    after_help = "Level: Ask. The code runs in a thread of its own inside the process, while the program goes on.\n\n\
                  Examples:\n  \
                  spyhole eval 4123 'len(cache)'\n  \
                  spyhole eval 4121,4122,4123 'django.conf.settings.DEBUG'\n  \
                  spyhole eval gunicorn 'django.contrib.admin.sites.site._registry' --yes\n  \
                  spyhole eval tree:4120 -f check.py --timeout 30s\n  \
                  spyhole eval 4123 'queue.qsize()' --watch 1s\n  \
                  spyhole eval 4123 'sys.version_info' --json"
)]
pub(crate) struct Eval {
    /// PID, PID/INTERP, tree:PID, a part of a command line, or a comma list (see `spyhole help targets`)
    target: String,
    /// The code: an expression, or statements
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_hyphen_values = true)]
    code: Option<String>,
    /// Read the code from a file; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where: thread, main, loop, hub, frame:TID[:N] (see `spyhole help places`)
    #[arg(long = "in", value_name = "PLACE", default_value = "thread")]
    within: Within,
    /// How long the code may take: 250ms, 30s, 10m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    timeout: Duration,
    /// Evaluate again and again, and print only what changes; Ctrl-C ends it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    watch: Option<Duration>,
    /// Run in all processes that a pattern matches, without asking
    #[arg(long)]
    yes: bool,
    /// Bytes of a value, and of printed text, that are kept
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = parse_max)]
    max: usize,
    /// Keep values whole, however long
    #[arg(long)]
    full: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    entry: Entry,
}

fn parse_max(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("`{text}` is not a number of bytes")),
        Ok(max) => Ok(max),
    }
}

impl Eval {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let code = match (&self.code, &self.file) {
            (Some(code), _) => code.clone(),
            (None, Some(file)) => read_code(file)?,
            (None, None) => String::new(),
        };
        if code.trim().is_empty() {
            return Err(Failure::new(Kind::Usage, "the code is empty").hint("spyhole eval --help"));
        }
        let resolved = target::resolve(&spec)?;
        questions::confirm(terminal, &resolved, self.yes)?;

        let cancel = interrupt::listen()?;
        let pids: Vec<i32> = resolved.targets.iter().map(|target| target.pid).collect();
        audit::record(audit::Entry {
            pids: &pids,
            level: "ask",
            command: "eval",
            code: Some(&code),
        });
        let mut reach = self.entry.reach();
        // Who gives the code much time, since the machine is busy, gives more for a safe moment, too.
        reach.patience = reach.patience.max(self.timeout / 5);
        let request = Request {
            code,
            timeout: self.timeout,
            max: self.max,
            full: self.full,
            want_value: self.json,
            within: self.within,
            reach,
        };
        match self.watch {
            Some(period) => self.watch(terminal, &resolved.targets, &request, &cancel, period),
            None => self.once(terminal, &resolved.targets, &request, &cancel),
        }
    }

    fn once(
        &self,
        terminal: &Terminal,
        targets: &[Target],
        request: &Request,
        cancel: &Cancel,
    ) -> Outcome {
        let report = evaluate::in_all(targets, request, cancel, &mut |answer| {
            if terminal.is_verbose() {
                terminal.talk(&answers::verbose(answer));
            }
        });
        let shown = self.show(terminal, &report, targets.len());
        // However the output fared, the processes have been left by now, and that is said.
        terminal.talk(&leaving::closings(report.answers.iter().chain(&report.passed_over)));
        shown?;
        let kind = verdict(&report, cancel.is_raised());
        if report.answers.is_empty() && kind != Some(Kind::Interrupted) {
            return Err(nobody_has_it(&report));
        }
        if self.json && report.answers.iter().all(|answer| answer.left.is_none()) {
            // No process was even entered: scripts find that on standard error, like every failure.
            if let Some(failure) = first_failure(&report) {
                failure.report(terminal, true);
            }
        }
        Ok(kind.map_or(0, Kind::exit_code))
    }

    fn show(&self, terminal: &Terminal, report: &EvalReport, asked: usize) -> Result<(), Failure> {
        if self.json {
            terminal.json(&json::report(report), true)?;
            return Ok(());
        }
        match report.answers.as_slice() {
            [answer] if asked == 1 && report.not_loaded.is_empty() => {
                answers::one(terminal, answer)?
            }
            _ => answers::many(terminal, report)?,
        }
        Ok(())
    }

    fn watch(
        &self,
        terminal: &Terminal,
        targets: &[Target],
        request: &Request,
        cancel: &Cancel,
        period: Duration,
    ) -> Outcome {
        let mut watch = Watch::open(targets, request, cancel);
        let mut changes = Changes::default();
        let outcome = rounds::every(period, cancel, || {
            let report = watch.round(cancel);
            if cancel.is_raised() {
                return Ok(ControlFlow::Continue(()));
            }
            for change in changes.of(&report, Moment::now()) {
                change.tell(terminal, self.json)?;
            }
            Ok(ended(&report))
        });
        terminal.talk(&leaving::closings(&watch.close()));
        outcome
    }
}

/// A watch whose targets can none of them be asked any more is over.
fn ended(report: &EvalReport) -> ControlFlow<u8> {
    let lost = |answer: &Answer| match &answer.outcome {
        Answered::Error(error) => {
            matches!(
                error.kind,
                ErrorKind::Gone | ErrorKind::AccessDenied | ErrorKind::Unreachable | ErrorKind::Bug
            )
        }
        Answered::Value(_) => false,
    };
    if report.answers.is_empty() || !report.answers.iter().all(lost) {
        return ControlFlow::Continue(());
    }
    // The stream has told why; the exit code tells it again.
    ControlFlow::Break(verdict(report, false).map_or(0, Kind::exit_code))
}

/// What the whole came to: nothing if all answered, the common failure if none did, else partial.
fn verdict(report: &EvalReport, interrupted: bool) -> Option<Kind> {
    if interrupted {
        return Some(Kind::Interrupted);
    }
    let kinds: Vec<Option<Kind>> = report
        .answers
        .iter()
        .map(|answer| match &answer.outcome {
            Answered::Value(_) => None,
            Answered::Error(error) => Some(Kind::from(error.kind)),
        })
        .collect();
    if kinds.is_empty() { Some(Kind::Failed) } else { Kind::of_many(&kinds) }
}

fn first_failure(report: &EvalReport) -> Option<Failure> {
    report.answers.iter().find_map(|answer| match &answer.outcome {
        Answered::Error(error) => Some(Failure::of_process(answer.place.pid, error)),
        Answered::Value(_) => None,
    })
}

fn nobody_has_it(report: &EvalReport) -> Failure {
    match report.not_loaded.len() {
        0 => Failure::new(Kind::Failed, "no process answered"),
        1 => Failure::new(Kind::Failed, "what the code names is not loaded there"),
        count => Failure::new(
            Kind::Failed,
            format!("what the code names is loaded in none of {count} interpreters"),
        ),
    }
}

/// Reads code from a file, or from standard input for `-`.
fn read_code(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Kind::Usage, format!("cannot read the code from `{}`", path.display()))
            .caused_by(&error)
    };
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        bytes = std::fs::read(path).map_err(unreadable)?;
    }
    String::from_utf8(bytes).map_err(|error| {
        Failure::new(Kind::Usage, format!("the code in `{}` is not UTF-8", path.display()))
            .caused_by(&error.utf8_error())
    })
}

#[cfg(test)]
mod tests {
    use spyhole_session::model::{EvalError, Place, Value};

    use super::*;

    fn answer(kind: Option<ErrorKind>) -> Answer {
        let outcome = match kind {
            None => Answered::Value(Value {
                type_name: "int".to_owned(),
                repr: "1".to_owned(),
                is_none: false,
                truncated: false,
                key: None,
                json: None,
            }),
            Some(kind) => Answered::Error(EvalError {
                kind,
                type_name: "E".to_owned(),
                message: String::new(),
                traceback: vec![],
                causes: vec![],
                hints: vec![],
            }),
        };
        Answer {
            place: Place { pid: 1, interpreter: 0 },
            outcome,
            stdout: String::new(),
            stderr: String::new(),
            output_cut: 0,
            duration: Duration::ZERO,
            group: None,
            left: None,
        }
    }

    fn code(kinds: &[Option<ErrorKind>]) -> u8 {
        let report = EvalReport {
            code: String::new(),
            answers: kinds.iter().map(|kind| answer(*kind)).collect(),
            groups: vec![],
            not_loaded: vec![],
            passed_over: vec![],
        };
        verdict(&report, false).map_or(0, Kind::exit_code)
    }

    #[test]
    fn exit_codes_of_many() {
        use ErrorKind::{AccessDenied, Gone, Raised, Timeout};
        for (kinds, expected) in [
            (&[None, None][..], 0),
            (&[None, Some(Raised)], 3),
            (&[Some(Raised), Some(Raised)], 1),
            (&[Some(Raised), Some(Timeout)], 1),
            (&[Some(Gone), Some(Gone)], 5),
            (&[Some(Gone), Some(AccessDenied)], 3),
            (&[Some(AccessDenied)], 4),
            (&[], 1),
        ] {
            assert_eq!(code(kinds), expected, "{kinds:?}");
        }
    }

    #[test]
    fn interruption_wins() {
        let report = EvalReport {
            code: String::new(),
            answers: vec![answer(None)],
            groups: vec![],
            not_loaded: vec![],
            passed_over: vec![],
        };
        assert_eq!(verdict(&report, true), Some(Kind::Interrupted));
    }
}
