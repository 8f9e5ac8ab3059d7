//! `cargo xtask layouts`: the rows of the version table, from the headers of each interpreter.
//!
//! It asks a C compiler for offsets; nothing of it is needed to build or to run the program. `--check` compares with
//! the rows that are there. Which numbers are asked for is told in `questions`.

mod questions;
mod unlisted;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Interpreter, interpreters};

use crate::{debian, workspace};
use questions::{HEAD, QUESTIONS};

const ROWS: &str = "crates/cpython/src/layout/rows";

/// Where Debian has another patch level of a version than the interpreters that are tested: suite and version. A row is
/// for all of them.
const OTHERS: &[(&str, &str)] = &[
    ("bullseye", "3.9"),
    ("bookworm", "3.11"),
    ("trixie", "3.13"),
    ("sid", "3.13"),
    ("sid", "3.14"),
];

pub(crate) fn run(words: &[String]) -> Result<()> {
    let check = match words {
        [] => false,
        [word] if word == "--check" => true,
        _ => bail!("there is the option `--check` and no other"),
    };
    let mut differing = Vec::new();
    for interpreter in interpreters::interpreters() {
        let version = interpreter.full_version();
        let row = row(&headers(&interpreter)?, &version)?;
        let path = path(&interpreter.minor());
        let known = fs::read_to_string(&path).unwrap_or_default();
        if !check {
            fs::write(&path, &row).with_context(|| format!("cannot write {}", path.display()))?;
        } else if known != row {
            differing.extend(differences(&version, &known, &row));
        }
        println!("{version} {}", if check { "compared" } else { "written" });
        if check {
            match unlisted::compare(&interpreter) {
                Ok(Some(compared)) => {
                    println!("{version} {} places compared by debug information", compared.count);
                    differing.extend(compared.differing);
                }
                Ok(None) => println!("{version} left out: it has no debug information"),
                Err(error) => println!("{version} left out: {error:#}"),
            }
        }
    }
    for (suite, minor) in OTHERS {
        let include = match packaged(suite, minor) {
            Ok(include) => include,
            Err(error) => {
                println!("{minor} of {suite} left out: {error:#}");
                continue;
            }
        };
        let version = version_of(&include)?;
        let known = fs::read_to_string(path(minor))?;
        let row = row(&include, &format!("{version}-{suite}"))?;
        if known != row {
            differing.extend(differences(&format!("{version} of {suite}"), &known, &row));
        }
        println!("{version} compared, of {suite}");
    }
    if !differing.is_empty() {
        bail!("the rows differ from the headers:\n  {}", differing.join("\n  "));
    }
    Ok(())
}

fn path(minor: &str) -> PathBuf {
    workspace::root().join(ROWS).join(format!("cpython-{minor}.txt"))
}

fn differences(version: &str, known: &str, found: &str) -> Vec<String> {
    let only = |these: &str, those: &str, what: &str| {
        let lines = these.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter(|line| !those.lines().any(|other| other == *line))
            .map(|line| format!("{version}: {what} `{line}`"))
            .collect::<Vec<_>>()
    };
    [only(known, found, "the row has"), only(found, known, "the headers have")].concat()
}

/// The text of one row, as the headers in `include` have it; `name` tells apart what is built on the way.
fn row(include: &Path, name: &str) -> Result<String> {
    let folder = workspace::builds().join("layouts").join(name);
    fs::create_dir_all(&folder)?;
    let all: Vec<(&str, &str)> = QUESTIONS
        .iter()
        .flat_map(|question| question.expressions.iter().map(|one| (question.name, *one)))
        .collect();
    let unknown = unknown(include, &folder, &all)?;
    let mut chosen: Vec<(&str, &str)> = Vec::new();
    for (index, (name, expression)) in all.iter().enumerate() {
        if !unknown.contains(&index) && !chosen.iter().any(|(one, _)| one == name) {
            chosen.push((name, expression));
        }
    }
    let numbers = evaluate(include, &folder, &chosen)?;
    Ok(format!(
        "# Offsets and sizes in bytes, x86_64; written by `cargo xtask layouts`.\n{numbers}"
    ))
}

