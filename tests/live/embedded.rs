//! Programs that are not Python's, with an interpreter in them: linked to the shared library, or with the static one in
//! them, with symbols for all to see, in the file alone, or without any.
//!
//! It builds `tests/targets/embed.c` with the C compiler and the library of each interpreter, and lets it run
//! `tests/targets/embedded.py`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use spyhole_testkit::screen::Screen;
use spyhole_testkit::{Interpreter, Start, census};

use crate::program::{eval, run};
use crate::subjects::Subject;

/// What the interpreter's own build says of its library.
struct Library {
    include: String,
    folder: String,
    /// `3.6m`
    version: String,
    archive: PathBuf,
    needs: Vec<String>,
    home: String,
}

impl Library {
    /// `None`, written down, where there is no library to link with.
    fn of(test: &str, python: &Interpreter) -> Option<Self> {
        if python.root.is_some() {
            census::skipped(test, "its root has no compiler");
            return None;
        }
        let code = "import sys, sysconfig as c; print(*[c.get_config_var(n) or '' for n in \
                    ('INCLUDEPY', 'LIBDIR', 'LDVERSION', 'LIBPL', 'LIBS', 'SYSLIBS')], sys.prefix, sep='\\n')";
        let told = python.command().args(["-I", "-c", code]).output().expect("it runs");
        let told = String::from_utf8(told.stdout).expect("it tells text");
        let mut lines = told.lines().map(str::to_owned);
        let mut next = || lines.next().expect("it tells seven lines");
        let (include, folder, version, place) = (next(), next(), next(), next());
        let needs = format!("{} {}", next(), next());
        let library = Self {
            archive: Path::new(&place).join(format!("libpython{version}.a")),
            needs: needs.split_ascii_whitespace().map(str::to_owned).collect(),
            include,
            folder,
            version,
            home: next(),
        };
        if !library.archive.exists() {
            census::skipped(test, "its static library is not installed");
            return None;
        }
        Some(library)
    }
}

/// A program that goes with the test.
struct Program(PathBuf);

impl Program {
    fn build(name: &str, python: &Interpreter, library: &Library, flags: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "embed-{name}-{}-{}",
            python.minor(),
            std::process::id()
        ));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/targets/embed.c");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-w", "-I", &library.include, "-o"]).arg(&path).arg(source);
        match flags {
            ["shared"] => {
                gcc.args(["-L", &library.folder, &format!("-Wl,-rpath,{}", library.folder)]);
                gcc.arg(format!("-lpython{}", library.version));
            }
            _ => {
                gcc.arg(&library.archive).args(flags);
            }
        }
        let built = gcc.args(&library.needs).arg("-lm").output().expect("gcc runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self(path)
    }

    fn start(&self, python: &Interpreter, library: &Library) -> Subject {
        let program = Interpreter { path: self.0.clone(), ..python.clone() };
        Subject::still(Start::new(&program, "embedded").env("PYTHONHOME", &library.home))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already, which was the test.
        let _ = fs::remove_file(&self.0);
    }
}

/// The frames of a thread, as functions.
fn functions(thread: &Value) -> Vec<&str> {
    let frames = thread["frames"].as_array().expect("a list");
    frames.iter().map(|frame| frame["function"].as_str().expect("a name")).collect()
}

#[track_caller]
fn is_seen(python: &Interpreter, subject: &Subject) {
    let ran = run(["stack", &subject.pid().to_string(), "--json"]);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""), "{ran:?}");
    let process = &ran.json()[0];
    assert_eq!(process["python"], python.full_version());
    assert_eq!(process["torn"], false);
    let threads = process["interpreters"][0]["threads"].as_array().expect("a list");
    let known = [&["read", "<module>"][..], &["wait"]];
    assert_eq!(threads.iter().map(functions).collect::<Vec<_>>(), known);
    assert_eq!(threads[0]["native_id"], subject.pid(), "{process:#}");
    let source = fs::read_to_string(spyhole_testkit::place::targets().join("embedded.py"))
        .expect("it is there");
    let line = 1 + source.lines().position(|line| line.contains("return sys")).expect("a line");
    assert_eq!(threads[0]["frames"][0]["line"], line);
}

