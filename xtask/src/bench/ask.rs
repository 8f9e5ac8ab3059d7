//! `cargo xtask bench ask`: how long it takes from the start of a command to the value, beside other tools in turn.
//!
//! On a blocked 3.11: hypno and pyrasite, from PyPI, in an environment that this makes. On
//! a busy 3.14: `sys.remote_exec`. Every value comes from a target of its own that nobody has touched before. What the
//! other tools run prints into the target's own output, and is timed there.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Interpreter, Target};

use super::figures::{Figures, milliseconds};
use super::peers::{self, Peer};
use super::{Options, again_with_proc, disturbed, python, without_proc};
use crate::client::Client;
use crate::record;

pub(super) const PAIRS: usize = 30;
const WORKERS: usize = 20;

// What the figures have to be, in milliseconds.
const BLOCKED: f64 = 5.0;
const BUSY: f64 = 12.0;
const HELD_BLOCKED: f64 = 0.5;
const HELD_BUSY: f64 = 3.0;
const COMPARED: f64 = 60.0;

pub(super) fn run(options: &Options, words: &[String]) -> Result<()> {
    let client = Client::shipped()?;
    let blocked = python("3.11")?;
    let busy = python("3.14")?;
    // `sys.remote_exec` needs it.
    if let Some(root) = without_proc(&busy) {
        return again_with_proc(root, words);
    }
    let script = peers::Script::new(&busy)?;
    let tools = peers::Environment::new(&blocked)?;
    let load = record::load();

    let mut report = Report::default();
    let control = control(options.pairs)?;
    let rivals = [tools.hypno(), tools.pyrasite()?];
    report.case(&client, "3.11, blocked in a sleep", &blocked, "sleep", &rivals, options.pairs)?;
    let rivals = [script.remote_exec(&busy)];
    report.case(&client, "3.14, busy in Python", &busy, "busy", &rivals, options.pairs)?;
    let compared = compared(&client, &blocked, options.pairs)?;

    let thresholds = [
        ("the value from a blocked 3.11, median", report.medians[0].0, BLOCKED),
        ("the value from a busy 3.14, median", report.medians[1].0, BUSY),
        ("a thread of a blocked 3.11 held, median", report.medians[0].1, HELD_BLOCKED),
        ("a thread of a busy 3.14 held, median", report.medians[1].1, HELD_BUSY),
        ("20 workers asked and compared, median", compared.median(), COMPARED),
    ];
    let mut text = format!(
        "{}; {} runs each; load {load:.1} at the start.\n\n{}\n",
        record::circumstances()?,
        options.pairs,
        report.text
    );
    text.push_str(&format!(
        "Control, `echo 42` timed in the same way: {} ms. {WORKERS} workers asked and compared, to the end of the \
         program: {} ms (p99 {}).\n\n| limit | ms | measured | |\n|---|---|---|---|\n",
        milliseconds(control.median()),
        milliseconds(compared.median()),
        milliseconds(compared.percentile(99)),
    ));
    for (what, measured, limit) in thresholds {
        let met = if measured <= limit { "met" } else { "**not met**" };
        text.push_str(&format!("| {what} | {limit} | {} | {met} |\n", milliseconds(measured)));
    }
    print!("{text}");
    if disturbed(load) {
        println!(
            "the machine was not quiet (load {load:.1}): these figures are not for the record"
        );
    } else if options.write {
        record::write("benchmarks.md", "ask", &text)?;
    }
    Ok(())
}

/// The table, and for each case our median and the time that a thread was held, for the limits.
#[derive(Default)]
struct Report {
    text: String,
    medians: Vec<(f64, f64)>,
}

