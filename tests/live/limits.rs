//! Code that does not end by itself: time limits, Ctrl-C, and the end of the process.

use std::time::{Duration, Instant};

use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, place};

use crate::pause;
use crate::program::{LIMIT, Ran, Running, eval, run, spyhole};
use crate::subjects::{SETTLE, Subject, quiet, quiet_with};

/// What a loaded machine may add to a time that is asserted.
const LOAD: Duration = Duration::from_millis(1500);

/// Waits until something is so, as seen from outside; the test ends with its targets at the latest.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::yield_now();
    }
}

/// `eval` of code that prints `begun` first, at the moment when it has.
fn begun(subject: &mut Subject, code: &str, words: &[&str]) -> Running {
    let pid = subject.pid().to_string();
    let code = format!("import __main__; __main__.begun = True\n{code}");
    let mut command = spyhole();
    command.args(["eval", &pid, &code]).args(words);
    let running = Running::start(&mut command);
    until("the beginning of the code", || {
        subject.evaluate("globals().pop('begun', False)").expect("it answers") == "True"
    });
    running
}

fn loops_are_ended_in_time(python: &Interpreter) {
    let mut subject = quiet(python).by_threads(4);
    let pid = subject.pid().to_string();
    // On a machine that is too busy the loop gets no turn in which it could end; then it is said to go on.
    let ended = (0..10).any(|_| {
        let ran = run(["eval", &pid, "while True: pass", "--timeout", "500ms"]);
        ran.failed(1, "timed out after 500ms");
        assert!(ran.took >= Duration::from_millis(500), "{ran:?}");
        if ran.talk.contains("but code still runs in it") {
            return false;
        }
        ran.failed(1, "timed out after 500ms\n");
        ran.left(subject.pid());
        ran.took < Duration::from_millis(500) + LOAD
    });
    assert!(ended);
    let ran = run(["eval", &pid, "while True: pass", "--timeout", "200ms", "--json"]);
    assert_eq!((ran.code, &ran.json()["answers"][0]["error"]["kind"]), (1, &"timeout".into()));
    // Code may catch it, and then its value counts, if it says so at once.
    let code = "def f():\n    while True: pass\nx = None\nwhile x is None:\n    try:\n        f()\n    \
                except KeyboardInterrupt as e: x = e\n'caught'";
    let caught = (0..10).any(|_| {
        let ran = run(["eval", &pid, code, "--timeout", "300ms"]);
        if ran.code != 0 {
            ran.failed(1, "but code still runs in it");
            return false;
        }
        ran.gave("'caught'\n");
        true
    });
    assert!(caught);
    subject.is_unchanged();
}

fn waits_are_named(python: &Interpreter) {
    // Both codes wait at the same time, each with its helper.
    let mut subject = quiet_with(python, "time").by_threads(4);
    let pid = subject.pid().to_string();
    let code = "import time; time.sleep(1.5)";
    let ran = run(["eval", &pid, code, "--timeout", "500ms"]);
    ran.failed(1, "timed out after 500ms, still in `");
    assert!(ran.talk.contains("time.sleep(1.5)` (thread "), "{ran:?}");
    assert!(ran.took < Duration::from_millis(1000) + LOAD, "{ran:?}");
    assert!(ran.talk.contains(&format!("left {pid} (held ")), "{ran:?}");
    assert!(ran.talk.contains("but code still runs in it\n"), "{ran:?}");
    let ran = run(["eval", &pid, code, "--timeout", "500ms", "--json"]);
    let answer = &ran.json()["answers"][0];
    assert_eq!((ran.code, &answer["error"]["kind"]), (1, &"timeout".into()));
    assert_eq!(answer["left"]["still_running"].as_array().map(Vec::len), Some(1), "{answer}");
    // They end when they wake, and then nothing is left of them either.
    subject.is_unchanged();
}

/// Sends Ctrl-C to the program and gives how it ended, and how long after.
fn interrupted(running: Running) -> (Ran, Duration) {
    let sent = Instant::now();
    running.signal(Signal::INT);
    let ran = running.wait();
    (ran, sent.elapsed())
}

fn ctrl_c_ends_a_loop(python: &Interpreter) {
    let mut subject = quiet(python).by_threads(2);
    let mut times = Vec::new();
    // 50 ms, and as much for leaving and for the end of the program; on a machine that is too busy it is later.
    let in_time = (0..20).any(|_| {
        let running = begun(&mut subject, "while True: pass", &[]);
        let (ran, took) = interrupted(running);
        assert_eq!(ran.code, 130, "{ran:?}");
        times.push(took);
        if ran.talk.contains("but code still runs in it") {
            return false;
        }
        ran.failed(130, "KeyboardInterrupt\n");
        ran.left(subject.pid());
        took < Duration::from_millis(100)
    });
    println!("loops ended after {times:?}");
    assert!(in_time, "{times:?}");
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "", "the program itself heard of it");
}

fn ctrl_c_gives_up_a_wait(python: &Interpreter) {
    let mut subject = quiet_with(python, "time").by_threads(2);
    let running = begun(&mut subject, "import time; time.sleep(2)", &[]);
    let (ran, took) = interrupted(running);
    ran.failed(130, "still in `");
    assert!(ran.talk.contains("still running: "), "{ran:?}");
    println!("a wait: {took:?}");
    assert!(took < Duration::from_millis(400) + LOAD, "{took:?}");
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "", "the program itself heard of it");
}

