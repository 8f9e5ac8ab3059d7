//! `cargo xtask layouts`: the rows of the version table, from the headers of each interpreter.
//!
//! It asks a C compiler for offsets; nothing of it is needed to build or to run the program. `--check` compares with
//! the rows that are there. Which numbers are asked for is told in `questions`.

mod questions;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use spyhole_testkit::{Interpreter, interpreters};

use crate::{debian, workspace};
use questions::{HEAD, QUESTIONS};

const ROWS: &str = "crates/cpython/src/layout/rows";

pub(crate) fn run(words: &[String]) -> Result<()> {
    let check = match words {
        [] => false,
        [word] if word == "--check" => true,
        _ => bail!("there is the option `--check` and no other"),
    };
    let mut differing = Vec::new();
    for interpreter in interpreters::interpreters() {
        let row = row(&interpreter)?;
        let path =
            workspace::root().join(ROWS).join(format!("cpython-{}.txt", interpreter.minor()));
        let known = fs::read_to_string(&path).unwrap_or_default();
        if !check {
            fs::write(&path, &row).with_context(|| format!("cannot write {}", path.display()))?;
        } else if known != row {
            differing.extend(differences(&interpreter, &known, &row));
        }
        println!("{} {}", interpreter.full_version(), if check { "compared" } else { "written" });
    }
    if !differing.is_empty() {
        bail!("the rows differ from the headers:\n  {}", differing.join("\n  "));
    }
    Ok(())
}

fn differences(interpreter: &Interpreter, known: &str, found: &str) -> Vec<String> {
    let only = |these: &str, those: &str, what: &str| {
        let lines = these.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter(|line| !those.lines().any(|other| other == *line))
            .map(|line| format!("{}: {what} `{line}`", interpreter.full_version()))
            .collect::<Vec<_>>()
    };
    [only(known, found, "the row has"), only(found, known, "the headers have")].concat()
}

/// The text of one row.
fn row(interpreter: &Interpreter) -> Result<String> {
    let include = headers(interpreter)?;
    let folder = workspace::builds().join("layouts").join(interpreter.minor());
    fs::create_dir_all(&folder)?;
    let all: Vec<(&str, &str)> = QUESTIONS
        .iter()
        .flat_map(|question| question.expressions.iter().map(|one| (question.name, *one)))
        .collect();
    let unknown = unknown(&include, &folder, &all)?;
    let mut chosen: Vec<(&str, &str)> = Vec::new();
    for (index, (name, expression)) in all.iter().enumerate() {
        if !unknown.contains(&index) && !chosen.iter().any(|(one, _)| one == name) {
            chosen.push((name, expression));
        }
    }
    let numbers = evaluate(&include, &folder, &chosen)?;
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
    let base = match &interpreter.root {
        None => interpreter.path.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned(),
        Some(root) => {
            let suite = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let folder = workspace::generated("headers").join(&suite);
            let package = format!("libpython{}-dev", interpreter.minor());
            if !folder.join("usr/include").join(format!("python{}", interpreter.minor())).is_dir() {
                debian::unpack_package(&suite, &package, &folder)?;
            }
            folder.join("usr")
        }
    };
    let names =
        [format!("python{}", interpreter.minor()), format!("python{}m", interpreter.minor())];
    let include = names
        .iter()
        .map(|name| base.join("include").join(name))
        .find(|path| path.join("Python.h").exists())
        .with_context(|| {
            format!("no headers of {} below {}", interpreter.minor(), base.display())
        })?;
    let patch = fs::read_to_string(include.join("patchlevel.h"))?;
    if !patch.contains(&format!("\"{}", interpreter.full_version())) {
        bail!(
            "the headers in {} are not those of {}",
            include.display(),
            interpreter.full_version()
        );
    }
    Ok(include)
}
