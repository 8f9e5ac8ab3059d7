//! Runs the program under hard time limits.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) use spyhole_testkit::plain;
use spyhole_testkit::target::Signal;
use spyhole_testkit::watchdog::Watchdog;

/// How long any one run may take; far more than it ever needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The program with a plain environment.
pub(crate) fn spyhole() -> Command {
    plain(Command::new(env!("CARGO_BIN_EXE_spyhole")))
}

/// What one run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; -1 if a signal ended it.
    pub(crate) code: i32,
    pub(crate) data: String,
    pub(crate) talk: String,
    pub(crate) took: Duration,
}

impl Ran {
    /// The document that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It ended well, and printed this.
    #[track_caller]
    pub(crate) fn gave(&self, data: &str) {
        assert_eq!((self.code, self.data.as_str()), (0, data), "{}", self.talk);
    }

    /// It ended so, and said this.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, talk: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.talk.contains(talk), "`{talk}` is not in {self:?}");
    }

    /// Its last line says that the process was left as it was.
    #[track_caller]
    pub(crate) fn left(&self, pid: i32) {
        let last = self.talk.lines().last().unwrap_or_default();
        assert!(last.starts_with(&format!("left {pid} as it was (held ")), "{self:?}");
    }
}

/// Runs the program to its end.
pub(crate) fn run<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Ran {
    let mut command = spyhole();
    command.args(words);
    Running::start(&mut command).wait()
}

/// `spyhole eval PID CODE`.
pub(crate) fn eval(pid: i32, code: &str) -> Ran {
    run(["eval", &pid.to_string(), code])
}

/// The program, with this on its standard input.
pub(crate) fn run_with_input(words: &[&str], input: &str) -> Ran {
    let mut command = spyhole();
    command.args(words).stdin(Stdio::piped());
    let mut running = Running::start(&mut command);
    running.write(input);
    running.close_input();
    running.wait()
}

/// The program while it runs. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    watchdog: Watchdog,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    talk: Option<JoinHandle<Vec<u8>>>,
    /// Lines that were taken already.
    data: String,
    begun: Instant,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let begun = Instant::now();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let watchdog = Watchdog::over(&child, LIMIT).expect("it can be watched");
        let mut errors = child.stderr.take().expect("a pipe");
        let talk = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read until an error is what there is.
            let _ = errors.read_to_end(&mut bytes);
            bytes
        });
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            watchdog,
            talk: Some(talk),
            data: String::new(),
            begun,
        }
    }

    pub(crate) fn write(&mut self, text: &str) {
        // It may have ended without reading all, which its exit code tells.
        let _ = self.stdin.as_mut().expect("its input is a pipe").write_all(text.as_bytes());
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// The next line that it prints, without its end; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("output is UTF-8");
        self.data.push_str(&line);
        line.trim_end_matches('\n').to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.watchdog.signal(signal).expect("it can be signalled");
    }

    /// Waits for its end, or for its limit, whatever it comes to.
    #[track_caller]
    pub(crate) fn wait_quietly(&mut self) {
        // An error means that it has been reaped already.
        let _ = self.child.wait();
        assert!(!self.watchdog.has_bitten(), "it did not end within {LIMIT:?}");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ran {
        self.close_input();
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).expect("it can be read");
        let talk = self.talk.take().expect("taken once").join().expect("the reader does not panic");
        let status = self.child.wait().expect("it can be waited for");
        assert!(!self.watchdog.has_bitten(), "it did not end within {LIMIT:?}");
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let mut data = std::mem::take(&mut self.data);
        data.push_str(&text(rest));
        Ran {
            code: status.code().unwrap_or(-1),
            data,
            talk: text(talk),
            took: self.begun.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
