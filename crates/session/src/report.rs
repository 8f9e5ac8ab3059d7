//! The snapshot for whoever is on call: what processes are, what they do, and in one line what is wrong with each.
//!
//! It looks twice, so that what stands still is told from what happens to be there. What it says is what it saw: a verdict
//! names no cause that was not read.

use std::thread;
use std::time::{Duration, Instant};

use crate::model::{EvalError, ProcessRow, ProcessStacks, StackFrame, ThreadStack, ThreadState};
use crate::requests::Wanted;
use crate::snapshot::{self, Look, Options, Pause};
use crate::target::Target;
use crate::waits::{DeadlockKind, WaitKind};
use crate::{processes, redaction};

/// One process of a report.
#[derive(Clone, Debug)]
pub struct Reported {
    pub pid: i32,
    pub verdict: Verdict,
    /// `None` if it is gone.
    pub row: Option<ProcessRow>,
    pub stacks: Result<ProcessStacks, EvalError>,
}

/// What is wrong with a process, the worst first.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub trouble: Trouble,
    /// `deadlocked, 2 threads`
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Deadlocked,
    /// One thread held the GIL at the same place each time, and others wait for it.
    Held,
    Stopped,
    /// It could not be looked at.
    Unseen,
    /// A request is older than is usual.
    Slow,
    None,
}

impl Trouble {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deadlocked => "deadlocked",
            Self::Held => "gil-held",
            Self::Stopped => "stopped",
            Self::Unseen => "unseen",
            Self::Slow => "slow-request",
            Self::None => "none",
        }
    }
}

/// Between the two looks.
const APART: Duration = Duration::from_millis(250);
/// What all of it may take, when the first look took long.
const TIME: Duration = Duration::from_millis(1500);
/// A request that has been served for longer is named.
const OLD_REQUEST: Duration = Duration::from_secs(30);

/// Looks at all targets; the worst come first.
pub fn of_all(targets: &[Target], wanted: Wanted) -> Vec<Reported> {
    let begun = Instant::now();
    let options =
        |sources| Options { pause: Pause::Holder, sources, locals: None, requests: Some(wanted) };
    let first = snapshot::of_all(targets, options(true));
    let second = match begun.elapsed() * 2 + APART < TIME {
        true => {
            thread::sleep(APART);
            snapshot::of_all(targets, Options { requests: None, ..options(false) })
        }
        false => Vec::new(),
    };
    let apart = begun.elapsed();
    let mut rows = processes::of(targets.iter().map(|target| target.pid));
    let mut all: Vec<Reported> = first
        .into_iter()
        .enumerate()
        .map(|(index, Look { pid, outcome })| {
            let again = second.get(index).and_then(|look| look.outcome.as_ref().ok());
            let verdict = match &outcome {
                Ok(stacks) => verdict(stacks, again, apart),
                Err(error) => {
                    let text = format!("cannot be looked at: {}", error.message);
                    Verdict { trouble: Trouble::Unseen, text }
                }
            };
            let place = rows.iter().position(|row| row.pid == pid);
            let row = place.map(|place| rows.swap_remove(place)).map(|row| hidden(row, wanted));
            Reported { pid, verdict, row, stacks: outcome }
        })
        .collect();
    all.sort_by_key(|one| one.verdict.trouble);
    all
}

