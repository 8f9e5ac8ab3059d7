//! Instances: by their attributes, or as the few classes in Python that are known tell them.
//!
//! It knows the `__repr__` of named tuples, `enum`, `uuid` and `pathlib` (`Lib/collections/__init__.py`, `Lib/enum.py`,
//! ...), and `BaseException_repr` (`Objects/exceptions.c`). Any other is told as `<module.Class name=value>`, which is no
//! `repr` that Python has.

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use super::forms::Look;
use super::{INSTANCES_AT_MOST, Values};
use crate::reader::flag;

/// Fields of a named tuple.
const FIELDS_AT_MOST: usize = 1000;

impl Values<'_> {
    /// `<module.Class object at 0x...>`
    pub(super) fn bare(&mut self, at: Address, look: &Look) {
        self.pieces(&["<"], &format!("{} object", look.class.name), at);
    }

    pub(super) fn instance(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let name = look.class.name.clone();
        if self.path.contains(&at) {
            self.out.form(&format!("<{name} ...>"));
            return Ok(());
        }
        let attributes = match self.instances < INSTANCES_AT_MOST {
            true => self.own_attributes(at, look)?,
            false => Vec::new(),
        };
        if attributes.is_empty() && look.base.is_none() {
            self.bare(at, look);
            return Ok(());
        }
        self.out.form("<");
        self.out.content(&name);
        self.out.form(" ");
        self.instances += 1;
        let told = look.base.map_or(Ok(()), |base| self.of_form(at, look, base));
        self.path.push(at);
        if look.base.is_some() && !attributes.is_empty() {
            self.out.form(" ");
        }
        let more = attributes.len() >= self.items_at_most();
        self.items(&attributes, more, |own, (name, value)| own.attribute(name, *value));
        self.path.pop();
        self.instances -= 1;
        self.out.form(">");
        told
    }

    /// Names and values, those of slots first.
    fn own_attributes(
        &mut self,
        at: Address,
        look: &Look,
    ) -> Result<Vec<(String, Address)>, Unreadable> {
        const LONGEST: usize = 100;
        let most = self.items_at_most();
        let mut attributes = self.slots(at, look);
        for entry in self.reader.attributes(at, most)?.unwrap_or_default() {
            if let Some(name) = self.reader.text(entry.key, LONGEST) {
                attributes.push((name.text, entry.value));
            }
        }
        attributes.truncate(most);
        Ok(attributes)
    }

    pub(super) fn slots(&mut self, at: Address, look: &Look) -> Vec<(String, Address)> {
        if !look.has_slots {
            return Vec::new();
        }
        let bases: Vec<_> =
            look.class.bases.iter().rev().filter_map(|base| self.classes.get(*base)).collect();
        let slots = bases.iter().flat_map(|base| &base.slots);
        slots
            .filter_map(|slot| {
                let value = self.reader.memory.pointer(at.plus(slot.offset)).ok()?;
                (!value.is_null()).then(|| (slot.name.to_string(), value))
            })
            .collect()
    }

    /// One attribute, from a slot or from the dict.
    fn one_attribute(&mut self, at: Address, look: &Look, name: &str) -> Option<Address> {
        let slots = self.slots(at, look);
        let slot = slots.into_iter().find(|(slot, _)| slot == name).map(|(_, value)| value);
        slot.or_else(|| self.reader.attribute(at, name))
    }

    pub(super) fn exception(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let arguments = at.plus(self.reader.layout.details.exception_args);
        let arguments = self.reader.memory.pointer(arguments)?;
        if self.reader.kind(arguments)? != self.reader.types.tuple {
            return Err(Unreadable { address: arguments, length: 0 });
        }
        let name = Self::short_name(look).to_owned();
        let one = self.length(arguments)? == 1;
        let first = arguments.plus(self.reader.layout.objects.tuple);
        let first = if one { Some(self.reader.memory.pointer(first)?) } else { None };
        self.within(at, &format!("{name}(...)"), |own| {
            own.out.form(&name);
            match first {
                Some(first) => {
                    own.out.form("(");
                    own.value(first);
                    let comma = own.reader.layout.shape.reprs.exception_comma;
                    own.out.form(if comma { ",)" } else { ")" });
                }
                None => own.tuple(arguments)?,
            }
            Ok(())
        })
    }

    /// The fields of a named tuple.
    pub(super) fn fields_of(
        &mut self,
        at: Address,
        look: &Look,
        most: usize,
    ) -> Vec<(String, Address)> {
        let names = look.class.bases.iter().find_map(|base| self.classes.get(*base)?.fields);
        let names = names.and_then(|names| self.sequence(names, FIELDS_AT_MOST));
        let names = names.unwrap_or_default();
        let values = self.sequence(at, most.min(FIELDS_AT_MOST));
        let values = values.unwrap_or_default().into_iter().enumerate();
        let named = values.map(|(index, value)| {
            let name = names.get(index).and_then(|name| self.reader.text(*name, 100));
            (name.map_or_else(|| "?".to_owned(), |name| name.text), value)
        });
        named.collect()
    }

    pub(super) fn named_tuple(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let name = Self::short_name(look).to_owned();
        let pairs = self.fields_of(at, look, self.items_at_most());
        let more = (pairs.len() as u64) < self.length(at)?;
        self.within(at, &format!("{name}(...)"), |own| {
            own.out.form(&format!("{name}("));
            own.items(&pairs, more, |own, (name, value)| own.attribute(name, *value));
            own.out.form(")");
            Ok(())
        })
    }

    pub(super) fn enum_member(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let name = self.one_attribute(at, look, "_name_");
        let name = name.and_then(|name| self.reader.text(name, super::NAME_AT_MOST));
        let value = self.one_attribute(at, look, "_value_");
        let (Some(name), Some(value)) = (name, value) else {
            return self.instance(at, look);
        };
        let class = look.class.c_name.clone();
        self.within(at, &format!("<{class} ...>"), |own| {
            own.out.form(&format!("<{class}."));
            own.out.content(&name.text);
            own.out.form(": ");
            own.value(value);
            own.out.form(">");
            Ok(())
        })
    }

    pub(super) fn uuid(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let number = self.one_attribute(at, look, "int");
        let number = number.filter(|number| {
            self.reader.kind(*number).is_ok_and(|kind| kind == self.reader.types.integer)
        });
        let Some(number) = number else { return self.instance(at, look) };
        let number = self.reader.integer(number, 5)?;
        let digits = number.digits.iter().rev();
        let number = digits.fold(0_u128, |all, digit| all << 30 | u128::from(*digit));
        let hex = format!("{number:032x}");
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        self.out.form(&format!("{}('{}')", look.class.c_name, parts.join("-")));
        Ok(())
    }

    pub(super) fn path(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let Some(path) = self.path_text(at, look) else { return self.instance(at, look) };
        self.out.form(&format!("{}(", look.class.c_name));
        let numbers: Vec<u32> = path.chars().map(u32::from).collect();
        let unicode = self.reader.layout.shape.reprs.unicode;
        super::characters::text(&mut self.out, numbers.iter().copied(), true, unicode);
        self.out.form(")");
        Ok(())
    }

    /// A path's text: kept, or made of its parts, or of what it was made from.
    fn path_text(&mut self, at: Address, look: &Look) -> Option<String> {
        const LONGEST: usize = 4096;
        let all = self.own_attributes_named(at, look, &["_str", "_parts", "_root", "_raw_paths"]);
        let text = |at: Address| self.reader.text(at, LONGEST).map(|text| text.text);
        let [kept, parts, root, raw] = all.try_into().ok()?;
        if let Some(kept) = kept.and_then(text) {
            return Some(kept);
        }
        let texts = |list: Address| -> Option<Vec<String>> {
            const PARTS_AT_MOST: i64 = 100;
            let flags = self.reader.flags(self.reader.kind(list).ok()?).ok()?;
            let count = self.reader.size(list).ok().filter(|count| *count <= PARTS_AT_MOST)?;
            let first = match flags & flag::TUPLE != 0 {
                true => list.plus(self.reader.layout.objects.tuple),
                false => {
                    self.reader.memory.pointer(list.plus(self.reader.layout.objects.list)).ok()?
                }
            };
            (0..count.unsigned_abs())
                .map(|i| text(self.reader.memory.pointer(first.plus(i * 8)).ok()?))
                .collect()
        };
        if let (Some(parts), Some(root)) = (parts.and_then(texts), root.and_then(text)) {
            let (first, rest) = match root.is_empty() {
                true => (String::new(), parts.as_slice()),
                false => (root, parts.get(1..).unwrap_or_default()),
            };
            let path = first + &rest.join("/");
            return Some(if path.is_empty() { ".".to_owned() } else { path });
        }
        Some(normal(&raw.and_then(texts)?))
    }

    fn own_attributes_named(
        &mut self,
        at: Address,
        look: &Look,
        names: &[&str],
    ) -> Vec<Option<Address>> {
        names.iter().map(|name| self.one_attribute(at, look, name)).collect()
    }
}

/// As `PurePosixPath` joins and simplifies.
fn normal(parts: &[String]) -> String {
    let mut path = String::new();
    for part in parts {
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(part);
    }
    let slashes = path.len() - path.trim_start_matches('/').len();
    let root = match slashes {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    match (root, names.is_empty()) {
        ("", true) => ".".to_owned(),
        _ => format!("{root}{}", names.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn paths_are_simplified() {
        for (parts, path) in [
            (&["/usr/./lib//x/"][..], "/usr/lib/x"),
            (&[], "."),
            (&["."], "."),
            (&["a", "b"], "a/b"),
            (&["a", "/b"], "/b"),
            (&["//x"], "//x"),
            (&["///x"], "/x"),
            (&["../a"], "../a"),
        ] {
            let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            assert_eq!(normal(&parts), path);
        }
    }
}
