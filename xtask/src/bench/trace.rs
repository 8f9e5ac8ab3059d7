//! `cargo xtask bench trace`: what a program loses that is traced, beside one that debugpy is attached to.
//!
//! On each version two processes run the same program, call-heavy and bound by the processor, in slices of a few
//! milliseconds that take turns on one processor: one that nobody touches and one that we trace; in some of the repeats a
//! third one has debugpy in it. What counts is how the quicker slices of ours compare with those of the untouched one, before
//! anybody is attached, meanwhile and afterwards. Both are started anew for each repeat, and the interval is that of the
//! repeats.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use spyhole_testkit::target::Signal;
use spyhole_testkit::watchdog::Watchdog;
use spyhole_testkit::{Interpreter, Start, Target, interpreters, place};

use super::adapter::{Attached, Debugpy};
use super::figures::median;
use super::{Options, disturbed};
use crate::client::Client;
use crate::record;

pub(super) const PAIRS: usize = 40;
/// So often all of it is done with new processes: no two of a program are equally fast.
const REPEATS: usize = 12;
/// In so many of them with debugpy, too: what it costs is far more than what is lost in noise.
const REPEATS_OF_DEBUGPY: usize = 3;
/// Seconds that a slice shall take: so short that most are over before anybody else gets the processor.
const SLICE: f64 = 0.004;
/// Debugpy's slices are so much smaller; it takes up to thirty times as long.
const SMALLER: usize = 8;

/// No trace may take longer, whatever happens.
const LONGEST: Duration = Duration::from_secs(100);

// What the figures have to be.
const SPEED: f64 = 0.98;
const FALSE_CONDITION: f64 = 100.0;
const DROPPED: f64 = 1000.0;
const OF_DEBUGPY: f64 = 0.1;

pub(super) fn run(options: &Options) -> Result<()> {
    let client = Client::shipped()?;
    let load = record::load();
    let mut cases = Vec::new();
    let wanted =
        |python: &Interpreter| options.only.as_ref().is_none_or(|one| *one == python.minor());
    for python in interpreters::interpreters().into_iter().filter(wanted) {
        let case = Case::measured(&client, &python, options.pairs)
            .with_context(|| format!("python {}", python.minor()))?;
        print!("{}{}", case.speeds(), case.costs());
        cases.push(case);
    }
    let mut text = format!(
        "{}; {REPEATS} repeats with {} pairs each; load {load:.1} at the start.\n\n{SPEEDS}",
        record::circumstances()?,
        options.pairs
    );
    text.extend(cases.iter().map(Case::speeds));
    text.push_str(COSTS);
    text.extend(cases.iter().map(Case::costs));
    text.push_str(&limits(&cases));
    print!("\n{text}");
    if disturbed(load) {
        println!(
            "the machine was not quiet (load {load:.1}): these figures are not for the record"
        );
    } else if options.write && options.only.is_none() {
        record::write("benchmarks.md", "trace", &text)?;
    }
    Ok(())
}

const SPEEDS: &str = "\
| python | traced | after it | debugpy attached | after it | |
|---|---|---|---|---|---|
";
const COSTS: &str = "
What one call costs more, in ns:

| python | a `--when` that is false | over the rate | debugpy, a condition that is false |
|---|---|---|---|
";

/// One version.
struct Case {
    minor: String,
    debugpy: Option<String>,
    traced: Estimate,
    after: Estimate,
    condition: Estimate,
    dropped: Estimate,
    /// Attached, after it, and its condition.
    theirs: Option<[Estimate; 3]>,
}

impl Case {
    fn measured(client: &Client, python: &Interpreter, pairs: usize) -> Result<Self> {
        let debugpy = Debugpy::of(python)?;
        let repeats = (0..REPEATS)
            .map(|turn| {
                let debugpy = debugpy.as_ref().filter(|_| turn < REPEATS_OF_DEBUGPY);
                Repeat::measured(client, python, debugpy, pairs)
            })
            .collect::<Result<Vec<Repeat>>>()?;
        let of = |one: fn(&Repeat) -> f64| Estimate::of(repeats.iter().map(one).collect());
        let theirs: Vec<[f64; 3]> = repeats.iter().filter_map(|one| one.theirs).collect();
        let of_theirs = |index: usize| Estimate::of(theirs.iter().map(|one| one[index]).collect());
        Ok(Self {
            minor: python.minor(),
            debugpy: debugpy.map(|one| one.version),
            traced: of(|one| one.traced),
            after: of(|one| one.after),
            condition: of(|one| one.condition),
            dropped: of(|one| one.dropped),
            theirs: (!theirs.is_empty()).then(|| [0, 1, 2].map(of_theirs)),
        })
    }

    fn speeds(&self) -> String {
        let (attached, after) = match &self.theirs {
            Some([attached, after, _]) => (attached.short(3), after.short(3)),
            None => Default::default(),
        };
        let (own, gone) = (self.traced.cell(3), self.after.cell(3));
        let name = self.debugpy.as_ref().map_or("no debugpy".into(), |v| format!("debugpy {v}"));
        format!("| {} | {own} | {gone} | {attached} | {after} | {name} |\n", self.minor)
    }

