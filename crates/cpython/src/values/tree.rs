//! Values as trees: what is in them, and in that, as deep and as wide as was asked for.
//!
//! It knows which kinds have items and which have attributes. Properties and whatever else would have to run is named,
//! and has no value here.

use std::sync::Arc;

use spyhole_proc::Address;

use super::forms::{Form, Look};
use super::{GAPS_AT_MOST, NAME_AT_MOST, REDACTED, Rendered, Values};
use crate::dicts::Entry;
use crate::reader::flag;

/// How much of a tree is told.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Levels below the value itself; plain containers go on for two more, so that what is compared is not cut in the
    /// middle of a list.
    pub depth: usize,
    /// Items of one value.
    pub items: usize,
    /// Values in all.
    pub nodes: usize,
}

/// A value and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// `module.qualname`, bare for builtins.
    pub type_name: Arc<str>,
    pub repr: Arc<str>,
    /// Its text was cut, or there is more in it than is told.
    pub truncated: bool,
    pub length: Option<u64>,
    pub address: Address,
    /// Nothing in it has an order of its own.
    pub unordered: bool,
    /// What stands for it, if it was reached through a proxy.
    pub through: Option<Arc<str>>,
    pub items: Option<Vec<Item>>,
    pub attributes: Option<Vec<(Arc<str>, Tree)>>,
    /// Names that would have to run for a value.
    pub not_run: Vec<String>,
}

/// One item of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key as Python would write it, its place in a row; `None` for a member of a set.
    pub key: Option<Arc<str>>,
    pub value: Tree,
}

impl Tree {
    /// What stands for a secret.
    pub fn redacted(type_name: Arc<str>, address: Address) -> Self {
        Self {
            type_name,
            repr: REDACTED.into(),
            truncated: false,
            length: None,
            address,
            unordered: false,
            through: None,
            items: None,
            attributes: None,
            not_run: Vec::new(),
        }
    }
}

/// Items and attributes of a value.
type Inside = (Option<Vec<Item>>, Option<Vec<(Arc<str>, Tree)>>);

/// Text of one value that has others in it.
const SHORT: usize = 200;

impl<'a> Values<'a> {
    /// The value at `at` with what is in it.
    pub fn tree(&mut self, at: Address, bounds: Bounds) -> Tree {
        self.path.clear();
        let mut building = Building { left: bounds.nodes, bounds, path: Vec::new() };
        self.node(at, 0, &mut building)
    }

    /// The value at `at` in few characters.
    pub fn render_short(&mut self, at: Address) -> Rendered {
        self.render_within(at, SHORT)
    }

    fn render_within(&mut self, at: Address, characters: usize) -> Rendered {
        let all = std::mem::replace(&mut self.limits.characters, characters);
        let rendered = self.render(at);
        self.limits.characters = all;
        rendered
    }

    fn node(&mut self, at: Address, depth: usize, building: &mut Building) -> Tree {
        building.left = building.left.saturating_sub(1);
        let look = self.reader.kind(at).ok().and_then(|kind| self.look(kind));
        let plain = look.as_ref().is_some_and(|look| is_plain(look.form));
        let deepest = building.bounds.depth + if plain { 2 } else { 0 };
        let has_more = depth < deepest && building.left > 0 && !building.path.contains(&at);
        let (mut items, mut attributes) = (None, None);
        let mut cut = false;
        let mut is_within = false;
        if let Some(look) = &look {
            is_within = has_inside(look, depth);
            if has_more && is_within {
                building.path.push(at);
                (items, attributes) = self.inside(at, look, depth, building, &mut cut);
                building.path.pop();
            }
        }
        let rendered = match is_within {
            true => self.render_within(at, SHORT),
            false => self.render(at),
        };
        let has_children = items.is_some() || attributes.is_some();
        let not_run = match &look {
            Some(look) if depth == 0 && look.form == Form::Instance => {
                self.properties(&look.class.clone(), 50)
            }
            _ => Vec::new(),
        };
        Tree {
            type_name: rendered.type_name,
            repr: rendered.text,
            truncated: cut || (rendered.truncated && !has_children),
            length: look.as_ref().and_then(|look| self.length_of(at, look)),
            address: at,
            unordered: look.as_ref().is_some_and(|look| is_unordered(look.form)),
            through: None,
            items,
            attributes,
            not_run,
        }
    }

    /// How many items a value has, where that is kept.
    fn length_of(&self, at: Address, look: &Look) -> Option<u64> {
        let of = &self.reader.layout;
        let memory = self.reader.memory;
        match look.base.unwrap_or(look.form) {
            Form::List
            | Form::Tuple
            | Form::Deque
            | Form::Bytes
            | Form::ByteArray
            | Form::NamedTuple => self.length(at).ok(),
            Form::Dict | Form::Ordered | Form::Defaulting | Form::Counter => {
                memory.word(at.plus(of.dict.used)).ok()
            }
            Form::Set => memory.word(at.plus(of.objects.set_used)).ok(),
            Form::Text => memory.word(at.plus(of.text.length)).ok(),
            _ => None,
        }
    }

    /// Items and attributes.
    fn inside(
        &mut self,
        at: Address,
        look: &Look,
        depth: usize,
        building: &mut Building,
        cut: &mut bool,
    ) -> Inside {
        let items = self.items_of(at, look.base.unwrap_or(look.form), depth, building, cut);
        let attributes = match look.form {
            Form::Instance | Form::NamedTuple | Form::Module | Form::Class | Form::Exception => {
                let named = self.attributes_of(at, look, building, cut);
                let mut told = Vec::new();
                for (name, value) in named {
                    if building.left == 0 {
                        *cut = true;
                        break;
                    }
                    let tree = match (self.limits.hides)(&name) {
                        true => Tree::redacted(self.type_name(value), value),
                        false => self.node(value, depth + 1, building),
                    };
                    told.push((name.into(), tree));
                }
                Some(told)
            }
            _ => None,
        };
        (items, attributes.filter(|told| !told.is_empty() || items_missing(look)))
    }

