use spyhole_session::model::{
    InterpreterStacks, ProcessStacks, SourceLine, StackFrame, ThreadState,
};

use super::models::{frame, process, thread};
use super::{Style, text};
use crate::views::terminal::Terminal;
use crate::views::width::columns;

const LIBRARY: &str = "/usr/lib/python3.11/threading.py";

/// A frame with the expression that runs.
fn at(function: &str, line: u32, source: &str, part: &str) -> StackFrame {
    let from = source.find(part).expect("it is there");
    StackFrame {
        source: SourceLine::Text(source.into()),
        end_line: Some(line),
        column: Some(from as u32),
        end_column: Some((from + part.len()) as u32),
        ..frame(function, "/srv/shop/views.py", line)
    }
}

fn idle() -> Vec<StackFrame> {
    vec![
        frame("Condition.wait", LIBRARY, 327),
        frame("Queue.get", "/usr/lib/python3.11/queue.py", 171),
        at(
            "Worker.run",
            31,
            "        job = self.jobs.get(timeout=None)",
            "self.jobs.get(timeout=None)",
        ),
        frame("Thread._bootstrap", LIBRARY, 1002),
    ]
}

/// Four idle threads, one that computes, and a main thread deep in a recursion.
fn shop(pid: i32) -> ProcessStacks {
    let mut threads: Vec<_> =
        (1..=4).map(|n| thread(&format!("worker-{n}"), pid + n, idle())).collect();
    threads[2].state = ThreadState::Running;
    threads[2].syscall = None;
    let mut rest =
        at("checkout", 12, "    return render(total(cart.items),", "render(total(cart.items),");
    rest.end_line = Some(14);
    rest.end_column = Some(1);
    let prices = [
        at("total", 40, "\treturn sum(preis(日本, ö) for ware in waren) + 1", "preis(日本, ö)"),
        rest,
        StackFrame {
            source: SourceLine::Changed,
            ..frame("serve", "/srv/a-very-long-folder/with-another-one-below-it/shop/serve.py", 9)
        },
        StackFrame { source: SourceLine::Missing, ..frame("<module>", "/srv/shop/main.py", 99) },
    ];
    let mut busy = thread("rechner", pid + 5, prices.to_vec());
    (busy.holds_gil, busy.state, busy.syscall) = (true, ThreadState::Running, None);
    let deep = vec![frame("deep", "/srv/shop/tree.py", 3); 30];
    threads.insert(0, thread("MainThread", pid, deep));
    threads.push(busy);
    process(pid, threads)
}

fn shown(processes: &[ProcessStacks], all: bool, width: usize) -> String {
    let (terminal, recorded) = Terminal::recorded(Some(width), false);
    terminal.data(&text(processes, Style { all, width: Some(width) })).unwrap();
    let data = recorded.lock().unwrap().data.clone();
    for line in data.lines() {
        assert!(columns(line) <= width, "{} columns: {line}", columns(line));
    }
    data
}

#[test]
fn one_process() {
    insta::assert_snapshot!("one_80", shown(&[shop(4100)], false, 80));
    insta::assert_snapshot!("one_40", shown(&[shop(4100)], false, 40));
    insta::assert_snapshot!("one_all_80", shown(&[shop(4100)], true, 80));
}

#[test]
fn several_processes() {
    let mut torn = shop(4300);
    torn.torn = true;
    torn.python = "3.13.0".to_owned();
    let jobs = &mut torn.interpreters[0].threads;
    jobs.truncate(3);
    let empty = ProcessStacks { interpreters: vec![], ..shop(4400) };
    let many = [shop(4100), shop(4200), torn, empty];
    insta::assert_snapshot!("many_80", shown(&many, false, 80));
    insta::assert_snapshot!("many_40", shown(&many, false, 40));
}

#[test]
fn several_interpreters() {
    let mut process = process(4100, vec![thread("MainThread", 4100, idle())]);
    let inside = |id| InterpreterStacks {
        id,
        name: None,
        threads: vec![thread("sub", 4100 + id as i32, idle())],
        ..InterpreterStacks::default()
    };
    process.interpreters.extend([
        inside(1),
        InterpreterStacks { id: 2, name: None, threads: vec![], ..InterpreterStacks::default() },
    ]);
    insta::assert_snapshot!("interpreters_80", shown(&[process.clone()], false, 80));
    process.interpreters.truncate(2);
    let mut other = process.clone();
    other.pid = 4200;
    insta::assert_snapshot!("interpreters_many_40", shown(&[process, other], false, 40));
}
