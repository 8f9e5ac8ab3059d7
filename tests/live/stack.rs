//! `spyhole stack` on real processes whose threads, functions and lines are known.
//!
//! It knows what `tests/targets/stacks.py` tells of itself, and compares.

use std::process::Command;

use serde_json::Value;
use spyhole_testkit::{Fingerprint, Interpreter, Start, Target, unchanged};

use crate::program::run;

fn look(target: &Target, words: &[&str]) -> Value {
    let pid = target.pid().to_string();
    let mut all = vec!["stack", &pid, "--json"];
    all.extend(words);
    let ran = run(all);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""), "{ran:?}");
    ran.json()[0].clone()
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
            let source = frame["source"].as_str().expect("its file is there");
            assert!(source.contains("  # at "), "{version}: {name}: {source}");
            if let (Some(from), Some(to)) = (frame["column"].as_u64(), frame["end_column"].as_u64())
            {
                let part = &source[from as usize..to as usize];
                assert!(!part.is_empty() && !part.contains('#'), "{version}: {part}");
            }
        }
        let outermost = frames.last().expect("there are frames");
        let function = outermost["function"].as_str().expect("a name");
        assert!(function.ends_with("_bootstrap"), "{version}: {name} ends in {function}");
    }
}

fn threads_functions_and_lines(python: &Interpreter) {
    let mut target = start(python, &["busy"]);
    // From then on nobody else wants the GIL.
    target.listens().expect("it is there");
    for words in [&[][..], &["--no-pause"]] {
        let process = look(&target, words);
        assert_eq!(process["python"], python.full_version());
        assert_eq!(process["torn"], false);
        assert_eq!(process["notes"], serde_json::json!([]));
        assert_stacks(&target, &process);
        assert_eq!(thread(&process, "MainThread")["native_id"], target.pid());
        assert_eq!(thread(&process, "wait-1")["daemon"], false);
        let spin = thread(&process, "spin");
        assert_eq!((&spin["state"], &spin["daemon"]), (&"running".into(), &true.into()));
        let paused = process["paused_us"].as_f64().expect("a number");
        assert_eq!(paused > 0.0, words.is_empty(), "{paused}");
        if words.is_empty() {
            assert_eq!(spin["holds_gil"], true);
        }
    }
    assert!(target.is_alive());
}

fn one_that_waits_is_neither_stopped_nor_changed(python: &Interpreter) {
    let target = start(python, &[]);
    let before = target.blocked().expect("it is there");
    let process = look(&target, &[]);
    assert_stacks(&target, &process);
    assert_eq!(thread(&process, "läser")["syscall"], "read");
    assert_eq!((&process["paused_us"], &process["torn"]), (&0.0.into(), &false.into()));
    let after = Fingerprint::of(target.pid()).expect("it is there");
    unchanged(&before, &after).unwrap_or_else(|changes| panic!("{changes:?}"));
}

fn a_stopped_one_answers_and_stays_stopped(python: &Interpreter) {
    let target = start(python, &["busy"]);
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

fn equal_stacks_are_told_once(python: &Interpreter) {
    let target = start(python, &[]);
    target.blocked().expect("it is there");
    let pid = target.pid().to_string();
    let folded = run(["stack", &pid]);
    assert_eq!(folded.code, 0);
    assert!(folded.data.contains("2 threads: waiting in futex\n  wait-1 ("), "{}", folded.data);
    assert!(folded.data.contains("... the same 29 more times"), "{}", folded.data);
    let all = run(["stack", &pid, "--all"]).data;
    assert!(!all.contains("2 threads") && all.contains("\nwait-2 ("), "{all}");
}

fn an_interpreter_that_is_not_there(python: &Interpreter) {
    let target = start(python, &[]);
    run(["stack", &format!("{}/7", target.pid())]).failed(2, "has no interpreter `7`");
    assert_eq!(run(["stack", &format!("{}/0", target.pid())]).code, 0);
}

fn sub_interpreters(python: &Interpreter) {
    let target = Target::start(python, "subinterpreters").expect("the target starts");
    target.blocked().expect("it is there");
    let process = look(&target, &[]);
    let all = process["interpreters"].as_array().expect("a list");
    assert_eq!(all.len(), 3, "{process:#}");
    for (id, interpreter) in all.iter().enumerate() {
        assert_eq!(interpreter["id"], id);
        let threads = interpreter["threads"].as_array().expect("a list");
        assert_eq!(threads.len(), if id == 0 { 3 } else { 1 }, "{process:#}");
        if id > 0 {
            let function = threads[0]["frames"][0]["function"].as_str();
            assert_eq!(function, Some("inside"), "{process:#}");
            // Its number is told where it can be known, and never that of the thread that made it.
            let known = python.version >= (3, 10, 0);
            let truth = if known { target.ready()[id - 1].clone() } else { Value::Null };
            assert_eq!(threads[0]["native_id"], truth, "{process:#}");
        }
    }
    let one = run(["stack", &format!("{}/2", target.pid()), "--json"]).json();
    assert_eq!(one[0]["interpreters"].as_array().map(Vec::len), Some(1));
    assert_eq!(one[0]["interpreters"][0]["id"], 2);
    let ps = run(["ps", "subinterpreters.py", "--json"]).json();
    let rows = ps.as_array().expect("a list");
    let row = rows.iter().find(|row| row["pid"] == target.pid()).expect("it is listed");
    assert_eq!(row["interpreters"], 3);
}

each! { on, sub_interpreters, py38 = "3.8", py39 = "3.9", py310 = "3.10",
py311 = "3.11", py312 = "3.12", py313 = "3.13", py314 = "3.14", py315 = "3.15" }
on_all! { threads_functions_and_lines one_that_waits_is_neither_stopped_nor_changed }
on_full_set! { a_stopped_one_answers_and_stays_stopped }
on_one! { equal_stacks_are_told_once an_interpreter_that_is_not_there }
