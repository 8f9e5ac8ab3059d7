//! Locks: the one that a frame waits for, those that it has taken with `with`, and who owns one that knows its owner.
//!
//! It knows `lockobject` and `rlockobject` (`Modules/_threadmodule.c`) and `simplequeueobject` (`Modules/_queuemodule.c`).
//! A plain lock does not know who took it: that is told by the `__exit__` which a `with` block keeps on the value stack
//! (`SETUP_WITH`, `BEFORE_WITH`, `LOAD_SPECIAL` of `Python/ceval.c` and `Python/bytecodes.c`).

use spyhole_proc::Address;
use spyhole_proc::spread::QuickMap;

use crate::blocks::Blocks;
use crate::frames::RawFrame;
use crate::layout::Locks as Taken;
use crate::reader::Reader;
use crate::values::c_string;

/// What threads wait for in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Lock,
    RLock,
    SimpleQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lock {
    pub kind: Kind,
    pub at: Address,
}

/// A lock that was taken by a `with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub lock: Lock,
    /// Of the `with`.
    pub line: Option<u32>,
}

/// What an object on a value stack is, as far as locks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Lock(Kind),
    /// A function in C, perhaps bound to an object.
    Builtin,
    /// A function in Python, bound to an object.
    Method,
    /// What a class has as its function.
    Function,
    Other,
}

const NAME_AT_MOST: usize = 40;

/// Remembers what the types are.
pub struct Locks<'a> {
    reader: Reader<'a>,
    things: QuickMap<Address, Thing>,
    blocks: Blocks<'a>,
}

impl<'a> Locks<'a> {
    pub fn new(reader: Reader<'a>) -> Self {
        Self { reader, things: QuickMap::default(), blocks: Blocks::new(reader) }
    }

    /// The lock that the innermost frame of a thread waits for, which is blocked on the futex at this address.
    pub fn wanted(&mut self, frame: &RawFrame, futex: Address) -> Option<Lock> {
        let operands = self.reader.operands(frame)?;
        let slots = operands.slots;
        (0..slots.len()).rev().find_map(|index| {
            let lock = match self.thing(slots[index]) {
                Thing::Lock(kind) => {
                    // Where the address tells nothing, it is the one whose method is called.
                    let called = index.checked_sub(1).map(|before| self.thing(slots[before]));
                    let called = matches!(called, Some(Thing::Function | Thing::Builtin));
                    let lock = Lock { kind, at: slots[index] };
                    (called || !self.is_anonymous(lock)).then_some(lock)?
                }
                Thing::Builtin => {
                    let at = self.bound_to(slots[index])?;
                    let Thing::Lock(kind) = self.thing(at) else { return None };
                    Lock { kind, at }
                }
                _ => return None,
            };
            self.is_waited_for(lock, futex, operands.exact).then_some(lock)
        })
    }

    /// The address of the futex does not tell which lock it is.
    fn is_anonymous(&self, lock: Lock) -> bool {
        match self.reader.layout.shape.locks {
            Taken::Mutex => true,
            Taken::Byte => lock.kind == Kind::SimpleQueue,
        }
    }

    fn is_waited_for(&self, lock: Lock, futex: Address, exact: bool) -> bool {
        let memory = self.reader.memory;
        let place = lock.at.plus(self.reader.layout.details.unlisted.lock_semaphore);
        let Ok(word) = memory.word(place) else { return false };
        if word == futex.0 && self.reader.layout.shape.locks == Taken::Byte {
            return true;
        }
        /// `_Py_LOCKED` and `_Py_HAS_PARKED` (`Include/internal/pycore_lock.h`)
        const PARKED: u64 = 3;
        match lock.kind {
            Kind::Lock | Kind::RLock => self.is_anonymous(lock) && exact && word & PARKED == PARKED,
            // `has_threads_waiting`, where it has no lock of its own any more.
            Kind::SimpleQueue => word & 0xff == 1,
        }
    }

    /// The locks that a frame has taken, innermost `with` first.
    pub fn held(&mut self, frame: &RawFrame) -> Vec<Held> {
        let left = self.left_by(frame);
        let held = left.into_iter().filter_map(|(own, line)| {
            let lock = self.lock_of(own)?;
            Some(Held { lock, line })
        });
        held.collect()
    }

    /// What the `with` and `async with` blocks of a frame will leave, innermost first, and the line of each.
    pub fn left_by(&mut self, frame: &RawFrame) -> Vec<(Address, Option<u32>)> {
        let blocks = self.blocks.of(frame);
        if blocks.is_empty() {
            return Vec::new();
        }
        let Some(operands) = self.reader.operands(frame) else { return Vec::new() };
        let mut left: Vec<(usize, (Address, Option<u32>))> = Vec::new();
        for block in blocks.iter() {
            let below = operands.slots.get(..block.level).unwrap_or_default();
            let Some(own) = self.left(below) else { continue };
            let found = (own, block.line);
            match left.iter_mut().find(|(level, _)| *level == block.level) {
                // A `try` right within a `with` has the same level; the outer one is the `with`.
                Some((_, inner)) => *inner = found,
                None => left.push((block.level, found)),
            }
        }
        left.into_iter().map(|(_, found)| found).collect()
    }

