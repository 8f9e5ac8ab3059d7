//! The stacks of `stack`, as text and as JSON.
//!
//! It knows in which order a person in a hurry wants them: what holds the GIL, then what runs, then what is rare. What a
//! process may have put into a name is escaped by whoever writes the text.

mod beyond;
pub(crate) mod changes;
mod excerpt;
mod fold;
mod frames;
pub(crate) mod json;
#[cfg(test)]
mod models;
#[cfg(test)]
mod tests;
mod waits;

use spyhole_session::model::{ProcessStacks, StackFrame};

use super::escape::flat;
use super::text::{Ink, Text};
use super::width::list;
use fold::{Group, Member};

/// How stacks are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// Each thread by itself, with all of its frames and their lines.
    pub(crate) all: bool,
    pub(crate) width: Option<usize>,
}

/// `1 thread`, `2 threads`.
fn counted(count: usize, what: &str) -> String {
    let plural = match what.strip_suffix("ss") {
        Some(_) => "es",
        None => "s",
    };
    format!("{count} {what}{}", if count == 1 { "" } else { plural })
}

pub(crate) fn text(processes: &[ProcessStacks], style: Style) -> Text {
    let mut text = Text::new();
    if processes.len() > 1 && !style.all {
        heads(&mut text, processes, style);
        waits::deadlocks(&mut text, processes, style.width);
        let members: Vec<Member<'_>> = processes.iter().flat_map(fold::members).collect();
        for group in fold::groups(members, false) {
            text.plain("\n");
            stack(&mut text, &group, true, style);
        }
        beyond::text(&mut text, processes, style);
        return text;
    }
    for (index, process) in processes.iter().enumerate() {
        if index > 0 {
            text.plain("\n");
        }
        head(&mut text, process);
        waits::deadlocks(&mut text, std::slice::from_ref(process), style.width);
        for interpreter in &process.interpreters {
            if process.interpreters.len() > 1 {
                text.plain("\n").ink(Ink::Strong, format!("interpreter {}", interpreter.id));
                if let Some(name) = interpreter.name.as_deref().filter(|name| !name.is_empty()) {
                    text.plain(format!(" ({})", flat(name)));
                }
                text.plain("\n");
            }
            let members = interpreter.threads.iter();
            let members = members.map(|thread| Member { process, interpreter, thread }).collect();
            for group in fold::groups(members, style.all) {
                text.plain("\n");
                stack(&mut text, &group, false, style);
            }
            if interpreter.threads.is_empty() {
                text.plain("\n").line("  no threads");
            }
        }
        beyond::text(&mut text, std::slice::from_ref(process), style);
    }
    text
}

fn head(text: &mut Text, process: &ProcessStacks) {
    let threads = fold::members(process).count();
    text.ink(Ink::Strong, format!("process {}", process.pid));
    text.plain(format!(", Python {}, {}", process.python, counted(threads, "thread")));
    if process.interpreters.len() > 1 {
        text.plain(format!(" in {} interpreters", process.interpreters.len()));
    }
    if process.torn {
        text.plain(", ").ink(Ink::Bad, "changed while it was read");
    }
    text.plain("\n");
}

/// Of many processes: how many, and their numbers by version.
fn heads(text: &mut Text, processes: &[ProcessStacks], style: Style) {
    let threads: usize = processes.iter().map(|process| fold::members(process).count()).sum();
    text.ink(Ink::Strong, counted(processes.len(), "process"));
    text.line(format!(", {}", counted(threads, "thread")));
    let mut versions: Vec<(&str, Vec<String>)> = Vec::new();
    for process in processes {
        match versions.iter_mut().find(|(version, _)| *version == process.python) {
            Some((_, pids)) => pids.push(process.pid.to_string()),
            None => versions.push((&process.python, vec![process.pid.to_string()])),
        }
    }
    for (version, pids) in versions {
        let lead = format!("  Python {version}: ");
        text.plain(lead.clone()).line(list(&pids, lead.len(), "    ", style.width));
    }
    let named = |wanted: fn(&ProcessStacks) -> bool| -> Vec<String> {
        processes.iter().filter(|one| wanted(one)).map(|one| one.pid.to_string()).collect()
    };
    let torn = named(|process| process.torn);
    if !torn.is_empty() {
        let lead = "changed while they were read";
        text.plain("  ").ink(Ink::Bad, lead);
        text.plain(": ").line(list(&torn, lead.len() + 4, "    ", style.width));
    }
    let empty = named(|process| fold::members(process).next().is_none());
    if !empty.is_empty() {
        text.line(format!("  no threads: {}", list(&empty, 14, "    ", style.width)));
    }
}

/// One stack and whose it is.
fn stack(text: &mut Text, group: &Group<'_>, across: bool, style: Style) {
    fold::head(text, group, across, style.width);
    waits::of_group(text, group, style.width);
    frames::frames(text, group.first().thread, style);
}

/// What should be known of a look beside what it shows.
pub(crate) fn notes(processes: &[ProcessStacks]) -> Text {
    let mut text = Text::new();
    for process in processes {
        for note in &process.notes {
            text.ink(Ink::Advice, "note:").line(format!(" process {}: {note}", process.pid));
        }
    }
    text
}

/// Frames without a head.
pub(crate) fn frames_of(text: &mut Text, all: &[StackFrame], style: Style) {
    frames::of_stack(text, frames::Stack { frames: all, cut: false }, style);
}
