//! How output looks on a terminal: paged where it is longer than the screen, in colour, within its width.

use std::process::Command;

use spyhole_testkit::screen::Screen;

use crate::program::{Worker, spyhole};

/// Threads with names, all of which wait.
const SCRIPT: &str = r#"
import sys, threading
gate = threading.Lock()
gate.acquire()
for number in range(12):
    threading.Thread(target=gate.acquire, name="worker-%d" % number, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"#;

/// `spyhole stack` on a worker, for a screen.
fn stack(worker: &Worker, words: &[&str]) -> Command {
    let mut command = spyhole();
    command.env_remove("COLUMNS").env_remove("LESS");
    command.env("SPYHOLE_PAGER", "echo PAGED; cat");
    command.args(["stack", &worker.pid().to_string(), "--all"]).args(words);
    command
}

#[track_caller]
fn shown(command: &Command, columns: u16, rows: u16) -> String {
    let screen = Screen::run(command, columns, rows).expect("a screen");
    let (text, code) = screen.end().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(code, 0, "{text}");
    text
}

/// Without the sequences that colour it.
fn uncoloured(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').expect("nothing but colours is there").1
    })
}

#[test]
fn what_is_longer_than_the_screen_is_paged() {
    let worker = Worker::run(&["paged"], SCRIPT);
    let long = shown(&stack(&worker, &[]), 80, 10);
    assert!(long.starts_with("PAGED\n") && long.contains("worker-11"), "{long}");
    assert!(!shown(&stack(&worker, &[]), 80, 500).contains("PAGED"));
    assert!(!shown(&stack(&worker, &["--no-pager"]), 80, 10).contains("PAGED"));
    assert!(!shown(&stack(&worker, &["--json"]), 80, 10).contains("PAGED"));
    for (own, general, paged) in [("cat", "echo PAGED; cat", false), ("", "echo PAGED; cat", false)]
    {
        let mut command = stack(&worker, &[]);
        command.env("SPYHOLE_PAGER", own).env("PAGER", general);
        assert_eq!(shown(&command, 80, 10).contains("PAGED"), paged, "{own:?}");
    }
    let mut command = stack(&worker, &[]);
    command.env_remove("SPYHOLE_PAGER").env("PAGER", "echo PAGED $LESS; cat");
    assert!(shown(&command, 80, 10).starts_with("PAGED FRX\n"));
    // In a pipe there is no pager, whatever is wanted.
    let output = stack(&worker, &[]).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("worker-11") && !text.contains("PAGED") && !text.contains('\u{1b}'));
}

#[test]
fn a_pager_that_is_missing_or_stops_early_is_no_failure() {
    let worker = Worker::run(&["early"], SCRIPT);
    let mut command = stack(&worker, &[]);
    command.env("SPYHOLE_PAGER", "head -n 1");
    assert_eq!(uncoloured(&shown(&command, 80, 10)).lines().count(), 1);
    command.env("SPYHOLE_PAGER", "no-such-pager-anywhere 2>/dev/null");
    assert!(shown(&command, 80, 10).contains("worker-11"));
}

#[test]
fn less_is_quit_by_a_key() {
    let worker = Worker::run(&["less"], SCRIPT);
    let mut command = stack(&worker, &[]);
    command.env_remove("SPYHOLE_PAGER").env_remove("PAGER");
    if Command::new("less").arg("--version").output().is_err() {
        println!("skipped: there is no `less` here");
        return;
    }
    let mut screen = Screen::run(&command, 80, 10).expect("a screen");
    screen.wait_for("\n:").expect("it waits for a key");
    screen.press("q").expect("it listens");
    let (text, code) = screen.end().expect("it ends");
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("worker-11"), "{text}");
}

#[test]
fn an_interrupt_is_the_pagers() {
    let worker = Worker::run(&["interrupted"], SCRIPT);
    let mut command = stack(&worker, &[]);
    let pager = "cat >/dev/null; trap 'echo CAUGHT' INT; echo PAGED; \
                 read key </dev/tty || read key </dev/tty; echo DONE";
    command.env("SPYHOLE_PAGER", pager);
    let mut screen = Screen::run(&command, 80, 10).expect("a screen");
    screen.wait_for("PAGED").expect("the pager runs");
    screen.press("\u{3}").expect("it listens");
    screen.wait_for("CAUGHT").expect("the pager hears of it");
    screen.press("\n").expect("it listens");
    let (text, code) = screen.end().expect("it ends");
    assert!(code == 0 && text.contains("DONE"), "{code}: {text}");
}

#[test]
fn colours_say_nothing_by_themselves_and_lines_fit() {
    let worker = Worker::run(&["coloured"], SCRIPT);
    for columns in [40, 80] {
        let coloured = shown(&stack(&worker, &["--no-pager"]), columns, 24);
        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
        let mut command = stack(&worker, &["--no-pager"]);
        let plain = shown(command.env("NO_COLOR", "1"), columns, 24);
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert_eq!(uncoloured(&coloured), plain);
        let widest = plain.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(usize::from(columns)), "{plain}");
    }
}

#[test]
fn a_watch_on_a_screen_ends_by_ctrl_c() {
    let worker = Worker::run(&["watched"], SCRIPT);
    let mut command = spyhole();
    command.args(["stack", &worker.pid().to_string(), "--watch", "50ms"]);
    let mut screen = Screen::run(&command, 100, 10).expect("a screen");
    screen.wait_for("12 threads in process").expect("the first round is told");
    screen.press("\u{3}").expect("it listens");
    let (text, code) = screen.end().expect("it ends");
    assert_eq!(code, 0, "{text}");
}
