//! `eval` gives the right value in each state that a program can be in, and leaves it as it was and at work.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use spyhole_testkit::{Interpreter, Start, census};

use crate::program::{LIMIT, eval};
use crate::subjects::Subject;

/// It answers, and is as it was.
#[track_caller]
fn answers(subject: &mut Subject) {
    let ran = eval(subject.pid(), "answer * 100");
    ran.gave("4200\n");
    ran.left(subject.pid());
    subject.is_unchanged();
}

/// A number that the program itself counts up is larger after a while.
#[track_caller]
fn counts(subject: &Subject, expression: &str) {
    let number = || {
        let ran = eval(subject.pid(), expression);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.data.trim().parse::<u64>().unwrap_or_else(|_| panic!("{ran:?}"))
    };
    let first = number();
    let deadline = std::time::Instant::now() + LIMIT;
    while number() <= first {
        assert!(std::time::Instant::now() < deadline, "`{expression}` stays at {first}");
    }
}

fn quiet(python: &Interpreter) {
    answers(&mut crate::subjects::quiet(python));
}

fn bare(python: &Interpreter) {
    answers(&mut Subject::serving(Start::new(python, "quiet").flags(["-I", "-S"])));
}

fn sleep(python: &Interpreter) {
    answers(&mut Subject::still(Start::new(python, "sleep")));
}

fn accept(python: &Interpreter) {
    let mut subject = Subject::still(Start::new(python, "accept"));
    answers(&mut subject);
    let port = u16::try_from(subject.ready()["port"].as_u64().expect("it told its port")).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut said = [0; 2];
    stream.read_exact(&mut said).expect("it goes on accepting");
    assert_eq!(&said, b"ok");
}

/// Waits for its input; the wait has lost nothing when the input comes.
fn waits(python: &Interpreter, name: &str) {
    let mut subject = Subject::still(Start::new(python, name));
    answers(&mut subject);
    subject.close_stdin();
    assert_eq!(subject.receive().expect("it wakes"), "woke 1");
    assert!(subject.wait_exit(LIMIT).expect("it ends").success(), "{}", subject.stderr());
}

fn select(python: &Interpreter) {
    waits(python, "select_wait");
}

fn epoll(python: &Interpreter) {
    waits(python, "epoll");
}

fn lock(python: &Interpreter) {
    answers(&mut Subject::still(Start::new(python, "lock")));
}

fn subprocess(python: &Interpreter) {
    let mut subject = Subject::still(Start::new(python, "subprocess_wait"));
    answers(&mut subject);
    // The wait for the child is one that still works.
    let child = subject.ready()["child"].to_string();
    assert!(Command::new("kill").arg(&child).status().expect("kill starts").success());
    assert!(subject.wait_exit(LIMIT).expect("it ends").success(), "{}", subject.stderr());
}

fn busy(python: &Interpreter) {
    let mut subject = Subject::busy(Start::new(python, "busy"));
    answers(&mut subject);
    counts(&subject, "turns");
}

fn malloc(python: &Interpreter) {
    let mut subject = Subject::busy(Start::new(python, "malloc"));
    answers(&mut subject);
    for turn in ["python_objects-0", "c_blocks-2", "compress-4", "threads-5", "main"] {
        counts(&subject, &format!("turns['{turn}']"));
    }
}

fn fork(python: &Interpreter) {
    let mut subject = Subject::busy(Start::new(python, "fork"));
    answers(&mut subject);
    counts(&subject, "children");
}

fn starting(python: &Interpreter) {
    let mut subject = Subject::busy(Start::new(python, "starting"));
    let ran = eval(subject.pid(), "40 + 2");
    ran.gave("42\n");
    ran.left(subject.pid());
    let state = subject.inside().expect("it has started");
    assert!(subject.is_alive() && !state.modules().is_empty());
}

fn threads200(python: &Interpreter) {
    answers(&mut Subject::serving(Start::new(python, "threads200")));
}

fn worker(python: &Interpreter) {
    answers(&mut Subject::serving(Start::new(python, "worker").args(["site"])));
}

fn hostile(python: &Interpreter) {
    let arguments = spyhole_testkit::hostile::arguments();
    answers(&mut Subject::serving(Start::new(python, "hostile").args(arguments)));
}

fn greenlets(python: &Interpreter, name: &str) {
    let Some(python) = python.with_packages() else {
        census::skipped(name, &format!("no environment with packages for {}", python.minor()));
        return;
    };
    let Some(mut subject) = Subject::optional(name, Start::new(&python, name)) else { return };
    answers(&mut subject);
    counts(&subject, "ticks");
}

fn gevent(python: &Interpreter) {
    greenlets(python, "gevent_patched");
}

fn eventlet(python: &Interpreter) {
    greenlets(python, "eventlet_patched");
}

on_all! { quiet sleep busy }
on_full_set! {
    bare accept select epoll lock subprocess malloc fork starting threads200 worker hostile gevent eventlet
}
