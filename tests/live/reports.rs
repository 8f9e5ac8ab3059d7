//! `spyhole report` on processes in trouble: its first line names it.

use std::time::Duration;

use serde_json::{Value, json};
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, Target};

use crate::program::{Ran, run};

fn start(python: &Interpreter, name: &str, words: &[&str]) -> Target {
    Start::new(python, name).args(words).start().unwrap_or_else(|error| panic!("{error}"))
}

fn report(pid: i32, words: &[&str]) -> Ran {
    let pid = pid.to_string();
    let ran = run([&["report", &pid], words].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

#[track_caller]
fn begins(ran: &Ran, verdict: &str) {
    assert!(ran.data.starts_with(verdict), "`{verdict}` is not first in {}", ran.data);
}

fn a_deadlock(python: &Interpreter) {
    let target = start(python, "deadlock", &[]);
    let pid = target.pid();
    target.blocked().expect("it is there");
    begins(&report(pid, &[]), &format!("{pid}: deadlocked, "));
    let told = report(pid, &["--json"]).json();
    assert_eq!(told["processes"][0]["trouble"], "deadlocked", "{told:#}");
    assert_eq!(told["processes"][0]["process"]["pid"], pid);
    let deadlocks = told["processes"][0]["stacks"]["deadlocks"].as_array().map(Vec::len);
    assert!(deadlocks > Some(0), "{told:#}");
}

fn the_stopped_and_the_others(python: &Interpreter) {
    let name = format!("report-{}", std::process::id());
    let well = start(python, "worker", &[&name]);
    let stopped = start(python, "worker", &[&name, "--api-token=hunter2", "--password", "hunter2"]);
    stopped.signal(Signal::STOP).expect("it stops");
    // Stopping takes its time.
    let state = || run(["stack", &stopped.pid().to_string(), "--json"]).json();
    let is_stopped = |stacks: Value| {
        let threads = stacks[0]["interpreters"][0]["threads"].as_array().cloned();
        threads.is_some_and(|all| all.iter().all(|one| one["state"] == "stopped"))
    };
    while !is_stopped(state()) {}
    let list = format!("{},{}", well.pid(), stopped.pid());
    let ran = run(["report", &list]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = format!(
        "{}: stopped by a signal\n{}: nothing seen to be wrong, 2 threads\n",
        stopped.pid(),
        well.pid()
    );
    begins(&ran, &expected);
    assert!(
        !ran.data.contains("hunter2") && ran.data.contains("--password <redacted>"),
        "{}",
        ran.data
    );
    stopped.signal(Signal::CONT).expect("it goes on");
    let file = std::env::temp_dir().join(&name);
    let path = file.to_str().expect("it is text").to_owned();
    let ran = report(well.pid(), &["-o", &path, "--json"]);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).expect("a file"));
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::remove_file(&file).expect("it is ours");
    assert_eq!(mode & 0o777, 0o600);
    assert!(ran.talk.contains("nothing seen to be wrong"), "{ran:?}");
    let told: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(told["processes"][0]["requests"], json!([]));
    run(["report", "999999999"]).failed(5, "no process");
}

fn the_gil_held_in_c(python: &Interpreter) {
    let target = start(python, "gil_in_c", &["match"]);
    let pid = target.pid();
    let ran = report(pid, &["--json"]);
    let told = ran.json();
    if told["processes"][0]["trouble"] == "none" && ran.took > Duration::from_millis(600) {
        // The first look took so long that there was no time for a second one.
        return;
    }
    assert_eq!(told["processes"][0]["trouble"], "gil-held", "{told:#}");
    let verdict = told["verdict"].as_str().expect("a text");
    let method = if python.version >= (3, 15, 0) { "prefixmatch" } else { "match" };
    let place = format!("Pattern.{method} by thread {pid}, called in re.{method} (");
    assert!(verdict.contains("GIL held ") && verdict.contains(&place), "{verdict}");
}

on_three! { a_deadlock the_gil_held_in_c }
on_one! { the_stopped_and_the_others }
