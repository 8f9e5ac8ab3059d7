//! `cargo xtask bench look`: how long it takes until what was asked for is printed, of what only we can tell.
//!
//! - 300 tasks of asyncio on 3.14, in turn with `python -m asyncio ps` of the same version, which has to name the same ones;
//! - 10,000 suspended greenlets, each with a stack of its own, shown as text;
//! - `get` of a dict of a thousand entries over twelve processes at once, each a target of its own: all entries of all of
//!   them are read and compared, and the answer is shown as text.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use spyhole_testkit::{Interpreter, Start, Target};

use super::figures::{Figures, milliseconds};
use super::{Options, again_with_proc, disturbed, python, without_proc};
use crate::client::Client;
use crate::record;

pub(super) const PAIRS: usize = 20;
const VERSIONS: &[&str] = &["3.8", "3.11", "3.13"];

const TASKS: usize = 300;
/// Of the time of CPython's own tool.
const SHARE: f64 = 0.1;

const GREENLETS: usize = 10_000;
const GREENLETS_LIMIT: f64 = 1000.0;
/// Each Python with a version of greenlet.
const GREENLET_VERSIONS: &[(&str, &str)] =
    &[("3.8", "1.1.3"), ("3.11", "2.0.2"), ("3.14", "3.5.6")];

const PROCESSES: usize = 12;
const ENTRIES: usize = 1000;
/// For all of them together.
const LIMIT: f64 = 50.0;

