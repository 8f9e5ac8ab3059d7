//! Objects as trees, and how those of many processes differ.

pub(crate) mod changes;
pub(crate) mod json;

use spyhole_session::objects::{Difference, Found, ObjectGroup, ObjectReport, Outcome, Tree, What};

use super::answers::not_loaded;
use super::escape::flat;
use super::json::place;
use super::text::{Ink, Text};
use super::width::list;

/// How much of a tree is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) depth: usize,
    /// Of one value.
    pub(crate) items: usize,
    pub(crate) width: Option<usize>,
}

/// A value that is no longer than this stands on one line, whatever is in it.
const ON_ONE_LINE: usize = 60;
/// Characters of one value, if it is not the one that was asked for.
const SHORT: usize = 200;

/// One process plainly, many compared: the odd ones first, each against the majority, then the majority.
pub(crate) fn text(report: &ObjectReport, extent: Extent) -> Text {
    let mut text = Text::new();
    let found: Vec<&Found> = report
        .answers
        .iter()
        .filter_map(|answer| match &answer.outcome {
            Outcome::Found(found) => Some(found),
            _ => None,
        })
        .collect();
    if let ([only], 1) = (found.as_slice(), report.answers.len()) {
        tree(&mut text, only, "", extent);
        return text;
    }
    let asked = report.answers.len();
    let majority = report.groups.iter().position(|group| !group.is_error);
    for (index, group) in report.groups.iter().enumerate().rev() {
        let member = report.answers.iter().find(|answer| answer.group == Some(index));
        let Some(Outcome::Found(found)) = member.map(|answer| &answer.outcome) else { continue };
        let differs = majority.is_some_and(|majority| majority != index);
        heading(&mut text, group, asked, differs, extent);
        if differs {
            differences(&mut text, group, extent);
        } else {
            tree(&mut text, found, "  ", extent);
        }
    }
    text
}

fn heading(text: &mut Text, group: &ObjectGroup, asked: usize, differs: bool, extent: Extent) {
    let count = group.members.len();
    let verb = match (differs, count) {
        (true, 1) => "differs",
        (true, _) => "differ",
        (false, 1) => "answered",
        (false, _) => "agree",
    };
    let members: Vec<String> = group.members.iter().copied().map(place).collect();
    text.ink(Ink::Strong, list(&members, 0, "  ", extent.width));
    text.line(format!(" {verb} ({count} of {asked}):"));
}

fn differences(text: &mut Text, group: &ObjectGroup, extent: Extent) {
    for difference in group.differs.iter().take(extent.items) {
        text.append(lines(difference, "missing", "extra", "  "));
    }
    let more = group.differs.len().saturating_sub(extent.items);
    if more > 0 || group.cut {
        let least = if group.cut { "at least " } else { "" };
        text.ink(Ink::Faint, format!("  … {least}{more} more differences\n"));
    }
}

/// What to say of one difference: what is not there any more, and what is there instead.
fn lines(difference: &Difference, gone: &str, come: &str, indent: &str) -> Text {
    let mut text = Text::new();
    let path = &difference.path;
    let inside = if path.is_empty() { String::new() } else { format!(" in {}", flat(path)) };
    let value = |value: &Option<String>| short(value.as_deref().unwrap_or_default(), SHORT);
    let (majority, here) = (value(&difference.majority), value(&difference.here));
    let mut removed = |line: String| {
        text.ink(Ink::Removed, format!("{indent}- {line}\n"));
    };
    match &difference.what {
        What::MissingKey(key) => removed(format!("{gone} key {}{inside}: {majority}", flat(key))),
        What::MissingMember => removed(format!("{gone} member{inside}: {majority}")),
        What::MissingItem => removed(format!("{gone} item {}: {majority}", flat(path))),
        What::MissingAttribute(name) => {
            removed(format!("{gone} attribute .{}{inside}: {majority}", flat(name)));
        }
        What::Value | What::Type if path.is_empty() => removed(majority.clone()),
        What::Value | What::Type => removed(format!("{}: {majority}", flat(path))),
        _ => {}
    }
    let mut added = |line: String| {
        text.ink(Ink::Added, format!("{indent}+ {line}\n"));
    };
    match &difference.what {
        What::ExtraKey(key) => added(format!("{come} key {}{inside}: {here}", flat(key))),
        What::ExtraMember => added(format!("{come} member{inside}: {here}")),
        What::ExtraItem => added(format!("{come} item {}: {here}", flat(path))),
        What::ExtraAttribute(name) => {
            added(format!("{come} attribute .{}{inside}: {here}", flat(name)));
        }
        What::Value | What::Type if path.is_empty() => added(here.clone()),
        What::Value | What::Type => added(format!("{}: {here}", flat(path))),
        What::Order => {
            text.line(format!("{indent}~ the same items in another order{inside}"));
        }
        _ => {}
    }
    text
}

