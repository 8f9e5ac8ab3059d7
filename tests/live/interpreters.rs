//! Sub-interpreters: each is asked, by number or all together, and left as it was; none of them hurts another.

use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use spyhole_testkit::screen::Screen;
use spyhole_testkit::{Interpreter, Start};

use crate::program::{Running, eval, run, run_with_input, spyhole};
use crate::subjects::Subject;

/// The target with so many sub-interpreters, if this version can make them.
fn places(test: &str, python: &Interpreter, words: &[&str]) -> Option<Subject> {
    Subject::optional(test, Start::new(python, "places").args(words))
}

/// The numbers of its sub-interpreters.
fn numbers(subject: &Subject) -> Vec<i64> {
    let places = subject.ready()["places"].as_array().expect("a list");
    places.iter().map(|place| place.as_i64().expect("a number")).collect()
}

fn at(pid: i32, number: i64) -> String {
    format!("{pid}/{number}")
}

/// What was answered by which interpreter.
fn answers(report: &Value) -> Vec<(i64, &str)> {
    let answers = report["answers"].as_array().expect("a list").iter();
    let one = |answer: &'_ Value| answer["interpreter"].as_i64().expect("a number");
    answers.map(|answer| (one(answer), answer["repr"].as_str().unwrap_or("-"))).collect()
}

/// Starts a thread of the target, and waits until it runs.
fn set_off(subject: &mut Subject, command: &str) {
    subject.send(command).expect("it listens");
    while subject.receive().expect("it answers") != "spinning" {}
}

/// Targets that take a whole processor come one after the other.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static BUSY: Mutex<()> = Mutex::new(());
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ways to share a GIL, or not to.
const KINDS: [&[&str]; 2] = [&["3"], &["3", "own"]];

fn each_is_asked(python: &Interpreter) {
    for kind in KINDS {
        let Some(mut subject) = places("interpreters::each_is_asked", python, kind) else { return };
        let (pid, ids) = (subject.pid(), numbers(&subject));
        let ran = run(["eval", &pid.to_string(), "shop.place", "--json"]);
        let report = ran.json();
        assert_eq!(answers(&report), [(ids[0], "0"), (ids[1], "1"), (ids[2], "2")], "{ran:?}");
        assert_eq!(report["not_loaded"], json!([at(pid, 0)]));
        assert_eq!(ran.code, 0);
        // Grouped, and the main interpreter, which has no such module, said apart.
        let ran = run(["eval", &pid.to_string(), "shop.sign[0]"]);
        let [first, second, third] = [ids[0], ids[1], ids[2]].map(|id| at(pid, id));
        let expected = format!(
            "{third} differs (1 of 3):\n  - 'open'\n  + 'closed'\n{first}, {second} agree (2 of 3):\n  'open'\n"
        );
        ran.gave(&expected);
        assert!(ran.talk.contains(&format!("not loaded in: {pid}/0\n")), "{ran:?}");
        // Named, it is asked alone.
        run(["eval", &second, "shop.place, __name__"]).gave("(1, '__main__')\n");
        run(["eval", &second, "nothing_like_it"]).failed(1, "NameError");
        run(["eval", &at(pid, 0), "shop"]).failed(1, "NameError");
        // What nobody has is no answer of anybody.
        let ran = run(["eval", &pid.to_string(), "no_such_module.x"]);
        ran.failed(1, "left ");
        assert!(ran.data.contains("failed alike (4 of 4)"), "{ran:?}");
        run(["eval", &at(pid, 77), "1"]).failed(2, &format!("it has {pid}/0, {first}, {second}"));
        run(["stack", &at(pid, 77)]).failed(2, &format!("it has {pid}/0, {first}, {second}"));
        subject.is_unchanged();
    }
}

/// A stranger to `threading` in each of them, and the code's own output: nothing is mixed up.
fn output_and_modules_stay_apart(python: &Interpreter) {
    let name = "interpreters::output_and_modules_stay_apart";
    let Some(mut subject) = places(name, python, &["2"]) else { return };
    let (pid, ids) = (subject.pid(), numbers(&subject));
    let ran = run([
        "eval",
        &pid.to_string(),
        "print('in', shop.place); seen = shop.place; seen",
        "--json",
    ]);
    let report = ran.json();
    for (answer, place) in report["answers"].as_array().expect("a list").iter().zip(0..) {
        assert_eq!(answer["stdout"], format!("in {place}\n"));
        assert_eq!(answer["repr"], place.to_string());
    }
    let modules = "sorted(sys.modules)";
    let first = run(["eval", &at(pid, ids[0]), modules]);
    let again = run(["eval", &at(pid, ids[0]), modules]);
    assert_eq!(first.data, again.data);
    subject.is_unchanged();
}

