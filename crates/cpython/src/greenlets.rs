//! Greenlets: every one that lies in a process's memory, what it does, and the frames of those that are suspended.
//!
//! It knows the structures of the greenlet package (`greenlet.h`, `TGreenlet.hpp`) from 1.0 on. No list of greenlets exists:
//! they are found by looking for references to their types through all memory that a program writes to. What is found is
//! believed if it leads back to itself, as the package has it from 2.0 on, and if what it refers to is of the right kind.
//! A greenlet of another form is counted and never guessed.

use std::collections::HashSet;

use spyhole_proc::Address;
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::ReadMemory;

use crate::frames::{self, End, RawStack};
use crate::layout::{GREENLET, GreenletPlaces};
use crate::reader::Reader;
use crate::runtime::InterpreterState;

/// Greenlets that are told of one process.
pub const GREENLETS_AT_MOST: usize = 1 << 17;
/// Memory that is looked through.
pub const SCANNED_AT_MOST: u64 = 3 << 30;
const TYPES_AT_MOST: usize = 10_000;
const PAGE: u64 = 4096;

/// What a greenlet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was not begun.
    New,
    Suspended,
    /// It is the one that its thread runs in.
    Running,
    Dead,
}

/// One greenlet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greenlet {
    pub at: Address,
    pub kind: Address,
    pub state: State,
    /// The one of its thread that was there before all others.
    pub is_main: bool,
    /// To whom it returns; null for the main one.
    pub parent: Address,
    /// The main one of its thread; null if it was never begun.
    pub main: Address,
    /// Somewhere on the C stack of its thread.
    pub c_stack: Option<Address>,
    /// Empty if it is not suspended.
    pub stack: RawStack,
}

/// The class of greenlets, and those that are made from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types {
    base: Address,
    all: Vec<Address>,
}

impl Types {
    /// `None` if an interpreter has not loaded the package.
    pub fn of(reader: &Reader<'_>, interpreter: &InterpreterState) -> Option<Self> {
        let names = ["greenlet._greenlet", "greenlet"];
        let base = names.iter().find_map(|name| {
            let dict = reader.module_dict(interpreter, name)?;
            reader.dict_item(dict, "greenlet")
        })?;
        let is_type =
            |at: Address| reader.type_name(at).is_some_and(|name| name == "greenlet.greenlet");
        if !is_type(base) {
            return None;
        }
        let mut all = vec![base];
        let mut seen: HashSet<Address> = all.iter().copied().collect();
        let mut next = 0;
        while let Some(kind) = all.get(next).copied() {
            next += 1;
            for below in reader.subclasses(kind) {
                if all.len() < TYPES_AT_MOST && seen.insert(below) {
                    all.push(below);
                }
            }
        }
        Some(Self { base, all })
    }

    /// Those of both.
    pub fn join(&mut self, other: &Self) {
        self.base = if self.base.is_null() { other.base } else { self.base };
        for kind in &other.all {
            if !self.all.contains(kind) {
                self.all.push(*kind);
            }
        }
    }
}

impl Reader<'_> {
    /// The classes that are made from one right away, as far as they are still there.
    pub fn subclasses(&self, kind: Address) -> Vec<Address> {
        let place = kind.plus(self.layout.suspended.type_subclasses);
        let dict = self.memory.pointer(place).unwrap_or_default();
        if dict.is_null() || self.kind(dict).ok() != Some(self.types.dict) {
            return Vec::new();
        }
        let entries = self.dict_entries(dict, TYPES_AT_MOST).unwrap_or_default();
        let place = self.layout.details.weakref_object;
        let live = entries.iter().filter_map(|e| self.memory.pointer(e.value.plus(place)).ok());
        live.filter(|kind| !kind.is_null() && *kind != self.types.none).collect()
    }
}

