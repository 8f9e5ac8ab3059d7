//! Processes that can not or must not be entered: a clear word, the right exit code, and the process as it was.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use spyhole_testkit::hostile::first_forbidden;
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, census};

use crate::program::{LIMIT, Ran, Running, eval, plain, run, spyhole};
use crate::subjects::{SETTLE, Subject, quiet};

/// A process of another kind; ended when this is dropped.
struct Other(Child);

impl Other {
    /// Starts it, and waits for its first line.
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("it writes");
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid is an i32")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn state(pid: i32) -> char {
    let stat = fs::read(format!("/proc/{pid}/stat")).expect("it is there");
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("a state")
}

fn wait_for_state(pid: i32, wanted: char) {
    // The tests' limit on the target ends this at the latest.
    while state(pid) != wanted {
        std::thread::yield_now();
    }
}

/// `doctor` says which check stands in the way, and ends as asking would.
#[track_caller]
fn diagnosed(ran: &Ran, code: i32, bars: &str, look: bool) {
    assert_eq!(ran.code, code, "{ran:?}");
    let all = ran.json();
    let barring = all[0]["checks"].as_array().expect("a list").iter();
    let barring: Vec<_> = barring.filter(|check| check["state"] == "bars").collect();
    assert!(barring.iter().any(|check| check["name"] == bars), "`{bars}` in {barring:?}: {ran:?}");
    assert_eq!(all[0]["ask"]["ok"], false, "{ran:?}");
    assert_eq!(all[0]["look"]["ok"], look, "{ran:?}");
}

fn doctor(pid: i32) -> Ran {
    run(["doctor", &pid.to_string(), "--json"])
}

/// Of one that may be asked it says so, and of the machine what this user may do.
fn nothing_in_the_way(python: &Interpreter) {
    let mut subject = quiet(python);
    let ran = doctor(subject.pid());
    let all = ran.json();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((&all[0]["look"]["ok"], &all[0]["ask"]["ok"]), (&true.into(), &true.into()));
    assert_eq!(all[0]["ask"]["door"], "thread");
    let checks = all[0]["checks"].as_array().expect("a list");
    assert!(checks.iter().all(|check| check["state"] != "bars"), "{ran:?}");
    let says = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.map(|check| check["says"].as_str().expect("text").to_owned())
    };
    assert!(says("python").expect("a check").starts_with(&format!("CPython {}", python.minor())));
    assert_eq!(says("gil").as_deref(), Some("nobody holds it now"), "{ran:?}");
    let ran = run(["doctor"]);
    assert!(ran.data.starts_with("this machine\n"), "{ran:?}");
    assert!(ran.data.contains("processes that may be entered: "), "{ran:?}");
    subject.is_unchanged();
}

fn words_that_name_nothing(_: &Interpreter) {
    let ended = Command::new("true").spawn().and_then(|mut child| {
        let pid = child.id();
        child.wait().map(|_| pid)
    });
    let ended = ended.expect("it runs").to_string();
    run(["eval", &ended, "1"]).failed(5, &format!("error: no process {ended}\n"));
    run(["eval", "0", "1"]).failed(2, "process 0 is not a process that can be named");
    run(["eval", "", "1"]).failed(2, "the target is empty");
    run(["eval", "--", "-5", "1"]).failed(2, "`-5` is not a process id");
    run(["eval", "no such command line", "1"])
        .failed(1, "no Python process has `no such command line` in its command line");
    let program = env!("CARGO_BIN_EXE_spyhole");
    let mut own = Command::new("sh");
    own.args(["-c", "exec \"$0\" eval $$ 1", program]);
    Running::start(&mut plain(own)).wait().failed(2, " is spyhole itself");
}

/// What runs no Python is told so, whatever its command line says.
fn not_python(_: &Interpreter) {
    let mark = format!("python3 manage-{}.py", std::process::id());
    let shell = Other::start(Command::new("sh").args(["-c", "echo ready; read line; :", &mark]));
    let pid = shell.pid();
    let ran = eval(pid, "1");
    ran.failed(1, &format!("process {pid} runs no Python: "));
    diagnosed(&doctor(pid), 1, "python", false);
    run(["eval", &mark, "1"]).failed(1, "no Python process has ");
    run(["eval", &format!("tree:{pid}"), "1"]).failed(1, "no Python process below ");
    assert!(!run(["ps"]).data.contains(&mark));
    assert_eq!(state(pid), 'S');
    let sleep = Command::new("sleep").arg("60").spawn().expect("it starts");
    let sleep = Other(sleep);
    eval(sleep.pid(), "1").failed(1, "runs no Python: ");
    let first = fs::read_link("/proc/1/exe").unwrap_or_default();
    if first.to_string_lossy().contains("python") {
        census::skipped("not_python: process 1", "it is Python here");
    } else {
        let ran = eval(1, "1");
        assert!(matches!(ran.code, 1 | 4) && ran.talk.starts_with("error: "), "{ran:?}");
    }
}

