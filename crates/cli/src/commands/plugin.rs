//! `spyhole plugin`: one command of a plugin, for scripts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value as Json, json};
use spyhole_session::ispy::ini::Settings;
use spyhole_session::ispy::link::Link;
use spyhole_session::ispy::servers;
use spyhole_session::target;

use super::console::socket;
use super::ispy::{Subject, outside, subject};
use super::{Outcome, questions};
use crate::arguments::Entry;
use crate::failure::{Failure, Kind};
use crate::views::terminal::Terminal;
use crate::views::text::{Ink, Text};
use crate::{audit, duration};

/// Run one command of a plugin in each process of an ini file, or in any process
#[derive(Args, Debug)]
#[command(
    long_about = "Run one command of a plugin, for scripts: in each process that an ini file names (that of \
                  `spyhole.ShellManager`; `ispyd.ini` of the present folder, if nothing is named), or in an unprepared \
                  process. Prepared processes have the plugins that their ini file names, too.",
    after_help = "Level: Ask. In an unprepared process what can be read from outside is read from outside (Look).\n\n\
                  Examples:\n  \
                  spyhole plugin process cwd --target 4123\n  \
                  spyhole plugin python modules 'django*' --target manage.py --json\n  \
                  spyhole plugin wsgi requests --target ispyd.ini --json\n  \
                  spyhole plugin stock orders 20"
)]
pub(crate) struct Plugin {
    /// The plugin: process, python, wsgi, or one that the ini file names
    name: String,
    /// Its command
    command: String,
    /// What the command takes
    words: Vec<String>,
    /// An ini file, PID, PID/INTERP or a part of a command line (see `spyhole help targets`)
    #[arg(long, value_name = "INI|TARGET")]
    target: Option<String>,
    /// The token for HOST:PORT of the ini, if it asks for one: the first line of this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long the command may take in a prepared process
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "30s")]
    timeout: Duration,
    /// If a part of a command line names several processes: do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    entry: Entry,
}

/// What one process answered.
struct Answered {
    pid: i32,
    outcome: Result<(Json, Text), Failure>,
    left: Text,
}

impl Plugin {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let answers = match subject(self.target.as_deref(), terminal)? {
            Subject::Ini(file, settings) => {
                let answers = self.of_prepared(terminal, &settings)?;
                if answers.is_empty() {
                    let message = format!("nobody listens where `{}` says", file.display());
                    return Err(Failure::new(Kind::NoMatch, message).hint("spyhole ps"));
                }
                answers
            }
            Subject::Target(text) => {
                let resolved = target::resolve(&target::parse(&text)?)?;
                questions::confirm(terminal, &resolved, self.yes)?;
                let width = terminal.width();
                let of_one = |target: &target::Target| {
                    let answer = outside::answer(
                        target,
                        &self.name,
                        &self.command,
                        &self.words,
                        &self.entry,
                        width,
                    );
                    let (outcome, left) = match answer {
                        Ok(answer) => (Ok((answer.value, answer.text)), answer.left),
                        Err(failure) => (Err(failure), Text::new()),
                    };
                    Answered { pid: target.pid, outcome, left }
                };
                resolved.targets.iter().map(of_one).collect()
            }
        };
        self.show(terminal, answers)
    }

    fn of_prepared(
        &self,
        terminal: &Terminal,
        settings: &Settings,
    ) -> Result<Vec<Answered>, Failure> {
        let token = self.token_file.as_deref().map(|file| socket::token(terminal, file));
        let token = token.transpose()?;
        let words: Vec<String> =
            [&self.name, &self.command].into_iter().chain(&self.words).cloned().collect();
        let mut answers = Vec::new();
        for at in servers::find(&settings.listen).listening {
            let mut link = match Link::open(&at, token.as_deref()) {
                Ok(link) => link,
                Err(refusal) => {
                    let outcome = Err(socket::refused(refusal));
                    answers.push(Answered { pid: 0, outcome, left: Text::new() });
                    continue;
                }
            };
            let pid = link.pid;
            audit::record(audit::Entry {
                pids: &[pid],
                level: "ask",
                command: "plugin",
                code: Some(&words.join(" ")),
            });
            let start = Instant::now();
            let outcome = match link.run(&words, self.timeout) {
                Some(answer) => told(&answer),
                None if start.elapsed() >= self.timeout => Err(Failure::new(
                    Kind::Timeout,
                    format!("process {pid}: timed out after {}", duration::short(self.timeout)),
                )),
                None => Err(Failure::new(Kind::Gone, format!("the process at `{at}` is gone"))),
            };
            answers.push(Answered { pid, outcome, left: Text::new() });
        }
        Ok(answers)
    }

    fn show(&self, terminal: &Terminal, answers: Vec<Answered>) -> Outcome {
        let kinds: Vec<Option<Kind>> = answers
            .iter()
            .map(|one| one.outcome.as_ref().err().map(|failure| failure.kind))
            .collect();
        let several = answers.len() > 1;
        let mut rows = Vec::new();
        for Answered { pid, outcome, left } in answers {
            if self.json {
                let (value, error) = match &outcome {
                    Ok((value, _)) => (value.clone(), Json::Null),
                    Err(failure) => (Json::Null, failure.json()["error"].clone()),
                };
                rows.push(json!({
                    "pid": pid,
                    "plugin": self.name,
                    "command": self.command,
                    "ok": outcome.is_ok(),
                    "value": value,
                    "error": error,
                }));
            }
            match outcome {
                Ok((_, text)) if !self.json => {
                    let mut shown = Text::new();
                    if several {
                        shown.ink(Ink::Strong, format!("{pid}:")).plain("\n");
                    }
                    shown.append(text);
                    terminal.data(&shown)?;
                }
                Ok(_) => {}
                Err(failure) => failure.report(terminal, self.json),
            }
            terminal.talk(&left);
        }
        if self.json {
            terminal.json(&Json::from(rows), true)?;
        }
        Ok(Kind::of_many(&kinds).map_or(0, Kind::exit_code))
    }
}

/// What a prepared process says, checked.
fn told(answer: &Json) -> Result<(Json, Text), Failure> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    if answer["ok"].as_bool() == Some(true) {
        return Ok((answer["value"].clone(), Text::of(text(&answer["text"]))));
    }
    let error = &answer["error"];
    let kind = match error["kind"].as_str() {
        Some("usage") => Kind::Usage,
        Some("refused") => Kind::AccessDenied,
        Some("interrupted") => Kind::Interrupted,
        _ => Kind::Failed,
    };
    let mut failure = Failure::new(kind, text(&error["message"]));
    failure
        .causes
        .extend(error["traceback"].as_str().filter(|trace| !trace.is_empty()).map(str::to_owned));
    Err(failure)
}
