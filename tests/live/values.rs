//! `spyhole stack --locals` on real processes whose values are known.
//!
//! It knows what `tests/targets/values.py` tells of itself: for most kinds, Python's own `repr`.

use serde_json::Value;
use spyhole_testkit::{Fingerprint, Interpreter, Start, Target, unchanged};

use crate::program::run;

fn start(interpreter: &Interpreter) -> Target {
    // Before 3.7 text goes out as ASCII where no locale is set.
    let start = Start::new(interpreter, "values").env("PYTHONIOENCODING", "utf-8");
    start.start().expect("the target starts")
}

fn look(target: &Target, words: &[&str]) -> Value {
    let pid = target.pid().to_string();
    let mut all = vec!["stack", &pid, "--json", "--locals"];
    all.extend(words);
    let ran = run(all);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""), "{ran:?}");
    ran.json()[0].clone()
}

/// The locals of the innermost frame of a thread.
fn locals<'a>(process: &'a Value, name: &str) -> &'a [Value] {
    let threads = process["interpreters"][0]["threads"].as_array().expect("a list");
    let thread = threads.iter().find(|thread| thread["name"] == name);
    let thread = thread.unwrap_or_else(|| panic!("no thread `{name}` in {process:#}"));
    thread["frames"][0]["locals"].as_array().expect("a list")
}

#[track_caller]
fn local<'a>(locals: &'a [Value], name: &str) -> &'a Value {
    let found = locals.iter().find(|local| local["name"] == name);
    found.unwrap_or_else(|| panic!("no `{name}` in {locals:#?}"))
}

