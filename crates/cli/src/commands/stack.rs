//! `spyhole stack`: what each thread of a process does.

use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use spyhole_session::locals::Wanted;
use spyhole_session::model::Left;
use spyhole_session::snapshot::{self, Look, Options, Pause};
use spyhole_session::target::{self, Target};

use super::{Outcome, looks, questions, rounds};
use crate::failure::Kind;
use crate::views::clock::Moment;
use crate::views::leaving;
use crate::views::stacks::changes::Changes;
use crate::views::stacks::{self, Style};
use crate::views::terminal::Terminal;
use crate::{duration, interrupt};

/// Show what each thread of a process does, read from outside
#[derive(Args, Debug)]
#[command(
    long_about = "Show what each thread of a process does: its frames, innermost first, whether it runs or in which system \
                  call it waits, and which one holds the GIL; the tasks of asyncio and who awaits whom; suspended \
                  greenlets. All of it is read from outside, so it works when the process \
                  is hung or stopped. Only the thread that holds the GIL is stopped, for the moment of the copy.",
    after_help = "Level: Look. Nothing runs in any process. With `--freeze` Stop: all of its threads wait for the look.\n\n\
                  Examples:\n  \
                  spyhole stack 4123             all of its threads, equal stacks once\n  \
                  spyhole stack 4123 --all       each thread by itself\n  \
                  spyhole stack gunicorn         all processes with `gunicorn` in their command line\n  \
                  spyhole stack 4123 --locals    with the values of local variables\n  \
                  spyhole stack 4123 --no-pause  stop nothing, and mark what changed meanwhile\n  \
                  spyhole stack 4123 --watch 1s  what changes, each second\n  \
                  spyhole stack 4123 --freeze    stop all threads until everything is looked up\n  \
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
    /// Stop all threads until everything is looked up; they run again if this program dies
    #[arg(long, conflicts_with_all = ["no_pause", "watch"])]
    freeze: bool,
    /// With `--freeze` and a part of a command line that several processes have: do not ask
    #[arg(long, requires = "freeze")]
    yes: bool,
    /// Show the local variables of each frame
    #[arg(long)]
    locals: bool,
    /// Characters of one value that are shown at most
    #[arg(long, value_name = "N", default_value_t = 200, requires = "locals")]
    max: usize,
    /// Show what stands under names like `password` and `token`, too
    #[arg(long, requires = "locals")]
    reveal: bool,
    /// Look again and again, and print only the threads whose frames changed; Ctrl-C ends it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    watch: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Stack {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let resolved = target::resolve(&spec)?;
        if self.freeze {
            questions::confirm(terminal, &resolved, self.yes)?;
        }
        match self.watch {
            Some(period) => self.watch(terminal, &resolved.targets, period),
            None => self.once(terminal, &resolved.targets),
        }
    }

    fn look(&self, targets: &[Target]) -> Vec<Look> {
        let pause = match (self.no_pause, self.freeze) {
            (true, _) => Pause::Nothing,
            (_, true) => Pause::Everything,
            _ => Pause::Holder,
        };
        let locals = Wanted { characters: self.max, reveal: self.reveal };
        let locals = self.locals.then_some(locals);
        snapshot::of_all(targets, Options { pause, sources: true, locals, requests: None })
    }

    fn style(&self, terminal: &Terminal) -> Style {
        Style { all: self.all, width: terminal.width() }
    }

    fn once(&self, terminal: &Terminal, targets: &[Target]) -> Outcome {
        let (kinds, seen) = looks::sorted(self.look(targets), terminal, self.json);
        if self.freeze {
            // They run again already, however the output fares.
            for process in &seen {
                let left = Left { held: process.paused, ..Left::default() };
                terminal.talk(&leaving::closing(process.pid, &left));
            }
        }
        if self.json {
            stacks::json::processes(&seen, |piece| terminal.json_piece(piece))?;
        } else {
            terminal.document(&stacks::text(&seen, self.style(terminal)))?;
            terminal.talk(&stacks::notes(&seen));
        }
        // The program ends now: to give back the many small pieces one by one would take a tenth of its time.
        std::mem::forget(seen);
        Ok(Kind::of_many(&kinds).map_or(0, Kind::exit_code))
    }

    fn watch(&self, terminal: &Terminal, targets: &[Target], period: Duration) -> Outcome {
        let cancel = interrupt::listen()?;
        let mut changes = Changes::default();
        rounds::every(period, &cancel, || {
            let looks = self.look(targets);
            for change in changes.of(&looks, Moment::now(), self.style(terminal)) {
                change.tell(terminal, self.json)?;
            }
            if looks.iter().any(|look| look.outcome.is_ok()) {
                return Ok(ControlFlow::Continue(()));
            }
            // The stream has told why; the exit code tells it again.
            let kind = |look: &Look| look.outcome.as_ref().err().map(|error| error.kind.into());
            let kinds: Vec<Option<Kind>> = looks.iter().map(kind).collect();
            Ok(ControlFlow::Break(Kind::of_many(&kinds).map_or(0, Kind::exit_code)))
        })
    }
}
