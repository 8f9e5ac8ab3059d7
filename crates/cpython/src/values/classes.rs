//! Classes: what they are called, what they inherit, and what of that tells how their instances look.
//!
//! It knows `type_new` and `PyType_FromSpec` (`Objects/typeobject.c`). How a value looks is decided in `forms`.

use std::rc::Rc;
use std::sync::Arc;

use spyhole_proc::Address;
use spyhole_proc::memory::{ReadMemory, Unreadable};
use spyhole_proc::spread::QuickMap;

use crate::reader::{Reader, flag};

/// A place in an instance that one of `__slots__` stands for.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    pub(super) offset: u64,
}

/// One class, without what it inherits.
#[derive(Debug)]
pub(super) struct Class {
    /// `module.qualname`, bare for builtins.
    pub(super) name: Arc<str>,
    /// `tp_name`, which the C code writes.
    pub(super) c_name: Arc<str>,
    pub(super) flags: u64,
    /// Made by a `class` statement, or by a call of its metaclass.
    pub(super) of_python: bool,
    /// The function that `repr` calls.
    pub(super) repr: Address,
    /// `__repr__` of its own dict.
    pub(super) own_repr: Option<Address>,
    /// `_fields` of its own dict.
    pub(super) fields: Option<Address>,
    pub(super) slots: Vec<Slot>,
    /// The classes that it inherits from, itself the first.
    pub(super) bases: Vec<Address>,
}

const NAME_AT_MOST: usize = 200;
const BASES_AT_MOST: usize = 64;
const ENTRIES_AT_MOST: usize = 2000;
/// Entries of classes' dicts that are looked at in one process, however many classes it shows.
const ALL_ENTRIES_AT_MOST: usize = 1 << 18;

/// Classes that were looked at; they seldom change.
pub(super) struct Classes<'a> {
    reader: Reader<'a>,
    known: QuickMap<Address, Option<Rc<Class>>>,
    /// The type of what `__slots__` makes, when it is met.
    descriptors: QuickMap<Address, bool>,
    entries_left: usize,
}

