//! What a class keeps for its instances: methods, slots, properties and whatever else stands between a name and a value.
//!
//! It knows `PyObject_GenericGetAttr` (`Objects/object.c`), the members of classes in C (`Include/descrobject.h`), and which
//! of all that needs no code to run.

use std::sync::Arc;

use spyhole_proc::Address;

use super::classes::{Class, c_string};
use super::{GAPS_AT_MOST, NAME_AT_MOST, Values};
use crate::dicts::Entry;

/// What a name stands for in a class.
pub(super) enum Kept {
    /// A value, a function, or what a `staticmethod` or `classmethod` wraps.
    Value(Address),
    /// A place in the instance; what the class has before it is asked.
    Place(u64),
    /// Something that would have to run. `first`: before the instance's own dict is asked.
    Runs { what: Arc<str>, first: bool },
}

/// Members of one class in C.
const MEMBERS_AT_MOST: u64 = 64;
/// `PyMemberDef` is as long in every version.
const MEMBER: u64 = 40;

impl Values<'_> {
    /// The dict of a class; none for those of C that keep it elsewhere (3.12+).
    pub(super) fn class_dict(&self, class: Address) -> Option<Address> {
        let reader = self.classes.reader();
        let dict = reader.memory.pointer(class.plus(reader.layout.kind.dict)).ok()?;
        (!dict.is_null() && reader.kind(dict).ok()? == reader.types.dict).then_some(dict)
    }

    /// The entries of a class's own dict.
    pub(super) fn class_entries(&self, class: Address, most: usize) -> Vec<Entry> {
        let reader = self.classes.reader();
        let entries = self.class_dict(class).map(|dict| {
            reader.dict_beginning(dict, most, GAPS_AT_MOST).map(|beginning| beginning.entries)
        });
        entries.and_then(Result::ok).unwrap_or_default()
    }

    /// What a class or one of those that it inherits from has under a name.
    pub(super) fn in_class(&self, class: &Class, name: &str) -> Option<Address> {
        let reader = self.classes.reader();
        class.bases.iter().find_map(|base| reader.dict_item(self.class_dict(*base)?, name))
    }

    /// What this would be for an instance.
    pub(super) fn kept(&mut self, value: Address) -> Option<Kept> {
        let reader = self.classes.reader();
        let kind = reader.kind(value).ok()?;
        let class = self.classes.get(kind)?;
        let function = |offset: u64| reader.memory.word(kind.plus(offset)).unwrap_or(0) != 0;
        let details = &reader.layout.details;
        if !function(details.type_get) {
            return Some(Kept::Value(value));
        }
        Some(match &*class.c_name {
            // What a call would bind to the instance first.
            "function"
            | "builtin_function_or_method"
            | "method_descriptor"
            | "wrapper_descriptor"
            | "classmethod_descriptor"
            | "functools._lru_cache_wrapper"
            | "instancemethod"
            | "cython_function_or_method" => Kept::Value(value),
            "staticmethod" | "classmethod" => {
                Kept::Value(reader.memory.pointer(value.plus(details.unlisted.wrapped)).ok()?)
            }
            "member_descriptor" => match self.classes.slot(value) {
                Some(slot) => Kept::Place(slot.offset),
                None => Kept::Runs { what: class.name.clone(), first: true },
            },
            _ => Kept::Runs { what: class.name.clone(), first: function(details.type_set) },
        })
    }

    /// The member of a class in C under a name: where in the instance its object is.
    pub(super) fn member(&mut self, class: &Class, name: &str) -> Option<u64> {
        let bases = class.bases.clone();
        bases.into_iter().find_map(|base| {
            let found = self.members(base);
            found.into_iter().find(|(known, _)| known == name).map(|(_, offset)| offset)
        })
    }

    /// Names and places of the objects that a class in C has members for.
    pub(super) fn members(&mut self, class: Address) -> Vec<(String, u64)> {
        const OBJECTS: [u32; 2] = [6, 16];
        const LARGEST: u64 = 1 << 16;
        let reader = self.classes.reader();
        if self.classes.get(class).is_none_or(|class| class.of_python) {
            return Vec::new();
        }
        let details = &reader.layout.details;
        let memory = reader.memory;
        let mut found = Vec::new();
        let Ok(first) = memory.pointer(class.plus(details.type_members)) else { return found };
        for index in 0..MEMBERS_AT_MOST {
            let at = first.plus(index * MEMBER);
            let Ok(name) = memory.pointer(at) else { break };
            if first.is_null() || name.is_null() {
                break;
            }
            let kind = memory.half(at.plus(details.member_kind)).unwrap_or(0);
            let offset = memory.word(at.plus(details.member_offset)).unwrap_or(LARGEST);
            if OBJECTS.contains(&kind)
                && offset < LARGEST
                && let Ok(name) = c_string(memory, name)
            {
                found.push((name, offset));
            }
        }
        found
    }

    /// Names of a class in Python, and of those that it inherits from, that would have to run for a value: properties and
    /// the like.
    pub(super) fn properties(&mut self, class: &Class, most: usize) -> Vec<String> {
        const ENTRIES: usize = 400;
        let mut names: Vec<String> = Vec::new();
        for base in class.bases.clone() {
            if self.classes.get(base).is_none_or(|class| !class.of_python) {
                continue;
            }
            for entry in self.class_entries(base, ENTRIES) {
                let Some(Kept::Runs { .. }) = self.kept(entry.value) else { continue };
                let Some(name) = self.classes.reader().text(entry.key, NAME_AT_MOST) else {
                    continue;
                };
                if !name.text.starts_with("__") && !names.contains(&name.text) {
                    names.push(name.text);
                }
                if names.len() == most {
                    return names;
                }
            }
        }
        names
    }
}