/// The client is killed while its code runs: the code is interrupted, and nothing is left.
fn a_killed_client(python: &Interpreter) {
    let mut subject = quiet_with(python, "time").by_threads(2);
    let running = begun(&mut subject, "while True: pass", &[]);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, -1);
    subject.is_unchanged();
    let running = begun(&mut subject, "import time; time.sleep(1)", &[]);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, -1);
    subject.is_unchanged();
    eval(subject.pid(), "answer").gave("42\n");
}

/// `os._exit` is the user's wish.
fn the_process_ends_itself(python: &Interpreter) {
    let mut subject = quiet(python);
    let ran = eval(subject.pid(), "import os; os._exit(3)");
    ran.failed(5, &format!("process {} ended meanwhile", subject.pid()));
    assert_eq!(subject.wait_exit(SETTLE).expect("it ends").code(), Some(3));
}

fn the_process_is_killed(python: &Interpreter) {
    let mut subject = quiet(python);
    let running = begun(&mut subject, "while True: pass", &[]);
    subject.signal(Signal::KILL).expect("it is ours");
    let ran = running.wait();
    ran.failed(5, &format!("process {} ended meanwhile", subject.pid()));
    let mut subject = quiet(python);
    let running = begun(&mut subject, "while True: print('x' * 1000)", &["--json"]);
    subject.signal(Signal::KILL).expect("it is ours");
    let ran = running.wait();
    assert_eq!((ran.code, &ran.json()["answers"][0]["error"]["kind"]), (5, &"gone".into()));
}

/// The program comes to its own end, in each way, while code of ours runs in it.
fn the_process_comes_to_its_end(python: &Interpreter) {
    for (how, code) in [
        ("return", Some(0)),
        ("exit 4", Some(4)),
        ("_exit 5", Some(5)),
        ("raise", Some(1)),
        ("segv", None),
    ] {
        let mut subject = Subject::still(Start::new(python, "exit_at"));
        let running = begun(&mut subject, "while True: pass", &["--timeout", "20s"]);
        subject.send(how).expect("it listens");
        let status = subject.wait_exit(LIMIT).unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(status.code(), code, "{how}: {}", subject.stderr());
        let ran = running.wait();
        assert!(matches!(ran.code, 1 | 5), "{how}: {ran:?}");
        assert!(!subject.stderr().contains("<spyhole"), "{how}: {}", subject.stderr());
    }
}

/// Who keeps the GIL in C is told, and where: in a system call, and in a computation.
fn who_holds_the_gil_is_told(python: &Interpreter) {
    let source =
        std::fs::read_to_string(place::targets().join("gil_in_c.py")).expect("it is there");
    let line = 1 + source.lines().position(|line| line.contains("usleep")).expect("it is there");
    let file = format!("gil_in_c.py:{line})");
    for (how, told) in [
        ("call", [", called from `held` (", &file]),
        // From 3.15 on `re.match` is `prefixmatch`.
        ("match", ["C code called from `", "match` ("]),
    ] {
        let start = Start::new(python, "gil_in_c").args([how]);
        let target = start.start().unwrap_or_else(|error| panic!("{error}"));
        let pid = target.pid();
        pause::in_c(&target, how);
        let ran = run(["eval", &pid.to_string(), "1", "--timeout", "500ms", "--json"]);
        let error = &ran.json()["answers"][0]["error"];
        assert_eq!((ran.code, &error["kind"]), (1, &"unreachable".into()), "{ran:?}");
        let message = error["message"].as_str().expect("a text");
        let begin = "no thread gave up the GIL within 500ms";
        let begin = format!("{begin}; thread {pid} (MainThread) holds it in ");
        assert!(message.contains(&begin), "{message}");
        assert!(told.iter().all(|part| message.contains(part)), "{message}");
        let begin = format!("error: code cannot run in process {pid}: {begin}");
        run(["eval", &pid.to_string(), "1", "--timeout", "500ms"]).failed(1, &begin);
    }
}

/// After it was answered that code cannot run, none of it is begun, also when the GIL is given up later.
fn nothing_begins_after_the_answer(python: &Interpreter) {
    let mut subject = quiet_with(python, "ctypes").by_threads(2);
    let pid = subject.pid().to_string();
    // It keeps the GIL until there is a byte for it.
    subject
        .send(
            "exec import ctypes, sys; sys.stdout.write('holding\\n'); sys.stdout.flush(); \
             ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)",
        )
        .expect("it listens");
    assert_eq!(subject.receive().expect("it answers"), "holding");
    let ran =
        run(["eval", &pid, "import __main__; __main__.ran = 1", "--timeout", "300ms", "--json"]);
    let error = &ran.json()["answers"][0]["error"];
    assert_eq!((ran.code, &error["kind"]), (1, &"unreachable".into()), "{ran:?}");
    subject.send("").expect("it listens");
    subject.receive().expect("it goes on");
    subject.is_unchanged();
    assert_eq!(subject.evaluate("'ran' in globals()").expect("it answers"), "False");
}

on_full_set! {
    who_holds_the_gil_is_told nothing_begins_after_the_answer
    loops_are_ended_in_time waits_are_named ctrl_c_ends_a_loop ctrl_c_gives_up_a_wait a_killed_client
    the_process_ends_itself the_process_is_killed the_process_comes_to_its_end
}
