//! Processes that see another machine than we do: other namespaces, another root, files that are gone, another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use spyhole_testkit::{Interpreter, Start, census};

use crate::program::{Running, eval, plain, run};
use crate::subjects::Subject;

/// A target in namespaces of its own; written down if this machine does not allow them.
fn within(test: &str, python: &Interpreter, namespaces: &[&str]) -> Option<Subject> {
    if !is_allowed(namespaces) {
        census::skipped(test, &format!("no right to make namespaces ({})", namespaces.join(" ")));
        return None;
    }
    Some(Subject::serving(Start::new(python, "quiet").within(namespaces.iter().copied())))
}

pub(crate) fn is_allowed(namespaces: &[&str]) -> bool {
    let made = Command::new("unshare").args(namespaces).args(["--fork", "--", "true"]).output();
    made.is_ok_and(|output| output.status.success())
}

/// It answers, is looked at, and is as it was.
#[track_caller]
fn is_served(subject: &mut Subject) {
    let pid = subject.pid();
    let ran = eval(pid, "answer");
    ran.gave("42\n");
    ran.left(pid);
    let looked = run(["stack", &pid.to_string(), "--json"]);
    assert_eq!(looked.code, 0, "{looked:?}");
    let document = looked.json();
    let thread = &document[0]["interpreters"][0]["threads"][0];
    assert_eq!(thread["native_id"], pid, "{document}");
    assert_eq!(thread["frames"][0]["function"], "serve", "{document}");
    let rows = run(["ps", "--json"]).json();
    let row = rows.as_array().expect("a list").iter().find(|row| row["pid"] == pid);
    let row = row.expect("it is listed");
    assert_eq!((&row["look"]["ok"], &row["ask"]["ok"]), (&true.into(), &true.into()), "{row}");
    subject.is_unchanged();
}

fn other_namespaces(python: &Interpreter) {
    for namespaces in [
        &["--mount"][..],
        &["--net", "--ipc", "--uts"],
        &["--user", "--map-root-user"],
        &["--pid"],
        &["--pid", "--mount-proc"],
        &[
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--mount-proc",
            "--net",
            "--ipc",
            "--uts",
            "--cgroup",
        ],
    ] {
        if let Some(mut subject) = within("other_namespaces", python, namespaces) {
            println!("in {}", namespaces.join(" "));
            is_served(&mut subject);
            // Where it has another number for itself, both are told.
            let rows = run(["ps", "--json"]).json();
            let row =
                rows.as_array().expect("a list").iter().find(|row| row["pid"] == subject.pid());
            let own =
                if namespaces.contains(&"--pid") { 1.into() } else { serde_json::Value::Null };
            assert_eq!(row.expect("it is listed")["namespace_pid"], own);
        }
    }
}

/// The first process of a namespace, asked from within it: there its number is 1.
fn number_one(python: &Interpreter) {
    let namespaces = ["--pid", "--mount-proc"];
    let Some(mut subject) = within("number_one", python, &namespaces) else { return };
    let pid = subject.pid().to_string();
    let inside = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--pid", "--mount"]).arg(env!("CARGO_BIN_EXE_spyhole"));
        Running::start(plain(command).args(words)).wait()
    };
    let ran = inside(&["eval", "1", "answer, __import__('os').getpid()"]);
    ran.gave("(42, 1)\n");
    ran.left(1);
    assert!(inside(&["stack", "1"]).data.contains("serve"));
    let rows = inside(&["ps", "--json"]).json();
    assert_eq!(rows[0]["pid"], 1, "{rows}");
    inside(&["eval", "quiet.py", "answer"]).gave("42\n");
    subject.is_unchanged();
}

/// A place for files that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, python: &Interpreter) -> Self {
        let own = format!("spyhole-live-{name}-{}-{}", python.minor(), std::process::id());
        let path = std::env::temp_dir().join(own);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in the machine's folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A target that confines itself to an empty folder, or becomes another user: root alone may.
fn confined(test: &str, python: &Interpreter, code: &str) -> Option<Subject> {
    let status = fs::read_to_string("/proc/self/status").expect("it is there");
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        census::skipped(test, "only root can change its root or user");
        return None;
    }
    let mut target = Start::new(python, "quiet").start().unwrap_or_else(|error| panic!("{error}"));
    let said = target.ask(&format!("exec exec({})", serde_json::json!(code))).expect("it answers");
    assert_eq!(said, "\"done\"");
    Some(Subject::serving_from(target))
}

/// Nothing can be opened there: no library, no `/proc`.
fn empty_root(python: &Interpreter) {
    let folder = Folder::new("empty", python);
    let place = if python.root.is_some() { Path::new("/opt") } else { folder.0.as_path() };
    let code = format!("import os; os.chroot({:?}); os.chdir('/')", place.display().to_string());
    let Some(mut subject) = confined("empty_root", python, &code) else { return };
    is_served(&mut subject);
}

