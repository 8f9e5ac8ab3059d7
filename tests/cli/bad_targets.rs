//! Targets that cannot be: a clear message and the right exit code.

use std::process::{Command, Stdio};

use crate::program::{run, run_with_input};

#[track_caller]
fn fails(words: &[&str], code: i32, message: &str) {
    let ran = run(words);
    assert_eq!(ran.code, code, "{words:?}: {ran:?}");
    assert_eq!(ran.data, "", "{words:?}");
    assert!(
        ran.talk.starts_with("error: ") && ran.talk.contains(message),
        "{words:?}: {}",
        ran.talk
    );
}

#[test]
fn numbers_that_name_nothing() {
    fails(&["eval", "999999999", "1"], 5, "no process 999999999");
    fails(&["console", "999999999"], 5, "no process 999999999");
    fails(&["eval", "0", "1"], 2, "process 0 is not a process that can be named");
    fails(&["eval", "", "1"], 2, "the target is empty");
    fails(&["eval", "1,,2", "1"], 2, "the target is empty");
    fails(&["eval", "tree:abc", "1"], 2, "`abc` is not a process id");
}

#[test]
fn patterns_that_match_nothing() {
    fails(&["eval", "no-such-process-anywhere", "1"], 1, "`no-such-process-anywhere`");
    // Its own command line holds the pattern, and that of the shell that runs it.
    let program = assert_cmd::cargo::cargo_bin!("spyhole");
    let line =
        format!("{} eval python-or-a-shell-{} 1; exit $?", program.display(), std::process::id());
    let output =
        Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().expect("sh starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn processes_that_are_no_python() {
    let mut sleep = Command::new("sleep").arg("1000").spawn().expect("sleep starts");
    let pid = sleep.id().to_string();
    let ran = run(&["eval", &pid, "1"]);
    let json = run(&["eval", &pid, "1", "--json"]);
    sleep.kill().expect("it can be ended");
    sleep.wait().expect("it ends");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.talk.starts_with("error: ") && ran.talk.contains(&pid), "{}", ran.talk);
    assert_eq!(json.code, 1);
    let error: serde_json::Value = serde_json::from_str(json.talk.trim()).expect("it is JSON");
    assert_eq!(error["error"]["kind"], "unreachable", "{error}");
}

#[test]
fn for_scripts_they_are_json() {
    let ran = run(&["eval", "999999999", "1", "--json"]);
    assert_eq!((ran.code, ran.data.as_str()), (5, ""));
    let error: serde_json::Value = serde_json::from_str(&ran.talk).expect("it is JSON");
    assert_eq!(error["error"]["kind"], "gone");
    assert_eq!(error["error"]["message"], "no process 999999999");
}

#[test]
fn a_console_from_a_pipe_to_nothing() {
    let ran = run_with_input(&["console", "999999999"], "1\n");
    assert_eq!((ran.code, ran.data.as_str()), (5, ""));
}
