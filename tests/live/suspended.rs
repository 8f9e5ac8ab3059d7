//! The tasks of asyncio and the greenlets of real processes: which there are, where they are, what they wait for.
//!
//! It knows what `tests/targets/tasks.py`, `greenlets.py` and `hubs.py` tell of themselves, and compares.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Fingerprint, Interpreter, Start, Target, TargetError, census, unchanged};

use crate::program::run;

fn look(target: &Target, words: &[&str]) -> Value {
    let pid = target.pid().to_string();
    let mut all = vec!["stack", &pid, "--json"];
    all.extend(words);
    let ran = run(all);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""), "{ran:?}");
    ran.json()[0].clone()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Looks at a process that is stopped by a signal: nothing can have answered but its memory.
fn look_while_stopped(target: &Target) -> Value {
    let all_stopped = || {
        let now = Fingerprint::of(target.pid()).expect("it is there");
        now.threads.values().all(|thread| thread.state == 'T')
    };
    target.signal(Signal::STOP).expect("it is there");
    while !all_stopped() {
        std::thread::yield_now();
    }
    let process = look(target, &[]);
    assert!(all_stopped());
    target.signal(Signal::CONT).expect("it is there");
    process
}

/// The names of functions, without qualification where the version has none.
fn bare(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_owned()
}

fn assert_tasks(target: &Target, process: &Value) {
    let version = target.interpreter().full_version();
    let tasks = list(&process["interpreters"][0]["tasks"]);
    assert_eq!(json!(tasks.len()), target.ready()["count"], "{version}: {tasks:#?}");
    let by_name: BTreeMap<String, &Value> =
        tasks.iter().map(|task| (bare(text(&task["coroutine"])), task)).collect();
    let names: BTreeMap<&str, String> =
        tasks.iter().map(|task| (text(&task["id"]), bare(text(&task["coroutine"])))).collect();
    let of_ids = |list_of: &Value| -> Vec<String> {
        let mut found: Vec<String> =
            list(list_of).iter().map(|one| names[text(&one["id"])].clone()).collect();
        found.sort();
        found
    };
    for (name, truth) in target.ready()["tasks"].as_object().expect("it tells its tasks") {
        let task = by_name.get(name).unwrap_or_else(|| panic!("{version}: no `{name}`"));
        let awaits = &task["awaits"];
        if truth["kind"].is_null() {
            continue;
        }
        assert_eq!(task["state"], "waiting", "{version}: {task:#}");
        assert_eq!(awaits["kind"], truth["kind"], "{version}: {name}: {task:#}");
        assert_eq!(json!(of_ids(&task["awaited_by"])), truth["by"], "{version}: {name}: {task:#}");
        assert_eq!(json!(of_ids(&awaits["tasks"])), truth["on"], "{version}: {name}: {task:#}");
        let owner = &awaits["owner"];
        let owner_name = owner["task"]["id"].as_str().map(|id| names[id].clone());
        assert_eq!(json!(owner_name), truth["owner"], "{version}: {name}: {task:#}");
        assert_eq!(owner["taken_at"]["line"], truth["line"], "{version}: {name}: {task:#}");
        let frames = list(&task["frames"]);
        let functions: Vec<String> =
            frames.iter().map(|frame| bare(text(&frame["function"]))).collect();
        if !truth["frames"].is_null() {
            assert_eq!(json!(functions), truth["frames"], "{version}: {name}");
        }
        assert_eq!(functions.last(), Some(name), "{version}");
        assert!(frames.iter().all(|frame| frame["line"].is_u64()), "{version}: {task:#}");
    }
    if let Some(told) = target.ready()["names"].as_array() {
        let found: Vec<&Value> = tasks.iter().map(|task| &task["name"]).collect();
        assert!(told.iter().all(|name| found.contains(&name)), "{version}: {told:?} {found:?}");
    }
    let found: BTreeSet<BTreeSet<String>> = list(&process["deadlocks"])
        .iter()
        .map(|deadlock| {
            assert_eq!(deadlock["kind"], "tasks", "{version}");
            let members = list(&deadlock["members"]).iter();
            members.map(|one| names[text(&one["task"]["id"])].clone()).collect()
        })
        .collect();
    let truth: BTreeSet<BTreeSet<String>> = list(&target.ready()["rings"])
        .iter()
        .map(|ring| list(ring).iter().map(|name| text(name).to_owned()).collect())
        .collect();
    assert_eq!(found, truth, "{version}: {:#}", process["deadlocks"]);
}