    fn costs(&self) -> String {
        let theirs = self.theirs.as_ref().map(|[_, _, one]| one.short(0)).unwrap_or_default();
        let (condition, dropped) = (self.condition.cell(0), self.dropped.cell(0));
        format!("| {} | {condition} | {dropped} | {theirs} |\n", self.minor)
    }
}

/// What is looked up of each version; none where there is no such figure.
type Figure<'a> = &'a dyn Fn(&Case) -> Option<f64>;

fn limits(cases: &[Case]) -> String {
    let worst = |of: Figure<'_>, low: bool| {
        let all = cases.iter().filter_map(|case| Some((of(case)?, case.minor.as_str())));
        let all = all.filter(|(number, _)| number.is_finite());
        let chosen = |a: &(f64, &str), b: &(f64, &str)| a.0.total_cmp(&b.0);
        if low { all.min_by(chosen) } else { all.max_by(chosen) }
    };
    let ratio = |case: &Case| Some(case.condition.high / case.theirs.as_ref()?[2].low);
    let rows: [(&str, Figure<'_>, f64, bool); 5] = [
        ("traced, lower end", &|case| Some(case.traced.low), SPEED, true),
        ("after it, lower end", &|case| Some(case.after.low), SPEED, true),
        (
            "a false `--when`, ns, upper end",
            &|case| Some(case.condition.high),
            FALSE_CONDITION,
            false,
        ),
        ("the same, of debugpy's", &ratio, OF_DEBUGPY, false),
        ("over the rate, ns, upper end", &|case| Some(case.dropped.high), DROPPED, false),
    ];
    let mut text =
        "\n| limit, on every version | | the worst | on | |\n|---|---|---|---|---|\n".to_owned();
    for (what, of, limit, low) in rows {
        let Some((number, minor)) = worst(of, low) else { continue };
        let met = if low { number >= limit } else { number < limit };
        let met = if met { "met" } else { "**not met**" };
        let sign = if low { "at least" } else { "below" };
        text.push_str(&format!("| {what} | {sign} {limit} | {number:.3} | {minor} | {met} |\n"));
    }
    text
}

/// What two processes, or three, came to.
struct Repeat {
    traced: f64,
    after: f64,
    condition: f64,
    dropped: f64,
    /// Attached, after it, and its condition.
    theirs: Option<[f64; 3]>,
}

impl Repeat {
    fn measured(
        client: &Client,
        python: &Interpreter,
        debugpy: Option<&Debugpy>,
        pairs: usize,
    ) -> Result<Self> {
        let start = || Start::new(python, "calling");
        let other = debugpy.map(|one| one.start(start())).transpose()?;
        let mut trio = Trio { none: start().start()?, own: start().start()?, other, sizes: [0; 2] };
        trio.make_ready()?;
        let work = trio.round(Kind::Work, pairs)?;
        let calls = trio.round(Kind::Calls, pairs)?;

        let file = place::targets().join("calling.py");
        let mut their = match &mut trio.other {
            Some(other) => Some(Attached::to(other, &file, line_of(&file, "never")?)?),
            None => None,
        };
        let trace = Trace::start(client, &trio.own, "never", &[])?;
        let traced = trio.round(Kind::Work, pairs)?;
        trace.end()?;
        if let Some(their) = &mut their {
            their.breakpoint(&file, line_of(&file, "once")?, Some("n == -1"))?;
        }
        let trace = Trace::start(client, &trio.own, "once", &["--when", "n == -1"])?;
        let condition = trio.round(Kind::Calls, pairs)?;
        trace.end()?;
        let trace =
            Trace::start(client, &trio.own, "once", &["--rate", "1", "--limit", "1000000"])?;
        let dropped = trio.turns(Kind::Calls, pairs, false)?;
        trace.end()?;
        if let Some(their) = their {
            their.detach()?;
        }
        let after = trio.round(Kind::Work, pairs)?;

        let theirs = |round: &Round| round.other.unwrap_or(f64::NAN);
        Ok(Self {
            traced: work.speed(&traced, |round| round.own),
            after: work.speed(&after, |round| round.own),
            condition: calls.cost(&condition, |round| round.own),
            dropped: calls.cost(&dropped, |round| round.own),
            theirs: debugpy.map(|_| {
                [
                    work.speed(&traced, theirs),
                    work.speed(&after, theirs),
                    calls.cost(&condition, theirs),
                ]
            }),
        })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Work,
    Calls,
}

/// Three processes that take turns.
struct Trio {
    none: Target,
    own: Target,
    other: Option<Target>,
    /// Rounds of a slice, for each kind.
    sizes: [usize; 2],
}

impl Trio {
    /// On one processor, since no two of them are equally fast at all times, warm, and with slices of the right size.
    fn make_ready(&mut self) -> Result<()> {
        const ON_ONE: &str = "__import__('os').sched_setaffinity(0, \
             [max(__import__('os').sched_getaffinity(0))])";
        for target in [&mut self.none, &mut self.own].into_iter().chain(&mut self.other) {
            let said = target.evaluate(ON_ONE)?;
            ensure!(said == "None", "it stays where it is: {said}");
        }
        for kind in [Kind::Work, Kind::Calls] {
            // The specialising interpreters take a while to warm up.
            let size = 20_000;
            for target in [&mut self.none, &mut self.own].into_iter().chain(&mut self.other) {
                slice(target, kind, size)?;
            }
            let time = slice(&mut self.none, kind, size)?;
            self.sizes[kind as usize] = ((SLICE / time * size as f64) as usize).max(SMALLER);
        }
        Ok(())
    }

