//! Many processes at once: groups, the odd one, patterns, trees and lists.

use spyhole_testkit::{Interpreter, Start, Target};

use crate::program::{eval, run};

/// A name that no other test, and no other run of the tests, uses.
fn unique(what: &str, python: &Interpreter) -> String {
    format!("{what}-{}-{}", python.minor(), std::process::id())
}

fn worker(python: &Interpreter, words: &[&str]) -> Target {
    Start::new(python, "worker").args(words).start().unwrap_or_else(|error| panic!("{error}"))
}

/// Six workers, the fourth one odd.
fn workers(python: &Interpreter, name: &str) -> (Vec<Target>, i32) {
    let one = |n| if n == 3 { worker(python, &[name, "odd"]) } else { worker(python, &[name]) };
    let workers: Vec<Target> = (0..6).map(one).collect();
    let odd = workers[3].pid();
    (workers, odd)
}

#[track_caller]
fn all_left(talk: &str, workers: &[Target]) {
    for worker in workers {
        assert!(talk.contains(&format!("left {} as it was (held ", worker.pid())), "{talk}");
    }
}

fn the_odd_one_is_found(python: &Interpreter) {
    let name = unique("odd", python);
    let (workers, odd) = workers(python, &name);
    let ran = run(["eval", &name, "settings", "--yes", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    let groups = report["groups"].as_array().expect("a list");
    assert_eq!(groups.len(), 2, "{report}");
    assert_eq!(groups[0]["members"].as_array().map(Vec::len), Some(5));
    assert_eq!(groups[1]["members"], serde_json::json!([format!("{odd}/0")]));
    assert_eq!(report["answers"].as_array().map(Vec::len), Some(6));
    all_left(&ran.talk, &workers);

    // The same as text, by a list of pids: the odd one first, with what differs.
    let pids: Vec<String> = workers.iter().map(|worker| worker.pid().to_string()).collect();
    let ran = run(["eval", &pids.join(","), "site.options('country')"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.data.starts_with(&format!("{odd}/0 differs (1 of 6):\n")), "{}", ran.data);
    assert!(ran.data.contains("<option>Belgium</option>"), "{}", ran.data);
    assert!(ran.data.contains(" agree (5 of 6):\n"), "{}", ran.data);
    all_left(&ran.talk, &workers);
}

fn a_pattern_is_confirmed(python: &Interpreter) {
    let name = unique("sure", python);
    let workers = [worker(python, &[&name]), worker(python, &[&name])];
    let ran = run(["eval", &name, "import __main__; __main__.touched = 1"]);
    ran.failed(2, "error: the pattern matches 2 processes\n");
    for worker in &workers {
        assert!(ran.talk.contains(&worker.pid().to_string()), "{ran:?}");
        eval(worker.pid(), "'touched' in globals()").gave("False\n");
    }
    // One match needs no question, none is a failure.
    let only = unique("only", python);
    let _only = worker(python, &[&only]);
    run(["eval", &only, "name"]).gave(&format!("'{only}'\n"));
    run(["eval", &unique("nobody", python), "name"]).failed(1, "no Python process has `nobody-");
    let ran = run(["console", &name]);
    ran.failed(2, "2 processes match, and this is for one");
}

fn a_tree(python: &Interpreter) {
    // The target's child is Python, too; the root `sh` of it all is passed over.
    let subject = Start::new(python, "subprocess_wait").start().unwrap_or_else(|e| panic!("{e}"));
    let child = subject.ready()["child"].as_i64().expect("it told its child");
    let ran = run(["eval", &format!("tree:{}", subject.pid()), "1 + 1", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    let members = report["groups"][0]["members"].as_array().expect("a list").clone();
    assert_eq!(members.len(), 2, "{report}");
    assert!(members.contains(&format!("{child}/0").into()), "{report}");
}

fn some_of_a_list_are_gone(python: &Interpreter) {
    let name = unique("gone", python);
    let (here, mut gone) = (worker(python, &[&name]), worker(python, &[&name]));
    gone.send("exit").expect("it listens");
    // Ended, and not waited for: a zombie still has its number.
    let list = format!("{},{}", here.pid(), gone.pid());
    while std::fs::read_to_string(format!("/proc/{}/cmdline", gone.pid()))
        .is_ok_and(|c| !c.is_empty())
    {
        std::thread::yield_now();
    }
    let ran = run(["eval", &list, "answer", "--json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let report = ran.json();
    let failed = report["answers"].as_array().unwrap().iter().find(|one| one["ok"] == false);
    assert_eq!(failed.expect("one failed")["error"]["kind"], "gone", "{report}");
    // Reaped, there is nobody of that number.
    gone.wait_exit(crate::program::LIMIT).expect("it has ended");
    let ran = run(["eval", &list, "answer"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.data.contains("42"), "{ran:?}");
    assert!(ran.talk.contains(&gone.pid().to_string()), "{ran:?}");
}

fn not_loaded(python: &Interpreter) {
    let name = unique("loaded", python);
    let mut with = worker(python, &[&name]);
    let without = worker(python, &[&name]);
    with.ask("exec import wave").expect("it answers");
    let ran = run(["eval", &name, "wave.WAVE_FORMAT_PCM", "--yes", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["not_loaded"], serde_json::json!([format!("{}/0", without.pid())]));
    assert_eq!(report["groups"][0]["members"], serde_json::json!([format!("{}/0", with.pid())]));
    // Nobody has it: that is a failure.
    let ran = run(["eval", &name, "smtpd.no_such_name", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
}

on_full_set! { the_odd_one_is_found a_pattern_is_confirmed a_tree some_of_a_list_are_gone not_loaded }
