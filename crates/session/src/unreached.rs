//! Why an agent that was brought in has never run: which thread keeps the GIL, and where.
//!
//! It looks from outside, as `stack` does, and says no more than it sees: who holds the GIL at this moment has not
//! always been the one.

use std::time::Duration;

use spyhole_proc::pidfd::Pidfd;

use crate::failure;
use crate::model::{EvalError, InterpreterStacks, Place, StackFrame, ThreadStack};
use crate::place::Within;
use crate::snapshot::{self, Options, Pause};

/// The failure of an agent in `place` that did not get the GIL within `limit`.
pub(crate) fn why(process: &Pidfd, place: Place, limit: Duration) -> EvalError {
    failure::never_ran(place, limit, who_holds(process, place.interpreter).as_deref())
}

/// `thread 7 (MainThread) holds it in ...`; `None`: nobody holds it, or nothing was to be seen.
pub(crate) fn who_holds(process: &Pidfd, interpreter: i64) -> Option<String> {
    let options = Options { pause: Pause::Nothing, sources: false, locals: None, requests: None };
    let stacks = snapshot::of_process(process, options).ok()?;
    holder(&stacks.interpreters, interpreter).map(told)
}

/// The failure of code that was to run in a place of the program, and has not been let in within `limit`. `reason`: what
/// kept it out of the main thread.
pub(crate) fn why_not_there(
    process: &Pidfd,
    place: Place,
    within: Within,
    limit: Duration,
    reason: Option<&str>,
) -> EvalError {
    let options = Options { pause: Pause::Nothing, sources: false, locals: None, requests: None };
    let stacks = snapshot::of_process(process, options).ok();
    let main = stacks.as_ref().and_then(|stacks| {
        let mut threads = stacks.interpreters.iter().flat_map(|one| &one.threads);
        threads.find(|thread| thread.native_id == Some(process.pid))
    });
    let mut facts: Vec<String> = main.map(engaged).into_iter().collect();
    if let Some(reason) = reason.filter(|_| within == Within::Main) {
        facts.push(reason.to_owned());
    }
    failure::not_let_in(place, within, limit, &facts.join("; "))
}

/// What keeps a thread from doing something else.
fn engaged(thread: &ThreadStack) -> String {
    let who = match thread.native_id {
        Some(tid) => format!("thread {tid}"),
        None => "the main thread".to_owned(),
    };
    let holds = if thread.holds_gil { " and holds the GIL" } else { "" };
    match (&thread.syscall, thread.frames.first()) {
        (Some(call), Some(frame)) => {
            format!("{who} is in `{call}`{holds}, called from {}", at(frame))
        }
        (None, Some(frame)) => format!("{who} runs {}{holds}", at(frame)),
        (Some(call), None) => format!("{who} is in `{call}`{holds}, and runs no Python code"),
        (None, None) => format!("{who} runs no Python code{holds}"),
    }
}

/// Who holds the GIL of an interpreter, or else that of the main one, from which it is entered.
fn holder(interpreters: &[InterpreterStacks], id: i64) -> Option<&ThreadStack> {
    let of = |wanted: &dyn Fn(i64) -> bool| {
        let some = interpreters.iter().filter(|one| wanted(one.id));
        some.flat_map(|one| &one.threads).find(|thread| thread.holds_gil)
    };
    of(&|one| one == id).or_else(|| of(&|one| one == 0)).or_else(|| of(&|_| true))
}

fn told(thread: &ThreadStack) -> String {
    let who = match (thread.native_id, &thread.name) {
        (Some(tid), Some(name)) => format!("thread {tid} ({name})"),
        (Some(tid), None) => format!("thread {tid}"),
        (None, Some(name)) => format!("thread {name}"),
        (None, None) => "a thread".to_owned(),
    };
    match (thread.syscall.as_deref(), thread.frames.first()) {
        // So the kernel names a wait that was interrupted, as by ourselves: of which call, it does not tell.
        (Some("restart_syscall"), Some(frame)) => {
            format!("{who} holds it in a system call, called from {}", at(frame))
        }
        (Some(call), Some(frame)) => {
            format!("{who} holds it in `{call}`, called from {}", at(frame))
        }
        (None, Some(frame)) => format!("{who} holds it in C code called from {}", at(frame)),
        (Some(call), None) => format!("{who} holds it in `{call}`, and runs no Python code"),
        (None, None) => format!("{who} holds it, and runs no Python code"),
    }
}

fn at(frame: &StackFrame) -> String {
    let function = frame.function.as_deref().unwrap_or("?");
    match (&frame.file, frame.line) {
        (Some(file), Some(number)) => format!("`{function}` ({file}:{number})"),
        _ => format!("`{function}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ThreadState;

    fn thread(syscall: Option<&str>, frames: Vec<StackFrame>) -> ThreadStack {
        ThreadStack {
            native_id: Some(7),
            ident: 1,
            name: Some("MainThread".into()),
            daemon: None,
            state: ThreadState::Unknown,
            syscall: syscall.map(str::to_owned),
            holds_gil: true,
            in_c: None,
            waits_for: None,
            torn: false,
            cut: false,
            frames,
        }
    }

    #[test]
    fn a_holder_is_told_with_its_place() {
        let frame = StackFrame {
            function: Some("shop.wait".into()),
            file: Some("/srv/shop.py".into()),
            line: Some(12),
            ..StackFrame::default()
        };
        assert_eq!(
            told(&thread(Some("nanosleep"), vec![frame.clone()])),
            "thread 7 (MainThread) holds it in `nanosleep`, called from `shop.wait` (/srv/shop.py:12)"
        );
        assert_eq!(
            told(&thread(None, vec![frame])),
            "thread 7 (MainThread) holds it in C code called from `shop.wait` (/srv/shop.py:12)"
        );
        assert_eq!(
            told(&thread(Some("epoll_wait"), Vec::new())),
            "thread 7 (MainThread) holds it in `epoll_wait`, and runs no Python code"
        );
    }

    #[test]
    fn the_interpreters_own_holder_comes_first() {
        let with = |id, holds_gil| InterpreterStacks {
            id,
            name: None,
            threads: vec![ThreadStack { holds_gil, ident: id as u64, ..thread(None, Vec::new()) }],
            tasks: Vec::new(),
            greenlets: Vec::new(),
        };
        let all = [with(0, true), with(1, true), with(2, false)];
        assert_eq!(holder(&all, 1).map(|thread| thread.ident), Some(1));
        assert_eq!(holder(&all, 2).map(|thread| thread.ident), Some(0));
        assert!(holder(&all[2..], 2).is_none());
    }
}