/// A console stays outside of the interpreter while it has nothing to do there.
fn consoles(python: &Interpreter) {
    for kind in KINDS {
        let Some(mut subject) = places("interpreters::consoles", python, kind) else { return };
        let (pid, ids) = (subject.pid(), numbers(&subject));
        let mut command = spyhole();
        command.args(["console", &at(pid, ids[1]), "--no-history"]).stdin(Stdio::piped());
        let mut console = Running::start(&mut command);
        for (typed, expected) in [
            ("x = shop.place\nx + 1\n", "2"),
            ("print('seen')\n", "seen"),
            ("import _thread; _thread.get_ident() > 0\n", "True"),
        ] {
            console.write(typed);
            assert_eq!(console.line(), expected);
        }
        // It can be ended now, and the console is told when it asks again.
        subject.ask("exec end(1)").expect("it answers");
        console.write("x\n");
        let ran = console.wait();
        ran.failed(5, &format!("interpreter {} of process {pid} has ended", ids[1]));
        let gone = format!("error: interpreter {} of process {pid} is gone\n", ids[1]);
        assert!(ran.talk.contains(&gone), "{ran:?}");
        run(["eval", &at(pid, ids[2]), "shop.place"]).gave("2\n");
        subject.is_unchanged();
    }
}

/// A console goes from one to another; if there is none of that number, it stays.
fn moves(python: &Interpreter) {
    let Some(mut subject) = places("interpreters::moves", python, KINDS[0]) else { return };
    let (pid, ids) = (subject.pid(), numbers(&subject));
    let typed = format!(
        "x = shop.place\nx\n:interp {}\nshop.place\n:interp 4711\nshop.place + 1\n:freeze\n:where\n:interp 0\n6 * 7\nx\n",
        ids[2]
    );
    let ran = run_with_input(&["console", &at(pid, ids[0]), "--no-history"], &typed);
    assert_eq!((ran.code, ran.data.as_str()), (0, "0\n2\n3\n42\n"), "{ran:?}");
    for said in [
        "has no interpreter `4711`",
        "cannot be frozen: only the main interpreter can",
        &format!("interpreter  {}", ids[2]),
        "name 'x' is not defined",
    ] {
        assert!(ran.talk.contains(said), "{said}: {ran:?}");
    }
    ran.left(pid);
    subject.is_unchanged();
}

/// On a terminal a console asks which one; from a pipe it takes the main one.
fn picked(python: &Interpreter) {
    let Some(mut subject) = places("interpreters::picked", python, &["2"]) else { return };
    let (pid, ids) = (subject.pid(), numbers(&subject));
    let ran =
        run_with_input(&["console", &pid.to_string(), "--no-history"], "'shop' in globals()\n");
    assert_eq!((ran.code, ran.data.as_str()), (0, "False\n"), "{ran:?}");
    if std::path::Path::new("/dev/pts/ptmx").exists() {
        for (typed, shown, known) in [
            (ids[1].to_string(), format!("PID={pid}/{},", ids[1]), "1"),
            (at(pid, ids[0]), format!("PID={pid}/{},", ids[0]), "0"),
            (String::new(), format!("PID={pid}, "), "'none'"),
        ] {
            let mut command = spyhole();
            command.args(["console", &pid.to_string(), "--no-history"]).env("TERM", "dumb");
            let mut screen = Screen::run(&command, 100, 30).expect("a screen");
            let step = |screen: &mut Screen, keys: &str, shows: &str| {
                screen.press(keys).expect("it reads");
                screen.wait_for(shows).unwrap_or_else(|error| panic!("{error}"));
            };
            screen.wait_for("which interpreter? [0]").unwrap_or_else(|error| panic!("{error}"));
            step(&mut screen, &format!("{typed}\n"), &shown);
            screen.wait_for(">>> ").unwrap_or_else(|error| panic!("{error}"));
            let code = "getattr(sys.modules.get('shop'), 'place', 'none')\n";
            step(&mut screen, code, &format!("\n{known}"));
            screen.press("\x04").expect("it reads");
            let (text, code) = screen.end().unwrap_or_else(|error| panic!("{error}"));
            assert!(code == 0 && text.contains(&format!("  {}  (", at(pid, ids[1]))), "{text}");
        }
        let mut command = spyhole();
        command.args(["console", &pid.to_string(), "--no-history"]);
        let mut screen = Screen::run(&command, 100, 30).expect("a screen");
        screen.wait_for("which interpreter? [0]").unwrap_or_else(|error| panic!("{error}"));
        screen.press("77\n").expect("it reads");
        let (text, code) = screen.end().unwrap_or_else(|error| panic!("{error}"));
        assert!(code == 2 && text.contains("no interpreter was chosen"), "{code}: {text}");
    }
    subject.is_unchanged();
}

