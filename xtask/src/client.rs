//! The program under test: built as it is released, or so that it can be told to die.
//!
//! It knows how to build and start it. What its answers mean for a target is `ward`'s.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Finished, run};

use crate::{dist, workspace};

/// No run of the program may take longer, whatever happens; its own limits are far below.
const LIMIT: Duration = Duration::from_secs(60);

/// A built program.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    path: PathBuf,
}

impl Client {
    /// As it is released.
    pub(crate) fn released() -> Result<Self> {
        build(&workspace::builds(), &[])
    }

    /// As it is shipped: one static file, which takes the system less time to start.
    pub(crate) fn shipped() -> Result<Self> {
        Ok(Self { path: dist::build()? })
    }

    /// With the switches that let it die at a chosen step. Built beside the released one, never in its place.
    pub(crate) fn mortal() -> Result<Self> {
        build(&workspace::builds().join("die"), &["--features", "die"])
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `spyhole eval PID CODE`
    pub(crate) fn eval(&self, pid: i32, code: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.args(["eval", &pid.to_string(), code]);
        command
    }

    /// Runs a command of the program to its end.
    pub(crate) fn finish(mut command: Command) -> Result<Finished> {
        run(&mut command, LIMIT).with_context(|| format!("cannot run {command:?}"))
    }
}

fn build(folder: &Path, words: &[&str]) -> Result<Client> {
    let status = workspace::cargo()
        .args(["build", "--quiet", "--release", "--package", "spyhole", "--target-dir"])
        .arg(folder)
        .args(words)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the program cannot be built ({status})");
    }
    Ok(Client { path: folder.join("release/spyhole") })
}