/// Where greenlets may lie, and whether all memory was looked through. What is found has yet to be proven.
pub fn find(memory: &dyn ReadMemory, maps: &Maps, types: &Types) -> (Vec<Address>, bool) {
    const PAGES: u64 = 256;
    /// Bits of an address that tell apart most that are no type's.
    const BITS: usize = 1 << 16;
    let place = |word: u64| (word >> 4) as usize % BITS;
    let mut maybe = vec![false; BITS];
    types.all.iter().for_each(|kind| maybe[place(kind.0)] = true);
    let kinds: HashSet<u64> = types.all.iter().map(|kind| kind.0).collect();
    let written = maps.iter().filter(|mapping| {
        mapping.readable
            && mapping.writable
            && (mapping.path.is_empty() || mapping.path == b"[heap]")
    });
    let mut left = SCANNED_AT_MOST;
    let mut found = Vec::new();
    let mut buffer = vec![0; (PAGES * PAGE) as usize];
    for mapping in written {
        let mut at = mapping.start;
        while at < mapping.end {
            if left == 0 || found.len() >= GREENLETS_AT_MOST {
                return (found, false);
            }
            let pages = ((mapping.end.0 - at.0) / PAGE).min(PAGES).min(left.div_ceil(PAGE));
            let all: Vec<Address> = (0..pages).map(|page| at.plus(page * PAGE)).collect();
            let bytes = &mut buffer[..(pages * PAGE) as usize];
            let held = memory.read_pages(&all, bytes);
            for ((start, page), held) in all.iter().zip(bytes.chunks(PAGE as usize)).zip(held) {
                if !held {
                    continue;
                }
                for (word, index) in page.chunks_exact(8).zip(0_u64..) {
                    let word = word.try_into().map_or(0, u64::from_le_bytes);
                    if maybe[place(word)] && kinds.contains(&word) {
                        found.push(Address(start.plus(index * 8).0.wrapping_sub(8)));
                    }
                }
            }
            left = left.saturating_sub(pages * PAGE);
            at = at.plus(pages * PAGE);
        }
    }
    found.truncate(GREENLETS_AT_MOST);
    (found, true)
}

/// All greenlets among what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greenlets {
    pub known: Vec<Greenlet>,
    /// There are so many whose form is not known.
    pub unknown: usize,
}

/// How the structures of a process's greenlets look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// All of it is in the object, to 1.1.
    Whole,
    /// Apart, and leading back to the object from right before the main greenlet.
    Early(GreenletPlaces, u64),
    /// Apart, and leading back to the object from its beginning.
    Later(GreenletPlaces, u64),
}

/// The fields of one greenlet.
#[derive(Clone, Copy, Debug)]
struct Fields {
    stack_start: u64,
    stack_stop: u64,
    frame: Address,
}

/// Reads greenlets that were found.
pub struct Finder<'a> {
    reader: Reader<'a>,
    kinds: HashSet<Address>,
    form: Option<Form>,
}

/// `stack_stop` of a main greenlet.
const OF_MAIN: u64 = u64::MAX;
/// A version 1 greenlet is larger than one that has its state apart.
const SIZE_APART: u64 = 40;

impl<'a> Finder<'a> {
    /// `candidates` are what [`find`] found.
    pub fn new(reader: Reader<'a>, types: &Types, candidates: &[Address]) -> Self {
        let kinds = types.all.iter().copied().collect();
        let mut finder = Self { reader, kinds, form: None };
        finder.form = finder.form_of(types, candidates);
        finder
    }

