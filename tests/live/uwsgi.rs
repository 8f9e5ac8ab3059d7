//! uWSGI as Debian ships it, with threads and without: a worker that has none keeps the GIL while it waits for its next
//! request, and is asked all the same.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use spyhole_testkit::target::Signal;
use spyhole_testkit::watchdog::Watchdog;
use spyhole_testkit::{census, place};

use crate::program::{LIMIT, Running, run, spyhole};

/// The first worker that loads it knows one item less. It tells each worker when it has loaded it and when it ends.
const APPLICATION: &str = r#"
import atexit
import ctypes
import os

here = os.path.dirname(os.path.abspath(__file__))
items = ["book", "coupon"]
served = 0


def note(what):
    open(os.path.join(here, "%s.%d" % (what, os.getpid())), "w").close()


def application(environ, start_response):
    global served
    served += 1
    if environ["PATH_INFO"] == "/hold":
        note("holding")
        ctypes.PyDLL(None).usleep(300000)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


try:
    os.mkdir(os.path.join(here, "odd"))
    items.pop()
except FileExistsError:
    pass
atexit.register(note, "ended")
note("ready")
"#;

/// Where its Python comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Debian,
    /// `uWSGI` of PyPI, in the environment of this version.
    Venv(&'static str),
}

impl Origin {
    /// The program, and options that make it serve Python.
    fn command(self) -> Option<Command> {
        match self {
            Self::Debian => {
                let program = Path::new("/usr/bin/uwsgi_python3");
                program.exists().then(|| Command::new(program))
            }
            Self::Venv(minor) => {
                let program = place::venvs().join(minor).join("bin/uwsgi");
                program.exists().then(|| Command::new(program))
            }
        }
    }
}

/// A server of our own, on loopback; ended when this is dropped.
struct Server {
    master: Child,
    watchdog: Watchdog,
    folder: PathBuf,
    port: u16,
    workers: usize,
}