fn row(subject: &Subject) -> Value {
    let rows = run(["ps", "--json"]).json();
    let rows = rows.as_array().expect("a list");
    rows.iter().find(|row| row["pid"] == subject.pid()).expect("it is listed").clone()
}

#[track_caller]
fn is_served(python: &Interpreter, mut subject: Subject) {
    is_seen(python, &subject);
    let row = row(&subject);
    assert_eq!(row["python"], python.full_version());
    assert_eq!((&row["look"]["ok"], &row["ask"]["ok"]), (&true.into(), &true.into()), "{row}");
    let ran = eval(subject.pid(), "answer");
    ran.gave("42\n");
    ran.left(subject.pid());
    subject.is_unchanged();
}

fn with_the_shared_library(python: &Interpreter) {
    let Some(library) = Library::of("with_the_shared_library", python) else { return };
    let program = Program::build("shared", python, &library, &["shared"]);
    is_served(python, program.start(python, &library));
}

/// Both forms of the table by which exported symbols are found.
fn with_exported_symbols(python: &Interpreter) {
    let Some(library) = Library::of("with_exported_symbols", python) else { return };
    for style in ["gnu", "sysv"] {
        let style = format!("-Wl,--hash-style={style}");
        let program = Program::build("exported", python, &library, &["-rdynamic", "-s", &style]);
        is_served(python, program.start(python, &library));
    }
}

/// Nothing is exported: the file's own table tells, also when the file was removed.
fn with_symbols_in_the_file(python: &Interpreter) {
    let Some(library) = Library::of("with_symbols_in_the_file", python) else { return };
    let hide = "-Wl,--exclude-libs,ALL";
    let program = Program::build("quiet", python, &library, &[hide]);
    is_served(python, program.start(python, &library));
    let subject = program.start(python, &library);
    fs::remove_file(&program.0).expect("it was there");
    is_seen(python, &subject);
    eval(subject.pid(), "answer").gave("42\n");
}

/// There are no symbols at all: it can be looked at, and is not asked.
fn without_symbols(python: &Interpreter) {
    let Some(library) = Library::of("without_symbols", python) else { return };
    let hide = "-Wl,--exclude-libs,ALL";
    for place in ["-pie", "-no-pie"] {
        let program = Program::build("bare", python, &library, &[hide, "-s", place]);
        let mut subject = program.start(python, &library);
        is_seen(python, &subject);
        let row = row(&subject);
        assert_eq!(row["python"], python.full_version());
        assert_eq!((&row["look"]["ok"], &row["ask"]["ok"]), (&true.into(), &false.into()), "{row}");
        eval(subject.pid(), "answer").failed(1, "is not among the symbols");
        subject.is_unchanged();
    }
}

/// `spyhole.install(tty=...)` in such a program: a prompt in the interrupted frame, which goes on after it.
fn prompt_on_its_terminal(python: &Interpreter) {
    let Some(library) = Library::of("prompt_on_its_terminal", python) else { return };
    if !Path::new("/dev/pts/ptmx").exists() {
        census::skipped("prompt_on_its_terminal", "no terminal can be made here");
        return;
    }
    let program = Program::build("tty", python, &library, &["shared"]);
    let mut command = Command::new(&program.0);
    command
        .arg(spyhole_testkit::place::targets().join("tty.py"))
        .env("PYTHONHOME", &library.home)
        .env("PYTHONPATH", spyhole_testkit::place::workspace().join("crates/agent/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut screen = Screen::run(&command, 100, 30).expect("a screen");
    let step = |screen: &mut Screen, keys: &str, shows: &str| {
        screen.press(keys).expect("it reads");
        screen.wait_for(shows).unwrap_or_else(|error| panic!("{error}"));
    };
    screen.wait_for(">>> ").unwrap_or_else(|error| panic!("{error}"));
    step(&mut screen, "inside * 6\n", "42\r\n>>> ");
    step(&mut screen, "1/0\n", "ZeroDivisionError: division by zero\r\n>>> ");
    screen.press("\x04").expect("it reads");
    let (text, code) = screen.end().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("/tty.py, line 1"), "{text}");
    assert!(text.ends_with("went on with 7\n"), "{text}");
}

on_all! { with_the_shared_library without_symbols prompt_on_its_terminal }
on_full_set! { with_exported_symbols with_symbols_in_the_file }
