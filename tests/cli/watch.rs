//! `stack --watch`: what changes is told, once, and the end of the process.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::program::{Worker, ends_within, run, spyhole};

/// A thread that goes on to another line when it is told to, and the main thread, which waits.
const SCRIPT: &str = r#"
import os, sys, threading
gate, end = sys.argv[1:3]
def work():
    with open(gate) as pipe:
        pipe.read()
    with open(end) as pipe:
        pipe.read()
    os._exit(0)
threading.Thread(target=work, name="worker", daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"#;

#[test]
fn changes_and_the_end_are_told() {
    let folder = std::env::temp_dir().join(format!("spyhole-watch-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("it can be made");
    let pipes = ["gate", "end"].map(|name| folder.join(name).to_str().expect("text").to_owned());
    for pipe in &pipes {
        let made = std::process::Command::new("mkfifo").arg(pipe).status();
        assert!(made.expect("mkfifo starts").success());
    }
    let worker = Worker::run(&[&pipes[0], &pipes[1]], SCRIPT);
    let mut child = spyhole()
        .args(["stack", &worker.pid().to_string(), "--watch", "20ms", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("there is more").expect("it is text");
        serde_json::from_str(&line).expect("it is JSON")
    };
    let mut told = |wanted: &str, name: &str| {
        // A thread that is on its way may be told in between.
        let line = loop {
            let line = next();
            if line["event"] == wanted && (name.is_empty() || line["name"] == name) {
                break line;
            }
            assert_eq!(line["name"], "worker", "only that one moves: {line}");
        };
        assert_eq!(line["pid"], worker.pid(), "{line}");
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        line
    };
    // Both threads, in the order in which they are told.
    let mut names = [told("stack", "")["name"].clone(), told("stack", "")["name"].clone()];
    names.sort_by_key(Value::to_string);
    assert_eq!(names, ["MainThread", "worker"]);
    std::fs::write(&pipes[0], "").expect("the worker reads it");
    let changed = loop {
        let line = told("changed", "worker");
        let frames = line["frames"].as_array().expect("a list").clone();
        if frames.iter().any(|frame| frame["function"] == "work" && frame["line"] == 7) {
            break line;
        }
    };
    assert_eq!(changed["interpreter"], 0);
    std::fs::write(&pipes[1], "").expect("the worker reads it");
    let error = loop {
        let line = next();
        if line["event"] == "error" {
            break line;
        }
    };
    assert_eq!((&error["error"]["kind"], &error["pid"]), (&"gone".into(), &worker.pid().into()));
    assert_eq!(ends_within(&mut child, Duration::from_secs(10)), Some(5));
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}

#[test]
fn a_watch_of_nobody_ends_at_once() {
    let ran = run(&["stack", "999999999", "--watch", "1s"]);
    assert_eq!((ran.code, ran.data.as_str()), (5, ""), "{ran:?}");
    let ran = run(&["stack", "1", "--watch", "soon"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}
