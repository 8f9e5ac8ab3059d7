//! Code in the main thread, in an event loop, in a hub, and with the variables of a frame.

use std::process::Command;
use std::time::Instant;

use spyhole_proc::tasks::{self, Activity};
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, census};

use crate::program::{LIMIT, Ran, Running, run, run_with_input, spyhole};
use crate::subjects::{Subject, quiet, quiet_with};

fn eval_in(pid: i32, place: &str, code: &str, words: &[&str]) -> Ran {
    let pid = pid.to_string();
    let mut all = vec!["eval", pid.as_str(), "--in", place, code];
    all.extend(words);
    run(all)
}

/// Code that never ends is ended; on a machine that is too busy it may not even have begun.
#[track_caller]
fn is_out_of_time(pid: i32, place: &str, code: &str) {
    let ran = eval_in(pid, place, code, &["--timeout", "400ms"]);
    let told = ["timed out after", "has not let the code in"];
    assert!(ran.code == 1 && told.iter().any(|told| ran.talk.contains(told)), "{ran:?}");
}

/// The main thread is blocked in a read, with nothing that would wake it.
fn in_a_blocked_main_thread(python: &Interpreter) {
    let mut subject = quiet_with(python, "time").by_threads(2);
    let pid = subject.pid();
    let own = subject.evaluate("commands._thread.get_ident()").expect("it answers");
    for _ in 0..3 {
        let ran = eval_in(pid, "main", "_thread.get_ident()", &[]);
        ran.gave(&format!("{own}\n"));
        ran.left(pid);
    }
    eval_in(pid, "main", "print('there'); 1/0", &[]).failed(1, "ZeroDivisionError");
    is_out_of_time(pid, "main", "while True: pass");
    is_out_of_time(pid, "main", "import time; time.sleep(600)");
    let piped = ":in main\nx = _thread.get_ident()\n:in thread\nx != _thread.get_ident()\n";
    run_with_input(&["console", &pid.to_string(), "--no-history"], piped).gave("True\n");
    // It reads on as if nothing had been.
    assert_eq!(subject.evaluate("answer").expect("it answers"), "42");
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

/// What the thread waits for lasts as long as without us.
fn waits_of_the_main_thread_last(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "timed")).by_threads(2);
    let pid = subject.pid();
    for name in ["sleep", "poll", "lock"] {
        subject.send(&format!("wait {name}")).expect("it listens");
        assert!(subject.receive().expect("it answers").contains("begun"));
        let ran = eval_in(pid, "main", "answer", &[]);
        ran.gave("42\n");
        let answer = subject.receive().expect("it answers");
        println!("{name}: {answer}");
        let seconds: f64 = answer
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("{name}: {answer}"));
        assert!(seconds > 0.95, "{name}: {answer}");
        assert!(answer.contains("nothing"), "{name}: {answer}");
    }
    assert_eq!(subject.stderr(), "");
}

fn in_a_busy_main_thread(python: &Interpreter) {
    let mut subject = Subject::busy(Start::new(python, "busy"));
    let pid = subject.pid();
    for _ in 0..3 {
        let ran = eval_in(pid, "main", "sys._getframe().f_back is not None and answer", &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.left(pid);
    }
    subject.is_unchanged();
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LIMIT, "{what}: that did not come true");
        std::thread::yield_now();
    }
}

/// A main thread in a call that may hold locks is not entered, and what waited for it never runs.
fn a_main_thread_that_cannot_be_entered(python: &Interpreter) {
    const OPENAT: i64 = 257;
    // Another thread, by which we come in at all.
    let mut target = quiet(python);
    let waiting = "exec import _thread; held = _thread.allocate_lock(); held.acquire(); \
                   _thread.start_new_thread(held.acquire, ())";
    target.ask(waiting).expect("it answers");
    until("the thread runs", || {
        target.evaluate("commands._thread._count()").expect("it answers") == "1"
    });
    let mut subject = target.again().by_threads(2);
    let pid = subject.pid();
    let pipe = std::env::temp_dir().join(format!("spyhole-places-{pid}"));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success());
    let code = "import __main__; __main__.later = 1";
    subject.send(&format!("exec open('{}').close()", pipe.display())).expect("it listens");
    until("its main thread opens a file", || {
        matches!(tasks::activity(pid, pid), Ok(Activity::Blocked { number: OPENAT, .. }))
    });
    let ran = eval_in(pid, "main", code, &["--timeout", "300ms"]);
    ran.failed(1, "the main thread of process");
    assert!(ran.talk.contains("has not let the code in") && ran.talk.contains("openat"), "{ran:?}");
    let json = eval_in(pid, "main", code, &["--timeout", "300ms", "--json"]).json();
    assert_eq!(json["answers"][0]["error"]["kind"], "unreachable");
    // A client that is killed takes its request with it.
    let tasks = || tasks::ids(pid).map_or(0, |ids| ids.len());
    let before = tasks();
    let mut command = spyhole();
    command.args(["eval", &pid.to_string(), "--in", "main", code, "--timeout", "50s"]);
    let client = Running::start(&mut command);
    // The agent's thread and its watcher.
    until("the agent is there", || tasks() >= before + 2);
    client.signal(Signal::KILL);
    client.wait();
    let writer = std::fs::OpenOptions::new().write(true).open(&pipe).expect("it is read");
    drop(writer);
    subject.receive().expect("it answers");
    assert_eq!(subject.evaluate("globals().get('later')").expect("it answers"), "None");
    subject.is_unchanged();
    let _ = std::fs::remove_file(pipe);
    assert_eq!(subject.stderr(), "");
}