/// Interrupted by its time limit, by its user's end, and by an exception of the code's own.
fn interrupted(python: &Interpreter) {
    for kind in KINDS {
        let Some(mut subject) = places("interpreters::interrupted", python, kind) else { return };
        let (pid, ids) = (subject.pid(), numbers(&subject));
        let place = at(pid, ids[1]);
        let ran = run(["eval", &place, "while True: pass", "--timeout", "200ms"]);
        ran.failed(1, "timed out after 200ms");
        ran.left(pid);
        let mut command = spyhole();
        command.args(["console", &place, "--no-history"]).stdin(Stdio::piped());
        let mut running = Running::start(&mut command);
        running.write("print('on')\nwhile True: pass\n\n");
        assert_eq!(running.line(), "on");
        // Killed.
        drop(running);
        let ran = eval(pid, "shop.place");
        ran.failed(0, "not loaded in");
        subject.is_unchanged();
    }
}

/// The end comes at any moment of a console that goes in and out all the time.
fn ended_at_any_moment(python: &Interpreter) {
    for kind in KINDS {
        for round in 0..rounds(8) {
            let name = "interpreters::ended_at_any_moment";
            let Some(mut subject) = places(name, python, kind) else { return };
            let (pid, ids) = (subject.pid(), numbers(&subject));
            let mut command = spyhole();
            command.args(["console", &at(pid, ids[1]), "--no-history"]).stdin(Stdio::piped());
            let mut console = Running::start(&mut command);
            console.write(&"'on'\n".repeat(300));
            assert_eq!(console.line(), "'on'");
            // The moment is what is tried: nothing is waited for.
            std::thread::sleep(Duration::from_micros(317 * (round % 16)));
            let said = subject.ask("exec end(1)").expect("it lives");
            let refused = said.contains("more than one thread");
            assert!(refused || said.contains("done"), "{said}");
            drop(console);
            run(["eval", &at(pid, ids[2]), "shop.place"]).gave("2\n");
            subject.is_unchanged();
        }
    }
}

/// How often something is tried at random moments: as often as asked for, or so many times.
fn rounds(usually: u64) -> u64 {
    std::env::var("SPYHOLE_TEST_ENDINGS").ok().and_then(|text| text.parse().ok()).unwrap_or(usually)
}

/// Whoever ends an interpreter in which code of ours runs waits for it, and the program lives.
fn ended_meanwhile(python: &Interpreter) {
    for kind in KINDS {
        let name = "interpreters::ended_meanwhile";
        let Some(mut subject) = places(name, python, kind) else { return };
        let (pid, ids) = (subject.pid(), numbers(&subject));
        for (number, id) in ids.iter().take(2).enumerate() {
            let place = at(pid, *id);
            let mut console = spyhole();
            console.args(["console", &place, "--no-history"]).stdin(Stdio::piped());
            let mut console = Running::start(&mut console);
            console.write("print('on')\nimport time\nfor i in range(3000): time.sleep(0.01)\n\n");
            assert_eq!(console.line(), "on");
            let said = subject.ask(&format!("exec end({number})")).expect("it lives");
            // To 3.11 the module refuses, since a thread is in it.
            let refused = said.contains("more than one thread");
            assert!(refused || said.contains("done"), "{said}");
            drop(console);
        }
        run(["eval", &at(pid, ids[2]), "shop.place"]).gave("2\n");
        subject.is_unchanged();
    }
}

