//! `spyhole doctor`: why a process cannot be reached, and what mends it.

use clap::Args;
use spyhole_session::doctor;
use spyhole_session::target;

use super::Outcome;
use crate::failure::Kind;
use crate::views::doctor as view;
use crate::views::terminal::Terminal;

/// Tell why a process cannot be reached, and what mends it
#[derive(Args, Debug)]
#[command(
    long_about = "Tell whether processes may be looked at and asked, why not, and the one command that mends it. Checked are \
                  users and capabilities, Yama, whether the process has hidden itself, user namespaces and containers, \
                  tracers, seccomp, its state, its owner's opt-out and who holds its GIL. Without TARGET: what this \
                  program may do on this machine.",
    after_help = "Level: Look. Nothing runs in any process.\n\n\
                  Exit code: 0 if all may be asked; else the one that asking would give (4: access denied).\n\n\
                  Examples:\n  \
                  spyhole doctor                this machine and this user\n  \
                  spyhole doctor 4123           one process\n  \
                  spyhole doctor gunicorn       all processes with `gunicorn` in their command line\n  \
                  spyhole doctor 4123 --json    for scripts"
)]
pub(crate) struct Doctor {
    /// PID, tree:PID, a part of a command line, or a comma list (see `spyhole help targets`)
    target: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Doctor {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let all = match &self.target {
            None => vec![doctor::of_machine()],
            Some(target) => {
                let resolved = target::resolve(&target::parse(target)?)?;
                resolved.targets.iter().map(doctor::of_process).collect()
            }
        };
        if self.json {
            terminal.json(&view::json(&all), true)?;
        } else {
            terminal.document(&view::text(&all))?;
        }
        let kind =
            |one: &doctor::Diagnosis| one.refusal.as_ref().map(|error| Kind::from(error.kind));
        let kinds: Vec<Option<Kind>> = all.iter().map(kind).collect();
        Ok(Kind::of_many(&kinds).map_or(0, Kind::exit_code))
    }
}