fn stopped(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    subject.signal(Signal::STOP).expect("it is ours");
    wait_for_state(pid, 'T');
    let ran = eval(pid, "answer");
    ran.failed(1, &format!("process {pid} is stopped"));
    assert!(ran.talk.contains(&format!("hint: let it go on with `kill -CONT {pid}`")), "{ran:?}");
    diagnosed(&doctor(pid), 1, "state", true);
    assert_eq!(state(pid), 'T');
    subject.signal(Signal::CONT).expect("it is ours");
    wait_for_state(pid, 'S');
    eval(pid, "answer").gave("42\n");
    subject.is_unchanged();
}

fn zombie(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    subject.send("exit").expect("it listens");
    wait_for_state(pid, 'Z');
    eval(pid, "answer").failed(5, &format!("process {pid} is a zombie"));
    assert!(subject.wait_exit(SETTLE).expect("it has ended").success());
}

/// A tracer of a few lines: it seizes the process and lets it run.
const TRACER: &str = "
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
if libc.ptrace(0x4206, int(sys.argv[1]), 0, 0):
    sys.exit('ptrace: error %d' % ctypes.get_errno())
print('ready', flush=True)
sys.stdin.read()
";

fn traced(python: &Interpreter) {
    let mut subject = quiet(python);
    let pid = subject.pid();
    let mut command = python.command();
    let tracer = Other::start(command.args(["-c", TRACER, &pid.to_string()]));
    let ran = eval(pid, "answer");
    let who = format!("another tracer (pid {}, python", tracer.pid());
    ran.failed(4, &who);
    assert!(ran.talk.contains(&format!(") holds process {pid}\n")), "{ran:?}");
    diagnosed(&doctor(pid), 4, "tracer", true);
    drop(tracer);
    eval(pid, "answer").gave("42\n");
    subject.is_unchanged();
}

/// Switched off by its owner, in both ways.
fn opted_out(python: &Interpreter) {
    for start in [
        Start::new(python, "quiet").flags(["-X", "disable-remote-debug"]),
        Start::new(python, "quiet").env("PYTHON_DISABLE_REMOTE_DEBUG", "1"),
    ] {
        let mut subject = Subject::serving(start);
        let pid = subject.pid().to_string();
        let ran = run(["eval", &pid, "answer"]);
        ran.failed(4, "has switched remote debugging off");
        diagnosed(&doctor(subject.pid()), 4, "opt-out", true);
        assert!(ran.talk.contains("`--override-opt-out`"), "{ran:?}");
        let ran = run(["ps", "--json"]);
        let rows = ran.json();
        let row = rows.as_array().expect("a list").iter().find(|row| row["pid"] == subject.pid());
        assert_eq!(row.expect("it is listed")["ask"]["ok"], false);
        subject.is_unchanged();
        run(["eval", &pid, "answer", "--override-opt-out"]).gave("42\n");
        subject.is_unchanged();
    }
}

/// Whether we may become other users here; written down if not.
fn is_root(test: &str) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("it is there");
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    if !root {
        census::skipped(test, "only root can become another user");
    }
    root
}

fn of_another_user(python: &Interpreter) {
    if !is_root("of_another_user") {
        return;
    }
    // The program may lie where nobody else can read it.
    let folder = std::env::temp_dir().join(format!("spyhole-live-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("it can be made");
    let program = folder.join("spyhole");
    fs::copy(env!("CARGO_BIN_EXE_spyhole"), &program).expect("it can be copied");
    let open = Command::new("chmod").args(["-R", "a+rX"]).arg(&folder).status();
    assert!(open.expect("chmod starts").success());
    let mut subject = quiet(python);
    let pid = subject.pid();
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        Running::start(plain(command).args(words)).wait()
    };
    let asked = as_nobody(&["eval", &pid.to_string(), "answer"]);
    let by_pattern = as_nobody(&["eval", "quiet.py", "answer"]);
    let listed = as_nobody(&["ps"]);
    let told = as_nobody(&["doctor", &pid.to_string(), "--json"]);
    fs::remove_dir_all(&folder).expect("it can be removed");
    asked.failed(4, "no permission to look into process ");
    diagnosed(&told, 4, "user", false);
    assert!(asked.talk.contains("root"), "the other user is not named: {asked:?}");
    by_pattern.failed(1, "no Python process has `quiet.py` in its command line");
    assert!(!listed.data.contains(&pid.to_string()), "{listed:?}");
    subject.is_unchanged();
}

/// Lets the target do something to itself before it is looked at.
fn after(python: &Interpreter, code: &str) -> Subject {
    let mut target = Start::new(python, "quiet").start().unwrap_or_else(|error| panic!("{error}"));
    let said = target.ask(&format!("exec exec({})", serde_json::json!(code))).expect("it answers");
    assert_eq!(said, "\"done\"");
    Subject::serving_from(target)
}

/// A filter that allows everything is a filter all the same.
const FILTER: &str = "
import ctypes, struct
code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 1, ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.addressof(program), 0, 0) == 0
";

fn seccomp(python: &Interpreter) {
    let mut subject = after(python, FILTER);
    eval(subject.pid(), "answer").failed(4, "has a seccomp filter");
    diagnosed(&doctor(subject.pid()), 4, "seccomp", true);
    subject.is_unchanged();
}