pub(super) fn run(options: &Options, words: &[String]) -> Result<()> {
    let newest = python("3.14")?;
    // CPython's tool needs it.
    if let Some(root) = without_proc(&newest) {
        return again_with_proc(root, words);
    }
    let client = Client::shipped()?;
    let load = record::load();
    let mut text = format!(
        "{}; {} runs each; load {load:.1} at the start.\n\n\
         | look | tool | median ms | p99 ms | least..most | at most | |\n|---|---|---|---|---|---|---|\n",
        record::circumstances()?,
        options.pairs
    );
    text.push_str(&many_tasks(&client, &newest, options.pairs)?);
    for (minor, version) in GREENLET_VERSIONS {
        let figures = many_greenlets(&client, minor, version, options.pairs)?;
        let what = format!("{minor}: {GREENLETS} greenlets, greenlet {version}");
        text.push_str(&row(&what, &figures, GREENLETS_LIMIT));
    }
    for minor in VERSIONS {
        let figures = many_dicts(&client, minor, options.pairs)?;
        let what = format!("{minor}: `get` of a dict of {ENTRIES} over {PROCESSES} processes");
        text.push_str(&row(&what, &figures, LIMIT));
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

fn row(what: &str, figures: &Figures, limit: f64) -> String {
    let kept = kept(figures.median() < limit);
    format!("| {what} | spyhole | {} | {} ms | {kept} |\n", figures.cells(), milliseconds(limit))
}

fn kept(is: bool) -> &'static str {
    if is { "kept" } else { "**missed**" }
}

/// Runs a command to its end: what it wrote, and how long it took.
fn timed(command: Command) -> Result<(String, Duration)> {
    let words = format!("{command:?}");
    let finished = Client::finish(command)?;
    ensure!(finished.success(), "{words}: {}", finished.stderr_text());
    Ok((finished.stdout_text(), finished.took))
}

fn look(client: &Client, words: &[&str]) -> Command {
    let mut command = Command::new(client.path());
    command.args(words);
    command
}

/// We and CPython's own tool in turn, on one process.
fn many_tasks(client: &Client, python: &Interpreter, count: usize) -> Result<String> {
    let target = Start::new(python, "crowd").args([TASKS.to_string()]).start()?;
    target.blocked()?;
    let pid = target.pid().to_string();
    let theirs = || {
        let mut command = python.command();
        command.args(["-m", "asyncio", "ps", &pid]);
        command
    };
    let ours = || look(client, &["stack", &pid]);
    same_tasks(&timed(look(client, &["stack", &pid, "--json"]))?.0, &timed(theirs())?.0)?;
    let [mut own, mut json, mut other] = [(); 3].map(|()| Figures::default());
    for round in 0..=count {
        let (text, time) = timed(ours())?;
        ensure!(text.contains(&format!("\n{} tasks of asyncio: ", TASKS + 1)), "not all: {text}");
        let (_, whole) = timed(look(client, &["stack", &pid, "--json"]))?;
        let (_, their_time) = timed(theirs())?;
        // The first one fills the page cache.
        if round > 0 {
            own.push(time);
            json.push(whole);
            other.push(their_time);
        }
    }
    let minor = python.minor();
    let what = format!("{minor}: {TASKS} tasks of asyncio");
    let row = |tool: &str, figures: &Figures| {
        let share = figures.times(&other);
        let kept = kept(share <= SHARE);
        let cells = figures.cells();
        format!("| {what} | {tool} | {cells} | {SHARE} of its time | {share:.3}: {kept} |\n")
    };
    Ok(format!(
        "{}{}| {what} | `python{minor} -m asyncio ps` | {} | | 1 |\n",
        row("spyhole", &own),
        row("spyhole, `--json`", &json),
        other.cells()
    ))
}

/// Whether both name the same tasks.
fn same_tasks(ours: &str, theirs: &str) -> Result<()> {
    let ours: Value = serde_json::from_str(ours).context("no JSON")?;
    let tasks = ours[0]["interpreters"][0]["tasks"].as_array().context("no tasks")?;
    let ours: BTreeSet<&str> = tasks.iter().filter_map(|task| task["name"].as_str()).collect();
    // Below the head and a line: thread, address, name, and what is told of it.
    let theirs: BTreeSet<&str> =
        theirs.lines().skip(2).filter_map(|line| line.split_whitespace().nth(2)).collect();
    ensure!(ours.len() == TASKS + 1 && ours == theirs, "{ours:?} and {theirs:?}");
    Ok(())
}

fn many_greenlets(client: &Client, minor: &str, version: &str, count: usize) -> Result<Figures> {
    let python = python(minor)?;
    let ends = format!("{minor}-{version}");
    let folders = python.greenlets();
    let folder = folders.iter().find(|folder| folder.ends_with(&ends));
    let folder = folder.and_then(|folder| folder.to_str());
    let folder = folder.with_context(|| format!("no greenlet {version} for {minor} here"))?;
    let start = Start::new(&python, "greenlets").env("PYTHONPATH", folder);
    let target = start.args([GREENLETS.to_string()]).start()?;
    let suspended = target.ready()["suspended"].as_u64().context("it does not say how many")?;
    let mut figures = Figures::default();
    for round in 0..=count {
        let (text, time) = timed(look(client, &["stack", &target.pid().to_string()]))?;
        ensure!(text.contains(&format!(" {suspended} suspended")), "not {suspended}: {text}");
        if round > 0 {
            figures.push(time);
        }
    }
    Ok(figures)
}

fn many_dicts(client: &Client, minor: &str, count: usize) -> Result<Figures> {
    let python = python(minor)?;
    let start = || Start::new(&python, "objects").start().context("the target does not start");
    let targets: Vec<Target> = (0..PROCESSES).map(|_| start()).collect::<Result<_>>()?;
    let pids: Vec<String> = targets.iter().map(|target| target.pid().to_string()).collect();
    let mut figures = Figures::default();
    for round in 0..=count {
        let (text, time) = timed(look(client, &["get", &pids.join(","), "thousand"]))?;
        let whole = format!(" agree ({PROCESSES} of {PROCESSES}):\n  dict, {ENTRIES} items\n");
        ensure!(text.contains(&whole), "they differ: {text}");
        if round > 0 {
            figures.push(time);
        }
    }
    Ok(figures)
}
