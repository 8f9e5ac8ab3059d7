//! What is needed to look at objects: a memory, a layout, and the addresses of the built-in types.
//!
//! It tells what an object is. What is in it is told by a module for each kind.

use spyhole_proc::Address;
use spyhole_proc::memory::{ReadMemory, Unreadable};

use crate::layout::Layout;
use crate::locate::Runtime;
use crate::runtime::InterpreterState;
use crate::scan;
use crate::text::{self, Text};

macro_rules! types {
    (kinds { $($kind:ident $kind_symbol:literal $kind_name:literal,)* }
     values { $($value:ident $value_symbol:literal $value_name:literal,)* }) => {
        /// Addresses of the built-in types, and of objects that there is one of; null where a version has none.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Types {
            $(pub $kind: Address,)*
            $(pub $value: Address,)*
        }

        impl Types {
            pub fn find(memory: &dyn ReadMemory, runtime: &Runtime) -> Self {
                let symbol = |name| {
                    runtime.python_symbol(memory, name).map_or(Address(0), |s| s.address)
                };
                Self {
                    $($kind: symbol($kind_symbol),)*
                    $($value: symbol($value_symbol),)*
                }
            }

            /// Finds them without symbols: types by their names in the program's data, the others in `builtins`.
            pub(crate) fn search(
                memory: &dyn ReadMemory,
                layout: &Layout,
                runtime: &Runtime,
                main: &InterpreterState,
            ) -> Self {
                let kind = |at: Address| memory.pointer(at.plus(layout.objects.kind)).unwrap_or_default();
                let types = kind(kind(main.modules));
                let found =
                    scan::types(memory, layout, &runtime.python, types, &[$($kind_name,)*]);
                let named = |name| found.get(name).copied().unwrap_or_default();
                let mut types = Self { $($kind: named($kind_name),)* ..Self::default() };
                let by_name = types;
                let reader = Reader { memory, layout, types: &by_name };
                if let Some(builtins) = reader.module_dict(main, "builtins") {
                    $(types.$value = reader.dict_item(builtins, $value_name).unwrap_or_default();)*
                }
                types
            }
        }
    };
}

types! {
    kinds {
    text "PyUnicode_Type" "str",
    code "PyCode_Type" "code",
    dict "PyDict_Type" "dict",
    integer "PyLong_Type" "int",
    module "PyModule_Type" "module",
    float "PyFloat_Type" "float",
    complex "PyComplex_Type" "complex",
    bytes "PyBytes_Type" "bytes",
    bytearray "PyByteArray_Type" "bytearray",
    tuple "PyTuple_Type" "tuple",
    list "PyList_Type" "list",
    set "PySet_Type" "set",
    frozen_set "PyFrozenSet_Type" "frozenset",
    cell "PyCell_Type" "cell",
    function "PyFunction_Type" "function",
    method "PyMethod_Type" "method",
    kind "PyType_Type" "type",
    frame "PyFrame_Type" "frame",
    generator "PyGen_Type" "generator",
    coroutine "PyCoro_Type" "coroutine",
    async_generator "PyAsyncGen_Type" "async_generator",
    }
    values {
    none "_Py_NoneStruct" "None",
    yes "_Py_TrueStruct" "True",
    no "_Py_FalseStruct" "False",
    ellipsis "_Py_EllipsisObject" "Ellipsis",
    not_implemented "_Py_NotImplementedStruct" "NotImplemented",
    }
}

/// A view of a target's objects.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub memory: &'a dyn ReadMemory,
    pub layout: &'a Layout,
    pub types: &'a Types,
}

/// `Py_TPFLAGS_UNICODE_SUBCLASS` and the others of `Include/object.h`.
pub mod flag {
    pub const INLINE_VALUES: u64 = 1 << 2;
    pub const MANAGED_DICT: u64 = 1 << 4;
    pub const HEAP_TYPE: u64 = 1 << 9;
    /// The garbage collector knows the instances.
    pub const COLLECTED: u64 = 1 << 14;
    pub const INTEGER: u64 = 1 << 24;
    pub const LIST: u64 = 1 << 25;
    pub const TUPLE: u64 = 1 << 26;
    pub const BYTES: u64 = 1 << 27;
    pub const TEXT: u64 = 1 << 28;
    pub const DICT: u64 = 1 << 29;
    pub const KIND: u64 = 1 << 31;
}

impl Reader<'_> {
    /// The type of an object.
    pub fn kind(&self, at: Address) -> Result<Address, Unreadable> {
        self.memory.pointer(at.plus(self.layout.objects.kind))
    }

    /// Whether more than one reference leads to an object, as far as is known (`ob_refcnt` of `Include/object.h`, whose
    /// lower half it is since 3.12).
    pub fn is_shared(&self, at: Address) -> bool {
        self.memory.half(at).is_ok_and(|count| count != 1)
    }

    /// The flags of a type.
    pub fn flags(&self, kind: Address) -> Result<u64, Unreadable> {
        self.memory.word(kind.plus(self.layout.kind.flags))
    }

    /// `ob_size`, as it is stored.
    pub fn size(&self, at: Address) -> Result<i64, Unreadable> {
        self.memory.word(at.plus(self.layout.objects.size)).map(|size| size as i64)
    }

    /// A string, if the object is one.
    pub fn text(&self, at: Address, most: usize) -> Option<Text> {
        let kind = self.kind(at).ok()?;
        if kind != self.types.text && self.flags(kind).ok()? & flag::TEXT == 0 {
            return None;
        }
        text::read(self.memory, self.layout, at, most).ok()
    }

    /// Whether the object is a string that reads so.
    pub fn is_text(&self, at: Address, wanted: &str) -> bool {
        let length = self.memory.word(at.plus(self.layout.text.length));
        let count = if wanted.is_ascii() { wanted.len() } else { wanted.chars().count() };
        length.is_ok_and(|length| length == count as u64)
            && self.text(at, count).is_some_and(|found| found.text == wanted)
    }
}
