//! The console, through a pipe and in a terminal.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use spyhole_testkit::{Interpreter, place};

use crate::program::{Ran, Running, plain, run_with_input};
use crate::subjects::{Subject, quiet};

fn piped(subject: &Subject, input: &str) -> Ran {
    run_with_input(&["console", &subject.pid().to_string(), "--no-history"], input)
}

fn statements(python: &Interpreter) {
    let mut subject = quiet(python);
    let ran = piped(
        &subject,
        "x = 1\nx\ndef f(n):\n    return n * 2\n\nf(21)\nfor i in range(2):\n    print(i)\n\nprint('a\\nb')\n\
         [1,\n 2]\nNone\n_\nclass A(object):\n    y = 7\n\nA.y\nif x:\n    'yes'\nelse:\n    'no'\n",
    );
    ran.gave("1\n42\n0\n1\na\nb\n[1, 2]\n[1, 2]\n7\n");
    ran.left(subject.pid());
    // What was bound is gone with the session.
    piped(&subject, "x\n").failed(0, "NameError: name 'x' is not defined\n");
    subject.is_unchanged();
}

fn exceptions(python: &Interpreter) {
    let mut subject = quiet(python);
    let ran = piped(&subject, "1/0\n'on'\n1 +* 2\n'and on'\nraise SystemExit(3)\n");
    assert!(ran.data.starts_with("'on'\n'and on'\n"), "{ran:?}");
    assert!(ran.talk.contains("ZeroDivisionError: division by zero\n"), "{ran:?}");
    assert!(ran.talk.contains("SyntaxError: invalid syntax\n"), "{ran:?}");
    ran.left(subject.pid());
    subject.is_unchanged();
}

fn ways_out(python: &Interpreter) {
    let mut subject = quiet(python);
    for out in ["exit()", "quit()", "exit(5)", ":quit"] {
        let ran = piped(&subject, &format!("'before'\n{out}\n'after'\n"));
        ran.gave("'before'\n");
        ran.left(subject.pid());
    }
    // That one is about the program, and does nothing to it.
    piped(&subject, "import sys; sys.exit()\n'after'\n").gave("'after'\n");
    let ran = piped(&subject, "");
    ran.gave("");
    ran.left(subject.pid());
    // Nobody closed the program's own input: it still answers.
    subject.is_unchanged();
}

fn the_process_ends(python: &Interpreter) {
    let subject = quiet(python);
    let ran = piped(&subject, "import os\nos._exit(3)\n'never'\n");
    ran.failed(5, &format!("error: process {} is gone\n", subject.pid()));
    assert_eq!(ran.data, "");
}

const PROMPT: &str = ">>> ";

/// The program in a terminal.
struct Terminal(Running);

impl Terminal {
    fn start(subject: &Subject) -> Self {
        let helper = spyhole_testkit::interpreters::for_version("3.11").expect("3.11 is here");
        let mut command = helper.command();
        command
            .arg(place::workspace().join("tests/live/terminal.py"))
            .arg(env!("CARGO_BIN_EXE_spyhole"))
            .args(["console", &subject.pid().to_string(), "--no-history", "--color", "never"]);
        let mut command = plain(command);
        Self(Running::start(command.stdin(Stdio::piped())))
    }

    fn order(&mut self, order: &Value) {
        self.0.write(&format!("{order}\n"));
    }

