//! What can be called or run, and what is named: functions, classes, modules, frames, references.
//!
//! It knows `Objects/funcobject.c`, `classobject.c`, `methodobject.c`, `descrobject.c`, `typeobject.c`, `frameobject.c`,
//! `codeobject.c`, `cellobject.c`, `weakrefobject.c`, `Modules/_functoolsmodule.c`, `Modules/_threadmodule.c`, and
//! `_module_repr` of `Lib/importlib/_bootstrap.py`.

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use super::classes::{c_string, words};
use super::forms::{Form, Look};
use super::{GAPS_AT_MOST, NAME_AT_MOST, REDACTED, Values};
use crate::code::Code;
use crate::frames::RawFrame;
use crate::layout::{Locks, Position};

impl Values<'_> {
    pub(super) fn function(&mut self, at: Address) -> Result<(), Unreadable> {
        let name = self.name_at(at.plus(self.reader.layout.objects.function_name))?;
        self.pieces(&["<function "], &name, at);
        Ok(())
    }

    pub(super) fn method(&mut self, at: Address) -> Result<(), Unreadable> {
        let of = &self.reader.layout.objects;
        let function = self.reader.memory.pointer(at.plus(of.method_function))?;
        let own = self.reader.memory.pointer(at.plus(of.method_self))?;
        let name = self.called(function).unwrap_or_else(|| "?".to_owned());
        self.within(at, "<bound method ...>", |this| {
            this.out.form("<bound method ");
            this.out.content(&name);
            this.out.form(" of ");
            this.value(own);
            this.out.form(">");
            Ok(())
        })
    }

    /// `__qualname__` of a function.
    fn called(&mut self, function: Address) -> Option<String> {
        let kind = self.reader.kind(function).ok()?;
        match self.look(kind)?.form {
            Form::Function => {
                self.name_at(function.plus(self.reader.layout.objects.function_name)).ok()
            }
            Form::Builtin => self.builtin_name(function).ok(),
            _ => None,
        }
    }

    fn builtin_name(&self, at: Address) -> Result<String, Unreadable> {
        let memory = self.reader.memory;
        let definition = at.plus(self.reader.layout.details.builtin_definition);
        let name = memory.pointer(memory.pointer(definition)?)?;
        c_string(memory, name)
    }

    pub(super) fn builtin(&mut self, at: Address) -> Result<(), Unreadable> {
        let name = self.builtin_name(at)?;
        let own = at.plus(self.reader.layout.details.builtin_self);
        let own = self.reader.memory.pointer(own)?;
        let look = match own.is_null() {
            true => None,
            false => self.look(self.reader.kind(own)?),
        };
        match look {
            Some(look) if look.form != Form::Module => {
                let of = format!(" of {} object", look.class.c_name);
                self.pieces(&["<built-in method ", &name], &of, own);
            }
            _ => self.out.form(&format!("<built-in function {name}>")),
        }
        Ok(())
    }

    pub(super) fn descriptor(&mut self, at: Address, what: &str) -> Result<(), Unreadable> {
        let of = &self.reader.layout.details;
        let name = self.name_at(at.plus(of.descriptor_name))?;
        let owner = self.reader.memory.pointer(at.plus(of.descriptor_owner))?;
        let owner = self.classes.get(owner).ok_or(Unreadable { address: owner, length: 0 })?;
        self.out.form(&format!("<{what} '{name}' of '{}' objects>", owner.c_name));
        Ok(())
    }

    pub(super) fn wrapper(&mut self, at: Address) -> Result<(), Unreadable> {
        let of = &self.reader.layout.details;
        let memory = self.reader.memory;
        let descriptor = memory.pointer(at.plus(of.unlisted.wrapper_descriptor))?;
        let own = memory.pointer(at.plus(of.unlisted.wrapper_self))?;
        let name = self.name_at(descriptor.plus(of.descriptor_name))?;
        let kind = self.reader.kind(own)?;
        let class = self.classes.get(kind).ok_or(Unreadable { address: kind, length: 0 })?;
        let of = format!("' of {} object", class.c_name);
        self.pieces(&["<method-wrapper '", &name], &of, own);
        Ok(())
    }

    pub(super) fn wrapped(&mut self, at: Address, what: &str) -> Result<(), Unreadable> {
        let wrapped = at.plus(self.reader.layout.details.unlisted.wrapped);
        let wrapped = self.reader.memory.pointer(wrapped)?;
        self.within(at, "...", |own| {
            own.out.form(&format!("<{what}("));
            own.value(wrapped);
            own.out.form(")>");
            Ok(())
        })
    }

    pub(super) fn class(&mut self, at: Address, what: &str) -> Result<(), Unreadable> {
        let class = self.classes.get(at).ok_or(Unreadable { address: at, length: 0 })?;
        self.out.form(&format!("<{what} '"));
        self.out.content(&class.name);
        self.out.form("'>");
        Ok(())
    }

    pub(super) fn enum_class(&mut self, at: Address, flags: bool) -> Result<(), Unreadable> {
        let class = self.classes.get(at).ok_or(Unreadable { address: at, length: 0 })?;
        let is_flag = flags && class.bases.iter().any(|base| self.is_called(*base, "enum.Flag"));
        self.out.form(if is_flag { "<flag '" } else { "<enum '" });
        self.out.content(&class.c_name);
        self.out.form("'>");
        Ok(())
    }

    fn is_called(&mut self, class: Address, name: &str) -> bool {
        self.classes.get(class).is_some_and(|class| *class.name == *name)
    }

    pub(super) fn module(&mut self, at: Address) -> Result<(), Unreadable> {
        const LOOKED_AT: usize = 200;
        let dict = at.plus(self.reader.layout.objects.module_dict);
        let dict = self.reader.memory.pointer(dict)?;
        let entries = self.reader.dict_beginning(dict, LOOKED_AT, GAPS_AT_MOST)?.entries;
        let find = |name: &str| {
            let entry = entries.iter().find(|entry| self.reader.is_text(entry.key, name));
            entry.map(|entry| entry.value).filter(|value| *value != self.reader.types.none)
        };
        let (mut name, mut origin, mut loader) = (find("__name__"), find("__file__"), None);
        let mut located = true;
        if let Some(spec) = find("__spec__") {
            let spec = |name: &str| {
                self.reader.attribute(spec, name).filter(|value| *value != self.reader.types.none)
            };
            (name, origin, loader) = (spec("name"), spec("origin"), spec("loader"));
            located = spec("_set_fileattr") == Some(self.reader.types.yes);
        }
        self.out.form("<module ");
        match name {
            Some(name) => self.value(name),
            None => self.out.form("'?'"),
        }
        match origin {
            Some(file) if located => {
                self.out.form(" from ");
                self.value(file);
            }
            Some(origin) => {
                let origin = self.reader.text(origin, NAME_AT_MOST);
                self.out.form(" (");
                self.out.content(&origin.map_or_else(|| "?".to_owned(), |text| text.text));
                self.out.form(")");
            }
            // `sys` was there before there were origins.
            None => match loader.and_then(|loader| self.classes.get(loader)) {
                Some(class) if class.name.ends_with(".BuiltinImporter") => {
                    self.out.form(" (built-in)");
                }
                _ => {}
            },
        }
        self.out.form(">");
        Ok(())
    }

    pub(super) fn weak(&mut self, at: Address) -> Result<(), Unreadable> {
        let to = at.plus(self.reader.layout.details.weakref_object);
        let to = self.reader.memory.pointer(to)?;
        if to == self.reader.types.none {
            self.out.form(&format!("<weakref at {at}; dead>"));
            return Ok(());
        }
        let kind = self.reader.kind(to)?;
        let look = self.look(kind).ok_or(Unreadable { address: kind, length: 0 })?;
        let named = match look.form {
            Form::Function | Form::Builtin => self.called(to),
            Form::Class | Form::EnumClass(_) => self.classes.get(to).map(|c| c.name.to_string()),
            _ => None,
        };
        let class = &look.class.c_name;
        self.out.form(&format!("<weakref at {at}; to '{class}' at {to}"));
        if let Some(name) = named {
            let last = name.rsplit('.').next().unwrap_or(&name);
            self.out.form(" (");
            self.out.content(last);
            self.out.form(")");
        }
        self.out.form(">");
        Ok(())
    }

    pub(super) fn frame(&mut self, at: Address) -> Result<(), Unreadable> {
        let layout = self.reader.layout;
        let memory = self.reader.memory;
        let frame = match layout.details.frame_of_object {
            Some(offset) => memory.pointer(at.plus(offset))?,
            None => at,
        };
        let code = layout.shape.references.address(memory.word(frame.plus(layout.frame.code))?);
        let position = frame.plus(layout.frame.position);
        let position = match layout.shape.position {
            Position::Pointer => memory.word(position)?,
            Position::Bytes | Position::Words => i64::from(memory.half(position)? as i32) as u64,
        };
        let Ok(read) = Code::read(&self.reader, code) else {
            return Err(Unreadable { address: code, length: 0 });
        };
        let raw = RawFrame { address: frame, code, position, globals: Address(0) };
        let line = read.location(&self.reader, &raw).line;
        let line = line.map_or_else(|| "?".to_owned(), |line| line.to_string());
        let name = self.name_at(code.plus(layout.code.name))?;
        self.out.form(&format!("<frame at {at}, file "));
        self.value(memory.pointer(code.plus(layout.code.file))?);
        self.out.form(&format!(", line {line}, code "));
        self.out.content(&name);
        self.out.form(">");
        Ok(())
    }

    pub(super) fn code(&mut self, at: Address) -> Result<(), Unreadable> {
        let of = &self.reader.layout.code;
        let name = self.name_at(at.plus(of.name))?;
        let file = self.reader.memory.pointer(at.plus(of.file))?;
        let file = self.reader.text(file, 4096).map_or_else(|| "?".to_owned(), |file| file.text);
        let line = self.reader.memory.half(at.plus(of.first_line))? as i32;
        self.out.form("<code object ");
        self.out.content(&name);
        self.out.form(&format!(" at {at}, file \""));
        self.out.content(&file);
        self.out.form(&format!("\", line {line}>"));
        Ok(())
    }

    pub(super) fn cell(&mut self, at: Address) -> Result<(), Unreadable> {
        let held = self.reader.memory.pointer(at.plus(self.reader.layout.objects.cell))?;
        if held.is_null() {
            self.out.form(&format!("<cell at {at}: empty>"));
            return Ok(());
        }
        let kind = self.reader.kind(held)?;
        let class = self.classes.get(kind).ok_or(Unreadable { address: kind, length: 0 })?;
        self.out.form(&format!("<cell at {at}: {} object at {held}>", class.c_name));
        Ok(())
    }

    pub(super) fn partial(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let of = &self.reader.layout.details.unlisted;
        let memory = self.reader.memory;
        let function = memory.pointer(at.plus(of.partial_function))?;
        let arguments = memory.pointer(at.plus(of.partial_arguments))?;
        let keywords = memory.pointer(at.plus(of.partial_keywords))?;
        if self.reader.kind(arguments)? != self.reader.types.tuple
            || self.reader.kind(keywords)? != self.reader.types.dict
        {
            return Err(Unreadable { address: arguments, length: 0 });
        }
        let length = self.length(arguments)?;
        let taken = usize::try_from(length).unwrap_or(usize::MAX).min(self.items_at_most());
        let items = arguments.plus(self.reader.layout.objects.tuple);
        let items: Vec<Address> = words(&memory.bytes(items, taken * 8)?).map(Address).collect();
        let words = self.beginning(keywords)?;
        self.within(at, "...", |own| {
            own.out.form(&format!("{}(", look.class.c_name));
            own.value(function);
            if length > 0 {
                own.out.form(", ");
                own.items(&items, (taken as u64) < length, |own, item| own.value(*item));
            }
            if !words.entries.is_empty() {
                own.out.form(", ");
                own.items(&words.entries, words.cut, |own, entry| {
                    let name = own.reader.text(entry.key, NAME_AT_MOST).map(|text| text.text);
                    own.attribute(&name.unwrap_or_default(), entry.value);
                });
            }
            own.out.form(")");
            Ok(())
        })
    }

    /// `name=value`
    pub(super) fn attribute(&mut self, name: &str, value: Address) {
        self.out.content(name);
        self.out.form("=");
        match (self.limits.hides)(name) {
            true => self.out.form(REDACTED),
            false => self.value(value),
        }
    }

    pub(super) fn lock(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let details = &self.reader.layout.details;
        let place = match self.reader.layout.shape.locks {
            Locks::Byte => at.plus(details.unlisted.lock_locked),
            Locks::Mutex => at.plus(self.reader.layout.objects.size),
        };
        let locked = self.reader.memory.bytes(place, 1)?[0] & 1 == 1;
        let state = if locked { "locked" } else { "unlocked" };
        self.pieces(&["<", state, " ", &look.class.c_name], " object", at);
        Ok(())
    }

    pub(super) fn rlock(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let of = &self.reader.layout.details.unlisted;
        let memory = self.reader.memory;
        let owner = memory.word(at.plus(of.rlock_owner))?;
        let count = memory.word(at.plus(of.rlock_count))?;
        let count = match self.reader.layout.shape.locks {
            Locks::Byte => count,
            Locks::Mutex => {
                let mutex = memory.bytes(at.plus(self.reader.layout.objects.size), 1)?[0];
                if mutex & 1 == 1 { count.saturating_add(1) } else { 0 }
            }
        };
        let state = if count > 0 { "locked" } else { "unlocked" };
        let tail = format!(" object owner={owner} count={count}");
        self.pieces(&["<", state, " ", &look.class.c_name], &tail, at);
        Ok(())
    }
}
