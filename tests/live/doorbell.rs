//! Doors that applications leave, rung by the program: the tests are Python's, since the programs are.

use std::process::Command;
use std::time::Duration;

use spyhole_testkit::{Interpreter, census, limited};

/// For all of them together; each wait within has a limit of its own.
const LIMIT: Duration = Duration::from_secs(300);

fn doors_of_applications(python: &Interpreter) {
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
        .args(["-B", "-m", "unittest", "discover", "-p", "test_doorbell.py", "-s"])
        .arg(&tests)
        .env("PYTHONPATH", tests.with_file_name(""))
        .env("SPYHOLE_PROGRAM", env!("CARGO_BIN_EXE_spyhole"));
    let ended = limited::run(&mut command, LIMIT).expect("it ends in time");
    assert!(ended.success(), "{}", ended.stderr_text());
}

each! { on, doors_of_applications, py36 = "3.6", py313 = "3.13" }
