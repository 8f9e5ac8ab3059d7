//! Many answers, one report: equal ones grouped, and where the others differ from the most.
//!
//! Addresses and the order of what has none are no differences. What is deeper than was asked for is none either.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use spyhole_cpython::values::{Item, Tree};

use super::{Answered, ObjectAnswer, ObjectReport, Outcome, Request};
use crate::failure;
use crate::model::{ErrorKind, Place};

/// Places that have the same.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectGroup {
    pub members: Vec<Place>,
    /// `true` if the members failed alike.
    pub is_error: bool,
    /// Where they differ from the largest group that has an answer; empty for that one.
    pub differs: Vec<Difference>,
    /// There are more differences than these.
    pub cut: bool,
}

/// One place where a group differs from the majority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// From the value that was asked for: `["key"].name`, empty for that value itself.
    pub path: String,
    pub what: What,
    /// What the most have there.
    pub majority: Option<String>,
    /// What these have.
    pub here: Option<String>,
}

/// What is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A key that only the majority has.
    MissingKey(String),
    /// A key that only these have.
    ExtraKey(String),
    MissingMember,
    ExtraMember,
    MissingItem,
    ExtraItem,
    MissingAttribute(String),
    ExtraAttribute(String),
    Value,
    Type,
    /// The same items in another order.
    Order,
}

const DIFFERENCES_AT_MOST: usize = 200;
const DEEPEST: usize = 60;

/// Groups the answers. A place that has nothing of what was asked for is no answer, if another one has it.
pub(crate) fn report(request: &Request, answers: Vec<Answered>) -> ObjectReport {
    let somebody_answers = answers.iter().any(|one| !is_uninitialised(one));
    let lacking: Vec<bool> = answers
        .iter()
        .map(|one| lacks(one, &answers) || (somebody_answers && is_uninitialised(one)))
        .collect();
    let all_lack = lacking.iter().all(|lacks| *lacks);
    let mut not_loaded = Vec::new();
    let mut kept: Vec<ObjectAnswer> = Vec::new();
    for (answered, lacks) in answers.into_iter().zip(lacking) {
        if lacks && !all_lack {
            not_loaded.push(answered.answer.place);
        } else {
            kept.push(answered.answer);
        }
    }
    let mut keyed: Vec<(String, Vec<usize>)> = Vec::new();
    let mut by_key: HashMap<String, usize> = HashMap::new();
    for (index, answer) in kept.iter().enumerate() {
        let key = key(answer);
        let at = *by_key.entry(key.clone()).or_insert_with(|| {
            keyed.push((key, Vec::new()));
            keyed.len() - 1
        });
        keyed[at].1.push(index);
    }
    // A stable sort: among equals the first answer comes first.
    keyed.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let tree = |index: usize| match &kept[index].outcome {
        Outcome::Found(found) => Some(&found.tree),
        _ => None,
    };
    let majority = keyed.iter().find_map(|(_, members)| tree(members[0]).map(|t| (members[0], t)));
    let groups = keyed.iter().map(|(_, members)| {
        let own = tree(members[0]);
        let mut differences = Differences::default();
        if let (Some((first, majority)), Some(own)) = (majority, own)
            && first != members[0]
        {
            differences.between(majority, own, "", 0);
        }
        ObjectGroup {
            members: members.iter().map(|index| kept[*index].place).collect(),
            is_error: own.is_none(),
            differs: differences.found,
            cut: differences.cut,
        }
    });
    let groups: Vec<ObjectGroup> = groups.collect();
    for (group, (_, members)) in keyed.iter().enumerate() {
        for index in members {
            kept[*index].group = Some(group);
        }
    }
    ObjectReport { path: request.path.text.clone(), answers: kept, groups, not_loaded }
}

fn is_uninitialised(one: &Answered) -> bool {
    matches!(&one.answer.outcome, Outcome::Failed(error)
        if error.type_name == failure::NOT_INITIALISED && error.kind == ErrorKind::Unreachable)
}

/// It has not even the beginning, or lacks a module that is loaded elsewhere.
fn lacks(one: &Answered, all: &[Answered]) -> bool {
    let Outcome::Nowhere(nowhere) = &one.answer.outcome else { return false };
    let has = |other: &&Answered| match &other.answer.outcome {
        Outcome::Found(_) => true,
        Outcome::Nowhere(other) => !other.not_here,
        Outcome::Failed(_) => false,
    };
    if nowhere.not_here {
        return all.iter().any(|other| has(&other));
    }
    let Some(missing) = &nowhere.missing else { return false };
    all.iter().flat_map(|other| &other.loaded).any(|module| {
        !one.loaded.contains(module)
            && (missing == module
                || module.strip_prefix(missing.as_str()).is_some_and(|rest| rest.starts_with('.')))
    })
}

