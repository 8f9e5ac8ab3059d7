//! The local variables of the frames of a look.
//!
//! It remembers what was told of an object: many frames have the same ones. When all are told, it reads again what each
//! name leads to, and marks what is not the same any more.

use std::collections::HashMap;
use std::sync::Arc;

use spyhole_cpython::Reader;
use spyhole_cpython::frames::RawFrame;
use spyhole_cpython::locals::{Found, Variables};
use spyhole_cpython::values::{Limits, REDACTED, Rendered, Values};
use spyhole_proc::Address;

use crate::model::{InterpreterStacks, Local};
use crate::redaction;

/// What is wanted of local variables.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Characters of one value.
    pub characters: usize,
    /// Secrets, too.
    pub reveal: bool,
}

impl Wanted {
    pub(crate) fn limits(self) -> Limits {
        let hides = match self.reveal {
            true => redaction::nothing_is_secret,
            false => redaction::is_secret,
        };
        Limits { characters: self.characters, hides }
    }
}

/// What stands for a value that was another one when it was read again.
const CHANGED: &str = "<changed>";

/// Locals that are told of one process; ten of each frame of a thousand threads are far fewer.
const LOCALS_AT_MOST: usize = 1 << 19;

/// How an object begins: what it is, and for most kinds how large.
type Head = (u64, u64);

/// What was read to tell a value.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    slot: Address,
    raw: u64,
    value: Address,
    head: Option<Head>,
}

pub(crate) struct Locals<'a> {
    reader: Reader<'a>,
    values: Values<'a>,
    limits: Limits,
    variables: HashMap<Address, Option<Variables>>,
    told: HashMap<Address, (Rendered, Option<Head>)>,
    redacted: Arc<str>,
    /// For each local that was told, in their order.
    evidence: Vec<Evidence>,
}

impl<'a> Locals<'a> {
    /// `steady`: see [`Values::new`].
    pub(crate) fn new(reader: Reader<'a>, steady: Reader<'a>, wanted: Wanted) -> Self {
        let limits = wanted.limits();
        Self {
            reader,
            values: Values::new(reader, steady, limits),
            limits,
            variables: HashMap::new(),
            told: HashMap::new(),
            redacted: REDACTED.into(),
            evidence: Vec::new(),
        }
    }

    /// The variables of a frame, and whether there are more.
    pub(crate) fn of(&mut self, frame: &RawFrame) -> (Vec<Local>, bool) {
        let reader = self.reader;
        let variables = self
            .variables
            .entry(frame.code)
            .or_insert_with(|| Variables::read(&reader, frame.code).ok());
        let Some(variables) = variables else { return (Vec::new(), false) };
        let mut locals = variables.of_frame(&reader, frame.address);
        let room = LOCALS_AT_MOST.saturating_sub(self.evidence.len());
        locals.cut |= locals.found.len() > room;
        locals.found.truncate(room);
        (locals.found.into_iter().map(|found| self.local(found)).collect(), locals.cut)
    }

    fn local(&mut self, found: Found) -> Local {
        let Found { name, slot, raw, value } = found;
        let (reader, values) = (self.reader, &mut self.values);
        let (rendered, head) = if (self.limits.hides)(&name) {
            let (type_name, text) = (values.type_name(value), self.redacted.clone());
            (Rendered { type_name, text, truncated: false }, head(&reader, value))
        } else {
            let told = self.told.entry(value);
            told.or_insert_with(|| (values.render(value), head(&reader, value))).clone()
        };
        self.evidence.push(Evidence { slot, raw, value, head });
        Local {
            name,
            type_name: rendered.type_name,
            repr: rendered.text,
            truncated: rendered.truncated,
        }
    }

    /// Marks what is not there any more. `stacks` are all that was told, in the order in which it was; `again` reads what
    /// is there now.
    pub(crate) fn check(self, stacks: &mut [InterpreterStacks], again: &Reader<'_>) {
        let frames = stacks
            .iter_mut()
            .flat_map(|interpreter| &mut interpreter.threads)
            .flat_map(|thread| &mut thread.frames);
        let changed: Arc<str> = CHANGED.into();
        let locals = frames.flat_map(|frame| &mut frame.locals);
        for (local, evidence) in locals.zip(self.evidence) {
            let same = again.memory.word(evidence.slot).is_ok_and(|raw| raw == evidence.raw)
                && head(again, evidence.value) == evidence.head;
            if !same {
                local.repr = changed.clone();
                local.truncated = false;
            }
        }
    }
}

fn head(reader: &Reader<'_>, at: Address) -> Option<Head> {
    let kind = reader.kind(at).ok()?;
    let size = reader.memory.word(at.plus(reader.layout.objects.size)).ok()?;
    Some((kind.0, size))
}