/// A busy loop in one interpreter keeps none of the others from being asked.
fn beside_busy_ones(python: &Interpreter) {
    let _alone = one_at_a_time();
    for (kind, busy) in [(KINDS[0], "None"), (KINDS[0], "0"), (KINDS[1], "None"), (KINDS[1], "0")] {
        let name = "interpreters::beside_busy_ones";
        let Some(mut subject) = places(name, python, kind) else { return };
        let (pid, ids) = (subject.pid(), numbers(&subject));
        // Its own answer to this may wait for ever, where CPython lets an interpreter starve.
        set_off(&mut subject, &format!("exec spin({busy})"));
        for _ in 0..3 {
            let ran = run(["eval", &at(pid, ids[2]), "shop.place", "--timeout", "5s"]);
            ran.gave("2\n");
            let ran = run(["eval", &at(pid, 0), "6 * 7", "--timeout", "5s"]);
            ran.gave("42\n");
        }
        let mut command = spyhole();
        command.args(["console", &at(pid, ids[2]), "--no-history"]).stdin(Stdio::piped());
        let mut console = Running::start(&mut command);
        for number in 0..10 {
            console.write(&format!("shop.place + {number}\n"));
            assert_eq!(console.line(), (number + 2).to_string());
        }
        console.write("exit()\n");
        assert_eq!(console.wait().code, 0);
    }
}

/// One that keeps its own GIL in a call of C code takes its own answer along, and no other one.
fn a_wedged_one(python: &Interpreter) {
    let _alone = one_at_a_time();
    let Some(mut subject) = places("interpreters::a_wedged_one", python, KINDS[1]) else { return };
    let (pid, ids) = (subject.pid(), numbers(&subject));
    set_off(&mut subject, "exec wedge(1)");
    let ran = run(["eval", &pid.to_string(), "shop.place", "--json", "--timeout", "500ms"]);
    let report = ran.json();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.took.as_secs() < 3, "{ran:?}");
    assert_eq!(answers(&report), [(ids[0], "0"), (ids[1], "-"), (ids[2], "2")]);
    assert_eq!(report["answers"][1]["error"]["kind"], "unreachable");
    run(["eval", &at(pid, ids[0]), "shop.place"]).gave("0\n");
    run(["eval", &at(pid, 0), "6 * 7"]).gave("42\n");
}

/// 200 of them, and one that differs.
fn two_hundred(python: &Interpreter) {
    for kind in [&["200"][..], &["200", "own"]] {
        let Some(mut subject) = places("interpreters::two_hundred", python, kind) else { return };
        let pid = subject.pid();
        let ran = run(["eval", &pid.to_string(), "shop.sign", "--json", "--timeout", "30s"]);
        let report = ran.json();
        let sizes: Vec<usize> = report["groups"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|group| group["members"].as_array().expect("a list").len())
            .collect();
        assert_eq!(sizes, [199, 1], "{ran:?}");
        let ps = run(["ps", "places.py", "-v", "--json"]).json();
        let row = ps.as_array().expect("a list").iter().find(|row| row["pid"] == pid);
        let row = row.expect("it is listed");
        assert_eq!(row["interpreters"], 201);
        assert_eq!(row["interpreter_list"].as_array().map(Vec::len), Some(201));
        subject.is_unchanged();
    }
}

/// The same, again and again: what is new is told, and it ends well.
fn watched(python: &Interpreter) {
    let Some(mut subject) = places("interpreters::watched", python, &["2"]) else { return };
    let pid = subject.pid();
    let mut command = spyhole();
    command.args(["eval", &pid.to_string(), "shop.place", "--watch", "50ms", "--json"]);
    let mut watch = Running::start(&mut command);
    for place in 0..2 {
        let line: Value = serde_json::from_str(&watch.line()).expect("a JSON object");
        assert_eq!(line["repr"], place.to_string(), "{line}");
    }
    watch.signal(spyhole_testkit::target::Signal::INT);
    watch.wait().left(pid);
    subject.is_unchanged();
}

on_all! { each_is_asked }
each! { on, moves, py311 = "3.11", py313 = "3.13" }
on_full_set! { output_and_modules_stay_apart consoles interrupted ended_meanwhile ended_at_any_moment beside_busy_ones a_wedged_one }
on_three! { two_hundred watched picked }