fn key(answer: &ObjectAnswer) -> String {
    match &answer.outcome {
        Outcome::Found(found) => {
            let mut text = String::new();
            canonical(&found.tree, &mut text, 0);
            text
        }
        Outcome::Nowhere(nowhere) => format!("nowhere\0{}\0{}", nowhere.step, nowhere.message),
        // Messages of ours name the process.
        Outcome::Failed(error) => {
            let pid = answer.place.pid.to_string();
            format!("failed\0{}\0{}", error.kind.name(), error.message.replace(&pid, "PID"))
        }
    }
}

/// A text that equal values have alike.
fn canonical(tree: &Tree, text: &mut String, depth: usize) {
    text.push_str(&tree.type_name);
    text.push('\u{1}');
    if depth > DEEPEST || (tree.items.is_none() && tree.attributes.is_none()) {
        text.push_str(&shown(tree));
        text.push('\u{2}');
        return;
    }
    if let Some(length) = tree.length {
        text.push_str(&length.to_string());
    }
    let mut parts: Vec<String> = Vec::new();
    for item in tree.items.iter().flatten() {
        let mut part = item.key.as_ref().map(|key| without_addresses(key)).unwrap_or_default();
        part.push('\u{3}');
        canonical(&item.value, &mut part, depth + 1);
        parts.push(part);
    }
    if tree.unordered {
        parts.sort();
    }
    text.extend(parts);
    let mut attributes: Vec<String> = Vec::new();
    for (name, value) in tree.attributes.iter().flatten() {
        let mut part = format!("{name}\u{3}");
        canonical(value, &mut part, depth + 1);
        attributes.push(part);
    }
    attributes.sort();
    text.extend(attributes);
    text.push('\u{2}');
}

/// What a value without anything in it is compared by: what holds others is told by how many they are, as where it ends
/// in a short text differs from one process to the next.
fn shown(tree: &Tree) -> String {
    let scalar = matches!(&*tree.type_name, "str" | "bytes" | "bytearray");
    match tree.length {
        Some(length) if !scalar => format!("{length} items"),
        Some(length) => format!("{length} {}", tree.repr),
        None => without_addresses(&tree.repr),
    }
}

/// ` at 0x7f...` without its number.
pub fn without_addresses(text: &str) -> String {
    const MARK: &str = "0x";
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (before, number) = rest.split_at(at);
        let digits = number[MARK.len()..].bytes().take_while(u8::is_ascii_hexdigit).count();
        kept.push_str(before);
        // Shorter ones are no addresses.
        match before.ends_with(" at ") && digits >= 6 {
            true => kept.push_str("0x..."),
            false => kept.push_str(&number[..MARK.len() + digits]),
        }
        rest = &number[MARK.len() + digits..];
    }
    kept.push_str(rest);
    kept
}

#[derive(Default)]
struct Differences {
    found: Vec<Difference>,
    cut: bool,
}

impl Differences {
    fn add(&mut self, path: &str, what: What, majority: Option<&Tree>, here: Option<&Tree>) {
        if self.found.len() == DIFFERENCES_AT_MOST {
            self.cut = true;
            return;
        }
        let text = |tree: &Tree| tree.repr.to_string();
        let (majority, here) = (majority.map(text), here.map(text));
        self.found.push(Difference { path: path.to_owned(), what, majority, here });
    }

    fn between(&mut self, majority: &Tree, here: &Tree, path: &str, depth: usize) {
        if self.cut || alike(majority, here) {
            return;
        }
        if majority.type_name != here.type_name {
            return self.add(path, What::Type, Some(majority), Some(here));
        }
        let both_have = |one: bool, other: bool| one && other;
        let items = both_have(majority.items.is_some(), here.items.is_some());
        let attributes = both_have(majority.attributes.is_some(), here.attributes.is_some());
        if depth > DEEPEST || !(items || attributes) {
            return self.add(path, What::Value, Some(majority), Some(here));
        }
        let before = self.found.len();
        self.items(majority, here, path, depth);
        self.attributes(majority, here, path, depth);
        if self.found.len() == before && !self.cut {
            let what = match majority.length == here.length {
                true => What::Order,
                false => What::Value,
            };
            self.add(path, what, Some(majority), Some(here));
        }
    }

