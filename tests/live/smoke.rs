//! Each command once, on every version.

use spyhole_testkit::Interpreter;

use crate::program::{run, run_with_input};
use crate::subjects::quiet;

fn ps(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    let ran = run(["ps", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let rows = ran.json();
    let row = rows.as_array().expect("a list").iter().find(|row| row["pid"] == pid);
    let row = row.unwrap_or_else(|| panic!("no {pid} in {rows}"));
    assert_eq!(row["python"], python.full_version(), "{row}");
    assert_eq!(row["implementation"], "cpython");
    assert_eq!(row["threads"], 1);
    assert_eq!((&row["look"]["ok"], &row["ask"]["ok"]), (&true.into(), &true.into()), "{row}");
    assert_eq!(row["ask"]["door"], "thread");
    subject.is_unchanged();
}

fn eval(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    let ran =
        run(["eval", &pid.to_string(), "import sys; print(words); sys.version_info[:3]", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let answer = &ran.json()["answers"][0];
    let (major, minor, micro) = python.version;
    assert_eq!(answer["value"], serde_json::json!([major, minor, micro]), "{answer}");
    assert_eq!(answer["stdout"], "['spy', 'hole']\n");
    assert_eq!(answer["pid"], pid);
    ran.left(pid);
    subject.is_unchanged();
}

fn console(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    let ran = run_with_input(
        &["console", &pid.to_string(), "--no-history"],
        "def twice(x):\n    return 2 * x\n\ntwice(answer)\nwords[5]\n_ + 1\n",
    );
    ran.gave("84\n85\n");
    let banner =
        format!("Remote console PID={pid}, Python {}, place thread\n", python.full_version());
    assert!(ran.talk.starts_with(&banner), "{ran:?}");
    assert!(ran.talk.contains("IndexError: list index out of range\n"), "{ran:?}");
    ran.left(pid);
    subject.is_unchanged();
}

on_all! { ps eval console }
