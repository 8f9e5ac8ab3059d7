//! A program comes to its end while we are in it: with the exit code and the output that it has without us.

use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, Target, census};

use crate::meanwhile::{Agent, WITH_AGENTS, ask, client, heard, times};
use crate::program::{LIMIT, Running, spyhole};

/// How the program ends: what it is told, or a signal.
const WAYS: [&str; 8] =
    ["return", "exit 3", "_exit 4", "raise", "abort", "segv", "signal 15", "signal 9"];

/// What becomes of the program before its end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nothing,
    /// It cannot open files any more, nor have more descriptors: libgcc_s, for one, cannot be loaded.
    NoDescriptors,
    /// It has no files any more.
    NoFiles,
}

#[track_caller]
fn tell(target: &mut Target, expression: &str) {
    let said = target.evaluate(expression).expect("it answers");
    assert!(!said.contains("rror"), "{expression}: {said}");
}

/// Lets the process end; how it did, and what it printed.
fn end(python: &Interpreter, way: &str, agent: Agent, before: Before) -> (String, String) {
    let mut target =
        Start::new(python, "exit_at").start().unwrap_or_else(|error| panic!("{error}"));
    let mut console = client(&target.pid().to_string(), agent);
    match before {
        Before::Nothing => {}
        Before::NoDescriptors => tell(&mut target, "fill()"),
        Before::NoFiles => tell(&mut target, "vanish('/opt')"),
    }
    if agent == Agent::Waiting {
        // Without the GIL it cannot begin.
        target.send(&format!("hold {way}")).expect("it listens");
        assert_eq!(target.receive().expect("it answers"), "holding");
        ask(&mut console, agent);
    } else {
        match way.strip_prefix("signal ") {
            Some("9") => target.signal(Signal::KILL).expect("it is ours"),
            Some(_) => target.signal(Signal::TERM).expect("it is ours"),
            None => target.send(way).expect("it listens"),
        }
    }
    let status = target.wait_exit(LIMIT).unwrap_or_else(|error| panic!("{way} {agent:?}: {error}"));
    let mut said = String::new();
    while let Ok(line) = target.receive() {
        said.push_str(&line);
        said.push('\n');
    }
    heard(console, agent);
    (status.to_string(), said + &target.whole_stderr())
}

/// Every way to end in every state of the agent, so many times.
fn all_ways(python: &Interpreter, before: Before, ways: &[&str], times: usize) {
    for way in ways {
        let alone = end(python, way, Agent::Absent, before);
        for agent in WITH_AGENTS {
            if agent == Agent::Waiting && way.starts_with("signal") {
                continue;
            }
            for time in 0..times {
                let here = end(python, way, agent, before);
                assert_eq!(here, alone, "{way} {agent:?} {before:?}, time {time}");
            }
        }
    }
}

fn as_without_us(python: &Interpreter) {
    all_ways(python, Before::Nothing, &WAYS, times());
}

fn without_descriptors(python: &Interpreter) {
    all_ways(python, Before::NoDescriptors, &["return", "exit 3", "raise"], times());
}

fn without_files(python: &Interpreter) {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        census::skipped("without_files", "only root can change its root");
        return;
    }
    all_ways(python, Before::NoFiles, &["return", "exit 3"], times());
}

/// What interrupted code left in CPython's memory of interrupts does not end the program by one.
fn after_an_interrupt(python: &Interpreter) {
    let mut target =
        Start::new(python, "exit_at").start().unwrap_or_else(|error| panic!("{error}"));
    let mut command = spyhole();
    let code = "exec('while True: pass')";
    command.args(["eval", &target.pid().to_string(), code, "--timeout", "100ms"]);
    Running::start(&mut command).wait().failed(1, "timed out");
    target.send("exit 3").expect("it listens");
    assert_eq!(target.wait_exit(LIMIT).expect("it ends").code(), Some(3));
}

on_full_set! { as_without_us without_descriptors without_files after_an_interrupt }
