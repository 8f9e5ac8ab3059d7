//! `cargo xtask census`: which interpreters are here, what a test run covered, what it skipped.
//!
//! Fails if an interpreter that `tests/pythons.txt` names is not on the machine.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use spyhole_testkit::{census, interpreters, required};

pub(crate) fn run(words: &[String]) -> Result<()> {
    match words {
        [] => report(),
        [word] if word == "--reset" => reset(),
        _ => bail!("no such option; there is `--reset`, before a run"),
    }
}

fn reset() -> Result<()> {
    let folder = census::folder();
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    Ok(())
}

fn report() -> Result<()> {
    let covered = lines("covered");
    let mut tests: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &covered {
        *tests.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    println!("interpreters:");
    for one in interpreters::interpreters() {
        let count = tests.get(one.minor().as_str()).copied().unwrap_or(0);
        let root = one.root.as_ref().map(|root| format!(" in {}", root.display()));
        let (version, path) = (one.full_version(), one.path.display());
        println!("  {version:<8} {count:>4} live tests  {path}{}", root.unwrap_or_default());
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines("skipped") {
        *reasons.entry(line).or_default() += 1;
    }
    println!("skipped: {}", reasons.values().sum::<usize>());
    for (reason, count) in &reasons {
        println!("  {count:>4} {reason}");
    }
    let missing = required::missing();
    if !missing.is_empty() {
        bail!("no interpreter for {}, which tests/pythons.txt names", missing.join(", "));
    }
    Ok(())
}

fn lines(name: &str) -> Vec<String> {
    let text = fs::read_to_string(census::folder().join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
