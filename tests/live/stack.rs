//! `spyhole stack` on real processes whose threads, functions and lines are known.
//!
//! It knows what `tests/targets/stacks.py` tells of itself, and compares.

use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use spyhole_testkit::{Fingerprint, Interpreter, Start, Target, interpreters, unchanged};

fn program(words: &[&str]) -> (i32, String, String) {
    let output = Command::new(cargo_bin!("spyhole"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn look(target: &Target, words: &[&str]) -> Value {
    let pid = target.pid().to_string();
    let mut all = vec!["stack", &pid, "--json"];
    all.extend(words);
    let (code, data, talk) = program(&all);
    assert_eq!((code, talk.as_str()), (0, ""), "{}", target.interpreter().full_version());
    let processes: Value = serde_json::from_str(&data).expect("it is JSON");
    processes[0].clone()
}

fn start(interpreter: &Interpreter, words: &[&str]) -> Target {
    // Before 3.7 text goes out as ASCII where no locale is set.
    let start = Start::new(interpreter, "stacks").env("PYTHONIOENCODING", "utf-8");
    start.args(words.iter().copied()).start().expect("the target starts")
}

fn thread<'a>(process: &'a Value, name: &str) -> &'a Value {
    let threads = process["interpreters"][0]["threads"].as_array().expect("a list");
    threads
        .iter()
        .find(|thread| thread["name"] == name)
        .unwrap_or_else(|| panic!("no thread `{name}` in {process:#}"))
}

/// The functions that the target tells, without qualification where the version has none.
fn assert_stacks(target: &Target, process: &Value) {
    let version = target.interpreter().full_version();
    let qualified = target.interpreter().version >= (3, 11, 0);
    for (name, told) in target.ready().as_object().expect("it tells its threads") {
        let frames = thread(process, name)["frames"].as_array().expect("a list");
        for (index, known) in told.as_array().expect("a list").iter().enumerate() {
            let function = known[0].as_str().expect("a name");
            let function = match qualified {
                true => function,
                false => function.rsplit('.').next().unwrap_or(function),
            };
            let frame = &frames[index];
            assert_eq!(frame["function"], function, "{version}: {name}");
            assert_eq!(frame["line"], known[1], "{version}: {name}: {function}");
            assert_eq!(frame["module"], "__main__", "{version}: {name}");
            let file = frame["file"].as_str().expect("a path");
            assert!(file.ends_with("/stacks.py"), "{version}: {file}");
            assert_eq!(frame["column"].is_u64(), qualified, "{version}: {frame}");
        }
        let outermost = frames.last().expect("there are frames");
        let function = outermost["function"].as_str().expect("a name");
        assert!(function.ends_with("_bootstrap"), "{version}: {name} ends in {function}");
    }
}

#[test]
fn threads_functions_and_lines_on_every_version() {
    for interpreter in interpreters::interpreters() {
        let version = interpreter.full_version();
        let mut target = start(&interpreter, &["busy"]);
        for words in [&[][..], &["--no-pause"]] {
            let process = look(&target, words);
            assert_eq!(process["python"], version.as_str());
            assert_eq!(process["torn"], false, "{version}");
            assert_stacks(&target, &process);
            let main = thread(&process, "MainThread");
            assert_eq!(main["native_id"], target.pid(), "{version}");
            let spin = thread(&process, "spin");
            assert_eq!((&spin["state"], &spin["daemon"]), (&"running".into(), &true.into()));
            assert_eq!(thread(&process, "wait-1")["daemon"], false, "{version}");
            if words.is_empty() {
                let paused = process["paused_us"].as_f64().expect("a number");
                assert_eq!(spin["holds_gil"], true, "{version}");
                assert!(paused > 0.0, "{version}");
            } else {
                assert_eq!(process["paused_us"], 0.0, "{version}");
            }
        }
        assert!(target.is_alive(), "{version}");
    }
}

#[test]
fn a_process_that_waits_is_neither_stopped_nor_changed() {
    for interpreter in interpreters::interpreters() {
        let version = interpreter.full_version();
        let target = start(&interpreter, &[]);
        let before = target.blocked().expect("it is there");
        let process = look(&target, &[]);
        assert_stacks(&target, &process);
        assert_eq!(thread(&process, "läser")["syscall"], "read", "{version}");
        assert_eq!((&process["paused_us"], &process["torn"]), (&0.0.into(), &false.into()));
        let after = Fingerprint::of(target.pid()).expect("it is there");
        unchanged(&before, &after).unwrap_or_else(|changes| panic!("{version}: {changes:?}"));
    }
}

#[test]
fn a_stopped_process_answers_and_stays_stopped() {
    for interpreter in interpreters::interpreters() {
        let target = start(&interpreter, &["busy"]);
        let pid = target.pid();
        let kill = |signal: &str| {
            let sent = Command::new("kill").args([signal, &pid.to_string()]).status();
            assert!(sent.expect("kill runs").success());
        };
        kill("-STOP");
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
        };
        while state() != Some('T') {
            std::thread::yield_now();
        }
        let process = look(&target, &[]);
        assert_stacks(&target, &process);
        assert_eq!(thread(&process, "spin")["state"], "stopped");
        assert_eq!(state(), Some('T'));
        kill("-CONT");
    }
}

#[test]
fn equal_stacks_are_told_once() {
    let newest = interpreters::interpreters().pop().expect("there is one");
    let target = start(&newest, &[]);
    let pid = target.pid().to_string();
    let (code, folded, _) = program(&["stack", &pid]);
    assert_eq!(code, 0);
    assert!(folded.contains("2 threads: waiting in futex\n  wait-1 ("), "{folded}");
    assert!(folded.contains("... the same 29 more times"), "{folded}");
    let (_, all, _) = program(&["stack", &pid, "--all"]);
    assert!(!all.contains("2 threads") && all.contains("\nwait-2 ("), "{all}");
}
