//! `spyhole stack`: what each thread of a process does.

use clap::Args;
use spyhole_session::snapshot::{self, Look, Options, Pause};
use spyhole_session::target;

use super::Outcome;
use crate::failure::{Failure, Kind};
use crate::views::stacks::{self, Style};
use crate::views::terminal::Terminal;

/// Show what each thread of a process does, read from outside
#[derive(Args, Debug)]
#[command(
    long_about = "Show what each thread of a process does: its frames, innermost first, whether it runs or in which system \
                  call it waits, and which one holds the GIL. All of it is read from outside, so it works when the process \
                  is hung or stopped. Only the thread that holds the GIL is stopped, for the moment of the copy.",
    after_help = "Level: Look. Nothing runs in any process.\n\n\
                  Examples:\n  \
                  spyhole stack 4123             all of its threads, equal stacks once\n  \
                  spyhole stack 4123 --all       each thread by itself\n  \
                  spyhole stack gunicorn         all processes with `gunicorn` in their command line\n  \
                  spyhole stack 4123 --no-pause  stop nothing, and mark what changed meanwhile\n  \
                  spyhole stack 4123 --json      for scripts"
)]
pub(crate) struct Stack {
    /// PID, PID/INTERP, tree:PID, a part of a command line, or a comma list (see `spyhole help targets`)
    target: String,
    /// Show each thread by itself, also those that do the same
    #[arg(long)]
    all: bool,
    /// Stop no thread: each is read until it reads the same twice
    #[arg(long)]
    no_pause: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Stack {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let resolved = target::resolve(&spec)?;
        let pause = if self.no_pause { Pause::Nothing } else { Pause::Holder };
        let looks = snapshot::of_all(&resolved.targets, Options { pause, sources: true });
        let mut kinds = Vec::new();
        let mut seen = Vec::new();
        for Look { pid, outcome } in looks {
            match outcome {
                Ok(process) => seen.push(process),
                Err(error) => {
                    let failure = Failure::of_process(pid, &error);
                    kinds.push(failure.kind);
                    failure.report(terminal, self.json);
                }
            }
        }
        if self.json {
            terminal.json_document(&stacks::json::processes(&seen))?;
        } else {
            let style = Style { all: self.all, width: terminal.width() };
            terminal.data(&stacks::text(&seen, style))?;
            terminal.talk(&stacks::notes(&seen));
        }
        Ok(match kinds.as_slice() {
            [] => 0,
            [first, rest @ ..] => {
                let alike = rest.iter().all(|kind| kind.exit_code() == first.exit_code());
                if alike && seen.is_empty() { first.exit_code() } else { Kind::Partial.exit_code() }
            }
        })
    }
}