impl<'a> Classes<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        let (known, descriptors) = (QuickMap::default(), QuickMap::default());
        Self { reader, known, descriptors, entries_left: ALL_ENTRIES_AT_MOST }
    }

    pub(super) fn reader(&self) -> Reader<'a> {
        self.reader
    }

    /// `None` if there is no class.
    pub(super) fn get(&mut self, at: Address) -> Option<Rc<Class>> {
        if let Some(known) = self.known.get(&at) {
            return known.clone();
        }
        let class = self.read(at).ok().flatten().map(Rc::new);
        self.known.insert(at, class.clone());
        class
    }

    fn read(&mut self, at: Address) -> Result<Option<Class>, Unreadable> {
        let Reader { memory, layout, .. } = self.reader;
        let metaclass = self.reader.kind(at)?;
        if metaclass != self.reader.types.kind && self.reader.flags(metaclass)? & flag::KIND == 0 {
            return Ok(None);
        }
        let flags = self.reader.flags(at)?;
        let name_at = memory.pointer(at.plus(layout.kind.name))?;
        let c_name = c_string(memory, name_at)?;
        let mut class = Class {
            name: Arc::from(c_name.strip_prefix("builtins.").unwrap_or(&c_name)),
            flags,
            of_python: false,
            repr: memory.pointer(at.plus(layout.details.type_repr))?,
            own_repr: None,
            fields: None,
            slots: Vec::new(),
            bases: vec![at],
            c_name: Arc::from(c_name),
        };
        if let Ok(mro) = memory.pointer(at.plus(layout.kind.mro))
            && !mro.is_null()
            && self.reader.kind(mro)? == self.reader.types.tuple
        {
            let count = usize::try_from(self.reader.size(mro)?).unwrap_or(0).min(BASES_AT_MOST);
            let items = memory.bytes(mro.plus(layout.objects.tuple), count * 8)?;
            class.bases = words(&items).map(Address).collect();
        }
        if flags & flag::HEAP_TYPE != 0 {
            // `type_new` lets `tp_name` point into the name's own string.
            let own_name = memory.pointer(at.plus(layout.details.type_heap_name))?;
            class.of_python =
                name_at == own_name.plus(layout.text.ascii_data) || !class.c_name.contains('.');
            self.look_into(&mut class, at)?;
        }
        Ok(Some(class))
    }

    /// What a class's own dict tells.
    fn look_into(&mut self, class: &mut Class, at: Address) -> Result<(), Unreadable> {
        let Reader { memory, layout, .. } = self.reader;
        let dict = memory.pointer(at.plus(layout.kind.dict))?;
        let name = memory.pointer(at.plus(layout.kind.qualified_name))?;
        let mut module = None;
        if !dict.is_null() && self.reader.kind(dict)? == self.reader.types.dict {
            let most = ENTRIES_AT_MOST.min(self.entries_left);
            let entries = self.reader.dict_beginning(dict, most, most as u64)?.entries;
            self.entries_left -= entries.len();
            for entry in entries {
                let Ok(length) = memory.word(entry.key.plus(layout.text.length)) else { continue };
                let is = |wanted: &str| {
                    length == wanted.len() as u64 && self.reader.is_text(entry.key, wanted)
                };
                if is("__module__") {
                    module = self.reader.text(entry.value, NAME_AT_MOST).map(|text| text.text);
                } else if is("__repr__") {
                    class.own_repr = Some(entry.value);
                } else if is("_fields") {
                    class.fields = Some(entry.value);
                } else if class.of_python {
                    class.slots.extend(self.slot(entry.value));
                }
            }
        }
        let name = self.reader.text(name, NAME_AT_MOST).map(|text| text.text);
        class.name = match (module, name) {
            (Some(module), Some(name)) if module != "builtins" => {
                Arc::from(format!("{module}.{name}"))
            }
            (_, Some(name)) => Arc::from(name),
            (_, None) => class.c_name.clone(),
        };
        Ok(())
    }

    /// The slot that a member of a class's dict stands for (`T_OBJECT_EX` of `Include/structmember.h`).
    pub(super) fn slot(&mut self, member: Address) -> Option<Slot> {
        const OBJECT: u32 = 16;
        let Reader { memory, layout, .. } = self.reader;
        let kind = self.reader.kind(member).ok()?;
        let is_descriptor = *self.descriptors.entry(kind).or_insert_with(|| {
            let name = memory.pointer(kind.plus(layout.kind.name));
            self.reader.flags(kind).is_ok_and(|flags| flags & flag::HEAP_TYPE == 0)
                && name.and_then(|at| c_string(memory, at)).is_ok_and(|n| n == "member_descriptor")
        });
        if !is_descriptor {
            return None;
        }
        let definition = memory.pointer(member.plus(layout.details.descriptor_member)).ok()?;
        let name = memory.pointer(member.plus(layout.details.descriptor_name)).ok()?;
        let offset = memory.word(definition.plus(layout.details.member_offset)).ok()?;
        let kind = memory.half(definition.plus(layout.details.member_kind)).ok()?;
        const LARGEST: u64 = 1 << 20;
        (kind == OBJECT && offset < LARGEST).then_some(())?;
        Some(Slot { name: Arc::from(self.reader.text(name, NAME_AT_MOST)?.text), offset })
    }
}

/// A string of C, cut at some length.
pub(crate) fn c_string(memory: &dyn ReadMemory, at: Address) -> Result<String, Unreadable> {
    const PART: usize = 32;
    let mut bytes = Vec::new();
    while bytes.len() < NAME_AT_MOST {
        let from = at.plus(bytes.len() as u64);
        // Never over the end of a page for a string that may end before it.
        let part = PART.min(4096 - (from.0 % 4096) as usize);
        let next = memory.bytes(from, part)?;
        match next.iter().position(|byte| *byte == 0) {
            Some(end) => {
                bytes.extend(&next[..end]);
                break;
            }
            None => bytes.extend(next),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The words in some bytes.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|b| b.try_into().map_or(0, u64::from_le_bytes))
}
