//! `spyhole ps`: the Python processes of this machine.

use clap::Args;
use spyhole_session::processes;

use super::Outcome;
use crate::failure::{Failure, Kind};
use crate::views::terminal::Terminal;
use crate::views::{json, processes as view};

/// List the Python processes of this machine
#[derive(Args, Debug)]
#[command(
    long_about = "List the Python processes of this machine: what they are, and whether they may be looked at and asked.",
    after_help = "Level: Look. Nothing runs in any process.\n\n\
                  Examples:\n  \
                  spyhole ps             all Python processes\n  \
                  spyhole ps gunicorn    those with `gunicorn` in their command line\n  \
                  spyhole ps -v          with all that is known of each\n  \
                  spyhole ps --json      for scripts"
)]
pub(crate) struct Ps {
    /// Only processes whose command line holds this text
    pattern: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Ps {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let rows = processes::list(self.pattern.as_deref(), terminal.is_verbose());
        if rows.is_empty() {
            if self.json {
                terminal.json(&json::processes(&rows), true)?;
            }
            return Err(match &self.pattern {
                Some(pattern) => Failure::new(
                    Kind::NoMatch,
                    format!("no Python process has `{pattern}` in its command line"),
                )
                .hint("spyhole ps"),
                None => Failure::new(Kind::NoMatch, "no Python process was found"),
            });
        }
        if self.json {
            terminal.json(&json::processes(&rows), true)?;
        } else if terminal.is_verbose() {
            terminal.document(&view::details(&rows, terminal.is_raw()))?;
        } else {
            terminal.document(&view::table(&rows, terminal.width(), terminal.is_raw()))?;
            terminal.talk(&view::refusals(&rows));
        }
        Ok(0)
    }
}
