//! Running a command to its end under a hard time limit, with what it printed.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::watchdog::{Watchdog, readable};

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// From the start to the end of its output.
    pub took: Duration,
    /// It was killed because its time was over.
    pub timed_out: bool,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.status.success() && !self.timed_out
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs a command with no input, and kills it when `limit` is over.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let start = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let watchdog = Watchdog::over(&child, limit)?;
    let deadline = start + limit;
    let errors = child.stderr.take().expect("stderr is piped");
    // Both pipes at once: a command that fills one while the other is read would wait for ever.
    let reader = std::thread::spawn(move || read_until(errors, deadline));
    let stdout = read_until(child.stdout.take().expect("stdout is piped"), deadline)?;
    let stderr = reader.join().expect("the reader does not panic")?;
    let took = start.elapsed();
    let status = child.wait()?;
    Ok(Finished { status, stdout, stderr, took, timed_out: watchdog.has_bitten() })
}

/// Reads to the end, but no longer than the deadline: a grandchild may keep the pipe open.
fn read_until(mut pipe: impl Read + AsFd, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 64 << 10];
    while readable(&pipe, deadline)? {
        match pipe.read(&mut chunk)? {
            0 => break,
            length => bytes.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_captured() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let finished = run(&mut command, Duration::from_secs(20)).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(
            (finished.stdout_text(), finished.stderr_text()),
            ("out\n".into(), "err\n".into())
        );
        assert!(!finished.timed_out && !finished.success());
    }

    #[test]
    fn a_command_that_does_not_end_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let finished = run(&mut command, Duration::from_millis(50)).unwrap();
        assert!(finished.timed_out && finished.took < Duration::from_secs(60));
    }
}
