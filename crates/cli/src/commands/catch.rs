//! `spyhole catch`: exceptions that leave a function, or that nobody handles, are kept.

mod stay;

use std::time::Duration;

use clap::Args;
use spyhole_session::catches::{self, AboutKept, Ended, Heard, Request, Summary};
use spyhole_session::model::{EvalError, Place};
use spyhole_session::target::{self, Resolved};

use super::probed::verdict;
use super::{Outcome, questions};
use crate::arguments::Entry;
use crate::failure::{Failure, Kind};
use crate::views::catch as view;
use crate::views::clock::Moment;
use crate::views::leaving;
use crate::views::terminal::{OutputError, Terminal};
use crate::views::trace::Shows;
use crate::{audit, duration, interrupt};

/// Keep the exceptions that leave a function, with their frames, and list them as they come
#[derive(Args, Debug)]
#[command(
    long_about = "Keep the exceptions that leave a function, each with its traceback and the variables of its frames, and list \
                  them as they come. `spyhole postmortem` opens a debugger on one. Where `*` is named, those are kept that \
                  nobody handled: in a thread, in a task, in a request that its framework logs. The newest ones are kept, and \
                  for a while; all are let go when the command ends, unless `--keep` leaves them for later. Without WHERE, \
                  those are listed that are kept now.",
    after_help = "Level: Ask. A call that raises nothing is as fast as before.\n\n\
                  Examples:\n  \
                  spyhole catch 4123 shop.cart:Cart.add\n  \
                  spyhole catch tree:4120 '*'\n  \
                  spyhole catch 4123 shop.cart:total --when 'isinstance(exception, KeyError)'\n  \
                  spyhole catch 4123 '*' --keep --for 30m      leaves them for later\n  \
                  spyhole catch 4123                           lists what is kept\n  \
                  spyhole catch 4123 --print 1                 the traceback, and what its frames held\n  \
                  spyhole postmortem 4123 1                    a debugger on it\n  \
                  spyhole catch 4123 --stop                    ends what `--keep` has left"
)]
pub(crate) struct Catch {
    /// PID, PID/INTERP, tree:PID, a part of a command line, or a comma list (see `spyhole help targets`)
    target: String,
    /// module:function, module:Class.method, file:line, or `*` for what nobody handles
    #[arg(value_name = "WHERE", conflicts_with_all = ["print", "discard", "reset", "stop"])]
    place: Option<String>,
    /// Only those for which this expression is true: over the function's variables, and `exception`
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true, requires = "place")]
    when: Option<String>,
    /// How many are kept, the newest ones
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: u32,
    /// For how long each is kept
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    age: Duration,
    /// Megabytes that what is kept may hold in each interpreter, as far as that can be told
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65536))]
    megabytes: u64,
    /// How many are kept in a second, in each interpreter; the others are counted
    #[arg(long, value_name = "N", default_value = "10", value_parser = super::trace::parse_rate)]
    rate: f64,
    /// How deep values are shown
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    depth: u32,
    /// Characters of a value that are shown
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10000))]
    max: u32,
    /// Go on when this command ends, for the time of `--for`
    #[arg(long, requires = "place")]
    keep: bool,
    /// How long `--keep` goes on
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse, requires = "keep")]
    #[arg(default_value = "30m")]
    time: Duration,
    /// Print one that is kept: its traceback, and what its frames held
    #[arg(long, value_name = "ID", group = "asked")]
    print: Option<u32>,
    /// Let one go
    #[arg(long, value_name = "ID", group = "asked")]
    discard: Option<u32>,
    /// Let all go that are kept; what watches goes on
    #[arg(long, group = "asked")]
    reset: bool,
    /// End what `--keep` has left
    #[arg(long, group = "asked")]
    stop: bool,
    /// Run in all processes that a pattern matches, without asking
    #[arg(long)]
    yes: bool,
    /// Show values whose names stand before secrets, too
    #[arg(long)]
    reveal: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// The process that stays for `--keep`
    #[arg(long, hide = true)]
    stay_behind: bool,
    #[command(flatten)]
    entry: Entry,
}

