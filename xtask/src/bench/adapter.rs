//! debugpy from PyPI, attached to a target as an editor attaches it.
//!
//! It knows a few words of the Debug Adapter Protocol: attach, set a breakpoint, detach. The target imports debugpy
//! itself, from a folder of its version, which this makes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use spyhole_testkit::{Interpreter, Start, Target};

use crate::workspace;

/// How long an answer may take; importing debugpy takes two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where debugpy lies for a version, and what it calls itself.
pub(super) struct Debugpy {
    /// As the interpreter sees it.
    folder: PathBuf,
    pub(super) version: String,
}

impl Debugpy {
    /// `None`: it does not come for this version, or not to where this interpreter looks.
    pub(super) fn of(python: &Interpreter) -> Result<Option<Self>> {
        // It needs `/proc` and a loopback of its own kind, which a bare root does not have.
        if python.root.is_some() {
            return Ok(None);
        }
        let folder = workspace::generated("venvs").join("debugpy").join(python.minor());
        if !folder.join("debugpy").is_dir() {
            let status = python
                .command()
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-compile", "--target"])
                .arg(&folder)
                .arg("debugpy")
                .stderr(Stdio::null())
                .status()
                .context("cannot run pip")?;
            if !status.success() {
                println!("debugpy does not come for python {}", python.minor());
                return Ok(None);
            }
        }
        let version = version_in(&folder).context("no version of debugpy")?;
        Ok(Some(Self { folder, version }))
    }

    /// A target that will find it.
    pub(super) fn start(&self, start: Start) -> Result<Target> {
        let start = start
            .env("PYTHONPATH", &self.folder.display().to_string())
            // It would say on the target's stderr that modules are frozen.
            .env("PYDEVD_DISABLE_FILE_VALIDATION", "1");
        Ok(start.start()?)
    }
}

fn version_in(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.flatten();
    names.into_iter().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        Some(name.strip_prefix("debugpy-")?.strip_suffix(".dist-info")?.to_owned())
    })
}

/// A debugger that is attached.
pub(super) struct Attached {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    sent: u64,
}

impl Attached {
    /// Attaches, with one breakpoint.
    pub(super) fn to(target: &mut Target, file: &Path, line: usize) -> Result<Self> {
        let told = target.evaluate("__import__('debugpy').listen(('127.0.0.1', 0))[1]")?;
        let port: u16 = told.parse().with_context(|| format!("`{told}` is no port"))?;
        let stream = TcpStream::connect(("127.0.0.1", port)).context("debugpy does not listen")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(stream.try_clone()?);
        let mut attached = Self { stream, reader, sent: 0 };
        attached.request("initialize", json!({"adapterID": "bench", "pathFormat": "path"}))?;
        attached.answer("response", "initialize")?;
        attached.request("attach", json!({"justMyCode": false}))?;
        attached.answer("event", "initialized")?;
        attached.breakpoint(file, line, None)?;
        attached.request("configurationDone", json!({}))?;
        attached.answer("response", "attach")?;
        Ok(attached)
    }

    /// In the place of the one that was there.
    pub(super) fn breakpoint(
        &mut self,
        file: &Path,
        line: usize,
        condition: Option<&str>,
    ) -> Result<()> {
        let one = match condition {
            Some(condition) => json!({"line": line, "condition": condition}),
            None => json!({"line": line}),
        };
        let arguments = json!({"source": {"path": file}, "breakpoints": [one]});
        self.request("setBreakpoints", arguments)?;
        let answer = self.answer("response", "setBreakpoints")?;
        ensure!(answer["body"]["breakpoints"][0]["verified"] == true, "no breakpoint: {answer}");
        Ok(())
    }

    pub(super) fn detach(mut self) -> Result<()> {
        self.request("disconnect", json!({"terminateDebuggee": false}))?;
        self.answer("response", "disconnect")?;
        Ok(())
    }

    fn request(&mut self, command: &str, arguments: Value) -> Result<()> {
        self.sent += 1;
        let body = json!({
            "seq": self.sent, "type": "request", "command": command, "arguments": arguments
        });
        let body = body.to_string();
        write!(self.stream, "Content-Length: {}\r\n\r\n{body}", body.len())
            .context("debugpy does not listen any more")
    }

    /// The next message of this kind and name; others are passed over.
    fn answer(&mut self, kind: &str, name: &str) -> Result<Value> {
        loop {
            let message = self.message().with_context(|| format!("no {kind} `{name}`"))?;
            let own = if kind == "event" { &message["event"] } else { &message["command"] };
            if message["type"] == kind && own == name {
                if kind == "response" && message["success"] != true {
                    bail!("debugpy refuses `{name}`: {message}");
                }
                return Ok(message);
            }
        }
    }

    fn message(&mut self) -> Result<Value> {
        let mut length = None;
        loop {
            let mut line = String::new();
            ensure!(self.reader.read_line(&mut line)? > 0, "debugpy has ended");
            if line.trim().is_empty() {
                break;
            }
            if let Some((_, number)) = line.split_once("Content-Length:") {
                length = number.trim().parse::<usize>().ok();
            }
        }
        let mut body = vec![0; length.context("a message without a length")?];
        self.reader.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}