/// Which of the expressions the headers do not know.
fn unknown(include: &Path, folder: &Path, all: &[(&str, &str)]) -> Result<Vec<usize>> {
    let source = folder.join("ask.c");
    let lines: Vec<String> = all
        .iter()
        .enumerate()
        .map(|(index, (_, expression))| format!("unsigned long value_{index} = {expression};"))
        .collect();
    fs::write(&source, format!("{HEAD}{}\n", lines.join("\n")))?;
    let first = HEAD.lines().count() + 1;
    let output = compiler(include)
        .args(["-fsyntax-only", "-fmax-errors=0"])
        .arg(&source)
        .output()
        .context("cannot run gcc")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let own = format!("{}:", source.display());
    let mut unknown = Vec::new();
    for line in said.lines().filter(|line| line.contains("error: ")) {
        let number = line.strip_prefix(&own).and_then(|rest| rest.split(':').next()?.parse().ok());
        match number {
            Some(number) if (first..first + all.len()).contains(&number) => {
                unknown.push(number - first);
            }
            _ => bail!("the headers in {} do not compile: {line}", include.display()),
        }
    }
    Ok(unknown)
}

fn evaluate(include: &Path, folder: &Path, chosen: &[(&str, &str)]) -> Result<String> {
    let source = folder.join("tell.c");
    let program = folder.join("tell");
    let lines: Vec<String> = chosen
        .iter()
        .map(|(name, expression)| {
            format!("printf(\"{name} %lu\\n\", (unsigned long)({expression}));")
        })
        .collect();
    fs::write(&source, format!("{HEAD}int main(void) {{\n{}\nreturn 0; }}\n", lines.join("\n")))?;
    // The functions that headers define inline name others of the library, which are never called.
    let built = compiler(include)
        .args([
            "-O1",
            "-ffunction-sections",
            "-Wl,--gc-sections",
            "-Wl,--unresolved-symbols=ignore-all",
        ])
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .output()
        .context("cannot run gcc")?;
    if !built.status.success() {
        bail!("gcc failed:\n{}", String::from_utf8_lossy(&built.stderr).trim());
    }
    let told = Command::new(&program).output().context("cannot run the compiled program")?;
    Ok(String::from_utf8(told.stdout)?)
}

fn compiler(include: &Path) -> Command {
    let mut command = Command::new("gcc");
    command.args(["-w", "-I"]).arg(include).arg("-I").arg(include.join("internal"));
    if let Some(machine) = include.parent().map(|parent| parent.join("x86_64-linux-gnu"))
        && machine.is_dir()
    {
        // Debian keeps `pyconfig.h` apart.
        command.arg("-I").arg(machine.join(include.file_name().unwrap_or_default()));
        command.arg("-I").arg(include.parent().unwrap_or(include));
    }
    command
}

/// The folder with `Python.h` of an interpreter; for one in a Debian root, that of its development package.
fn headers(interpreter: &Interpreter) -> Result<PathBuf> {
    let include = match &interpreter.root {
        None => {
            let base = interpreter.path.ancestors().nth(2).unwrap_or(Path::new("/"));
            below(base, &interpreter.minor())?
        }
        Some(root) => {
            let suite = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
            packaged(&suite, &interpreter.minor())?
        }
    };
    let version = version_of(&include)?;
    if !version.starts_with(&interpreter.full_version()) {
        bail!(
            "the headers in {} are those of {version}, not {}",
            include.display(),
            interpreter.full_version()
        );
    }
    Ok(include)
}

/// The headers of a suite's development package, which is unpacked if it was not yet.
fn packaged(suite: &str, minor: &str) -> Result<PathBuf> {
    let folder = workspace::generated("headers").join(suite);
    let base = folder.join("usr");
    if below(&base, minor).is_err() {
        debian::unpack_package(suite, &format!("libpython{minor}-dev"), &folder)?;
    }
    below(&base, minor)
}

fn below(base: &Path, minor: &str) -> Result<PathBuf> {
    let names = [format!("python{minor}"), format!("python{minor}m")];
    names
        .iter()
        .map(|name| base.join("include").join(name))
        .find(|path| path.join("Python.h").exists())
        .with_context(|| format!("no headers of {minor} below {}", base.display()))
}

/// `3.11.7`, as the headers say.
fn version_of(include: &Path) -> Result<String> {
    let text = fs::read_to_string(include.join("patchlevel.h"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("#define PY_VERSION "));
    let version = line.and_then(|rest| rest.split('"').nth(1));
    version.map(str::to_owned).with_context(|| format!("no version in {}", include.display()))
}
