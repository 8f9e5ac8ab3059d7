//! A target that must come to no harm: how it was, and whether it still is so.
//!
//! It knows the four harms (dead, hung, stopped, changed) and counts them. It does not know what was done to the
//! target meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use spyhole_testkit::{Fingerprint, Inside, Interpreter, Rules, Start, Target};

use crate::client::Client;

/// The stub's second for the first byte of its client, and a margin for a machine that is overloaded.
const SETTLED: Duration = Duration::from_secs(15);
/// No target lives longer.
const LIFE: Duration = Duration::from_secs(30 * 60);

/// The name of the threads of an agent.
const OURS: &str = "spyhole";

/// A kind of target, and how it is judged.
#[derive(Debug)]
pub(crate) struct Kind {
    /// A file of `tests/targets`.
    pub(crate) name: &'static str,
    /// What `answer` evaluates to there.
    pub(crate) answer: &'static str,
    /// It does nothing, or nothing that is seen from outside, beside its own memory.
    pub(crate) still: bool,
    /// It answers the test's own questions, so it is looked at from inside too.
    pub(crate) serves: bool,
    /// A global that grows as long as the target does its work.
    pub(crate) progress: Option<&'static str>,
}

impl Kind {
    pub(crate) const fn still(name: &'static str) -> Self {
        Self { name, answer: "42", still: true, serves: false, progress: None }
    }

    fn rules(&self, interpreter: &Interpreter) -> Rules {
        // Python's own allocator may keep a block in which something of its own has come to lie, and its table of
        // interned names the size that it had with ours in it.
        let object_arenas = if interpreter.version < (3, 10, 0) { 4 } else { 1 };
        let rules = if self.still { Rules::STILL } else { Rules::BUSY };
        // A client that dies while its code runs is heard of by a second thread of the agent, which gets an arena too.
        Rules { arenas: 2, object_arenas, tables: 1, ..rules }
    }
}

/// What became of a target.
#[derive(Clone, Debug)]
pub(crate) enum Harm {
    /// Its last words.
    Dead(String),
    /// It gives no answer, a wrong one, or does not go on with its work.
    Hung(String),
    Stopped(String),
    Changed(String),
}

/// A target under observation.
#[derive(Debug)]
pub(crate) struct Ward {
    target: Target,
    kind: &'static Kind,
    rules: Rules,
    before: Fingerprint,
    inside: Option<Inside>,
    /// How far it was when it was last asked.
    progress: Option<u64>,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, how) = match self {
            Self::Dead(how) => ("dead", how),
            Self::Hung(how) => ("hung", how),
            Self::Stopped(how) => ("stopped", how),
            Self::Changed(how) => ("changed", how),
        };
        write!(f, "{what}: {how}")
    }
}

impl Ward {
    /// Starts a target and looks at it before anything is done to it.
    pub(crate) fn start(interpreter: &Interpreter, kind: &'static Kind) -> Result<Self> {
        let mut target = Start::new(interpreter, kind.name).limit(LIFE).start()?;
        let inside = kind.serves.then(|| target.inside()).transpose()?;
        let before = if kind.still && kind.progress.is_none() {
            target.blocked()
        } else {
            Fingerprint::of(target.pid())
        };
        let before = before.context("cannot read the target")?;
        Ok(Self { target, kind, rules: kind.rules(interpreter), before, inside, progress: None })
    }

