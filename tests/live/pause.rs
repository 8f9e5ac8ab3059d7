//! What a look does to a process, and what the process can do to a look: threads that never rest, system calls that must
//! not notice, a program that dies while threads are stopped.
//!
//! It knows which stacks the targets can have. A stack that none of them can have was torn.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Fingerprint, Interpreter, Start, Target, TargetError, census};

use crate::program::{Running, run, spyhole};

/// Targets that never rest come one after the other: beside each other they would measure who gets a processor.
static BUSY: Mutex<()> = Mutex::new(());

/// Hundreds of looks at one target take their time on a machine that is loaded.
const LIFE: Duration = Duration::from_secs(900);

fn alone() -> MutexGuard<'static, ()> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(target: &Target, words: &[&str]) -> Value {
    let pid = target.pid().to_string();
    let ran = run(["stack", &pid, "--json", "--all"].iter().chain(words));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()[0].clone()
}

fn start(python: &Interpreter, name: &str, words: &[&str]) -> Target {
    let start = Start::new(python, name).args(words.iter().copied()).limit(LIFE);
    start.start().unwrap_or_else(|error| panic!("{error}"))
}

fn threads(process: &Value) -> impl Iterator<Item = &Value> {
    let interpreters = process["interpreters"].as_array().expect("a list");
    interpreters.iter().flat_map(|one| one["threads"].as_array().expect("a list"))
}

fn functions(thread: &Value) -> Vec<&str> {
    let frames = thread["frames"].as_array().expect("a list");
    frames.iter().map(|frame| frame["function"].as_str().unwrap_or("?")).collect()
}

/// A stack of `recursing.py` that it cannot have; `None` if it is a right one, or that of a thread that does not recurse.
fn impossible(thread: &Value) -> Option<String> {
    let all = functions(thread);
    let below = all.iter().position(|name| *name == "work")?;
    let wrong =
        |pair: &[&str]| !matches!(pair, ["two", "one"] | ["three", "two"] | ["one", "three"]);
    let first_is_one = below == 0 || all[below - 1] == "one";
    let ends = all.last().is_some_and(|last| last.ends_with("_bootstrap") || *last == "<module>");
    (!first_is_one || !ends || all[..below].windows(2).any(wrong)).then(|| all.join(" < "))
}

fn two_hundred_looks_are_whole(python: &Interpreter) {
    let _turn = alone();
    let target = start(python, "recursing", &[]);
    let mut deepest = 0;
    for _ in 0..200 {
        let process = look(&target, &[]);
        assert_eq!(process["torn"], false, "{process:#}");
        // On a busy machine the files of the source may take too long, which is no matter of the pause.
        let notes = process["notes"].as_array().expect("a list");
        let mut others = notes.iter().filter_map(Value::as_str);
        assert_eq!(others.find(|note| !note.starts_with("source lines are missing")), None);
        let recursing: Vec<_> =
            threads(&process).filter(|t| functions(t).contains(&"work")).collect();
        assert_eq!(recursing.len(), 4, "{process:#}");
        for thread in recursing {
            assert_eq!(impossible(thread), None);
            deepest = deepest.max(functions(thread).len());
        }
    }
    assert!(deepest > 20, "nothing was recursing: {deepest}");
}

fn what_moved_is_marked_without_a_pause(python: &Interpreter) {
    let _turn = alone();
    let target = start(python, "recursing", &[]);
    let (mut marked, mut looks) = (0, 0);
    // A look is quick, and most of them find all four waiting for the GIL or for a processor.
    let deadline = Instant::now() + Duration::from_secs(60);
    while looks < 40 || (marked == 0 && Instant::now() < deadline) {
        looks += 1;
        let process = look(&target, &["--no-pause"]);
        assert_eq!(process["paused_us"], 0.0);
        for thread in threads(&process) {
            if thread["torn"] == true {
                marked += 1;
                assert_eq!(process["torn"], true);
            } else {
                assert_eq!(impossible(thread), None);
            }
        }
    }
    assert!(marked > 0, "four threads recursed, and none of them moved");
}