    fn round(&mut self, kind: Kind, pairs: usize) -> Result<Round> {
        self.turns(kind, pairs, true)
    }

    fn turns(&mut self, kind: Kind, pairs: usize, all: bool) -> Result<Round> {
        let size = self.sizes[kind as usize];
        let (mut none, mut own, mut other) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..pairs {
            // Who comes first changes.
            if turn % 2 == 0 {
                own.push(slice(&mut self.own, kind, size)?);
            }
            none.push(slice(&mut self.none, kind, size)?);
            if turn % 2 == 1 {
                own.push(slice(&mut self.own, kind, size)?);
            }
            if let Some(process) = self.other.as_mut().filter(|_| all && turn % 4 == 0) {
                let small = size / SMALLER;
                let time = slice(process, kind, small)?;
                other.push(time * size as f64 / small as f64);
            }
        }
        let each = |times: Vec<f64>| quick(times) * 1e9 / size as f64;
        let other = (!other.is_empty()).then(|| each(other));
        Ok(Round { none: each(none), own: each(own), other })
    }
}

/// The time that a quarter of the slices stayed below: the others were disturbed, or not.
fn quick(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

/// Nanoseconds for each operation.
struct Round {
    none: f64,
    own: f64,
    other: Option<f64>,
}

impl Round {
    /// How fast one is `now`: 1 is as fast as before, in comparison with the one that nobody touches.
    fn speed(&self, now: &Self, of: impl Fn(&Self) -> f64) -> f64 {
        (of(self) / self.none) / (of(now) / now.none)
    }

    /// How much longer an operation of it takes `now` than before, in nanoseconds.
    fn cost(&self, now: &Self, of: impl Fn(&Self) -> f64) -> f64 {
        (of(now) - now.none) - (of(self) - self.none)
    }
}

fn slice(target: &mut Target, kind: Kind, size: usize) -> Result<f64> {
    let function = match kind {
        Kind::Work => "work",
        Kind::Calls => "calls",
    };
    let told = target.evaluate(&format!("{function}({size})"))?;
    told.parse().with_context(|| format!("`{told}` is no time"))
}

/// A figure, and the interval that it lies in with 95 %.
struct Estimate {
    low: f64,
    middle: f64,
    high: f64,
}

impl Estimate {
    /// The median, by drawing again from what was measured (bootstrap).
    fn of(values: Vec<f64>) -> Self {
        const DRAWS: usize = 2000;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut drawn: Vec<f64> = (0..DRAWS)
            .map(|_| median(values.iter().map(|_| values[random.below(values.len())]).collect()))
            .collect();
        drawn.sort_by(f64::total_cmp);
        Self { low: drawn[DRAWS / 40], middle: median(values), high: drawn[DRAWS - 1 - DRAWS / 40] }
    }

    fn cell(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}..{:.digits$})", self.middle, self.low, self.high)
    }

    fn short(&self, digits: usize) -> String {
        format!("{:.digits$}", self.middle)
    }
}

/// The same numbers in each run: the figures shall not depend on it.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most.max(1)
    }
}

/// Our program while it traces.
struct Trace {
    child: Child,
    watchdog: Watchdog,
    /// Kept open: it would end without a reader.
    _output: BufReader<ChildStdout>,
}

impl Trace {
    /// When this returns, it is in place.
    fn start(client: &Client, target: &Target, function: &str, more: &[&str]) -> Result<Self> {
        let mut command = Command::new(client.path());
        command.args(["trace", &target.pid().to_string(), &format!("__main__:{function}")]);
        command.arg("--json").args(more);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("the program does not start")?;
        let watchdog = Watchdog::over(&child, LONGEST)?;
        let mut output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line.contains("\"placed\""), "not placed: `{line}`");
        Ok(Self { child, watchdog, _output: output })
    }

    /// As Ctrl-C ends it.
    fn end(mut self) -> Result<()> {
        self.watchdog.signal(Signal::INT)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the trace failed ({status})");
        }
        Ok(())
    }
}

fn line_of(file: &Path, mark: &str) -> Result<usize> {
    let text = std::fs::read_to_string(file).context("the target is not there")?;
    let mark = format!("# marked: {mark}");
    let found = text.lines().position(|line| line.ends_with(&mark));
    Ok(found.context("the line is not marked")? + 1)
}
