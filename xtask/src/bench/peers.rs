//! The other tools: where they come from, and how each is made to print a value of the target, or its stacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use spyhole_testkit::Interpreter;

use crate::workspace;

const PACKAGES: &[&str] = &["hypno==1.1.0", "pyrasite==2.0", "py-spy==0.4.3"];
/// What they run in the target. It prints where the target prints.
const CODE: &str = "import __main__; print(__main__.answer, flush=True)";

/// A tool: its name, and a command to which the pid is still to be told.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    program: PathBuf,
    /// `PID` stands for the process.
    words: Vec<String>,
}

impl Peer {
    pub(super) fn command(&self, pid: i32) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.words.iter().map(|word| word.replace("PID", &pid.to_string())));
        command
    }
}

/// The environment with the tools from PyPI, `target/venvs/peers`.
pub(super) struct Environment {
    folder: PathBuf,
    payload: PathBuf,
}

impl Environment {
    pub(super) fn new(python: &Interpreter) -> Result<Self> {
        let folder = workspace::generated("venvs").join("peers");
        let payload = folder.join("payload.py");
        let contents = folder.join("packages.txt");
        let wanted = PACKAGES.join("\n");
        if fs::read_to_string(&contents).ok().as_ref() != Some(&wanted) {
            // `--clear` also mends one that a killed run left half made.
            checked(Command::new(&python.path).args(["-m", "venv", "--clear"]).arg(&folder))?;
            checked(
                Command::new(folder.join("bin/python"))
                    .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                    .args(PACKAGES),
            )?;
            fs::write(&payload, format!("{CODE}\n")).context("cannot write the payload")?;
            fs::write(&contents, wanted).context("cannot write what is in the environment")?;
        }
        Ok(Self { folder, payload })
    }

    pub(super) fn hypno(&self) -> Peer {
        let words = vec!["PID".to_owned(), CODE.to_owned()];
        Peer { name: "hypno 1.1.0", program: self.folder.join("bin/hypno"), words }
    }

    pub(super) fn pyrasite(&self) -> Result<Peer> {
        if Command::new("gdb").arg("--version").output().is_err() {
            bail!("pyrasite needs gdb; run `apt-get install gdb`");
        }
        let words = vec!["PID".to_owned(), self.payload.display().to_string()];
        Ok(Peer { name: "pyrasite 2.0", program: self.folder.join("bin/pyrasite"), words })
    }

    /// All threads, as `stack --json --all` prints them.
    pub(super) fn py_spy(&self, locals: bool) -> Peer {
        let words =
            ["dump", "--json", "--pid", "PID"].into_iter().chain(locals.then_some("--locals"));
        let words = words.map(str::to_owned).collect();
        Peer { name: "py-spy 0.4.3", program: self.folder.join("bin/py-spy"), words }
    }
}

/// The file that `sys.remote_exec` has the target run; it has to be seen by both.
pub(super) struct Script {
    outside: PathBuf,
    inside: PathBuf,
}

impl Script {
    pub(super) fn new(python: &Interpreter) -> Result<Self> {
        let inside = PathBuf::from(format!("/tmp/remote-exec-{}.py", std::process::id()));
        let root = python.root.as_deref().unwrap_or(Path::new("/"));
        let outside = root.join(inside.strip_prefix("/").expect("the path is absolute"));
        fs::write(&outside, format!("{CODE}\n")).context("cannot write the script")?;
        Ok(Self { outside, inside })
    }

    /// A fresh interpreter of the target's own version makes the call.
    pub(super) fn remote_exec(&self, python: &Interpreter) -> Peer {
        let code = format!("import sys; sys.remote_exec(PID, '{}')", self.inside.display());
        let command = python.command();
        let mut words: Vec<String> =
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        words.extend(["-I", "-S", "-c"].map(str::to_owned));
        words.push(code);
        Peer { name: "sys.remote_exec", program: command.get_program().into(), words }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // A few bytes in a folder for such.
        let _ = fs::remove_file(&self.outside);
    }
}

fn checked(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
