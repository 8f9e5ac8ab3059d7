//! A running target: one of `tests/targets/*.py` under one interpreter.
//!
//! It knows the handshake: a target writes `ready`, or `ready JSON`, as its first line on stdout
//! when it is in the state that its docstring tells, or `skip: REASON`. Nothing here sleeps; each
//! wait ends with the target's answer, its end, or the hard limit.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use serde_json::Value;
use thiserror::Error;

use crate::interpreters::Interpreter;
use crate::watchdog::{Watchdog, readable};
use crate::{Fingerprint, Inside, place, unchanged};

/// How long a target may live if nothing else is said: it is killed then, whatever the test does.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug, Error)]
pub enum TargetError {
    #[error("cannot start target `{name}`")]
    Start { name: String, source: io::Error },
    /// The target cannot be what it is for here, and said why.
    #[error("target `{name}` is skipped: {reason}")]
    Skipped { name: String, reason: String },
    #[error("target `{name}` said `{said}` where `ready` was expected; its stderr:\n{stderr}")]
    NotReady { name: String, said: String, stderr: String },
    #[error("target `{name}` ended; its stderr:\n{stderr}")]
    Ended { name: String, stderr: String },
    #[error("target `{name}` did not answer in {limit:?}; its stderr:\n{stderr}")]
    TimedOut { name: String, limit: Duration, stderr: String },
    #[error("target `{name}` answered `{said}`, which is not what was asked for")]
    BadAnswer { name: String, said: String },
    #[error("cannot talk to target `{name}`")]
    Talk { name: String, source: io::Error },
}

/// How to start a target.
#[derive(Clone, Debug)]
pub struct Start {
    interpreter: Interpreter,
    name: String,
    flags: Vec<String>,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    namespaces: Vec<String>,
    limit: Duration,
}

impl Start {
    /// `name` is a file of `tests/targets`, without `.py`.
    pub fn new(interpreter: &Interpreter, name: &str) -> Self {
        Self {
            interpreter: interpreter.clone(),
            name: name.to_owned(),
            flags: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            namespaces: Vec::new(),
            limit: DEFAULT_LIMIT,
        }
    }

    /// In namespaces of its own, named as `unshare` names them: `["--net", "--pid"]`.
    pub fn within<S: Into<String>>(mut self, namespaces: impl IntoIterator<Item = S>) -> Self {
        self.namespaces.extend(namespaces.into_iter().map(Into::into));
        self
    }

    /// Options of the interpreter: `["-I", "-S"]`.
    pub fn flags<S: Into<String>>(mut self, flags: impl IntoIterator<Item = S>) -> Self {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// Arguments of the target; they need not be UTF-8.
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The target's whole life is shorter than this.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Result<Target, TargetError> {
        let failed = |source| TargetError::Start { name: self.name.clone(), source };
        let folder = targets_in(self.interpreter.root.as_deref()).map_err(failed)?;
        let mut command = self.command();
        command
            // Never a `.pyc` beside the sources: `-I` ignores the environment variable for it.
            .arg("-B")
            .args(&self.flags)
            .arg(folder.join(format!("{}.py", self.name)))
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let watchdog = match Watchdog::over(&child, self.limit) {
            Ok(watchdog) => watchdog,
            Err(source) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(source));
            }
        };
        let (stderr, errors) = collect(child.stderr.take().expect("stderr is piped"));
        let mut target = Target {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().expect("stdout is piped"),
            unread: Vec::new(),
            pid: i32::try_from(child.id()).expect("a pid is an i32"),
            child,
            watchdog,
            stderr,
            errors: Some(errors),
            deadline: Instant::now() + self.limit,
            ready: Value::Null,
            start: self,
        };
        target.handshake()?;
        target.find_itself()?;
        Ok(target)
    }

    /// What becomes the interpreter, or what starts it as its only child.
    fn command(&self) -> Command {
        let inner = self.interpreter.command();
        if self.namespaces.is_empty() {
            return inner;
        }
        let mut command = Command::new("unshare");
        command.args(&self.namespaces);
        if self.is_forked() {
            // The one who is killed for its time takes it along.
            command.args(["--fork", "--kill-child=KILL"]);
        }
        command.arg("--").arg(inner.get_program()).args(inner.get_args());
        command
    }

    /// Only a child gets into a new pid namespace.
    fn is_forked(&self) -> bool {
        self.namespaces.iter().any(|one| one == "--pid")
    }
}

