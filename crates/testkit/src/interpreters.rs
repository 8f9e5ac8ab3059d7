//! The Python interpreters of this machine: pyenv's, those in the Debian roots, and those on PATH.
//!
//! It knows where to look and asks each one for its version. It does not know which versions
//! ought to be there: `required` does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::{limited, place};

/// Where an interpreter was found; of one minor version the first of this order is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Pyenv,
    /// In a Debian root, reached by `chroot`.
    Root,
    Path,
}

/// One interpreter that was run and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// `(3, 11, 7)`
    pub version: (u8, u8, u8),
    /// The executable as seen from inside `root`.
    pub path: PathBuf,
    /// The root to change to first; `None` for the machine's own.
    pub root: Option<PathBuf>,
    pub origin: Origin,
    /// Linked against a `libpython`, and not a program that holds the runtime itself.
    pub shared: bool,
}

impl Interpreter {
    /// `3.11`
    pub fn minor(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// `3.11.7`
    pub fn full_version(&self) -> String {
        format!("{}.{}.{}", self.version.0, self.version.1, self.version.2)
    }

    /// A command that becomes this interpreter: the pid that it starts is Python's.
    pub fn command(&self) -> Command {
        match &self.root {
            None => Command::new(&self.path),
            Some(root) => {
                let mut command = Command::new("/usr/sbin/chroot");
                command.arg(root).arg(&self.path);
                command
            }
        }
    }

    /// Folders with one version of greenlet each, for `PYTHONPATH` as this interpreter sees it.
    pub fn greenlets(&self) -> Vec<PathBuf> {
        let folder = self.greenlet_folder();
        let prefix = format!("{}-", self.minor());
        let fits = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix)
        };
        let inside = |path: PathBuf| match &self.root {
            Some(root) => Path::new("/").join(path.strip_prefix(root).unwrap_or(&path)),
            None => path,
        };
        entries(&folder).into_iter().filter(fits).map(inside).collect()
    }

    /// Where they are, seen from outside.
    pub fn greenlet_folder(&self) -> PathBuf {
        match &self.root {
            Some(root) => root.join("opt/greenlets"),
            None => place::venvs().join("greenlets"),
        }
    }

    /// The same version in the environment that has gevent and eventlet, if it was made.
    pub fn with_packages(&self) -> Option<Self> {
        let path = place::venvs().join(self.minor()).join("bin/python");
        (self.root.is_none() && path.exists()).then(|| Self { path, ..self.clone() })
    }
}

/// One interpreter for each minor version, oldest first.
pub fn interpreters() -> Vec<Interpreter> {
    let mut chosen: BTreeMap<(u8, u8), Interpreter> = BTreeMap::new();
    for found in everything() {
        chosen.entry((found.version.0, found.version.1)).or_insert_with(|| found.clone());
    }
    chosen.into_values().collect()
}

/// Every interpreter that was found, the preferred ones first: also the second of a version, which
/// may be built in another way.
pub fn everything() -> &'static [Interpreter] {
    static FOUND: OnceLock<Vec<Interpreter>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found: Vec<Interpreter> = candidates().into_iter().filter_map(ask).collect();
        found.sort_by_key(|one| (one.origin, std::cmp::Reverse(one.version)));
        found
    })
}

/// The preferred interpreter of a minor version, written `3.8`.
pub fn for_version(minor: &str) -> Option<Interpreter> {
    interpreters().into_iter().find(|one| one.minor() == minor)
}

struct Candidate {
    path: PathBuf,
    root: Option<PathBuf>,
    origin: Origin,
}

fn candidates() -> Vec<Candidate> {
    let mut found = Vec::new();
    if let Some(pyenv) = pyenv() {
        for version in entries(&pyenv.join("versions")) {
            let path = version.join("bin/python3");
            found.push(Candidate { path, root: None, origin: Origin::Pyenv });
        }
    }
    for root in entries(&place::pythons()) {
        // A hidden folder is a root that is not finished.
        if root.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        for path in pythons_in(&root.join("usr/bin")) {
            let inside = Path::new("/").join(path.strip_prefix(&root).unwrap_or(&path));
            found.push(Candidate { path: inside, root: Some(root.clone()), origin: Origin::Root });
        }
    }
    let mut seen = Vec::new();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        for path in pythons_in(&folder) {
            let Ok(real) = path.canonicalize() else { continue };
            // A script called python3.X is a wrapper; what it starts is found by itself.
            if is_elf(&real) && !seen.contains(&real) {
                seen.push(real);
                found.push(Candidate { path, root: None, origin: Origin::Path });
            }
        }
    }
    found
}

fn pyenv() -> Option<PathBuf> {
    std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn pythons_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| path.file_name().is_some_and(is_minor_name)).collect()
}

/// `python3.11`, but not `python3`, `python3.11-config` or `python3.13t`.
fn is_minor_name(name: &OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix("python3."))
        .is_some_and(|minor| !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && &magic == b"\x7fELF"
}

/// Runs the candidate; `None` if it does not run, or is no CPython 3 with a GIL.
fn ask(candidate: Candidate) -> Option<Interpreter> {
    let mut interpreter = Interpreter {
        version: (0, 0, 0),
        path: candidate.path,
        root: candidate.root,
        origin: candidate.origin,
        shared: false,
    };
    let mut command = interpreter.command();
    command.args(["-I", "-S", "-c", QUESTION]);
    let finished = limited::run(&mut command, Duration::from_secs(20)).ok()?;
    if !finished.success() {
        return None;
    }
    (interpreter.version, interpreter.shared) = parse_answer(&finished.stdout_text())?;
    Some(interpreter)
}

const QUESTION: &str = "import sys
gil = getattr(sys, '_is_gil_enabled', lambda: True)()
name = sys.implementation.name if gil else 'free-threaded'
import sysconfig
print(name, *sys.version_info[:3], int(bool(sysconfig.get_config_var('Py_ENABLE_SHARED'))))
";

fn parse_answer(answer: &str) -> Option<((u8, u8, u8), bool)> {
    let mut words = answer.split_whitespace();
    if words.next()? != "cpython" {
        return None;
    }
    let mut number = || words.next()?.parse().ok();
    let version = (number()?, number()?, number()?);
    (version.0 == 3).then_some((version, words.next()? == "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_minor_names_are_interpreters() {
        for name in ["python3.6", "python3.15"] {
            assert!(is_minor_name(OsStr::new(name)), "{name}");
        }
        for name in ["python", "python3", "python3.", "python3.11-config", "python3.13t"] {
            assert!(!is_minor_name(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn other_implementations_are_left_out() {
        assert_eq!(parse_answer("cpython 3 11 7 1\n"), Some(((3, 11, 7), true)));
        assert_eq!(parse_answer("pypy 3 10 1 0\n"), None);
        assert_eq!(parse_answer("free-threaded 3 13 0 0\n"), None);
        assert_eq!(parse_answer(""), None);
    }

    #[test]
    fn each_minor_version_is_listed_once_and_in_order() {
        let found = interpreters();
        assert!(!found.is_empty(), "no Python on this machine");
        assert!(found.is_sorted_by_key(|one| one.version));
        for one in &found {
            assert_eq!(for_version(&one.minor()).as_ref(), Some(one));
        }
    }
}
