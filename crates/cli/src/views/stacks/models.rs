//! Stacks for the tests of the views.

use std::time::Duration;

use spyhole_session::model::{
    InterpreterStacks, ProcessStacks, SourceLine, StackFrame, ThreadStack, ThreadState,
};

pub(super) fn frame(function: &str, file: &str, line: u32) -> StackFrame {
    StackFrame {
        function: Some(function.into()),
        module: Some("m".into()),
        file: Some(file.into()),
        line: Some(line),
        source: SourceLine::Text(format!("    {function}({line})").into()),
        ..StackFrame::default()
    }
}

/// A thread that waits for a lock.
pub(super) fn thread(name: &str, native_id: i32, frames: Vec<StackFrame>) -> ThreadStack {
    ThreadStack {
        native_id: Some(native_id),
        ident: native_id as u64,
        name: Some(name.to_owned()),
        daemon: Some(false),
        state: ThreadState::Waiting,
        syscall: Some("futex".to_owned()),
        holds_gil: false,
        in_c: None,
        waits_for: None,
        torn: false,
        cut: false,
        frames,
    }
}

pub(super) fn process(pid: i32, threads: Vec<ThreadStack>) -> ProcessStacks {
    ProcessStacks {
        pid,
        python: "3.11.7".to_owned(),
        paused: Duration::ZERO,
        torn: false,
        notes: Vec::new(),
        deadlocks: Vec::new(),
        requests: Vec::new(),
        interpreters: vec![InterpreterStacks {
            id: 0,
            name: None,
            threads,
            ..InterpreterStacks::default()
        }],
    }
}