fn interpreters_with_a_gil_of_their_own_stand_still_together(python: &Interpreter) {
    let _turn = alone();
    let target = match Start::new(python, "recursing").args(["apart"]).limit(LIFE).start() {
        Ok(target) => target,
        Err(TargetError::Skipped { reason, .. }) => {
            return census::skipped("interpreters_with_a_gil_of_their_own", &reason);
        }
        Err(error) => panic!("{error}"),
    };
    let mut both = 0;
    for words in std::iter::repeat_n(&[][..], 60).chain(std::iter::repeat_n(&["--freeze"][..], 20))
    {
        let process = look(&target, words);
        assert_eq!(process["torn"], false, "{process:#}");
        let recursing: Vec<_> =
            threads(&process).filter(|t| functions(t).contains(&"work")).collect();
        assert_eq!(recursing.len(), 2, "{process:#}");
        for thread in &recursing {
            assert_eq!(impossible(thread), None);
        }
        both += usize::from(recursing.iter().all(|thread| thread["holds_gil"] == true));
    }
    assert!(both > 40, "both hold a GIL, and only {both} times it was seen");
}

fn a_system_call_notices_nothing(python: &Interpreter) {
    let _turn = alone();
    let mut target = start(python, "epoll_raw", &[]);
    let told = |target: &mut Target, line: &str| target.ask(line).expect("it answers");
    let mut paused = 0;
    for index in 0..500 {
        // Every fifth one stops the thread that waits, too.
        let words = if index % 5 == 0 { &["--freeze"][..] } else { &[] };
        let process = look(&target, words);
        paused += usize::from(process["paused_us"].as_f64().is_some_and(|time| time > 0.0));
    }
    assert!(paused > 250, "only {paused} looks stopped a thread");
    assert_eq!(told(&mut target, "tell"), "0 0");
    // It still waits for what it waited for.
    told(&mut target, "wake");
    while told(&mut target, "tell") != "0 1" {
        std::thread::yield_now();
    }
}

fn a_look_that_is_killed_leaves_all_threads_running(python: &Interpreter) {
    let _turn = alone();
    let mut target = start(python, "deep", &["50", "30"]);
    let pid = target.pid().to_string();
    let took = run(["stack", &pid, "--freeze", "--json"]).took;
    let mut state = 88172645463325252_u64;
    for index in 0..200 {
        let mut command = spyhole();
        command.args(["stack", &pid, if index % 2 == 0 { "--freeze" } else { "--all" }, "--json"]);
        let mut running = Running::start(&mut command);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // A moment between its start and its usual end.
        let moment = took.mul_f64((state % 1000) as f64 / 1000.0);
        let begun = Instant::now();
        while begun.elapsed() < moment {
            std::hint::spin_loop();
        }
        // What a Ctrl-C does by default, SIGTERM does, and that one is not ignored by what a shell starts in the background.
        running.signal(if index % 4 < 2 { Signal::KILL } else { Signal::TERM });
        running.wait_quietly();
        assert_untraced(&target);
    }
    // The main thread goes on with its work and takes signals; the others can be looked at.
    target.signal(Signal::USR1).expect("it is there");
    assert!(target.receive().expect("it answers").parse::<u64>().is_ok());
    assert_eq!(threads(&look(&target, &[])).count(), 50);
    assert!(target.is_alive());
}

/// Waits until no thread is stopped or traced; the kernel lets go what a dead tracer held before that one is reaped, and
/// each thread that was is then on its way.
#[track_caller]
fn assert_untraced(target: &Target) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let now = Fingerprint::of(target.pid()).expect("it is there");
        let stopped: Vec<i32> = now
            .threads
            .iter()
            .filter(|(_, thread)| matches!(thread.state, 'T' | 't'))
            .map(|(tid, _)| *tid)
            .collect();
        if stopped.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "threads {stopped:?} are stopped");
        std::thread::yield_now();
    }
}

