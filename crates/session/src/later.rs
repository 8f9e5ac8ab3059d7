//! What tasks and greenlets wait for, and who of them has it: what is the same for both.
//!
//! It knows the `with` and `async with` blocks of frames that do not run. Which functions wait for what is told by `asyncio`
//! and `hubs`.

use std::collections::HashMap;

use spyhole_cpython::Reader;
use spyhole_cpython::frames::RawFrame;
use spyhole_proc::Address;
use spyhole_proc::tasks::Tasks;

use crate::model::StackFrame;
use crate::pause::View;
use crate::waiting::{Waiting, of_frame};
use crate::waits::{Line, Owner, Wait, WaitKind};

/// What one waits for, before it is known who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) kind: WaitKind,
    pub(crate) what: String,
    pub(crate) fd: Option<i32>,
    /// What somebody must give back.
    pub(crate) lock: Option<Address>,
    /// Others whose ends it waits for, by their places.
    pub(crate) on: Vec<usize>,
}

impl Wants {
    pub(crate) fn new(kind: WaitKind, what: String) -> Self {
        Self { kind, what, fd: None, lock: None, on: Vec::new() }
    }

    /// As it is shown; `descriptors` tells what its file descriptor is.
    pub(crate) fn told(&self, owner: Owner, descriptors: &HashMap<i32, String>) -> Wait {
        let what = match self.fd.and_then(|fd| descriptors.get(&fd)) {
            Some(kind) => format!("{} ({kind})", self.what),
            None => self.what.clone(),
        };
        Wait { kind: self.kind, what, owner, tasks: Vec::new() }
    }
}

/// One that goes on later.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) raw: &'a [RawFrame],
    pub(crate) told: &'a [StackFrame],
}

/// Looks at those that go on later.
pub(crate) struct Later<'a> {
    waiting: Waiting<'a>,
    /// Types with their names, and with the name that the library gave to what they are made from.
    classes: HashMap<Address, (String, Option<String>)>,
}

/// Attributes in which one lock keeps another, which is the one that is waited for.
const INNER: [&str; 3] = ["_lock", "_block", "lock"];

impl<'a> Later<'a> {
    pub(crate) fn new(reader: Reader<'a>, view: &'a View) -> Self {
        Self { waiting: Waiting::new(reader, view), classes: HashMap::new() }
    }

    pub(crate) fn reader(&self) -> Reader<'a> {
        self.waiting.reader
    }

    pub(crate) fn variable(&mut self, frame: &RawFrame, name: &str) -> Option<Address> {
        self.waiting.variable(frame, name)
    }

    pub(crate) fn owner_of_method(&mut self, at: Address) -> Option<Address> {
        self.waiting.locks.owner_of_method(at)
    }

    /// The bare name of an object's class.
    pub(crate) fn class(&mut self, at: Address) -> Option<String> {
        self.classes_of(at).map(|(name, _)| name)
    }

    /// The bare name of the first class of a library that an object's class is, or is made from.
    pub(crate) fn synchroniser(&mut self, at: Address) -> Option<String> {
        self.classes_of(at)?.1
    }

    fn classes_of(&mut self, at: Address) -> Option<(String, Option<String>)> {
        let reader = self.reader();
        let kind = reader.kind(at).ok()?;
        if let Some(known) = self.classes.get(&kind) {
            return Some(known.clone());
        }
        let bare = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let name = bare(&reader.type_name(kind)?);
        let of_library = reader.bases(kind).into_iter().find_map(|base| {
            let full = reader.class_name(base)?;
            let known = ["asyncio.", "gevent.", "eventlet.", "threading."];
            known.iter().any(|library| full.starts_with(library)).then(|| bare(&full))
        });
        self.classes.insert(kind, (name.clone(), of_library.clone()));
        Some((name, of_library))
    }

    /// A number of seconds, as Python would write it.
    pub(crate) fn seconds(&self, at: Address) -> Option<String> {
        let reader = self.reader();
        let kind = reader.kind(at).ok()?;
        if kind == reader.types.float {
            let bits = reader.memory.word(at.plus(reader.layout.objects.float)).ok()?;
            return Some(f64::from_bits(bits).to_string());
        }
        (kind == reader.types.integer).then(|| reader.word(at).map(|n| n.to_string())).flatten()
    }

    /// For each lock that is wanted, who has taken it by a `with`, and where.
    pub(crate) fn taken(
        &mut self,
        subjects: &[Subject<'_>],
        wants: &[Option<Wants>],
    ) -> HashMap<Address, Vec<(usize, Line)>> {
        let mut taken: HashMap<Address, Vec<(usize, Line)>> = HashMap::new();
        for lock in wants.iter().flatten().filter_map(|wants| wants.lock) {
            taken.entry(lock).or_default();
        }
        if taken.is_empty() {
            return taken;
        }
        for (index, subject) in subjects.iter().enumerate() {
            for (raw, told) in subject.raw.iter().zip(subject.told) {
                let of_library = told
                    .module
                    .as_deref()
                    .is_some_and(|module| module == "threading" || module.starts_with("asyncio."));
                if of_library {
                    continue;
                }
                for (own, line) in self.waiting.locks.left_by(raw) {
                    let reader = self.reader();
                    let inner = INNER.iter().filter_map(|name| reader.attribute(own, name));
                    let known = [own].into_iter().chain(inner).find(|at| taken.contains_key(at));
                    if let Some(places) = known.and_then(|at| taken.get_mut(&at)) {
                        places.push((index, Line { line, ..of_frame(told) }));
                    }
                }
            }
        }
        taken
    }
}

/// Who has what is wanted: the only one that has taken it.
pub(crate) fn owner(
    wants: &Wants,
    taken: &HashMap<Address, Vec<(usize, Line)>>,
) -> Option<(usize, Line)> {
    match taken.get(&wants.lock?)?.as_slice() {
        [first, rest @ ..] if rest.iter().all(|(index, _)| *index == first.0) => {
            Some(rest.last().unwrap_or(first).clone())
        }
        _ => None,
    }
}

/// What the descriptors are that are waited for.
pub(crate) fn descriptors<'w>(
    wants: impl Iterator<Item = &'w Wants>,
    tasks: &dyn Tasks,
) -> HashMap<i32, String> {
    let mut wanted: Vec<i32> = wants.filter_map(|wants| wants.fd).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() { HashMap::new() } else { tasks.descriptors(&wanted) }
}