    fn form_of(&self, types: &Types, candidates: &[Address]) -> Option<Form> {
        let size = types.base.plus(self.reader.layout.kind.basic_size);
        if self.reader.memory.word(size).ok()? > SIZE_APART {
            return Some(Form::Whole);
        }
        let places = self.reader.layout.suspended.greenlets?;
        let [one, other] = places.main_later;
        let mut forms = vec![Form::Later(places, one)];
        if other != one {
            forms.push(Form::Later(places, other));
        }
        forms.extend(places.main.map(|main| Form::Early(places, main)));
        // The one that fits them all; to be sure, at least one has to show it.
        let mut fitting = forms.into_iter().filter_map(|form| {
            let mut proof = 0_usize;
            for at in candidates.iter().filter(|at| self.is_object(**at)) {
                match self.proves(*at, form) {
                    Some(true) => proof += 1,
                    Some(false) => return None,
                    None => {}
                }
            }
            Some((form, proof))
        });
        let (first, second) = (fitting.next(), fitting.next());
        match (first, second) {
            (Some((form, _)), None) => Some(form),
            // Those that differ only in what a main greenlet does not have.
            (Some((form, 0)), Some((_, 0))) => Some(form),
            (Some((form, 1..)), Some((_, 0))) | (Some((_, 0)), Some((form, 1..))) => Some(form),
            _ => None,
        }
    }

    /// Whether a greenlet is of a form; `None`: it tells nothing.
    fn proves(&self, at: Address, form: Form) -> Option<bool> {
        let rest = self.rest(at)?;
        if !self.leads_back(at, rest, form) {
            return Some(false);
        }
        let fields = self.fields(at, form)?;
        if fields.stack_stop == OF_MAIN {
            return None;
        }
        let (main, parent) = self.relatives(at, form)?;
        if main.is_null() && parent.is_null() {
            return None;
        }
        let right = (main.is_null() || self.is_main(main, form))
            && (parent.is_null() || self.is_greenlet(parent));
        Some(right)
    }

    fn rest(&self, at: Address) -> Option<Address> {
        let rest = self.reader.memory.pointer(at.plus(GREENLET.rest)).ok()?;
        (!rest.is_null()).then_some(rest)
    }

    fn leads_back(&self, at: Address, rest: Address, form: Form) -> bool {
        let place = match form {
            Form::Whole => return true,
            Form::Early(_, main) => main - 8,
            Form::Later(..) => 8,
        };
        self.reader.memory.pointer(rest.plus(place)) == Ok(at)
    }

    fn fields(&self, at: Address, form: Form) -> Option<Fields> {
        let (start, frame) = match form {
            Form::Whole => (at.plus(GREENLET.stack_start), at.plus(GREENLET.frame)),
            Form::Early(places, _) => {
                let rest = self.rest(at)?;
                (rest.plus(places.stack_start), rest.plus(places.frame))
            }
            Form::Later(places, _) => {
                let rest = self.rest(at)?;
                (rest.plus(places.stack_start + 8), rest.plus(places.frame + 8))
            }
        };
        Some(Fields {
            stack_start: self.reader.memory.word(start).ok()?,
            stack_stop: self.reader.memory.word(start.plus(8)).ok()?,
            frame: self.reader.memory.pointer(frame).ok()?,
        })
    }

    /// The main greenlet and the parent of one that is no main greenlet.
    fn relatives(&self, at: Address, form: Form) -> Option<(Address, Address)> {
        let field = |at: Address| self.reader.memory.pointer(at).ok();
        match form {
            Form::Whole => {
                let parent = field(at.plus(GREENLET.parent))?;
                Some((self.outermost(parent).unwrap_or_default(), parent))
            }
            Form::Early(_, main) | Form::Later(_, main) => {
                let rest = self.rest(at)?;
                Some((field(rest.plus(main))?, field(rest.plus(main + 16))?))
            }
        }
    }

    /// Whether an object lies there that the garbage collector knows: its neighbours in the collector's list lead back to
    /// it (`PyGC_Head` of `Include/internal/pycore_gc.h`; low bits are flags).
    fn is_object(&self, at: Address) -> bool {
        const FLAGS: u64 = 3;
        let head = Address(at.0.wrapping_sub(self.reader.layout.suspended.gc_head));
        let link = |at: Address| {
            let link = self.reader.memory.word(at).ok()? & !FLAGS;
            (link != 0).then_some(Address(link))
        };
        let neighbours = || {
            let (next, previous) = (link(head)?, link(head.plus(8))?);
            Some(link(next.plus(8))? == head && link(previous)? == head)
        };
        self.is_greenlet(at) && neighbours() == Some(true)
    }

