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
    (
        "3.13",
        &[
            "gevent",
            "eventlet",
            "uvloop",
            "gunicorn",
            "packaging",
            "flask",
            "IPython",
            "uvicorn",
            "hypercorn",
            "starlette",
            "fastapi",
            "django",
            "celery",
            "ipykernel",
        ],
    ),
];

/// Versions of greenlet whose structures differ, by the Python that is to be looked at with them.
const GREENLETS: &[(&str, &[&str])] = &[
    ("3.6", &["1.1.3"]),
    ("3.7", &["3.0.3"]),
    ("3.8", &["1.1.3", "2.0.2"]),
    ("3.9", &["1.1.3", "3.1.1"]),
    ("3.10", &["2.0.2", "3.5.6"]),
    ("3.11", &["2.0.2"]),
    ("3.12", &["3.0.3", "3.5.6"]),
    ("3.13", &["3.1.1"]),
    ("3.14", &["3.2.4", "3.5.6"]),
    ("3.15", &["3.5.6"]),
];

/// What is built here, with `--all`: it takes half a minute of all processors each. The environment, the package, a file
/// that it brings, and one of Debian's that it needs.
const BUILT: &[(&str, &str, &str, &str)] = &[
    ("3.6", "uWSGI", "bin/uwsgi", "/usr/bin/gcc"),
    ("3.8", "uWSGI", "bin/uwsgi", "/usr/bin/gcc"),
    ("3.13", "uWSGI", "bin/uwsgi", "/usr/bin/gcc"),
    // Of apache2-dev.
    ("3.13", "mod_wsgi", "bin/mod_wsgi-express", "/usr/bin/apxs"),
];

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
                for (_, package, file, needs) in BUILT.iter().filter(|one| all && one.0 == *version)
                {
                    match Path::new(needs).exists() {
                        true => build(&folder.join(version), package, file)?,
                        false => println!("{needs} is not here: no {package}"),
                    }
                }
            }
            None => println!("python {version} is not here: no environment for it"),
        }
    }
    greenlets(&folder)
}

/// Puts each version of greenlet into a folder of its own; the pip of any environment can do that for all of them.
fn greenlets(venvs: &Path) -> Result<()> {
    let python = venvs.join("3.11/bin/python");
    if !python.exists() {
        println!("python 3.11 is not here: no versions of greenlet");
        return Ok(());
    }
    for (minor, versions) in GREENLETS {
        let Some(interpreter) = interpreters::for_version(minor) else { continue };
        for version in *versions {
            let folder = interpreter.greenlet_folder().join(format!("{minor}-{version}"));
            if folder.join("greenlet").is_dir() {
                continue;
            }
            let package = format!("greenlet=={version}");
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--no-compile", "--only-binary", ":all:"])
                .args(["--implementation", "cp", "--python-version", minor]);
            for platform in
                ["manylinux2014_x86_64", "manylinux_2_24_x86_64", "manylinux_2_28_x86_64"]
            {
                pip.args(["--platform", platform]);
            }
            checked(pip.arg("--target").arg(&folder).arg(package))?;
            println!("greenlet {version} for {minor} in {}", folder.display());
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