    fn attributes_of(
        &mut self,
        at: Address,
        look: &Look,
        building: &Building,
        cut: &mut bool,
    ) -> Vec<(String, Address)> {
        let most = building.bounds.items;
        let entries = |own: &Self, entries: Vec<Entry>, hidden: fn(&str) -> bool| {
            let named = entries.into_iter().filter_map(|entry| {
                Some((own.reader.text(entry.key, NAME_AT_MOST)?.text, entry.value))
            });
            named.filter(|(name, _)| !hidden(name)).collect::<Vec<_>>()
        };
        let is_pythons = |name: &str| name.starts_with("__") && name.ends_with("__");
        let mut named = match look.form {
            Form::Module => {
                let dict = at.plus(self.reader.layout.objects.module_dict);
                let dict = self.reader.memory.pointer(dict).unwrap_or_default();
                if self.reader.kind(dict).ok() != Some(self.reader.types.dict) {
                    return Vec::new();
                }
                let beginning = self.reader.dict_beginning(dict, most + 20, GAPS_AT_MOST);
                let beginning = beginning.unwrap_or_default();
                *cut |= beginning.cut;
                entries(self, beginning.entries, is_pythons)
            }
            Form::Class => entries(self, self.class_entries(at, most + 20), is_pythons),
            Form::NamedTuple => self.fields_of(at, look, most),
            _ => {
                let mut named = self.slots(at, look);
                let own = self.reader.attributes(at, most.saturating_add(1)).ok().flatten();
                named.extend(entries(self, own.unwrap_or_default(), |_| false));
                named
            }
        };
        if named.len() > most {
            *cut = true;
            named.truncate(most);
        }
        named
    }

    fn items_of(
        &mut self,
        at: Address,
        form: Form,
        depth: usize,
        building: &mut Building,
        cut: &mut bool,
    ) -> Option<Vec<Item>> {
        let most = building.bounds.items.min(building.left);
        let mut told = Vec::new();
        match form {
            Form::Tuple | Form::List | Form::Deque => {
                let length = self.length(at).ok()?;
                let found = match form {
                    Form::Deque => self.deque_items(at, most as u64).ok()?,
                    _ => self.sequence(at, most)?,
                };
                *cut |= (found.len() as u64) < length;
                // A name and its value, as headers are kept.
                let hidden = found.len() == 2 && length == 2 && self.is_secret(found[0]);
                for (index, value) in found.into_iter().enumerate() {
                    if building.left == 0 {
                        *cut = true;
                        break;
                    }
                    let key = Some(Arc::from(index.to_string()));
                    let value = match hidden && index == 1 {
                        true => Tree::redacted(self.type_name(value), value),
                        false => self.node(value, depth + 1, building),
                    };
                    told.push(Item { key, value });
                }
            }
            Form::Set => {
                let (members, more) = self.members_of_set(at, most).ok()?;
                *cut |= more;
                for member in members {
                    let value = self.node(member, depth + 1, building);
                    told.push(Item { key: None, value });
                }
            }
            Form::Proxy => {
                let viewed = at.plus(self.reader.layout.details.unlisted.viewed);
                let viewed = self.reader.memory.pointer(viewed).ok()?;
                let flags = self.reader.flags(self.reader.kind(viewed).ok()?).ok()?;
                if flags & flag::DICT == 0 {
                    return None;
                }
                return self.items_of(viewed, Form::Dict, depth, building, cut);
            }
            Form::Dict | Form::Ordered | Form::Defaulting | Form::Counter => {
                let beginning = match form {
                    Form::Ordered => self.ordered_entries(at, most).ok()?,
                    _ => self
                        .reader
                        .dict_beginning(at, most, (most as u64).max(GAPS_AT_MOST))
                        .ok()?,
                };
                *cut |= beginning.cut;
                for entry in beginning.entries {
                    if building.left == 0 {
                        *cut = true;
                        break;
                    }
                    let key = Some(self.render_within(entry.key, SHORT).text);
                    let value = match self.is_secret(entry.key) {
                        true => Tree::redacted(self.type_name(entry.value), entry.value),
                        false => self.node(entry.value, depth + 1, building),
                    };
                    told.push(Item { key, value });
                }
            }
            _ => return None,
        }
        Some(told)
    }
}

/// What is needed while a tree is built.
struct Building {
    left: usize,
    bounds: Bounds,
    /// What is being told, outermost first.
    path: Vec<Address>,
}

/// Built of nothing but values.
fn is_plain(form: Form) -> bool {
    matches!(
        form,
        Form::Tuple
            | Form::List
            | Form::Dict
            | Form::Set
            | Form::Ordered
            | Form::Defaulting
            | Form::Deque
            | Form::Proxy
            | Form::Counter
            | Form::NamedTuple
    )
}

fn is_unordered(form: Form) -> bool {
    matches!(form, Form::Dict | Form::Set | Form::Defaulting | Form::Counter | Form::Proxy)
}

/// Whether anything can be told that is in such a value. Modules and classes are told where they are what was asked for.
fn has_inside(look: &Look, depth: usize) -> bool {
    match look.form {
        Form::Module | Form::Class | Form::Exception => depth == 0,
        Form::Instance => true,
        form => is_plain(form),
    }
}

fn items_missing(look: &Look) -> bool {
    look.base.is_none_or(|base| !is_plain(base))
}
