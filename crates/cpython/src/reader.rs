//! What is needed to look at objects: a memory, a layout, and the addresses of the built-in types.
//!
//! It tells what an object is. What is in it is told by a module for each kind.

use spyhole_proc::Address;
use spyhole_proc::memory::{ReadMemory, Unreadable};

use crate::layout::Layout;
use crate::locate::Runtime;
use crate::text::{self, Text};

macro_rules! types {
    ($($field:ident $symbol:literal,)*) => {
        /// Addresses of the built-in types; null where a version has none.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Types {
            $(pub $field: Address,)*
        }

        impl Types {
            pub fn find(memory: &dyn ReadMemory, runtime: &Runtime) -> Self {
                let symbol = |name| {
                    runtime.python_symbol(memory, name).map_or(Address(0), |s| s.address)
                };
                Self { $($field: symbol($symbol),)* }
            }
        }
    };
}

types! {
    text "PyUnicode_Type",
    code "PyCode_Type",
    dict "PyDict_Type",
    integer "PyLong_Type",
    module "PyModule_Type",
    none "_Py_NoneStruct",
    yes "_Py_TrueStruct",
    no "_Py_FalseStruct",
    ellipsis "_Py_EllipsisObject",
    not_implemented "_Py_NotImplementedStruct",
    float "PyFloat_Type",
    complex "PyComplex_Type",
    bytes "PyBytes_Type",
    bytearray "PyByteArray_Type",
    tuple "PyTuple_Type",
    list "PyList_Type",
    set "PySet_Type",
    frozen_set "PyFrozenSet_Type",
    cell "PyCell_Type",
    function "PyFunction_Type",
    method "PyMethod_Type",
    kind "PyType_Type",
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
        length.is_ok_and(|length| length == wanted.len() as u64)
            && self.text(at, wanted.len()).is_some_and(|found| found.text == wanted)
    }
}
