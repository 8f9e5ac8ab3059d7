//! Sets, and what else holds many objects: tuples, lists, deques, and `WeakSet`.
//!
//! It knows the table of `Objects/setobject.c` and `Lib/_weakrefset.py`. Nothing is hashed.

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use crate::reader::{Reader, flag};

/// Places of a table that are looked at.
const PLACES_AT_MOST: u64 = 1 << 20;

impl Reader<'_> {
    /// At most `most` members of the set at `at`, which must be known to be one.
    pub fn members(&self, at: Address, most: usize) -> Result<Vec<Address>, Unreadable> {
        const ENTRY: u64 = 16;
        const BLOCK: u64 = 256;
        // `set_next` passes what was removed, whose hash is one that nothing has.
        const REMOVED: u64 = u64::MAX;
        let of = &self.layout.objects;
        let used = self.memory.word(at.plus(of.set_used))?;
        let places = self.memory.word(at.plus(of.set_mask))?.saturating_add(1).min(PLACES_AT_MOST);
        let table = self.memory.pointer(at.plus(of.set_table))?;
        let mut members = Vec::new();
        let mut place = 0;
        while place < places && members.len() < most && (members.len() as u64) < used {
            let count = (places - place).min(BLOCK);
            let bytes = self.memory.bytes(table.plus(place * ENTRY), (count * ENTRY) as usize)?;
            let all: Vec<u64> = words(&bytes).collect();
            let there = all.chunks_exact(2).filter(|entry| entry[0] != 0 && entry[1] != REMOVED);
            members.extend(there.map(|entry| Address(entry[0])).take(most - members.len()));
            place += count;
        }
        Ok(members)
    }

    /// Whether the object is a set of the builtins.
    pub fn is_set(&self, at: Address) -> bool {
        self.kind(at).is_ok_and(|kind| kind == self.types.set || kind == self.types.frozen_set)
    }

    /// What the members of a `WeakSet` refer to.
    pub fn weak_members(&self, at: Address, most: usize) -> Option<Vec<Address>> {
        let data = self.attribute(at, "data").filter(|data| self.is_set(*data))?;
        let references = self.members(data, most).ok()?;
        let place = self.layout.details.weakref_object;
        let live = references.iter().filter_map(|one| self.memory.pointer(one.plus(place)).ok());
        // A dead one refers to None.
        Some(live.filter(|one| !one.is_null() && *one != self.types.none).collect())
    }

    /// At most `most` items of a tuple or a list; empty for anything else.
    pub fn items(&self, at: Address, most: usize) -> Vec<Address> {
        self.try_items(at, most).unwrap_or_default()
    }

    /// At most `most` items of the `deque` at `at`, which must be known to be one (`Modules/_collectionsmodule.c`).
    pub fn deque_items(&self, at: Address, most: usize) -> Result<Vec<Address>, Unreadable> {
        let of = &self.layout.details.unlisted;
        let mut block = self.memory.pointer(at.plus(of.deque_left))?;
        let mut index = self.memory.word(at.plus(of.deque_left_index))?;
        let count = u64::try_from(self.size(at)?).unwrap_or(0).min(most as u64);
        let mut items = Vec::new();
        while (items.len() as u64) < count {
            if index >= of.block_length {
                block = self.memory.pointer(block.plus(of.block_items + of.block_length * 8))?;
                index = 0;
            }
            let left = (of.block_length - index).min(count - items.len() as u64);
            let first = block.plus(of.block_items + index * 8);
            items.extend(words(&self.memory.bytes(first, left as usize * 8)?).map(Address));
            index += left;
        }
        Ok(items)
    }

    fn try_items(&self, at: Address, most: usize) -> Option<Vec<Address>> {
        let flags = self.flags(self.kind(at).ok()?).ok()?;
        let first = match flags {
            tuple if tuple & flag::TUPLE != 0 => at.plus(self.layout.objects.tuple),
            list if list & flag::LIST != 0 => {
                self.memory.pointer(at.plus(self.layout.objects.list)).ok()?
            }
            _ => return None,
        };
        let count = usize::try_from(self.size(at).ok()?).ok()?.min(most);
        let bytes = self.memory.bytes(first, count * 8).ok()?;
        Some(words(&bytes).map(Address).collect())
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes))
}