/// A process that is ready to be attached to. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Target {
    /// What was started: Python, or its parent.
    child: Child,
    pid: i32,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// Bytes of stdout after the last line that was taken.
    unread: Vec<u8>,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Reads its stderr.
    errors: Option<JoinHandle<()>>,
    watchdog: Watchdog,
    deadline: Instant,
    ready: Value,
    start: Start,
}

impl Target {
    /// Starts a target that needs no arguments.
    pub fn start(interpreter: &Interpreter, name: &str) -> Result<Self, TargetError> {
        Start::new(interpreter, name).start()
    }

    /// The number of the Python process as this machine knows it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn interpreter(&self) -> &Interpreter {
        &self.start.interpreter
    }

    /// What the target told of itself when it was ready; null if nothing.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// What it wrote to stderr until now.
    pub fn stderr(&self) -> String {
        let bytes = self.stderr.lock().expect("the reader does not panic");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All that it wrote to stderr, after its end; waits for the end of all processes that have it open.
    pub fn whole_stderr(&mut self) -> String {
        if let Some(errors) = self.errors.take() {
            errors.join().expect("the reader does not panic");
        }
        self.stderr()
    }

    /// Writes one line to its stdin.
    pub fn send(&mut self, line: &str) -> Result<(), TargetError> {
        let name = self.start.name.clone();
        let Some(stdin) = &mut self.stdin else { return Err(self.ended()) };
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .map_err(|source| TargetError::Talk { name, source })
    }

    /// Closes its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line of its stdout, without the line end.
    pub fn receive(&mut self) -> Result<String, TargetError> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let rest = self.unread.split_off(end + 1);
                let line = std::mem::replace(&mut self.unread, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut chunk = [0; 4096];
            let read = match readable(&self.stdout, self.deadline) {
                Ok(true) => self.stdout.read(&mut chunk),
                Ok(false) => return Err(self.timed_out()),
                Err(error) => Err(error),
            };
            match read {
                Ok(0) if self.watchdog.has_bitten() => return Err(self.timed_out()),
                Ok(0) => return Err(self.ended()),
                Ok(length) => self.unread.extend_from_slice(&chunk[..length]),
                Err(source) => {
                    return Err(TargetError::Talk { name: self.start.name.clone(), source });
                }
            }
        }
    }

    /// Sends a line and waits for the line that answers it.
    pub fn ask(&mut self, line: &str) -> Result<String, TargetError> {
        self.send(line)?;
        self.receive()
    }

    /// The `repr` of an expression, evaluated by the target itself in its own `__main__`. Only for
    /// targets that serve commands.
    pub fn evaluate(&mut self, expression: &str) -> Result<String, TargetError> {
        let said = self.ask(&format!("eval {expression}"))?;
        match serde_json::from_str(&said) {
            Ok(Value::String(repr)) => Ok(repr),
            _ => Err(TargetError::BadAnswer { name: self.start.name.clone(), said }),
        }
    }

    /// How the target looks from inside, told by itself. Only for targets that serve commands.
    pub fn inside(&mut self) -> Result<Inside, TargetError> {
        let said = self.ask("state")?;
        Inside::parse(&said)
            .ok_or_else(|| TargetError::BadAnswer { name: self.start.name.clone(), said })
    }

    /// Waits until its main thread is in the call that reads its stdin. One that said `ready` may be on its way there for
    /// long on a busy machine, and takes the GIL once more before it lets go of it.
    pub fn listens(&self) -> io::Result<()> {
        const READ_OF_STDIN: &str = "0 0x0 ";
        let call = format!("/proc/{0}/task/{0}/syscall", self.pid());
        // Ends with the target at the latest, which the watchdog sees to.
        while !std::fs::read_to_string(&call)?.starts_with(READ_OF_STDIN) {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// How it looks from outside once it is still: all of its threads asleep, and two readings
    /// alike. One that said `ready` may still be on its way into the call that it blocks in.
    pub fn blocked(&self) -> io::Result<Fingerprint> {
        let mut last = Fingerprint::of(self.pid())?;
        // Ends with the target at the latest, which the watchdog sees to.
        loop {
            std::thread::yield_now();
            let now = Fingerprint::of(self.pid())?;
            let asleep = now.threads.values().all(|thread| thread.state == 'S');
            if asleep && unchanged(&last, &now).is_ok_and(|kept| kept.exempt.is_empty()) {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Sends a signal to this very process.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.watchdog.signal(signal)
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end and reaps it.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus, TargetError> {
        let talk = |source| TargetError::Talk { name: self.start.name.clone(), source };
        if !self.watchdog.wait_ended(limit).map_err(talk)? || self.watchdog.has_bitten() {
            return Err(self.timed_out());
        }
        self.child.wait().map_err(talk)
    }

    /// Behind a parent of its own, the process that said that it is ready is that one's only child.
    fn find_itself(&mut self) -> Result<(), TargetError> {
        if !self.start.is_forked() {
            return Ok(());
        }
        let parent = self.pid;
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let child = children.ok().and_then(|list| list.split_whitespace().next()?.parse().ok());
        let talk = |source| TargetError::Talk { name: self.start.name.clone(), source };
        self.pid = child.ok_or_else(|| talk(io::ErrorKind::NotFound.into()))?;
        self.watchdog.signals(self.pid).map_err(talk)
    }

    fn handshake(&mut self) -> Result<(), TargetError> {
        let line = self.receive()?;
        let name = self.start.name.clone();
        if let Some(reason) = line.strip_prefix("skip: ") {
            return Err(TargetError::Skipped { name, reason: reason.to_owned() });
        }
        match line.strip_prefix("ready").map(str::trim) {
            Some("") => Ok(()),
            Some(json) => match serde_json::from_str(json) {
                Ok(value) => {
                    self.ready = value;
                    Ok(())
                }
                Err(_) => Err(TargetError::BadAnswer { name, said: line }),
            },
            None => Err(TargetError::NotReady { name, said: line, stderr: self.stderr() }),
        }
    }

    fn ended(&mut self) -> TargetError {
        // Its stdout is closed, so it has ended or is about to; reaped, its stderr is complete.
        let _ = self.watchdog.wait_ended(Duration::from_secs(5));
        TargetError::Ended { name: self.start.name.clone(), stderr: self.stderr() }
    }

    fn timed_out(&self) -> TargetError {
        TargetError::TimedOut {
            name: self.start.name.clone(),
            limit: self.start.limit,
            stderr: self.stderr(),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // An error means that it has been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end beside everything else, so that the target never blocks on it.
fn collect(mut pipe: impl Read + Send + 'static) -> (Arc<Mutex<Vec<u8>>>, JoinHandle<()>) {
    const MOST: usize = 1 << 20;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let bytes = Arc::clone(&kept);
    let reader = std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            let mut bytes = bytes.lock().expect("nobody panics with the lock");
            let room = MOST.saturating_sub(bytes.len()).min(length);
            bytes.extend_from_slice(&chunk[..room]);
        }
    });
    (kept, reader)
}

/// The folder of the targets as seen from inside a root, where they are copied to.
fn targets_in(root: Option<&Path>) -> io::Result<PathBuf> {
    let Some(root) = root else { return Ok(place::targets()) };
    let files = sources()?;
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    // Named by what is in it: test programs of several builds share the root.
    let inside = Path::new("/opt/spyhole-targets").join(format!("{:016x}", hasher.finish()));
    let folder = root.join(inside.strip_prefix("/").expect("the path is absolute"));
    if !folder.is_dir() {
        let unfinished = folder.with_extension(std::process::id().to_string());
        fs::create_dir_all(&unfinished)?;
        for (name, bytes) in &files {
            fs::write(unfinished.join(name), bytes)?;
        }
        if fs::rename(&unfinished, &folder).is_err() {
            // Somebody else was quicker with the same files.
            fs::remove_dir_all(&unfinished)?;
        }
    }
    Ok(inside)
}

fn sources() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(place::targets())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, fs::read(&path)?));
        }
    }
    files.sort();
    Ok(files)
}
