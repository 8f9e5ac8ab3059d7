//! `eval` on sample workers.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::program::{Ran, Worker, ends_within, run, run_with_input, shop, spyhole, unique};

fn worker(name: &str) -> (Worker, String) {
    let worker = Worker::start(&unique(name), 1);
    let pid = worker.pid().to_string();
    (worker, pid)
}

#[track_caller]
fn left_as_it_was(talk: &str, pid: &str) {
    let last = talk.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("left {pid} as it was (held ")), "{talk}");
}

#[test]
fn one_process_just_answers() {
    let (mut worker, pid) = worker("shop-one");
    let ran = run(&["eval", &pid, "1 + 1"]);
    assert_eq!((ran.code, ran.data.as_str()), (0, "2\n"), "{}", ran.talk);
    left_as_it_was(&ran.talk, &pid);
    let ran =
        run(&["eval", &pid, "import sys; print('out'); print('err', file=sys.stderr); [1, 2]"]);
    assert_eq!((ran.code, ran.data.as_str()), (0, "out\n[1, 2]\n"));
    assert!(ran.talk.starts_with("err\n"), "{}", ran.talk);
    let ran = run(&["eval", &pid, "None"]);
    assert_eq!((ran.code, ran.data.as_str()), (0, ""));
    let ran = run_with_input(&["eval", &pid, "-f", "-"], "x = 20\nx * 2 + 2\n");
    assert_eq!((ran.code, ran.data.as_str()), (0, "42\n"));
    assert!(worker.is_alive());
}

#[test]
fn exceptions_read_as_in_python() {
    let (_worker, pid) = worker("shop-raise");
    let ran = run(&["eval", &pid, "{}['x']"]);
    assert_eq!((ran.code, ran.data.as_str()), (1, ""));
    assert!(ran.talk.starts_with("Traceback (most recent call last):\n"), "{}", ran.talk);
    assert!(ran.talk.contains("\nKeyError: 'x'\n"), "{}", ran.talk);
    left_as_it_was(&ran.talk, &pid);
    let ran = run(&["eval", &pid, "1 +"]);
    assert_eq!(ran.code, 1);
    assert!(ran.talk.contains("SyntaxError: "), "{}", ran.talk);
    let ran = run(&["eval", &pid, "import sys; sys.exit(3)"]);
    assert_eq!(ran.code, 1, "{ran:?}");
}

#[test]
fn hostile_text_is_escaped() {
    let (_worker, pid) = worker("shop-evil");
    let code = "print('\\x1b[2J\\u202e\\x9b')";
    let ran = run(&["eval", &pid, code]);
    assert_eq!(ran.data, "\\x1b[2J\\u202e\\x9b\n");
    let ran = run(&["eval", &pid, code, "--raw"]);
    assert_eq!(ran.data, "\u{1b}[2J\u{202e}\u{9b}\n");
}

