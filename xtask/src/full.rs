//! `cargo xtask full`: everything on everything, however long it takes.
//!
//! It knows the order. All steps are run, also after one that failed, and the failures told at the end.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use spyhole_testkit::interpreters;

use crate::{
    agent, census, compile, dist, kills, layouts, pythons, stress, venvs, wheel, workspace,
};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("format", || cargo(&["fmt", "--all", "--check"], None)),
    ("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], None)),
    ("lints with all features", || {
        let words =
            ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
        cargo(&words, None)
    }),
    ("interpreters", || pythons::run(&[])),
    ("layouts", || layouts::run(&["--check".to_owned()])),
    ("environments", || venvs::run(&["--all".to_owned()])),
    ("census", || census::run(&["--reset".to_owned()])),
    ("compiled agent", || compile::run(&["--check".to_owned()])),
    ("tests", || cargo(&["test", "--workspace", "--no-fail-fast"], Some("SPYHOLE_TEST_ALL"))),
    ("agent", || {
        let all: Vec<String> = interpreters::interpreters().iter().map(|one| one.minor()).collect();
        agent::run(&all)
    }),
    ("what was covered", || census::run(&[])),
    ("death at every step", || kills::run(&[])),
    ("stress", || stress::run(&[])),
    ("static program", || dist::run(&["--check".to_owned()])),
    ("wheel", || wheel::run(&["--check".to_owned()])),
    ("licences and sources", deny),
];

pub(crate) fn run(words: &[String]) -> Result<()> {
    if let Some(word) = words.first() {
        bail!("no option `{word}`; this chore takes none");
    }
    let start = Instant::now();
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name} ({} s)", start.elapsed().as_secs());
        if let Err(error) = step() {
            println!("failed: {error:#}");
            failed.push(*name);
        }
    }
    println!(
        "\n== {} of {} hold ({} s)",
        STEPS.len() - failed.len(),
        STEPS.len(),
        start.elapsed().as_secs()
    );
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

fn cargo(words: &[&str], switch: Option<&str>) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(words);
    if let Some(switch) = switch {
        command.env(switch, "1");
    }
    checked(&mut command)
}

fn deny() -> Result<()> {
    let words = ["deny", "check", "licenses", "bans", "sources"];
    let found = Command::new("cargo-deny").arg("--version").output();
    let program = if found.is_ok_and(|output| output.status.success()) {
        PathBuf::from("cargo-deny")
    } else {
        install_deny()?
    };
    // As cargo itself would call it.
    checked(Command::new(program).args(words).current_dir(workspace::root()))
}

/// Into the generated folder, once.
fn install_deny() -> Result<PathBuf> {
    let folder = workspace::generated("tools");
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        let mut command = workspace::cargo();
        command.args(["install", "--quiet", "--locked", "cargo-deny", "--root"]).arg(&folder);
        checked(&mut command)?;
    }
    Ok(program)
}

fn checked(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
