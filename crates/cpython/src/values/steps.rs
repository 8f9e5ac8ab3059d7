//! Steps from one object to another, as Python's own syntax takes them, as far as nothing has to run for them.
//!
//! It knows attributes of modules, classes and instances, and items of the builtin containers. What a property, a
//! `__getattr__` or a `__getitem__` in Python would answer it does not know, and says so.

use std::rc::Rc;
use std::sync::Arc;

use spyhole_proc::Address;
use thiserror::Error;

use super::classes::Class;
use super::descriptors::Kept;
use super::forms::Form;
use super::proxies::Proxy;
use super::{GAPS_AT_MOST, NAME_AT_MOST, Values};
use crate::dicts::{ENTRIES_AT_MOST, Entry};
use crate::locals::Variables;
use crate::reader::flag;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `.name`
    Attribute(String),
    /// `["key"]`, `[0]`
    Item(Key),
}

/// What can stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Text(String),
    Bytes(Vec<u8>),
    Integer(i64),
    Boolean(bool),
    None,
}

/// Why a step leads nowhere.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StepError {
    /// `there` are the names or keys that are there instead, perhaps not all.
    #[error("{kind} has no {what}")]
    Absent { kind: Arc<str>, what: &'static str, there: Vec<String> },
    #[error("{kind} has {length} items")]
    OutOfRange { kind: Arc<str>, length: u64 },
    #[error("{kind} has no items that can be read")]
    NoItems { kind: Arc<str> },
    #[error("it is a {what} of {kind}, which is not run")]
    NotRun { kind: Arc<str>, what: Arc<str> },
    #[error("{kind} has a `{function}` of its own, which is not run")]
    OwnFunction { kind: Arc<str>, function: &'static str },
    #[error("what a {kind} stands for depends on who asks, and cannot be told from outside")]
    Context { kind: Arc<str> },
    #[error("a {kind} that nobody has asked for anything yet stands for nothing")]
    NotSetUp { kind: Arc<str> },
    #[error("what it stood for is gone")]
    Dead,
    #[error("proxies that stand for each other in a ring")]
    Ring,
    #[error("it cannot be read")]
    Unreadable,
}

/// Names that are told where one was not found.
const THERE_AT_MOST: usize = 2000;

impl Values<'_> {
    /// The object that a step leads to.
    pub fn step(&mut self, at: Address, step: &Step) -> Result<Address, StepError> {
        match step {
            Step::Attribute(name) => self.named(at, name),
            Step::Item(key) => {
                let (at, _) = self.followed(at)?;
                self.item(at, key)
            }
        }
    }

    pub(super) fn class_of(&mut self, at: Address) -> Result<Rc<Class>, StepError> {
        let kind = self.reader.kind(at).map_err(|_| StepError::Unreadable)?;
        self.classes.get(kind).ok_or(StepError::Unreadable)
    }

    fn pointer(&self, at: Address) -> Result<Address, StepError> {
        self.reader.memory.pointer(at).map_err(|_| StepError::Unreadable)
    }

    /// An attribute of an object, or else of what it stands for.
    fn named(&mut self, at: Address, name: &str) -> Result<Address, StepError> {
        let mut passed = vec![at];
        let mut here = at;
        loop {
            let error = match self.own_named(here, name) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let class = self.class_of(here)?;
            let next = match self.proxy_of(&class) {
                None => return Err(error),
                Some(Proxy::Fallback(field)) => self.reader.attribute(here, field).ok_or(error)?,
                Some(_) => self.stands_for(here)?.ok_or(error)?,
            };
            if passed.contains(&next) || passed.len() == 16 {
                return Err(StepError::Ring);
            }
            passed.push(next);
            here = next;
        }
    }

    fn own_named(&mut self, at: Address, name: &str) -> Result<Address, StepError> {
        let class = self.class_of(at)?;
        if name == "__class__" {
            return self.reader.kind(at).map_err(|_| StepError::Unreadable);
        }
        let look = self.reader.kind(at).ok().and_then(|kind| self.look(kind));
        let form = look.as_ref().map(|look| look.form);
        if form == Some(Form::Module) {
            return self.of_module(at, &class, name);
        }
        if class.flags & flag::KIND != 0 {
            return self.of_class(at, &class, name);
        }
        if form == Some(Form::NamedTuple)
            && let Some(index) = self.field(&class, name)
        {
            return self.pointer(at.plus(self.reader.layout.objects.tuple + index * 8));
        }
        if form == Some(Form::Cell) && name == "cell_contents" {
            let held = self.pointer(at.plus(self.reader.layout.objects.cell))?;
            return if held.is_null() { Err(self.absent(at, &class)) } else { Ok(held) };
        }
        if form == Some(Form::Exception) && name == "args" {
            return self.pointer(at.plus(self.reader.layout.details.exception_args));
        }
        if form == Some(Form::Function)
            && let Some(value) = self.of_function(at, name)?
        {
            return Ok(value);
        }
        let in_class = self.in_class(&class, name);
        let kept = in_class.and_then(|value| self.kept(value));
        match &kept {
            Some(Kept::Place(offset)) => {
                let value = self.pointer(at.plus(*offset))?;
                return if value.is_null() { Err(self.absent(at, &class)) } else { Ok(value) };
            }
            Some(Kept::Runs { what, first: true }) => {
                // What keeps an object in a field of C needs nobody to fetch it.
                if let Some(value) = self.of_member(at, &class, name)? {
                    return Ok(value);
                }
                return Err(StepError::NotRun { kind: class.name.clone(), what: what.clone() });
            }
            _ => {}
        }
        if let Some(value) = self.reader.attribute(at, name) {
            return Ok(value);
        }
        match kept {
            Some(Kept::Value(value)) => return Ok(value),
            Some(Kept::Runs { what, .. }) => {
                return Err(StepError::NotRun { kind: class.name.clone(), what });
            }
            _ => {}
        }
        if let Some(value) = self.of_member(at, &class, name)? {
            return Ok(value);
        }
        // A method's other attributes are its function's.
        if form == Some(Form::Method) {
            let function = self.pointer(at.plus(self.reader.layout.objects.method_function))?;
            if self.class_of(function)?.c_name.as_ref() == "function" {
                return self.own_named(function, name);
            }
        }
        if self.in_class(&class, "__getattr__").is_some() {
            let kind = class.name.clone();
            return Err(StepError::OwnFunction { kind, function: "__getattr__" });
        }
        Err(self.absent(at, &class))
    }

    fn of_module(&mut self, at: Address, class: &Class, name: &str) -> Result<Address, StepError> {
        let dict = self.pointer(at.plus(self.reader.layout.objects.module_dict))?;
        if self.reader.kind(dict).ok() != Some(self.reader.types.dict) {
            return Err(StepError::Unreadable);
        }
        if name == "__dict__" {
            return Ok(dict);
        }
        if let Some(value) = self.reader.dict_item(dict, name) {
            return Ok(value);
        }
        let there = self.keys_of(dict);
        if there.iter().any(|name| name == "__getattr__") {
            let kind = class.name.clone();
            return Err(StepError::OwnFunction { kind, function: "__getattr__" });
        }
        Err(StepError::Absent { kind: class.name.clone(), what: "such name", there })
    }

    fn of_class(
        &mut self,
        at: Address,
        metaclass: &Class,
        name: &str,
    ) -> Result<Address, StepError> {
        let class = self.classes.get(at).ok_or(StepError::Unreadable)?;
        let layout = self.reader.layout;
        match name {
            "__dict__" => {
                let dict = self.pointer(at.plus(layout.kind.dict))?;
                return if dict.is_null() { Err(StepError::Unreadable) } else { Ok(dict) };
            }
            "__mro__" => return self.pointer(at.plus(layout.kind.mro)),
            "__name__" | "__qualname__" if class.flags & flag::HEAP_TYPE != 0 => {
                let of = match name {
                    "__name__" => layout.details.type_heap_name,
                    _ => layout.kind.qualified_name,
                };
                return self.pointer(at.plus(of));
            }
            _ => {}
        }
        if let Some(found) = self.in_class(&class, name) {
            return Ok(match self.kept(found) {
                Some(Kept::Value(value)) => value,
                _ => found,
            });
        }
        if let Some(found) = self.in_class(metaclass, name) {
            return match self.kept(found) {
                Some(Kept::Value(value)) => Ok(value),
                _ => Err(StepError::NotRun {
                    kind: metaclass.name.clone(),
                    what: "descriptor".into(),
                }),
            };
        }
        let bases = class.bases.clone();
        let there = bases.iter().flat_map(|base| self.class_entries(*base, THERE_AT_MOST));
        let there = there.filter_map(|entry| self.short_text(&entry)).take(THERE_AT_MOST);
        let there = there.collect();
        let kind = format!("class {}", class.name).into();
        Err(StepError::Absent { kind, what: "such attribute", there })
    }

    fn of_member(
        &mut self,
        at: Address,
        class: &Class,
        name: &str,
    ) -> Result<Option<Address>, StepError> {
        let Some(offset) = self.member(class, name) else { return Ok(None) };
        let value = self.pointer(at.plus(offset))?;
        Ok((!value.is_null()).then_some(value))
    }

    fn of_function(&mut self, at: Address, name: &str) -> Result<Option<Address>, StepError> {
        let layout = self.reader.layout;
        let offset = match name {
            "__code__" => layout.details.function_code,
            "__qualname__" => layout.objects.function_name,
            "__module__" => layout.details.function_module,
            _ => return Ok(None),
        };
        self.pointer(at.plus(offset)).map(Some)
    }

    /// The value that a function keeps of a variable around it.
    pub fn closed_over(&mut self, function: Address, name: &str) -> Result<Address, StepError> {
        let class = self.class_of(function)?;
        if &*class.c_name != "function" {
            return Err(StepError::NoItems { kind: class.name.clone() });
        }
        let code = self.pointer(function.plus(self.reader.layout.details.function_code))?;
        if self.reader.kind(code).ok() != Some(self.reader.types.code) {
            return Err(StepError::Unreadable);
        }
        let variables = Variables::read(&self.reader, code).map_err(|_| StepError::Unreadable)?;
        let free: Vec<Arc<str>> = variables.free().collect();
        let Some(index) = free.iter().position(|one| **one == *name) else {
            let there = free.iter().map(|one| one.to_string()).collect();
            return Err(StepError::Absent {
                kind: class.name.clone(),
                what: "such variable",
                there,
            });
        };
        let closure = self.of_member(function, &class, "__closure__")?;
        let closure = closure.ok_or(StepError::Unreadable)?;
        let cell = self.item(closure, &Key::Integer(index as i64))?;
        self.own_named(cell, "cell_contents")
    }

    /// The place of a named tuple's field.
    fn field(&mut self, class: &Class, name: &str) -> Option<u64> {
        let fields = class.bases.iter().find_map(|base| self.classes.get(*base)?.fields)?;
        let items = self.sequence(fields, THERE_AT_MOST)?;
        let reader = self.classes.reader();
        let place = items.iter().position(|item| reader.is_text(*item, name))?;
        u64::try_from(place).ok()
    }

    /// The first items of a list or a tuple.
    pub(super) fn sequence(&self, at: Address, most: usize) -> Option<Vec<Address>> {
        let flags = self.reader.flags(self.reader.kind(at).ok()?).ok()?;
        let first = match flags {
            _ if flags & flag::TUPLE != 0 => at.plus(self.reader.layout.objects.tuple),
            _ if flags & flag::LIST != 0 => {
                let items = at.plus(self.reader.layout.objects.list);
                self.reader.memory.pointer(items).ok()?
            }
            _ => return None,
        };
        let count = usize::try_from(self.reader.size(at).ok()?).ok()?.min(most);
        let bytes = self.reader.memory.bytes(first, count * 8).ok()?;
        Some(super::classes::words(&bytes).map(Address).collect())
    }

    fn item(&mut self, at: Address, key: &Key) -> Result<Address, StepError> {
        let class = self.class_of(at)?;
        let kind = class.name.clone();
        if class.flags & flag::DICT != 0 {
            return self.of_dict(at, &class, key);
        }
        let look = self.reader.kind(at).ok().and_then(|kind| self.look(kind));
        let form = look.as_ref().map(|look| look.base.unwrap_or(look.form));
        if form == Some(Form::Proxy) {
            let viewed = self.pointer(at.plus(self.reader.layout.details.unlisted.viewed))?;
            return self.item(viewed, key);
        }
        let is_row = class.flags & (flag::LIST | flag::TUPLE) != 0;
        if is_row || form == Some(Form::Deque) {
            let Key::Integer(index) = key else {
                return Err(StepError::Absent { kind, what: "items but by number", there: vec![] });
            };
            let length = self.length(at).map_err(|_| StepError::Unreadable)?;
            let from_start = match *index {
                ..0 => length.checked_sub(index.unsigned_abs()),
                _ => Some(index.unsigned_abs()),
            };
            let place = from_start.filter(|place| *place < length);
            let place = place.ok_or(StepError::OutOfRange { kind, length })?;
            if !is_row {
                let items = self.deque_items(at, place.saturating_add(1));
                return items
                    .ok()
                    .and_then(|items| items.last().copied())
                    .ok_or(StepError::Unreadable);
            }
            let first = match class.flags & flag::TUPLE != 0 {
                true => at.plus(self.reader.layout.objects.tuple),
                false => self.pointer(at.plus(self.reader.layout.objects.list))?,
            };
            let value = self.pointer(first.plus(place.wrapping_mul(8)))?;
            return if value.is_null() { Err(StepError::Unreadable) } else { Ok(value) };
        }
        if self.in_class(&class, "__getitem__").is_some() && class.of_python {
            return Err(StepError::OwnFunction { kind, function: "__getitem__" });
        }
        Err(StepError::NoItems { kind })
    }

    fn of_dict(&mut self, at: Address, class: &Class, key: &Key) -> Result<Address, StepError> {
        if let Key::Text(text) = key {
            if let Some(found) = self.reader.dict_item(at, text) {
                return Ok(found);
            }
        } else {
            let entries = self.reader.dict_entries(at, ENTRIES_AT_MOST as usize);
            let entries = entries.map_err(|_| StepError::Unreadable)?;
            if let Some(entry) = entries.iter().find(|entry| self.is_key(entry.key, key)) {
                return Ok(entry.value);
            }
        }
        let entries = self.reader.dict_entries(at, THERE_AT_MOST).unwrap_or_default();
        let there = entries.iter().map(|entry| self.shown_key(entry)).collect();
        Err(StepError::Absent { kind: class.name.clone(), what: "such key", there })
    }

    /// A key as it is written in a path, or as it looks.
    fn shown_key(&mut self, entry: &Entry) -> String {
        match self.reader.text(entry.key, NAME_AT_MOST) {
            Some(text) => text.text,
            None => self.render_short(entry.key).text.to_string(),
        }
    }

    fn is_key(&self, at: Address, key: &Key) -> bool {
        let types = self.reader.types;
        match key {
            Key::Text(text) => self.reader.is_text(at, text),
            Key::None => at == types.none,
            Key::Boolean(true) => at == types.yes || self.is_number(at, 1),
            Key::Boolean(false) => at == types.no || self.is_number(at, 0),
            // Python takes them for equal, too.
            Key::Integer(1) if at == types.yes => true,
            Key::Integer(0) if at == types.no => true,
            Key::Integer(number) => self.is_number(at, *number),
            Key::Bytes(bytes) => {
                self.reader.kind(at).is_ok_and(|kind| kind == types.bytes)
                    && self.length(at).is_ok_and(|length| length == bytes.len() as u64)
                    && self
                        .reader
                        .memory
                        .bytes(at.plus(self.reader.layout.objects.bytes), bytes.len())
                        .is_ok_and(|found| found == *bytes)
            }
        }
    }

    fn is_number(&self, at: Address, number: i64) -> bool {
        let is_integer = self.reader.kind(at).and_then(|kind| self.reader.flags(kind));
        if !is_integer.is_ok_and(|flags| flags & flag::INTEGER != 0) {
            return false;
        }
        let Ok(value) = self.reader.integer(at, 4) else { return false };
        let size =
            value.digits.iter().rev().fold(0_u128, |all, digit| all << 30 | u128::from(*digit));
        let same_sign = value.negative == (number < 0) || number == 0;
        value.count <= 3 && same_sign && size == u128::from(number.unsigned_abs())
    }

    fn short_text(&self, entry: &Entry) -> Option<String> {
        self.reader.text(entry.key, NAME_AT_MOST).map(|text| text.text)
    }

    fn keys_of(&self, dict: Address) -> Vec<String> {
        let entries = self.reader.dict_beginning(dict, THERE_AT_MOST, GAPS_AT_MOST);
        let entries = entries.map(|beginning| beginning.entries).unwrap_or_default();
        entries.iter().filter_map(|entry| self.short_text(entry)).collect()
    }

    /// There is no such attribute; what is there instead.
    fn absent(&mut self, at: Address, class: &Class) -> StepError {
        let own = self.reader.attributes(at, THERE_AT_MOST).ok().flatten().unwrap_or_default();
        let mut there: Vec<String> =
            own.iter().filter_map(|entry| self.short_text(entry)).collect();
        for base in class.bases.clone() {
            let entries = self.class_entries(base, THERE_AT_MOST);
            there.extend(entries.iter().filter_map(|entry| self.short_text(entry)));
            there.extend(self.members(base).into_iter().map(|(name, _)| name));
        }
        there.truncate(THERE_AT_MOST);
        let bases = class.bases.iter().take(class.bases.len().saturating_sub(1));
        let what = match bases.into_iter().all(|base| self.class_dict(*base).is_some()) {
            true => "such attribute",
            // What a class of C has, its interpreter keeps elsewhere.
            false => "such attribute of its own",
        };
        StepError::Absent { kind: class.name.clone(), what, there }
    }
}
