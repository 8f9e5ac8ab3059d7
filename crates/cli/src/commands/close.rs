//! `spyhole close`: ends what came in by a prepared process's doorbell.

use clap::Args;
use spyhole_session::{door, target};

use super::{Outcome, questions};
use crate::audit;
use crate::failure::Failure;
use crate::views::terminal::Terminal;
use crate::views::text::Text;

/// Close a prepared process's door
#[derive(Args, Debug)]
#[command(
    long_about = "Close a prepared process's door: everybody who came in by its doorbell is sent away. The next ring opens \
                  it again.",
    after_help = "Level: Ask. The process is sent the second signal of its name-plate, and nothing else.\n\n\
                  Examples:\n  spyhole close 4123"
)]
pub(crate) struct Close {
    /// PID, or a part of a command line (see `spyhole help targets`)
    target: String,
}

impl Close {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let resolved = target::resolve(&target::parse(&self.target)?)?;
        let target = questions::pick(terminal, resolved)?;
        audit::record(audit::Entry {
            pids: &[target.pid],
            level: "ask",
            command: "close",
            code: None,
        });
        door::close(&target).map_err(|error| Failure::of_process(target.pid, &error))?;
        terminal.talk(&Text::of(format!("{} was told to close its door\n", target.pid)));
        Ok(0)
    }
}
