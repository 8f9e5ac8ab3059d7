//! `cargo xtask wheel`: the wheel, with the static program and the package, in `target/wheel`.
//!
//! `--check` also installs it into fresh environments of the oldest and the newest interpreter that can make one, and
//! rings the doorbell of a process there with the program that was installed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use spyhole_testkit::{interpreters, run as finish};

use crate::workspace;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const TOOLS: [&str; 2] = ["maturin>=1.7,<2", "wheel>=0.40,<1"];
/// The one tag that the pip which came with 3.6 knows. What the program needs of the machine is the kernel alone.
const OLDEST: &str = "+manylinux1_x86_64";
const LIMIT: Duration = Duration::from_secs(60);

/// A program that leaves a doorbell, and goes on.
const PREPARED: &str = "
import os, time
import spyhole
spyhole.install(locals={'given': 42})
print(os.getpid(), flush=True)
time.sleep(300)
";

pub(crate) fn run(words: &[String]) -> Result<()> {
    let check = match words {
        [] => false,
        [word] if word == "--check" => true,
        _ => bail!("no such option; there is `--check`"),
    };
    let wheel = build()?;
    println!("{}: {:.1} MB", wheel.display(), fs::metadata(&wheel)?.len() as f64 / 1e6);
    if !check {
        return Ok(());
    }
    // Those in a root of their own have another /tmp, and no pip.
    let able: Vec<_> =
        interpreters::interpreters().into_iter().filter(|one| one.root.is_none()).collect();
    for python in able.first().into_iter().chain(able.last()) {
        self::check(&python.path, &wheel)
            .with_context(|| format!("the wheel on python {}", python.full_version()))?;
        println!("installed and rung on python {}", python.full_version());
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let folder = workspace::generated("wheel");
    let tool = folder.join("tool");
    let maturin = tool.join("bin/maturin");
    if !maturin.exists() || !tool.join("bin/wheel").exists() {
        let newest = interpreters::interpreters().into_iter().rfind(|one| one.root.is_none());
        let newest = newest.context("no Python that could run maturin")?;
        checked(Command::new(&newest.path).args(["-m", "venv", "--clear"]).arg(&tool))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        checked(Command::new(tool.join("bin/python")).args(pip).args(TOOLS))?;
    }
    let out = folder.join("out");
    // An error means that there was none.
    let _ = fs::remove_dir_all(&out);
    checked(
        Command::new(&maturin)
            .current_dir(workspace::root())
            .args(["build", "--quiet", "--release", "--locked", "--target", TRIPLE])
            // A static program asks nothing of the machine's libraries.
            .args(["--compatibility", "manylinux2014", "--auditwheel", "skip", "--out"])
            .arg(&out)
            .arg("--target-dir")
            .arg(workspace::builds().join("static"))
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    )?;
    let tags = ["tags", "--remove", "--platform-tag", OLDEST];
    checked(Command::new(tool.join("bin/wheel")).args(tags).arg(wheel_in(&out)?))?;
    wheel_in(&out)
}

fn wheel_in(folder: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|path| path.extension().is_some_and(|end| end == "whl")).context("no wheel was made")
}

fn check(python: &Path, wheel: &Path) -> Result<()> {
    let venv = workspace::generated("wheel").join("fresh");
    checked(Command::new(python).args(["-m", "venv", "--clear"]).arg(&venv))?;
    let inside = venv.join("bin/python");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    // By the pip that came with it.
    checked(Command::new(&inside).args(pip).args(["--no-index", "--no-deps"]).arg(wheel))?;

    let mut prepared =
        Prepared(Command::new(&inside).args(["-c", PREPARED]).stdout(Stdio::piped()).spawn()?);
    let mut pid = String::new();
    BufReader::new(prepared.0.stdout.take().context("a pipe")?).read_line(&mut pid)?;
    let program = venv.join("bin/spyhole");
    let mut eval = Command::new(&program);
    eval.args(["eval", pid.trim(), "given", "--door", "doorbell"]);
    let answer = finish(&mut eval, LIMIT)?;
    ensure!(answer.stdout_text() == "42\n", "{}", answer.stderr_text());
    let mut module = Command::new(&inside);
    module.args(["-m", "spyhole", "--loop", "asyncio"]).stdin(Stdio::null());
    ensure!(finish(&mut module, LIMIT)?.success(), "`python -m spyhole` fails");
    let mut console = Command::new("sh");
    let line = format!(
        "echo 'given + 1' | '{}' console {} --door doorbell",
        program.display(),
        pid.trim()
    );
    let answer = finish(console.args(["-c", &line]), LIMIT)?;
    ensure!(answer.stdout_text() == "43\n", "{}", answer.stderr_text());
    let line = format!(
        "printf '!process\\npid\\n' | '{}' {}",
        venv.join("bin/ispy").display(),
        pid.trim()
    );
    let answer = finish(Command::new("sh").args(["-c", &line]), LIMIT)?;
    ensure!(answer.stdout_text() == pid, "{}", answer.stderr_text());
    Ok(())
}

/// A process that is ended with the check.
struct Prepared(Child);

impl Drop for Prepared {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn checked(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
