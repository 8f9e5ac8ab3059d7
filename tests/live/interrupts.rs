//! Interrupts at random moments: each piece of code ends exactly once, and the program never hears of one.
//!
//! 3,000 of them; `SPYHOLE_TEST_INTERRUPTS` is another number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spyhole_session::console::{Console, Event};
use spyhole_session::evaluate::Reach;
use spyhole_session::model::ErrorKind;
use spyhole_session::target;
use spyhole_testkit::{Interpreter, Start};

use crate::program::run;
use crate::subjects::Subject;

/// Code of several kinds and lengths, all of which end by themselves within milliseconds.
const CODES: &[&str] = &[
    "1 + 1",
    "for i in range(200): pass",
    "for i in range(4000): pass",
    "for i in range(60000): pass",
    "sum(i * i for i in range(40000))",
    "x = [str(i) for i in range(300)]; len(x)",
    "def f(n):\n    return n if n == 0 else f(n - 1)\nf(50)",
    "try:\n    for i in range(1000): pass\nfinally:\n    y = 1\n",
    "print('x' * 100)\nfor i in range(500): pass\nprint('y')",
    "sorted(range(2000), key=lambda n: -n)[:3]",
];

/// Random enough for moments in time, and the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn how_many() -> u64 {
    std::env::var("SPYHOLE_TEST_INTERRUPTS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000)
}

/// How the jobs of a console ended.
#[derive(Default, Debug)]
struct Results {
    values: u64,
    interrupted: u64,
    by_job: BTreeMap<u32, u32>,
}

impl Results {
    /// Waits until the job has ended.
    fn wait(&mut self, console: &mut Console, job: u32) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.by_job.contains_key(&job) {
            assert!(Instant::now() < deadline, "job {job} does not end: {self:?}");
            if let Some(event) = console.next(Duration::from_millis(100)) {
                self.note(event);
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Value { job, .. } => {
                self.values += 1;
                *self.by_job.entry(job).or_default() += 1;
            }
            Event::Error { job, error, .. } => {
                assert_eq!(error.kind, ErrorKind::Interrupted, "job {job}: {error:?}");
                self.interrupted += 1;
                *self.by_job.entry(job).or_default() += 1;
            }
            Event::Output { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn at_random_moments(python: &Interpreter) {
    let limit = Duration::from_secs(1800);
    let start = Start::new(python, "quiet").limit(limit);
    let mut target = start.start().unwrap_or_else(|error| panic!("{error}"));
    // Who interrupts waits for the GIL, by default for 5 ms: longer than these codes take.
    target.ask("exec import sys; sys.setswitchinterval(0.00001)").expect("it answers");
    let mut subject = Subject::serving_from(target).by_threads(2);
    let spec = target::parse(&subject.pid().to_string()).expect("a pid");
    let resolved = target::resolve(&spec).expect("it is there");
    let mut console = Console::open(&resolved.targets[0], &Reach::default()).expect("it opens");
    let (mut results, mut numbers) = (Results::default(), Numbers(0x9e37_79b9_7f4a_7c15));
    let count = how_many();
    for round in 0..count {
        let job = console.start(CODES[numbers.below(CODES.len() as u64) as usize]);
        let pause = Duration::from_micros(numbers.below(1000));
        let begun = Instant::now();
        // The moment is drawn: shorter than any sleep would hit.
        while begun.elapsed() < pause {
            std::hint::spin_loop();
        }
        console.interrupt();
        if numbers.below(4) == 0 {
            console.interrupt();
        }
        results.wait(&mut console, job);
        if round % 200 == 0 {
            // Nothing lingers: the next one, undisturbed, gives its value.
            let job = console.start("answer * 2");
            let before = results.values;
            results.wait(&mut console, job);
            assert_eq!(results.values, before + 1, "a stray interrupt");
            // And the program itself still answers.
            assert_eq!(subject.evaluate("answer").expect("it answers"), "42");
        }
    }
    while let Some(event) = console.next(Duration::from_millis(50)) {
        results.note(event);
    }
    let (values, interrupted) = (results.values, results.interrupted);
    println!("{count} interrupts: {values} values, {interrupted} interrupted");
    assert!(results.by_job.values().all(|ends| *ends == 1), "a job ended twice");
    assert!(interrupted > count / 50 && values > count / 50, "the moments are too much alike");
    let left = console.close();
    assert!(left.kept.is_empty() && left.still_running.is_empty(), "{left:?}");
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

/// What was interrupted is forgotten by the interpreter, too: up to 3.12 all threads would look for it from then on, and on
/// 3.11 a thread that a debugger traces would never enter another function.
fn nothing_is_looked_for_afterwards(python: &Interpreter) {
    const TRACED: &str = "exec import sys, threading; done = threading.Event(); enter = lambda: done.set(); \
         threading.Thread(target=lambda: (sys.settrace(lambda *event: None), enter()), daemon=True).start()";
    const CATCHES: &str =
        "try:\n    while True:\n        caught = 0\nexcept KeyboardInterrupt:\n    caught = 1\n";
    let mut target = Start::new(python, "quiet").start().expect("the target starts");
    let pid = target.pid().to_string();
    let asked: [(&[&str], i32); 4] = [
        (&["1 + 1"], 0),
        (&["for i in range(1000): pass"], 0),
        (&["while True: pass", "--timeout", "100ms"], 1),
        (&[CATCHES, "--timeout", "100ms"], 0),
    ];
    for (words, code) in asked {
        let ran = run(["eval", &pid].iter().chain(words));
        assert_eq!(ran.code, code, "{ran:?}");
        target.send(TRACED).expect("it listens");
        target.receive().expect("it answers");
        let said = target.evaluate("done.wait(30)").expect("it answers");
        assert_eq!(said, "True", "python {}, after {words:?}", python.full_version());
    }
}

each! { on, at_random_moments, py36 = "3.6", py311 = "3.11", py313 = "3.13" }
on_all! { nothing_is_looked_for_afterwards }