fn no_more_threads(python: &Interpreter) {
    if !is_root("no_more_threads") {
        return;
    }
    // A user of its own: the limit counts all threads that a user has.
    let uid = 1_000_000_000 + std::process::id();
    let code = format!(
        "import os, resource\nos.setgroups([])\nos.setresgid({uid}, {uid}, {uid})\n\
         os.setresuid({uid}, {uid}, {uid})\nresource.setrlimit(resource.RLIMIT_NPROC, (1, 1))"
    );
    let mut subject = after(python, &code);
    let ran = eval(subject.pid(), "answer");
    ran.failed(1, "cannot start a thread: ");
    assert!(ran.talk.contains("/limits`"), "{ran:?}");
    subject.is_unchanged();
}

fn no_more_descriptors(python: &Interpreter) {
    let code = "import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n\
                try:\n    while True: os.dup(0)\nexcept OSError: pass";
    let mut subject = after(python, code);
    let ran = eval(subject.pid(), "answer");
    ran.failed(1, "cannot make a channel: ");
    subject.is_unchanged();
    // One free descriptor of the four that it takes is not enough, and stays free.
    assert_eq!(subject.ask("exec import os; os.close(39)").expect("it answers"), "\"done\"");
    let mut subject = subject.again();
    eval(subject.pid(), "answer").failed(1, "cannot make a channel: ");
    subject.is_unchanged();
}

/// The target is killed at each of many moments of a session.
fn killed_at_any_moment(python: &Interpreter) {
    let mut codes = Vec::new();
    for round in 0..40_u64 {
        let mut subject =
            Start::new(python, "quiet").flags(["-I", "-S"]).start().expect("it starts");
        let pid = subject.pid();
        let mut command = spyhole();
        command.args(["eval", &pid.to_string(), "answer"]);
        let running = Running::start(&mut command);
        // The moment is what is tried: nothing is waited for.
        std::thread::sleep(Duration::from_micros(250 * round));
        subject.signal(Signal::KILL).expect("it is ours");
        let ran = running.wait();
        let clear = match ran.code {
            0 => ran.data == "42\n",
            5 => ran.talk.starts_with("error: "),
            _ => false,
        };
        assert!(clear, "after {} us: {ran:?}", 250 * round);
        codes.push(ran.code);
        subject.wait_exit(SETTLE).expect("it has ended");
    }
    println!("exit codes {codes:?}");
}

/// No byte of a process's name or answer reaches a terminal as it is.
fn names_are_escaped(python: &Interpreter) {
    let arguments = spyhole_testkit::hostile::arguments();
    let mark = format!("mark-{}-{}", python.minor(), std::process::id());
    let start = || {
        let mut words = vec![std::ffi::OsString::from(&mark)];
        words.extend(arguments.clone());
        Subject::serving(Start::new(python, "hostile").args(words))
    };
    let (mut one, two) = (start(), start());
    let pid = one.pid().to_string();
    for words in [
        &["ps"][..],
        &["ps", "-v"],
        &["ps", &mark],
        &["ps", &mark, "--json"],
        &["eval", &mark, "1"],
        &["console", &mark],
        &["eval", &mark, "named", "--yes"],
        &["eval", &mark, "named", "--yes", "--json"],
        &["eval", &pid, "named"],
        &["eval", &pid, "ESCAPES"],
        &["eval", &pid, "raise ValueError(ESCAPES)"],
        &["eval", &pid, "raise type(ESCAPES.replace('\\0', ''), (Exception,), {})(named)"],
        &["eval", &pid, "print(ESCAPES)"],
        &["eval", &pid, "import sys; sys.stderr.write(ESCAPES)"],
        &["eval", &pid, "named", "--verbose"],
    ] {
        let ran = run(words);
        assert_eq!(first_forbidden(&ran.data), None, "{words:?}: {ran:?}");
        assert_eq!(first_forbidden(&ran.talk), None, "{words:?}: {ran:?}");
        assert_ne!(ran.code, 70, "{words:?}: {ran:?}");
    }
    one.is_unchanged();
    drop(two);
}

/// A program that ends just when it is asked.
fn on_its_way_out(python: &Interpreter) {
    for round in 0..10_u64 {
        let mut subject = Start::new(python, "exit_at").start().expect("it starts");
        subject.send("return").expect("it listens");
        std::thread::sleep(Duration::from_millis(2 * round));
        let ran = eval(subject.pid(), "answer");
        assert!(matches!(ran.code, 0 | 1 | 5), "{ran:?}");
        assert!(subject.wait_exit(LIMIT).expect("it ends").success(), "{}", subject.stderr());
    }
}

on_one! { words_that_name_nothing not_python zombie of_another_user seccomp }
on_three! { nothing_in_the_way traced no_more_threads no_more_descriptors killed_at_any_moment }
on_full_set! { stopped names_are_escaped on_its_way_out }
each! { full, opted_out, py314 = "3.14", py315 = "3.15" }
