//! uWSGI as Debian ships it, with threads and without: a worker that has none keeps the GIL while it waits for its next
//! request, and is asked all the same.

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Stdio};

use spyhole_testkit::target::Signal;
use spyhole_testkit::{census, place};

use crate::meanwhile::{Agent, all_of_them, ask, client, heard};
use crate::program::{Running, run};
use crate::served::{self, Served};

/// The first worker that loads it knows one item less. It tells each worker when it has loaded it and when it ends.
const APPLICATION: &str = r#"
import atexit
import ctypes
import os
import time

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
    if environ["PATH_INFO"] == "/wait":
        note("waiting")
        while not os.path.exists(os.path.join(here, "go")):
            time.sleep(0.01)
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

/// A uWSGI with some workers.
struct Server {
    served: Served,
    workers: usize,
}

impl Deref for Server {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Server {
    /// `None`, with the reason written down, where it is not installed.
    fn start(test: &str, from: Origin, words: &[&str]) -> Option<Self> {
        let Some(mut command) = from.command() else {
            census::skipped(test, &format!("there is no uWSGI from {from:?}"));
            return None;
        };
        const WORKERS: usize = 2;
        let (folder, listen) = (served::folder(test), served::place());
        fs::write(folder.join("bookshop.py"), APPLICATION).expect("a file");
        let log = fs::File::create(folder.join("log")).expect("a file");
        command
            .current_dir(&folder)
            .args(["--http-socket", &listen.to_string(), "--module", "bookshop"])
            // Each worker loads the application itself.
            .args(["--master", "--lazy-apps", "--die-on-term", "--processes"])
            .arg(WORKERS.to_string())
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let command = crate::program::plain(command);
        let files = (Path::new(""), Path::new("log"));
        let served = Served::start(command, listen, folder, files);
        let server = Self { served, workers: WORKERS };
        server.wait_for("ready", WORKERS);
        Some(server)
    }

    /// Its workers that have noted something.
    fn pids(&self, what: &str) -> Vec<i32> {
        let pids = self.noted(what);
        pids.iter().map(|pid| pid.parse().expect("a pid")).collect()
    }

    /// There are other workers, which serve, and those who were in the first ones have heard of it.
    fn is_reloaded(&self, clients: Vec<Running>, agent: Agent) {
        self.wait_for("ready", 2 * self.workers);
        self.serves();
        heard(clients, agent);
        let log = self.log();
        assert!(!log.contains("segfault") && !log.contains("Fatal Python error"), "{log}");
    }

    /// One request that is served, told with the worker that serves it; and none.
    #[track_caller]
    fn tells_its_requests(&self) {
        let tree = self.tree();
        std::thread::scope(|scope| {
            let answer = scope.spawn(|| self.serves_at("/wait?token=hunter2"));
            self.wait_for("waiting", 1);
            let ran = run(["requests", "--json", "--environ", &tree]);
            fs::write(self.folder.join("go"), "").expect("a file");
            answer.join().expect("it is answered");
            assert!(ran.code == 0 && !ran.data.contains("hunter2"), "{ran:?}");
            let told = ran.json();
            assert_eq!(told.as_array().map(Vec::len), Some(1), "{told:#}");
            let row = &told[0];
            assert_eq!(
                (&row["path"], &row["protocol"]),
                (&"/wait".into(), &"wsgi".into()),
                "{row:#}"
            );
            assert_eq!(row["host"], "books.example", "{row:#}");
            assert_eq!(Some(row["pid"].to_string()), self.noted("waiting").pop(), "{row:#}");
            assert!(row["environ"]["uwsgi.version"].is_string(), "{row:#}");
        });
        assert_eq!(run(["requests", &tree]).data, "No active transactions.\n");
    }

    fn tree(&self) -> String {
        format!("tree:{}", self.parent.id())
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
        let master = i32::try_from(self.parent.id()).expect("a pid");
        for pid in self.pids("ready").into_iter().chain([master]) {
            assert!(ran.talk.contains(&left(pid)), "{ran:?}");
        }
    }
}

/// The odd worker is named, while idle and while there are requests, and none of these fails.
fn is_asked(test: &str, from: Origin, words: &[&str]) {
    let Some(server) = Server::start(test, from, words) else { return };
    server.names_the_odd_worker();
    server.serves();
    let ask = || (0..10).for_each(|_| server.names_the_odd_worker());
    let (_, took) = server.under_requests(&["/", "/"], ask);
    println!("{} requests served meanwhile", took.len());
    assert!(took.len() > 2);
    let stacks = run(["stack", "--json", &server.tree()]);
    assert_eq!((stacks.code, stacks.json().as_array().map(Vec::len)), (0, Some(3)), "{stacks:?}");
    let rows = run(["ps", "--json", &server.place.to_string()]).json();
    let rows = rows.as_array().expect("a list");
    let is_told = |row: &serde_json::Value| {
        row["kind"].as_str().is_some_and(|kind| kind.starts_with("uWSGI"))
            && row["ask"]["ok"] == true
    };
    assert!(rows.len() == 3 && rows.iter().all(is_told), "{rows:?}");
    server.serves();
    server.tells_its_requests();
    let log = server.log();
    assert!(!log.contains("DAMN") && !log.contains("Traceback"), "{log}");
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

/// A reload of workers without threads: each ends its requests, runs its exit handlers and is replaced, as without us.
#[test]
fn reloads() {
    let mut logs = Vec::new();
    for agent in all_of_them() {
        let Some(server) = Server::start("uwsgi-reload", Origin::Debian, &[]) else { return };
        let pids = server.pids("ready");
        let mut clients = clients(&pids, agent);
        std::thread::scope(|scope| {
            if matches!(agent, Agent::Absent | Agent::Waiting) {
                scope.spawn(|| server.serves_at("/hold"));
                server.wait_for("holding", 1);
                ask(&mut clients, agent);
            }
            server.watchdog.signal(Signal::HUP).expect("it is ours");
        });
        server.is_reloaded(clients, agent);
        assert_eq!(server.pids("ended"), pids, "{agent:?}");
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
        let clients = clients(&server.pids("ready"), agent);
        server.watchdog.signal(Signal::HUP).expect("it is ours");
        server.is_reloaded(clients, agent);
    }
}

fn clients(pids: &[i32], agent: Agent) -> Vec<Running> {
    pids.iter().filter_map(|pid| client(&pid.to_string(), agent)).collect()
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
