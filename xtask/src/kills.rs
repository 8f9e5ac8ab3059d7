//! `cargo xtask kills`: the client dies by SIGKILL at every step of attach, evaluate and detach, and at random moments;
//! the target must not notice.
//!
//! `--every MINORS` after each single call to the kernel, `--random N` so many times at a moment drawn evenly from the
//! first ptrace call to the last; both if nothing is said. It knows when to kill; what harm is, `ward` knows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Finished, Interpreter, interpreters};

use crate::client::Client;
use crate::record;
use crate::ward::{Harm, Kind, Tally, Ward};

/// The versions on which reliability is measured.
pub(crate) const VERSIONS: &[&str] = &["3.6", "3.8", "3.11", "3.13", "3.14"];

/// What is attached to. A thread that is blocked is brought home in other ways than one that runs, and a call that
/// sleeps in other ways than one that polls.
static KINDS: &[Kind] = &[
    Kind { serves: true, ..Kind::still("quiet") },
    Kind::still("sleep"),
    Kind::still("epoll"),
    Kind::still("lock"),
    // A single thread that makes nothing but integers: everything beside its own memory stays as it is.
    Kind { progress: Some("turns"), ..Kind::still("busy") },
];

/// Targets of one kind at the same time. What is waited for is mostly a second of the stub's; busy ones take turns.
const AT_ONCE: usize = 3;
/// Kills after which a fresh target is taken: each visit interns a few names for a moment, and after many of them
/// Python's table of interned names is due to be made anew, elsewhere.
const KILLS_EACH: usize = 16;
/// So many runs in a row that came to their end: there are no more calls to die after.
const ENDED_IN_A_ROW: u64 = 6;
/// Harms of one kind of target after which it is given up.
const HARMS_AT_MOST: usize = 10;
const RANDOM_BY_DEFAULT: u64 = 2000;

pub(crate) fn run(words: &[String]) -> Result<()> {
    let options = Options::parse(words)?;
    let client = Client::mortal()?;
    let mut table = Table::default();
    for minor in options.versions() {
        let interpreter =
            interpreters::for_version(&minor).with_context(|| format!("no python {minor} here"))?;
        let every = options
            .every
            .contains(&minor)
            .then(|| each(&client, &interpreter, &options, Plan::Every));
        let share = options.random / options.versions().len() as u64;
        let random =
            (share > 0).then(|| each(&client, &interpreter, &options, Plan::Random(share)));
        table.row(&minor, every.transpose()?, random.transpose()?);
    }
    print!("{}", table.text());
    println!("after which call: {}", table.calls());
    if options.write {
        record::write(
            "reliability.md",
            "kills",
            &format!("{}.\n\n{}", record::circumstances()?, table.text()),
        )?;
    }
    match table.sum.harms() {
        0 => Ok(()),
        harms => bail!("{harms} targets came to harm"),
    }
}

/// When the client dies.
#[derive(Clone, Copy, Debug)]
enum Plan {
    Every,
    /// So many times, over all kinds of target.
    Random(u64),
}

/// One kill: the switch that the client gets.
#[derive(Clone, Copy, Debug)]
enum Kill {
    AfterCall(u64),
    AtMicroseconds(u64),
}

/// All kinds of target on one version, at the same time.
fn each(
    client: &Client,
    interpreter: &Interpreter,
    options: &Options,
    plan: Plan,
) -> Result<Tally> {
    let kinds: Vec<&'static Kind> = KINDS.iter().filter(|kind| options.wants(kind.name)).collect();
    let mut sum = Tally::default();
    let results: Vec<Result<Tally>> = std::thread::scope(|scope| {
        let lanes: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let plan = match plan {
                    Plan::Every => Plan::Every,
                    Plan::Random(count) => Plan::Random(count.div_ceil(kinds.len() as u64)),
                };
                scope.spawn(move || Lane::new(client, interpreter, kind, plan)?.run())
            })
            .collect();
        lanes.into_iter().map(|lane| lane.join().expect("a lane does not panic")).collect()
    });
    for result in results {
        sum.add(&result?);
    }
    println!(
        "python {} {plan:?}: {} kills, {} harms",
        interpreter.minor(),
        sum.trials,
        sum.harms()
    );
    Ok(sum)
}

