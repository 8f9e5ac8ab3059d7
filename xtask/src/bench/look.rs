//! `cargo xtask bench look`: how long it takes until what was asked for is printed, of what only we can tell.
//!
//! `get` of a dict of a thousand entries over twelve processes at once, each a target of its own: all entries of all of
//! them are read and compared, and the answer is shown as text.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use spyhole_testkit::{Start, Target};

use super::figures::{Figures, milliseconds};
use super::{Options, disturbed, python};
use crate::client::Client;
use crate::record;

pub(super) const PAIRS: usize = 20;
const VERSIONS: &[&str] = &["3.8", "3.11", "3.13"];
const PROCESSES: usize = 12;
const ENTRIES: usize = 1000;
/// For all of them together.
const LIMIT: f64 = 50.0;

pub(super) fn run(options: &Options) -> Result<()> {
    let client = Client::shipped()?;
    let load = record::load();
    let mut text = format!(
        "{}; {} runs each; load {load:.1} at the start.\n\n\
         | look | median ms | p99 ms | least..most | at most | |\n|---|---|---|---|---|---|\n",
        record::circumstances()?,
        options.pairs
    );
    for minor in VERSIONS {
        let figures = many_dicts(&client, minor, options.pairs)?;
        let median = figures.median();
        let kept = if median < LIMIT { "kept" } else { "missed" };
        text.push_str(&format!(
            "| {minor}: `get` of a dict of {ENTRIES} over {PROCESSES} processes | {} | {} | {kept} |\n",
            figures.cells(),
            milliseconds(LIMIT)
        ));
    }
    if disturbed(load) {
        text.push_str("\nThe machine had other things to do meanwhile.\n");
    }
    print!("\n{text}");
    if options.write {
        record::write("benchmarks.md", "look", &text)?;
    }
    Ok(())
}

fn many_dicts(client: &Client, minor: &str, count: usize) -> Result<Figures> {
    let python = python(minor)?;
    let start = || Start::new(&python, "objects").start().context("the target does not start");
    let targets: Vec<Target> = (0..PROCESSES).map(|_| start()).collect::<Result<_>>()?;
    let pids: Vec<String> = targets.iter().map(|target| target.pid().to_string()).collect();
    let mut figures = Figures::default();
    for round in 0..=count {
        let mut command = std::process::Command::new(client.path());
        command.args(["get", &pids.join(","), "thousand"]);
        let begun = Instant::now();
        let finished = Client::finish(command)?;
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&finished.stdout);
        let whole = format!(" agree ({PROCESSES} of {PROCESSES}):\n  dict, {ENTRIES} items\n");
        ensure!(text.contains(&whole), "they differ: {text}");
        // The first one fills the page cache.
        if round > 0 {
            figures.push(took);
        }
    }
    Ok(figures)
}
