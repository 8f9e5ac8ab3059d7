//! What CPython's own modules keep: the names of threads, and of modules.
//!
//! It knows `threading._active` (`Lib/threading.py`) and `__name__`. A program that never imported `threading`, or that
//! put something else in its place, has no names here.

use std::collections::HashMap;

use spyhole_proc::Address;

use crate::reader::{Reader, flag};
use crate::runtime::InterpreterState;

/// What `threading` knows of a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadName {
    pub name: Option<String>,
    pub daemon: Option<bool>,
}

const NAME_AT_MOST: usize = 200;
const THREADS_AT_MOST: usize = 1 << 16;

impl Reader<'_> {
    /// The dict of a module that an interpreter has imported.
    pub fn module_dict(&self, interpreter: &InterpreterState, name: &str) -> Option<Address> {
        let kind = self.kind(interpreter.modules).ok()?;
        if kind != self.types.dict {
            return None;
        }
        let module = self.dict_item(interpreter.modules, name)?;
        let dict = self.memory.pointer(module.plus(self.layout.objects.module_dict)).ok()?;
        (self.kind(dict).ok()? == self.types.dict).then_some(dict)
    }

    /// The names in an interpreter's `sys.modules`.
    pub fn module_names(&self, interpreter: &InterpreterState) -> Vec<String> {
        const MODULES_AT_MOST: usize = 1 << 16;
        if self.kind(interpreter.modules).ok() != Some(self.types.dict) {
            return Vec::new();
        }
        let entries = self.dict_entries(interpreter.modules, MODULES_AT_MOST).unwrap_or_default();
        let names = entries.iter().filter_map(|entry| self.text(entry.key, NAME_AT_MOST));
        names.map(|name| name.text).collect()
    }

    /// The threads that `threading` of an interpreter knows, by ident.
    pub fn thread_names(&self, interpreter: &InterpreterState) -> HashMap<u64, ThreadName> {
        let entries = self
            .module_dict(interpreter, "threading")
            .and_then(|dict| self.dict_item(dict, "_active"))
            .filter(|active| self.kind(*active).is_ok_and(|kind| kind == self.types.dict))
            .and_then(|active| self.dict_entries(active, THREADS_AT_MOST).ok())
            .unwrap_or_default();
        // One step of all of them at a time: each of hundreds lies in pages of its own.
        let memory = self.memory;
        memory.expect(&mut entries.iter().flat_map(|entry| [entry.key, entry.value]));
        let holders: Vec<Address> =
            entries.iter().filter_map(|entry| self.attributes_place(entry.value)).collect();
        memory.expect(&mut holders.iter().copied());
        let tables = |holder: &Address| {
            let of = &self.layout.dict;
            [of.keys, of.values].map(|field| memory.pointer(holder.plus(field)).unwrap_or_default())
        };
        let dicts = holders.iter().filter(|at| self.kind(**at) == Ok(self.types.dict));
        memory.expect(&mut dicts.flat_map(tables).filter(|at| !at.is_null()));
        let threads: Vec<(Address, [Option<Address>; 2])> =
            entries.iter().map(|entry| (entry.key, self.name_and_daemon(entry.value))).collect();
        memory.expect(&mut threads.iter().filter_map(|(_, [name, _])| *name));
        let told = threads.into_iter().filter_map(|(ident, [name, daemon])| {
            let daemon = daemon.and_then(|value| {
                [(self.types.yes, true), (self.types.no, false)]
                    .into_iter()
                    .find_map(|(at, daemon)| (at == value).then_some(daemon))
            });
            let name = name.and_then(|at| self.text(at, NAME_AT_MOST)).map(|text| text.text);
            Some((self.word(ident)?, ThreadName { name, daemon }))
        });
        told.collect()
    }

    /// The attributes `_name` and `_daemonic` of a thread's object.
    fn name_and_daemon(&self, thread: Address) -> [Option<Address>; 2] {
        const ATTRIBUTES_AT_MOST: usize = 100;
        let attributes =
            self.attributes(thread, ATTRIBUTES_AT_MOST).ok().flatten().unwrap_or_default();
        ["_name", "_daemonic"].map(|name| {
            attributes.iter().find(|entry| self.is_text(entry.key, name)).map(|entry| entry.value)
        })
    }

    /// `module.qualname` of a class.
    pub fn class_name(&self, kind: Address) -> Option<String> {
        let name = self.type_name(kind)?;
        if self.flags(kind).ok()? & flag::HEAP_TYPE == 0 {
            return Some(name);
        }
        let of = &self.layout.kind;
        let text = |at: Address| self.text(at, NAME_AT_MOST).map(|text| text.text);
        let qualified = self.memory.pointer(kind.plus(of.qualified_name)).ok().and_then(text);
        let dict = self.memory.pointer(kind.plus(of.dict)).ok();
        let dict = dict.filter(|dict| self.kind(*dict).ok() == Some(self.types.dict));
        let module = dict.and_then(|dict| self.dict_item(dict, "__module__")).and_then(text);
        let qualified = qualified.unwrap_or(name);
        Some(module.map_or_else(|| qualified.clone(), |module| format!("{module}.{qualified}")))
    }

    /// A class and those that it is made from.
    pub fn bases(&self, kind: Address) -> Vec<Address> {
        const BASES_AT_MOST: usize = 100;
        let mro = self.memory.pointer(kind.plus(self.layout.kind.mro)).unwrap_or_default();
        if mro.is_null() { vec![kind] } else { self.items(mro, BASES_AT_MOST) }
    }

    /// Whether an object's class is, or is made from, the C class of this name.
    pub fn derives_from(&self, at: Address, name: &str) -> bool {
        let Ok(kind) = self.kind(at) else { return false };
        self.bases(kind).into_iter().any(|base| self.type_name(base).as_deref() == Some(name))
    }

    /// The qualified name of a function, or of a method's function.
    pub fn callable_name(&self, at: Address) -> Option<String> {
        let kind = self.kind(at).ok()?;
        let function = match kind {
            kind if kind == self.types.method => {
                self.memory.pointer(at.plus(self.layout.objects.method_function)).ok()?
            }
            _ => at,
        };
        if self.kind(function).ok()? != self.types.function {
            return None;
        }
        let name = self.memory.pointer(function.plus(self.layout.objects.function_name)).ok()?;
        self.text(name, NAME_AT_MOST).map(|text| text.text)
    }

    /// `__name__` of a frame's globals.
    pub fn module_name(&self, globals: Address) -> Option<String> {
        // It is among the first that a module gets; a huge dict is not searched for it.
        const LOOKED_AT: usize = 64;
        if self.kind(globals).ok()? != self.types.dict {
            return None;
        }
        let entries = self.dict_entries(globals, LOOKED_AT).ok()?;
        let name = entries.iter().find(|entry| self.is_text(entry.key, "__name__"))?.value;
        self.text(name, NAME_AT_MOST).map(|text| text.text)
    }
}
