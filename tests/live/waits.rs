//! What the threads of a real process wait for, who has it, and who waits for each other in a ring.
//!
//! It knows what `tests/targets/deadlock.py` tells of itself, and compares.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spyhole_testkit::{Fingerprint, Interpreter, Start, Target, unchanged};

use crate::program::run;

fn look(target: &Target) -> Value {
    let ran = run(["stack", &target.pid().to_string(), "--json"]);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""), "{ran:?}");
    ran.json()[0].clone()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// `[kind, name of the owner, line]` as the target tells it.
fn told(wait: &Value) -> Value {
    let owner = &wait["owner"];
    let name = if owner["ended"] == true { json!("?") } else { owner["name"].clone() };
    json!([wait["kind"], name, owner["taken_at"]["line"]])
}

fn assert_waits(target: &Target, process: &Value) {
    let version = target.interpreter().full_version();
    let threads = list(&process["interpreters"][0]["threads"]);
    for (name, truth) in target.ready()["waits"].as_object().expect("it tells its threads") {
        let thread = threads.iter().find(|thread| thread["name"] == **name).expect("it is there");
        let wait = &thread["waits_for"];
        assert_eq!(told(wait), *truth, "{version}: {name}: {wait:#}");
        if let Some(file) = wait["owner"]["taken_at"]["file"].as_str() {
            assert!(file.ends_with("/deadlock.py"), "{version}: {file}");
        }
    }
    let names = |members: &Value, of: fn(&Value) -> &Value| -> BTreeSet<String> {
        list(members).iter().map(|one| of(one).as_str().expect("a name").to_owned()).collect()
    };
    let found: BTreeSet<_> = list(&process["deadlocks"])
        .iter()
        .map(|deadlock| names(&deadlock["members"], |member| &member["thread"]["name"]))
        .collect();
    let truth: BTreeSet<_> =
        list(&target.ready()["rings"]).iter().map(|ring| names(ring, |name| name)).collect();
    assert_eq!(found, truth, "{version}: {:#}", process["deadlocks"]);
    for deadlock in list(&process["deadlocks"]) {
        assert_eq!(deadlock["kind"], "threads");
        let members = list(&deadlock["members"]);
        for (index, member) in members.iter().enumerate() {
            let next = &members[(index + 1) % members.len()];
            assert_eq!(member["wants"], next["holds"], "{version}: {deadlock:#}");
            // The line of the `with` that took what it holds, as the one before it tells.
            let before = &members[(index + members.len() - 1) % members.len()];
            let name = before["thread"]["name"].as_str().expect("a name");
            assert_eq!(member["line"], target.ready()["waits"][name][2], "{version}: {name}");
            assert!(member["now_at"]["line"].is_u64(), "{version}: {member:#}");
        }
    }
}

fn who_waits_for_whom(python: &Interpreter) {
    let target = Target::start(python, "deadlock").expect("the target starts");
    let before = target.blocked().expect("it is there");
    let process = look(&target);
    assert_eq!((&process["torn"], &process["notes"]), (&false.into(), &json!([])));
    assert_waits(&target, &process);
    let threads = list(&process["interpreters"][0]["threads"]);
    let what = |name: &str| {
        let thread = threads.iter().find(|thread| thread["name"] == name).expect("it is there");
        thread["waits_for"]["what"].as_str().expect("it waits").to_owned()
    };
    let read = what("read");
    assert!(read.starts_with("read of fd ") && read.ends_with(" (pipe)"), "{read}");
    assert!(what("get").starts_with("get of Queue at 0x"), "{}", what("get"));
    assert!(what("put").starts_with("put of Queue at 0x"), "{}", what("put"));
    assert_eq!(what("joins"), "the end of thread joined");
    let after = Fingerprint::of(target.pid()).expect("it is there");
    unchanged(&before, &after).unwrap_or_else(|changes| panic!("{changes:?}"));
    let shown = run(["stack", &target.pid().to_string()]).data;
    assert_eq!(shown.matches("\ndeadlock: ").count(), 5, "{shown}");
    for part in ["\ndeadlock: 3 threads\n", "holder unknown", "held by a thread that has ended"] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
}

