//! The local variables of the frames of a look.
//!
//! It remembers what was told of an object: many frames have the same ones. When all are told, it reads again what each
//! name leads to, and marks what is not the same any more.

use std::collections::VecDeque;
use std::sync::Arc;

use spyhole_cpython::Reader;
use spyhole_cpython::frames::RawFrame;
use spyhole_cpython::locals::{Found, Locals as OfFrame, Variables};
use spyhole_cpython::values::{Limits, REDACTED, Rendered, Values};
use spyhole_proc::Address;
use spyhole_proc::memory::{Cached, Live};
use spyhole_proc::spread::QuickMap;

use crate::model::{Local, StackFrame};
use crate::pause::{SeenInterpreter, SeenThread};
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
const LOCALS_AT_MOST: usize = 1 << 18;

/// How an object begins: what it is, and for most kinds how large.
type Head = (u64, u64);

/// What was read to tell a value, where it was not all read at one moment.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    slot: Address,
    raw: u64,
    value: Address,
    head: Option<Head>,
}

/// A value that was told.
#[derive(Clone)]
struct Told {
    rendered: Rendered,
    head: Option<Head>,
    /// All of it was copied at one moment.
    settled: bool,
}

pub(crate) struct Locals<'a> {
    reader: Reader<'a>,
    steady: Reader<'a>,
    values: Values<'a>,
    limits: Limits,
    variables: QuickMap<Address, Option<Variables>>,
    /// Where in `told` an object is.
    known: QuickMap<Address, u32>,
    told: Vec<Told>,
    redacted: Arc<str>,
    /// Whether something was read, since this was last asked, that was not copied at one moment.
    beyond: Option<&'a dyn Fn() -> bool>,
    /// For each local that was told, in their order, if they will be looked at again.
    evidence: Vec<Option<Evidence>>,
    count: usize,
    /// Frames that were looked at ahead.
    ahead: VecDeque<(Address, (OfFrame, bool))>,
}

impl<'a> Locals<'a> {
    /// `steady`: see [`Values::new`].
    pub(crate) fn new(reader: Reader<'a>, steady: Reader<'a>, wanted: Wanted) -> Self {
        let limits = wanted.limits();
        Self {
            reader,
            steady,
            values: Values::new(reader, steady, limits),
            limits,
            variables: QuickMap::default(),
            known: QuickMap::default(),
            told: Vec::new(),
            redacted: REDACTED.into(),
            beyond: None,
            evidence: Vec::new(),
            count: 0,
            ahead: VecDeque::new(),
        }
    }

    /// `beyond` tells whether something was read, since it was last asked, that was not copied at one moment: only such
    /// values are looked at again. There are so many `frames`.
    pub(crate) fn telling(self, beyond: &'a dyn Fn() -> bool, frames: usize) -> Self {
        const OF_MOST_FRAMES: usize = 8;
        // Made once: it would be copied again and again as it grows.
        let room = frames.saturating_mul(OF_MOST_FRAMES).min(LOCALS_AT_MOST);
        Self { beyond: Some(beyond), evidence: Vec::with_capacity(room), ..self }
    }

    fn went_beyond(&self) -> bool {
        self.beyond.is_none_or(|beyond| beyond())
    }

