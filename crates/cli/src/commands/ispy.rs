//! `spyhole ispy`: a shell of commands in front of processes, prepared by an ini file or not at all.

mod inside;
mod local;
pub(super) mod outside;
mod remote;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use spyhole_session::Cancel;
use spyhole_session::ispy::ini::{self, Settings};
use spyhole_session::target;

use super::console::socket;
use super::{Outcome, questions};
use crate::arguments::Entry;
use crate::console::history;
use crate::console::lines::{LineEditor, Listed, Shared, Shown, Words};
use crate::console::plain::StandardInput;
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::views::terminal::Terminal;
use crate::views::text::{Ink, Text};

/// Open a shell of commands on processes, prepared by an ini file or not at all
#[derive(Args, Debug)]
#[command(
    long_about = "Open a shell of commands. With an INI file, that of `spyhole.ShellManager`, its processes are listed by \
                  `servers` and entered by `connect`; with a TARGET the shell is on that process, which need not be \
                  prepared. `plugins` lists groups of commands, `shell NAME` or `!NAME` enters one, `help` lists what there \
                  is, `exit` climbs one level. Without an argument `ispyd.ini` of the present folder is meant. From a pipe, \
                  lines are read and only what commands print is printed.",
    after_help = "Level: Ask. In an unprepared process what can be read from outside is read from outside (Look), and works \
                  when the process is stopped.\n\n\
                  Examples:\n  \
                  spyhole ispy ispyd.ini\n  \
                  spyhole ispy 4123\n  \
                  spyhole ispy manage.py\n  \
                  printf '!process\\ncwd\\n' | spyhole ispy 4123\n  \
                  printf 'connect 1\\n!wsgi\\nrequests\\n' | spyhole ispy ispyd.ini --transcript"
)]
pub(crate) struct Ispy {
    /// An ini file, PID, PID/INTERP or a part of a command line (see `spyhole help targets`)
    #[arg(value_name = "INI|TARGET")]
    what: Option<String>,
    /// The token for HOST:PORT of the ini, if it asks for one: the first line of this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Show prompts and lines, too, when they come from a pipe
    #[arg(long)]
    transcript: bool,
    /// Neither read nor keep a history
    #[arg(long)]
    no_history: bool,
    #[command(flatten)]
    entry: Entry,
}

/// Whom the shell is on.
pub(super) enum Subject {
    Ini(PathBuf, Settings),
    Target(String),
}

/// What all levels of the shell have.
struct Shell<'a> {
    terminal: &'a Terminal,
    editor: LineEditor,
    words: Shared,
    cancel: Cancel,
    end: Arc<AtomicBool>,
    /// Somebody types: failures are told, and the shell goes on.
    typed: bool,
    /// The first failure of what came from a pipe.
    failed: Option<Kind>,
}

impl Ispy {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let subject = subject(self.what.as_deref(), terminal)?;
        let token = self.token_file.as_deref().map(|file| socket::token(terminal, file));
        let token = token.transpose()?;
        if token.is_some() && matches!(subject, Subject::Target(_)) {
            let message = "`--token-file` is for the address of an ini file, not for a process";
            return Err(
                Failure::new(Kind::Usage, message).hint("spyhole ispy ispyd.ini --token-file FILE")
            );
        }
        match subject {
            Subject::Ini(_, settings) => {
                let mut shell = self.shell(terminal)?;
                local::run(&mut shell, &settings, token.as_deref())?;
                Ok(shell.failed.map_or(0, Kind::exit_code))
            }
            Subject::Target(text) => {
                let resolved = target::resolve(&target::parse(&text)?)?;
                let mut target = questions::pick(terminal, resolved)?;
                questions::pick_interpreter(terminal, &mut target)?;
                let mut shell = self.shell(terminal)?;
                inside::run(&mut shell, target, &self.entry)?;
                Ok(shell.failed.map_or(0, Kind::exit_code))
            }
        }
    }

    fn shell<'a>(&self, terminal: &'a Terminal) -> Result<Shell<'a>, Failure> {
        let typed = std::io::stdin().is_terminal();
        let end = Arc::new(AtomicBool::new(false));
        let cancel = interrupt::listen_for_conversation(&end)?;
        if typed {
            interrupt::end_with_the_terminal()?;
        }
        let capable = std::io::stdout().is_terminal()
            && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let nothing = Listed { commands: Vec::new(), after: Vec::new() };
        let words: Shared = Arc::new(Mutex::new(Box::new(nothing)));
        let editor = if typed && capable {
            let file = if self.no_history {
                None
            } else {
                history::file_for(&["ispy".to_owned()]).unwrap_or_else(|error| {
                    terminal.talk(&Text::of(format!("the history is not kept: {error}\n")));
                    None
                })
            };
            LineEditor::rich(&words, file, Arc::clone(&end), terminal)
        } else {
            let shown = match (typed, self.transcript) {
                (true, _) => Shown::Prompts,
                (_, true) => Shown::PromptsAndLines,
                _ => Shown::Nothing,
            };
            let input = StandardInput::new(Arc::clone(&end), cancel.clone(), typed)?;
            LineEditor::Plain { input, terminal: terminal.clone(), shown }
        };
        Ok(Shell { terminal, editor, words, cancel, end, typed, failed: None })
    }
}

