//! The Python processes of this machine.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use spyhole_cpython::Version;
use spyhole_proc::access;
use spyhole_proc::bell;
use spyhole_proc::find::{self, MappedFile, Process, Recogniser, Viewer};
use spyhole_proc::maps::{Mapping, Maps};
use spyhole_proc::memory::{Cached, Live};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stat::Status;
use spyhole_proc::tasks;
use spyhole_proc::users::Users;

use crate::interpreters as inside;
use crate::model::{Allowed, ProcessRow};

/// What a file makes of a process that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    CPython(Option<Version>),
    PyPy,
}

/// Tells Python processes from others.
pub(crate) struct Pythons {
    /// By the symbols of what they run.
    files: Recogniser<Kind>,
}

impl Pythons {
    pub(crate) fn new() -> Self {
        Self { files: Recogniser::new(&[b"libpython", b"libpypy"], kind_of) }
    }

    /// What a process runs; `None` if it is not Python.
    pub(crate) fn recognise(&mut self, pid: i32) -> Option<Kind> {
        if let Some((kind, _)) = self.files.recognise(pid) {
            return Some(kind);
        }
        // Of a program that tells nothing only the process itself says what it is.
        let live = Live { pid };
        let maps = match Maps::of(pid) {
            // It may not be looked at. A name-plate is Python's, and what is behind it says which one.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return can_be_rung(pid).then_some(Kind::CPython(None));
            }
            maps => maps.ok()?,
        };
        let mapping = mapping_of(&MappedFile::Executable { pid }, &maps)?;
        spyhole_cpython::runs_python(&Cached::new(live), &maps, &mapping)
            .map(|version| Kind::CPython(Some(version)))
    }
}

/// It is prepared, and its doorbell can be rung by this user.
pub(crate) fn can_be_rung(pid: i32) -> bool {
    Status::of(pid).is_ok_and(|status| bell::has_name_plate(&status) && bell::may_ring(&status))
}

fn kind_of(file: &MappedFile) -> Option<Kind> {
    let pid = file.pid();
    let maps = Maps::of(pid).ok()?;
    let mapping = mapping_of(file, &maps)?;
    if mapping.file_name().starts_with(b"libpypy") || mapping.file_name().starts_with(b"pypy") {
        return Some(Kind::PyPy);
    }
    let live = Live { pid };
    let memory = Cached::new(live);
    spyhole_cpython::holds_python(&memory, &maps, &mapping, &live).map(Kind::CPython)
}

fn mapping_of(file: &MappedFile, maps: &Maps) -> Option<Mapping> {
    match file {
        MappedFile::Library { mapping, .. } => Some(mapping.clone()),
        MappedFile::Executable { pid } => {
            let inode = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?.ino();
            maps.iter().find(|m| m.executable && m.is_file() && m.inode == inode).cloned()
        }
    }
}

/// All that are there now, by pid; with `pattern` only those whose command line holds it. `whole`: with their
/// interpreters.
pub fn list(pattern: Option<&str>, whole: bool) -> Vec<ProcessRow> {
    let Ok(viewer) = Viewer::this_process() else { return Vec::new() };
    let all = find::list(&viewer).unwrap_or_default();
    let chosen: Vec<&Process> = match pattern {
        Some(pattern) => find::matching(&all, &viewer, pattern.as_bytes()),
        None => all.iter().filter(|p| p.pid != std::process::id() as i32).collect(),
    };
    let users = Users::of_this_machine().ok();
    let mut pythons = Pythons::new();
    let rows = chosen.into_iter().filter_map(|process| {
        let kind = pythons.recognise(process.pid)?;
        let mut row = row(process, kind, users.as_ref());
        if whole && matches!(kind, Kind::CPython(_)) {
            row.interpreter_list = Pidfd::open(process.pid).ok().map(|held| inside::rows(&held));
        }
        Some(row)
    });
    rows.collect()
}

/// Those of these processes that are there and run Python.
pub(crate) fn of(pids: impl Iterator<Item = i32>) -> Vec<ProcessRow> {
    let all = find::list(&Viewer { uid: 0, lineage: Vec::new() }).unwrap_or_default();
    let users = Users::of_this_machine().ok();
    let mut pythons = Pythons::new();
    let rows = pids.filter_map(|pid| {
        let process = all.iter().find(|process| process.pid == pid)?;
        Some(row(process, pythons.recognise(pid)?, users.as_ref()))
    });
    rows.collect()
}