/// The kills of one kind of target on one version.
struct Lane<'a> {
    client: &'a Client,
    interpreter: &'a Interpreter,
    kind: &'static Kind,
    plan: Plan,
    /// From the first ptrace call to the last, in microseconds, of a run in the middle.
    span: u64,
    next: AtomicU64,
    ended: AtomicU64,
    over: AtomicBool,
    tally: Mutex<Tally>,
}

impl<'a> Lane<'a> {
    fn new(
        client: &'a Client,
        interpreter: &'a Interpreter,
        kind: &'static Kind,
        plan: Plan,
    ) -> Result<Self> {
        Ok(Self {
            client,
            interpreter,
            kind,
            plan,
            span: if let Plan::Random(_) = plan { span(client, interpreter, kind)? } else { 0 },
            next: AtomicU64::new(1),
            ended: AtomicU64::new(0),
            over: AtomicBool::new(false),
            tally: Mutex::default(),
        })
    }

    fn run(self) -> Result<Tally> {
        let workers = if self.kind.progress.is_some() { 1 } else { AT_ONCE };
        let results: Vec<Result<()>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers)
                .map(|number| {
                    scope.spawn({
                        let lane = &self;
                        move || lane.work(number as u64)
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("a worker does not panic"))
                .collect()
        });
        results.into_iter().collect::<Result<()>>()?;
        Ok(self.tally.into_inner().expect("no worker panicked"))
    }

    /// Kill after kill on one target, until there are no more.
    fn work(&self, worker: u64) -> Result<()> {
        let mut draw = Draw::new(worker);
        let mut ward = Ward::start(self.interpreter, self.kind)?;
        let mut kills = 0;
        while let Some(kill) = self.next(&mut draw) {
            kills += 1;
            let finished = self.kill(&ward, kill)?;
            let harm = match self.judge(kill, &finished) {
                Some(harm) => Some(harm),
                None => ward.check(self.client)?,
            };
            if let Some(harm) = harm {
                println!(
                    "HARM on python {} `{}`: {kill:?} ({}): {harm}",
                    self.interpreter.full_version(),
                    self.kind.name,
                    finished.stderr_text().trim()
                );
                let mut tally = self.tally.lock().expect("no worker panicked");
                tally.harm(&harm);
                if tally.harms() >= HARMS_AT_MOST {
                    self.over.store(true, Ordering::Relaxed);
                }
                drop(tally);
                kills = KILLS_EACH;
            }
            if kills == KILLS_EACH {
                kills = 0;
                ward = Ward::start(self.interpreter, self.kind)?;
            }
        }
        Ok(())
    }

    fn next(&self, draw: &mut Draw) -> Option<Kill> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        match self.plan {
            Plan::Every => Some(Kill::AfterCall(self.next.fetch_add(1, Ordering::Relaxed))),
            Plan::Random(count) => {
                let killed = self.tally.lock().expect("no worker panicked").trials as u64;
                (killed < count).then(|| Kill::AtMicroseconds(draw.below(self.span)))
            }
        }
    }

    fn kill(&self, ward: &Ward, kill: Kill) -> Result<Finished> {
        let mut command = self.client.eval(ward.pid(), "1+1");
        match kill {
            Kill::AfterCall(number) => command.env("SPYHOLE_DIE_AFTER", number.to_string()),
            Kill::AtMicroseconds(time) => command.env("SPYHOLE_DIE_AT", time.to_string()),
        };
        Client::finish(command)
    }

    /// Counts a kill, or a run that came to its end before it; one that failed by itself is a harm.
    fn judge(&self, kill: Kill, finished: &Finished) -> Option<Harm> {
        let words = finished.stderr_text();
        if finished.status.signal() == Some(9) && !finished.timed_out {
            self.ended.store(0, Ordering::Relaxed);
            let mut tally = self.tally.lock().expect("no worker panicked");
            tally.trials += 1;
            if let Some((_, call)) = words.trim().rsplit_once(": ") {
                tally.note(call);
            }
            return None;
        }
        if matches!(kill, Kill::AfterCall(_))
            && self.ended.fetch_add(1, Ordering::Relaxed) + 1 >= ENDED_IN_A_ROW
        {
            self.over.store(true, Ordering::Relaxed);
        }
        if finished.success() && finished.stdout_text() == "2\n" {
            return None;
        }
        Some(Harm::Hung(format!("no answer ({}): {words}", finished.status)))
    }
}