    fn is_greenlet(&self, at: Address) -> bool {
        self.reader.kind(at).is_ok_and(|kind| self.kinds.contains(&kind))
    }

    fn is_main(&self, at: Address, form: Form) -> bool {
        self.is_greenlet(at)
            && self.fields(at, form).is_some_and(|fields| fields.stack_stop == OF_MAIN)
    }

    /// All that are greenlets, at most so many frames of each, and of all of them together.
    pub fn all(&self, candidates: &[Address], most: usize, of_all: usize) -> Greenlets {
        let mut greenlets = Greenlets::default();
        let mut left = of_all;
        for at in candidates.iter().filter(|at| self.is_object(**at)) {
            let Some(form) = self.form else {
                greenlets.unknown += 1;
                continue;
            };
            match self.read(*at, form, most.min(left)) {
                Some(greenlet) => {
                    left -= greenlet.stack.frames.len().min(left);
                    greenlets.known.push(greenlet);
                }
                // What leads nowhere is being made or freed, or was never one.
                None if self.rest(*at).is_none() || form == Form::Whole => {}
                None => greenlets.unknown += 1,
            }
        }
        greenlets
    }

    /// One of them, as it is now.
    pub fn one(&self, at: Address, most: usize) -> Option<Greenlet> {
        self.read(at, self.form?, most)
    }

    fn read(&self, at: Address, form: Form, most: usize) -> Option<Greenlet> {
        if form != Form::Whole && !self.leads_back(at, self.rest(at)?, form) {
            return None;
        }
        let Fields { stack_start, stack_stop, frame } = self.fields(at, form)?;
        let is_main = stack_stop == OF_MAIN;
        let (main, parent) = match is_main {
            true => (at, Address(0)),
            false => self.relatives(at, form)?,
        };
        let of_right_kind = (parent.is_null() || self.is_greenlet(parent))
            && (main.is_null() || is_main || self.is_main(main, form))
            && (frame.is_null() || self.reader.kind(frame) == Ok(self.reader.types.frame))
            && (stack_start <= stack_stop);
        if !of_right_kind {
            return None;
        }
        let state = match (stack_start, stack_stop) {
            (_, 0) => State::New,
            (0, _) => State::Dead,
            _ if frame.is_null() => State::Running,
            _ => State::Suspended,
        };
        let stack = match state {
            State::Suspended => self.stack(frame, most),
            _ => RawStack { frames: Vec::new(), end: End::Whole },
        };
        // The main greenlet begins at no place.
        let c_stack = match (stack_start, stack_stop) {
            (2.., OF_MAIN) => Some(Address(stack_start)),
            (_, 0 | OF_MAIN) => None,
            (_, stop) => Some(Address(stop)),
        };
        let kind = self.reader.kind(at).ok()?;
        Some(Greenlet { at, kind, state, is_main, parent, main, c_stack, stack })
    }

    fn stack(&self, frame: Address, most: usize) -> RawStack {
        let Reader { memory, layout, .. } = self.reader;
        let first = match layout.details.frame_of_object {
            Some(place) => memory.pointer(frame.plus(place)),
            None => Ok(frame),
        };
        match first {
            Ok(first) => {
                let mut stack = frames::from(memory, layout, first, most);
                self.reader.forget_own(&mut stack.frames);
                stack
            }
            Err(_) => RawStack { frames: Vec::new(), end: End::Torn },
        }
    }

    /// Version 1 does not keep the main greenlet of one: it is where the parents lead to.
    fn outermost(&self, parent: Address) -> Option<Address> {
        const PARENTS_AT_MOST: usize = 1000;
        let mut at = parent;
        for _ in 0..PARENTS_AT_MOST {
            if !self.is_greenlet(at) {
                return None;
            }
            if self.is_main(at, Form::Whole) {
                return Some(at);
            }
            at = self.reader.memory.pointer(at.plus(GREENLET.parent)).ok()?;
        }
        None
    }
}