/// Top-level `await` in a task of the loop, which goes on meanwhile.
fn in_a_loop(python: &Interpreter) {
    let mut subject = Subject::busy(Start::new(python, "looping"));
    let pid = subject.pid();
    let code =
        "before = ticks\nwhile ticks < before + 10:\n    await asyncio.sleep(0.01)\nticks > before";
    let ran = eval_in(pid, "loop", code, &[]);
    ran.gave("True\n");
    ran.left(pid);
    eval_in(pid, "loop", "await asyncio.sleep(0.01, 'slept')", &[]).gave("'slept'\n");
    eval_in(pid, "loop", "print('told'); 6 * 7", &[]).gave("told\n42\n");
    eval_in(pid, "loop", "await asyncio.sleep(0); 1/0", &[]).failed(1, "ZeroDivisionError");
    for endless in ["await asyncio.sleep(600)", "while True: pass", "await waiting"] {
        // Who awaits a task of the program's cancels it with itself, as in the program.
        is_out_of_time(pid, "loop", endless);
        if endless == "while True: pass" {
            break;
        }
    }
    let piped = ":in loop\nx = await asyncio.sleep(0.01, 5)\nx + 1\nbefore = ticks\n\
                 await asyncio.sleep(0.1)\nticks > before\n";
    run_with_input(&["console", &pid.to_string(), "--no-history"], piped).gave("6\nTrue\n");
    assert_eq!(subject.stderr(), "");
    subject.is_unchanged();
    let mut none = quiet(python);
    eval_in(none.pid(), "loop", "1", &[]).failed(1, "no asyncio loop runs");
    none.is_unchanged();
}

/// In a greenlet of its own, among those of the program, which go on when it waits.
fn in_a_hub(python: &Interpreter, name: &str) {
    let test = format!("places::{name}");
    let Some(python) = python.with_packages() else {
        return census::skipped(&test, &format!("no packages for {}", python.minor()));
    };
    let Some(mut subject) = Subject::optional(&test, Start::new(&python, name)) else { return };
    let pid = subject.pid();
    let waits = "before = ticks\nwhile ticks < before + 5:\n    time.sleep(0.01)\nticks > before";
    let ran = eval_in(pid, "hub", waits, &[]);
    ran.gave("True\n");
    ran.left(pid);
    eval_in(pid, "hub", "print('told'); 6 * 7", &[]).gave("told\n42\n");
    eval_in(pid, "hub", "time.sleep(0.01); 1/0", &[]).failed(1, "ZeroDivisionError");
    // Waiting or running, it is ended, and no other greenlet hears of it.
    for endless in ["time.sleep(600)", "never.wait()", "while True: pass"] {
        // On a machine that is too busy it ends when the client has gone.
        is_out_of_time(pid, "hub", endless);
    }
    let piped = ":in hub\nx = greenlet.getcurrent(); before = ticks\ntime.sleep(0.1)\n\
                 ticks > before, greenlet.getcurrent() is x\nx = None\n";
    run_with_input(&["console", &pid.to_string(), "--no-history"], piped).gave("(True, False)\n");
    eval_in(pid, "hub", waits, &[]).gave("True\n");
    assert_eq!(subject.stderr(), "");
    subject.is_unchanged();
}

fn gevent(python: &Interpreter) {
    in_a_hub(python, "gevent_patched");
    let mut none = quiet(python);
    eval_in(none.pid(), "hub", "1", &[]).failed(1, "no hub of gevent or eventlet runs");
    none.is_unchanged();
}

fn eventlet(python: &Interpreter) {
    in_a_hub(python, "eventlet_patched");
}

fn in_a_frame(python: &Interpreter) {
    let mut subject = Subject::busy(Start::new(python, "framed"));
    let pid = subject.pid();
    let innermost = format!("frame:{pid}");
    eval_in(pid, &innermost, "total, word", &[]).gave("(5, 'first')\n");
    eval_in(pid, &innermost, "[total + n for n in range(2)]", &[]).gave("[5, 6]\n");
    eval_in(pid, &format!("frame:{pid}:1"), "outer", &[]).gave("'whole'\n");
    eval_in(pid, &format!("frame:{pid}:9"), "1", &[]).failed(1, "has no frame 9");
    eval_in(pid, "frame:1", "1", &[]).failed(2, "has no thread 1 that runs Python");
    // A name of the module is bound in the session alone, and that is said.
    let ran = eval_in(pid, &format!("frame:{pid}:2"), "sys = 3; sys", &[]);
    assert!(ran.data == "3\n" && ran.talk.contains("`sys` was bound in the session"), "{ran:?}");
    eval_in(pid, "thread", "__main__.sys is sys", &[]).gave("True\n");
    let ran = eval_in(pid, &innermost, "word = 'changed'; total = 100; extra = 1", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.left(pid);
    assert_eq!(subject.receive().expect("it goes on"), "total 100 kept changed whole");
    assert_eq!(subject.stderr(), "");
}

on_full_set! { in_a_blocked_main_thread in_a_loop in_a_frame }
on_three! { waits_of_the_main_thread_last in_a_busy_main_thread }
each! { on, a_main_thread_that_cannot_be_entered, py36 = "3.6", py311 = "3.11", py313 = "3.13" }
each! { on, gevent, py36 = "3.6", py38 = "3.8", py311 = "3.11", py313 = "3.13" }
each! { on, eventlet, py36 = "3.6", py311 = "3.11", py313 = "3.13" }
