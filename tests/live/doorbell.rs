//! Doors that applications leave, rung by the program: the tests are Python's, since the programs are.

use std::process::Command;
use std::time::Duration;

use spyhole_testkit::{Interpreter, census, limited};

/// For all of them together; each wait within has a limit of its own.
const LIMIT: Duration = Duration::from_secs(300);

fn doors_of_applications(python: &Interpreter) {
    python_tests(python, "test_doorbell.py");
}

fn consoles_on_sockets(python: &Interpreter) {
    python_tests(python, "test_socket_console.py");
}

fn python_tests(python: &Interpreter, file: &str) {
    let Some(python) = python.with_packages() else {
        census::skipped(
            "doorbell",
            "no environment with the packages: `cargo xtask venvs` makes it",
        );
        return;
    };
    let tests = spyhole_testkit::place::workspace().join("crates/agent/python/tests");
    let mut command = Command::new(&python.path);
    command
        .args(["-B", "-m", "unittest", "discover", "-p", file, "-s"])
        .arg(&tests)
        .env("PYTHONPATH", tests.with_file_name(""))
        .env("SPYHOLE_PROGRAM", env!("CARGO_BIN_EXE_spyhole"));
    let ended = limited::run(&mut command, LIMIT).expect("it ends in time");
    assert!(ended.success(), "{}", ended.stderr_text());
}

each! { on, doors_of_applications, py36 = "3.6", py313 = "3.13" }
each! { on, consoles_on_sockets, py36 = "3.6", py313 = "3.13" }
