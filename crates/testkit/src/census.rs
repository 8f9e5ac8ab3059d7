//! What a test run covered and what it left out, so that a skipped test is counted and not unseen.
//!
//! Lines are added to files below `target/census`, by all test programs of a run; who starts the
//! run empties the folder, and reads it afterwards (`cargo xtask census`).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use crate::{Interpreter, place};

/// Where the files are.
pub fn folder() -> PathBuf {
    place::workspace().join("target/census")
}

/// A test ran on this interpreter.
pub fn covered(test: &str, interpreter: &Interpreter) {
    record("covered", &format!("{} {test}", interpreter.minor()));
}

/// A test did not run, and why.
pub fn skipped(test: &str, reason: &str) {
    println!("skipped: {test}: {reason}");
    record("skipped", &format!("{test}: {reason}"));
}

fn record(name: &str, line: &str) {
    let folder = folder();
    let line = format!("{}\n", line.replace('\n', " "));
    let written = fs::create_dir_all(&folder)
        // One write to a file opened for appending: lines of several programs do not mix.
        .and_then(|()| OpenOptions::new().create(true).append(true).open(folder.join(name)))
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        println!("census: cannot record `{}`: {error}", line.trim_end());
    }
}