fn verdict(first: &ProcessStacks, second: Option<&ProcessStacks>, apart: Duration) -> Verdict {
    let said = |trouble, text| Verdict { trouble, text };
    if !first.deadlocks.is_empty() {
        return said(Trouble::Deadlocked, deadlocked(first));
    }
    let threads = || first.interpreters.iter().flat_map(|one| &one.threads);
    if threads().next().is_some() && threads().all(|one| one.state == ThreadState::Stopped) {
        return said(Trouble::Stopped, "stopped by a signal".to_owned());
    }
    let waiting = threads()
        .filter(|one| one.waits_for.as_ref().is_some_and(|wait| wait.kind == WaitKind::Gil))
        .count();
    if let Some(holder) = threads().find(|one| one.holds_gil)
        && second.is_some_and(|second| holds_still(holder, second))
    {
        let place = holder.frames.first().map(place).unwrap_or_else(|| "no Python frame".into());
        let (place, caller) = match &holder.in_c {
            Some(native) => (native.name(), format!(", called in {place}")),
            None => (place, String::new()),
        };
        let thread = holder.native_id.map_or_else(|| "?".to_owned(), |tid| tid.to_string());
        let held = format!("{:.1} s or more", apart.as_secs_f64());
        let others = match waiting {
            0 => String::new(),
            1 => ", 1 thread waits for it".to_owned(),
            count => format!(", {count} threads wait for it"),
        };
        return said(
            Trouble::Held,
            format!("GIL held {held} in {place} by thread {thread}{caller}{others}"),
        );
    }
    let ages = first.requests.iter().filter_map(|request| request.age);
    let oldest = ages.max().filter(|age| *age > OLD_REQUEST);
    if let Some(age) = oldest {
        let text = format!("a request is served for {} s", age.as_secs());
        return said(Trouble::Slow, text);
    }
    let count = |count: usize, what: &str| {
        (count > 0).then(|| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
    };
    let all = |of: fn(&crate::model::InterpreterStacks) -> usize| {
        first.interpreters.iter().map(of).sum::<usize>()
    };
    let parts = [
        count(all(|one| one.threads.len()), "thread"),
        count(all(|one| one.tasks.len()), "task"),
        count(all(|one| one.greenlets.len()), "greenlet"),
        count(first.requests.len(), "request"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    said(Trouble::None, format!("nothing seen to be wrong, {}", parts.join(", ")))
}

fn deadlocked(stacks: &ProcessStacks) -> String {
    let kinds = [
        (DeadlockKind::Threads, "threads"),
        (DeadlockKind::Tasks, "tasks"),
        (DeadlockKind::Greenlets, "greenlets"),
    ];
    let parts = kinds.into_iter().filter_map(|(kind, what)| {
        let members = stacks.deadlocks.iter().filter(|one| one.kind == kind);
        let count: usize = members.map(|one| one.members.len()).sum();
        let what = if count == 1 { what.trim_end_matches('s') } else { what };
        (count > 0).then(|| format!("{count} {what}"))
    });
    format!("deadlocked, {}", parts.collect::<Vec<_>>().join(", "))
}

/// The same thread holds it, and is where it was.
fn holds_still(holder: &ThreadStack, again: &ProcessStacks) -> bool {
    let mut threads = again.interpreters.iter().flat_map(|one| &one.threads);
    let Some(now) = threads.find(|one| one.native_id == holder.native_id && one.holds_gil) else {
        return false;
    };
    let places = |thread: &ThreadStack| {
        let frames = thread.frames.iter();
        frames.map(|one| (one.function.clone(), one.line, one.column)).collect::<Vec<_>>()
    };
    places(now) == places(holder)
}

fn place(frame: &StackFrame) -> String {
    let function = frame.function.as_deref().unwrap_or("?");
    let named = match frame.module.as_deref() {
        Some(module) if module != "__main__" => format!("{module}.{function}"),
        _ => function.to_owned(),
    };
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => {
            let name = file.rsplit('/').next().unwrap_or(file);
            format!("{named} ({name}:{line})")
        }
        _ => named,
    }
}

/// A command line without what stands behind `--password`.
fn hidden(mut row: ProcessRow, wanted: Wanted) -> ProcessRow {
    if wanted.reveal {
        return row;
    }
    let mut behind = false;
    for word in &mut row.cmdline {
        let is_option = word.starts_with('-');
        if behind && !is_option {
            *word = spyhole_cpython::values::REDACTED.to_owned();
        } else {
            *word = crate::requests::without_secrets(word);
        }
        behind = is_option && !word.contains('=') && redaction::is_secret(word);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InterpreterStacks;

    fn thread(tid: i32, line: u32, holds_gil: bool) -> ThreadStack {
        let frame = StackFrame {
            function: Some("pack".into()),
            module: Some("shop.zip".into()),
            file: Some("/srv/shop/zip.py".into()),
            line: Some(line),
            ..StackFrame::default()
        };
        ThreadStack {
            native_id: Some(tid),
            ident: 1,
            name: None,
            daemon: None,
            state: ThreadState::Running,
            syscall: None,
            holds_gil,
            in_c: None,
            waits_for: None,
            torn: false,
            cut: false,
            frames: vec![frame],
        }
    }

    fn process(threads: Vec<ThreadStack>) -> ProcessStacks {
        ProcessStacks {
            pid: 1,
            python: "3.11.7".into(),
            paused: Duration::ZERO,
            torn: false,
            notes: Vec::new(),
            deadlocks: Vec::new(),
            requests: Vec::new(),
            interpreters: vec![InterpreterStacks { threads, ..InterpreterStacks::default() }],
        }
    }

    #[test]
    fn who_holds_the_gil_at_one_place_is_named() {
        let apart = Duration::from_millis(300);
        let first = process(vec![thread(7, 3, true), thread(8, 1, false)]);
        let moved = process(vec![thread(7, 4, true), thread(8, 1, false)]);
        let held = verdict(&first, Some(&first), apart);
        assert_eq!(held.trouble, Trouble::Held);
        assert_eq!(held.text, "GIL held 0.3 s or more in shop.zip.pack (zip.py:3) by thread 7");
        assert_eq!(verdict(&first, Some(&moved), apart).trouble, Trouble::None);
        assert_eq!(verdict(&first, None, apart).text, "nothing seen to be wrong, 2 threads");
    }
}
