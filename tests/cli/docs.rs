//! Every example of the documents is run, and what it prints has the shape that the document shows.
//!
//! 4121 to 4124 and `shop` stand for sample workers. Examples that need something else are run where that is: those of
//! `mod_wsgi` in `tests/live/apache.rs`.

use std::path::PathBuf;

use spyhole_testkit::document;

use crate::program::{Worker, spyhole, unique};

/// The command with real workers in the place of those that the document names.
fn filled(command: &str, name: &str, workers: &[Worker]) -> String {
    let mut filled = command.to_owned();
    for (index, worker) in workers.iter().enumerate() {
        filled = filled.replace(&(4121 + index).to_string(), &worker.pid().to_string());
    }
    let words: Vec<String> = filled
        .split(' ')
        .map(|word| match word {
            "shop" | "'shop" => word.replace("shop", name),
            "shop;" => format!("{name};"),
            other => other.to_owned(),
        })
        .collect();
    words.join(" ")
}

fn check(file: &str) {
    let examples = document::examples(file);
    assert!(!examples.is_empty(), "{file} has examples");
    let name = unique(&format!("sample-{}", file.replace(['/', '.'], "-")));
    let workers: Vec<Worker> = (1..=4).map(|number| Worker::start(&name, number)).collect();
    let program = PathBuf::from(spyhole().get_program());
    for example in examples.iter().filter(|example| example.needs.is_empty()) {
        let shown = document::shown(&filled(&example.command, &name, &workers), &program);
        example.is(file, &shown, |line| line.replace(&name, "shop"));
    }
}

#[test]
fn readme() {
    check("README.md");
}

#[test]
fn ps() {
    check("docs/ps.md");
}

#[test]
fn stack() {
    check("docs/stack.md");
}

#[test]
fn get() {
    check("docs/get.md");
}

#[test]
fn doctor() {
    check("docs/doctor.md");
}

#[test]
fn report() {
    check("docs/report.md");
}

#[test]
fn requests() {
    check("docs/requests.md");
}

#[test]
fn eval() {
    check("docs/eval.md");
}

#[test]
fn console() {
    check("docs/console.md");
}

#[test]
fn ispy() {
    check("docs/ispy.md");
}

#[test]
fn trace() {
    check("docs/trace.md");
}

#[test]
fn demo() {
    check("docs/demo.md");
}
