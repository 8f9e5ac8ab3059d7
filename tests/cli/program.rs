//! Runs the program, and sample workers for it to look at.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;

/// The program with a plain environment.
pub(crate) fn spyhole() -> Command {
    spyhole_testkit::plain(Command::new(cargo_bin!("spyhole")))
}

/// The interpreter of sample workers.
pub(crate) fn python() -> String {
    std::env::var("SPYHOLE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// What one run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) data: String,
    pub(crate) talk: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            data: String::from_utf8(output.stdout).expect("output is UTF-8"),
            talk: String::from_utf8(output.stderr).expect("talk is UTF-8"),
        }
    }
}

pub(crate) fn run(words: &[&str]) -> Ran {
    spyhole().args(words).output().expect("the program starts").into()
}

pub(crate) fn run_with_input(words: &[&str], input: &str) -> Ran {
    let mut child = spyhole()
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    // It may end without reading all, which is no matter of ours.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends").into()
}

/// A sample worker, ended when this is dropped.
pub(crate) struct Worker {
    child: Child,
    _stdin: ChildStdin,
}

const SCRIPT: &str = include_str!("../../crates/cli/src/commands/demo/worker.py");
const BOOTSTRAP: &str = "import sys; exec(sys.stdin.buffer.read(int(sys.argv.pop())))";

impl Worker {
    /// Starts the worker of the demo with this name and number. Number 3 is the odd one.
    pub(crate) fn start(name: &str, number: u32) -> Self {
        Self::run(&[name, &number.to_string(), "0"], SCRIPT)
    }

    /// Starts a program that prints a line when it is ready, and has `sys.stdin` open for as long as it may live.
    pub(crate) fn run(words: &[&str], script: &str) -> Self {
        let mut child = Command::new(python())
            .args(["-c", BOOTSTRAP])
            .args(words)
            .arg(script.len().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        stdin.write_all(script.as_bytes()).expect("it reads its script");
        let stdout = child.stdout.take().expect("its output is a pipe");
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        lines.read_line(&mut line).expect("it writes");
        assert!(!line.is_empty(), "the worker ended before it was ready");
        // What it goes on to write is read, so that it never waits for us.
        std::thread::spawn(move || lines.lines().for_each(drop));
        Self { child, _stdin: stdin }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Four workers of one shop, the third one odd, by ascending pid.
pub(crate) fn shop(name: &str) -> Vec<Worker> {
    let mut workers: Vec<Worker> = (1..=4).map(|number| Worker::start(name, number)).collect();
    workers.sort_by_key(Worker::pid);
    workers
}

/// A name that no other test, and no other run of the tests, uses.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Waits for a child for so long, then kills it.
pub(crate) fn ends_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let deadline = std::time::Instant::now() + limit;
    while std::time::Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::yield_now();
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