fn frozen_threads_run_again(python: &Interpreter) {
    let _turn = alone();
    let mut target = start(python, "deep", &["20", "30"]);
    let pid = target.pid().to_string();
    let ran = run(["stack", &pid, "--freeze", "--json"]);
    ran.left(target.pid());
    let process = &ran.json()[0];
    assert_eq!(process["torn"], false, "{process:#}");
    assert!(process["paused_us"].as_f64().is_some_and(|time| time > 0.0), "{process:#}");
    assert!(threads(process).all(|thread| functions(thread).len() == 30), "{process:#}");
    assert_untraced(&target);
    target.signal(Signal::USR1).expect("it is there");
    assert!(target.receive().expect("it answers").parse::<u64>().is_ok());
    run(["stack", &pid, "--freeze", "--no-pause"]).failed(2, "cannot be used with");
    run(["stack", "deep.py 20 30", "--yes"]).failed(2, "--freeze");
}

/// How `gil_in_c.py` looks once its main thread holds the GIL in the `call` or the `match`: it said `ready` on its way
/// there.
#[track_caller]
pub(crate) fn in_c(target: &Target, how: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let process = look(target, &[]);
        let main = with_function(&process, "<module>");
        let is_there = match how {
            "call" => main["syscall"] == "clock_nanosleep",
            // From 3.15 on `re.match` is `prefixmatch`.
            _ => ["match", "prefixmatch"].iter().any(|name| main["frames"][0]["function"] == *name),
        };
        if is_there && main["holds_gil"] == true && main["in_c"].is_object() {
            return process;
        }
        assert!(Instant::now() < deadline, "{process:#}");
    }
}

#[track_caller]
fn with_function<'a>(process: &'a Value, function: &str) -> &'a Value {
    threads(process).find(|thread| functions(thread).contains(&function)).expect("it is there")
}

fn who_holds_the_gil_in_c(python: &Interpreter) {
    let _turn = alone();
    for how in ["call", "match"] {
        let target = start(python, "gil_in_c", &[how]);
        let process = in_c(&target, how);
        let (main, waits) = (with_function(&process, "<module>"), with_function(&process, "waits"));
        assert!(functions(main).contains(&"held"), "{main:#}");
        assert_eq!(waits["holds_gil"], false);
        assert_eq!(main["native_id"], target.pid());
        assert_eq!(main["state"], if how == "call" { "waiting" } else { "running" }, "{main:#}");
    }
}

fn five_hundred_threads(python: &Interpreter) {
    let _turn = alone();
    let target = start(python, "deep", &["500", "30"]);
    let process = look(&target, &[]);
    assert_eq!((&process["torn"], &process["notes"]), (&false.into(), &serde_json::json!([])));
    let mut names = std::collections::HashSet::new();
    for thread in threads(&process) {
        let all = functions(thread);
        assert_eq!((all.len(), all[1]), (30, "descend"), "{thread:#}");
        names.insert(thread["name"].as_str().expect("a name"));
        assert!(thread["native_id"].is_i64(), "{thread:#}");
    }
    assert_eq!(names.len(), 500);
}

fn generators_c_code_and_depth(python: &Interpreter) {
    let target = Target::start(python, "mixed").expect("the target starts");
    target.blocked().expect("it is there");
    let process = look(&target, &[]);
    let named = |name: &str| threads(&process).find(|t| t["name"] == name).expect("it is there");
    let mixed = functions(named("mixed"));
    let sort = if python.version >= (3, 11, 0) { "Sorter.sort" } else { "sort" };
    assert_eq!(mixed[..4], ["generator", "key", sort, "mixed"], "{mixed:?}");
    let deep = functions(named("deep"));
    assert_eq!(deep.iter().filter(|name| **name == "deep").count(), 900);
    assert_eq!(named("deep")["truncated"], false);
}

each! { on, two_hundred_looks_are_whole, py38 = "3.8", py311 = "3.11", py313 = "3.13" }
each! { on, what_moved_is_marked_without_a_pause, py38 = "3.8", py311 = "3.11", py313 = "3.13" }
each! { on, interpreters_with_a_gil_of_their_own_stand_still_together,
py312 = "3.12", py313 = "3.13", py314 = "3.14" }
each! { on, a_system_call_notices_nothing, py36 = "3.6" }
each! { on, a_look_that_is_killed_leaves_all_threads_running, py36 = "3.6", py311 = "3.11" }
on_all! { generators_c_code_and_depth who_holds_the_gil_in_c }
on_full_set! { frozen_threads_run_again five_hundred_threads }