#[test]
fn keys_of_the_contract() {
    let (_worker, pid) = worker("shop-keys");
    let ran = run(&["eval", &pid, "print('x'); {'a': [1, None]}", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.data).expect("it is JSON");
    let answer = &report["answers"][0];
    assert_eq!(report["code"], "print('x'); {'a': [1, None]}");
    assert_eq!(answer["pid"].to_string(), pid);
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["type"], "dict");
    assert_eq!(answer["repr"], "{'a': [1, None]}");
    assert_eq!(answer["value"], serde_json::json!({"a": [1, null]}));
    assert_eq!(answer["stdout"], "x\n");
    assert_eq!(answer["stderr"], "");
    assert_eq!(answer["error"], serde_json::Value::Null);
    assert_eq!(answer["group"], 0);
    assert!(answer["duration_ms"].as_f64().expect("a number") > 0.0);
    assert_eq!(report["groups"][0]["members"][0], format!("{pid}/0"));
    assert_eq!(report["not_loaded"], serde_json::json!([]));
    let ran = run(&["eval", &pid, "1/0", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.data).expect("it is JSON");
    let error = &report["answers"][0]["error"];
    assert_eq!(
        (ran.code, &error["kind"], &error["type"]),
        (1, &"raised".into(), &"ZeroDivisionError".into())
    );
    assert!(
        error["traceback"].as_str().expect("text").contains("ZeroDivisionError: division by zero")
    );
}

#[test]
fn the_odd_one_out_comes_first() {
    let name = unique("shop-many");
    let workers = shop(&name);
    let ran = run(&["eval", &name, "shop.admin.site.registry['shop.Product']", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.data.lines().collect();
    assert!(lines[0].ends_with("/0 differs (1 of 4):"), "{}", ran.data);
    assert_eq!(lines[1..3], ["  - 'ProductAdmin'", "  + 'ModelAdmin'"]);
    assert!(lines[3].ends_with(" agree (3 of 4):"), "{}", ran.data);
    for worker in &workers {
        assert!(ran.data.contains(&format!("{}/0", worker.pid())));
        assert!(ran.talk.contains(&format!("left {} as it was (held ", worker.pid())));
    }
}

#[test]
fn some_failures_are_partial() {
    let name = unique("shop-some");
    let _workers = shop(&name);
    let ran = run(&["eval", &name, "shop.admin.site.registry['shop.Coupon']", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.data.contains("/0 failed (1 of 4):\n") && ran.data.contains("KeyError: 'shop.Coupon'"),
        "{}",
        ran.data
    );
    let ran = run(&["eval", &name, "1/0", "--yes"]);
    assert_eq!(ran.code, 1);
    assert!(ran.data.contains("failed alike (4 of 4):"), "{}", ran.data);
}

#[test]
fn those_that_have_not_loaded_it_are_passed_over() {
    let name = unique("shop-loaded");
    let shop = Worker::start(&name, 1);
    let bare = Worker::run(&[&name], "import sys\nprint('ready', flush=True)\nsys.stdin.read()");
    let ran = run(&["eval", &name, "shop.admin.served", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.talk.contains(&format!("not loaded in: {}/0\n", bare.pid())), "{}", ran.talk);
    assert!(ran.data.contains(&format!("{}/0", shop.pid())));
}

#[test]
fn a_pattern_of_many_needs_a_yes() {
    let name = unique("shop-ask");
    let workers = shop(&name);
    let ran = run(&["eval", &name, "1"]);
    assert_eq!((ran.code, ran.data.as_str()), (2, ""), "{ran:?}");
    assert!(
        workers.iter().all(|worker| ran.talk.contains(&worker.pid().to_string())),
        "{}",
        ran.talk
    );
    assert!(
        ran.talk.contains("error: the pattern matches 4 processes\n\nhint: add `--yes`"),
        "{}",
        ran.talk
    );
    let list: Vec<String> = workers.iter().map(|worker| worker.pid().to_string()).collect();
    assert_eq!(run(&["eval", &list.join(","), "1"]).code, 0);
}

#[test]
fn a_time_limit() {
    let (mut worker, pid) = worker("shop-slow");
    let ran = run(&["eval", &pid, "import time; time.sleep(2)", "--timeout", "200ms"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.talk.contains("timed out"), "{}", ran.talk);
    let ran = run(&["eval", &pid, "while True: pass", "--timeout", "200ms", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.data).expect("it is JSON");
    assert_eq!(report["answers"][0]["error"]["kind"], "timeout");
    assert!(worker.is_alive());
}

#[test]
fn ctrl_c_interrupts() {
    let (_worker, pid) = worker("shop-interrupt");
    // The code tells that it runs by opening a named pipe, which waits for whoever reads it.
    let begun = std::env::temp_dir().join(unique("spyhole-begun"));
    assert!(Command::new("mkfifo").arg(&begun).status().expect("mkfifo starts").success());
    let code = format!("open('{}', 'w').close()\nwhile True: pass", begun.display());
    let mut child = spyhole()
        .args(["eval", &pid, &code, "--timeout", "60s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut nothing = Vec::new();
    let mut reader = std::fs::File::open(&begun).expect("the code opens it, too");
    reader.read_to_end(&mut nothing).expect("it is closed");
    std::fs::remove_file(&begun).expect("it is there");
    kill(&child, "INT");
    assert_eq!(ends_within(&mut child, Duration::from_secs(5)), Some(130));
}

#[test]
fn several_clients_at_once() {
    let (mut worker, pid) = worker("shop-clients");
    for round in 0..10 {
        let codes = ["1 + 1", "2 + 2", "sum(range(1000000))"];
        let clients = codes.map(|code| {
            spyhole()
                .args(["eval", &pid, code])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program starts")
        });
        for (client, expected) in clients.into_iter().zip(["2\n", "4\n", "499999500000\n"]) {
            let ran = Ran::from(client.wait_with_output().expect("it ends"));
            assert_eq!((ran.code, ran.data.as_str()), (0, expected), "round {round}: {}", ran.talk);
        }
        assert!(worker.is_alive(), "round {round}");
    }
}

#[test]
fn a_watch_prints_changes_until_ctrl_c() {
    let (_worker, pid) = worker("shop-watch");
    let mut child = spyhole()
        .args(["eval", &pid, "shop.admin.served // 1", "--watch", "50ms", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || -> serde_json::Value {
        serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("it is JSON")
    };
    let first = next();
    assert_eq!((&first["event"], &first["repr"]), (&"value".into(), &"0".into()));
    assert_eq!(first["pid"].to_string(), pid);
    assert!(first["time"].as_str().expect("text").ends_with('Z'));
    run(&["eval", &pid, "shop.admin.served = 5"]);
    let second = next();
    assert_eq!((&second["event"], &second["repr"]), (&"changed".into(), &"5".into()));
    kill(&child, "INT");
    assert_eq!(ends_within(&mut child, Duration::from_secs(5)), Some(0));
}

fn kill(child: &std::process::Child, signal: &str) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status()
        .expect("kill starts");
    assert!(status.success());
}
