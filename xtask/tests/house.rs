//! The rules that keep the workspace a house: who may depend on whom, where `unsafe` may be, what
//! is silent, how long a file may get. Each failure names the file and the rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const LONGEST: usize = 600;

/// What each crate may depend on, beside crates that are not ours. Later faces beside `spyhole`
/// get a row of their own.
const ARROWS: &[(&str, &[&str])] = &[
    ("spyhole", &["session", "attach", "cpython", "proc"]),
    ("spyhole-session", &["attach", "cpython", "proc", "agent"]),
    ("spyhole-attach", &["cpython", "proc", "agent", "stub"]),
    ("spyhole-cpython", &["proc"]),
    ("spyhole-proc", &[]),
    ("spyhole-agent", &[]),
    ("spyhole-stub", &[]),
    ("spyhole-testkit", &[]),
    // Chores ship nothing: they may look at every part.
    ("xtask", &["testkit", "session", "attach", "cpython", "proc", "agent", "stub"]),
];

/// The crates below the faces, which print nothing, read no environment and end no process.
const SILENT: &[&str] = &["proc", "cpython", "agent", "stub", "attach", "session"];

const LOUD: &[&str] = &[
    "println!",
    "eprintln!",
    "print!(",
    "eprint!(",
    "dbg!",
    "env::var",
    "env::args",
    "env::home_dir",
    "env::set_var",
    "process::exit",
    "io::stdout",
    "io::stderr",
    "io::stdin",
];

const UNSAFE: &[&str] = &["proc", "stub"];

const VAGUE: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "misc"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Every file of these folders, by path from the workspace.
fn files(folders: &[&str], extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name != "target" && !name.starts_with('.') {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.extension().is_some_and(|own| extensions.iter().any(|one| own == *one)) {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing to look at in {folders:?}");
    found
}

/// The lines of a Rust file that are neither comments nor its tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.lines().enumerate().peekable();
    let mut in_tests = false;
    std::iter::from_fn(move || {
        loop {
            let (index, line) = lines.next()?;
            if line.starts_with("#[cfg(test)]") {
                // The tests of a file are one module, up to the bracket that closes it.
                in_tests = lines.peek().is_some_and(|(_, next)| next.ends_with('{'));
            } else if in_tests {
                in_tests = line != "}";
            } else if !line.trim_start().starts_with("//") {
                return Some((index + 1, line));
            }
        }
    })
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn dependencies_point_in_the_right_direction() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(allowed) = rows.get(name) else {
            wrong.push(format!("crate `{name}` has no row in the table of arrows"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            let Some(short) = to.strip_prefix("spyhole-") else {
                if to == "spyhole" || to == "xtask" {
                    wrong.push(format!("`{name}` -> `{to}`"));
                }
                continue;
            };
            let for_tests = dependency["kind"] == "dev" && short == "testkit";
            if !for_tests && !allowed.contains(&short) {
                wrong.push(format!("`{name}` -> `{to}`"));
            }
        }
    }
    assert_none("arrows that the architecture does not have", &wrong);
}

#[test]
fn nothing_below_the_faces_prints_or_reads_the_environment() {
    let mut loud = Vec::new();
    for name in SILENT {
        let folder = format!("crates/{name}/src");
        for (path, text) in files(&[&folder], &["rs"]) {
            if is_test(&path) {
                continue;
            }
            for (line, code) in code(&text) {
                for word in LOUD.iter().filter(|word| code.contains(**word)) {
                    loud.push(format!("{}:{line}: {word}", path.display()));
                }
            }
        }
    }
    assert_none("only a face prints, reads the environment or exits", &loud);
}

#[test]
fn unsafe_code_is_where_it_belongs() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["crates", "xtask", "tests"], &["rs"]) {
        let home = UNSAFE.iter().any(|name| path.starts_with(format!("crates/{name}")));
        // This file names the word.
        if home || path.ends_with("house.rs") {
            continue;
        }
        for (line, code) in code(&text) {
            if ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe("]
                .iter()
                .any(|word| code.contains(word))
            {
                wrong.push(format!("{}:{line}", path.display()));
            }
        }
    }
    for (path, text) in files(&["crates", "xtask"], &["toml"]) {
        let home = UNSAFE.iter().any(|name| path.starts_with(format!("crates/{name}")));
        if path.ends_with("Cargo.toml") && !home && !text.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{} does not take the workspace's lints", path.display()));
        }
    }
    assert_none("`unsafe` belongs in proc and stub", &wrong);
}

#[test]
fn no_file_grows_too_long() {
    let long: Vec<String> = files(&["crates", "xtask", "tests"], &["rs", "py", "s", "S"])
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_none("a file has one reason to change, and 600 lines at most", &long);
}

/// Where the version of a target may be compared with a number: the version table, and what reads and shows versions.
const VERSION_TABLE: &[&str] = &["crates/cpython/src/layout", "crates/cpython/src/version.rs"];

#[test]
fn versions_are_compared_in_the_table_alone() {
    let mut wrong = Vec::new();
    for name in SILENT {
        for (path, text) in files(&[&format!("crates/{name}/src")], &["rs"]) {
            if is_test(&path) || VERSION_TABLE.iter().any(|home| path.starts_with(home)) {
                continue;
            }
            for (line, code) in code(&text) {
                let compares = ["Version::new(3", "minor <", "minor >", "minor ==", "minor !="];
                let matches = code.contains("match") && code.contains("minor");
                if matches || compares.iter().any(|word| code.contains(word)) {
                    wrong.push(format!("{}:{line}: {}", path.display(), code.trim()));
                }
            }
        }
    }
    assert_none("code asks the version table for a shape, not a version for its number", &wrong);
}

#[test]
fn names_say_what_is_inside() {
    // Programs import it under the name that ispyd's has.
    const GIVEN: &str = "python/spyhole/manager.py";
    let vague: Vec<String> = files(&["crates", "xtask", "tests"], &["rs", "py"])
        .iter()
        .filter(|(path, _)| !path.ends_with(GIVEN))
        .filter(|(path, _)| {
            path.with_extension("")
                .components()
                .any(|part| VAGUE.iter().any(|name| part.as_os_str() == *name))
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none("a name that says nothing", &vague);
}

#[test]
fn each_rust_file_says_what_it_knows() {
    let silent: Vec<String> = files(&["crates", "xtask", "tests"], &["rs"])
        .iter()
        .filter(|(path, text)| !path.ends_with("tests.rs") && !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none("a file without a header", &silent);
}

#[test]
fn tests_and_comments_are_not_code() {
    let text = "//! head\nfn a() {}\n// println!\n#[cfg(test)]\nmod tests {\n    println!();\n}\nfn b() {}\n\
                #[cfg(test)]\nmod tests;\n";
    let lines: Vec<usize> = code(text).map(|(line, _)| line).collect();
    assert_eq!(lines, [2, 8, 10]);
}
