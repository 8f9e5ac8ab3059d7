//! What is not understood: exit code 2, one fact, a hint to run.

use crate::program::{run, run_with_input};

fn refused(words: &[&str]) -> String {
    let ran = run(words);
    assert_eq!(ran.code, 2, "{words:?}: {ran:?}");
    assert_eq!(ran.data, "", "{words:?}");
    ran.talk
}

#[test]
fn in_our_voice() {
    insta::assert_snapshot!(refused(&["frobnicate"]), @"
    error: unknown command `frobnicate`

    hint: spyhole --help
    ");
    insta::assert_snapshot!(refused(&["evil", "1", "2"]), @"
    error: unknown command `evil`

    hint: a similar command exists: `eval`
    hint: spyhole --help
    ");
    insta::assert_snapshot!(refused(&["eval"]), @"
    error: the following required arguments were not provided: <TARGET> <CODE>

    hint: spyhole eval --help
    ");
    insta::assert_snapshot!(refused(&["eval", "1"]), @"
    error: the following required arguments were not provided: <CODE>

    hint: spyhole eval --help
    ");
    insta::assert_snapshot!(refused(&["eval", "1", "2", "--tiemout", "3"]), @"
    error: unexpected argument `--tiemout` found

    hint: a similar argument exists: `--timeout`
    hint: spyhole eval --help
    ");
    insta::assert_snapshot!(refused(&["eval", "1", "2", "-f", "x"]), @"
    error: the argument `[CODE]` cannot be used with `--file <FILE>`

    hint: spyhole eval --help
    ");
    insta::assert_snapshot!(refused(&["eval", "1", "2", "--timeout", "soon"]), @"
    error: invalid value `soon` for `--timeout <DURATION>`: `soon` is not a duration: write 250ms, 30s, 10m or a number of seconds

    hint: spyhole eval --help
    ");
    insta::assert_snapshot!(refused(&["eval", "1", "2", "--door", "window"]), @"
    error: invalid value `window` for `--door <NAME>` [possible values: doorbell, thread]

    hint: spyhole eval --help
    ");
    insta::assert_snapshot!(refused(&["eval", "1", "2", "--max", "0"]), @"
    error: invalid value `0` for `--max <BYTES>`: `0` is not a number of bytes

    hint: spyhole eval --help
    ");
    insta::assert_snapshot!(refused(&["--color", "pink", "ps"]), @"
    error: invalid value `pink` for `--color <WHEN>` [possible values: auto, always, never]

    hint: spyhole ps --help
    ");
}

#[test]
fn without_a_command_there_is_help() {
    let ran = run(&[]);
    assert_eq!((ran.code, ran.data.as_str()), (2, ""));
    assert!(ran.talk.contains("Usage: spyhole"));
}

#[test]
fn what_was_typed_is_escaped() {
    let talk = refused(&["\u{202e}red"]);
    assert!(talk.contains("\\u202ered") && !talk.contains('\u{202e}'), "{talk:?}");
}

#[test]
fn for_scripts_it_is_json() {
    let talk = refused(&["eval", "1", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&talk).expect("it is JSON");
    assert_eq!(error["error"]["kind"], "usage");
    assert!(error["error"]["message"].is_string());
    assert!(error["error"]["causes"].is_array() && error["error"]["hints"].is_array());
}

#[test]
fn code_that_cannot_be_read() {
    let talk = refused(&["eval", "1", "-f", "/nowhere/code.py"]);
    assert_eq!(
        talk,
        "error: cannot read the code from `/nowhere/code.py`\n  because: No such file or directory (os error 2)\n"
    );
    let talk = refused(&["eval", "1", "   "]);
    assert_eq!(talk, "error: the code is empty\n\nhint: spyhole eval --help\n");
    assert_eq!(run_with_input(&["eval", "1", "-f", "-"], "\n").code, 2);
}
