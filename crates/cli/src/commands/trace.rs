//! `spyhole trace`: each call of a function, or passing of a line, without stopping.

use std::time::Duration;

use clap::Args;
use spyhole_session::model::Place;
use spyhole_session::probes::{self, Ended, Heard, Request};
use spyhole_session::target;

use super::probed::verdict;
use super::{Outcome, questions};
use crate::arguments::Entry;
use crate::views::clock::Moment;
use crate::views::leaving;
use crate::views::terminal::{OutputError, Terminal};
use crate::views::trace::{self as view, Shows};
use crate::{audit, duration, interrupt};

/// Tell each call of a function, or passing of a line, without stopping anything
#[derive(Args, Debug)]
#[command(
    long_about = "Tell each call of a function, or passing of a line, without stopping anything: who called, with what \
                  arguments, what came of it, how long it took. Only the function that is named gets any slower; \
                  conditions are compiled into it. It ends with Ctrl-C or at the limit, and the function is as it was.",
    after_help = "Level: Ask. The function's code is exchanged while it is traced.\n\n\
                  Examples:\n  \
                  spyhole trace 4123 shop.cart:total\n  \
                  spyhole trace 4123 shop.cart:Cart.add --when 'count > 10'\n  \
                  spyhole trace 4123 shop.cart:total --when 'duration > 0.1' --show 'len(self.items)' --stack\n  \
                  spyhole trace tree:4120 views.py:112 --limit 20\n  \
                  spyhole trace 4123 shop.cart:total --stats 5s"
)]
pub(crate) struct Trace {
    /// PID, PID/INTERP, tree:PID, a part of a command line, or a comma list (see `spyhole help targets`)
    target: String,
    /// module:function, module:Class.method or file:line
    #[arg(value_name = "WHERE")]
    place: String,
    /// Only where this expression is true: over the arguments, and `result`, `exception`, `duration`
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    when: Option<String>,
    /// Tell the value of this expression, too; more than once if you like
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    show: Vec<String>,
    /// Tell the stack of each call, too
    #[arg(long)]
    stack: bool,
    /// How deep values are shown
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    depth: u32,
    /// Characters of a value that are shown
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10000))]
    max: u32,
    /// How many are told in all; then it ends
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// How many are told in a second, in each interpreter; the others are counted
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_rate)]
    rate: f64,
    /// Count instead, and tell calls, errors and times of each such interval
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    stats: Option<Duration>,
    /// Run in all processes that a pattern matches, without asking
    #[arg(long)]
    yes: bool,
    /// Show arguments whose names stand before secrets, too
    #[arg(long)]
    reveal: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    entry: Entry,
}

pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 100_000.0 => Ok(rate),
        _ => Err(format!("`{text}` is not a number of passings in a second")),
    }
}

impl Trace {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let resolved = target::resolve(&spec)?;
        questions::confirm(terminal, &resolved, self.yes)?;
        let cancel = interrupt::listen()?;
        let pids: Vec<i32> = resolved.targets.iter().map(|target| target.pid).collect();
        audit::record(audit::Entry {
            pids: &pids,
            level: "ask",
            command: "trace",
            code: Some(&self.place),
        });
        let request = Request {
            place: self.place.clone(),
            when: self.when.clone(),
            show: self.show.clone(),
            stack: self.stack,
            depth: self.depth,
            max: self.max as usize,
            limit: self.limit,
            rate: self.rate,
            stats: self.stats,
            reach: self.entry.reach(),
        };
        let mut output = Ok(());
        let ended = probes::trace(&resolved.targets, &request, &cancel, &mut |place, heard| {
            output = self.tell(terminal, place, &heard);
            output.is_ok()
        });
        let told = output.and_then(|()| self.sum_up(terminal, &ended));
        let code = verdict(terminal, &ended, self.json);
        // However the output fared, the processes have been left by now, and that is said.
        let left = ended.iter().filter_map(|one| Some((one.place.pid, one.left.as_ref()?)));
        terminal.talk(&leaving::of_processes(left));
        told?;
        Ok(code)
    }

    fn tell(&self, terminal: &Terminal, place: Place, heard: &Heard) -> Result<(), OutputError> {
        let (now, shows) = (Moment::now(), Shows { secrets: self.reveal });
        if self.json {
            let json = match heard {
                Heard::Hit(hit) => Some(view::hit_json(place, hit, shows)),
                other => view::heard_json(place, other, now),
            };
            return json.map_or(Ok(()), |json| terminal.json(&json, false));
        }
        match heard {
            Heard::Hit(hit) => terminal.data(&view::hit(place, hit, shows)),
            Heard::Stats(stats) => terminal.data(&view::stats(place, stats, now)),
            other => {
                terminal.talk(&view::aside(place, other, terminal.is_verbose()));
                Ok(())
            }
        }
    }

    fn sum_up(&self, terminal: &Terminal, ended: &[Ended]) -> Result<(), OutputError> {
        for one in ended.iter().filter(|one| !one.is_not_loaded()) {
            if self.json {
                terminal.json(&view::ended_json(one, Moment::now()), false)?;
            } else {
                terminal.talk(&view::summary(one));
            }
        }
        Ok(())
    }
}