    /// What will be left by what lies on top of a stack.
    fn left(&mut self, slots: &[Address]) -> Option<Address> {
        let top = *slots.last()?;
        match self.thing(top) {
            Thing::Builtin | Thing::Method if self.is_exit(top) => self.bound_to(top),
            Thing::Builtin | Thing::Method | Thing::Function => None,
            // The function and the object that it will be called with.
            Thing::Lock(_) | Thing::Other => {
                let function = *slots.get(slots.len().checked_sub(2)?)?;
                (self.thing(function) == Thing::Function && self.is_exit(function)).then_some(top)
            }
        }
    }

    /// A lock, or that of a `Condition` (`Lib/threading.py`).
    pub fn lock_of(&mut self, at: Address) -> Option<Lock> {
        if let Thing::Lock(kind) = self.thing(at) {
            return Some(Lock { kind, at });
        }
        let at = self.reader.attribute(at, "_lock")?;
        match self.thing(at) {
            Thing::Lock(kind) => Some(Lock { kind, at }),
            _ => None,
        }
    }

    /// `threading.get_ident()` of the thread that has taken an `RLock`; `None` if nobody has, or it is not told.
    pub fn owner(&self, lock: Lock) -> Option<u64> {
        if lock.kind != Kind::RLock {
            return None;
        }
        let owner = self.reader.layout.details.unlisted.rlock_owner;
        self.reader.memory.word(lock.at.plus(owner)).ok().filter(|owner| *owner != 0)
    }

    /// Whether somebody has taken it.
    pub fn is_taken(&self, lock: Lock) -> bool {
        let of = &self.reader.layout.details.unlisted;
        let place = match (self.reader.layout.shape.locks, lock.kind) {
            (_, Kind::SimpleQueue) => return false,
            (Taken::Mutex, _) => lock.at.plus(of.lock_semaphore),
            (Taken::Byte, Kind::Lock) => lock.at.plus(of.lock_locked),
            (Taken::Byte, Kind::RLock) => lock.at.plus(of.rlock_count),
        };
        let taken = match self.reader.layout.shape.locks {
            Taken::Mutex => 1,
            Taken::Byte => 0xff,
        };
        self.reader.memory.bytes(place, 1).is_ok_and(|byte| byte[0] & taken != 0)
    }

    fn thing(&mut self, at: Address) -> Thing {
        if at.is_null() {
            return Thing::Other;
        }
        let Ok(kind) = self.reader.kind(at) else { return Thing::Other };
        let types = self.reader.types;
        if kind == types.method {
            return Thing::Method;
        }
        if kind == types.function {
            return Thing::Function;
        }
        if let Some(known) = self.things.get(&kind) {
            return *known;
        }
        let thing = match self.reader.type_name(kind).as_deref() {
            Some("_thread.lock") => Thing::Lock(Kind::Lock),
            Some("_thread.RLock") => Thing::Lock(Kind::RLock),
            Some("_queue.SimpleQueue") => Thing::Lock(Kind::SimpleQueue),
            Some("builtin_function_or_method") => Thing::Builtin,
            Some("method_descriptor") => Thing::Function,
            // A function of Cython begins as one in C does (`CythonFunction.c`).
            Some(name) if name.ends_with("cython_function_or_method") => Thing::Builtin,
            _ => Thing::Other,
        };
        self.things.insert(kind, thing);
        thing
    }

    /// The object that a method is bound to; `None` if it is no bound method.
    pub fn owner_of_method(&mut self, at: Address) -> Option<Address> {
        match self.thing(at) {
            Thing::Builtin | Thing::Method => self.bound_to(at).filter(|own| !own.is_null()),
            _ => None,
        }
    }

    fn bound_to(&mut self, at: Address) -> Option<Address> {
        let place = match self.thing(at) {
            Thing::Method => self.reader.layout.objects.method_self,
            _ => self.reader.layout.details.builtin_self,
        };
        self.reader.memory.pointer(at.plus(place)).ok()
    }

    /// Whether a function is called `__exit__` or `__aexit__`.
    fn is_exit(&mut self, at: Address) -> bool {
        let reader = self.reader;
        let (memory, layout) = (reader.memory, reader.layout);
        let text = |place: u64| {
            let name = memory.pointer(at.plus(place)).ok()?;
            Some(reader.text(name, NAME_AT_MOST)?.text)
        };
        let name = match self.thing(at) {
            Thing::Builtin => memory
                .pointer(at.plus(layout.details.builtin_definition))
                .and_then(|definition| memory.pointer(definition))
                .and_then(|name| c_string(memory, name))
                .ok(),
            Thing::Method => {
                let function = memory.pointer(at.plus(layout.objects.method_function));
                return function.is_ok_and(|function| {
                    matches!(self.thing(function), Thing::Function | Thing::Builtin)
                        && self.is_exit(function)
                });
            }
            Thing::Function if self.reader.kind(at) == Ok(self.reader.types.function) => {
                text(layout.objects.function_name)
            }
            Thing::Function => text(layout.details.descriptor_name),
            _ => None,
        };
        name.is_some_and(|name| matches!(name.rsplit('.').next(), Some("__exit__" | "__aexit__")))
    }
}

impl Reader<'_> {
    /// `tp_name` of a type.
    pub fn type_name(&self, kind: Address) -> Option<String> {
        let name = self.memory.pointer(kind.plus(self.layout.kind.name)).ok()?;
        c_string(self.memory, name).ok()
    }
}
