//! The local variables of a frame: their names and where their values are.
//!
//! It knows `PyFrame_FastToLocals` and its successors (`Objects/frameobject.c`): functions keep their variables in the
//! frame, modules and classes in a dict. What a value is, is told by `values`.

use std::sync::Arc;

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use crate::layout::Variables as Kept;
use crate::reader::{Reader, flag};

/// The names of the variables that a code object's frames have, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    names: Vec<Variable>,
    /// Its frames keep their variables in a dict, too.
    in_dict: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    /// None for one that the compiler made for itself.
    name: Option<Arc<str>>,
    /// Its value may be in a cell.
    in_cell: bool,
    is_free: bool,
}

/// One variable of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: Arc<str>,
    /// Where the reference to the value is kept.
    pub slot: Address,
    /// The reference as it is stored there.
    pub raw: u64,
    pub value: Address,
}

/// The variables of a frame, perhaps not all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locals {
    pub found: Vec<Found>,
    pub cut: bool,
}

const NAMES_AT_MOST: usize = 2000;
const NAME_AT_MOST: usize = 200;
/// Of one frame.
const LOCALS_AT_MOST: usize = 200;
/// `CO_OPTIMIZED` (`Include/cpython/code.h`): the variables are not in a dict.
const OPTIMIZED: u32 = 1;
/// `CO_FAST_CELL` and `CO_FAST_FREE` (`Include/internal/pycore_code.h`).
const CELL: u8 = 0x40;
const FREE: u8 = 0x80;

impl Variables {
    /// Those of the code object at `code`, which must be known to be one.
    pub fn read(reader: &Reader<'_>, code: Address) -> Result<Self, Unreadable> {
        let memory = reader.memory;
        let mut names = Vec::new();
        match reader.layout.code.variables {
            Kept::Apart { variables, cells, free } => {
                for (offset, in_cell, is_free) in
                    [(variables, false, false), (cells, true, false), (free, true, true)]
                {
                    let tuple = memory.pointer(code.plus(offset))?;
                    let own = texts(reader, tuple)?;
                    names.extend(own.into_iter().map(|name| Variable { name, in_cell, is_free }));
                }
            }
            Kept::Together { names: all, kinds } => {
                let all = texts(reader, memory.pointer(code.plus(all))?)?;
                let kinds = memory.pointer(code.plus(kinds))?;
                let kinds = memory.bytes(kinds.plus(reader.layout.objects.bytes), all.len())?;
                names.extend(all.into_iter().zip(kinds).map(|(name, kind)| Variable {
                    name,
                    in_cell: kind & (CELL | FREE) != 0,
                    is_free: kind & FREE != 0,
                }));
            }
        }
        let flags = memory.half(code.plus(reader.layout.details.code_flags))?;
        Ok(Self { names, in_dict: flags & OPTIMIZED == 0 })
    }

    /// The names of those that belong to a function around it, in the order of its `__closure__`.
    pub fn free(&self) -> impl Iterator<Item = Arc<str>> {
        self.names.iter().filter(|one| one.is_free).map(|one| one.name.clone().unwrap_or_default())
    }

    /// What the frame at `frame` has for them. Names without a value are left out.
    pub fn of_frame(&self, reader: &Reader<'_>, frame: Address) -> Locals {
        let mut locals = Locals::default();
        if self.in_dict {
            locals = in_dict(reader, frame).unwrap_or_default();
        }
        let first = frame.plus(reader.layout.frame.locals);
        let bytes = reader.memory.bytes(first, self.names.len() * 8).unwrap_or_default();
        let words = bytes.chunks_exact(8).map(|b| b.try_into().map_or(0, u64::from_le_bytes));
        for ((variable, raw), index) in self.names.iter().zip(words).zip(0_u64..) {
            let Some(name) = &variable.name else { continue };
            // A class sees the variables around it, but they are none of its own.
            if self.in_dict && variable.is_free {
                continue;
            }
            let mut slot = first.plus(index * 8);
            let mut raw = raw;
            let mut value = reader.layout.shape.references.address(raw);
            if variable.in_cell
                && !value.is_null()
                && reader.kind(value).is_ok_and(|kind| kind == reader.types.cell)
            {
                slot = value.plus(reader.layout.objects.cell);
                raw = reader.memory.word(slot).unwrap_or(0);
                value = Address(raw);
            }
            if value.is_null() {
                continue;
            }
            if locals.found.len() == LOCALS_AT_MOST {
                locals.cut = true;
                break;
            }
            locals.found.push(Found { name: name.clone(), slot, raw, value });
        }
        locals
    }
}

/// The names in a tuple; none for those that only the compiler knows.
fn texts(reader: &Reader<'_>, tuple: Address) -> Result<Vec<Option<Arc<str>>>, Unreadable> {
    let wrong = Unreadable { address: tuple, length: 0 };
    if reader.kind(tuple)? != reader.types.tuple {
        return Err(wrong);
    }
    let count = usize::try_from(reader.size(tuple)?).map_err(|_| wrong)?;
    if count > NAMES_AT_MOST {
        return Err(wrong);
    }
    let items = reader.memory.bytes(tuple.plus(reader.layout.objects.tuple), count * 8)?;
    let items = items.chunks_exact(8).map(|b| b.try_into().map_or(0, u64::from_le_bytes));
    Ok(items.map(|item| Some(reader.text(Address(item), NAME_AT_MOST)?.text)).map(shown).collect())
}

/// `.0` is what a comprehension iterates over, `__classdict__` and `__conditional_annotations__` are the compiler's
/// (`Python/compile.c`, `Python/symtable.c`).
fn shown(name: Option<String>) -> Option<Arc<str>> {
    name.filter(|name| {
        !name.starts_with('.')
            && !matches!(name.as_str(), "__classdict__" | "__conditional_annotations__")
    })
    .map(Arc::from)
}

/// What every module has, and nobody looks for among its variables.
const OF_MODULES: &[&str] = &[
    "__name__",
    "__doc__",
    "__package__",
    "__loader__",
    "__spec__",
    "__file__",
    "__cached__",
    "__builtins__",
];

fn in_dict(reader: &Reader<'_>, frame: Address) -> Option<Locals> {
    const GAPS_AT_MOST: u64 = 4096;
    let memory = reader.memory;
    let place = frame.plus(reader.layout.details.frame_namespace);
    let dict = reader.layout.shape.references.address(memory.word(place).ok()?);
    if reader.flags(reader.kind(dict).ok()?).ok()? & flag::DICT == 0 {
        return None;
    }
    let globals = memory.pointer(frame.plus(reader.layout.frame.globals)).ok()?;
    let most = LOCALS_AT_MOST + OF_MODULES.len();
    let beginning = reader.dict_beginning(dict, most, GAPS_AT_MOST).ok()?;
    let mut locals = Locals { found: Vec::new(), cut: beginning.cut };
    for entry in beginning.entries {
        let Some(name) = reader.text(entry.key, NAME_AT_MOST) else { continue };
        if dict == globals && OF_MODULES.contains(&name.text.as_str()) {
            continue;
        }
        if locals.found.len() == LOCALS_AT_MOST {
            locals.cut = true;
            break;
        }
        let name = Arc::from(name.text);
        locals.found.push(Found {
            name,
            slot: entry.place,
            raw: entry.value.0,
            value: entry.value,
        });
    }
    Some(locals)
}