/// A C library's own copy of what it runs from, so that the files can be taken away.
fn copied(python: &Interpreter, folder: &Path) -> Option<Interpreter> {
    if python.root.is_some() {
        return None;
    }
    let prefix = python.path.parent()?.parent()?;
    let minor = python.minor();
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "mkdir -p '{to}/bin' '{to}/lib' && cp -L '{from}/bin/python{minor}' '{to}/bin/python3' && \
             for lib in '{from}'/lib/libpython*.so*; do if [ -e \"$lib\" ]; then cp -P \"$lib\" '{to}/lib/'; fi; done && \
             ln -s '{from}'/lib/python{minor} '{to}/lib/python{minor}'",
            from = prefix.display(),
            to = folder.display(),
        ))
        .status()
        .expect("a shell starts");
    assert!(status.success());
    Some(Interpreter { path: folder.join("bin/python3"), ..python.clone() })
}

/// Its program and library are gone from the disk, as after an upgrade.
fn deleted_files(python: &Interpreter) {
    let folder = Folder::new("deleted", python);
    let Some(copy) = copied(python, &folder.0) else { return };
    let library = folder.0.join("lib").display().to_string();
    let start = Start::new(&copy, "quiet").env("LD_LIBRARY_PATH", &library);
    let subject = Subject::serving(start);
    fs::remove_dir_all(&folder.0).expect("it can be removed");
    // The map tells of it, which is a change of the file system and not of the process.
    let mut subject = {
        let _ = subject.first_outside();
        subject.again()
    };
    is_served(&mut subject);
}

/// Its files may be read by nobody.
fn unreadable_files(python: &Interpreter) {
    let folder = Folder::new("unreadable", python);
    let Some(copy) = copied(python, &folder.0) else { return };
    let library = folder.0.join("lib").display().to_string();
    let mut subject = Subject::serving(Start::new(&copy, "quiet").env("LD_LIBRARY_PATH", &library));
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o0)).expect("it is ours");
    is_served(&mut subject);
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).expect("it is ours");
}

/// Another user's process is served to root; to that user itself, too, without any further right.
fn another_user(python: &Interpreter) {
    // One for each test, so that none sees another's targets.
    let uid = 1_100_000_000 + std::process::id() * 32 + 2 * u32::from(python.version.1);
    let code = format!(
        "import os, ctypes\nos.setgroups([])\nos.setresgid({uid}, {uid}, {uid})\nos.setresuid({uid}, {uid}, {uid})\n\
         assert ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == 0"
    );
    let Some(mut subject) = confined("another_user", python, &code) else { return };
    is_served(&mut subject);
    let folder = Folder::new("program", python);
    let program = folder.0.join("spyhole");
    fs::copy(env!("CARGO_BIN_EXE_spyhole"), &program).expect("it can be copied");
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let pid = subject.pid();
    let as_user = |uid: u32, words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into()]);
        Running::start(plain(command).arg(&program).args(words)).wait()
    };
    let ran = as_user(uid, &["eval", &pid.to_string(), "answer"]);
    ran.gave("42\n");
    ran.left(pid);
    assert_eq!(as_user(uid, &["stack", &pid.to_string()]).code, 0);
    as_user(uid, &["eval", "quiet.py", "answer"]).gave("42\n");
    as_user(uid + 1, &["eval", &pid.to_string(), "answer"]).failed(4, "no permission to look into");
    subject.is_unchanged();
}

/// Runs a program under a filter that fails one system call: number, errno, program, words.
const FILTERED: &str = "
import ctypes, os, struct, sys
call, errno = int(sys.argv[1]), int(sys.argv[2])
code = b''.join(struct.pack('HBBI', *one) for one in [
    (0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x50000 | errno), (0x06, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.addressof(program), 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
";

/// Where descriptors may not be taken (`pidfd_getfd` refused by a container's profile, or missing), they are passed.
fn descriptors_are_passed(python: &Interpreter) {
    const PIDFD_GETFD: &str = "438";
    const EPERM: i32 = 1;
    const ENOSYS: i32 = 38;
    for namespaces in [&[][..], &["--net"]] {
        let Some(subject) = within("descriptors_are_passed", python, namespaces) else {
            continue;
        };
        let mut subject = subject.by_threads(2);
        let pid = subject.pid();
        for errno in [EPERM, ENOSYS] {
            let filtered = |words: &[&str]| {
                let mut command = Command::new("python3");
                command.args(["-c", FILTERED, PIDFD_GETFD, &errno.to_string()]);
                command.arg(env!("CARGO_BIN_EXE_spyhole")).args(words);
                Running::start(&mut plain(command)).wait()
            };
            let ran = filtered(&["eval", &pid.to_string(), "print('x'), answer"]);
            ran.gave("x\n(None, 42)\n");
            ran.left(pid);
            filtered(&["eval", &pid.to_string(), "while True: pass", "--timeout", "100ms"])
                .failed(1, "timed out");
        }
        subject.is_unchanged();
    }
}

on_three! { number_one descriptors_are_passed }
on_full_set! { other_namespaces empty_root another_user }
on_three! { deleted_files unreadable_files }
