//! Where output goes, and who may stop reading it.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::program::{run, spyhole};

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output =
        spyhole().args(["help", "targets"]).stdout(writer).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_full_disk_is_one() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
    let output = spyhole()
        .arg("--help")
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(
        talk.starts_with("error: cannot write the output\n  because: No space left on device"),
        "{talk}"
    );
}

#[test]
fn colours_only_where_they_are_wanted() {
    let plain = run(&["help", "nothing"]);
    assert!(!plain.talk.contains('\u{1b}'));
    let colored = run(&["--color", "always", "help", "nothing"]);
    assert!(colored.talk.starts_with("\u{1b}["), "{:?}", colored.talk);
    let never = run(&["--color=never", "help", "nothing"]);
    assert_eq!(never.talk, plain.talk);
}
