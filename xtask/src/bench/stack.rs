//! `cargo xtask bench stack`: how long it takes until all stacks of a process are printed, and what the process feels of
//! it, with py-spy from PyPI in turn.
//!
//! The target has 1, 50 or 500 threads, 30 frames deep. Its main thread looks at the clock all the time and tells the
//! longest gap that it saw. Both tools write the same frames as JSON, which is checked, into a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Start, Target};

use super::figures::{Figures, milliseconds};
use super::peers::{Environment, Peer};
use super::{Options, disturbed, python};
use crate::client::Client;
use crate::record;

pub(super) const PAIRS: usize = 20;
const VERSIONS: &[&str] = &["3.8", "3.11", "3.13"];
const DEPTH: usize = 30;
/// Each number of threads, and whether locals are told.
const CASES: &[(usize, bool)] = &[(1, false), (50, false), (500, false), (50, true), (500, true)];
/// A case with many threads and their locals takes py-spy a minute.
const TARGET_LIMIT: Duration = Duration::from_secs(900);

pub(super) fn run(options: &Options) -> Result<()> {
    let client = Client::shipped()?;
    let tools = Environment::new(&python("3.11")?)?;
    let load = record::load();
    let mut cases = Vec::new();
    for minor in VERSIONS {
        for (threads, locals) in CASES.iter().copied() {
            let case = Case::measured(&client, &tools, minor, threads, locals, options.pairs)?;
            println!("{}", case.rows());
            cases.push(case);
        }
    }
    let mut text = format!(
        "{}; {} runs each; load {load:.1} at the start.\n\n{HEAD}",
        record::circumstances()?,
        options.pairs
    );
    for case in &cases {
        text.push_str(&case.rows());
    }
    text.push_str(GAPS);
    for case in &cases {
        text.push_str(&case.gaps());
    }
    text.push_str("\n| limit | at most | median | least | |\n|---|---|---|---|---|\n");
    for limit in limits(&cases) {
        text.push_str(&limit.row());
    }
    if disturbed(load) {
        text.push_str(
            "\nThe machine had other things to do meanwhile: where the least of the runs keeps a limit and the median does \
             not, that is said.\n",
        );
    }
    print!("\n{text}");
    if options.write {
        record::write("benchmarks.md", "stack", &text)?;
    }
    Ok(())
}

const HEAD: &str = "\
| target | tool | median ms | p99 ms | least..most | ours / its time, pair by pair | paused ms (p99) |
|---|---|---|---|---|---|---|
";
const GAPS: &str = "
The longest gap that the target's main thread saw, in ms: median (p99).

| target | idle | spyhole looks at a stopped twin | spyhole | py-spy |
|---|---|---|---|---|
";

/// What was measured on one target.
struct Case {
    minor: &'static str,
    threads: usize,
    locals: bool,
    rival: &'static str,
    ours: Figures,
    theirs: Figures,
    paused: Figures,
    idle: Figures,
    /// While we look at a process that is like it, but stopped: what it costs that we use a processor, too.
    beside: Figures,
    gap: Figures,
    their_gap: Figures,
}

impl Case {
    fn measured(
        client: &Client,
        tools: &Environment,
        minor: &'static str,
        threads: usize,
        locals: bool,
        pairs: usize,
    ) -> Result<Self> {
        let (mut target, twin) = (deep(minor, threads)?, deep(minor, threads)?);
        // It stays so until it is killed.
        twin.signal(Signal::STOP).context("the twin cannot be stopped")?;
        let peer = tools.py_spy(locals);
        let ours = |pid: i32| stack(client, pid, locals);
        let mut output = Output::new()?;
        same_frames(&output.of(ours(target.pid()))?.1, &output.of(theirs(&peer, &target))?.1)
            .with_context(|| format!("{minor} with {threads} threads"))?;
        let mut case = Self {
            minor,
            threads,
            locals,
            rival: peer.name,
            ours: Figures::default(),
            theirs: Figures::default(),
            paused: Figures::default(),
            idle: Figures::default(),
            beside: Figures::default(),
            gap: Figures::default(),
            their_gap: Figures::default(),
        };
        for _ in 0..pairs {
            gap(&mut target)?;
            let (_, _) = output.of(ours(twin.pid()))?;
            case.beside.push(gap(&mut target)?);
            let (time, told) = output.of(ours(target.pid()))?;
            case.gap.push(gap(&mut target)?);
            case.ours.push(time);
            case.paused.push(paused(&told)?);
            let (time, _) = output.of(theirs(&peer, &target))?;
            case.their_gap.push(gap(&mut target)?);
            case.theirs.push(time);
            // As long as we took.
            std::thread::sleep(time);
            case.idle.push(gap(&mut target)?);
        }
        Ok(case)
    }

    fn title(&self) -> String {
        let (threads, locals) = (self.threads, if self.locals { ", locals" } else { "" });
        let plural = if threads == 1 { "" } else { "s" };
        format!("{}, {threads} thread{plural}{locals}", self.minor)
    }

    fn rows(&self) -> String {
        let title = self.title();
        format!(
            "| {title} | spyhole | {} | {:.3} | {} |\n| {title} | {} | {} | 1 | |\n",
            self.ours.cells(),
            self.ours.times(&self.theirs),
            told(&self.paused),
            self.rival,
            self.theirs.cells(),
        )
    }

    fn gaps(&self) -> String {
        let gaps = [&self.idle, &self.beside, &self.gap, &self.their_gap].map(told);
        format!("| {} | {} |\n", self.title(), gaps.join(" | "))
    }
}

fn told(figures: &Figures) -> String {
    format!("{} ({})", milliseconds(figures.median()), milliseconds(figures.percentile(99)))
}