    /// Reads together what the values of these frames will need: one by one, each of them lies in pages of its own.
    /// Those frames are to be asked for next, in this order.
    pub(crate) fn expect<'f>(&mut self, frames: impl Iterator<Item = &'f RawFrame>) {
        self.ahead.clear();
        for frame in frames {
            if let Some(found) = self.found(frame) {
                self.ahead.push_back((frame.address, found));
            }
        }
        let Reader { memory, layout, types } = self.reader;
        let values = self.ahead.iter().flat_map(|(_, (locals, _))| &locals.found);
        let values: Vec<Address> = values.map(|found| found.value).collect();
        memory.expect(&mut values.iter().copied());
        // What a list, a dict or the like has is elsewhere again.
        let mut inner = Vec::new();
        for at in values {
            let Ok(kind) = self.reader.kind(at) else { continue };
            let field = |offset: u64| memory.pointer(at.plus(offset)).ok();
            if kind == types.list {
                inner.extend(field(layout.objects.list));
            } else if kind == types.dict {
                inner.extend(field(layout.dict.keys));
                inner.extend(field(layout.dict.values));
            } else if kind == types.tuple {
                inner.extend(field(layout.objects.tuple));
            }
        }
        memory.expect(&mut inner.into_iter().filter(|at| !at.is_null()));
    }

    /// Where a frame's variables are, and whether that was all copied at one moment.
    fn found(&mut self, frame: &RawFrame) -> Option<(OfFrame, bool)> {
        let steady = self.steady;
        let variables = self
            .variables
            .entry(frame.code)
            .or_insert_with(|| Variables::read(&steady, frame.code).ok());
        let variables = variables.as_ref()?;
        if let Some(beyond) = self.beyond {
            beyond();
        }
        let locals = variables.of_frame(&self.reader, frame.address);
        Some((locals, !self.went_beyond()))
    }

    /// The variables of a frame, and whether there are more.
    pub(crate) fn of(&mut self, frame: &RawFrame) -> (Vec<Local>, bool) {
        // Those before it were of no use.
        let place = self.ahead.iter().position(|(at, _)| *at == frame.address);
        let ahead = place.and_then(|place| self.ahead.drain(..=place).next_back());
        let Some((mut locals, settled)) =
            ahead.map(|(_, found)| found).or_else(|| self.found(frame))
        else {
            return (Vec::new(), false);
        };
        let room = LOCALS_AT_MOST.saturating_sub(self.count);
        locals.cut |= locals.found.len() > room;
        locals.found.truncate(room);
        self.count += locals.found.len();
        let told = locals.found.into_iter().map(|found| self.local(found, settled));
        (told.collect(), locals.cut)
    }

    /// `settled`: the reference to it was copied with all else.
    fn local(&mut self, found: Found, settled: bool) -> Local {
        let Found { name, slot, raw, value } = found;
        if (self.limits.hides)(&name) {
            let head = head(&self.reader, value);
            let evidence = Evidence { slot, raw, value, head };
            self.keep((!settled).then_some(evidence));
            let (type_name, repr) = (self.values.type_name(value), self.redacted.clone());
            return Local { name, type_name, repr, truncated: false };
        }
        // What only this variable leads to will not be asked for again.
        let told = match self.reader.is_shared(value) {
            false => self.tell(value),
            true => match self.known.get(&value) {
                Some(place) => self.told[*place as usize].clone(),
                None => {
                    let told = self.tell(value);
                    // Of these there are at most as many as locals.
                    self.known.insert(value, self.told.len() as u32);
                    self.told.push(told.clone());
                    told
                }
            },
        };
        let Told { rendered: Rendered { type_name, text: repr, truncated }, head, settled: all } =
            told;
        let evidence = Evidence { slot, raw, value, head };
        self.keep((!(settled && all)).then_some(evidence));
        Local { name, type_name, repr, truncated }
    }

    fn tell(&mut self, value: Address) -> Told {
        if let Some(beyond) = self.beyond {
            beyond();
        }
        let rendered = self.values.render(value);
        let head = head(&self.reader, value);
        let settled = !self.went_beyond();
        Told { rendered, head, settled }
    }

    fn keep(&mut self, evidence: Option<Evidence>) {
        if self.beyond.is_some() {
            self.evidence.push(evidence);
        }
    }

    /// Marks what is not there any more. `frames` are all that were told, in the order in which it was; `again` reads what
    /// is there now.
    pub(crate) fn check<'f>(
        self,
        frames: impl Iterator<Item = &'f mut StackFrame>,
        again: &Reader<'_>,
    ) {
        let changed: Arc<str> = CHANGED.into();
        let evidence = self.evidence.iter().flatten();
        again.memory.expect(&mut evidence.flat_map(|one| [one.slot, one.value]));
        let locals = frames.flat_map(|frame| &mut frame.locals);
        for (local, evidence) in locals.zip(self.evidence) {
            let Some(evidence) = evidence else { continue };
            let same = again.memory.word(evidence.slot).is_ok_and(|raw| raw == evidence.raw)
                && head(again, evidence.value) == evidence.head;
            if !same {
                local.repr = changed.clone();
                local.truncated = false;
            }
        }
    }
}

/// Reads what these threads' locals need, so that it is copied in the pause: of the thread that holds the GIL first, as
/// it alone changes things when it runs again, and not so much that the pause gets much longer.
pub(crate) fn rehearse(
    memory: &Cached<Live>,
    steady: Reader<'_>,
    seen: &[SeenInterpreter],
    wanted: Wanted,
) {
    const SHORT: usize = 60;
    const PAGES: usize = 16;
    let frames = memory.asked();
    let most = frames + (frames / 4).max(PAGES);
    let wanted = Wanted { characters: wanted.characters.min(SHORT), ..wanted };
    let mut locals = Locals::new(Reader { memory, ..steady }, steady, wanted);
    let threads = |holding: bool| {
        seen.iter().flat_map(move |interpreter| {
            let holds = move |thread: &&SeenThread| {
                (interpreter.holder == Some(thread.state.address)) == holding
            };
            interpreter.threads.iter().filter(holds)
        })
    };
    for thread in threads(true).chain(threads(false)) {
        for frame in &thread.stack.frames {
            if memory.asked() >= most {
                return;
            }
            locals.of(frame);
        }
    }
}

fn head(reader: &Reader<'_>, at: Address) -> Option<Head> {
    let kind = reader.kind(at).ok()?;
    let size = reader.memory.word(at.plus(reader.layout.objects.size)).ok()?;
    Some((kind.0, size))
}
