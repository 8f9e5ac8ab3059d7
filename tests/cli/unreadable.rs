//! Processes that `stack` cannot read: what they are is said, with the exit code of it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::program::{Worker, run, spyhole};

/// A process of another kind; ended when this is dropped.
struct Other(Child);

impl Other {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("it starts"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Waits until it runs the program that it was started for.
    fn runs(self, name: &str) -> Self {
        let exe = format!("/proc/{}/exe", self.pid());
        while !std::fs::read_link(&exe).is_ok_and(|exe| exe.ends_with(name)) {
            assert!(std::fs::metadata(&exe).is_ok(), "it has ended");
            std::thread::yield_now();
        }
        self
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The message and the exit code, as text and for scripts.
#[track_caller]
fn refused(target: &str, code: i32, kind: &str, message: &str) {
    let ran = run(&["stack", target]);
    assert_eq!((ran.code, ran.data.as_str()), (code, ""), "{ran:?}");
    assert!(ran.talk.starts_with("error: ") && ran.talk.contains(message), "{}", ran.talk);
    let ran = run(&["stack", target, "--json"]);
    assert_eq!(ran.code, code, "{ran:?}");
    let error: serde_json::Value = serde_json::from_str(&ran.talk).expect("it is JSON");
    assert_eq!(error["error"]["kind"], kind, "{error}");
}

#[test]
fn no_process() {
    refused("999999999", 5, "gone", "no process 999999999");
    refused("no-such-process-anywhere", 1, "no-match", "`no-such-process-anywhere`");
}

#[test]
fn no_python() {
    let sleep = Other::start(Command::new("sleep").arg("60"));
    refused(&sleep.pid(), 1, "unreachable", "runs no Python: ");
}

#[test]
fn pypy() {
    let folder = std::env::temp_dir().join(format!("spyhole-pypy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("it can be made");
    let program = folder.join("pypy3.10-c");
    let sleep = std::fs::canonicalize("/bin/sleep").expect("it is there");
    std::fs::copy(sleep, &program).expect("it can be copied");
    // A program of many names goes by its first word.
    let other = Other::start(Command::new(&program).arg0("sleep").arg("60")).runs("pypy3.10-c");
    refused(&other.pid(), 1, "unreachable", "it runs PyPy, not CPython");
    drop(other);
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}

#[test]
fn a_version_that_is_not_known() {
    let versions = PathBuf::from(std::env::var("HOME").unwrap_or_default()).join(".pyenv/versions");
    let old = std::fs::read_dir(versions).into_iter().flatten().flatten();
    let old = old.map(|entry| entry.path().join("bin/python2.7")).find(|path| path.exists());
    let Some(python) = old else {
        println!("skipped: no Python 2.7 on this machine");
        return;
    };
    let mut command = Command::new(python);
    command.args(["-c", "import sys; print 'ready'; sys.stdout.flush(); sys.stdin.read()"]);
    let mut other =
        Other(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut line = String::new();
    let stdout = other.0.stdout.as_mut().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("text");
    assert_eq!(line, "ready\n");
    refused(&other.pid(), 1, "unreachable", "runs Python 2.7.");
}

#[test]
fn a_kernel_thread() {
    let is_one = std::fs::read_to_string("/proc/2/status");
    if !is_one.is_ok_and(|status| status.contains("\nPPid:\t0\n") && !status.contains("VmSize")) {
        println!("skipped: process 2 is no kernel thread here");
        return;
    }
    refused("2", 1, "unreachable", "process 2 is a kernel thread");
}

#[test]
fn a_zombie() {
    let child = Command::new("true").spawn().expect("it starts");
    let stat = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&stat).expect("nobody has asked for its code").contains(") Z ") {
        std::thread::yield_now();
    }
    let zombie = Other(child);
    refused(&zombie.pid(), 5, "gone", "is a zombie");
}

/// The process is killed at each of many moments of a look.
#[test]
fn one_that_dies_while_it_is_read() {
    for round in 0..30 {
        let worker = Worker::start("dying", 1);
        let child = spyhole()
            .args(["stack", &worker.pid().to_string(), "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // The moment is what is tried: nothing is waited for.
        std::thread::sleep(Duration::from_micros(300 * round));
        drop(worker);
        let output = child.wait_with_output().expect("it ends");
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => {
                let _: serde_json::Value =
                    serde_json::from_slice(&output.stdout).expect("a whole document");
            }
            Some(5) => assert!(talk.contains("\"kind\":\"gone\""), "{talk}"),
            code => panic!("after {} us: {code:?}: {talk}", 300 * round),
        }
    }
}
