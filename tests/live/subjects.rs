//! Targets under watch: how they looked before, and whether they look so again.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use spyhole_testkit::{
    Fingerprint, Inside, Interpreter, Rules, Start, Target, TargetError, census,
};

/// How long the last of us may take to be gone after the program has ended.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// A target and how it looked when it was ready.
pub(crate) struct Subject {
    target: Target,
    before: Fingerprint,
    inside: Option<Inside>,
    rules: Rules,
}

impl Subject {
    /// One that is blocked.
    pub(crate) fn still(start: Start) -> Self {
        let target = started(start);
        let before = target.blocked().expect("it can be read");
        Self { rules: still_rules(target.interpreter()), target, before, inside: None }
    }

    /// One that is blocked and serves commands: it is looked at from inside, too.
    pub(crate) fn serving(start: Start) -> Self {
        Self::serving_from(started(start))
    }

    /// One that was started already.
    pub(crate) fn serving_from(mut target: Target) -> Self {
        let inside = Some(target.inside().expect("it tells its state"));
        let before = target.blocked().expect("it can be read");
        Self { rules: still_rules(target.interpreter()), target, before, inside }
    }

    /// One that goes on with its own work.
    pub(crate) fn busy(start: Start) -> Self {
        Self::busy_from(started(start))
    }

    fn busy_from(target: Target) -> Self {
        let before = Fingerprint::of(target.pid()).expect("it can be read");
        Self { target, before, inside: None, rules: Rules::BUSY }
    }

    /// One that goes on with its own work, if its packages are there; the reason is written down if not.
    pub(crate) fn optional(test: &str, start: Start) -> Option<Self> {
        match start.start() {
            Ok(target) => Some(Self::busy_from(target)),
            Err(TargetError::Skipped { reason, .. }) => {
                census::skipped(test, &reason);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The same one, as it is now.
    pub(crate) fn again(self) -> Self {
        Self::serving_from(self.target)
    }

    /// So many threads of ours will run Python at the same time: each of them keeps an arena and a stack busy, and one
    /// that interrupts another is one of them.
    pub(crate) fn by_threads(mut self, count: usize) -> Self {
        self.rules.arenas = count;
        self.rules.stacks = count;
        self
    }

    /// How it looked at first from inside.
    pub(crate) fn first_inside(&self) -> &Inside {
        self.inside.as_ref().expect("it serves commands")
    }

    /// How it looked at first from outside.
    pub(crate) fn first_outside(&self) -> &Fingerprint {
        &self.before
    }

    /// It is as it was.
    #[track_caller]
    pub(crate) fn is_unchanged(&mut self) {
        match self.rules.settle(&self.before, SETTLE) {
            Ok(kept) => println!("{}: exempt: {kept}", self.target.pid()),
            Err(error) => panic!("{error}"),
        }
        if let Some(before) = &self.inside {
            let now = self.target.inside().expect("it tells its state");
            assert_eq!(before.differences(&now), Vec::<String>::new());
        }
        assert!(self.target.is_alive());
    }
}

impl Deref for Subject {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl DerefMut for Subject {
    fn deref_mut(&mut self) -> &mut Target {
        &mut self.target
    }
}

/// Beside what glibc keeps: Python's own allocator may keep a block in which something of its own has come to lie, and
/// its table of interned strings keeps the size that it had with ours in it.
fn still_rules(python: &Interpreter) -> Rules {
    let object_arenas = if python.version < (3, 10, 0) { 4 } else { 1 };
    Rules { object_arenas, tables: 1, ..Rules::STILL }
}

fn started(start: Start) -> Target {
    start.start().unwrap_or_else(|error| panic!("{error}"))
}

/// The quiet target, blocked in a read and serving commands.
pub(crate) fn quiet(python: &Interpreter) -> Subject {
    Subject::serving(Start::new(python, "quiet"))
}

/// The quiet target with some modules imported by itself.
pub(crate) fn quiet_with(python: &Interpreter, modules: &str) -> Subject {
    let mut target = started(Start::new(python, "quiet"));
    target.ask(&format!("exec import {modules}")).expect("it answers");
    Subject::serving_from(target)
}
