//! The demo, and what it leaves behind: nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::program::{ends_within, run, spyhole};

#[test]
fn finds_the_odd_one() {
    let ran = run(&["demo"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.data.contains("$ spyhole ps shop-"), "{}", ran.data);
    assert!(ran.data.contains(" differs (1 of 4):\n"), "{}", ran.data);
    assert!(ran.data.contains("-  'shop.Product': 'ProductAdmin',\n"), "{}", ran.data);
    assert!(ran.data.contains("cannot import name 'ProductAdmin'"), "{}", ran.data);
    assert_eq!(ran.talk.matches(" as it was (held ").count(), 6, "{}", ran.talk);
}

#[test]
fn serves_until_ctrl_c() {
    for signal in ["-INT", "-TERM"] {
        let mut child = spyhole()
            .args(["demo", "--serve"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        lines.read_line(&mut line).expect("it writes");
        let pid = line.trim().strip_prefix("PID ").expect("it names its worker").to_owned();
        let process = format!("/proc/{pid}");
        assert!(Path::new(&process).exists());
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill starts").success());
        assert_eq!(ends_within(&mut child, Duration::from_secs(10)), Some(0));
        assert!(!Path::new(&process).exists(), "the worker has ended");
    }
}

#[test]
fn without_python_it_says_so() {
    let output =
        spyhole().arg("demo").env("PATH", "/nowhere").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(
        talk.starts_with("error: no `python3` that runs was found on PATH\n\nhint: "),
        "{talk}"
    );
}