fn tasks_are_told(python: &Interpreter) {
    let target = Target::start(python, "tasks").expect("the target starts");
    let before = Fingerprint::of(target.pid()).expect("it is there");
    let process = look(&target, &[]);
    assert_eq!((&process["torn"], &process["notes"]), (&false.into(), &json!([])));
    assert_tasks(&target, &process);
    let with_locals = look(&target, &["--locals"]);
    let chain = list(&with_locals["interpreters"][0]["tasks"])
        .iter()
        .find(|task| task["coroutine"] == "chain")
        .expect("it is there");
    let outermost = list(&chain["frames"]).last().expect("it has frames");
    let locals: Vec<(&str, &str)> = list(&outermost["locals"])
        .iter()
        .map(|local| (text(&local["name"]), text(&local["repr"])))
        .collect();
    assert_eq!(locals, [("number", "1"), ("password", "<redacted>")]);
    let stopped = look_while_stopped(&target);
    assert_tasks(&target, &stopped);
    assert_eq!(stopped["interpreters"][0]["tasks"], process["interpreters"][0]["tasks"]);
    let after = Fingerprint::of(target.pid()).expect("it is there");
    unchanged(&before, &after).unwrap_or_else(|changes| panic!("{changes:?}"));
    let shown = run(["stack", &target.pid().to_string()]).data;
    for part in [" tasks of asyncio: ", "\ndeadlock: 2 tasks\n", "waits for a sleep of 1000 s"] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
}