/// One line, cut at so many characters.
fn short(text: &str, most: usize) -> String {
    let text = flat(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

/// A value with what is in it.
fn tree(text: &mut Text, found: &Found, indent: &str, extent: Extent) {
    let root = &found.tree;
    text.plain(indent);
    if is_open(root, 0, extent) {
        text.ink(Ink::Strong, head(root));
    } else if root.items.is_some() || root.attributes.is_some() || root.repr.contains('\n') {
        text.plain(short(&root.repr, SHORT));
    } else {
        text.plain(root.repr.to_string());
    }
    if let Some(proxy) = &root.through {
        text.plain(format!(" (through {})", flat(proxy)));
    }
    if root.truncated && !is_open(root, 0, extent) {
        text.plain(" (cut)");
    }
    if found.torn {
        text.plain(" ").ink(Ink::Bad, "(changed while it was read)");
    }
    text.plain("\n");
    if is_open(root, 0, extent) {
        inside(text, root, &format!("{indent}  "), 0, extent);
    }
    if !root.not_run.is_empty() {
        let names = root.not_run.join(", ");
        text.ink(Ink::Faint, format!("{indent}  (not run: {})\n", flat(&names)));
    }
}

/// Whether what is in a value stands on lines of its own.
fn is_open(tree: &Tree, depth: usize, extent: Extent) -> bool {
    let count =
        tree.items.as_ref().map_or(0, Vec::len) + tree.attributes.as_ref().map_or(0, Vec::len);
    // Of the one that was asked for everything is shown.
    let is_long = tree.repr.len() > ON_ONE_LINE || depth == 0;
    depth < extent.depth && count > 0 && is_long
}

/// What stands before the lines of what is in a value.
fn head(tree: &Tree) -> String {
    let name = &*tree.type_name;
    if matches!(name, "module" | "type" | "instances") || tree.repr.starts_with("<class '") {
        return short(&tree.repr, SHORT);
    }
    match tree.length {
        Some(1) => format!("{}, 1 item", flat(name)),
        Some(count) => format!("{}, {count} items", flat(name)),
        None => format!("{} object", flat(name)),
    }
}

fn inside(text: &mut Text, tree: &Tree, indent: &str, depth: usize, extent: Extent) {
    let is_row = tree
        .items
        .iter()
        .flatten()
        .enumerate()
        .all(|(index, item)| item.key.as_ref().is_some_and(|key| **key == *index.to_string()))
        && tree.length.is_some()
        && !tree.unordered;
    let items = tree.items.iter().flatten();
    let mut shown = 0;
    for item in items.take(extent.items) {
        let key = match &item.key {
            Some(key) if is_row => format!("[{}] ", flat(key)),
            Some(key) => format!("{}: ", short(key, SHORT)),
            None => String::new(),
        };
        shown += 1;
        one(text, &item.value, &key, indent, depth, extent);
    }
    let all = tree.items.as_ref().map_or(0, |items| {
        tree.length.map_or(items.len(), |length| usize::try_from(length).unwrap_or(usize::MAX))
    });
    if tree.items.is_some() && all > shown {
        text.ink(Ink::Faint, format!("{indent}… {} more (--max)\n", all - shown));
    }
    let attributes = tree.attributes.as_deref().unwrap_or_default();
    for (name, value) in attributes.iter().take(extent.items) {
        one(text, value, &format!(".{} = ", flat(name)), indent, depth, extent);
    }
    let more = attributes.len().saturating_sub(extent.items);
    if more > 0 {
        text.ink(Ink::Faint, format!("{indent}… {more} more (--max)\n"));
    } else if tree.truncated && tree.items.is_none() {
        text.ink(Ink::Faint, format!("{indent}… more\n"));
    }
}

fn one(text: &mut Text, tree: &Tree, key: &str, indent: &str, depth: usize, extent: Extent) {
    text.plain(indent).plain(key);
    if is_open(tree, depth + 1, extent) {
        text.line(head(tree));
        inside(text, tree, &format!("{indent}  "), depth + 1, extent);
    } else {
        text.line(short(&tree.repr, SHORT));
    }
}

/// What should be known beside the answers.
pub(crate) fn notes(report: &ObjectReport) -> Text {
    let mut text = Text::new();
    for answer in &report.answers {
        if let Outcome::Found(Found { note: Some(note), .. }) = &answer.outcome {
            text.ink(Ink::Advice, "note:").line(format!(" {}: {note}", place(answer.place)));
        }
    }
    text.append(not_loaded(&report.not_loaded));
    text
}