    /// How it ended, and what it said.
    fn last_words(&mut self) -> String {
        let ended = match self.target.wait_exit(SETTLED) {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        format!("{ended}: {}", self.target.stderr())
    }

    pub(crate) fn pid(&self) -> i32 {
        self.target.pid()
    }

    /// Attaches, asks for `answer`, and detaches.
    pub(crate) fn visit(&self, client: &Client) -> Result<Option<Harm>> {
        let finished = Client::finish(client.eval(self.pid(), "answer"))?;
        let said = finished.stdout_text();
        let right = finished.success() && said.trim_end() == self.kind.answer;
        let words = finished.stderr_text();
        Ok((!right).then(|| Harm::Hung(format!("{}: {said}{words}", finished.status))))
    }

    /// Waits until it is as it was, asks it something, and waits again.
    pub(crate) fn check(&mut self, client: &Client) -> Result<Option<Harm>> {
        if let Some(harm) = self.unsettled() {
            return Ok(Some(harm));
        }
        let harm = self.wrong_answer(client)?;
        // How it is tells more than that it does not answer.
        Ok(self.unsettled().or(harm).or_else(|| self.changed_inside()))
    }

    /// Waits until it is as it was; what is not so when the time is over.
    pub(crate) fn unsettled(&mut self) -> Option<Harm> {
        const PAUSE_AT_MOST: Duration = Duration::from_millis(40);
        let deadline = Instant::now() + SETTLED;
        let mut pause = Duration::from_millis(1);
        loop {
            if !self.target.is_alive() {
                return Some(Harm::Dead(self.last_words()));
            }
            let difference = match Fingerprint::of(self.pid()) {
                Ok(now) => match self.rules.compare(&self.before, &now) {
                    // Among the threads of a process at work ours would not be noticed.
                    Ok(_) if now.threads.values().any(|thread| thread.name == OURS) => {
                        format!("a thread named {OURS} is there")
                    }
                    Ok(_) => return None,
                    Err(changes) => changes.to_string(),
                },
                Err(error) => format!("unreadable: {error}"),
            };
            if Instant::now() > deadline {
                let stopped = [" is stopped (", " is traced by "]
                    .iter()
                    .any(|sign| difference.contains(sign));
                return Some(if stopped {
                    Harm::Stopped(difference)
                } else {
                    Harm::Changed(difference)
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_AT_MOST);
        }
    }

    /// Whether it can still be attached to, gives the right answer, and has gone on with its work.
    fn wrong_answer(&mut self, client: &Client) -> Result<Option<Harm>> {
        let code = match self.kind.progress {
            None => "answer".to_owned(),
            Some(progress) => format!("print({progress}); answer"),
        };
        let finished = Client::finish(client.eval(self.pid(), &code))?;
        let said = finished.stdout_text();
        let mut lines: Vec<&str> = said.lines().collect();
        let answer = lines.pop();
        if !finished.success() || answer != Some(self.kind.answer) {
            let words = finished.stderr_text();
            return Ok(Some(Harm::Hung(format!("{}: {said}{words}", finished.status))));
        }
        if self.kind.progress.is_some() {
            let now: Option<u64> = lines.concat().trim().parse().ok();
            if now.is_none() || now <= self.progress {
                return Ok(Some(Harm::Hung(format!(
                    "it was at {:?}, is at {now:?}",
                    self.progress
                ))));
            }
            self.progress = now;
        }
        Ok(None)
    }

    fn changed_inside(&mut self) -> Option<Harm> {
        let before = self.inside.as_ref()?;
        match self.target.inside() {
            Ok(now) => {
                let differences = before.differences(&now);
                (!differences.is_empty()).then(|| Harm::Changed(differences.join("\n")))
            }
            Err(error) => Some(Harm::Hung(error.to_string())),
        }
    }
}

/// The four counts, and what to look into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) trials: usize,
    pub(crate) dead: usize,
    pub(crate) hung: usize,
    pub(crate) stopped: usize,
    pub(crate) changed: usize,
    /// How often each of some things happened; for the report.
    pub(crate) notes: BTreeMap<String, usize>,
}

impl Tally {
    pub(crate) fn harm(&mut self, harm: &Harm) {
        match harm {
            Harm::Dead(_) => self.dead += 1,
            Harm::Hung(_) => self.hung += 1,
            Harm::Stopped(_) => self.stopped += 1,
            Harm::Changed(_) => self.changed += 1,
        }
    }

    pub(crate) fn note(&mut self, what: &str) {
        *self.notes.entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.trials += other.trials;
        self.dead += other.dead;
        self.hung += other.hung;
        self.stopped += other.stopped;
        self.changed += other.changed;
        for (what, count) in &other.notes {
            *self.notes.entry(what.clone()).or_default() += count;
        }
    }

    pub(crate) fn harms(&self) -> usize {
        self.dead + self.hung + self.stopped + self.changed
    }

    /// The four counts as cells of a table.
    pub(crate) fn cells(&self) -> String {
        format!("{} | {} | {} | {}", self.dead, self.hung, self.stopped, self.changed)
    }
}