impl Report {
    /// One situation: we and the others in turn, each time on a fresh target.
    fn case(
        &mut self,
        client: &Client,
        title: &str,
        python: &Interpreter,
        target: &str,
        rivals: &[Peer],
        pairs: usize,
    ) -> Result<()> {
        let mut own = Figures::default();
        let mut held = Figures::default();
        let mut others: Vec<Figures> = rivals.iter().map(|_| Figures::default()).collect();
        for _ in 0..pairs {
            let (time, hold) = ask(client, &fresh(python, target)?)?;
            own.push(time);
            held.push(hold);
            for (rival, figures) in rivals.iter().zip(&mut others) {
                let mut target = fresh(python, target)?;
                figures.push(ask_by(rival, &mut target)?);
            }
        }
        if self.text.is_empty() {
            self.text.push_str(
                "| target | tool | median ms | p99 ms | least..most | times ours, pair by pair | thread held ms |\n\
                 |---|---|---|---|---|---|---|\n",
            );
        }
        self.text.push_str(&format!(
            "| {title} | spyhole | {} | 1 | {} (p99 {}) |\n",
            own.cells(),
            milliseconds(held.median()),
            milliseconds(held.percentile(99))
        ));
        for (rival, figures) in rivals.iter().zip(&others) {
            self.text.push_str(&format!(
                "| {title} | {} | {} | {:.1} | |\n",
                rival.name,
                figures.cells(),
                figures.times(&own)
            ));
        }
        self.medians.push((own.median(), held.median()));
        Ok(())
    }
}

/// A target that nobody has touched.
fn fresh(python: &Interpreter, name: &str) -> Result<Target> {
    let target = Target::start(python, name)?;
    if name != "busy" {
        target.blocked()?;
    }
    Ok(target)
}

/// Our way: to the value on our standard output, and how long we say that a thread was held.
fn ask(client: &Client, target: &Target) -> Result<(Duration, Duration)> {
    let mut command = client.eval(target.pid(), "answer");
    let (time, line, mut child) = first_line(&mut command)?;
    if line != "42\n" {
        bail!("`{line}` instead of the answer");
    }
    let mut words = String::new();
    child.stderr.take().expect("stderr is piped").read_to_string(&mut words)?;
    child.wait()?;
    let held = words
        .split_once("(held ")
        .and_then(|(_, tail)| tail.split_once(" ms)"))
        .and_then(|(number, _)| number.parse::<f64>().ok())
        .with_context(|| format!("no closing line in `{words}`"))?;
    Ok((time, Duration::from_secs_f64(held / 1000.0)))
}

/// Another way: to the value on the target's own standard output.
fn ask_by(rival: &Peer, target: &mut Target) -> Result<Duration> {
    let mut command = rival.command(target.pid());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {}", rival.name))?;
    let answer = target.receive();
    let time = start.elapsed();
    child.wait()?;
    let line = answer.with_context(|| format!("{} gives no answer", rival.name))?;
    if line != "42" {
        bail!("{}: `{line}` instead of the answer", rival.name);
    }
    Ok(time)
}

/// What the timing itself costs: a program that does nothing but print.
fn control(runs: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..runs {
        let (time, _, mut child) = first_line(Command::new("/bin/echo").arg("42"))?;
        child.wait()?;
        figures.push(time);
    }
    Ok(figures)
}

/// Many workers, one of which answers otherwise.
fn compared(client: &Client, python: &Interpreter, runs: usize) -> Result<Figures> {
    let workers = (0..WORKERS).map(|_| fresh(python, "sleep")).collect::<Result<Vec<_>>>()?;
    let pids: Vec<String> = workers.iter().map(|worker| worker.pid().to_string()).collect();
    let odd = &pids[WORKERS / 2];
    let mut figures = Figures::default();
    for _ in 0..runs {
        let mut command = Command::new(client.path());
        command.args(["eval", &pids.join(","), &format!("__import__('os').getpid() == {odd}")]);
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).output()?;
        figures.push(start.elapsed());
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !said.contains("True") || !said.contains("False") {
            bail!("{WORKERS} workers are not compared: {said}");
        }
    }
    Ok(figures)
}

/// Starts a command and gives the time to its first line, the line, and what still runs.
fn first_line(command: &mut Command) -> Result<(Duration, String, Child)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line)?;
    Ok((start.elapsed(), line, child))
}
