//! `cargo xtask dist`: the program as one static file, `target/dist/spyhole`.
//!
//! `--check` also runs it in a root that holds nothing but itself and `/proc`; that takes root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Target, interpreters, run as finish};

use crate::{debian, workspace};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

pub(crate) fn run(words: &[String]) -> Result<()> {
    let check = match words {
        [] => false,
        [word] if word == "--check" => true,
        _ => bail!("no such option; there is `--check`"),
    };
    let program = build()?;
    let size = fs::metadata(&program)?.len();
    println!("{}: {:.1} MB", program.display(), size as f64 / 1e6);
    if check { self::check(&program) } else { Ok(()) }
}

/// Builds it; where it lies.
pub(crate) fn build() -> Result<PathBuf> {
    let folder = workspace::builds().join("static");
    let status = workspace::cargo()
        .args(["build", "--quiet", "--release", "--package", "spyhole", "--target", TRIPLE])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the static program cannot be built ({status})");
    }
    let dist = workspace::generated("dist");
    fs::create_dir_all(&dist)?;
    let program = dist.join("spyhole");
    // A new file each time: the old one may be running.
    let fresh = dist.join(".spyhole");
    fs::copy(folder.join(TRIPLE).join("release/spyhole"), &fresh).context("cannot copy")?;
    fs::rename(&fresh, &program).context("cannot put the program in its place")?;
    // By this name it is its command `ispy`.
    let ispy = dist.join("ispy");
    if !ispy.is_symlink() {
        std::os::unix::fs::symlink("spyhole", &ispy).context("cannot make the link `ispy`")?;
    }
    Ok(program)
}

/// Finds and asks a Python process from an empty root.
fn check(program: &Path) -> Result<()> {
    debian::require_root()?;
    let root = EmptyRoot::new(program)?;
    let interpreters = interpreters::interpreters();
    for python in interpreters.first().into_iter().chain(interpreters.last()) {
        let target = Target::start(python, "sleep")?;
        let pid = target.pid().to_string();
        let listed = root.run(&["ps"])?;
        if !listed.lines().any(|line| line.split_whitespace().next() == Some(&pid)) {
            bail!("`ps` in an empty root does not list process {pid}:\n{listed}");
        }
        let answer = root.run(&["eval", &pid, "1+1"])?;
        if answer != "2\n" {
            bail!("`eval` in an empty root answers `{answer}`");
        }
        println!("in an empty root: `ps` and `eval` on python {}", python.full_version());
    }
    Ok(())
}

/// A folder with the program and an empty `proc`, for as long as this lives.
struct EmptyRoot {
    folder: PathBuf,
}

impl EmptyRoot {
    fn new(program: &Path) -> Result<Self> {
        let name = format!("empty-root-{}", std::process::id());
        let root = Self { folder: workspace::generated("dist").join(name) };
        fs::create_dir_all(root.folder.join("proc")).context("cannot make the root")?;
        fs::copy(program, root.folder.join("spyhole")).context("cannot copy")?;
        Ok(root)
    }

    /// Runs the program there. The mount is in a namespace of its own and goes with it.
    fn run(&self, words: &[&str]) -> Result<String> {
        const SCRIPT: &str = r#"mount --rbind /proc "$0/proc" && exec chroot "$0" /spyhole "$@""#;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT])
            .arg(&self.folder)
            .args(words)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            // A switch for tests, which what is released must not have.
            .env("SPYHOLE_DIE_AFTER", "1");
        let finished = finish(&mut command, Duration::from_secs(60))?;
        if !finished.success() {
            bail!("{words:?} failed ({}): {}", finished.status, finished.stderr_text());
        }
        Ok(finished.stdout_text())
    }
}

impl Drop for EmptyRoot {
    fn drop(&mut self) {
        // What stays is one file in a generated folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
