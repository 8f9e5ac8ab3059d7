//! The whole interpreter stands still between commands, and goes on whatever becomes of the client.

use std::process::Stdio;
use std::time::{Duration, Instant};

use spyhole_session::console::{Console, Event};
use spyhole_session::evaluate::Reach;
use spyhole_session::freezing::Thaw;
use spyhole_session::model::{ErrorKind, EvalError};
use spyhole_session::target;
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start};

use crate::program::{Running, run, spyhole};
use crate::subjects::{Subject, quiet};

/// The end of a hung test, and no measure of ours.
const LIMIT: Duration = Duration::from_secs(60);
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(300);

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

/// What became of some code, and whether others have run meanwhile.
#[derive(Debug)]
struct Done {
    value: Result<String, EvalError>,
    ran: bool,
}

fn finish(console: &mut Console, job: u32) -> Done {
    let mut ran = false;
    loop {
        match next(console) {
            Event::Value { job: ended, value, .. } if ended == job => {
                return Done { value: Ok(value.repr), ran };
            }
            Event::Error { job: ended, error, .. } if ended == job => {
                return Done { value: Err(error), ran };
            }
            Event::Ran { job: told, .. } => ran |= told == job,
            Event::Output { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn does(console: &mut Console, code: &str) -> Done {
    let job = console.start(code);
    finish(console, job)
}

/// Starts code that says `begun`, and waits for that.
fn begin(console: &mut Console, code: &str) -> u32 {
    let job = console.start(code);
    loop {
        match next(console) {
            Event::Output { text, .. } if text.contains("begun") => return job,
            Event::Output { .. } => {}
            other => panic!("{code}: {other:?}"),
        }
    }
}

fn thawed(console: &mut Console) -> Thaw {
    loop {
        match next(console) {
            Event::Thawed { reason, .. } => return reason,
            Event::Ran { .. } | Event::Output { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// It runs as it did: its threads count, and ask for the GIL as often as before.
#[track_caller]
fn goes_on(subject: &mut Subject) {
    let before: u64 = subject.evaluate("count").expect("it answers").parse().expect("a number");
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = subject.evaluate("count, ticks, sys.getswitchinterval()").expect("it answers");
        let count: u64 = now
            .trim_start_matches('(')
            .split(',')
            .next()
            .and_then(|count| count.parse().ok())
            .expect("a number");
        // A client that is killed is gone a moment later.
        if count > before && now.ends_with(" 0.005)") {
            break;
        }
        assert!(Instant::now() < deadline, "it does not go on: {now}");
    }
}

fn counting(python: &Interpreter) -> Subject {
    Subject::busy(Start::new(python, "counting")).by_threads(3)
}

/// Between commands nothing counts by one; a command that lets others run says so.
fn stands_still(python: &Interpreter) {
    const ROUNDS: usize = 12;
    let mut subject = counting(python);
    let mut console = open(&subject);
    console.freeze_now(LONG).expect("it can be frozen");
    assert!(console.frozen().is_some());
    let first = does(&mut console, "count, ticks");
    let (mut before, mut ran) = (first.value.expect("a value"), first.ran);
    let mut stood = 0;
    for round in 0..ROUNDS {
        // The program is watched for as long.
        std::thread::sleep(Duration::from_millis(20));
        let done = does(&mut console, "count, ticks");
        let now = done.value.expect("a value");
        // The one before may have let them run when it had its value.
        ran |= done.ran;
        assert!(now == before || ran, "round {round}: {before} became {now}");
        ran = done.ran;
        stood += usize::from(now == before);
        before = now;
    }
    // The longest that a thread waits until it asks for the GIL may be over in the middle of a command.
    assert!(stood > ROUNDS / 2, "it stood still {stood} times");
    let waits = "import time\nbefore = count\nwhile count == before: time.sleep(0.001)";
    let slept = does(&mut console, waits);
    assert!(slept.ran, "{slept:?}");
    let job = console.freeze(None);
    assert_eq!(thawed(&mut console), Thaw::Asked, "{job}");
    assert!(console.frozen().is_none());
    let left = console.close();
    assert!(left.kept.is_empty() && left.still_running.is_empty(), "{left:?}");
    goes_on(&mut subject);
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

/// Who leaves without a word leaves nothing frozen.
fn left_frozen(python: &Interpreter) {
    let mut subject = counting(python);
    let mut console = open(&subject);
    console.freeze_now(LONG).expect("it can be frozen");
    console.close();
    goes_on(&mut subject);
    subject.is_unchanged();
}

/// The client is killed, between commands and in the middle of one.
fn killed(python: &Interpreter) {
    let mut subject = counting(python);
    let pid = subject.pid();
    for code in
        ["count >= 0\n", "True\nwhile True: pass\n\n", "True\nimport time; time.sleep(0.5)\n"]
    {
        let mut command = spyhole();
        command.args(["console", &pid.to_string(), "--freeze=300s", "--no-history"]);
        let mut client = Running::start(command.stdin(Stdio::piped()));
        client.write(code);
        assert_eq!(client.line(), "True");
        client.signal(Signal::KILL);
        let killed = Instant::now();
        goes_on(&mut subject);
        println!("{code:?}: it goes on after {:?}", killed.elapsed());
        client.wait_quietly();
        subject.is_unchanged();
    }
    assert_eq!(subject.stderr(), "");
}

/// It goes on by itself: without a command, and when one takes too long.
fn dead_mans_switch(python: &Interpreter) {
    let mut subject = counting(python);
    let mut console = open(&subject);
    console.freeze_now(Duration::from_millis(200)).expect("it can be frozen");
    assert_eq!(thawed(&mut console), Thaw::Idle);
    assert!(console.frozen().is_none());
    goes_on(&mut subject);
    console.freeze_now(Duration::from_millis(500)).expect("it can be frozen");
    let done = does(&mut console, "while True: pass");
    assert_eq!(done.value.expect_err("it is ended").kind, ErrorKind::Interrupted);
    assert_eq!(thawed(&mut console), Thaw::Late);
    goes_on(&mut subject);
    assert_eq!(does(&mut console, "6 * 7").value.expect("a value"), "42");
    assert!(console.close().still_running.is_empty());
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

/// Ctrl-C ends the code, and it stands still as before; code that does not end is given up, and the program goes on.
fn interrupted(python: &Interpreter) {
    let mut subject = counting(python);
    let mut console = open(&subject);
    console.freeze_now(LONG).expect("it can be frozen");
    for code in ["while True: pass", "import time; time.sleep(600)"] {
        let job = begin(&mut console, &format!("print('begun', end='')\n{code}"));
        let asked = Instant::now();
        console.interrupt();
        let done = finish(&mut console, job);
        println!("{code}: {:?}", asked.elapsed());
        assert_eq!(done.value.expect_err("it is ended").kind, ErrorKind::Interrupted);
        assert!(console.frozen().is_some());
    }
    // A child is not frozen.
    let forks = "import posix\nchild = posix.fork() or posix._exit(int(sys.getswitchinterval() > 1))\n\
                 posix.waitpid(child, 0)[1]";
    assert_eq!(does(&mut console, forks).value.expect("a value"), "0");
    // Places where the program would have to go on.
    console.set_place("main".parse().expect("a place"));
    let refused = does(&mut console, "1").value.expect_err("it is frozen");
    assert!(refused.message.contains("is frozen"), "{refused:?}");
    console.set_place("thread".parse().expect("a place"));
    does(&mut console, "lock = _thread.allocate_lock(); lock.acquire()").value.expect("it is new");
    // It may be interrupted before it waits.
    let code = "try:\n    print('begun', end='')\n    lock.acquire()\nexcept KeyboardInterrupt:\n    lock.acquire()";
    let job = begin(&mut console, code);
    console.interrupt();
    console.abandon(job);
    assert_eq!(thawed(&mut console), Thaw::Abandoned);
    goes_on(&mut subject);
    let deadline = Instant::now() + LIMIT;
    while !console.running().is_empty() {
        assert!(Instant::now() < deadline, "it does not end");
        let job = console.start("lock.locked() and lock.release()");
        while !matches!(next(&mut console), Event::Value { job: ended, .. } if ended == job) {}
    }
    assert!(console.close().still_running.is_empty());
    goes_on(&mut subject);
    assert_eq!(subject.stderr(), "");
}

/// Two at once: the second one is told.
fn by_two(python: &Interpreter) {
    let mut subject = quiet(python).by_threads(3);
    let (mut one, mut two) = (open(&subject), open(&subject));
    one.freeze_now(Duration::from_secs(2)).expect("it can be frozen");
    // It gets its turn when the first one's time is up, or when that one waits.
    let second = two.freeze_now(LONG);
    assert!(
        second.is_ok() || second.as_ref().is_err_and(|e| e.message.contains("frozen")),
        "{second:?}"
    );
    one.close();
    two.close();
    assert_eq!(subject.evaluate("sys.getswitchinterval()").expect("it answers"), "0.005");
    subject.is_unchanged();
}

/// From the command line, with all that is said.
fn from_the_command_line(python: &Interpreter) {
    let mut subject = counting(python);
    let pid = subject.pid().to_string();
    let typed = "a = count\ncount == a\n:thaw\n:thaw\n:freeze 1h\n";
    let mut command = spyhole();
    command.args(["console", &pid, "--freeze=200s", "--no-history"]).stdin(Stdio::piped());
    let mut client = Running::start(&mut command);
    client.write(typed);
    let ran = client.wait();
    assert!(
        ran.code == 0 && (ran.data == "True\n" || ran.talk.contains("let the program run")),
        "{ran:?}"
    );
    for said in [
        "the program stands still; it goes on after 200s without a command",
        "the program goes on\n",
        "it is not frozen",
        "a program is frozen for 100ms to 600s",
    ] {
        assert!(ran.talk.contains(said), "{said}: {ran:?}");
    }
    run(["console", &pid, "--freeze=0"]).failed(2, "--freeze");
    goes_on(&mut subject);
    subject.is_unchanged();
}

each! { on, stands_still, py36 = "3.6", py37 = "3.7", py38 = "3.8", py39 = "3.9", py310 = "3.10", py311 = "3.11",
py312 = "3.12", py313 = "3.13", py314 = "3.14", py315 = "3.15" }
each! { full, killed, py36 = "3.6", py312 = "3.12", py313 = "3.13", py314 = "3.14" }
each! { full, dead_mans_switch, py36 = "3.6", py312 = "3.12", py313 = "3.13", py314 = "3.14" }
each! { full, interrupted, py36 = "3.6", py312 = "3.12", py313 = "3.13", py314 = "3.14" }
on_three! { left_frozen }
on_one! { by_two from_the_command_line }
