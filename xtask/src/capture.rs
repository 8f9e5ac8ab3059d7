//! `cargo xtask capture`: records a process, so that a test can look at it without one.
//!
//! `--all` records `tests/targets/captured.py` under each interpreter that is found, and `captured_tasks.py` under some, into
//! the folders that the tests of `cpython` and `session` read; `--tasks` only the latter.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use spyhole_proc::capture::Capture;
use spyhole_proc::memory::Live;
use spyhole_proc::tasks::{Activity, Tasks};
use spyhole_session::locals::Wanted;
use spyhole_session::snapshot;
use spyhole_testkit::{Interpreter, interpreters};

use crate::workspace;

const FOLDER: &str = "crates/cpython/tests/captures";
/// Of these, tasks are recorded as well: each keeps them in another way.
const OF_TASKS: &str = "crates/session/tests/captures";
const WITH_TASKS: &[&str] = &["3.6", "3.10", "3.13", "3.15"];
const USAGE: &str =
    "usage: cargo xtask capture --all | --tasks | PID -o FILE | --target NAME -o FILE";

pub(crate) fn run(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--all"] => all(),
        ["--tasks"] => tasks(),
        ["--target", name, "-o", file] => {
            let interpreter = interpreters::interpreters().pop().context("no interpreter")?;
            of_target(&interpreter, name, Path::new(file))
        }
        [pid, "-o", file] => record(pid.parse().context(USAGE)?, None, Path::new(file)),
        _ => bail!(USAGE),
    }
}

fn all() -> Result<()> {
    let folder = workspace::root().join(FOLDER);
    fs::create_dir_all(&folder)?;
    for interpreter in interpreters::interpreters() {
        let file = folder.join(format!("cpython-{}.capture", interpreter.minor()));
        of_target(&interpreter, "captured", &file)
            .with_context(|| format!("cannot record {}", interpreter.full_version()))?;
    }
    tasks()
}

fn tasks() -> Result<()> {
    let folder = workspace::root().join(OF_TASKS);
    fs::create_dir_all(&folder)?;
    for minor in WITH_TASKS {
        let Some(interpreter) = interpreters::for_version(minor) else { continue };
        of_target(&interpreter, "captured_tasks", &folder.join(format!("tasks-{minor}.capture")))
            .with_context(|| format!("cannot record tasks of {minor}"))?;
    }
    Ok(())
}

/// Records a target that says `ready` and then waits.
fn of_target(interpreter: &Interpreter, name: &str, file: &Path) -> Result<()> {
    // Its name and nothing else of this machine is to be in the capture.
    let reader = format!("import sys; exec(compile(sys.stdin.read(), '{name}.py', 'exec'))");
    let mut command: Command = interpreter.command();
    let mut child = command
        .args(["-I", "-B", "-X", "utf8", "-c", &reader])
        .env_clear()
        .env("PYTHONIOENCODING", "utf-8")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = i32::try_from(child.id())?;
    let recorded = (|| {
        let source =
            fs::read(workspace::root().join("tests/targets").join(name).with_extension("py"))?;
        child.stdin.take().context("stdin is piped")?.write_all(&source)?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut said)?;
        ensure!(said == "ready\n", "the target said `{}`", said.trim());
        wait_until_blocked(pid)?;
        record(pid, interpreter.root.as_deref(), file)
    })();
    child.kill()?;
    child.wait()?;
    recorded
}

fn wait_until_blocked(pid: i32) -> Result<()> {
    let live = Live { pid };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let threads = live.by_inner_id()?;
        let blocked = |tid| matches!(live.activity(tid), Some(Activity::Blocked { .. }));
        if threads.values().all(|tid| blocked(*tid)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "its threads do not come to rest");
        std::thread::yield_now();
    }
}

/// What values need is recorded, too.
const LOCALS: Wanted = Wanted { characters: 200, reveal: false };

fn record(pid: i32, root: Option<&Path>, file: &Path) -> Result<()> {
    let look = |maps: &_, recording: &_| snapshot::of_still(pid, maps, recording, Some(LOCALS));
    let (capture, looked) = Capture::record(pid, look)?;
    let looked = looked?;
    let capture = match root {
        Some(root) => capture.below(root.canonicalize()?.as_os_str().as_encoded_bytes()),
        None => capture,
    };
    let bytes = capture.to_bytes();
    fs::write(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    println!(
        "{} {} threads, {} pages, {} KiB: {}",
        looked.python,
        looked.interpreters.iter().map(|one| one.threads.len()).sum::<usize>(),
        capture.pages().len(),
        bytes.len().div_ceil(1024),
        file.display()
    );
    Ok(())
}
