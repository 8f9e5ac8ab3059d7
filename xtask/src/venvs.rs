//! `cargo xtask venvs`: environments with gevent and eventlet, for the targets that patch
//! themselves with one of them.
//!
//! It knows which versions and packages. The tests look for them in `target/venvs/MINOR`, and
//! skip the patched targets where there is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use spyhole_testkit::interpreters;

use crate::workspace;

const VERSIONS: &[&str] = &["3.8", "3.11"];
const PACKAGES: &[&str] = &["gevent", "eventlet"];

pub(crate) fn run(words: &[String]) -> Result<()> {
    if let Some(word) = words.first() {
        bail!("no option `{word}`; this chore takes none");
    }
    let folder = workspace::generated("venvs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for version in VERSIONS {
        match interpreters::for_version(version) {
            Some(interpreter) => make(&interpreter.path, &folder.join(version))?,
            None => println!("python {version} is not here: no environment for it"),
        }
    }
    Ok(())
}

fn make(python: &Path, venv: &Path) -> Result<()> {
    let inside = venv.join("bin/python");
    if !has_packages(&inside) {
        // `--clear` also mends one that a killed run left half made.
        checked(Command::new(python).args(["-m", "venv", "--clear"]).arg(venv))?;
        checked(
            Command::new(&inside)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--only-binary", "gevent,greenlet"])
                .args(PACKAGES),
        )?;
        if !has_packages(&inside) {
            bail!("{} cannot import {}", inside.display(), PACKAGES.join(" and "));
        }
    }
    println!("{} in {}", PACKAGES.join(" and "), venv.display());
    Ok(())
}

fn has_packages(python: &Path) -> bool {
    Command::new(python)
        .args(["-W", "ignore", "-c", &format!("import {}", PACKAGES.join(", "))])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn checked(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
