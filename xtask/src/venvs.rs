//! `cargo xtask venvs`: environments with gevent, eventlet and servers, for the targets that need one of them.
//!
//! `--all`: also what takes long to build. It knows which versions and packages. The tests look for them in `target/venvs/MINOR`, and
//! skip what needs them where there is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use spyhole_testkit::interpreters;

use crate::workspace;

/// Each version with the modules that its environment has.
const ENVIRONMENTS: &[(&str, &[&str])] = &[
    ("3.6", &["gevent", "eventlet", "uvloop", "gunicorn", "flask"]),
    ("3.8", &["gevent", "eventlet"]),
    ("3.11", &["gevent", "eventlet"]),
    ("3.13", &["gevent", "eventlet", "uvloop", "gunicorn", "flask", "IPython"]),
];

/// What is built here, with `--all`: it takes half a minute of all processors each. The environment, the package, and a
/// file that it brings.
const BUILT: &[(&str, &str, &str)] =
    &[("3.6", "uWSGI", "bin/uwsgi"), ("3.8", "uWSGI", "bin/uwsgi"), ("3.13", "uWSGI", "bin/uwsgi")];

/// Those with compiled parts, which are never built here.
const COMPILED: &str = "gevent,greenlet,uvloop,markupsafe";

pub(crate) fn run(words: &[String]) -> Result<()> {
    let all = match words {
        [] => false,
        [word] if word == "--all" => true,
        _ => bail!("usage: cargo xtask venvs [--all]"),
    };
    let folder = workspace::generated("venvs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (version, packages) in ENVIRONMENTS {
        match interpreters::for_version(version) {
            Some(interpreter) => {
                make(&interpreter.path, &folder.join(version), packages)?;
                for (_, package, file) in BUILT.iter().filter(|one| all && one.0 == *version) {
                    build(&folder.join(version), package, file)?;
                }
            }
            None => println!("python {version} is not here: no environment for it"),
        }
    }
    Ok(())
}

fn make(python: &Path, venv: &Path, packages: &[&str]) -> Result<()> {
    let inside = venv.join("bin/python");
    if !has(&inside, packages) {
        // `--clear` also mends one that a killed run left half made.
        checked(Command::new(python).args(["-m", "venv", "--clear"]).arg(venv))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        // The pip that came with 3.6 knows no wheels of today.
        checked(Command::new(&inside).args(pip).args(["--upgrade", "pip"]))?;
        checked(Command::new(&inside).args(pip).args(["--only-binary", COMPILED]).args(packages))?;
        if !has(&inside, packages) {
            bail!("{} cannot import {}", inside.display(), packages.join(" and "));
        }
    }
    println!("{} in {}", packages.join(", "), venv.display());
    Ok(())
}

fn build(venv: &Path, package: &str, file: &str) -> Result<()> {
    if !venv.join(file).exists() {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package];
        checked(Command::new(venv.join("bin/python")).args(pip))?;
    }
    println!("{package} in {}", venv.display());
    Ok(())
}

fn has(python: &Path, packages: &[&str]) -> bool {
    Command::new(python)
        .args(["-W", "ignore", "-c", &format!("import {}", packages.join(", "))])
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
