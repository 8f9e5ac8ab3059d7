//! `spyhole report`: one document of what some processes do, for whoever is on call.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use spyhole_session::report::{self, Reported};
use spyhole_session::requests::Wanted;
use spyhole_session::target;

use super::Outcome;
use crate::failure::{Failure, Kind};
use crate::views::clock::Moment;
use crate::views::report as view;
use crate::views::stacks::Style;
use crate::views::terminal::Terminal;

/// Write down what processes do, in one document whose first line says what is wrong
#[derive(Args, Debug)]
#[command(
    long_about = "Write down what processes do, in one document: what each of them is, whether it may be looked at and asked, \
                  its threads, tasks and greenlets, what they wait for, deadlocks, and the web requests that it serves. The \
                  first line is a verdict. It takes two looks, and at most about two seconds, also of processes that are \
                  hung or stopped. Secrets are hidden.",
    after_help = "Level: Look. Nothing runs in any process.\n\n\
                  Examples:\n  \
                  spyhole report 4123                   of one process\n  \
                  spyhole report tree:4120              of a server and its workers, the worst first\n  \
                  spyhole report gunicorn -o report.txt into a file that only you can read\n  \
                  spyhole report gunicorn --json        for scripts"
)]
pub(crate) struct Report {
    /// PID, PID/INTERP, tree:PID, a part of a command line, or a comma list (see `spyhole help targets`)
    target: String,
    /// Write it into a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show what stands under names like `password` and `token`, too
    #[arg(long)]
    reveal: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Report {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let resolved = target::resolve(&spec)?;
        let wanted = Wanted { environ: false, reveal: self.reveal };
        let all = report::of_all(&resolved.targets, wanted);
        let now = Moment::now();
        match &self.output {
            Some(file) => {
                let style = Style { all: false, width: None };
                let text = match self.json {
                    true => terminal.json_rendered(&view::json(&all, now)),
                    false => terminal.rendered(&view::text(&all, now, style), false),
                };
                write(file, &text)?;
                terminal.talk(&view::verdict(&all));
            }
            None if self.json => terminal.json(&view::json(&all, now), true)?,
            None => {
                let style = Style { all: false, width: terminal.width() };
                terminal.document(&view::text(&all, now, style))?;
            }
        }
        let kind = |one: &Reported| one.stacks.as_ref().err().map(|error| error.kind.into());
        let kinds: Vec<Option<Kind>> = all.iter().map(kind).collect();
        Ok(Kind::of_many(&kinds).map_or(0, Kind::exit_code))
    }
}

/// Writes a file that nobody else can read.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        let message = format!("cannot write the report to `{}`", path.display());
        Failure::new(Kind::Failed, message).caused_by(&error)
    })
}
