//! Ctrl-C while code of ours waits in C: waits for the world end, waits for locks are left alone.

use std::time::{Duration, Instant};

use spyhole_session::console::{Console, Event};
use spyhole_session::evaluate::Reach;
use spyhole_session::model::ErrorKind;
use spyhole_session::target;
use spyhole_testkit::Interpreter;

use crate::subjects::{Subject, quiet_with};

/// Ten minutes each: who sees one of them end has ended it.
const WAITS: &[(&str, &str)] = &[
    ("sleep", "time.sleep(600)"),
    ("select", "select.select([], [], [], 600)"),
    ("select of a socket", "ends = _socket.socketpair(); select.select([ends[0]], [], [], 600)"),
    ("poll", "select.poll().poll(600000)"),
    ("epoll", "select.epoll().poll(600)"),
    ("recv", "ends = _socket.socketpair(); ends[0].recv(10)"),
    ("recv in time", "ends = _socket.socketpair(); ends[0].settimeout(600); ends[0].recv(10)"),
    ("accept", "s = _socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(1); s._accept()"),
];

/// The end of a hung test, and no measure of ours.
const LIMIT: Duration = Duration::from_secs(60);

fn open(subject: &Subject) -> Console {
    let spec = target::parse(&subject.pid().to_string()).expect("a pid");
    let resolved = target::resolve(&spec).expect("it is there");
    Console::open(&resolved.targets[0], &Reach::default()).expect("it opens")
}

fn next(console: &mut Console) -> Event {
    let deadline = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < deadline, "nothing comes");
        if let Some(event) = console.next(Duration::from_millis(100)) {
            return event;
        }
    }
}

/// Starts code and waits until it runs.
fn begin(console: &mut Console, code: &str) -> u32 {
    let job = console.start(&format!("print('begun', end='')\n{code}"));
    loop {
        match next(console) {
            Event::Output { text, .. } if text.contains("begun") => return job,
            Event::Output { .. } => {}
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[track_caller]
fn interrupted(console: &mut Console, job: u32) -> Duration {
    let asked = Instant::now();
    console.interrupt();
    loop {
        match next(console) {
            Event::Error { job: ended, error, .. } if ended == job => {
                assert_eq!(error.kind, ErrorKind::Interrupted, "{error:?}");
                return asked.elapsed();
            }
            Event::Output { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn gives(console: &mut Console, code: &str, value: &str) {
    let job = console.start(code);
    loop {
        match next(console) {
            Event::Value { job: ended, value: given, .. } if ended == job => {
                assert_eq!(given.repr, value, "{code}");
                return;
            }
            Event::Output { .. } => {}
            other => panic!("{code}: {other:?}"),
        }
    }
}

fn waits_for_the_world_end(python: &Interpreter) {
    // What the waits leave goes with the names of the session.
    let mut subject = quiet_with(python, "time, select, _socket").by_threads(2);
    let mut console = open(&subject);
    for (what, code) in WAITS {
        let job = begin(&mut console, code);
        let took = interrupted(&mut console, job);
        println!("{what}: {took:?}");
        gives(&mut console, "answer", "42");
    }
    gives(&mut console, "ends = s = None", "None");
    let left = console.close();
    assert!(left.kept.is_empty() && left.still_running.is_empty(), "{left:?}");
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

/// A lock is held by whoever's wait for it returned: no such wait may return early.
fn waits_for_locks_stay(python: &Interpreter) {
    let mut subject = quiet_with(python, "time").by_threads(4);
    let mut console = open(&subject);
    gives(&mut console, "lock = _thread.allocate_lock(); lock.acquire()", "True");
    for wait in ["lock.acquire()", "lock.acquire(True, 600)"] {
        let job = begin(&mut console, &format!("took = {wait}"));
        console.interrupt();
        // Long enough for whatever would end it.
        let until = Instant::now() + Duration::from_millis(150);
        while Instant::now() < until {
            let event = console.next(Duration::from_millis(20));
            assert!(event.is_none(), "{wait}: {event:?}");
        }
        console.abandon(job);
        let running: Vec<u32> = console.running().iter().map(|running| running.job).collect();
        assert_eq!(running, [job]);
        // A fresh thread serves, and the lock is as it was.
        gives(&mut console, "lock.locked()", "True");
        gives(&mut console, "lock.release()", "None");
        loop {
            match next(&mut console) {
                Event::Error { job: ended, error, .. } if ended == job => {
                    assert_eq!(error.kind, ErrorKind::Interrupted, "{error:?}");
                    break;
                }
                Event::Output { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        // It was taken by the code that waited for it, which was interrupted before it could note that.
        gives(&mut console, "lock.locked()", "True");
        assert!(console.running().is_empty());
    }
    let left = console.close();
    assert!(left.kept.is_empty() && left.still_running.is_empty(), "{left:?}");
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

/// What the code does when it has heard of the exception is its own affair.
fn what_follows_is_left_alone(python: &Interpreter) {
    let mut subject = quiet_with(python, "time").by_threads(2);
    let mut console = open(&subject);
    let code = "try:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    for n in range(20): n\n    \
                begun = time.time()\n    time.sleep(0.3)\n    slept = time.time() - begun";
    let job = begin(&mut console, code);
    console.interrupt();
    loop {
        match next(&mut console) {
            Event::Value { job: ended, .. } if ended == job => break,
            Event::Output { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    gives(&mut console, "slept > 0.25", "True");
    assert!(console.close().kept.is_empty());
    subject.is_unchanged();
}

on_full_set! { waits_for_the_world_end waits_for_locks_stay what_follows_is_left_alone }