    fn items(&mut self, majority: &Tree, here: &Tree, path: &str, depth: usize) {
        let (Some(these), Some(those)) = (&majority.items, &here.items) else { return };
        let is_row = matches!(&*majority.type_name, "list" | "tuple" | "collections.deque");
        let is_set = these.iter().chain(those).any(|item| item.key.is_none());
        if is_set {
            let keys =
                |items: &[Item]| items.iter().map(|item| of(&item.value)).collect::<Vec<_>>();
            let (left, right) = (keys(these), keys(those));
            for (item, _) in only(these, &left, &right) {
                self.add(path, What::MissingMember, Some(&item.value), None);
            }
            for (item, _) in only(those, &right, &left) {
                self.add(path, What::ExtraMember, None, Some(&item.value));
            }
            return;
        }
        if is_row && these.len() != those.len() {
            return self.rows(these, those, path, depth);
        }
        let keys = |items: &[Item]| {
            let keys = items.iter().map(|item| item.key.as_deref().unwrap_or_default());
            keys.map(without_addresses).collect::<Vec<_>>()
        };
        let (left, right) = (keys(these), keys(those));
        for (item, key) in only(these, &left, &right) {
            self.add(path, What::MissingKey(key.clone()), Some(&item.value), None);
        }
        for (item, key) in only(those, &right, &left) {
            self.add(path, What::ExtraKey(key.clone()), None, Some(&item.value));
        }
        let by_key: HashMap<&String, usize> = right.iter().zip(0..).collect();
        for (item, key) in these.iter().zip(&left) {
            if let Some(other) = by_key.get(key).and_then(|index| those.get(*index)) {
                self.between(&item.value, &other.value, &format!("{path}[{key}]"), depth + 1);
            }
        }
    }

    /// Rows of another length: what was taken out and put in, where little was.
    fn rows(&mut self, these: &[Item], those: &[Item], path: &str, depth: usize) {
        let left: Vec<String> = these.iter().map(|item| of(&item.value)).collect();
        let right: Vec<String> = those.iter().map(|item| of(&item.value)).collect();
        let mut start = 0;
        while start < left.len().min(right.len()) && left[start] == right[start] {
            start += 1;
        }
        let mut end = 0;
        while end < left.len().min(right.len()) - start
            && left[left.len() - 1 - end] == right[right.len() - 1 - end]
        {
            end += 1;
        }
        let (gone, come) = (&these[start..these.len() - end], &those[start..those.len() - end]);
        let both = gone.len().min(come.len());
        for (index, (one, other)) in gone.iter().zip(come).enumerate() {
            let path = format!("{path}[{}]", start + index);
            self.between(&one.value, &other.value, &path, depth + 1);
        }
        for (index, item) in gone.iter().enumerate().skip(both) {
            let path = format!("{path}[{}]", start + index);
            self.add(&path, What::MissingItem, Some(&item.value), None);
        }
        for (index, item) in come.iter().enumerate().skip(both) {
            let path = format!("{path}[{}]", start + index);
            self.add(&path, What::ExtraItem, None, Some(&item.value));
        }
    }

    fn attributes(&mut self, majority: &Tree, here: &Tree, path: &str, depth: usize) {
        let (Some(these), Some(those)) = (&majority.attributes, &here.attributes) else { return };
        let find = |all: &'_ [(Arc<str>, Tree)], name: &str| {
            all.iter().position(|(known, _)| **known == *name)
        };
        for (name, value) in these {
            match find(those, name).and_then(|index| those.get(index)) {
                Some((_, other)) => {
                    self.between(value, other, &format!("{path}.{name}"), depth + 1);
                }
                None => self.add(path, What::MissingAttribute(name.to_string()), Some(value), None),
            }
        }
        for (name, value) in those {
            if find(these, name).is_none() {
                self.add(path, What::ExtraAttribute(name.to_string()), None, Some(value));
            }
        }
    }
}

fn of(tree: &Tree) -> String {
    let mut text = String::new();
    canonical(tree, &mut text, 0);
    text
}

fn alike(one: &Tree, other: &Tree) -> bool {
    of(one) == of(other)
}

/// Those that have no equal among the others, with what they are told apart by.
fn only<'a>(
    items: &'a [Item],
    keys: &'a [String],
    others: &[String],
) -> Vec<(&'a Item, &'a String)> {
    let others: HashSet<&String> = others.iter().collect();
    items.iter().zip(keys).filter(|(_, key)| !others.contains(key)).collect()
}

/// Where one value differs from what it was before, at most so many places.
pub fn differences(before: &Tree, now: &Tree) -> Vec<Difference> {
    let mut differences = Differences::default();
    differences.between(before, now, "", 0);
    differences.found
}
