//! `cargo xtask bench ask|stack|look|trace`: how long we take, beside other tools that take turns with us in the same run.
//!
//! `--pairs N`, `--write`; `--only 3.11` for `trace`. It knows which measurements there are, and when a machine is quiet enough for them.

mod adapter;
mod ask;
mod figures;
mod look;
mod peers;
mod stack;
mod trace;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Interpreter, interpreters};

use crate::debian;

/// Beyond this many running threads for each core, figures tell more about the others than about us.
const QUIET_LOAD: f64 = 0.5;

pub(crate) fn run(words: &[String]) -> Result<()> {
    // Else the clock, not the tool, waits behind the busy target: for all tools alike.
    spyhole_proc::sys::ask_for_short_turns();
    match words.split_first() {
        Some((what, rest)) if what == "ask" => ask::run(&Options::parse(rest, ask::PAIRS)?, words),
        Some((what, rest)) if what == "stack" => stack::run(&Options::parse(rest, stack::PAIRS)?),
        Some((what, rest)) if what == "look" => {
            look::run(&Options::parse(rest, look::PAIRS)?, words)
        }
        Some((what, rest)) if what == "trace" => trace::run(&Options::parse(rest, trace::PAIRS)?),
        _ => bail!("say what to measure; there are `ask`, `stack`, `look` and `trace`"),
    }
}

fn python(minor: &str) -> Result<Interpreter> {
    interpreters::for_version(minor).with_context(|| format!("no python {minor} here"))
}

/// The interpreter's own root, if it has one that lacks `/proc`.
fn without_proc(python: &Interpreter) -> Option<&Path> {
    python.root.as_deref().filter(|root| !root.join("proc/self").exists())
}

/// All of this measurement again, in a mount namespace of its own, in which that root has `/proc`.
fn again_with_proc(root: &Path, words: &[String]) -> Result<()> {
    const SCRIPT: &str = r#"mount --rbind /proc "$0/proc" && exec "$@""#;
    debian::require_root()?;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT])
        .arg(root)
        .arg(std::env::current_exe().context("cannot find this program")?)
        .arg("bench")
        .args(words)
        .status()
        .context("cannot run unshare")?;
    if !status.success() {
        bail!("the measurement failed ({status})");
    }
    Ok(())
}

/// Whether the machine has other things to do.
fn disturbed(load: f64) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    load > QUIET_LOAD * cores
}

struct Options {
    pairs: usize,
    write: bool,
    /// Of this version alone.
    only: Option<String>,
}

impl Options {
    fn parse(words: &[String], pairs: usize) -> Result<Self> {
        let mut options = Self { pairs, write: false, only: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--write" => options.write = true,
                "--pairs" => {
                    let number = words.next().context("`--pairs` needs a number")?;
                    options.pairs = number.parse().context("not a number")?;
                    if options.pairs == 0 {
                        bail!("no pairs, no figures");
                    }
                }
                "--only" => options.only = Some(words.next().context("no version")?.clone()),
                _ => {
                    bail!("no option `{word}`; there are `--pairs N`, `--write` and `--only MINOR`")
                }
            }
        }
        Ok(options)
    }
}
