//! `cargo xtask bench trace`: what a program loses that is traced, beside one that debugpy is attached to.
//!
//! On each version three processes run the same program, call-heavy and bound by the processor, in slices of a few
//! milliseconds that take turns: one that nobody touches, one that we trace and one with debugpy in it. A slice of ours
//! is compared with the slice of the untouched one beside it; since no two processes are equally fast, with what that
//! comparison came to before anybody was attached.

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

pub(super) const PAIRS: usize = 200;
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
        "{}; {} pairs each; load {load:.1} at the start.\n\n{SPEEDS}",
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
        let start = || Start::new(python, "calling");
        let other = debugpy.as_ref().map(|one| one.start(start())).transpose()?;
        let mut trio = Trio { none: start().start()?, own: start().start()?, other, sizes: [0; 2] };
        trio.calibrate()?;
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
        let dropped = trio.round_of_two(Kind::Calls, pairs)?;
        trace.end()?;
        if let Some(their) = their {
            their.detach()?;
        }
        let after = trio.round(Kind::Work, pairs)?;

        let theirs = trio.other.is_some().then(|| {
            [
                Estimate::speed(&work.other(), &traced.other()),
                Estimate::speed(&work.other(), &after.other()),
                Estimate::cost(&calls.other(), &condition.other()),
            ]
        });
        Ok(Self {
            minor: python.minor(),
            debugpy: debugpy.map(|one| one.version),
            traced: Estimate::speed(&work.own(), &traced.own()),
            after: Estimate::speed(&work.own(), &after.own()),
            condition: Estimate::cost(&calls.own(), &condition.own()),
            dropped: Estimate::cost(&calls.own(), &dropped.own()),
            theirs,
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
    fn calibrate(&mut self) -> Result<()> {
        for kind in [Kind::Work, Kind::Calls] {
            // The specialising interpreters take a while to warm up.
            let size = 20_000;
            for target in [&mut self.none, &mut self.own].into_iter().chain(&mut self.other) {
                slice(target, kind, size)?;
            }
            let time = slice(&mut self.none, kind, size)?;
            self.sizes[kind as usize] = ((SLICE / time) as usize).max(SMALLER);
        }
        Ok(())
    }

    fn round(&mut self, kind: Kind, pairs: usize) -> Result<Round> {
        self.turns(kind, pairs, true)
    }

    fn round_of_two(&mut self, kind: Kind, pairs: usize) -> Result<Round> {
        self.turns(kind, pairs, false)
    }

    fn turns(&mut self, kind: Kind, pairs: usize, all: bool) -> Result<Round> {
        let size = self.sizes[kind as usize];
        let mut round = Round::default();
        for turn in 0..pairs {
            // Who comes first changes.
            let first = turn % 2 == 0;
            let mut own = 0.0;
            if first {
                own = slice(&mut self.own, kind, size)?;
            }
            round.none.push(slice(&mut self.none, kind, size)?);
            if !first {
                own = slice(&mut self.own, kind, size)?;
            }
            round.own.push(own);
            // A few of them tell enough: what it costs is far more than what is lost in noise.
            if let Some(other) = self.other.as_mut().filter(|_| all && turn % 4 == 0) {
                let small = size / SMALLER;
                let time = slice(other, kind, small)?;
                round.other.push((turn, time * size as f64 / small as f64));
            }
        }
        for time in &mut round.own {
            *time *= 1e9 / size as f64;
        }
        for time in &mut round.none {
            *time *= 1e9 / size as f64;
        }
        for (_, time) in &mut round.other {
            *time *= 1e9 / size as f64;
        }
        Ok(round)
    }
}

/// Nanoseconds for each operation.
#[derive(Default)]
struct Round {
    none: Vec<f64>,
    own: Vec<f64>,
    /// With the number of its turn.
    other: Vec<(usize, f64)>,
}

type Pairs = Vec<(f64, f64)>;

impl Round {
    fn own(&self) -> Pairs {
        self.none.iter().copied().zip(self.own.iter().copied()).collect()
    }

    fn other(&self) -> Pairs {
        self.other.iter().map(|(turn, time)| (self.none[*turn], *time)).collect()
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
    /// How fast it is: 1 is as fast as before, in comparison with the one that nobody touches.
    fn speed(before: &Pairs, now: &Pairs) -> Self {
        let ratios =
            |pairs: &Pairs| pairs.iter().map(|(none, own)| none / own).collect::<Vec<f64>>();
        Self::of(&ratios(before), &ratios(now), |before, now| now / before)
    }

    /// How much longer a call takes than before, in nanoseconds.
    fn cost(before: &Pairs, now: &Pairs) -> Self {
        let more = |pairs: &Pairs| pairs.iter().map(|(none, own)| own - none).collect::<Vec<f64>>();
        Self::of(&more(before), &more(now), |before, now| now - before)
    }

    /// By drawing again from what was measured (bootstrap): medians of both, compared.
    fn of(before: &[f64], now: &[f64], compared: impl Fn(f64, f64) -> f64) -> Self {
        const DRAWS: usize = 2000;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut drawn: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let mut again = |from: &[f64]| {
                    median((0..from.len()).map(|_| from[random.below(from.len())]).collect())
                };
                let first = again(before);
                compared(first, again(now))
            })
            .collect();
        drawn.sort_by(f64::total_cmp);
        Self {
            low: drawn[DRAWS / 40],
            middle: compared(median(before.to_vec()), median(now.to_vec())),
            high: drawn[DRAWS - 1 - DRAWS / 40],
        }
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
