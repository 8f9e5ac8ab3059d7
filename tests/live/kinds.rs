//! `spyhole ps` names what a process is: programs from PyPI, started as their users start them.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use spyhole_testkit::target::Signal;
use spyhole_testkit::watchdog::Watchdog;
use spyhole_testkit::{census, place};

use crate::program::{LIMIT, plain, run};
use crate::served;

/// A program of the environment; ended when this is dropped.
struct Program {
    child: Child,
    watchdog: Watchdog,
    log: std::path::PathBuf,
}

impl Program {
    /// `None`, with the reason written down, where its package is not there.
    fn start(package: &str, words: &[&str], folder: &Path) -> Option<Self> {
        let library = place::venvs().join("3.13/lib/python3.13/site-packages").join(package);
        if !library.exists() {
            census::skipped(&format!("kinds::{package}"), "no environment with it");
            return None;
        }
        let log = folder.join(format!("{package}.log"));
        let file = File::create(&log).expect("a file");
        let mut command = plain(Command::new(place::venvs().join("3.13/bin/python")));
        command
            .args(words)
            .current_dir(folder)
            .env("PYTHONPATH", place::targets())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file);
        let child = command.spawn().expect("it starts");
        let watchdog = Watchdog::over(&child, Duration::from_secs(300)).expect("it is watched");
        Some(Self { child, watchdog, log })
    }

    /// Until `ps` tells these kinds of it and of those that it started, and marks what it has loaded.
    #[track_caller]
    fn is_told(&self, folder: &Path, kinds: &[&str], loaded: &str) {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("it is text");
        let deadline = Instant::now() + LIMIT;
        loop {
            let rows = run(["ps", name, "--json"]).json();
            let rows = rows.as_array().expect("a list");
            let mut told: Vec<&str> = rows.iter().filter_map(|row| row["kind"].as_str()).collect();
            told.sort_unstable();
            let is_loaded = |row: &Value| {
                row["loaded"].as_array().is_some_and(|all| all.iter().any(|one| one == loaded))
            };
            if told == kinds && (loaded.is_empty() || rows.iter().any(is_loaded)) {
                return;
            }
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            let ended = self.watchdog.wait_ended(Duration::from_millis(50)).expect("it is watched");
            assert!(!ended, "it has ended: {}", log());
            assert!(Instant::now() < deadline, "{rows:#?} and not {kinds:?}: {}", log());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It ends its workers first; an error means that it has ended.
        let _ = self.watchdog.signal(Signal::TERM);
        let ended = self.watchdog.wait_ended(Duration::from_secs(20));
        if !ended.unwrap_or(false) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The name of a folder of its own stands on each command line, and `ps` finds them by it.
fn named(package: &str, words: &[&str], kinds: &[&str], loaded: &str) {
    let folder = served::folder(&format!("kind-{package}"));
    let path = folder.to_str().expect("it is text");
    let words: Vec<String> = words.iter().map(|word| word.replace("FOLDER", path)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(program) = Program::start(package, &words, &folder) {
        program.is_told(&folder, kinds, loaded);
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn celery() {
    let words = [
        "-m",
        "celery",
        "-A",
        "queued",
        "worker",
        "-c",
        "1",
        "-P",
        "prefork",
        "--pidfile=FOLDER/pid",
    ];
    named("celery", &words, &["celery master", "celery worker"], "");
}

#[test]
fn ipykernel() {
    let words = ["-m", "ipykernel_launcher", "-f", "FOLDER/connection.json"];
    named("ipykernel", &words, &["notebook kernel"], "asyncio");
}

#[test]
fn uvicorn() {
    let words = ["-m", "uvicorn", "web:asgi", "--uds", "FOLDER/socket"];
    named("uvicorn", &words, &["uvicorn"], "asyncio");
}
