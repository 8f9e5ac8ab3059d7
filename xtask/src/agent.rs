//! `cargo xtask agent`: the Python tests of the agent, on the oldest and the newest interpreter.
//!
//! Or on those that are named: `cargo xtask agent 3.8 3.14`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Interpreter, census, interpreters};

use crate::workspace;

/// The agent's folder, and the folder of its tests below that.
const AGENT: &str = "crates/agent";
const TESTS: &str = "python/tests";

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
