//! A number that passes to another process between two steps: the program stays with the one that was meant.
//!
//! The kernel is told which number to give next (`/proc/sys/kernel/ns_last_pid`, for root); others start processes
//! meanwhile, so it takes a few tries to be the one who gets it.

use std::fs;
use std::time::Duration;

use spyhole_session::Cancel;
use spyhole_session::console::Console;
use spyhole_session::evaluate::{self, Reach, Request};
use spyhole_session::model::{ErrorKind, Outcome};
use spyhole_session::target::{self, Resolved};
use spyhole_testkit::{Fingerprint, Interpreter, Target, census, interpreters, unchanged};

const NEXT: &str = "/proc/sys/kernel/ns_last_pid";
const TRIES: u32 = 200;

/// A target that was resolved, and another process that has its number now.
fn taken_over(python: &Interpreter) -> Option<(Resolved, Target)> {
    let mut first = Target::start(python, "sleep").expect("a target");
    let pid = first.pid();
    let resolved =
        target::resolve(&target::parse(&pid.to_string()).expect("a pid")).expect("it is there");
    first.signal(spyhole_testkit::target::Signal::KILL).expect("it can be killed");
    first.wait_exit(Duration::from_secs(10)).expect("it ends");
    drop(first);
    for _ in 0..TRIES {
        fs::write(NEXT, (pid - 1).to_string()).ok()?;
        let second = Target::start(python, "sleep").expect("a target");
        if second.pid() == pid {
            return Some((resolved, second));
        }
    }
    None
}

#[test]
fn a_number_that_was_taken_over_is_not_entered() {
    let python = interpreters::for_version("3.11").expect("a Python");
    let Some((resolved, second)) = taken_over(&python) else {
        census::skipped("takeover", "the kernel does not let the next process number be chosen");
        return;
    };
    let before: Fingerprint = second.blocked().expect("it sleeps");
    let request = Request {
        code: "1 + 1".into(),
        timeout: Duration::from_secs(5),
        max: 1 << 20,
        full: false,
        want_value: false,
        within: Default::default(),
        reach: Reach::default(),
    };
    let report = evaluate::in_all(&resolved.targets, &request, &Cancel::default(), &mut |_| ());
    let answer = &report.answers[0];
    match &answer.outcome {
        Outcome::Error(error) => assert_eq!(error.kind, ErrorKind::Gone, "{error:?}"),
        Outcome::Value(value) => panic!("the other process answered {value:?}"),
    }
    assert!(answer.left.is_none());
    let Err(error) = Console::open(&resolved.targets[0], &Reach::default()) else {
        panic!("a console on the other process");
    };
    assert_eq!(error.kind, ErrorKind::Gone);
    let after = second.blocked().expect("it sleeps on");
    unchanged(&before, &after).expect("unchanged");
}