fn as_python_tells_them(python: &Interpreter) {
    let version = python.full_version();
    let target = start(python);
    let before = target.blocked().expect("it is there");
    for words in [&["--max", "2000"][..], &["--max", "2000", "--no-pause"]] {
        let process = look(&target, words);
        assert_eq!(process["torn"], false, "{version}");
        let told = target.ready().as_object().expect("it tells its threads");
        let mut count = 0;
        let mut wrong = Vec::new();
        for (thread, truth) in told {
            let locals = locals(&process, thread);
            for (name, text) in truth.as_object().expect("names") {
                count += 1;
                let found = local(locals, name);
                if found["repr"] != *text || found["truncated"] != false {
                    wrong.push(format!("{thread}: {name}: {found} and not {text}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{version}: {}", wrong.join("\n"));
        assert!(count > 150, "{version}: {count}");
    }
    let after = Fingerprint::of(target.pid()).expect("it is there");
    unchanged(&before, &after).unwrap_or_else(|changes| panic!("{changes:?}"));
}

fn names_without_a_value_are_left_out(python: &Interpreter) {
    let target = start(python);
    let process = look(&target, &[]);
    let names = |thread: &str| {
        let all = locals(&process, thread).iter().map(|local| local["name"].as_str().expect("one"));
        let mut names: Vec<&str> = all.collect();
        names.sort();
        names
    };
    assert_eq!(names("cells"), ["argument", "captured", "shown"]);
    // What the compiler calls `.0` is nobody's variable.
    assert_eq!(names("comprehension"), ["item", "last"]);
    let body = names("classes");
    assert!(body.contains(&"attribute") && !body.contains(&"hidden"), "{body:?}");
    assert!(!body.contains(&"__classdict__"), "{body:?}");
    // A module's variables are those of its dict, but for what every module has.
    let main = process["interpreters"][0]["threads"].as_array().expect("a list");
    let main = main.iter().find(|thread| thread["name"] == "MainThread").expect("it is there");
    let module = main["frames"].as_array().and_then(|all| all.last()).expect("a frame");
    let module = module["locals"].as_array().expect("a list");
    assert_eq!(local(module, "Plain")["repr"], "<class '__main__.Plain'>");
    assert_eq!(local(module, "Plain")["type"], "type");
    assert!(module.iter().all(|local| local["name"] != "__builtins__"), "{module:#?}");
}

fn long_deep_and_endless_values_end(python: &Interpreter) {
    let target = start(python);
    let process = look(&target, &[]);
    let bounds = locals(&process, "bounds");
    for name in ["numbers", "many", "members", "long", "data", "decades", "gigantic", "deep"] {
        let found = local(bounds, name);
        let text = found["repr"].as_str().expect("a text");
        assert_eq!(found["truncated"], true, "{found}");
        assert!(text.contains("...") || name == "gigantic", "{found}");
        assert!(text.chars().count() < 300, "{found}");
    }
    let starts = |name: &str, text: &str| {
        let found = local(bounds, name)["repr"].as_str().expect("a text");
        assert!(found.starts_with(text), "{found}");
    };
    starts("numbers", "[0, 1, 2, 3,");
    starts("many", "{0: '0', 1: '1',");
    starts("long", "'xxxx");
    starts("decades", "10000000000");
    starts("gigantic", "<int of about 100000");
    assert!(local(bounds, "numbers")["repr"].as_str().expect("a text").ends_with(", ...]"));
    assert!(local(bounds, "long")["repr"].as_str().expect("a text").ends_with("x'..."));
    assert_eq!(local(bounds, "in_itself")["truncated"], false);
    let short = look(&target, &["--max", "10"]);
    let short = locals(&short, "bounds");
    assert_eq!(local(short, "numbers")["repr"], "[0, 1, 2, ...]");
    assert_eq!(local(short, "long")["repr"], "'xxxxxxxxx'...");
    let long = look(&target, &["--max", "20000"]);
    let long = locals(&long, "bounds");
    let decades = local(long, "decades");
    assert_eq!(decades["repr"], format!("1{}", "0".repeat(5000)));
    assert_eq!(
        (&decades["truncated"], &local(long, "long")["truncated"]),
        (&false.into(), &false.into())
    );
}

fn secrets_are_not_shown(python: &Interpreter) {
    const SECRET: &str = "hunter2";
    let target = start(python);
    let pid = target.pid().to_string();
    for words in [&["--json"][..], &["--all"]] {
        let look = [&["stack", &pid, "--locals"], words].concat();
        let hidden = run(&look);
        assert!(hidden.code == 0 && !hidden.data.contains(SECRET), "{}", hidden.data);
        assert!(hidden.data.contains("<redacted>"), "{}", hidden.data);
        let shown = run([&look[..], &["--reveal"]].concat());
        assert_eq!(shown.code, 0);
        assert!(shown.data.matches(SECRET).count() >= 9, "{}", shown.data);
        assert!(!shown.data.contains("<redacted>"), "{}", shown.data);
    }
    let process = look(&target, &[]);
    let secrets = locals(&process, "secrets");
    let told = |name: &str| local(secrets, name)["repr"].as_str().expect("a text");
    assert_eq!(told("DB_PASSWORD"), "<redacted>");
    assert_eq!(local(secrets, "password")["type"], "str");
    assert_eq!(told("environ"), "{'HTTP_AUTHORIZATION': <redacted>, 'PATH': '/'}");
    assert_eq!(told("headers"), "[(b'host', b'x'), (b'cookie', <redacted>)]");
    assert_eq!(told("plain"), "<__main__.Plain user='me', _auth_token=<redacted>>");
    assert_eq!(told("credentials"), "Credentials(user='me', secret=<redacted>)");
}

/// What is told of variables that never rest is one moment's, or said to be no more.
fn variables_that_never_rest(python: &Interpreter) {
    let target = Target::start(python, "churning").expect("the target starts");
    let mut whole = 0;
    for words in [&[][..], &["--no-pause"]] {
        for _ in 0..20 {
            let process = look(&target, words);
            let Some(frame) = process["interpreters"][0]["threads"]
                .as_array()
                .and_then(|all| all.iter().find(|thread| thread["name"] == "churn"))
                .and_then(|thread| thread["frames"].get(0))
                .filter(|frame| frame["function"] == "churn")
            else {
                continue;
            };
            for local in frame["locals"].as_array().expect("a list") {
                let text = local["repr"].as_str().expect("a text");
                let name = local["name"].as_str().expect("a name");
                // What was not copied in time is gone when it is looked at later, and said to be.
                if ["<unreadable>", "<changed>"].iter().any(|gone| text.contains(gone)) {
                    continue;
                }
                let between = match name {
                    "pair" => ", ",
                    "text" => " ",
                    _ => continue,
                };
                if let Some((first, second)) =
                    text.trim_matches(['[', ']', '\'']).split_once(between)
                {
                    // Without a pause a value may be another one before it is looked at again.
                    whole += usize::from(words.is_empty() && first == second);
                    assert!(first == second || !words.is_empty(), "{local}");
                }
            }
        }
    }
    assert!(whole >= 20, "{whole} values were whole");
}

fn options_belong_to_locals(_python: &Interpreter) {
    run(["stack", "1", "--max", "5"]).failed(2, "--locals");
    run(["stack", "1", "--reveal"]).failed(2, "--locals");
}

on_all! { as_python_tells_them names_without_a_value_are_left_out }
on_full_set! { long_deep_and_endless_values_end }
on_three! { secrets_are_not_shown variables_that_never_rest }
on_one! { options_belong_to_locals }
