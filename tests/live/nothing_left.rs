//! Nothing of ours is to be seen, while attached where that can be, and afterwards for certain.

use std::collections::BTreeSet;
use std::process::Stdio;

use spyhole_testkit::fingerprint::resident;
use spyhole_testkit::{Fingerprint, Interpreter, Start};

use crate::program::{Running, eval, spyhole};
use crate::subjects::{Subject, quiet};

/// The files that a process has mapped.
fn files(outside: &Fingerprint) -> BTreeSet<&str> {
    outside.mappings.iter().map(|one| one.path.as_str()).filter(|path| path.contains('/')).collect()
}

/// In a bare interpreter there are no modules and no files more, while a console is open and has worked.
fn while_attached(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "quiet").flags(["-I", "-S"]));
    let pid = subject.pid();
    let mut command = spyhole();
    command.args(["console", &pid.to_string(), "--no-history"]).stdin(Stdio::piped());
    let mut console = Running::start(&mut command);
    console.write("answer\n{'a': [1, 2], 'b': {3}}\nprint('x')\n1/0\n[].nothing\n)\n'seen'\n");
    for line in ["42", "{'a': [1, 2], 'b': {3}}", "x", "'seen'"] {
        assert_eq!(console.line(), line);
    }
    let outside = Fingerprint::of(pid).expect("it is there");
    assert!(outside.threads.len() > subject.first_outside().threads.len(), "we are in it");
    assert_eq!(files(&outside), files(subject.first_outside()));
    let inside = subject.inside().expect("it tells its state");
    let told = subject.first_inside().differences(&inside);
    // The native threads that run Python are counted, and from 3.12 on a fork is not to be warned of them; no other
    // thing is different.
    let own = ["`thread_count`", "warnings.filters`"];
    let told: Vec<&String> =
        told.iter().filter(|line| !own.iter().any(|known| line.contains(known))).collect();
    assert!(told.is_empty(), "{told:?}");
    console.write("exit()\n");
    let ran = console.wait();
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.left(pid);
    subject.is_unchanged();
}

/// The program's own `threading` does not hear of us, and what it holds of our threads is gone.
fn threading(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "worker"));
    let pid = subject.pid();
    // Asked from a thread that `threading` did not start, `current_thread` makes a note of it.
    let ran = eval(pid, "threading.current_thread().name.startswith('Dummy')");
    ran.gave("True\n");
    ran.left(pid);
    let count = subject.evaluate("len(threading._active), threading.active_count()");
    assert_eq!(count.expect("it answers"), "(2, 2)");
    subject.is_unchanged();
}

/// Over 200 times neither memory nor objects grow, once the first ones have made what stays.
fn many_times(python: &Interpreter) {
    const WARM_UP: usize = 4;
    const ROUNDS: usize = 10;
    let mut subject = quiet(python);
    let pid = subject.pid();
    let mut twenty = || {
        for _ in 0..20 {
            eval(pid, "print('x'); [answer, words]").gave("x\n[42, ['spy', 'hole']]\n");
        }
        // This collects the garbage, so that what is compared is what lives.
        let objects = subject.inside().expect("it tells its state").tracked_objects();
        (objects, resident(pid).expect("it is there"))
    };
    let (objects, memory) = (0..WARM_UP).map(|_| twenty()).last().expect("some");
    let (now, memory_now) = (0..ROUNDS).map(|_| twenty()).last().expect("some");
    println!("objects {objects} -> {now}, memory {memory} -> {memory_now}");
    assert!(now <= objects + 2, "objects: from {objects} to {now}");
    // What a page more or less of malloc's comes to, far below 200 times anything.
    assert!(memory_now <= memory + (512 << 10), "memory: from {memory} to {memory_now}");
    subject.is_unchanged();
}

on_full_set! { while_attached threading }
on_three! { many_times }