impl Catch {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let resolved = target::resolve(&spec)?;
        questions::confirm(terminal, &resolved, self.yes)?;
        match &self.place {
            None => self.ask(terminal, &resolved),
            Some(_) if self.keep && !self.stay_behind => {
                stay::leave_one_behind(terminal, self.json)
            }
            Some(place) => {
                self.record(&resolved, place);
                if self.stay_behind {
                    stay::behind(terminal, &resolved.targets, &self.request(place))
                } else {
                    self.watch(terminal, &resolved, place)
                }
            }
        }
    }

    fn record(&self, resolved: &Resolved, code: &str) {
        let pids: Vec<i32> = resolved.targets.iter().map(|target| target.pid).collect();
        let (level, command, code) = ("ask", "catch", Some(code));
        audit::record(audit::Entry { pids: &pids, level, command, code });
    }

    fn request(&self, place: &str) -> Request {
        Request {
            place: place.to_owned(),
            when: self.when.clone(),
            last: self.last,
            age: self.age,
            bytes: self.megabytes << 20,
            rate: self.rate,
            depth: self.depth,
            max: self.max as usize,
            stay: self.keep.then_some(self.time),
            reach: self.entry.reach(),
        }
    }

    fn shows(&self) -> Shows {
        Shows { secrets: self.reveal }
    }

    // ---- as they come

    fn watch(&self, terminal: &Terminal, resolved: &Resolved, place: &str) -> Outcome {
        let cancel = interrupt::listen()?;
        let mut output = Ok(());
        let request = self.request(place);
        let ended = catches::keep(&resolved.targets, &request, &cancel, &mut |place, heard| {
            output = self.tell(terminal, place, &heard);
            output.is_ok()
        });
        let told = output.and_then(|()| self.sum_up(terminal, &ended));
        let code = verdict(terminal, &ended, self.json);
        // However the output fared, the processes have been left by now, and that is said.
        leave(terminal, &ended);
        told?;
        Ok(code)
    }

    fn tell(&self, terminal: &Terminal, place: Place, heard: &Heard) -> Result<(), OutputError> {
        if self.json {
            let json = match heard {
                Heard::Caught(caught) => Some(view::caught_json(place, caught, self.shows())),
                other => view::heard_json(place, other, Moment::now()),
            };
            return json.map_or(Ok(()), |json| terminal.json(&json, false));
        }
        match heard {
            Heard::Caught(caught) => terminal.data(&view::caught(place, caught)),
            other => {
                terminal.talk(&view::aside(place, other, terminal.is_verbose()));
                Ok(())
            }
        }
    }

    fn sum_up(
        &self,
        terminal: &Terminal,
        ended: &[Ended<Option<Summary>>],
    ) -> Result<(), OutputError> {
        for one in ended.iter().filter(|one| !one.is_not_loaded()) {
            if self.json {
                terminal.json(&view::ended_json(one, Moment::now()), false)?;
            } else {
                terminal.talk(&view::summary(one));
            }
        }
        Ok(())
    }

    // ---- what is kept

    fn ask(&self, terminal: &Terminal, resolved: &Resolved) -> Outcome {
        let what = match (self.print, self.discard) {
            (Some(id), _) => AboutKept::Print(id),
            (_, Some(id)) => AboutKept::Discard(id),
            _ if self.reset => AboutKept::Reset,
            _ if self.stop => AboutKept::Stop,
            _ => AboutKept::List,
        };
        self.record(resolved, &format!("{what:?}"));
        let _cancel = interrupt::listen()?;
        let ended = catches::ask(&resolved.targets, &self.entry.reach(), what);
        let mut count = 0;
        let mut told: Result<(), OutputError> = Ok(());
        for one in &ended {
            let Ok(answer) = &one.outcome else { continue };
            count += answer.count;
            told = told.and_then(|()| {
                for caught in &answer.found {
                    if self.json {
                        terminal
                            .json(&view::caught_json(one.place, caught, self.shows()), false)?;
                    } else if matches!(what, AboutKept::Print(_)) {
                        terminal.data(&view::printed(one.place, caught, self.shows()))?;
                    } else {
                        terminal.data(&view::caught(one.place, caught))?;
                    }
                }
                if self.json {
                    terminal.json(&view::answer_json(one.place, answer, Moment::now()), false)?;
                } else if what == AboutKept::List {
                    terminal.talk(&view::watching(one.place, &answer.watching));
                }
                Ok(())
            });
        }
        let mut code = verdict(terminal, &ended, self.json);
        leave(terminal, &ended);
        told?;
        if let (AboutKept::Print(id) | AboutKept::Discard(id), 0, 0) = (what, count, code) {
            let failure = Failure::new(Kind::NoMatch, format!("there is no exception {id}"))
                .hint(format!("spyhole catch {}", self.target));
            failure.report(terminal, self.json);
            code = Kind::Failed.exit_code();
        }
        Ok(code)
    }
}

fn leave<Answer>(terminal: &Terminal, ended: &[Ended<Answer>]) {
    let left = ended.iter().filter_map(|one| Some((one.place.pid, one.left.as_ref()?)));
    terminal.talk(&leaving::of_processes(left));
}

fn failure(place: Place, error: &EvalError) -> Failure {
    Failure::of_process(place.pid, error)
}
