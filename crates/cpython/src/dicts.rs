//! Dicts: their entries in order, split tables included.
//!
//! It knows the forms of `Objects/dict-common.h` (to 3.10) and `Include/internal/pycore_dict.h`. It hashes nothing:
//! what is looked for is looked for entry by entry.

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use crate::layout::{DictKeys, InstanceDicts};
use crate::reader::Reader;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Address,
    pub value: Address,
    /// Where the reference to the value is kept.
    pub place: Address,
}

/// Where the entries of a dict's keys begin, how many they are, and their form.
struct Keys {
    entries: Address,
    count: u64,
    /// Bytes of an entry, and offsets of its key and value.
    form: (u64, u64, u64),
}

const GENERAL: (u64, u64, u64) = (24, 8, 16);
const TEXT_ALONE: (u64, u64, u64) = (16, 0, 8);

/// Entries that are ever read of one dict.
pub const ENTRIES_AT_MOST: u64 = 1 << 20;

/// The beginning of a dict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    pub entries: Vec<Entry>,
    /// There is more behind it.
    pub cut: bool,
}

impl Reader<'_> {
    fn keys(&self, at: Address) -> Result<Keys, Unreadable> {
        match self.layout.shape.dict_keys {
            DictKeys::Sized => {
                let size = self.memory.word(at.plus(8))?;
                let width: u64 = match size {
                    0..=0xff => 1,
                    0x100..=0xffff => 2,
                    0x1_0000..=0xffff_ffff => 4,
                    _ => 8,
                };
                Ok(Keys {
                    entries: at.plus(40).plus(size.wrapping_mul(width)),
                    count: self.memory.word(at.plus(32))?.min(ENTRIES_AT_MOST),
                    form: GENERAL,
                })
            }
            DictKeys::Logarithm => {
                let head = self.memory.half(at.plus(8))?.to_le_bytes();
                let index_bytes = 1_u64.checked_shl(head[1].into()).unwrap_or(0);
                Ok(Keys {
                    entries: at.plus(32).plus(index_bytes),
                    count: self.memory.word(at.plus(24))?.min(ENTRIES_AT_MOST),
                    form: if head[2] == 0 { GENERAL } else { TEXT_ALONE },
                })
            }
        }
    }

    /// At most `most` entries of the dict at `at`, which must be known to be one.
    pub fn dict_entries(&self, at: Address, most: usize) -> Result<Vec<Entry>, Unreadable> {
        let keys = self.memory.pointer(at.plus(self.layout.dict.keys))?;
        let values = self.memory.pointer(at.plus(self.layout.dict.values))?;
        let values = (!values.is_null()).then(|| values.plus(self.layout.dict.values_items));
        self.key_entries(keys, values, most)
    }

    /// The first entries of the dict at `at`, which must be known to be one, `passed` gaps at most among them.
    pub fn dict_beginning(
        &self,
        at: Address,
        most: usize,
        passed: u64,
    ) -> Result<Beginning, Unreadable> {
        let keys = self.memory.pointer(at.plus(self.layout.dict.keys))?;
        let values = self.memory.pointer(at.plus(self.layout.dict.values))?;
        let values = (!values.is_null()).then(|| values.plus(self.layout.dict.values_items));
        let most_of_all = (most as u64).saturating_add(passed);
        let entries = self.some_entries(keys, values, most, most_of_all)?;
        let used = self.memory.word(at.plus(self.layout.dict.used))?;
        Ok(Beginning { cut: (entries.len() as u64) < used, entries })
    }

    /// The entries of a table of keys, with the values in the table itself or apart.
    pub(crate) fn key_entries(
        &self,
        keys: Address,
        values: Option<Address>,
        most: usize,
    ) -> Result<Vec<Entry>, Unreadable> {
        self.some_entries(keys, values, most, ENTRIES_AT_MOST)
    }

    fn some_entries(
        &self,
        keys: Address,
        values: Option<Address>,
        most: usize,
        places: u64,
    ) -> Result<Vec<Entry>, Unreadable> {
        const BLOCK: u64 = 256;
        let mut keys = self.keys(keys)?;
        keys.count = keys.count.min(places);
        let (size, key_at, value_at) = keys.form;
        let mut found = Vec::new();
        let mut indices = Vec::new();
        let mut first = 0;
        while first < keys.count && found.len() < most {
            let count = (keys.count - first).min(BLOCK);
            let from = keys.entries.plus(first * size);
            let bytes = self.memory.bytes(from, (count * size) as usize)?;
            let apart = match values {
                Some(values) => {
                    Some(self.memory.bytes(values.plus(first * 8), (count * 8) as usize)?)
                }
                None => None,
            };
            for index in 0..count {
                let key = word(&bytes, index * size + key_at);
                let value = match &apart {
                    Some(values) => word(values, index * 8),
                    None => word(&bytes, index * size + value_at),
                };
                // A deleted entry, or a key that this instance has no value for.
                if key != 0 && value != 0 && found.len() < most {
                    let place = match values {
                        Some(values) => values.plus((first + index) * 8),
                        None => from.plus(index * size + value_at),
                    };
                    found.push(Entry { key: Address(key), value: Address(value), place });
                    indices.push(first + index);
                }
            }
            first += count;
        }
        if let Some(order) = values.and_then(|values| self.value_order(values)) {
            let mut both: Vec<(u64, Entry)> = indices.into_iter().zip(found).collect();
            let nowhere = order.len();
            both.sort_by_key(|(index, _)| {
                order.iter().position(|one| u64::from(*one) == *index).unwrap_or(nowhere)
            });
            found = both.into_iter().map(|(_, entry)| entry).collect();
        }
        Ok(found)
    }

    /// In which order values that are apart from their keys were set; `None` where that is the order of the keys.
    /// `get_index_from_order` of `Objects/dictobject.c`.
    fn value_order(&self, values: Address) -> Option<Vec<u8>> {
        let memory = self.memory;
        let before = |bytes: u64| Address(values.0.wrapping_sub(bytes));
        match self.layout.shape.instance_dicts {
            InstanceDicts::TypeOffset => None,
            InstanceDicts::ValuesBefore | InstanceDicts::TaggedWord => {
                let count = memory.bytes(before(2), 1).ok()?[0];
                let mut order = memory.bytes(before(2 + u64::from(count)), count.into()).ok()?;
                order.reverse();
                Some(order)
            }
            InstanceDicts::Inline => {
                let head = memory.bytes(before(self.layout.dict.values_items), 2).ok()?;
                let behind = values.plus(u64::from(head[0]) * 8);
                memory.bytes(behind, head[1].into()).ok()
            }
        }
    }

    /// The value of a string key.
    pub fn dict_item(&self, at: Address, key: &str) -> Option<Address> {
        // Each key of a large dict, as `sys.modules` is, may lie in a page of its own.
        const READ_TOGETHER: usize = 64;
        let entries = self.dict_entries(at, ENTRIES_AT_MOST as usize).ok()?;
        let length = self.layout.text.length;
        entries.chunks(READ_TOGETHER).find_map(|entries| {
            self.memory.expect(&mut entries.iter().map(|entry| entry.key.plus(length)));
            entries.iter().find(|entry| self.is_text(entry.key, key)).map(|entry| entry.value)
        })
    }
}

fn word(bytes: &[u8], at: u64) -> u64 {
    let at = at as usize;
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