    fn answer(&mut self, order: &Value) -> Value {
        self.order(order);
        let line = self.0.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn types(&mut self, text: &str) {
        self.order(&json!({"type": text}));
    }

    /// Waits for text; gives what came, and how long it took.
    #[track_caller]
    fn until(&mut self, text: &str) -> (String, Duration) {
        let answer = self.answer(&json!({"until": text, "within": 20}));
        assert_eq!(answer["missing"], false, "`{text}` did not come: {answer}");
        let took = Duration::from_secs_f64(answer["took"].as_f64().expect("seconds"));
        (answer["seen"].as_str().expect("text").to_owned(), took)
    }

    /// Types a line at a prompt, and waits for text of its answer.
    #[track_caller]
    fn enters(&mut self, line: &str, answer: &str) -> String {
        self.until(PROMPT);
        self.types(&format!("{line}\r"));
        self.until(answer).0
    }

    /// Waits for the program to end; gives its exit code and what else came.
    fn end(mut self) -> (i64, String) {
        let answer = self.answer(&json!({"end": 20}));
        let seen = answer["seen"].as_str().expect("text").to_owned();
        (answer["code"].as_i64().expect("a number"), seen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The helper ends what runs in the terminal when its orders end.
        self.0.close_input();
        self.0.wait_quietly();
    }
}

/// Leaves by Ctrl-D; the closing says this.
#[track_caller]
fn leaves(mut terminal: Terminal, closing: &str) -> String {
    terminal.until(PROMPT);
    terminal.types("\x04");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains(closing), "{seen}");
    seen
}

fn banner_and_values(python: &Interpreter) {
    let mut subject = quiet(python).by_threads(2);
    let pid = subject.pid();
    let mut terminal = Terminal::start(&subject);
    let version = python.full_version();
    terminal.until(&format!("Remote console PID={pid}, Python {version}, place thread"));
    terminal.enters("6 * 700", "4200");
    terminal.enters("1/0", "ZeroDivisionError: division by zero");
    // A line at the prompt is cleared; the program hears nothing of it.
    terminal.until(PROMPT);
    terminal.types("nonsense");
    terminal.until("nonsense");
    terminal.types("\x03");
    terminal.enters("answer * 1000", "42000");
    leaves(terminal, &format!("left {pid} as it was (held "));
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

fn ctrl_c_in_a_loop(python: &Interpreter) {
    let mut subject = quiet(python).by_threads(2);
    let pid = subject.pid();
    let mut terminal = Terminal::start(&subject);
    let mut times = Vec::new();
    for round in 0..20 {
        let code = format!("print('be' + 'gun {round}') or any(n for n in iter(int, 1))");
        terminal.enters(&code, &format!("begun {round}"));
        terminal.types("\x03");
        let (_, took) = terminal.until("KeyboardInterrupt");
        times.push(took);
        // The least of some is what it takes; the others show the machine's load.
        if round >= 4 && times.iter().min() < Some(&Duration::from_millis(100)) {
            break;
        }
    }
    println!("{times:?}");
    assert!(times.iter().min() < Some(&Duration::from_millis(100)), "{times:?}");
    terminal.enters("answer * 1000", "42000");
    leaves(terminal, &format!("left {pid} as it was (held "));
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

fn ctrl_c_in_a_wait(python: &Interpreter) {
    let mut subject = quiet(python).by_threads(4);
    let pid = subject.pid();
    let mut terminal = Terminal::start(&subject);
    terminal.enters("held = _thread.allocate_lock(); held.acquire()", "True");
    terminal.enters("print('be' + 'gun'); held.acquire(True, 4)", "begun");
    terminal.types("\x03");
    let (seen, took) = terminal.until(":jobs lists it");
    assert!(seen.contains("still running: ") && seen.contains("held.acquire(True, 4)"), "{seen}");
    println!("the prompt was back after {took:?}");
    // Before the sleep is over, at any load.
    assert!(took < Duration::from_millis(3000), "{took:?}");
    terminal.enters("answer * 1000", "42000");
    let seen = terminal.enters(":jobs", "(thread ");
    assert!(seen.contains("[2] still running: "), "{seen}");
    let seen = leaves(terminal, &format!("left {pid} (held "));
    assert!(seen.contains(&format!("{pid}: still running: ")), "{seen}");
    // It ends when it wakes, and takes the last of us with it.
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

fn a_late_interrupt(python: &Interpreter) {
    let mut subject = quiet(python).by_threads(4);
    let mut terminal = Terminal::start(&subject);
    terminal.enters("held = _thread.allocate_lock(); held.acquire()", "True");
    terminal.enters("print('be' + 'gun'); held.acquire(True, 2)", "begun");
    terminal.types("\x03");
    terminal.until(":jobs lists it");
    // What waited is interrupted when it wakes, and that is told beside the prompt.
    terminal.until("[job 2] ended: KeyboardInterrupt");
    terminal.enters(":jobs", "no code is still running");
    leaves(terminal, " as it was (held ");
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

/// What is typed into the editor, and what it makes of it: completion, indentation, `name?`, values by number.
fn the_editor(python: &Interpreter) {
    let mut subject = quiet(python).by_threads(2);
    let pid = subject.pid();
    let mut terminal = Terminal::start(&subject);
    // Tab completes a name, a key and a command where there is but one.
    terminal.until(PROMPT);
    terminal.types("answ\t");
    terminal.until("answer");
    terminal.types(" * 1000\r");
    terminal.until("42000");
    terminal.enters("table = {'alpha beta': 4100}", "4100}");
    terminal.until(PROMPT);
    terminal.types("table['al\t");
    terminal.until("beta']");
    terminal.types(" + 11\r");
    terminal.until("4111");
    terminal.until(PROMPT);
    terminal.types(":wh\t");
    terminal.until(":where");
    terminal.types("\r");
    terminal.until(&format!("process      {pid}"));
    // A block keeps its indentation where somebody types it, and an empty line ends it.
    terminal.until(PROMPT);
    for line in
        ["def twice(n):", "for turn in range(2):", "n += turn", "\x08\x08\x08\x08return n * 1000"]
    {
        terminal.types(line);
        terminal.until(line.trim_start_matches('\x08'));
        terminal.types("\r");
        terminal.until("... ");
    }
    terminal.types("\r");
    terminal.enters("twice(41)", "42000");
    terminal.enters("twice?", "signature  twice(n)");
    terminal.enters("len?", "signature  len(obj");
    terminal.enters("commands.answer??", "def answer(line):");
    terminal.enters("str(_1) + str(_)", "4200042000");
    terminal.enters("_2 - 11", "4100");
    terminal.enters(":time answer + 4200", "it took ");
    terminal.enters(":stack", "sys.stdin.readline()");
    terminal.enters(":load /nowhere", "cannot read `/nowhere`");
    leaves(terminal, &format!("left {pid} as it was (held "));
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

/// The window is closed: the console ends by itself, at the prompt and in code.
fn the_terminal_goes(python: &Interpreter) {
    // On a machine that is too busy the first attempt to get in comes to nothing, and its threads still end meanwhile.
    let mut subject = quiet(python).by_threads(4);
    for running in [false, true] {
        let mut terminal = Terminal::start(&subject);
        terminal.enters("answer * 1000", "42000");
        if running {
            terminal.enters("print('be' + 'gun') or any(n for n in iter(int, 1))", "begun");
        } else {
            terminal.until(PROMPT);
        }
        let answer = terminal.answer(&json!({"hangup": 10}));
        assert_ne!(answer["code"], -1, "it goes on without a terminal, running code: {running}");
        subject.is_unchanged();
    }
}

on_full_set! {
    the_editor the_terminal_goes statements exceptions ways_out the_process_ends banner_and_values ctrl_c_in_a_loop ctrl_c_in_a_wait a_late_interrupt
}
