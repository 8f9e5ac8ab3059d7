//! Functions in C that lie on a frame's value stack: what it may have called.
//!
//! It knows `PyCFunctionObject` and `PyMethodDef` (`Include/methodobject.h`) and `PyMethodDescrObject`
//! (`Include/descrobject.h`). Which of them runs is told by the thread's C stack, not here.

use spyhole_proc::Address;

use crate::frames::RawFrame;
use crate::reader::Reader;
use crate::values::c_string;

/// A function in C, as Python has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// Its code.
    pub code: Address,
    object: Address,
    /// It is the method of a class, not bound to an object.
    is_descriptor: bool,
    definition: Address,
}

const NAME_AT_MOST: usize = 200;

impl Reader<'_> {
    /// The functions in C on a frame's value stack, the topmost first.
    pub fn natives(&self, frame: &RawFrame) -> Vec<Native> {
        let operands = self.operands(frame).unwrap_or_default();
        operands.slots.iter().rev().filter_map(|slot| self.native(*slot)).collect()
    }

    fn native(&self, at: Address) -> Option<Native> {
        if at.is_null() {
            return None;
        }
        let of = &self.layout.details;
        let kind = self.type_name(self.kind(at).ok()?)?;
        let is_descriptor = match &*kind {
            // That of 3.8 and later for those that know their class begins as the other does.
            "builtin_function_or_method" | "builtin_method" => false,
            name if name.ends_with("cython_function_or_method") => false,
            "method_descriptor" | "classmethod_descriptor" => true,
            _ => return None,
        };
        let place = if is_descriptor { of.descriptor_member } else { of.builtin_definition };
        let definition = self.memory.pointer(at.plus(place)).ok()?;
        // `ml_name`, `ml_meth`
        let code = self.memory.pointer(definition.plus(8)).ok()?;
        Some(Native { code, object: at, is_descriptor, definition })
    }

    /// As a program would write it: `zlib.compress`, `re.Pattern.match`, `sorted`.
    pub fn native_name(&self, native: &Native) -> Option<String> {
        let of = &self.layout.details;
        let name = self.memory.pointer(native.definition).ok()?;
        let name = c_string(self.memory, name).ok()?;
        let home = self.native_home(native, of.descriptor_owner, of.builtin_self);
        Some(match home.as_deref() {
            None | Some("builtins") => name,
            Some(home) => format!("{home}.{name}"),
        })
    }

    /// The class or the module that it belongs to.
    fn native_home(&self, native: &Native, owner: u64, own: u64) -> Option<String> {
        if native.is_descriptor {
            let owner = self.memory.pointer(native.object.plus(owner)).ok()?;
            return self.type_name(owner);
        }
        // `m_module` lies behind `m_self`.
        let module = self.memory.pointer(native.object.plus(own + 8)).ok();
        let module = module.filter(|module| !module.is_null());
        if let Some(text) = module.and_then(|module| self.text(module, NAME_AT_MOST)) {
            return Some(text.text);
        }
        let own = self.memory.pointer(native.object.plus(own)).ok().filter(|at| !at.is_null())?;
        let kind = self.kind(own).ok()?;
        match kind {
            kind if kind == self.types.kind => self.type_name(own),
            kind if kind == self.types.module => self
                .module_name(self.memory.pointer(own.plus(self.layout.objects.module_dict)).ok()?),
            kind => self.type_name(kind),
        }
    }
}
