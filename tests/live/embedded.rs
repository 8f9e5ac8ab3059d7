//! Programs that are not Python's, with an interpreter in them: linked to the shared library, or with the static one in
//! them, with symbols for all to see, in the file alone, or without any.
//!
//! It builds `tests/targets/embed.c` with the C compiler and the library of each interpreter, and lets it run
//! `tests/targets/embedded.py`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use spyhole_testkit::screen::Screen;
use spyhole_testkit::{Fingerprint, Interpreter, Start, census};

use crate::program::{LIMIT, Running, eval, run, run_with_input, spyhole};
use crate::subjects::Subject;
use crate::trace::Trace;

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
        self.start_as("", "embedded", python, library)
    }

    /// `mode`: what it does beside running the file `name`.
    fn start_as(&self, mode: &str, name: &str, python: &Interpreter, library: &Library) -> Subject {
        let program = Interpreter { path: self.0.clone(), ..python.clone() };
        let start = Start::new(&program, name).env("PYTHONHOME", &library.home);
        Subject::still(start.env("EMBED", mode))
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

/// Calls in a program of somebody else are told, and it is as it was.
fn traced(python: &Interpreter) {
    let Some(library) = Library::of("traced", python) else { return };
    let program = Program::build("traced", python, &library, &["shared"]);
    let inside = Interpreter { path: program.0.clone(), ..python.clone() };
    let start = Start::new(&inside, "quiet").env("PYTHONHOME", &library.home).env("EMBED", "");
    let mut subject = Subject::serving(start);
    let mut trace = Trace::of(subject.pid(), "commands:answer", &[]);
    assert_eq!(subject.evaluate("answer").expect("it answers"), "42");
    assert_eq!(trace.call()["result"], "'\"42\"'");
    assert_eq!(trace.interrupt()["passed"], 1);
    subject.is_unchanged();
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

/// It has the library, and no interpreter: not yet, or no longer. Nothing is done to it, and it goes on.
#[track_caller]
fn is_refused(subject: &mut Subject, reason: &str) {
    let pid = subject.pid().to_string();
    let before = subject.blocked().expect("it can be read");
    let answers = [
        run(["eval", &pid, "answer", "--json"]),
        run_with_input(&["console", &pid, "--no-history"], ""),
        run(["stack", &pid]),
    ];
    for ran in &answers {
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(format!("{}{}", ran.data, ran.talk).contains(reason), "{ran:?}");
        assert!(!ran.talk.contains("left "), "nothing was entered: {ran:?}");
    }
    assert_eq!(answers[0].json()["answers"][0]["error"]["kind"], "unreachable");
    let row = row(subject);
    assert_eq!(row["ask"]["ok"], false, "{row}");
    assert!(row["ask"]["reason"].as_str().expect("a reason").contains(reason), "{row}");
    let after = subject.blocked().expect("it can be read");
    spyhole_testkit::unchanged(&before, &after).unwrap_or_else(|error| panic!("{error}"));
}

fn before_its_interpreter(python: &Interpreter) {
    let Some(library) = Library::of("before_its_interpreter", python) else { return };
    let program = Program::build("early", python, &library, &["shared"]);
    let mut subject = program.start_as("early", "embedded", python, &library);
    is_refused(&mut subject, "is not initialised");
    assert_eq!(subject.ask("").expect("it goes on"), "ready");
    eval(subject.pid(), "answer").gave("42\n");
    // One that gets its interpreter while somebody waits for it.
    let mut subject = program.start_as("early", "embedded", python, &library);
    let mut command = spyhole();
    command.args(["eval", &subject.pid().to_string(), "1 + 1", "--verbose"]);
    let running = Running::start(&mut command);
    assert_eq!(subject.ask("").expect("it goes on"), "ready");
    let ran = running.wait();
    // On a machine that is too busy, it comes too late.
    assert!(ran.data == "2\n" || ran.talk.contains("is not initialised"), "{ran:?}");
}

fn after_its_interpreter(python: &Interpreter) {
    let Some(library) = Library::of("after_its_interpreter", python) else { return };
    let program = Program::build("late", python, &library, &["shared"]);
    let mut subject = program.start_as("late", "embedded", python, &library);
    eval(subject.pid(), "answer").gave("42\n");
    assert_eq!(subject.ask("").expect("it goes on"), "finalised");
    // To 3.6 nothing tells that there was one.
    let reason = if python.minor() == "3.6" { "or no longer" } else { "has ended its interpreter" };
    is_refused(&mut subject, reason);
    subject.send("").expect("it listens");
    assert_eq!(subject.wait_exit(LIMIT).expect("it ends").code(), Some(0));
}

/// Nothing of Python's runs in it, and it keeps the GIL while it waits for the next line that it has to run, as a worker
/// of uWSGI without threads does: it lends it.
fn keeping_the_gil(python: &Interpreter) {
    let Some(library) = Library::of("keeping_the_gil", python) else { return };
    let program = Program::build("keeping", python, &library, &["shared"]);
    let subject = program.start_as("keeping", "keeping", python, &library);
    let mut subject = subject.by_threads(2);
    let pid = subject.pid();
    let ran = eval(pid, "answer");
    ran.gave("42\n");
    ran.left(pid);
    // Code that takes longer than it lends at a time, and code that waits.
    eval(pid, "sum(range(3000000))").gave("4499998500000\n");
    eval(pid, "import time; time.sleep(0.1); answer").gave("42\n");
    let typed = "answer + 1\nprint('typed')\n[answer for i in range(3)]\n";
    let ran = run_with_input(&["console", &pid.to_string(), "--no-history"], typed);
    assert_eq!((ran.code, ran.data.as_str()), (0, "43\ntyped\n[42, 42, 42]\n"), "{ran:?}");
    ran.left(pid);
    let ran = run(["eval", &pid.to_string(), "while True: pass", "--timeout", "300ms"]);
    ran.failed(1, "timed out after 300ms");
    ran.left(pid);
    subject.is_unchanged();
    // It does its own work meanwhile, and nothing of it is lost.
    for number in 0..20 {
        let mut command = spyhole();
        command.args(["eval", &pid.to_string(), "len(seen) >= 0"]);
        let running = Running::start(&mut command);
        let said = subject.ask(&format!("seen.append({number}); say(seen[-1])"));
        assert_eq!(said.expect("it answers"), number.to_string());
        running.wait().gave("True\n");
    }
    eval(pid, "len(seen)").gave("20\n");
    subject.close_stdin();
    assert_eq!(subject.wait_exit(LIMIT).expect("it ends").code(), Some(0));
}

/// Interpreters that the program made itself: each is asked and named, one is ended while a console is in it, and the
/// program goes on to its end.
fn sub_interpreters(python: &Interpreter) {
    let Some(library) = Library::of("sub_interpreters", python) else { return };
    let program = Program::build("places", python, &library, &["shared"]);
    let mut subject = program.start_as("places", "embedded", python, &library).by_threads(6);
    let pid = subject.pid();
    let ran = run(["eval", &pid.to_string(), "shop.place", "--json"]);
    let report = ran.json();
    let places: Vec<_> = report["answers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|answer| (answer["interpreter"].as_i64().unwrap_or(0), answer["repr"].clone()))
        .collect();
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = [(1, "0".into()), (2, "1".into()), (3, "2".into())];
    assert_eq!(places, expected, "{report:#}");
    assert_eq!(report["not_loaded"], serde_json::json!([format!("{pid}/0")]), "{report:#}");
    let at = |number: i32| format!("{pid}/{number}");
    run(["eval", &at(2), "shop.place, __name__"]).gave("(1, '__main__')\n");
    run(["eval", &at(0), "answer"]).gave("42\n");
    run(["eval", &at(7), "1"]).failed(2, "has no interpreter");
    let typed = "x = shop.place\nx + 1\nimport _thread; _thread.get_ident() > 0\n";
    let ran = run_with_input(&["console", &at(3), "--no-history"], typed);
    assert_eq!((ran.code, ran.data.as_str()), (0, "3\nTrue\n"), "{ran:?}");
    let ran = run(["eval", &at(1), "while True: pass", "--timeout", "200ms"]);
    ran.failed(1, "timed out after 200ms");
    ran.left(pid);
    subject.is_unchanged();
    // One is ended while a console rests in it, and one while code runs in it, which is waited for; 3.6 has no means to.
    let ended = if python.minor() == "3.6" { &[1][..] } else { &[1, 0] };
    let consoles: Vec<_> = ended
        .iter()
        .map(|number| {
            let mut command = spyhole();
            command.args(["console", &at(number + 1), "--no-history"]).stdin(Stdio::piped());
            let mut console = Running::start(&mut command);
            if *number == 0 {
                // Exit functions that code of ours calls itself wait for nobody; ours is there again afterwards.
                console.write("import atexit, time; atexit._run_exitfuncs()\n");
                console.write("for i in [print('on')] * 3000: time.sleep(0.01)\n\n");
            } else {
                console.write("print('on')\n");
            }
            assert_eq!(console.line(), "on");
            console
        })
        .collect();
    assert_eq!(subject.ask("").expect("it goes on"), "listening");
    for number in ended {
        assert_eq!(subject.ask(&number.to_string()).expect("it goes on"), "done");
    }
    for console in consoles {
        let ran = console.wait();
        assert!(matches!(ran.code, 0 | 1 | 5), "{ran:?}");
    }
    // Interpreters of 3.6 have no numbers of their own: they are counted.
    let left = if python.minor() == "3.6" { 2 } else { 3 };
    run(["eval", &at(left), "shop.place"]).gave("2\n");
    subject.close_stdin();
    assert_eq!(subject.wait_exit(LIMIT).expect("it ends").code(), Some(0));
}

/// Whoever had it lent may die at any moment: it comes home by itself.
fn killed_while_it_lends(python: &Interpreter) {
    let Some(library) = Library::of("killed_while_it_lends", python) else { return };
    let program = Program::build("killed", python, &library, &["shared"]);
    let mut subject = program.start_as("keeping", "keeping", python, &library);
    let pid = subject.pid();
    for step in 0..20 {
        let mut command = spyhole();
        command.args(["eval", &pid.to_string(), "for x in iter(int, 1): pass"]);
        let running = Running::start(&mut command);
        std::thread::sleep(Duration::from_millis(2 * step));
        drop(running);
        let said = subject.ask(&format!("say({step})"));
        assert_eq!(said.expect("it answers"), step.to_string());
    }
    eval(pid, "answer").gave("42\n");
    // What was left behind goes when the program gives up the GIL itself.
    let gone = "import os, time\nwhile len(os.listdir('/proc/self/task')) > 1: time.sleep(0.01)";
    let said = subject.ask(&format!("exec({gone:?}); say('alone')"));
    assert_eq!(said.expect("it answers"), "alone");
    let after = subject.blocked().expect("it can be read");
    assert_eq!(after.descriptors, subject.first_outside().descriptors);
    let threads = |one: &Fingerprint| -> Vec<_> {
        one.threads.iter().map(|(tid, thread)| (*tid, thread.blocked, thread.tracer)).collect()
    };
    assert_eq!(threads(&after), threads(subject.first_outside()));
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

on_all! { with_the_shared_library without_symbols prompt_on_its_terminal sub_interpreters after_its_interpreter }
on_three! { traced }
on_full_set! { with_exported_symbols with_symbols_in_the_file before_its_interpreter keeping_the_gil killed_while_it_lends }
