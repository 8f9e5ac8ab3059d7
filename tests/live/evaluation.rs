//! What `eval` makes of code: names, statements, printed text, values and failures.

use std::fs;

use spyhole_testkit::{Interpreter, Start};

use crate::program::{eval, run, run_with_input};
use crate::subjects::{Subject, quiet};

/// The session's own names, `__main__`'s, loaded modules without an import, builtins: in this order.
fn names(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    eval(pid, "answer").gave("42\n");
    eval(pid, "answer = 1\nanswer").gave("1\n");
    // What the code binds is its own, and gone with it.
    eval(pid, "answer").gave("42\n");
    eval(pid, "commands.__name__, sys.__name__").gave("('commands', 'sys')\n");
    eval(pid, "len(words)").gave("2\n");
    eval(pid, "[w.upper() for w in words if len(w) + answer]").gave("['SPY', 'HOLE']\n");
    eval(pid, "def f():\n    return answer, len(words)\nf()").gave("(42, 2)\n");
    eval(pid, "len = 5\nlen").gave("5\n");
    // A name of `__main__` hides a module, a module of that name hides nothing else.
    eval(pid, "import __main__; __main__.sys.__name__").gave("'sys'\n");
    // Nothing is imported behind anybody's back.
    eval(pid, "wave").failed(1, "NameError: name 'wave' is not defined");
    eval(pid, "__name__").gave("'__main__'\n");
    // `__main__` itself is changed only where it is named.
    eval(pid, "import __main__; __main__.answer = 43").gave("");
    eval(pid, "answer").gave("43\n");
    eval(pid, "import __main__; __main__.answer = 42").gave("");
    subject.is_unchanged();
}

fn statements(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    eval(pid, "x = 20; x * 2 + 2").gave("42\n");
    eval(pid, "x = 20").gave("");
    eval(pid, "for n in range(3):\n    print(n)").gave("0\n1\n2\n");
    eval(pid, "None").gave("");
    eval(pid, "class A(object):\n    n = 7\n\nA().n").gave("7\n");
    eval(pid, "try:\n    1/0\nexcept ZeroDivisionError as error:\n    print(error)\n'after'")
        .gave("division by zero\n'after'\n");
    eval(pid, "  1 + 1").gave("2\n");
    let pid = pid.to_string();
    run_with_input(&["eval", &pid, "-f", "-"], "x = 20\nx * 2 + 2\n").gave("42\n");
    subject.is_unchanged();
}

fn failures(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    let ran = eval(pid, "def f():\n    return {}['x']\nf()");
    ran.failed(1, "KeyError: 'x'\n");
    assert!(ran.talk.starts_with("Traceback (most recent call last):\n"), "{ran:?}");
    assert!(ran.talk.contains(", line 3, in <module>\n    f()\n"), "{ran:?}");
    assert!(ran.talk.contains(", line 2, in f\n    return {}['x']\n"), "{ran:?}");
    ran.left(pid);
    let ran = eval(pid, "x = 1\ny = (1 +* 2)\n");
    ran.failed(1, "SyntaxError: invalid syntax\n");
    assert!(ran.talk.contains(", line 2\n    y = (1 +* 2)\n            ^"), "{ran:?}");
    ran.left(pid);
    let ran = run(["eval", &pid.to_string(), "1 +", "--json"]);
    assert_eq!((ran.code, &ran.json()["answers"][0]["error"]["kind"]), (1, &"syntax".into()));
    eval(pid, "raise ValueError('a') from KeyError('b')")
        .failed(1, "\nThe above exception was the direct cause of the following exception:\n\n");
    eval(pid, "def f(n):\n    return f(n + 1)\nf(0)").failed(1, "RecursionError: ");
    // The end of a program is no end of ours.
    for code in ["import sys; sys.exit(3)", "raise SystemExit", "exit()", "quit(1)"] {
        let ran = eval(pid, code);
        ran.failed(1, "SystemExit");
        ran.left(pid);
    }
    eval(pid, "raise KeyboardInterrupt").failed(130, "KeyboardInterrupt");
    subject.is_unchanged();
}