fn row(process: &Process, kind: Kind, users: Option<&Users>) -> ProcessRow {
    let cmdline = text(&process.command_line);
    let (implementation, python) = match kind {
        Kind::CPython(version) => ("cpython", version),
        Kind::PyPy => ("pypy", None),
    };
    let executable = std::fs::read_link(format!("/proc/{}/exe", process.pid));
    let inside = match kind {
        Kind::PyPy => Vec::new(),
        Kind::CPython(_) => {
            Pidfd::open(process.pid).map(|held| inside::rows(&held)).unwrap_or_default()
        }
    };
    let has = |package: &str| inside.iter().any(|one| one.packages.iter().any(|p| p == package));
    let known = what_it_is(&cmdline);
    // Without a name of its own a daemon looks like any other child of its server.
    let told = [("mod_wsgi", "mod_wsgi"), ("uwsgi", "uWSGI")];
    let known = known.or_else(|| Some(told.iter().find(|(package, _)| has(package))?.1));
    let loops = ["asyncio", "eventlet", "gevent"];
    let named = inside.iter().filter_map(|one| one.name.clone());
    ProcessRow {
        pid: process.pid,
        namespace_pid: tasks::inner_id(process.pid, process.pid).filter(|own| *own != process.pid),
        ppid: process.ppid,
        user: users.map_or_else(|| process.uid.to_string(), |u| u.shown(process.uid)),
        python: python.map(|v| v.to_string()),
        implementation: implementation.to_owned(),
        executable: executable.ok().map(|p| p.to_string_lossy().into_owned()),
        age: process.age,
        threads: process.threads,
        interpreters: u32::try_from(inside.len()).ok().filter(|count| *count > 0),
        interpreter_list: None,
        kind: known.map(|kind| of_a_pair(process, kind)),
        loaded: loops.into_iter().filter(|one| has(one)).map(str::to_owned).collect(),
        groups: named.filter(|name| !name.is_empty()).collect(),
        look: look(process.pid, kind),
        ask: ask(process.pid, kind),
        cmdline,
    }
}

const PYPY: &str = "it runs PyPy, not CPython";

fn look(pid: i32, kind: Kind) -> Allowed {
    let reason = match kind {
        Kind::PyPy => Some(PYPY.to_owned()),
        Kind::CPython(_) => access::assess(pid).look.err().map(|cause| cause.to_string()),
    };
    Allowed { ok: reason.is_none(), door: None, reason }
}

fn ask(pid: i32, kind: Kind) -> Allowed {
    let refused = |reason: String| Allowed { ok: false, door: None, reason: Some(reason) };
    if kind == Kind::PyPy {
        return refused(PYPY.to_owned());
    }
    let process = match Pidfd::open(pid) {
        Ok(process) => process,
        Err(_) => return refused(format!("process {pid} ended meanwhile")),
    };
    match spyhole_attach::could_attach(&process) {
        Ok(door @ "doorbell") if can_be_rung(pid) => {
            Allowed { ok: true, door: Some(door.to_owned()), reason: None }
        }
        Ok(door) => match access::assess(pid).ask {
            Ok(()) => Allowed { ok: true, door: Some(door.to_owned()), reason: None },
            Err(cause) => refused(cause.to_string()),
        },
        Err(error) => refused(error.to_string()),
    }
}

/// The words of a command line as text; what is not UTF-8 shows as U+FFFD.
pub(crate) fn text(words: &[Vec<u8>]) -> Vec<String> {
    words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Of servers that fork: the one that was forked from its like is a worker, the one that has such children their master.
fn of_a_pair(process: &Process, kind: &str) -> String {
    let is_like = |pid: i32| {
        let words = spyhole_proc::stat::command_line(pid).unwrap_or_default();
        what_it_is(&text(&words)) == Some(kind)
    };
    let forks = matches!(kind, "gunicorn" | "uWSGI" | "celery" | "uvicorn" | "hypercorn");
    if !forks {
        return kind.to_owned();
    }
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", process.pid);
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let children: Vec<i32> =
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        children.into_iter().any(is_like)
    };
    match () {
        () if is_like(process.ppid) => format!("{kind} worker"),
        () if children() => format!("{kind} master"),
        () => kind.to_owned(),
    }
}

/// What a process is, as its command line calls itself.
fn what_it_is(cmdline: &[String]) -> Option<&'static str> {
    let first = cmdline.first()?;
    if first.starts_with("gunicorn: ") {
        return Some(if first.contains("master") { "gunicorn master" } else { "gunicorn worker" });
    }
    if first.starts_with("(wsgi:") {
        return Some("mod_wsgi daemon");
    }
    let known = [
        ("gunicorn", "gunicorn"),
        ("uvicorn", "uvicorn"),
        ("hypercorn", "hypercorn"),
        ("celery", "celery"),
        ("uwsgi", "uWSGI"),
        ("uwsgi-core", "uWSGI"),
        ("uwsgi_python3", "uWSGI"),
        ("ipykernel_launcher", "notebook kernel"),
        ("ipykernel", "notebook kernel"),
        ("jupyter-lab", "notebook server"),
        ("jupyter-notebook", "notebook server"),
        ("daphne", "daphne"),
        ("waitress-serve", "waitress"),
    ];
    cmdline.iter().take(4).find_map(|word| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let name = name.strip_suffix(".py").unwrap_or(name);
        known.iter().find(|(program, _)| name == *program).map(|(_, kind)| *kind)
    })
}
