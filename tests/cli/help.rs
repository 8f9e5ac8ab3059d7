//! Help texts are what their readers see: snapshots.

use crate::program::run;

#[test]
fn of_the_program() {
    let ran = run(&["--help"]);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""));
    insta::assert_snapshot!("program", ran.data);
    assert_eq!(run(&["help"]).data.lines().next(), ran.data.lines().next());
}

#[test]
fn of_each_command() {
    for command in [
        "ps",
        "stack",
        "get",
        "requests",
        "report",
        "doctor",
        "eval",
        "console",
        "trace",
        "catch",
        "postmortem",
        "python",
        "close",
        "demo",
        "help",
    ] {
        let ran = run(&[command, "--help"]);
        assert_eq!((ran.code, ran.talk.as_str()), (0, ""));
        insta::assert_snapshot!(command, ran.data);
        for text in [&ran.data, &run(&[command, "-h"]).data] {
            assert!(text.contains("\nLevel: "), "{command} states its level");
        }
        assert!(ran.data.contains("Examples:\n"), "{command} ends with examples");
        assert_eq!(run(&["help", command]).data, ran.data);
    }
}

#[test]
fn of_each_topic() {
    for topic in ["targets", "doors", "ptrace", "exit-codes"] {
        let ran = run(&["help", topic]);
        assert_eq!((ran.code, ran.talk.as_str()), (0, ""));
        assert!(ran.data.lines().all(|line| line.chars().count() <= 102), "{topic}");
        assert!(run(&["help"]).data.contains(&format!("spyhole help {topic}")));
    }
}

#[test]
fn of_nothing_known() {
    let ran = run(&["help", "frobnication\u{1b}[2J"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.talk,
        "error: there is no help on `frobnication\\x1b[2J`; topics are targets, doors, places, ptrace, containers, \
         opt-out, traces, exit-codes\n\n\
         hint: spyhole help\n"
    );
}

#[test]
fn versions() {
    let ran = run(&["--version"]);
    assert_eq!((ran.code, ran.data), (0, format!("spyhole {}\n", env!("CARGO_PKG_VERSION"))));
}