impl Server {
    /// `None`, with the reason written down, where it is not installed.
    fn start(test: &str, from: Origin, words: &[&str]) -> Option<Self> {
        let Some(mut command) = from.command() else {
            census::skipped(test, &format!("there is no uWSGI from {from:?}"));
            return None;
        };
        const WORKERS: usize = 2;
        let folder = std::env::temp_dir().join(format!("spyhole-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("bookshop.py"), APPLICATION).expect("a file");
        // Nobody else has it at this moment, and the server takes it in the next.
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let log = fs::File::create(folder.join("log")).expect("a file");
        command
            .current_dir(&folder)
            .args(["--http-socket", &format!("127.0.0.1:{port}"), "--module", "bookshop"])
            // Each worker loads the application itself.
            .args(["--master", "--lazy-apps", "--die-on-term", "--processes"])
            .arg(WORKERS.to_string())
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let master = crate::program::plain(command).spawn().expect("it starts");
        let watchdog = Watchdog::over(&master, Duration::from_secs(300)).expect("it is watched");
        let server = Self { master, watchdog, folder, port, workers: WORKERS };
        server.wait_for("ready", WORKERS);
        Some(server)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The workers that have noted something.
    fn noted(&self, what: &str) -> Vec<i32> {
        let files = fs::read_dir(&self.folder).expect("it is there").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let mut pids: Vec<i32> = names
            .filter_map(|name| name.strip_prefix(what)?.strip_prefix('.')?.parse().ok())
            .collect();
        pids.sort_unstable();
        pids
    }

    fn wait_for(&self, what: &str, count: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.noted(what).len() < count {
            assert!(Instant::now() < deadline, "not {count} {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The whole answer to one request.
    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: books.example\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[track_caller]
    fn serves(&self) {
        self.serves_at("/");
    }

    #[track_caller]
    fn serves_at(&self, path: &str) {
        let answer = self.get(path).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
    }

    /// There are other workers, which serve, and those who were in the first ones have heard of it.
    fn is_reloaded(&self, clients: Vec<Running>, agent: Agent) {
        self.wait_for("ready", 2 * self.workers);
        self.serves();
        for running in clients {
            let ran = running.wait();
            assert!(matches!(ran.code, 0 | 5), "{agent:?}: {ran:?}");
        }
        let log = self.log();
        assert!(!log.contains("segfault") && !log.contains("Fatal Python error"), "{log}");
    }

    fn tree(&self) -> String {
        format!("tree:{}", self.master.id())
    }

    /// Its workers agree but for one, and the master has not loaded it.
    #[track_caller]
    fn names_the_odd_worker(&self) {
        let ran = run(["eval", "--json", "--timeout", "30s", &self.tree(), "bookshop.items"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let report = ran.json();
        let mut groups: Vec<_> = report["groups"].as_array().expect("a list").iter().collect();
        groups.sort_by_key(|group| group["repr"].as_str().map(str::len));
        let shown: Vec<_> = groups.iter().map(|group| &group["repr"]).collect();
        assert_eq!(shown, ["['book']", "['book', 'coupon']"], "{report:#}");
        let answers = report["answers"].as_array().expect("a list").len();
        assert_eq!(answers, self.workers, "{report:#}");
        assert_eq!(report["not_loaded"].as_array().map(Vec::len), Some(1), "{report:#}");
        let left = |pid: i32| format!("left {pid} as it was (held ");
        let master = i32::try_from(self.master.id()).expect("a pid");
        for pid in self.noted("ready").into_iter().chain([master]) {
            assert!(ran.talk.contains(&left(pid)), "{ran:?}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends its workers first; an error means that it has ended.
        let _ = self.watchdog.signal(Signal::TERM);
        let _ = self.master.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The odd worker is named, while idle and while there are requests, and none of these fails.
fn is_asked(test: &str, from: Origin, words: &[&str]) {
    let Some(server) = Server::start(test, from, words) else { return };
    server.names_the_odd_worker();
    server.serves();
    let (ended, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    server.serves();
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _ended = Ended(&ended);
        for _ in 0..10 {
            server.names_the_odd_worker();
        }
    });
    println!("{} requests served meanwhile", served.load(Ordering::SeqCst));
    assert!(served.load(Ordering::SeqCst) > 2);
    let stacks = run(["stack", "--json", &server.tree()]);
    assert_eq!((stacks.code, stacks.json().as_array().map(Vec::len)), (0, Some(3)), "{stacks:?}");
    let rows = run(["ps", "--json", &format!("127.0.0.1:{}", server.port)]).json();
    let rows = rows.as_array().expect("a list");
    let is_told = |row: &serde_json::Value| {
        row["kind"].as_str().is_some_and(|kind| kind.starts_with("uWSGI"))
            && row["ask"]["ok"] == true
    };
    assert!(rows.len() == 3 && rows.iter().all(is_told), "{rows:?}");
    server.serves();
    let log = server.log();
    assert!(!log.contains("DAMN") && !log.contains("Traceback"), "{log}");
}

/// Ends the others, whatever happens to us.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn with_threads() {
    is_asked("uwsgi-threads", Origin::Debian, &["--enable-threads", "--threads", "2"]);
}

#[test]
fn without_threads() {
    is_asked("uwsgi-none", Origin::Debian, &[]);
}

/// Those of PyPI have threads if nothing else is said.
#[test]
fn of_the_oldest_python() {
    is_asked("uwsgi-36", Origin::Venv("3.6"), &[]);
}

#[test]
fn of_another_python() {
    is_asked("uwsgi-38", Origin::Venv("3.8"), &["--threads", "2"]);
}

#[test]
fn of_a_new_python() {
    is_asked("uwsgi-313", Origin::Venv("3.13"), &["--threads", "3"]);
}

/// What the agent does when the worker that it is in is made to end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Agent {
    Absent,
    Idle,
    /// Runs Python without end.
    Busy,
    /// Sleeps in C for longer than the worker lives.
    Asleep,
    /// Has been asked for something, and waits for the GIL, which a request keeps.
    Waiting,
}

const AGENTS: [Agent; 5] = [Agent::Absent, Agent::Idle, Agent::Busy, Agent::Asleep, Agent::Waiting];

/// A reload of workers without threads: each ends its requests, runs its exit handlers and is replaced, as without us.
#[test]
fn reloads() {
    let mut logs = Vec::new();
    for agent in AGENTS {
        let Some(server) = Server::start("uwsgi-reload", Origin::Debian, &[]) else { return };
        let pids = server.noted("ready");
        let mut clients = clients(&pids, agent);
        std::thread::scope(|scope| {
            if matches!(agent, Agent::Absent | Agent::Waiting) {
                scope.spawn(|| server.serves_at("/hold"));
                server.wait_for("holding", 1);
                for client in &mut clients {
                    client.write("items\n");
                }
            }
            server.watchdog.signal(Signal::HUP).expect("it is ours");
        });
        server.is_reloaded(clients, agent);
        assert_eq!(server.noted("ended"), pids, "{agent:?}");
        logs.push((agent, endings(&server.log())));
    }
    let (_, alone) = logs[0].clone();
    assert!(!alone.is_empty());
    for (agent, log) in logs {
        assert_eq!(log, alone, "{agent:?}");
    }
}

/// With threads uWSGI kills a worker now and then that has not ended in time, also without us: they are replaced, and
/// nothing of ours is in the way of that.
#[test]
fn reloads_threads() {
    for agent in [Agent::Idle, Agent::Busy, Agent::Asleep] {
        let words = ["--enable-threads", "--threads", "2", "--worker-reload-mercy", "2"];
        let Some(server) = Server::start("uwsgi-reload-2", Origin::Debian, &words) else { return };
        let clients = clients(&server.noted("ready"), agent);
        server.watchdog.signal(Signal::HUP).expect("it is ours");
        server.is_reloaded(clients, agent);
    }
}

fn clients(pids: &[i32], agent: Agent) -> Vec<Running> {
    pids.iter().filter_map(|pid| client(*pid, agent)).collect()
}

/// What the log says of ends and beginnings, without numbers, in an order that does not depend on who was first.
fn endings(log: &str) -> Vec<String> {
    let told =
        ["gracefully", "goodbye", "respawn", "DAMN", "killing", "mercy", "signal", "spawned"];
    let lines = log.lines().filter(|line| told.iter().any(|word| line.contains(word)));
    let plain = |line: &str| line.chars().filter(|c| !c.is_ascii_digit()).collect();
    let mut lines: Vec<String> = lines.map(plain).collect();
    lines.sort();
    lines
}

/// A console in a worker that does so.
fn client(pid: i32, agent: Agent) -> Option<Running> {
    let code = match agent {
        Agent::Absent => return None,
        Agent::Idle | Agent::Waiting => "print('on')\n",
        Agent::Busy => "print('on')\nwhile True: pass\n\n",
        Agent::Asleep => "print('on')\nimport time; time.sleep(600)\n",
    };
    let mut command = spyhole();
    command.args(["console", &pid.to_string(), "--no-history"]).stdin(Stdio::piped());
    let mut console = Running::start(&mut command);
    console.write(code);
    assert_eq!(console.line(), "on");
    Some(console)
}