/// What code prints while others print: each gets its own, and no line is lost.
fn printed_apart(python: &Interpreter) {
    let name = format!("printing-{}-{}", std::process::id(), python.minor());
    let path = python.root.clone().unwrap_or_default().join("tmp").join(&name);
    let path = if python.root.is_none() { std::env::temp_dir().join(&name) } else { path };
    let inside = std::path::Path::new("/tmp").join(&name);
    let inside = if python.root.is_none() { path.clone() } else { inside };
    let mut subject = Subject::busy(Start::new(python, "printing").args([inside]));
    let pid = subject.pid();
    for round in 0..20 {
        let ran = eval(
            pid,
            "import sys, time\nfor n in range(20):\n    print('ours', n)\n    time.sleep(0.002)\n\
             sys.stderr.write('talk')\nsys.stdout.write('no end')",
        );
        let expected: String = (0..20).map(|n| format!("ours {n}\n")).collect();
        ran.gave(&format!("{expected}no end\n6\n"));
        assert!(ran.talk.starts_with("talk\n"), "{round}: {ran:?}");
    }
    subject.is_unchanged();
    let counts: serde_json::Value =
        serde_json::from_str(&subject.ask("exit").expect("it answers")).expect("JSON");
    let file = fs::read_to_string(&path).expect("it wrote its file");
    fs::remove_file(&path).expect("it can be removed");
    for kind in ["fresh", "cached"] {
        let lines: Vec<&str> = file.lines().filter(|line| line.starts_with(kind)).collect();
        assert_eq!(counts[kind], lines.len(), "{kind}");
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("{kind} {number}"));
        }
    }
    assert!(!file.contains("ours"), "what we printed is in its file");
    assert_eq!(
        file.lines().count() as u64,
        counts["fresh"].as_u64().unwrap() + counts["cached"].as_u64().unwrap()
    );
}

fn text_that_is_none(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    eval(pid, "'\\ud800'").gave("'\\ud800'\n");
    eval(pid, "print('\\udcff')").gave("\\udcff\n");
    eval(pid, "b'\\xff\\xfe'").gave("b'\\xff\\xfe'\n");
    eval(pid, "raise ValueError('\\ud800')").failed(1, "ValueError: \\ud800\n");
    eval(pid, "'é日本\u{1f600}'").gave("'é日本\u{1f600}'\n");
    let ran = run(["eval", &pid.to_string(), "['\\ud800', '\\x1b']", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["answers"][0]["repr"], "['\\ud800', '\\x1b']");
    let file =
        std::env::temp_dir().join(format!("live-{}-{}.py", std::process::id(), python.minor()));
    fs::write(&file, b"'\xff'").expect("it can be written");
    let ran = run(["eval", &pid.to_string(), "-f", file.to_str().unwrap()]);
    fs::remove_file(&file).expect("it can be removed");
    ran.failed(2, " is not UTF-8\n");
    subject.is_unchanged();
}

/// Bytes that were resident at most since the mark was reset.
fn most_resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    mark.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn reset_most_resident(pid: i32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("it is ours");
}

/// Values of 1 GiB are shown without being made again.
fn large_values(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    eval(pid, "0").gave("0\n");
    for (make, begins) in [
        ("'h' * (1 << 30)", "'hhhh"),
        ("b'h' * (1 << 30)", "b'hhhh"),
        ("bytearray(1 << 30)", "bytearray(b'\\x00\\x00"),
        ("[None] * (1 << 27)", "[None, None"),
        ("dict.fromkeys(range(1 << 20))", "{0: None, 1: None"),
    ] {
        subject.ask(&format!("exec huge = {make}")).expect("it answers");
        // As what a program has had for a while: else each collection of young objects goes through all of it.
        subject.ask("exec __import__('gc').collect()").expect("it answers");
        reset_most_resident(pid);
        let before = most_resident(pid);
        let ran = eval(pid, "huge");
        assert_eq!(ran.code, 0, "{make}: {}", ran.talk);
        assert!(
            ran.data.starts_with(begins) && ran.data.len() < 3 << 20,
            "{make}: {}",
            ran.data.len()
        );
        assert!(ran.talk.starts_with("the value was cut; "), "{make}: {}", ran.talk);
        ran.left(pid);
        let after = most_resident(pid);
        assert!(after < before + (8 << 20), "{make}: from {before} to {after} bytes");
        subject.ask("exec del huge").expect("it answers");
    }
}

fn reprs(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "hostile")).by_threads(2);
    let pid = subject.pid();
    for name in
        ["raises", "raises_base", "lies", "nameless", "recurses", "endless", "deep", "wide", "big"]
    {
        let ran = eval(pid, name);
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        assert!(ran.data.len() < 3 << 20, "{name}: {}", ran.data.len());
        assert_eq!(spyhole_testkit::hostile::first_forbidden(&ran.data), None, "{name}");
        assert_eq!(spyhole_testkit::hostile::first_forbidden(&ran.talk), None, "{name}");
        ran.left(pid);
    }
    eval(pid, "endless").gave("[[...]]\n");
    // What a repr prints is printed text of this evaluation.
    let ran = eval(pid, "prints");
    assert!(ran.data.ends_with("printed\n") && ran.data.contains("\\x1b[2J"), "{ran:?}");
    let ran = run(["eval", &pid.to_string(), "loops", "--timeout", "300ms"]);
    ran.failed(1, "timed out after 300ms");
    ran.left(pid);
    eval(pid, "[named, 1]").gave(&format!("[{}, 1]\n", eval(pid, "named").data.trim_end()));
    subject.is_unchanged();
}

on_full_set! { names statements failures printed_apart text_that_is_none reprs }
on_three! { large_values }
