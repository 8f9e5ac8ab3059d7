//! Compares what two sets of mappings cover, address by address.
//!
//! The kernel merges neighbours that are alike and splits them again, so the lines of `maps` are
//! no unit to compare by: only what lies at each address is.

use super::exempt::{self, Exempt};
use super::{Found, Rules};
use crate::fingerprint::{Fingerprint, Mapping};

/// What lies at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    permissions: String,
    backing: Backing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Backing {
    Anonymous,
    /// `[heap]`, `[stack]`, `[vdso]`
    Kernel(String),
    /// `bias` is the file offset that address 0 would have: the same all along one mapping.
    File {
        path: String,
        device: String,
        inode: u64,
        bias: u64,
    },
}

impl Content {
    fn of(mapping: &Mapping) -> Self {
        let backing = if mapping.path.is_empty() || mapping.path.starts_with("[anon") {
            Backing::Anonymous
        } else if mapping.path.starts_with('[') {
            Backing::Kernel(mapping.path.clone())
        } else {
            Backing::File {
                path: mapping.path.clone(),
                device: mapping.device.clone(),
                inode: mapping.inode,
                bias: mapping.offset.wrapping_sub(mapping.start),
            }
        };
        Self { permissions: mapping.permissions.clone(), backing }
    }

    fn is_kernel(&self, name: &str) -> bool {
        matches!(&self.backing, Backing::Kernel(own) if own == name)
    }

    fn is_plain_memory(&self) -> bool {
        self.backing == Backing::Anonymous && !self.permissions.contains('x')
    }

    fn text(&self) -> String {
        match &self.backing {
            Backing::Anonymous => format!("{} anonymous", self.permissions),
            Backing::Kernel(name) => format!("{} {name}", self.permissions),
            Backing::File { path, .. } => format!("{} {path}", self.permissions),
        }
    }
}

/// A range whose content is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    start: u64,
    end: u64,
    before: Option<Content>,
    after: Option<Content>,
}

/// A range of anonymous memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) permissions: String,
}

impl Region {
    pub(super) fn is(&self, permissions: &str) -> bool {
        self.permissions == permissions
    }
}

/// Adds what is different, and what of it is exempt, to `found`.
pub(super) fn compare(rules: Rules, before: &Fingerprint, after: &Fingerprint, found: &mut Found) {
    let (mut new, mut gone) = (Vec::new(), Vec::new());
    for difference in differences(&before.mappings, &after.mappings) {
        if let Some(exempt) = exempt_change(&difference, before, after) {
            found.kept.add(exempt);
        } else if !rules.still && is_own_business(&difference) {
            // Memory of a process at work.
        } else if difference.before.is_none()
            && difference.after.as_ref().is_some_and(Content::is_plain_memory)
        {
            let permissions = difference.after.expect("checked above").permissions;
            new.push(Region { start: difference.start, end: difference.end, permissions });
        } else if difference.after.is_none()
            && difference.before.as_ref().is_some_and(Content::is_plain_memory)
        {
            let permissions = difference.before.expect("checked above").permissions;
            gone.push(Region { start: difference.start, end: difference.end, permissions });
        } else {
            found.change(text(&difference));
        }
    }
    take(rules.arenas, &mut new, found, exempt::take_arena);
    take(rules.stacks, &mut new, found, |new| exempt::take_stack(new, after));
    take(rules.tables, &mut new, found, |new| exempt::take_table(new, &mut gone));
    take(rules.object_arenas, &mut new, found, exempt::take_object_arena);
    take(rules.tables, &mut new, found, exempt::take_new_table);
    for Region { start, end, permissions } in gone {
        found.change(format!("memory {start:x}-{end:x} is gone: {permissions} anonymous"));
    }
    for region in new {
        let (start, end) = (region.start, region.end);
        found.change(format!(
            "new memory {start:x}-{end:x}, {} KiB: {} anonymous",
            (end - start) >> 10,
            region.permissions
        ));
    }
}

fn take(
    most: usize,
    new: &mut Vec<Region>,
    found: &mut Found,
    mut one: impl FnMut(&mut Vec<Region>) -> Option<Exempt>,
) {
    for _ in 0..most {
        let Some(exempt) = one(new) else { break };
        found.kept.add(exempt);
    }
}

/// The changes that are exempt by what they are, however often: the heap, the main stack, and
/// the border between use and reserve inside an arena.
fn exempt_change(
    difference: &Difference,
    before: &Fingerprint,
    after: &Fingerprint,
) -> Option<Exempt> {
    let size = difference.end - difference.start;
    match (&difference.before, &difference.after) {
        (None, Some(now)) if now.is_kernel("[heap]") => {
            Some(Exempt::Heap { by: i64::try_from(size).unwrap_or(i64::MAX) })
        }
        (Some(old), None) if old.is_kernel("[heap]") => {
            Some(Exempt::Heap { by: -i64::try_from(size).unwrap_or(i64::MAX) })
        }
        (None, Some(now)) if now.is_kernel("[stack]") => Some(Exempt::MainStack { by: size }),
        (Some(old), Some(now)) if old.is_plain_memory() && now.is_plain_memory() => {
            let start = exempt::arena_of(difference.start);
            let inside = |mappings| exempt::is_arena(&plain_memory(mappings), start);
            (inside(&before.mappings) && inside(&after.mappings))
                .then_some(Exempt::ArenaResized { start })
        }
        _ => None,
    }
}

fn is_own_business(difference: &Difference) -> bool {
    [&difference.before, &difference.after].into_iter().flatten().all(Content::is_plain_memory)
}

fn plain_memory(mappings: &[Mapping]) -> Vec<Region> {
    mappings
        .iter()
        .map(|mapping| (mapping, Content::of(mapping)))
        .filter(|(_, content)| content.is_plain_memory())
        .map(|(mapping, content)| Region {
            start: mapping.start,
            end: mapping.end,
            permissions: content.permissions,
        })
        .collect()
}

/// The ranges where the two differ, as long as they can be.
fn differences(before: &[Mapping], after: &[Mapping]) -> Vec<Difference> {
    let mut borders: Vec<u64> =
        before.iter().chain(after).flat_map(|mapping| [mapping.start, mapping.end]).collect();
    borders.sort_unstable();
    borders.dedup();
    let mut found: Vec<Difference> = Vec::new();
    for pair in borders.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let (old, new) = (content_at(before, start), content_at(after, start));
        if old == new {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.end == start && last.before == old && last.after == new => {
                last.end = end;
            }
            _ => found.push(Difference { start, end, before: old, after: new }),
        }
    }
    found
}

fn content_at(mappings: &[Mapping], address: u64) -> Option<Content> {
    let next = mappings.partition_point(|mapping| mapping.start <= address);
    let mapping = &mappings[next.checked_sub(1)?];
    (address < mapping.end).then(|| Content::of(mapping))
}

fn text(difference: &Difference) -> String {
    let range = format!("{:x}-{:x}", difference.start, difference.end);
    match (&difference.before, &difference.after) {
        (None, Some(now)) => format!("new mapping {range}: {}", now.text()),
        (Some(old), None) => format!("mapping {range} is gone: {}", old.text()),
        (Some(old), Some(now)) => {
            format!("mapping {range} was {} and is {}", old.text(), now.text())
        }
        (None, None) => range,
    }
}
