//! The attributes that an instance keeps in its dict, in whichever place its version and type have for that.
//!
//! It knows `_PyObject_GetDictPtr` and its successors (`Objects/object.c`, `Objects/dictobject.c`), and the descriptors of
//! slots (`Objects/descrobject.c`).

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use crate::dicts::Entry;
use crate::layout::InstanceDicts;
use crate::reader::{Reader, flag};

impl Reader<'_> {
    /// At most `most` attributes of an instance; `None` if it has no dict.
    pub fn attributes(&self, at: Address, most: usize) -> Result<Option<Vec<Entry>>, Unreadable> {
        let kind = self.kind(at)?;
        let flags = self.flags(kind)?;
        let before = |bytes: u64| Address(at.0.wrapping_sub(bytes));
        let dict = |dict: Address| match dict.is_null() {
            true => Ok(Some(Vec::new())),
            false => self.dict_entries(dict, most).map(Some),
        };
        let values = |values: Address| {
            let keys = self.memory.pointer(kind.plus(self.layout.kind.cached_keys))?;
            let items = values.plus(self.layout.dict.values_items);
            self.key_entries(keys, Some(items), most).map(Some)
        };
        let managed = flags & flag::MANAGED_DICT != 0;
        match self.layout.shape.instance_dicts {
            InstanceDicts::ValuesBefore if managed => {
                let own = self.memory.pointer(before(32))?;
                if own.is_null() { dict(self.memory.pointer(before(24))?) } else { values(own) }
            }
            InstanceDicts::TaggedWord if managed => {
                let word = self.memory.word(before(24))?;
                if word & 1 == 1 { values(Address(word).plus(1)) } else { dict(Address(word)) }
            }
            InstanceDicts::Inline if managed => {
                let own = self.memory.pointer(before(24))?;
                if !own.is_null() || flags & flag::INLINE_VALUES == 0 {
                    return dict(own);
                }
                let size = self.memory.word(kind.plus(self.layout.kind.basic_size))?;
                let inline = at.plus(size);
                let valid = self.layout.dict.values_valid.map(|v| inline.plus(v));
                if let Some(valid) = valid
                    && self.memory.bytes(valid, 1)? == [0]
                {
                    return Ok(Some(Vec::new()));
                }
                values(inline)
            }
            _ => match self.dict_place(at, kind)? {
                Some(place) => dict(self.memory.pointer(place)?),
                None => Ok(None),
            },
        }
    }

    /// What keeps the attributes of an instance: a dict, or values without one. For reading ahead: it may be wrong.
    pub(crate) fn attributes_place(&self, at: Address) -> Option<Address> {
        let kind = self.kind(at).ok()?;
        let before = |bytes: u64| self.memory.pointer(Address(at.0.wrapping_sub(bytes))).ok();
        let managed = self.flags(kind).ok()? & flag::MANAGED_DICT != 0;
        let place = match self.layout.shape.instance_dicts {
            InstanceDicts::ValuesBefore if managed => {
                before(32).filter(|own| !own.is_null()).or_else(|| before(24))?
            }
            InstanceDicts::TaggedWord if managed => Address(before(24)?.0 & !1),
            InstanceDicts::Inline if managed => before(24)?,
            _ => self.memory.pointer(self.dict_place(at, kind).ok()??).ok()?,
        };
        (!place.is_null()).then_some(place)
    }

    /// Where an instance's dict is stored, as its type tells.
    fn dict_place(&self, at: Address, kind: Address) -> Result<Option<Address>, Unreadable> {
        let word = |offset: u64| self.memory.word(kind.plus(offset)).map(|w| w as i64);
        // From 3.12 on a type with a managed dict says -1, which was dealt with before.
        let offset = word(self.layout.kind.dict_offset)?;
        Ok(match offset {
            0 => None,
            1.. => Some(at.plus(offset as u64)),
            _ => {
                let items = self.size(at)?.unsigned_abs() as i64;
                let size = word(self.layout.kind.item_size)?.wrapping_mul(items);
                let size = word(self.layout.kind.basic_size)?.wrapping_add(size);
                let aligned = size.wrapping_add(7) & !7;
                Some(at.plus(aligned.wrapping_add(offset) as u64))
            }
        })
    }

    /// One attribute of an instance's dict.
    pub fn attribute(&self, at: Address, name: &str) -> Option<Address> {
        const AT_MOST: usize = 4096;
        let entries = self.attributes(at, AT_MOST).ok()??;
        entries.iter().find(|entry| self.is_text(entry.key, name)).map(|entry| entry.value)
    }

    /// What an instance has in a slot of its class or of one that this is made from.
    pub fn slot(&self, at: Address, name: &str) -> Option<Address> {
        let of = &self.layout.details;
        let field = |at: Address| self.memory.pointer(at).ok();
        self.bases(self.kind(at).ok()?).into_iter().find_map(|base| {
            let dict = field(base.plus(self.layout.kind.dict))?;
            let member = match self.kind(dict).ok()? == self.types.dict {
                true => self.dict_item(dict, name)?,
                false => return None,
            };
            if self.type_name(self.kind(member).ok()?)? != "member_descriptor" {
                return None;
            }
            let definition = field(member.plus(of.descriptor_member))?;
            let offset = self.memory.word(definition.plus(of.member_offset)).ok()?;
            field(at.plus(offset)).filter(|value| !value.is_null())
        })
    }
}
