//! What holds other values.
//!
//! It knows `Objects/listobject.c`, `tupleobject.c`, `setobject.c`, `rangeobject.c`, `sliceobject.c`, `odictobject.c` and
//! `Modules/_collectionsmodule.c`. Dicts themselves are read by `dicts`.

use std::collections::HashMap;

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use super::classes::words;
use super::forms::{Form, Look};
use super::{GAPS_AT_MOST, REDACTED, Values};
use crate::dicts::{Beginning, Entry};
use crate::reader::flag;
use crate::text;

impl Values<'_> {
    pub(super) fn tuple(&mut self, at: Address) -> Result<(), Unreadable> {
        let length = self.length(at)?;
        let items = self.row(at.plus(self.reader.layout.objects.tuple), length)?;
        let more = (items.len() as u64) < length;
        self.within(at, "(...)", |own| {
            own.out.form("(");
            own.row_items(&items, more);
            own.out.form(if length == 1 { ",)" } else { ")" });
            Ok(())
        })
    }

    pub(super) fn list(&mut self, at: Address) -> Result<(), Unreadable> {
        let length = self.length(at)?;
        let first = self.reader.memory.pointer(at.plus(self.reader.layout.objects.list))?;
        let items = self.row(first, length)?;
        let more = (items.len() as u64) < length;
        self.within(at, "[...]", |own| {
            own.out.form("[");
            own.row_items(&items, more);
            own.out.form("]");
            Ok(())
        })
    }

    /// The first of `length` addresses that lie in a row.
    fn row(&self, first: Address, length: u64) -> Result<Vec<Address>, Unreadable> {
        let taken = usize::try_from(length).unwrap_or(usize::MAX).min(self.items_at_most());
        let bytes = self.reader.memory.bytes(first, taken * 8)?;
        Ok(words(&bytes).map(Address).collect())
    }

    fn three(&self, first: Address) -> Result<Vec<Address>, Unreadable> {
        Ok(words(&self.reader.memory.bytes(first, 3 * 8)?).map(Address).collect())
    }

    fn row_items(&mut self, items: &[Address], more: bool) {
        // A name and its value, as headers are kept: `(b'authorization', b'...')`.
        if let [name, _] = items
            && !more
            && self.is_secret(*name)
        {
            self.value(*name);
            self.out.form(", ");
            return self.out.form(REDACTED);
        }
        self.items(items, more, |own, item| own.value(*item));
    }

    /// Whether an object is a name under which a secret stands.
    pub(super) fn is_secret(&self, name: Address) -> bool {
        const LONGEST: usize = 100;
        let kind = self.reader.kind(name).unwrap_or(Address(0));
        let types = self.reader.types;
        let text = if kind == types.bytes {
            let length = self.length(name).unwrap_or(0).min(LONGEST as u64);
            let at = name.plus(self.reader.layout.objects.bytes);
            let bytes = self.reader.memory.bytes(at, length as usize).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        } else if kind == types.text
            || self.reader.flags(kind).is_ok_and(|flags| flags & flag::TEXT != 0)
        {
            let read = text::read(self.reader.memory, self.reader.layout, name, LONGEST);
            read.map(|text| text.text).unwrap_or_default()
        } else {
            return false;
        };
        (self.limits.hides)(&text)
    }

    pub(super) fn beginning(&self, at: Address) -> Result<Beginning, Unreadable> {
        self.reader.dict_beginning(at, self.items_at_most(), GAPS_AT_MOST)
    }

    pub(super) fn dict(&mut self, at: Address) -> Result<(), Unreadable> {
        let beginning = self.beginning(at)?;
        self.within(at, "{...}", |own| {
            own.entries(&beginning);
            Ok(())
        })
    }

    /// `{key: value, ...}`
    fn entries(&mut self, beginning: &Beginning) {
        self.out.form("{");
        self.items(&beginning.entries, beginning.cut, |own, entry| own.entry(entry, ": "));
        self.out.form("}");
    }

    fn entry(&mut self, entry: &Entry, between: &str) {
        self.value(entry.key);
        self.out.form(between);
        match self.is_secret(entry.key) {
            true => self.out.form(REDACTED),
            false => self.value(entry.value),
        }
    }

    fn pair(&mut self, entry: &Entry) {
        self.out.form("(");
        self.entry(entry, ", ");
        self.out.form(")");
    }

    /// Members of a set, `most` at most, and whether there are more.
    pub(super) fn members_of_set(
        &self,
        at: Address,
        most: usize,
    ) -> Result<(Vec<Address>, bool), Unreadable> {
        const ENTRY: u64 = 16;
        // `set_next` passes what was removed, whose hash is one that nothing has.
        const REMOVED: u64 = u64::MAX;
        let of = &self.reader.layout.objects;
        let memory = self.reader.memory;
        let used = memory.word(at.plus(of.set_used))?;
        let places = memory.word(at.plus(of.set_mask))?.saturating_add(1);
        let table = memory.pointer(at.plus(of.set_table))?;
        let mut members = Vec::new();
        let mut place = 0;
        // A table has some places for each of its members.
        let places = places.min((most as u64).saturating_mul(8).saturating_add(GAPS_AT_MOST));
        while place < places && members.len() < most && (members.len() as u64) < used {
            let count = (places - place).min(64);
            let bytes = memory.bytes(table.plus(place * ENTRY), (count * ENTRY) as usize)?;
            let all: Vec<u64> = words(&bytes).collect();
            let there = all.chunks_exact(2).filter(|e| e[0] != 0 && e[1] != REMOVED);
            members.extend(there.map(|e| Address(e[0])).take(most - members.len()));
            place += count;
        }
        let more = (members.len() as u64) < used;
        Ok((members, more))
    }

    pub(super) fn set(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let used = self.reader.memory.word(at.plus(self.reader.layout.objects.set_used))?;
        let (members, more) = self.members_of_set(at, self.items_at_most())?;
        let name = look.class.c_name.clone();
        if used == 0 {
            self.out.form(&format!("{name}()"));
            return Ok(());
        }
        self.within(at, &format!("{name}(...)"), |own| {
            let bare = &*name == "set";
            own.out.form(&if bare { "{".to_owned() } else { format!("{name}({{") });
            own.items(&members, more, |own, member| own.value(*member));
            own.out.form(if bare { "}" } else { "})" });
            Ok(())
        })
    }

    pub(super) fn range(&mut self, at: Address) -> Result<(), Unreadable> {
        let first = at.plus(self.reader.layout.details.unlisted.range_start);
        let parts = self.three(first)?;
        let one = self.reader.word(parts[2]) == Some(1);
        self.out.form("range(");
        self.items(&parts[..if one { 2 } else { 3 }], false, |own, part| own.value(*part));
        self.out.form(")");
        Ok(())
    }

    pub(super) fn slice(&mut self, at: Address) -> Result<(), Unreadable> {
        let parts = self.three(at.plus(self.reader.layout.details.slice_start))?;
        self.within(at, "slice(...)", |own| {
            own.out.form("slice(");
            own.items(&parts, false, |own, part| own.value(*part));
            own.out.form(")");
            Ok(())
        })
    }

    pub(super) fn ordered(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let beginning = self.ordered_entries(at, self.items_at_most())?;
        let name = Self::short_name(look).to_owned();
        if beginning.entries.is_empty() && !beginning.cut {
            self.out.form(&format!("{name}()"));
            return Ok(());
        }
        self.within(at, MARK_OF_ORDERED, |own| {
            own.out.form(&format!("{name}("));
            if own.reader.layout.shape.reprs.ordered_as_dict {
                own.entries(&beginning);
            } else {
                own.out.form("[");
                own.items(&beginning.entries, beginning.cut, |own, entry| own.pair(entry));
                own.out.form("]");
            }
            own.out.form(")");
            Ok(())
        })
    }

    /// The entries of an `OrderedDict` in its own order, which its list of nodes tells.
    pub(super) fn ordered_entries(
        &self,
        at: Address,
        most: usize,
    ) -> Result<Beginning, Unreadable> {
        let looked_up = most.max(1 << 12);
        let details = &self.reader.layout.details;
        let of = &details.unlisted;
        let memory = self.reader.memory;
        let all = self.reader.dict_beginning(at, looked_up, GAPS_AT_MOST)?;
        let values: HashMap<Address, Entry> =
            all.entries.iter().map(|entry| (entry.key, *entry)).collect();
        let used = memory.word(at.plus(self.reader.layout.dict.used))?;
        let most = most.min(usize::try_from(used).unwrap_or(usize::MAX));
        let mut entries = Vec::new();
        let mut node = memory.pointer(at.plus(details.dict_length + of.ordered_first))?;
        while !node.is_null() && entries.len() < most {
            let key = memory.pointer(node.plus(of.node_key))?;
            let Some(entry) = values.get(&key) else { break };
            entries.push(*entry);
            node = memory.pointer(node.plus(of.node_next))?;
        }
        Ok(Beginning { cut: (entries.len() as u64) < used, entries })
    }

    pub(super) fn defaulting(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let details = &self.reader.layout.details;
        let factory = details.dict_length + details.unlisted.default_factory;
        let factory = self.reader.memory.pointer(at.plus(factory))?;
        self.out.form(&format!("{}(", Self::short_name(look)));
        match factory.is_null() {
            true => self.out.form("None"),
            false => self.value(factory),
        }
        self.out.form(", ");
        self.dict(at)?;
        self.out.form(")");
        Ok(())
    }

    /// The first items of a deque.
    pub(super) fn deque_items(&self, at: Address, most: u64) -> Result<Vec<Address>, Unreadable> {
        let of = &self.reader.layout.details.unlisted;
        let memory = self.reader.memory;
        let wanted = usize::try_from(self.length(at)?.min(most)).unwrap_or(usize::MAX);
        let mut block = memory.pointer(at.plus(of.deque_left))?;
        let mut index = memory.word(at.plus(of.deque_left_index))?.min(of.block_length);
        let mut items = Vec::new();
        while items.len() < wanted {
            let count = (of.block_length - index).min((wanted - items.len()) as u64);
            let from = block.plus(of.block_items + index * 8);
            items.extend(words(&memory.bytes(from, count as usize * 8)?).map(Address));
            block = memory.pointer(block.plus(of.block_items + of.block_length * 8))?;
            index = 0;
        }
        Ok(items)
    }

    pub(super) fn deque(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let of = &self.reader.layout.details.unlisted;
        let length = self.length(at)?;
        let most = self.reader.memory.word(at.plus(of.deque_most))? as i64;
        let items = self.deque_items(at, self.items_at_most() as u64)?;
        let more = (items.len() as u64) < length;
        let name = self.own_name(look, "deque").to_owned();
        self.within(at, "[...]", |own| {
            own.out.form(&format!("{name}(["));
            own.items(&items, more, |own, item| own.value(*item));
            own.out.form(&match most {
                ..0 => "])".to_owned(),
                _ => format!("], maxlen={most})"),
            });
            Ok(())
        })
    }

    pub(super) fn proxy(&mut self, at: Address) -> Result<(), Unreadable> {
        let viewed = at.plus(self.reader.layout.details.unlisted.viewed);
        let viewed = self.reader.memory.pointer(viewed)?;
        self.out.form("mappingproxy(");
        self.value(viewed);
        self.out.form(")");
        Ok(())
    }

    pub(super) fn dict_view(
        &mut self,
        at: Address,
        look: &Look,
        form: Form,
    ) -> Result<(), Unreadable> {
        let dict = at.plus(self.reader.layout.details.unlisted.viewed);
        let dict = self.reader.memory.pointer(dict)?;
        let kind = self.reader.kind(dict)?;
        if self.reader.flags(kind)? & flag::DICT == 0 {
            return Err(Unreadable { address: dict, length: 0 });
        }
        let beginning = self.beginning(dict)?;
        let name = look.class.c_name.clone();
        self.within(at, "...", |own| {
            own.out.form(&format!("{name}(["));
            own.items(&beginning.entries, beginning.cut, |own, entry| match form {
                Form::Keys => own.value(entry.key),
                Form::Items => own.pair(entry),
                _ if own.is_secret(entry.key) => own.out.form(REDACTED),
                _ => own.value(entry.value),
            });
            own.out.form("])");
            Ok(())
        })
    }

    pub(super) fn counter(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        const SORTED: usize = 1 << 12;
        let mut beginning = self.reader.dict_beginning(at, SORTED, GAPS_AT_MOST)?;
        // The most frequent first, as `most_common` sorts them; counts need not be ints.
        let count = |entry: &Entry| {
            let kind = self.reader.kind(entry.value).ok()?;
            if kind != self.reader.types.integer {
                return None;
            }
            let value =
                self.reader.integer(entry.value, 4).ok().filter(|value| value.count <= 4)?;
            let digits = value.digits.iter().rev();
            let size = digits.fold(0_i128, |size, digit| size << 30 | i128::from(*digit));
            Some(if value.negative { -size } else { size })
        };
        let counts: Option<Vec<i128>> = beginning.entries.iter().map(count).collect();
        if let Some(counts) = counts {
            let mut both: Vec<_> = counts.into_iter().zip(beginning.entries).collect();
            both.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
            beginning.entries = both.into_iter().map(|(_, entry)| entry).collect();
        }
        let most = self.items_at_most();
        beginning.cut |= beginning.entries.len() > most;
        beginning.entries.truncate(most);
        let name = Self::short_name(look).to_owned();
        if beginning.entries.is_empty() && !beginning.cut {
            self.out.form(&format!("{name}()"));
            return Ok(());
        }
        self.within(at, MARK_OF_ORDERED, |own| {
            own.out.form(&format!("{name}("));
            own.entries(&beginning);
            own.out.form(")");
            Ok(())
        })
    }
}

/// How an `OrderedDict` in itself looks.
const MARK_OF_ORDERED: &str = "...";