/// What the figures have to be.
struct Limit {
    what: String,
    most: f64,
    median: f64,
    least: f64,
}

impl Limit {
    fn row(&self) -> String {
        let Self { what, most, median, least } = self;
        let verdict = match () {
            () if median <= most => "kept",
            () if least <= most => "**missed by the median**",
            () => "**missed**",
        };
        format!("| {what} | {most:.2} | {median:.3} | {least:.3} | {verdict} |\n")
    }
}

fn limits(cases: &[Case]) -> Vec<Limit> {
    let mut limits = Vec::new();
    for case in cases {
        let title = case.title();
        let mut add = |what: &str, most: f64, (median, least): (f64, f64)| {
            limits.push(Limit { what: format!("{title}: {what}"), most, median, least });
        };
        let of = |figures: &Figures| (figures.median(), figures.least());
        let time = match (case.threads, case.locals) {
            (1, false) => Some(4.0),
            (50, false) => Some(10.0),
            (500, false) => Some(50.0),
            (500, true) => Some(100.0),
            _ => None,
        };
        if let Some(most) = time {
            add("ms", most, of(&case.ours));
        }
        let share = if case.threads == 500 && case.locals { 1.0 / 20.0 } else { 1.0 / 3.0 };
        add("of py-spy's time", share, of(&case.ours.over(&case.theirs)));
        let paused = match (case.minor, case.threads) {
            (_, 1) => None,
            ("3.8", _) => Some(5.0),
            (_, 50) => Some(0.5),
            _ => Some(3.0),
        };
        let bare = cases.iter().find(|other| {
            (other.minor, other.threads, other.locals) == (case.minor, case.threads, false)
        });
        match (case.locals, bare, paused) {
            (false, _, Some(most)) => add("ms paused", most, of(&case.paused)),
            (true, Some(bare), _) => {
                let (own, other) = (of(&case.paused), of(&bare.paused));
                let times = (own.0 / other.0, own.1 / other.1);
                add("paused, times that without", 1.5, times);
            }
            _ => {}
        }
    }
    limits
}

fn deep(minor: &str, threads: usize) -> Result<Target> {
    let start = Start::new(&python(minor)?, "deep").limit(TARGET_LIMIT);
    Ok(start.args([threads.to_string(), DEPTH.to_string()]).start()?)
}

fn stack(client: &Client, pid: i32, locals: bool) -> Command {
    let mut command = Command::new(client.path());
    command.args(["stack", &pid.to_string(), "--json", "--all"]);
    if locals {
        command.arg("--locals");
    }
    command
}

fn theirs(peer: &Peer, target: &Target) -> Command {
    peer.command(target.pid())
}

/// The longest gap that the target saw since it was last asked.
fn gap(target: &mut Target) -> Result<Duration> {
    target.signal(Signal::USR1).context("the target cannot be asked")?;
    Ok(Duration::from_micros(target.receive()?.parse().context("no number")?))
}

/// Where the tools write to. It stays as large as it once was, so that all runs find it alike.
struct Output {
    file: File,
    path: PathBuf,
}

impl Output {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("bench-{}.json", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        Ok(Self { file: file.context("cannot make a file for the output")?, path })
    }

    /// Runs a command to its end: how long it took, and what it wrote.
    fn of(&mut self, mut command: Command) -> Result<(Duration, Value)> {
        self.file.rewind()?;
        command.stdin(Stdio::null()).stdout(self.file.try_clone()?).stderr(Stdio::piped());
        let start = Instant::now();
        let ended = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let ended = ended.wait_with_output()?;
        let time = start.elapsed();
        if !ended.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
        }
        // The place is shared with the tool.
        let length = self.file.stream_position()?;
        self.file.rewind()?;
        let mut text = Vec::new();
        (&self.file).take(length).read_to_end(&mut text)?;
        Ok((time, serde_json::from_slice(&text).context("no JSON")?))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // A file in a folder for such.
        let _ = fs::remove_file(&self.path);
    }
}

fn paused(told: &Value) -> Result<Duration> {
    let time = told[0]["paused_us"].as_f64().context("no `paused_us`")?;
    Ok(Duration::from_secs_f64(time / 1e6))
}

/// Whether both tell of the same threads, by their names, with the same frames.
fn same_frames(ours: &Value, theirs: &Value) -> Result<()> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ours: Vec<Value> = list(&ours[0]["interpreters"][0]["threads"]);
    let [ours, theirs] =
        [by_name(&ours, ["name", "file"])?, by_name(&list(theirs), ["thread_name", "filename"])?];
    for (name, frames) in &ours {
        ensure!(frames.len() >= DEPTH, "only {} frames of `{name}`", frames.len());
        let others = theirs.get(name).with_context(|| format!("`{name}` is told by us alone"))?;
        ensure!(frames == others, "`{name}`: {frames:?} and {others:?}");
    }
    ensure!(ours.len() == theirs.len(), "{} threads and {}", ours.len(), theirs.len());
    Ok(())
}

type Frames = Vec<(String, u64)>;

/// File and line of each frame. The innermost one of the main thread goes on all the time.
fn by_name(threads: &[Value], [name, file]: [&str; 2]) -> Result<BTreeMap<String, Frames>> {
    let threads = threads.iter().map(|thread| {
        let title = thread[name].as_str().context("a thread without a name")?;
        let frames = thread["frames"].as_array().context("a thread without frames")?;
        let frames = frames.iter().enumerate().map(|(number, frame)| {
            let line = frame["line"].as_u64().context("a frame without a line")?;
            let moves = number == 0 && title == "MainThread";
            let file = frame[file].as_str().unwrap_or_default().to_owned();
            Ok((file, if moves { 0 } else { line }))
        });
        Ok((title.to_owned(), frames.collect::<Result<Frames>>()?))
    });
    threads.collect()
}
