//! The instances of a class, found where a program keeps its objects.
//!
//! It looks for words that point to the class, one by one, and confirms what the garbage collector knows by its links
//! (`PyGC_Head` of `Include/internal/pycore_gc.h`, `Include/objimpl.h` to 3.7): each object's neighbours point back to it.
//! That needs no list that could be torn. What the collector does not know is told by its looks alone.

use std::collections::HashSet;

use spyhole_proc::Address;
use spyhole_proc::maps::{Mapping, Maps};
use spyhole_proc::memory::ReadMemory;

use crate::reader::{Reader, flag};

/// Instances, in the order of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    pub found: Vec<Address>,
    /// Not everything was looked at, or there are more.
    pub cut: bool,
    /// The collector knows none of them: some may be what is left of objects that are gone.
    pub by_looks: bool,
}

/// Memory that is looked through.
const BYTES_AT_MOST: u64 = 8 << 30;
const BLOCK: usize = 1 << 20;
const CLASSES_AT_MOST: usize = 1 << 14;
/// Instances that are found.
pub const INSTANCES_AT_MOST: usize = 1 << 20;

impl Reader<'_> {
    /// A class and those that inherit from it.
    pub fn with_subclasses(&self, class: Address) -> Vec<Address> {
        let mut all = vec![class];
        let mut known = HashSet::from([class]);
        let mut next = 0;
        while let Some(class) = all.get(next).copied() {
            next += 1;
            for one in self.subclasses(class) {
                if all.len() < CLASSES_AT_MOST && known.insert(one) {
                    all.push(one);
                }
            }
        }
        all
    }

    /// Whether an object of one of these classes is there now.
    pub fn is_instance(&self, at: Address, classes: &HashSet<u64>) -> Option<Standing> {
        let kind = self.kind(at).ok().filter(|kind| classes.contains(&kind.0))?;
        let count = self.memory.word(at).ok()?;
        if count as u32 == 0 {
            return None;
        }
        if self.flags(kind).ok()? & flag::COLLECTED == 0 {
            // Of what was freed, the allocator uses the first word to find it again.
            const FLAGS: u64 = 0xffff << 48;
            return (count & !FLAGS <= u64::from(u32::MAX)).then_some(Standing::Looks);
        }
        let head = Address(at.0.checked_sub(self.layout.suspended.gc_head)?);
        const TAGS: u64 = 3;
        let word = |at: Address| self.memory.word(at).ok().map(|word| word & !TAGS);
        let (next, previous) = (word(head)?, word(head.plus(8))?);
        if next == 0 {
            // Dicts and tuples of nothing but plain values are taken out.
            let heap = self.flags(kind).ok()? & flag::HEAP_TYPE != 0;
            let is_small = self.memory.word(at).ok()? & !(0xffff << 48) <= u64::from(u32::MAX);
            return (!heap && previous == 0 && is_small).then_some(Standing::Looks);
        }
        let linked =
            word(Address(next).plus(8)) == Some(head.0) || word(Address(previous)) == Some(head.0);
        linked.then_some(Standing::Linked)
    }
}

/// How an object is known to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The collector's links lead to it.
    Linked,
    /// It looks like one.
    Looks,
}

/// All instances of these classes. `raw` reads without remembering what it read.
pub fn instances(
    reader: &Reader<'_>,
    raw: &dyn ReadMemory,
    maps: &Maps,
    classes: &[Address],
) -> Instances {
    let wanted: HashSet<u64> = classes.iter().map(|class| class.0).collect();
    let (low, high) = match (wanted.iter().min(), wanted.iter().max()) {
        (Some(low), Some(high)) => (*low, *high),
        _ => return Instances::default(),
    };
    let mut all = Instances { by_looks: true, ..Instances::default() };
    let mut left = BYTES_AT_MOST;
    let mut block = vec![0; BLOCK];
    for mapping in maps.iter().filter(|mapping| holds_objects(mapping)) {
        let mut at = mapping.start;
        while at < mapping.end {
            let length = (mapping.end.0 - at.0).min(BLOCK as u64) as usize;
            if left < length as u64 {
                all.cut = true;
                return all;
            }
            left -= length as u64;
            let bytes = &mut block[..length];
            if raw.read(at, bytes).is_ok() {
                for (index, word) in bytes.chunks_exact(8).enumerate() {
                    let word = word.try_into().map_or(0, u64::from_le_bytes);
                    if word < low || word > high || !wanted.contains(&word) {
                        continue;
                    }
                    let kind = reader.layout.objects.kind;
                    let object = at.plus(index as u64 * 8);
                    let Some(object) = object.0.checked_sub(kind).map(Address) else { continue };
                    let Some(standing) = reader.is_instance(object, &wanted) else { continue };
                    if all.found.len() == INSTANCES_AT_MOST {
                        all.cut = true;
                        return all;
                    }
                    all.by_looks &= standing == Standing::Looks;
                    all.found.push(object);
                }
            }
            at = at.plus(length as u64);
        }
    }
    all.by_looks &= !all.found.is_empty();
    all
}

/// Private memory that can be written to and is no file's: heaps, and what `mmap` gave the allocator. Objects of a
/// program's own data are no instances that anybody made.
fn holds_objects(mapping: &Mapping) -> bool {
    mapping.readable
        && mapping.writable
        && !mapping.is_file()
        && !mapping.path.starts_with(b"[v")
        && !mapping.path.starts_with(b"[stack")
}
