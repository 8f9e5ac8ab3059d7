//! System calls that are interrupted by an attach give what they would have given, and signals that come meanwhile
//! are handled.

use std::time::{Duration, Instant};

use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start};

use crate::program::eval;
use crate::subjects::Subject;

/// When in its second a wait is disturbed: one that began anew would take half a second longer.
const HALF: Duration = Duration::from_millis(500);
/// What a loaded machine may add to the second.
const LOAD: f64 = 0.4;

/// Waits of one second each, by name of the call.
const WAITS: &[&str] = &["sleep", "select", "poll", "lock", "epoll", "sigtimedwait"];
/// The kernel ends these for any stop, and nobody knows what time was left: they begin anew, and so end at most as much
/// later as the last of us came after their beginning.
const ANEW: &[&str] = &["epoll", "sigtimedwait"];

/// Each wait takes as long as was asked for, and ends without a reason of ours, although we come and go.
fn timed_waits(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "timed"));
    let pid = subject.pid();
    for name in WAITS {
        subject.send(&format!("wait {name}")).expect("it listens");
        assert_eq!(subject.receive().expect("it begins"), "begun");
        let begun = Instant::now();
        for round in 0..5 {
            if round == 1 {
                std::thread::sleep(HALF);
            }
            let ran = eval(pid, "answer");
            ran.gave("42\n");
            ran.left(pid);
        }
        let late = if ANEW.contains(name) { begun.elapsed().as_secs_f64() } else { 0.0 };
        let said = subject.receive().expect("it ends");
        let (took, gave) = said.split_once(' ').expect("two words");
        let took: f64 = took.parse().expect("seconds");
        println!("{name}: {took} s");
        assert_eq!(gave, "nothing", "{name}");
        assert!((0.999..1.0 + late + LOAD).contains(&took), "{name} took {took} s");
    }
    subject.is_unchanged();
}

/// A signal with a handler in Python that comes while a thread is borrowed is not lost, and its handler runs at once,
/// not when the wait is over.
fn handlers_run_at_once(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "timed"));
    let pid = subject.pid();
    let mut latest = Duration::ZERO;
    for round in 0..30_u64 {
        subject.send("handle").expect("it listens");
        assert_eq!(subject.receive().expect("it begins"), "begun");
        let asking = std::thread::spawn(move || eval(pid, "answer"));
        // Spread over the life of a session: no wait for anything, the moment itself is what is drawn.
        std::thread::sleep(Duration::from_micros(700 * round));
        let sent = Instant::now();
        let signal = if round % 2 == 0 { Signal::USR1 } else { Signal::TERM };
        subject.signal(signal).expect("it is there");
        // The main thread sleeps for 60 s in there; its handler ends that.
        let name = if round % 2 == 0 { "USR1" } else { "TERM" };
        assert_eq!(subject.receive().expect("it handles"), format!("handled {name}"));
        latest = latest.max(sent.elapsed());
        asking.join().expect("it does not panic").gave("42\n");
    }
    println!("handled within {latest:?}");
    // One that waited for the end of the sleep would be later than that by far.
    assert!(latest < Duration::from_secs(10), "{latest:?}");
    subject.is_unchanged();
}

/// A stop that comes from elsewhere while we attach stays one, and ends when it is ended.
fn stops_stay(python: &Interpreter) {
    let mut subject = crate::subjects::quiet(python);
    let pid = subject.pid();
    for round in 0..10_u64 {
        let asking = std::thread::spawn(move || eval(pid, "answer"));
        std::thread::sleep(Duration::from_micros(1500 * round));
        subject.signal(Signal::STOP).expect("it is there");
        std::thread::sleep(Duration::from_millis(20));
        subject.signal(Signal::CONT).expect("it is there");
        let ran = asking.join().expect("it does not panic");
        // It was answered, or refused since it was stopped.
        assert!(ran.code == 0 || ran.talk.contains(" is stopped "), "{ran:?}");
        subject.is_unchanged();
    }
}

/// Stops that are ended at once, again and again while we attach: none outlives its end.
fn ended_stops_are_over(python: &Interpreter) {
    let mut subject = crate::subjects::quiet(python);
    let pid = subject.pid();
    for round in 0..20_u64 {
        let asking = std::thread::spawn(move || eval(pid, "answer"));
        let from = std::time::Instant::now();
        while from.elapsed() < Duration::from_micros(500 * round) {
            std::hint::spin_loop();
        }
        for _ in 0..20 {
            subject.signal(Signal::STOP).expect("it is there");
            subject.signal(Signal::CONT).expect("it is there");
        }
        let ran = asking.join().expect("it does not panic");
        assert!(ran.code == 0 || ran.talk.contains(" is stopped "), "{ran:?}");
        subject.is_unchanged();
    }
}

on_full_set! { timed_waits handlers_run_at_once stops_stay ended_stops_are_over }
