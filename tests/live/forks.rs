//! A program that forks while we are in it.

use std::process::Stdio;
use std::time::Instant;

use spyhole_testkit::target::Signal;
use spyhole_testkit::{Fingerprint, Interpreter, Start};

use crate::program::{LIMIT, Running, eval, spyhole};
use crate::subjects::Subject;

fn console(subject: &Subject) -> Running {
    let mut command = spyhole();
    command.args(["console", &subject.pid().to_string(), "--no-history"]).stdin(Stdio::piped());
    let mut console = Running::start(&mut command);
    console.write("answer\n");
    assert_eq!(console.line(), "42", "it is in");
    console
}

/// What a child of each kind of fork tells.
fn children(subject: &mut Subject) -> [String; 2] {
    ["python", "c"].map(|how| subject.evaluate(&format!("child('{how}')")).expect("it forks"))
}

/// The child has what it would have without us, and no warning is made of our threads.
fn children_have_nothing_of_ours(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "forks")).by_threads(2);
    let without = children(&mut subject);
    assert!(without.iter().all(|told| told.ends_with(", [])")), "{without:?}");
    let mut console = console(&subject);
    assert_eq!(children(&mut subject), without, "while attached");
    console.write("for _ in [print('in')]:\n while True: pass\n\n");
    assert_eq!(console.line(), "in");
    assert_eq!(children(&mut subject), without, "while code of ours runs");
    console.signal(Signal::INT);
    console.write("exit()\n");
    let ran = console.wait();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(children(&mut subject), without, "afterwards");
    subject.is_unchanged();
}

/// A child that lives on does not keep us in the process when the client is killed.
fn a_child_holds_nobody(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "forks"));
    let console = console(&subject);
    subject.evaluate("keep()").expect("it forks");
    console.signal(Signal::KILL);
    drop(console);
    let deadline = Instant::now() + LIMIT;
    while Fingerprint::of(subject.pid()).expect("it is there").threads.len() > 1 {
        assert!(Instant::now() < deadline, "we are still in it");
        std::thread::yield_now();
    }
    eval(subject.pid(), "answer").gave("42\n");
    subject.evaluate("let_go()").expect("it answers");
    subject.is_unchanged();
}

/// A program that has threads of its own is warned as ever (3.12 on).
fn own_threads_are_warned_of(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "forks"));
    let threaded = "exec import threading; lock = threading.Lock(); lock.acquire(); \
                    other = threading.Thread(target=lock.acquire, daemon=True); other.start()";
    assert_eq!(subject.ask(threaded).expect("it answers"), "\"done\"");
    let without = subject.ask("eval child('python')").expect("it answers");
    assert_eq!(without.contains("DeprecationWarning"), python.version >= (3, 12, 0), "{without}");
    let mut console = console(&subject);
    let with = subject.ask("eval child('python')").expect("it answers");
    assert_eq!(with, without);
    console.write("exit()\n");
    assert_eq!(console.wait().code, 0);
}

on_full_set! { children_have_nothing_of_ours a_child_holds_nobody own_threads_are_warned_of }
