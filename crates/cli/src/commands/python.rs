//! `spyhole python`: a fresh interpreter whose prompt runs inside a live event loop.
//!
//! It finds an interpreter, hands it the package's part for this in a file without a name, and becomes it.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::{Args, ValueEnum};

use super::Outcome;
use crate::failure::{Failure, Kind};
use crate::live;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Loop {
    Asyncio,
    Gevent,
    Eventlet,
}

/// Start a Python whose prompt runs inside a live event loop
#[derive(Args, Debug)]
#[command(
    long_about = "Start a fresh Python whose prompt runs inside a live event loop: `await` works, and calls of gevent and \
                  eventlet wait while everything else in the loop goes on.",
    after_help = "Level: none. No other process is touched.\n\n\
                  Examples:\n  \
                  spyhole python                          an asyncio loop\n  \
                  spyhole python --loop gevent app.py     runs app.py first\n  \
                  spyhole python --ipython --python venv/bin/python"
)]
pub(crate) struct Python {
    /// Whose loop
    #[arg(long = "loop", value_name = "LOOP", default_value = "asyncio")]
    of: Loop,
    /// The prompt of IPython, where that is installed
    #[arg(long)]
    ipython: bool,
    /// The interpreter; else $SPYHOLE_PYTHON, else `python3` of the PATH
    #[arg(long, value_name = "PATH")]
    python: Option<OsString>,
    /// A program that is run first, inside the loop, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "SCRIPT")]
    script: Vec<OsString>,
}

impl Python {
    pub(crate) fn run(&self) -> Outcome {
        let failed = |error: &std::io::Error| {
            Failure::new(Kind::Failed, "cannot hand the package over").caused_by(error)
        };
        let carried = live::carried(live::LIVE).map_err(|error| failed(&error))?;
        let python = self
            .python
            .clone()
            .or_else(|| std::env::var_os("SPYHOLE_PYTHON"))
            .unwrap_or_else(|| "python3".into());
        let kind = self.of.to_possible_value();
        let kind = kind.as_ref().map_or("asyncio", |value| value.get_name());
        let mut command = Command::new(&python);
        command.arg("-c").arg(live::prompt(carried.as_raw_fd())).args(["--loop", kind]);
        if self.ipython {
            command.arg("--ipython");
        }
        if !self.script.is_empty() {
            command.arg("--").args(&self.script);
        }
        let error = command.exec();
        let name = python.to_string_lossy();
        Err(Failure::new(Kind::Failed, format!("cannot run `{name}`"))
            .caused_by(&error)
            .hint("name an interpreter with `--python PATH`"))
    }
}
