//! Which files are read for source lines: what a process names may be anything.
//!
//! Each name is that of the code of a thread that waits in its fifth line.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program::{Ran, Worker, python, run, spyhole};

/// Does to itself what the first word says, then runs code under each of the names that follow.
const SCRIPT: &str = r#"
import os, sys, threading
prepare, names = sys.argv[1], sys.argv[2:]
exec(prepare)
gate = threading.Lock()
gate.acquire()
arrived = threading.Barrier(len(names) + 1)
threads = []
for name in names:
    code = compile("\n\n\narrived.wait()\ngate.acquire()", name, "exec")
    threads.append(threading.Thread(target=exec, args=(code, globals()), daemon=True))
    threads[-1].start()
arrived.wait()
def waits(thread):
    frame = sys._current_frames()[thread.ident]
    while frame.f_back and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame.f_lineno == 5
while not all(map(waits, threads)):
    pass
print("ready", flush=True)
sys.stdin.read()
"#;

/// A file with as many lines as are told, the fifth of which is known.
const FILE: &[u8] = b"1\n2\n3\n4\n  gate.acquire()  # quoted\n6\n";
const QUOTED: &str = "  gate.acquire()  # quoted";

/// A folder that everybody may look into, removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("spyhole-sources-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("it can be made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the path is text").to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("it can be written");
        path
    }

    fn mode(&self, name: &str, mode: u32) {
        let path = self.path(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(prepare: &str, names: &[String]) -> Worker {
    let mut words = vec![prepare];
    words.extend(names.iter().map(String::as_str));
    Worker::run(&words, SCRIPT)
}

fn look(worker: &Worker) -> (Value, Ran) {
    let pid = worker.pid().to_string();
    let text = run(&["stack", &pid, "--all"]);
    assert_eq!(text.code, 0, "{text:?}");
    let ran = run(&["stack", &pid, "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json: Value = serde_json::from_str(&ran.data).expect("it is JSON");
    (json[0].clone(), text)
}

/// The line that was quoted for the code of this name.
#[track_caller]
fn source<'a>(process: &'a Value, name: &str) -> &'a Value {
    let threads = process["interpreters"][0]["threads"].as_array().expect("a list");
    let mut frames = threads.iter().flat_map(|thread| thread["frames"].as_array().expect("a list"));
    let frame = frames.find(|frame| frame["file"] == name && frame["line"] == 5);
    &frame.unwrap_or_else(|| panic!("no thread runs {name:?}"))["source"]
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("it is there");
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

#[test]
fn only_plain_files_that_are_as_they_were_are_quoted() {
    let folder = Folder::new("kinds");
    let plain = folder.write("plain.py", FILE);
    let returns = folder.write("returns.py", b"1\r\n2\r3\r\n4\n  gate.acquire()  # quoted\r\n");
    let latin = folder.write("latin.py", b"# coding: latin-1\n\n\n\ngate.acquire()  # \xfc\n");
    let other = folder.write("other.py", b"# coding: koi8-r\n\n\n\ngate.acquire()  # \xfc\n");
    let broken = folder.write("broken.py", b"\n\n\n\ngate.acquire()  # \xfc\n");
    let short = folder.write("short.py", b"1\n2\n");
    let changed = folder.write("changed.py", FILE);
    let link = folder.path("link.py");
    symlink("plain.py", &link).expect("it can be made");
    let pipe = folder.path("pipe.py");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success());
    let huge = folder.path("huge.py");
    let file = fs::File::create(&huge).expect("it can be made");
    file.set_len((4 << 20) + 1).expect("it can be long");
    let most = folder.write("most.py", FILE);
    fs::File::options().append(true).open(&most).unwrap().set_len(4 << 20).expect("it can be long");
    let nothing: Vec<String> = [
        "<string>",
        "",
        "/dev/zero",
        "/dev/tty",
        "/proc/self/environ",
        "/proc/self/fd/0",
        "/proc/self/root/etc/passwd",
        "/sys/kernel/notes",
        "/etc/passwd/x.py",
        "\u{1b}[2J",
        "a/../../../../../../../../../../../../../../..",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([pipe, huge, other, broken, folder.path("."), folder.path("plain.py/x.zip/y.py")])
    .collect();
    let quoted =
        [plain.clone(), returns, link, most, "plain.py".to_owned(), "./plain.py".to_owned()];
    let mut names = nothing.clone();
    names.extend(quoted.clone());
    names.extend([latin.clone(), short.clone(), changed.clone()]);
    let worker = start(&format!("os.chdir({:?})", folder.path("")), &names);
    fs::write(&changed, FILE).expect("it can be written again");

    let (process, text) = look(&worker);
    for name in &quoted {
        assert_eq!(source(&process, name), QUOTED, "{name}");
    }
    assert_eq!(source(&process, &latin), "gate.acquire()  # ü");
    for name in nothing.iter().chain([&short, &changed]) {
        assert_eq!(source(&process, name), &Value::Null, "{name}");
    }
    let after = |file: &str| {
        let mut lines = text.data.lines().skip_while(|line| !line.contains(file));
        lines.nth(1).unwrap_or_default().trim().to_owned()
    };
    assert_eq!(after("/changed.py:5"), "(source changed since)");
    assert_eq!(after("/short.py:5"), "(no such line in the file)");
    let note = format!("files that changed after it began are not quoted: `{changed}`");
    assert_eq!(process["notes"], serde_json::json!([note]));
    assert!(text.talk.contains(&note), "{}", text.talk);
}

/// A pipe that nobody has opened for reading refuses whoever would write without waiting.
#[test]
fn a_pipe_is_not_even_opened() {
    let folder = Folder::new("pipe");
    let pipe = folder.path("pipe.py");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success());
    // Holds the writing end without waiting for a reader, then counts the openings by what it may write.
    let script = format!(
        "import os\nend = os.open({pipe:?}, os.O_RDWR | os.O_NONBLOCK)\nos.write(end, b'1\\n2\\n3\\n4\\n5\\n')"
    );
    let worker = start(&script, std::slice::from_ref(&pipe));
    let (process, _) = look(&worker);
    assert_eq!(source(&process, &pipe), &Value::Null);
    let mut left = [0; 16];
    let mut file = fs::File::open(&pipe).expect("it has a writer");
    assert_eq!(std::io::Read::read(&mut file, &mut left).expect("it can be read"), 10);
}

/// Begins another program for which `openat2` (437) fails with `ENOSYS`, as it does before Linux 5.6.
const OLD_KERNEL: &str = r#"
import ctypes, os, struct, sys
load, equals, give = 0x20, 0x15, 0x06
filters = [(load, 0, 0, 0), (equals, 0, 1, 437), (give, 0, 0, 0x50000 | 38), (give, 0, 0, 0x7FFF0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in filters))
program = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(filters)))
prctl = ctypes.CDLL(None).prctl
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
assert prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
assert prctl(SECCOMP, FILTER, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn without_openat2_nothing_is_quoted_and_that_is_said() {
    let folder = Folder::new("old");
    let file = folder.write("plain.py", FILE);
    let worker = start("pass", std::slice::from_ref(&file));
    let program = spyhole();
    let pid = worker.pid().to_string();
    let output = spyhole_testkit::plain(Command::new(python()))
        .args(["-c", OLD_KERNEL])
        .arg(program.get_program())
        .args(["stack", &pid, "--json"])
        .output()
        .expect("python3 starts");
    let ran = Ran::from(output);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json: Value = serde_json::from_str(&ran.data).expect("it is JSON");
    assert_eq!(source(&json[0], &file), &Value::Null);
    let note = "no source lines: `openat2` is missing here, or a filter forbids it";
    assert_eq!(json[0]["notes"], serde_json::json!([note]));
    // It is the filter's doing alone.
    assert_eq!(source(&look(&worker).0, &file), QUOTED);
}

#[test]
fn links_do_not_leave_the_root_of_a_process() {
    if !is_root() {
        println!("skipped: only root can change its root");
        return;
    }
    let folder = Folder::new("root");
    folder.write("inside.py", FILE);
    fs::create_dir(folder.path("below")).expect("it can be made");
    // Outside there is a file of this name, inside there is none.
    let outside = Folder::new("outside");
    let away = outside.write("away.py", FILE);
    for (name, to) in [
        ("in.py", "/inside.py"),
        ("up.py", "../../../inside.py"),
        ("out.py", away.as_str()),
        ("climb.py", &format!("{}{away}", "../".repeat(20))),
    ] {
        symlink(to, folder.path(name)).expect("it can be made");
    }
    let names: Vec<String> =
        ["/inside.py", "/in.py", "/up.py", "../inside.py", "/out.py", "/climb.py", &away]
            .map(str::to_owned)
            .into();
    let prepare = format!("os.chroot({:?}); os.chdir('/below')", folder.path(""));
    let worker = start(&prepare, &names);
    let (process, _) = look(&worker);
    for name in &names[..4] {
        assert_eq!(source(&process, name), QUOTED, "{name}");
    }
    for name in &names[4..] {
        assert_eq!(source(&process, name), &Value::Null, "{name}");
    }
}

/// Files by who may read them: those that user 65534 with group 54321 may, then the others.
fn files_of_others(folder: &Folder) -> (Vec<String>, Vec<String>) {
    for name in ["world.py", "group.py", "root.py", "notgroup.py"] {
        folder.write(name, FILE);
    }
    fs::create_dir(folder.path("closed")).expect("it can be made");
    folder.write("closed/world.py", FILE);
    folder.mode("closed", 0o700);
    folder.mode("root.py", 0o600);
    for (name, mode) in [("group.py", 0o640), ("notgroup.py", 0o604)] {
        let owner = Command::new("chown").args(["0:54321", &folder.path(name)]).status();
        assert!(owner.expect("chown starts").success());
        folder.mode(name, mode);
    }
    symlink("/etc/shadow", folder.path("link.py")).expect("it can be made");
    let paths = |names: &[&str]| names.iter().map(|name| folder.path(name)).collect();
    let mut refused: Vec<String> = paths(&["root.py", "notgroup.py", "closed/world.py", "link.py"]);
    refused.push("/etc/shadow".to_owned());
    (paths(&["world.py", "group.py"]), refused)
}

const BECOME: &str =
    "os.setgroups([54321]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)";

#[test]
fn root_reads_no_more_than_the_process_may() {
    if !is_root() {
        println!("skipped: only root can start a process of another user");
        return;
    }
    let folder = Folder::new("rights");
    let (allowed, refused) = files_of_others(&folder);
    let names: Vec<String> = allowed.iter().chain(&refused).cloned().collect();
    let worker = start(BECOME, &names);
    let (process, _) = look(&worker);
    for name in &allowed {
        assert_eq!(source(&process, name), QUOTED, "{name}");
    }
    for name in &refused {
        assert_eq!(source(&process, name), &Value::Null, "{name}");
    }
    // One that is between two users is nobody's to read for.
    let between = start("os.setresuid(65534, 65534, 0)", &allowed);
    let (process, text) = look(&between);
    for name in &allowed {
        assert_eq!(source(&process, name), &Value::Null, "{name}");
    }
    assert!(text.talk.contains("no source lines: "), "{}", text.talk);
}

/// The same user with more groups than the process has.
#[test]
fn a_user_reads_no_more_than_the_process_may() {
    if !is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let folder = Folder::new("groups");
    let (_, _) = files_of_others(&folder);
    let program = folder.path("spyhole");
    fs::copy(spyhole().get_program(), &program).expect("it can be copied");
    folder.mode("spyhole", 0o755);
    let names = [folder.path("world.py"), folder.path("group.py")];
    // The kernel keeps one that was root out of the reach of others, unless it says that it need not be.
    let prepare = format!("import ctypes\n{BECOME}\nctypes.CDLL(None).prctl(4, 1, 0, 0, 0)")
        .replace("[54321]", "[]");
    let worker = start(&prepare, &names);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--groups=54321"]).arg(Path::new(&program));
    command.args(["stack", &worker.pid().to_string(), "--json"]);
    let ran = Ran::from(command.output().expect("it starts"));
    if ran.code == 4 {
        println!("skipped: a user may not look into processes here: {}", ran.talk);
        return;
    }
    let json: Value = serde_json::from_str(&ran.data).expect("it is JSON");
    assert_eq!(source(&json[0], &names[0]), QUOTED);
    assert_eq!(source(&json[0], &names[1]), &Value::Null, "the process has not that group");
}

/// A worker is as old as the server that it is a copy of: what changed before the copy was made is not what it runs.
#[test]
fn a_copy_is_as_old_as_its_original() {
    let folder = Folder::new("copy");
    let (changed, same) = (folder.write("changed.py", FILE), folder.write("same.py", FILE));
    // The times of files and of processes are known to 20 ms.
    let prepare = format!(
        "import time\ntime.sleep(0.1)\nos.utime({changed:?})\ntime.sleep(0.1)\nif os.fork():\n    os.wait()\n    os._exit(0)"
    );
    let original = start(&prepare, &[changed.clone(), same.clone()]);
    let ran = run(&["stack", &format!("tree:{}", original.pid()), "--json"]);
    let json: Value = serde_json::from_str(&ran.data).expect("it is JSON");
    let all = json.as_array().expect("a list");
    let copy = all.iter().find(|process| process["pid"] != original.pid()).expect("it is there");
    assert_eq!(source(copy, &same), QUOTED);
    assert_eq!(source(copy, &changed), &Value::Null);
}
