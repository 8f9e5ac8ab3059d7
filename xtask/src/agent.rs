//! `cargo xtask agent`: the Python tests of the agent and of the package's doors, on the oldest and the newest
//! interpreter, and those of the doors in the environments with gevent, eventlet and uvloop, too.
//!
//! Or on the interpreters that are named: `cargo xtask agent 3.8 3.14`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Interpreter, census, interpreters};

use crate::workspace;

/// The agent's folder, and the folder of its tests below that.
const AGENT: &str = "crates/agent";
const TESTS: &str = "python/tests";
/// Environments that have every world that a door may find itself in.
const DOORS: &[&str] = &["3.6", "3.13"];

pub(crate) fn run(words: &[String]) -> Result<()> {
    let here = interpreters::interpreters();
    let chosen: Vec<Interpreter> = if words.is_empty() {
        here.first().into_iter().chain(here.last()).cloned().collect()
    } else {
        words
            .iter()
            .map(|minor| {
                interpreters::for_version(minor).with_context(|| format!("no python {minor} here"))
            })
            .collect::<Result<_>>()?
    };
    for interpreter in &chosen {
        println!("agent tests on python {}", interpreter.full_version());
        test(interpreter)?;
        census::covered("agent", interpreter);
    }
    let environments = workspace::generated("venvs");
    for minor in DOORS.iter().filter(|_| words.is_empty()) {
        let python = environments.join(minor).join("bin/python");
        if python.exists() {
            println!("tests of the doors in {}", environments.join(minor).display());
            doors(&python)?;
        } else {
            println!("no environment for python {minor}: `cargo xtask venvs` makes it");
        }
    }
    Ok(())
}

fn doors(python: &Path) -> Result<()> {
    let agent = workspace::root().join(AGENT);
    for pattern in ["test_backdoor.py", "test_live.py"] {
        let status = std::process::Command::new(python)
            .args(["-B", "-m", "unittest", "discover", "-p", pattern, "-s"])
            .arg(agent.join(TESTS))
            .env("PYTHONPATH", agent.join("python"))
            .status()
            .context("cannot run the interpreter")?;
        if !status.success() {
            bail!("{pattern} fails with {} ({status})", python.display());
        }
    }
    Ok(())
}

fn test(interpreter: &Interpreter) -> Result<()> {
    let agent = workspace::root().join(AGENT);
    let copy = interpreter.root.as_deref().map(|root| Copied::new(&agent, root)).transpose()?;
    let agent = copy.as_ref().map_or(agent.as_path(), |copy| &copy.inside);
    let tests = agent.join(TESTS);
    let status = interpreter
        .command()
        .args(["-B", "-W", "error::ResourceWarning", "-m", "unittest", "discover", "-s"])
        .arg(&tests)
        // The tests import the package that lies beside them.
        .env("PYTHONPATH", agent.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .context("cannot run the interpreter")?;
    if !status.success() {
        bail!("the agent's tests fail on python {} ({status})", interpreter.full_version());
    }
    Ok(())
}

/// The agent's sources in a root that cannot see them, for as long as this lives.
struct Copied {
    outside: PathBuf,
    inside: PathBuf,
}

impl Copied {
    fn new(agent: &Path, root: &Path) -> Result<Self> {
        let inside = PathBuf::from(format!("/opt/spyhole-agent-{}", std::process::id()));
        let outside = root.join(inside.strip_prefix("/").expect("the path is absolute"));
        let copied = Self { outside, inside };
        copy(agent, &copied.outside)
            .with_context(|| format!("cannot copy the agent to {}", copied.outside.display()))?;
        Ok(copied)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // What stays is a few files in a generated folder.
        let _ = fs::remove_dir_all(&self.outside);
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
