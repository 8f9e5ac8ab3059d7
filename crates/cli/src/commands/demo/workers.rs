//! Sample processes, which end with whoever started them.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Kind};
use crate::live;

/// What each worker runs. It comes through its standard input, so that no file is needed and its command line is short.
const SCRIPT: &str = include_str!("worker.py");
const BOOTSTRAP: &str = "import sys; exec(sys.stdin.buffer.read(int(sys.argv.pop())))";
/// How long workers may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Versions of Python that are looked for by name, newest first.
const MINORS: std::ops::RangeInclusive<u32> = 6..=15;

/// What a worker wrote, or that it ended.
#[derive(Debug)]
enum Heard {
    Line(String),
    Ended,
}

pub(super) struct Workers {
    children: Vec<Child>,
    heard: Receiver<(usize, Heard)>,
}

impl Workers {
    /// Starts `numbers`, one worker each, and waits until all serve. With `rings` they have a doorbell.
    pub(super) fn start(
        name: &str,
        numbers: &[u32],
        pause: Duration,
        rings: bool,
    ) -> Result<Self, Failure> {
        let python = newest_python()?;
        let (sender, heard) = channel();
        let mut workers = Self { children: Vec::new(), heard };
        for (index, number) in numbers.iter().enumerate() {
            // Each reads its own to the end.
            let carried = rings.then(|| live::carried(live::DOORBELL)).transpose();
            let carried = carried.map_err(cannot_start)?;
            let script = match &carried {
                Some(file) => live::doorbell(file.as_raw_fd()) + SCRIPT,
                None => SCRIPT.to_owned(),
            };
            let child = spawn(&python, name, *number, pause, &script).map_err(cannot_start)?;
            workers.children.push(child);
            workers.listen(index, &script, &sender).map_err(cannot_start)?;
        }
        drop(sender);
        let deadline = Instant::now() + START_LIMIT;
        let mut ready = 0;
        while ready < numbers.len() {
            match workers.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((_, Heard::Line(_))) => ready += 1,
                Ok((_, Heard::Ended)) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(
                        Kind::Failed,
                        format!("`{}` ended before it served", python.display()),
                    ));
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::new(
                        Kind::Timeout,
                        format!(
                            "`{}` did not start within {} s",
                            python.display(),
                            START_LIMIT.as_secs()
                        ),
                    ));
                }
            }
        }
        Ok(workers)
    }

    fn listen(
        &mut self,
        index: usize,
        script: &str,
        sender: &Sender<(usize, Heard)>,
    ) -> std::io::Result<()> {
        let child = &mut self.children[index];
        let output =
            child.stdout.take().ok_or_else(|| std::io::Error::other("it has no output"))?;
        let sender = sender.clone();
        std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send((index, Heard::Line(line))).is_err() {
                    return;
                }
            }
            let _ = sender.send((index, Heard::Ended));
        })?;
        let mut input = self.children[index]
            .stdin
            .take()
            .ok_or_else(|| std::io::Error::other("it has no input"))?;
        input.write_all(script.as_bytes())?;
        // Kept open: its end is what tells a worker to end.
        self.children[index].stdin = Some(input);
        Ok(())
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// The next line of any worker; `Ok(None)` if there is none within `patience`, `Err` if one has ended.
    pub(super) fn line(&self, patience: Duration) -> Result<Option<String>, Failure> {
        match self.heard.recv_timeout(patience) {
            Ok((_, Heard::Line(line))) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Ok((index, Heard::Ended)) => Err(Failure::new(
                Kind::Gone,
                format!("the worker {} has ended", self.children[index].id()),
            )),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::new(Kind::Gone, "the workers have ended"))
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.stdin.take());
            // By now it may be stuck in whatever code somebody ran in it.
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

fn cannot_start(error: std::io::Error) -> Failure {
    Failure::new(Kind::Failed, "cannot start a sample worker").caused_by(&error)
}

fn spawn(
    python: &Path,
    name: &str,
    number: u32,
    pause: Duration,
    script: &str,
) -> std::io::Result<Child> {
    Command::new(python)
        .arg("-c")
        .arg(BOOTSTRAP)
        .args([
            name,
            &number.to_string(),
            &pause.as_secs_f64().to_string(),
            &script.len().to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl-C in the terminal is for us: the workers are ended in order.
        .process_group(0)
        .spawn()
}

/// The newest Python 3 on PATH that runs: what is found by name can be a link to nowhere, or a launcher without a
/// version behind it.
fn newest_python() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = MINORS.rev().map(|minor| format!("python3.{minor}")).chain(["python3".to_owned()]);
    names
        .flat_map(|name| folders.iter().map(move |folder| folder.join(&name)))
        .filter(|file| is_executable(file))
        .find_map(|file| real_program(&file))
        .ok_or_else(|| {
            Failure::new(Kind::Failed, "no `python3` that runs was found on PATH")
                .hint("install Python 3, or look at what runs already: spyhole ps")
        })
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// What `file` starts in the end: a launcher's pid would be a shell's for a while.
fn real_program(file: &Path) -> Option<PathBuf> {
    let output = Command::new(file)
        .args(["-c", "import sys; print(sys.executable)"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let program = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    program.is_absolute().then_some(program)
}