/// What the argument means: a file that is there, or a target.
pub(super) fn subject(what: Option<&str>, terminal: &Terminal) -> Result<Subject, Failure> {
    let usual = ini::usual();
    let file = match what {
        Some(text) if Path::new(text).is_file() => Path::new(text),
        Some(text) if text.ends_with(".ini") => Path::new(text),
        Some(text) => return Ok(Subject::Target(text.to_owned())),
        None if usual.is_file() => usual.as_path(),
        None => {
            let message = "no INI and no TARGET is named, and there is no `ispyd.ini` here";
            return Err(Failure::new(Kind::Usage, message).hint("spyhole ps"));
        }
    };
    let settings = Settings::read(file).map_err(|error| {
        let message = format!("`{}` can not be used", file.display());
        Failure::new(Kind::Usage, message).caused_by(&error).hint("spyhole ispy --help")
    })?;
    for warning in &settings.warnings {
        let mut text = Text::new();
        text.ink(Ink::Strong, "warning:").line(format!(" {}: {warning}", file.display()));
        terminal.talk(&text);
    }
    Ok(Subject::Ini(file.to_owned(), settings))
}

impl Shell<'_> {
    fn offer(&self, words: impl Words + 'static) {
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(words);
    }

    /// A failure of one line; the shell goes on.
    fn told(&mut self, failure: &Failure) {
        failure.report(self.terminal, false);
        if !self.typed {
            self.failed.get_or_insert(failure.kind);
        }
    }

    /// There is no process for the lines that follow: of a pipe they are not read any more.
    fn ended(&mut self, failure: Failure) -> Result<(), Failure> {
        if !self.typed {
            return Err(failure);
        }
        self.told(&failure);
        Ok(())
    }
}

/// Names as `Lib/cmd.py` lists commands (`print_topics`, `columnize`).
fn listed(names: &[&str]) -> String {
    const HEADER: &str = "Documented commands (type help <topic>):";
    const WIDTH: usize = 79;
    let mut text = format!("\n{HEADER}\n{}\n", "=".repeat(HEADER.len()));
    for rows in 1..=names.len() {
        let columns: Vec<&[&str]> = names.chunks(rows).collect();
        let widths: Vec<usize> = columns
            .iter()
            .map(|column| column.iter().map(|name| name.chars().count()).max().unwrap_or(0))
            .collect();
        if rows < names.len() && widths.iter().map(|width| width + 2).sum::<usize>() - 2 > WIDTH {
            continue;
        }
        for row in 0..rows {
            let cells: Vec<String> = columns
                .iter()
                .zip(&widths)
                .filter_map(|(column, width)| Some(format!("{:width$}", column.get(row)?)))
                .collect();
            text.push_str(&cells.join("  "));
            text.push('\n');
        }
        break;
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_listed_in_columns() {
        assert_eq!(
            listed(&["connect", "exit", "help", "servers"]),
            "\nDocumented commands (type help <topic>):\n========================================\n\
             connect  exit  help  servers\n\n"
        );
        let names: Vec<&str> =
            "argv console defaultencoding environ executable exit filesystemencoding help maxsize \
                                maxunicode modules path platform prefix prompt threads version"
                .split_whitespace()
                .collect();
        let rows: Vec<String> =
            listed(&names).lines().skip(3).map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(
            rows,
            [
                "argv             environ     filesystemencoding  maxunicode  platform  threads",
                "console          executable  help                modules     prefix    version",
                "defaultencoding  exit        maxsize             path        prompt",
                "",
            ]
        );
    }
}