fn a_stopped_one_tells_it_too(python: &Interpreter) {
    let target = Target::start(python, "deadlock").expect("the target starts");
    let pid = target.pid();
    let kill = |signal: &str| {
        let sent = Command::new("kill").args([signal, &pid.to_string()]).status();
        assert!(sent.expect("kill runs").success());
    };
    kill("-STOP");
    let all_stopped = || {
        let now = Fingerprint::of(pid).expect("it is there");
        now.threads.values().all(|thread| thread.state == 'T')
    };
    while !all_stopped() {
        std::thread::yield_now();
    }
    assert_waits(&target, &look(&target));
    assert!(all_stopped());
    kill("-CONT");
}

fn the_gil_is_waited_for(python: &Interpreter) {
    let start = Start::new(python, "gil_in_c").args(["call"]);
    let target = start.start().expect("the target starts");
    // Who waits for the GIL wakes every 5 ms to ask for it again, and is not always seen waiting.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let process = look(&target);
        let threads = list(&process["interpreters"][0]["threads"]);
        let waits = threads.iter().find(|thread| thread["name"] == "waits").expect("it is there");
        let main = threads.iter().find(|thread| thread["holds_gil"] == true);
        if main.is_some() && waits["waits_for"]["kind"] == "gil" {
            assert_eq!(told(&waits["waits_for"]), json!(["gil", "MainThread", null]));
            break;
        }
        assert!(Instant::now() < deadline, "{process:#}");
    }
}

/// While the main thread holds the GIL it is told to be in this function of Python's, or, if there is none, in this one
/// of C; never in another one.
fn named_in_c(python: &Interpreter, how: &str, function: Option<&str>, symbol: Option<&str>) {
    let target = Start::new(python, "gil_in_c").args([how]).start().expect("the target starts");
    let said = format!("holds the GIL in {}", function.or(symbol).expect("one is expected"));
    let place = format!("{}: {how}", python.full_version());
    // It said `ready` on its way into the call.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let process = look(&target);
        let mut threads = list(&process["interpreters"][0]["threads"]).iter();
        let holder = threads.find(|thread| thread["holds_gil"] == true);
        let is_there = |own: &&Value| {
            let innermost = own["frames"][0]["function"].as_str();
            own["native_id"] == target.pid()
                && matches!(innermost, Some("held" | "match" | "prefixmatch"))
        };
        if let Some(own) = holder.filter(is_there) {
            let told = &own["in_c"];
            let name = told["function"].as_str();
            assert!(name.is_none() || function.is_none() || name == function, "{place}: {told}");
            if name == function && symbol.is_none_or(|symbol| told["symbol"] == symbol) {
                if symbol.is_some() {
                    let file = told["file"].as_str().unwrap_or_default();
                    assert!(file.contains("/libc.so.6") || file.contains("/libc-2."), "{told}");
                }
                let text = run(["stack", &target.pid().to_string()]).data;
                if text.contains(&said) {
                    return;
                }
            }
        }
        assert!(Instant::now() < deadline, "{place}: {process:#}");
    }
}

fn a_function_in_c_is_named(python: &Interpreter) {
    let class = if python.version >= (3, 7, 0) { "re.Pattern" } else { "_sre.SRE_Pattern" };
    let method = if python.version >= (3, 15, 0) { "prefixmatch" } else { "match" };
    named_in_c(python, "match", Some(&format!("{class}.{method}")), None);
    named_in_c(python, "power", Some("pow"), None);
    named_in_c(python, "chain", Some("max"), None);
    named_in_c(python, "call", None, Some("clock_nanosleep"));
    named_in_c(python, "library", None, Some("lfind"));
}

on_all! { who_waits_for_whom the_gil_is_waited_for a_function_in_c_is_named }
on_full_set! { a_stopped_one_tells_it_too }