/// How long the ptrace part of a run takes, from several.
fn span(client: &Client, interpreter: &Interpreter, kind: &'static Kind) -> Result<u64> {
    const RUNS: usize = 9;
    let ward = Ward::start(interpreter, kind)?;
    let mut spans = Vec::new();
    for _ in 0..RUNS {
        let mut command = client.eval(ward.pid(), "1+1");
        command.env("SPYHOLE_COUNT_CALLS", "1");
        let words = Client::finish(command)?.stderr_text();
        let (_, tail) = words.split_once(", ptrace ").context("the client tells no times")?;
        let microseconds = tail.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        spans.push(microseconds.context("the client tells no times")?);
    }
    spans.sort_unstable();
    Ok(spans[RUNS / 2])
}

/// Random numbers that are good enough to choose moments by (splitmix64).
struct Draw(u64);

impl Draw {
    fn new(salt: u64) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(now.map_or(0, |time| time.as_nanos() as u64) ^ salt.rotate_left(32))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

/// A row for each version.
#[derive(Default)]
struct Table {
    rows: Vec<String>,
    every: usize,
    random: usize,
    sum: Tally,
}

impl Table {
    fn row(&mut self, minor: &str, every: Option<Tally>, random: Option<Tally>) {
        let (every, random) = (every.unwrap_or_default(), random.unwrap_or_default());
        let mut both = every.clone();
        both.add(&random);
        self.rows.push(format!(
            "| {minor} | {} | {} | {} |",
            every.trials,
            random.trials,
            both.cells()
        ));
        self.every += every.trials;
        self.random += random.trials;
        self.sum.add(&both);
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "| Python | kills, one after each call | kills at random moments | dead | hung | stopped | changed |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            text.push_str(row);
            text.push('\n');
        }
        let _ = writeln!(text, "| all | {} | {} | {} |", self.every, self.random, self.sum.cells());
        text
    }

    fn calls(&self) -> String {
        let calls: BTreeMap<_, _> = self.sum.notes.iter().collect();
        calls.iter().map(|(call, count)| format!("{call} {count}")).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Default)]
struct Options {
    every: Vec<String>,
    random: u64,
    targets: Vec<String>,
    write: bool,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--write" {
                options.write = true;
                continue;
            }
            let value = words.next().with_context(|| format!("`{word}` needs a value"))?;
            let list = || value.split(',').map(str::to_owned).collect();
            match word.as_str() {
                "--every" => options.every = list(),
                "--random" => options.random = value.parse().context("not a number")?,
                "--targets" => options.targets = list(),
                _ => bail!(
                    "no option `{word}`; there are `--every MINORS`, `--random N`, `--targets NAMES`, `--write`"
                ),
            }
        }
        if let Some(name) =
            options.targets.iter().find(|name| KINDS.iter().all(|kind| kind.name != **name))
        {
            bail!("no target `{name}` here");
        }
        if options.every.is_empty() && options.random == 0 {
            options.every = VERSIONS.iter().map(|minor| (*minor).to_owned()).collect();
            options.random = RANDOM_BY_DEFAULT;
        }
        Ok(options)
    }

    fn versions(&self) -> Vec<String> {
        if self.every.is_empty() {
            return VERSIONS.iter().map(|minor| (*minor).to_owned()).collect();
        }
        self.every.clone()
    }

    fn wants(&self, target: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|name| name == target)
    }
}