/// Starts a target, unless it says that it lacks what it needs.
fn started(test: &str, start: Start) -> Option<Target> {
    match start.start() {
        Ok(target) => Some(target),
        Err(TargetError::Skipped { reason, .. }) => {
            census::skipped(test, &reason);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn assert_greenlets(target: &Target, process: &Value) {
    let ready = target.ready();
    let version = format!("{}, greenlet {}", target.interpreter().full_version(), ready["version"]);
    assert_eq!(process["notes"], json!([]), "{version}");
    let greenlets = list(&process["interpreters"][0]["greenlets"]);
    let ids: BTreeSet<&str> = greenlets.iter().map(|one| text(&one["id"])).collect();
    assert_eq!(ids, list(&ready["ids"]).iter().map(text).collect(), "{version}: {greenlets:#?}");
    assert_eq!(json!(greenlets.len()), ready["count"], "{version}");
    let mut suspended = 0;
    for one in greenlets {
        assert_eq!(one["parent"], ready["parents"][text(&one["id"])], "{version}: {one:#}");
        let dead = list(&ready["dead"]).contains(&one["id"]);
        assert_eq!(one["state"] == "dead", dead, "{version}: {one:#}");
        let functions: Vec<String> =
            list(&one["frames"]).iter().map(|frame| bare(text(&frame["function"]))).collect();
        match text(&one["state"]) {
            "suspended" => {
                suspended += 1;
                let outer = functions.last().expect("it has frames");
                assert!(["in_python", "through_c"].contains(&outer.as_str()), "{version}: {one:#}");
                assert_eq!(functions, ["leaf", outer], "{version}: {one:#}");
                assert_eq!(one["name"], **outer, "{version}");
                assert!(one["thread"].is_i64() && one["role"] == "greenlet", "{version}: {one:#}");
            }
            "running" => assert_eq!(one["role"], "main", "{version}: {one:#}"),
            state => assert!(["new", "dead"].contains(&state) && functions.is_empty(), "{one:#}"),
        }
    }
    assert_eq!(json!(suspended), ready["suspended"], "{version}");
    let threads: BTreeSet<i64> =
        greenlets.iter().filter_map(|one| one["thread"].as_i64()).collect();
    assert_eq!(threads.len(), 3, "{version}: {threads:?}");
}

fn of_greenlets(start: Start) {
    let Some(target) = started("suspended::greenlets_are_told", start) else { return };
    let before = target.blocked().expect("it is there");
    let process = look(&target, &[]);
    assert_greenlets(&target, &process);
    let with_locals = look(&target, &["--locals"]);
    let frames = list(&with_locals["interpreters"][0]["greenlets"])
        .iter()
        .flat_map(|one| list(&one["frames"]))
        .filter(|frame| frame["function"] == "leaf");
    let mut leaves = 0;
    for frame in frames {
        leaves += 1;
        let password = list(&frame["locals"]).iter().find(|local| local["name"] == "password");
        assert_eq!(password.expect("it has one")["repr"], "<redacted>");
    }
    assert_eq!(json!(leaves), target.ready()["suspended"]);
    let stopped = look_while_stopped(&target);
    assert_eq!(stopped["interpreters"][0]["greenlets"], process["interpreters"][0]["greenlets"]);
    let after = Fingerprint::of(target.pid()).expect("it is there");
    unchanged(&before, &after).unwrap_or_else(|changes| panic!("{changes:?}"));
}

/// Every version of greenlet that is here for this Python.
fn greenlets_are_told(python: &Interpreter) {
    for path in python.greenlets() {
        let path = path.to_str().expect("a plain path");
        of_greenlets(Start::new(python, "greenlets").env("PYTHONPATH", path));
    }
    match python.with_packages() {
        Some(python) => of_greenlets(Start::new(&python, "greenlets")),
        None if python.greenlets().is_empty() => {
            census::skipped("suspended::greenlets_are_told", "no greenlet for this version");
        }
        None => {}
    }
}

fn of_hub(python: &Interpreter, which: &str) {
    let start = Start::new(python, "hubs").args([which]);
    let Some(target) = started("suspended::hubs_are_told", start) else { return };
    let process = look(&target, &[]);
    let version = format!("{}, {which}", python.full_version());
    let greenlets = list(&process["interpreters"][0]["greenlets"]);
    let named = |name: &str| {
        let mut found = greenlets.iter().filter(|one| one["name"] == name);
        found.next().unwrap_or_else(|| panic!("{version}: no `{name}` in {greenlets:#?}"))
    };
    for (name, truth) in target.ready()["waits"].as_object().expect("it tells its greenlets") {
        let one = named(name);
        let wait = &one["waits_for"];
        let owner = &wait["owner"];
        let told = json!([wait["kind"], owner["greenlet"]["name"], owner["taken_at"]["line"]]);
        assert_eq!(told, *truth, "{version}: {name}: {one:#}");
        let parent = greenlets.iter().find(|other| other["id"] == one["parent"]);
        assert_eq!(parent.expect("it has one")["role"], "hub", "{version}: {name}");
    }
    let reads = text(&named("reads")["waits_for"]["what"]);
    assert!(reads.contains("of fd ") && reads.contains("socket"), "{version}: {reads}");
    assert_eq!(named("sleeps")["ident"], target.ready()["ident"], "{version}");
    let deadlocks = list(&process["deadlocks"]);
    assert_eq!(deadlocks.len(), 1, "{version}: {deadlocks:#?}");
    assert_eq!(deadlocks[0]["kind"], "greenlets", "{version}");
    let members: BTreeSet<&str> =
        list(&deadlocks[0]["members"]).iter().map(|one| text(&one["greenlet"]["name"])).collect();
    assert_eq!(members, BTreeSet::from(["first", "second"]), "{version}");
    let stopped = look_while_stopped(&target);
    // The main greenlet may have gone on after it said that it is ready.
    let told = |process: &Value, key: &str| {
        let all = list(&process["interpreters"][0]["greenlets"]).iter();
        all.filter(|one| {
            one["name"].as_str().is_some_and(|n| !target.ready()["waits"][n].is_null())
        })
        .map(|one| (one["id"].to_string(), one[key].clone()))
        .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(told(&stopped, "waits_for"), told(&process, "waits_for"), "{version}");
}

fn hubs_are_told(python: &Interpreter) {
    let Some(python) = python.with_packages() else {
        census::skipped("suspended::hubs_are_told", "no environment for this version");
        return;
    };
    of_hub(&python, "gevent");
    of_hub(&python, "eventlet");
}

on_all! { tasks_are_told greenlets_are_told hubs_are_told }
