//! `spyhole requests`: the web requests that are being served.

use clap::Args;
use spyhole_session::requests::Wanted;
use spyhole_session::snapshot::{self, Options, Pause};
use spyhole_session::target;

use super::{Outcome, looks};
use crate::failure::Kind;
use crate::views::requests as view;
use crate::views::stacks::Style;
use crate::views::terminal::Terminal;

/// Show the web requests that are being served, read from outside
#[derive(Args, Debug)]
#[command(
    long_about = "Show the web requests that are being served: method, path, client, host, for how long where that is known, \
                  the thread, greenlet or task that serves each, and its stack. They are found in the local variables of \
                  frames, as WSGI and ASGI servers hand them to applications; no middleware is needed, and nothing runs in \
                  the processes.",
    after_help = "Level: Look. Nothing runs in any process.\n\n\
                  Examples:\n  \
                  spyhole requests gunicorn            of all processes with `gunicorn` in their command line\n  \
                  spyhole requests tree:4120           of a server and its workers\n  \
                  spyhole requests 4123 --environ      with all that the server handed over\n  \
                  spyhole requests 4123 --json         for scripts"
)]
pub(crate) struct Requests {
    /// PID, PID/INTERP, tree:PID, a part of a command line, or a comma list (see `spyhole help targets`)
    target: String,
    /// Show the WSGI environ or the ASGI scope, too
    #[arg(long)]
    environ: bool,
    /// Show what stands under names like `password` and `token`, too
    #[arg(long)]
    reveal: bool,
    /// Show all frames of each stack with their lines
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Requests {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let resolved = target::resolve(&spec)?;
        let requests = Some(Wanted { environ: self.environ, reveal: self.reveal });
        let options = Options { pause: Pause::Holder, sources: true, locals: None, requests };
        let (kinds, seen) =
            looks::sorted(snapshot::of_all(&resolved.targets, options), terminal, self.json);
        if self.json {
            terminal.json(&view::json(&seen), true)?;
        } else if !seen.is_empty() {
            let style = Style { all: self.all, width: terminal.width() };
            terminal.document(&view::text(&seen, style))?;
        }
        Ok(Kind::of_many(&kinds).map_or(0, Kind::exit_code))
    }
}
