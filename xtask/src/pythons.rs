//! `cargo xtask pythons`: a Debian root with the interpreters that are newer than this machine's.
//!
//! It knows which versions the live tests want from which suite, and where the tests look for
//! them (`target/pythons/SUITE`). How a root is made is `debian`'s.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{debian, workspace};

/// The suite that has them all, and the versions wanted from it.
const SUITE: &str = "forky";
const VERSIONS: &[&str] = &["3.14", "3.15"];

pub(crate) fn run(words: &[String]) -> Result<()> {
    let options = Options::parse(words)?;
    let folder = options.folder.unwrap_or_else(|| workspace::generated("pythons"));
    let root = folder.join(SUITE);
    if let Ok(found) = versions(&root) {
        report(&root, &found);
        return Ok(());
    }
    debian::require_root()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;

    // Two runs at once: the second waits, and then finds the work done.
    let lock = File::create(folder.join(".lock")).context("cannot make the lock file")?;
    lock.lock().context("cannot take the lock")?;
    if let Ok(found) = versions(&root) {
        report(&root, &found);
        return Ok(());
    }
    let mirror = match options.mirror {
        Some(mirror) => mirror,
        None => debian::mirror()?,
    };
    println!("making {} from suite {SUITE} of {mirror}", root.display());
    let found = build(&folder, &root, &mirror)?;
    report(&root, &found);
    Ok(())
}

/// Builds under another name and renames at the end, so that a root that exists is complete.
fn build(folder: &Path, root: &Path, mirror: &str) -> Result<Vec<String>> {
    delete_leftovers(folder)?;
    let unfinished = folder.join(format!(".{SUITE}.unfinished"));
    let packages: Vec<String> = VERSIONS.iter().map(|version| format!("python{version}")).collect();
    debian::unpack(&debian::Suite { name: SUITE, mirror, packages: &packages }, &unfinished)?;
    debian::slim(&unfinished)?;
    let found = versions(&unfinished)?;
    if root.exists() {
        fs::rename(root, folder.join(format!(".{SUITE}.broken")))
            .context("cannot move the broken root away")?;
    }
    fs::rename(&unfinished, root).context("cannot put the root in its place")?;
    delete_leftovers(folder)?;
    Ok(found)
}

/// What a run that was killed left behind. Called with the lock held.
fn delete_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() && name.to_string_lossy().starts_with('.') {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot delete {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// The exact version of each interpreter, asked of the interpreter itself.
fn versions(root: &Path) -> Result<Vec<String>> {
    VERSIONS.iter().map(|version| ask(root, version)).collect()
}

fn ask(root: &Path, version: &str) -> Result<String> {
    let name = format!("python{version}");
    if !root.join("usr/bin").join(&name).exists() {
        bail!("{} has no {name}", root.display());
    }
    let output = Command::new("/usr/sbin/chroot")
        .arg(root)
        .args([&format!("/usr/bin/{name}"), "-I", "-c"])
        // `encodings`, `zlib` and `unittest` stand for the standard library being there.
        .arg("import platform, unittest, zlib; print(platform.python_version())")
        .output()
        .context("cannot run chroot")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} in {} does not run: {}", root.display(), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn report(root: &Path, found: &[String]) {
    for version in found {
        println!("python {version} in {}", root.display());
    }
}

#[derive(Default)]
struct Options {
    folder: Option<PathBuf>,
    mirror: Option<String>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "--dir" => options.folder = Some(PathBuf::from(value?)),
                "--mirror" => options.mirror = Some(value?.clone()),
                _ => bail!("no option `{word}`; there are `--dir DIR` and `--mirror URL`"),
            }
        }
        Ok(options)
    }
}
