//! `spyhole get` on real processes whose objects are known.

use serde_json::{Value, json};
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, Target, unchanged};

use crate::program::{Ran, Running, run, spyhole};

fn start(python: &Interpreter, words: &[&str]) -> Target {
    // Before 3.7 text goes out as ASCII where no locale is set.
    let start = Start::new(python, "objects").args(words).env("PYTHONIOENCODING", "utf-8");
    start.start().unwrap_or_else(|error| panic!("{error}"))
}

fn get(pid: i32, path: &str, words: &[&str]) -> Ran {
    let pid = pid.to_string();
    run([&["get", &pid, path], words].concat())
}

#[track_caller]
fn tree(pid: i32, path: &str, words: &[&str]) -> Value {
    let ran = get(pid, path, &[&["--json"], words].concat());
    assert_eq!(ran.code, 0, "{path}: {ran:?}");
    let answer = ran.json()["answers"][0].clone();
    assert_eq!((&answer["ok"], &answer["torn"]), (&json!(true), &json!(false)), "{answer:#}");
    answer["tree"].clone()
}

/// Every path leads where Python itself says, and the process is stopped by a signal for all of it.
fn paths_lead_where_python_says(python: &Interpreter) {
    let target = start(python, &[]);
    let before = target.blocked().expect("it is there");
    target.signal(Signal::STOP).expect("it stops");
    let mut wrong = Vec::new();
    let told = target.ready();
    for (path, text) in told["found"].as_object().expect("paths") {
        let ran = get(target.pid(), path, &["--json"]);
        let repr = if ran.code == 0 {
            ran.json()["answers"][0]["tree"]["repr"].clone()
        } else {
            Value::Null
        };
        if repr != *text {
            wrong.push(format!("{path}: {repr} and not {text}: {}", ran.talk));
        }
    }
    for (path, text) in told["nowhere"].as_object().expect("paths") {
        let ran = get(target.pid(), path, &[]);
        if ran.code != 1 || !ran.talk.contains(text.as_str().expect("a text")) {
            wrong.push(format!("{path}: {ran:?} and not {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}: {}", python.full_version(), wrong.join("\n"));
    let instances = tree(target.pid(), "type:Order", &[]);
    assert_eq!(instances["length"], told["instances"], "{instances:#}");
    target.signal(Signal::CONT).expect("it goes on");
    let after = target.blocked().expect("it is there");
    unchanged(&before, &after).unwrap_or_else(|changes| panic!("{changes:?}"));
}

fn trees_have_bounds(python: &Interpreter) {
    let target = start(python, &[]);
    let pid = target.pid();
    let order = tree(pid, "orders[0]", &["--depth", "1"]);
    assert_eq!(order["type"], "__main__.Order");
    assert_eq!(order["attrs"]["total"]["repr"], "0");
    assert_eq!(order["attrs"]["slot"]["length"], 2);
    assert_eq!(order["attrs"]["slot"]["truncated"], true, "{order:#}");
    assert_eq!(order["attrs"]["password"]["repr"], "<redacted>");
    assert_eq!(order["not_run"], json!(["tax"]));
    assert!(order["attrs"]["slot"].get("items").is_none(), "{order:#}");
    let deep = tree(pid, "orders[0]", &["--depth", "3", "--reveal"]);
    assert_eq!(deep["attrs"]["lines"]["items"][1]["value"]["items"][0]["key"], "'price'");
    assert_eq!(deep["attrs"]["password"]["repr"], "'hunter2'");
    let thousand = tree(pid, "thousand", &["--max", "7"]);
    assert_eq!(thousand["length"], 1000);
    assert_eq!(thousand["items"].as_array().map(Vec::len), Some(7));
    assert_eq!(thousand["truncated"], true);
    let whole = tree(pid, "thousand", &["--max", "1000"]);
    assert_eq!(
        whole["items"][999],
        json!({"key": "'key 999'", "value": whole["items"][999]["value"]})
    );
    assert_eq!(whole["truncated"], false);
    // What is in itself ends.
    let endless = tree(pid, "loop", &["--depth", "20"]);
    assert_eq!(endless["items"][1]["value"]["repr"], "[1, [...]]");
    assert!(endless["items"][1]["value"].get("items").is_none(), "{endless:#}");
    let nothing = tree(pid, "table", &["--depth", "0"]);
    assert!(nothing.get("items").is_none(), "{nothing:#}");
    let text = get(pid, "thousand", &["--max", "2"]);
    text.gave("dict, 1000 items\n  'key 0': 0\n  'key 1': 1\n  … 998 more (--max)\n");
    get(pid, "lazier", &["--depth", "0"]);
    let lazy = tree(pid, "lazier", &[]);
    assert_eq!(lazy["through"], "django.utils.functional.LazyObject");
    assert_eq!(lazy["attrs"]["total"]["repr"], "1");
}

fn locals_of_threads(python: &Interpreter) {
    let target = start(python, &[]);
    let pid = target.pid();
    target.blocked().expect("it is there");
    let local = |path: &str| tree(pid, &format!("thread:{pid}{path}"), &[])["repr"].clone();
    assert_eq!(local(":depth"), "2");
    assert_eq!(local(":argument.total"), "0");
    assert_eq!(local(":captured['deep'][0].lines[0]"), "'pen'");
    assert_eq!(local(":token"), "<redacted>");
    let stacks = run(["stack", &pid.to_string(), "--json"]).json();
    let frames = stacks[0]["interpreters"][0]["threads"][0]["frames"].as_array().cloned();
    let frames = frames.expect("frames");
    let named = |name: &str| {
        let is = |frame: &Value| frame["function"].as_str().is_some_and(|one| one.ends_with(name));
        frames.iter().position(is).expect("it is there")
    };
    assert_eq!(local(&format!("/{}:depth", named("inner"))), "2");
    let wrong = get(pid, &format!("thread:{pid}/{}:depth", named("wait")), &[]);
    wrong.failed(1, "no local variable is called `depth`");
    get(pid, &format!("thread:{pid}/99:depth"), &[]).failed(1, "frames, 0 the innermost");
    get(pid, "thread:1:depth", &[]).failed(1, &format!("there is {pid}"));
    get(pid, "thread:x:depth", &[]).failed(2, "names no thread");
}

/// A name that no other test, and no other run of the tests, uses.
fn unique(what: &str, python: &Interpreter) -> String {
    format!("objects-{what}-{}-{}", python.minor(), std::process::id())
}

fn worker(python: &Interpreter, words: &[&str]) -> Target {
    Start::new(python, "worker").args(words).start().unwrap_or_else(|error| panic!("{error}"))
}

fn the_odd_one_comes_first(python: &Interpreter) {
    let name = unique("odd", python);
    let mut workers: Vec<Target> = (0..5).map(|_| worker(python, &[&name])).collect();
    let odd = worker(python, &[&name, "odd"]);
    // An order that no dict has, addresses, and hashes of texts differ from process to process, and are no difference.
    for (index, worker) in workers.iter_mut().enumerate() {
        let command = format!(
            "exec many = {{str(n + {index} * 7 % 50) : Site for n in sorted(range(50), key=lambda n: hash(str(n)))}}; \
             some = {{'a', 'b', 'c', 'd'}}; thing = Site({{'x': object()}})"
        );
        worker.ask(&command).expect("it answers");
    }
    let ran = run(["get", &name, "settings", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["groups"].as_array().map(Vec::len), Some(2), "{report:#}");
    assert_eq!(report["groups"][0]["differs"], json!([]));
    let here = &report["groups"][1];
    assert_eq!(here["members"], json!([format!("{}/0", odd.pid())]));
    let path = "['cache_seconds']";
    let differs = json!([{"path": path, "what": "value", "majority": "300", "here": "0"}]);
    assert_eq!(here["differs"], differs);
    let ran = run(["get", &name, "site"]);
    let first = format!(
        "{}/0 differs (1 of 6):\n  - missing item .choices['country'][1]: 'Belgium'\n",
        odd.pid()
    );
    // The item behind the one that is missing has moved up.
    assert!(ran.data.starts_with(&first), "{}", ran.data);
    assert!(ran.data.contains(" agree (5 of 6):\n  __main__.Site object\n"), "{}", ran.data);
    let report = run(["get", &name, "some", "--json"]).json();
    assert_eq!(report["groups"][0]["members"].as_array().map(Vec::len), Some(5), "{report:#}");
    assert_eq!(report["not_loaded"], json!([format!("{}/0", odd.pid())]));
    let report = run(["get", &name, "thing", "--json"]).json();
    assert_eq!(report["groups"][0]["members"].as_array().map(Vec::len), Some(5), "{report:#}");
    // One of a list is gone: the others answer.
    let (mut gone, list) = {
        let gone = workers.remove(0);
        let list = format!("{},{}", gone.pid(), odd.pid());
        (gone, list)
    };
    gone.send("exit").expect("it listens");
    gone.wait_exit(crate::program::LIMIT).expect("it ends");
    let ran = run(["get", &list, "answer"]);
    assert_eq!((ran.code, ran.data.contains("42")), (3, true), "{ran:?}");
    assert!(ran.talk.contains(&gone.pid().to_string()), "{ran:?}");
    run(["get", &gone.pid().to_string(), "answer"]).failed(5, "no process");
}

fn watching_tells_changes(python: &Interpreter) {
    let mut target = start(python, &[]);
    let pid = target.pid();
    let mut command = spyhole();
    command.args(["get", &pid.to_string(), "numbers", "--watch", "50ms", "--json"]);
    let mut running = Running::start(&mut command);
    let next = |running: &mut Running| -> Value {
        let line = running.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let first = next(&mut running);
    assert_eq!((&first["event"], &first["pid"]), (&json!("value"), &json!(pid)));
    assert_eq!(first["tree"]["repr"], "[0]");
    assert!(first["time"].as_str().is_some_and(|time| time.contains('T')), "{first}");
    target.ask("exec numbers.append(1)").expect("it answers");
    let second = next(&mut running);
    assert_eq!((&second["event"], &second["tree"]["repr"]), (&json!("changed"), &json!("[0, 1]")));
    assert_eq!(second["differs"][0]["what"], "extra-item", "{second:#}");
    target.ask("exec del numbers").expect("it answers");
    assert_eq!(next(&mut running)["event"], "error");
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, 0);
}

/// What never rests is read whole, or marked.
fn values_that_never_rest(python: &Interpreter) {
    let target = Target::start(python, "churning").expect("the target starts");
    let threads = run(["stack", &target.pid().to_string(), "--json"]).json();
    let threads = threads[0]["interpreters"][0]["threads"].as_array().cloned().expect("a list");
    let thread = threads.iter().find(|thread| thread["name"] == "churn").expect("it is there");
    let path = format!("thread:{}:pair", thread["native_id"]);
    let mut whole = 0;
    for _ in 0..20 {
        let ran = get(target.pid(), &path, &["--json"]);
        let answer = ran.json()["answers"][0].clone();
        let Some(items) = answer["tree"]["items"].as_array().filter(|items| items.len() == 2)
        else {
            continue;
        };
        if answer["torn"] == false {
            assert_eq!(items[0]["value"]["repr"], items[1]["value"]["repr"], "{answer:#}");
            whole += 1;
        }
    }
    assert!(whole > 0, "none was whole");
}

fn interpreters_are_asked(python: &Interpreter) {
    let Ok(target) = Start::new(python, "places").args(["3"]).start() else { return };
    let pid = target.pid();
    let ids: Vec<i64> = target.ready()["places"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_i64)
        .collect();
    let ran = run(["get", &pid.to_string(), "shop.sign[0]", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["not_loaded"], json!([format!("{pid}/0")]));
    assert_eq!(report["groups"][1]["members"], json!([format!("{pid}/{}", ids[2])]));
    run(["get", &format!("{pid}/{}", ids[1]), "shop.place"]).gave("1\n");
    run(["get", &format!("{pid}/0"), "shop.place"]).failed(1, "is called `shop`");
    run(["get", &format!("{pid}/77"), "shop.place"]).failed(2, "has no interpreter `77`");
}

on_all! { paths_lead_where_python_says }
on_full_set! { trees_have_bounds interpreters_are_asked }
on_three! { locals_of_threads the_odd_one_comes_first watching_tells_changes values_that_never_rest }
