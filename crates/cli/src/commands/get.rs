//! `spyhole get`: an object by its path, read from outside.

use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use spyhole_session::model::ErrorKind;
use spyhole_session::objects::{
    self, ObjectAnswer, ObjectReport, Outcome as Answered, Path, Request,
};
use spyhole_session::target::{self, Target};

use super::{Outcome, rounds};
use crate::failure::{Failure, Kind};
use crate::views::clock::Moment;
use crate::views::objects::changes::Changes;
use crate::views::objects::{self as view, Extent};
use crate::views::terminal::Terminal;
use crate::{duration, interrupt};

/// Show an object by its path, read from outside
#[derive(Args, Debug)]
#[command(
    long_about = "Show an object by its path: its type, its length, and what is in it. All of it is read from outside, so it \
                  works when the process is hung or stopped. What properties and other descriptors would answer is not \
                  known, as they are not run. What several processes have is grouped by equality, the odd one out first, \
                  with what differs.",
    after_help = "Level: Look. Nothing runs in any process.\n\n\
                  Paths:\n  \
                  shop.admin.site.registry       a name of `__main__`, a module, or a builtin, and attributes of it\n  \
                  shop.admin:site.registry       the module said apart\n  \
                  shop:prices[\"pen\"][0]          keys and indexes\n  \
                  shop:handler.__closure__[\"n\"]  a variable that a function keeps\n  \
                  thread:4177/2:request.path     a local variable: thread, frame (0 is the innermost), name\n  \
                  thread:4177:request            of the innermost frame that has it\n  \
                  type:shop.Order                the live instances of a class and of its subclasses\n\n\
                  Examples:\n  \
                  spyhole get 4123 shop.admin.site.registry\n  \
                  spyhole get gunicorn django.contrib.admin.sites.site._registry\n  \
                  spyhole get 4123 'shop:prices[\"pen\"]' --depth 4\n  \
                  spyhole get 4123/1 sys.path        of one interpreter\n  \
                  spyhole get 4123 type:shop.Order --max 20\n  \
                  spyhole get tree:4120 shop.cache --watch 1s\n  \
                  spyhole get 4123 shop.settings --json"
)]
pub(crate) struct Get {
    /// PID, PID/INTERP, tree:PID, a part of a command line, or a comma list (see `spyhole help targets`)
    target: String,
    /// The path to the object
    path: String,
    /// Levels below the object that are shown
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=50))]
    depth: u8,
    /// Items of one value that are shown at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    max: usize,
    /// Show what stands under names like `password` and `token`, too
    #[arg(long)]
    reveal: bool,
    /// Look again and again, and print only what changes; Ctrl-C ends it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    watch: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Get {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let path = Path::parse(&self.path).map_err(|error| {
            Failure::new(Kind::Usage, error.to_string()).hint("spyhole get --help")
        })?;
        let resolved = target::resolve(&spec)?;
        let request = Request { path, depth: self.depth.into(), reveal: self.reveal };
        match self.watch {
            Some(period) => self.watch(terminal, &resolved.targets, &request, period),
            None => self.once(terminal, &resolved.targets, &request),
        }
    }

    fn extent(&self, terminal: &Terminal) -> Extent {
        Extent { depth: self.depth.into(), items: self.max, width: terminal.width() }
    }

    fn once(&self, terminal: &Terminal, targets: &[Target], request: &Request) -> Outcome {
        let report = objects::in_all(targets, request);
        let extent = self.extent(terminal);
        if self.json {
            terminal.json(&view::json::report(&report, extent), true)?;
            if !report.answers.iter().any(is_found) {
                // Scripts find a whole failure on standard error, like every failure.
                if let Some(failure) = report.answers.iter().find_map(|one| failure(one, &report)) {
                    failure.report(terminal, true);
                }
            }
        } else {
            terminal.document(&view::text(&report, extent))?;
            let mut hints = Vec::new();
            for failure in report.answers.iter().filter_map(|one| failure(one, &report)) {
                let fresh = failure.hints.iter().filter(|hint| !hints.contains(*hint)).cloned();
                let fresh: Vec<String> = fresh.collect();
                hints.extend(fresh.clone());
                Failure { hints: fresh, ..failure }.report(terminal, false);
            }
            terminal.talk(&view::notes(&report));
        }
        let code = Kind::of_many(&kinds(&report)).map_or(0, Kind::exit_code);
        // The program ends now: to give back the many small pieces one by one would take a part of its time.
        std::mem::forget(report);
        Ok(code)
    }

    fn watch(
        &self,
        terminal: &Terminal,
        targets: &[Target],
        request: &Request,
        period: Duration,
    ) -> Outcome {
        let cancel = interrupt::listen()?;
        let mut changes = Changes::default();
        let extent = self.extent(terminal);
        rounds::every(period, &cancel, || {
            let report = objects::in_all(targets, request);
            for change in changes.of(&report, Moment::now(), extent) {
                change.tell(terminal, self.json)?;
            }
            let lost = |answer: &ObjectAnswer| {
                matches!(&answer.outcome, Answered::Failed(error)
                if matches!(error.kind, ErrorKind::Gone | ErrorKind::AccessDenied | ErrorKind::Usage))
            };
            if !report.answers.iter().all(lost) {
                return Ok(ControlFlow::Continue(()));
            }
            // The stream has told why; the exit code tells it again.
            Ok(ControlFlow::Break(Kind::of_many(&kinds(&report)).map_or(0, Kind::exit_code)))
        })
    }
}

fn is_found(answer: &ObjectAnswer) -> bool {
    matches!(answer.outcome, Answered::Found(_))
}

fn kinds(report: &ObjectReport) -> Vec<Option<Kind>> {
    let kind = |answer: &ObjectAnswer| match &answer.outcome {
        Answered::Found(_) => None,
        Answered::Nowhere(_) => Some(Kind::Failed),
        Answered::Failed(error) => Some(error.kind.into()),
    };
    report.answers.iter().map(kind).collect()
}

/// What is said of a place that has no answer.
fn failure(answer: &ObjectAnswer, report: &ObjectReport) -> Option<Failure> {
    let pid = answer.place.pid;
    match &answer.outcome {
        Answered::Found(_) => None,
        Answered::Failed(error) => Some(Failure::of_process(pid, error)),
        Answered::Nowhere(nowhere) => {
            let several = report.answers.iter().filter(|other| other.place.pid == pid).count() > 1;
            let who = match several || answer.place.interpreter != 0 {
                true => format!("process {pid}, interpreter {}", answer.place.interpreter),
                false => format!("process {pid}"),
            };
            let message = format!("{who}: `{}`: {}", nowhere.step, nowhere.message);
            let failure = Failure::new(Kind::Failed, message);
            Some(match nowhere.near.as_slice() {
                [] => failure,
                near => failure.hint(format!("there is {}", near.join(", "))),
            })
        }
    }
}
