//! `console` from a pipe.

use crate::program::{Worker, run_with_input, shop, unique};

#[test]
fn results_alone_are_printed() {
    let mut worker = Worker::start(&unique("shop-console"), 1);
    let pid = worker.pid().to_string();
    let input =
        "x = 3\nx * 2\nfor n in range(2):\n    print(n)\n\nNone\n1/0\n'after'\nexit()\n'never'\n";
    let ran = run_with_input(&["console", &pid], input);
    assert_eq!((ran.code, ran.data.as_str()), (0, "6\n0\n1\n'after'\n"), "{}", ran.talk);
    let first = ran.talk.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("Remote console PID={pid}, Python 3.")), "{}", ran.talk);
    assert!(first.ends_with(", place thread"), "{}", ran.talk);
    assert!(ran.talk.contains("ZeroDivisionError: division by zero\n"), "{}", ran.talk);
    assert!(
        ran.talk
            .lines()
            .last()
            .unwrap_or_default()
            .starts_with(&format!("left {pid} as it was (held "))
    );
    assert!(worker.is_alive());
}

#[test]
fn it_is_for_one_process() {
    let name = unique("shop-several");
    let workers = shop(&name);
    let ran = run_with_input(&["console", &name], "1\n");
    assert_eq!((ran.code, ran.data.as_str()), (2, ""), "{ran:?}");
    assert!(
        workers.iter().all(|worker| ran.talk.contains(&worker.pid().to_string())),
        "{}",
        ran.talk
    );
    assert!(ran.talk.contains("error: 4 processes match, and this is for one\n"), "{}", ran.talk);
}

#[test]
fn a_process_that_ends_is_told() {
    let worker = Worker::start(&unique("shop-dying"), 1);
    let pid = worker.pid().to_string();
    let ran = run_with_input(&["console", &pid], "import os\nos._exit(1)\n'never'\n");
    assert_eq!((ran.code, ran.data.as_str()), (5, ""), "{ran:?}");
    assert!(ran.talk.contains(&format!("error: process {pid} is gone")), "{}", ran.talk);
}
