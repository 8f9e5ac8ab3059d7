//! A Django site under Apache mod_wsgi, as Debian ships them: the daemon whose admin differs is found by one command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use spyhole_testkit::document;
use spyhole_testkit::screen::Screen;
use spyhole_testkit::target::Signal;

use crate::meanwhile::{all_of_them, ask, client, heard};
use crate::program::{LIMIT, Ran, run, run_with_input, spyhole};

mod server;
mod shell;

use server::{Origin, Server, Site};

/// The site: the first daemon that loads it has one model less in its admin.
const SITE: &str = r#"
import os
import django
from django.conf import settings
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[], DATABASES={},
                   INSTALLED_APPS=["django.contrib." + app for app in
                                   ("admin", "auth", "contenttypes", "sessions", "messages")])
django.setup()
from django.contrib import admin
from django.contrib.auth.models import Group
urlpatterns = []
admin.autodiscover()
try:
    os.mkdir(os.path.join(os.path.dirname(__file__), "run", "odd"))
    admin.site.unregister(Group)
except FileExistsError:
    pass

import time

def application(environ, start_response):
    run = os.path.join(os.path.dirname(__file__), "run")
    if environ["PATH_INFO"] == "/wait":
        open(os.path.join(run, "serving"), "w").close()
        while not os.path.exists(os.path.join(run, "go")):
            time.sleep(0.02)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

open(os.path.join(os.path.dirname(__file__), "run", "ready.%d" % os.getpid()), "w").close()
"#;

/// A site that needs nothing but Python. Each application group has its own.
const PLAIN: &str = r#"
import atexit
import ctypes
import os
import sys
import types
import mod_wsgi

run = os.path.join(os.path.dirname(__file__), "run")
shop = sys.modules["shop"] = types.ModuleType("shop")
shop.group = mod_wsgi.application_group


def note(what):
    open(os.path.join(run, "%s.%d.%d" % (what, os.getpid(), hash(shop.group) % 1000)), "w").close()


def application(environ, start_response):
    if environ["PATH_INFO"].endswith("hold"):
        note("holding")
        ctypes.PyDLL(None).usleep(300000)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


atexit.register(note, "ended")
note("ready")
"#;

/// With what no shell and no terminal would like.
const ODD_GROUP: &str = "b.example:8080|/b c;$(d)";

const REGISTRY: &str =
    "sorted(m._meta.model_name for m in django.contrib.admin.sites.site._registry)";

fn members(group: &Value) -> Vec<String> {
    let members = group["members"].as_array().expect("a list").iter();
    members.map(|one| one.as_str().expect("a place").to_owned()).collect()
}

#[track_caller]
fn registries(server: &Server) -> (Ran, Value) {
    let ran = run(["eval", "--yes", "--json", "--timeout", "30s", &server.name, REGISTRY]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    (ran, report)
}

fn the_odd_daemon(daemons: usize) {
    let Some(server) = Server::start(&format!("apache-{daemons}"), &Site::django(daemons)) else {
        return;
    };
    server.serves();
    let (_, report) = registries(&server);
    let groups = report["groups"].as_array().expect("a list");
    assert_eq!(groups.len(), 2, "{report:#}");
    let all: usize = groups.iter().map(|group| members(group).len()).sum();
    assert_eq!(all, daemons, "{report:#}");
    let odd = groups.iter().find(|group| group["repr"] == "['user']").expect("the odd one");
    let rest = groups.iter().find(|group| group["repr"] == "['group', 'user']").expect("the rest");
    assert_eq!((members(odd).len(), members(rest).len()), (1, daemons - 1), "{report:#}");
    // The main interpreters have nothing of it.
    assert_eq!(report["not_loaded"].as_array().expect("a list").len(), daemons, "{report:#}");
    let place = &members(odd)[0];
    let (pid, _) = place.split_once('/').expect("PID/INTERP");
    looked_at(&server, place, daemons);
    if daemons == 3 {
        documents_show_it(&server, pid);
    }
    // By the name that mod_wsgi gives it.
    let group = format!("{pid}/books.example|/");
    run(["eval", &group, "mod_wsgi.application_group, django.contrib.admin.__name__"])
        .gave("('books.example|/', 'django.contrib.admin')\n");
    let ran = run(["eval", &format!("{pid}/nowhere"), "1"]);
    ran.failed(2, "has no interpreter `nowhere`");
    assert!(ran.talk.contains("books.example|/"), "{ran:?}");
    let rows = run(["ps", &server.name, "--json"]).json();
    for row in rows.as_array().expect("a list") {
        assert_eq!(row["groups"], serde_json::json!(["books.example|/"]), "{row:#}");
        assert_eq!((&row["interpreters"], &row["kind"]), (&2.into(), &"mod_wsgi daemon".into()));
    }
    let stacks = run(["stack", &group, "--json"]).json();
    assert_eq!(stacks[0]["interpreters"][0]["name"], "books.example|/", "{stacks:#}");
    server.serves();
}

/// What the documents show of such a site is what is printed.
fn documents_show_it(server: &Server, pid: &str) {
    let program = PathBuf::from(spyhole().get_program());
    let name = server.name.trim_matches(['(', ')']);
    let mut shown = 0;
    for file in ["README.md", "docs/eval.md", "docs/console.md"] {
        for example in document::examples(file).iter().filter(|one| one.needs == "mod_wsgi") {
            let command = example.command.replace("wsgi:bookshop", name).replace("29841", pid);
            let text = match command.strip_prefix("spyhole console ") {
                Some(_) if !Path::new("/dev/pts/ptmx").exists() => continue,
                Some(place) => picked(place),
                None => document::shown(&command, &program),
            };
            example.is(file, &text, str::to_owned);
            shown += 1;
        }
    }
    assert!(shown >= 2);
}

/// A console on a terminal, where the interpreter of the application is picked.
fn picked(place: &str) -> String {
    let mut command = spyhole();
    command.args(["console", place, "--no-history"]).env("TERM", "dumb");
    let mut screen = Screen::run(&command, 100, 30).expect("a screen");
    for (shows, keys) in [("which interpreter? [0]", "1\n"), (">>> ", "\x04")] {
        screen.wait_for(shows).unwrap_or_else(|error| panic!("{error}"));
        screen.press(keys).expect("it reads");
    }
    let (text, code) = screen.end().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(code, 0, "{text}");
    text
}

/// A site that wants a doorbell, and tells what became of it.
const PREPARED: &str = r#"
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
import spyhole
try:
    spyhole.install(locals={"given": 42})
    told = "installed"
except RuntimeError as error:
    told = str(error)

def application(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told.encode()]

open(os.path.join(os.path.dirname(__file__), "run", "ready.%d" % os.getpid()), "w").close()
"#;

/// None can be had here, whatever is allowed: the main thread runs no Python that could hear it.
#[test]
fn doorbells_are_refused() {
    const ALLOWED: &str = "WSGIRestrictSignal Off";
    let groups: [(&[&str], _); 3] =
        [(&["%{GLOBAL}"], ""), (&["books.example|/"], ""), (&["%{GLOBAL}"], ALLOWED)];
    for (number, (groups, more)) in groups.into_iter().enumerate() {
        let test = format!("apache-bell-{number}");
        let site = Site { script: PREPARED, groups, more, ..Site::django(1) };
        let Some(server) = Server::start(&test, &site) else { return };
        let answer = server.get("/").expect("it answers");
        assert!(answer.contains("mod_wsgi lets nobody set a signal handler"), "{answer}");
        let ran = run(["eval", &server.name, "1", "--door", "doorbell", "--yes"]);
        ran.failed(1, "it has no doorbell");
        server.get("/").expect("it goes on");
    }
}

/// The same from outside, while all daemons are stopped by a signal: nothing can run in them.
fn looked_at(server: &Server, odd: &str, daemons: usize) {
    let rows = run(["ps", &server.name, "--json"]).json();
    let pids = rows.as_array().expect("a list").iter();
    let pids: Vec<String> = pids.map(|row| row["pid"].to_string()).collect();
    let signal = |name: &str| {
        let sent = Command::new("kill").arg(name).args(&pids).status();
        assert!(sent.expect("kill starts").success());
    };
    signal("-STOP");
    let path = "django.contrib.admin.sites.site._registry";
    let ran = run(["get", &server.name, path, "--json"]);
    let text = run(["get", &server.name, path]);
    let settings = run(["get", &server.name, "django.conf.settings.INSTALLED_APPS[1]"]);
    signal("-CONT");
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["not_loaded"].as_array().expect("a list").len(), daemons, "{report:#}");
    let missing = "- missing key <class 'django.contrib.auth.models.Group'>";
    let extra = missing.replace("- missing", "+ extra");
    // Of two, either may be the majority.
    assert!(
        text.data.contains(missing) || (daemons == 2 && text.data.contains(&extra)),
        "{text:?}"
    );
    if daemons > 2 {
        assert_eq!(report["groups"][1]["members"], serde_json::json!([odd]), "{report:#}");
        assert!(
            text.data.starts_with(&format!("{odd} differs (1 of {daemons}):\n  {missing}")),
            "{text:?}"
        );
    }
    assert!(settings.data.contains("'django.contrib.auth'"), "{settings:?}");
}

/// What is being served is told, with the time that mod_wsgi wrote down.
#[test]
fn a_request_is_told() {
    let Some(server) = Server::start("apache-requests-2", &Site::django(2)) else { return };
    run(["requests", &server.name]).gave("No active transactions.\n");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get("/wait?page=2&token=hunter2"));
        let serving = server.folder.join("run/serving");
        let deadline = Instant::now() + LIMIT;
        while !serving.exists() {
            assert!(Instant::now() < deadline, "nobody serves it");
            std::thread::sleep(Duration::from_millis(20));
        }
        let ran = run(["requests", &server.name, "--json"]);
        fs::write(server.folder.join("run/go"), "").expect("a file");
        assert_eq!(ran.code, 0, "{ran:?}");
        let all = ran.json();
        assert_eq!(all.as_array().map(Vec::len), Some(1), "{all:#}");
        let one = &all[0];
        assert_eq!((&one["method"], &one["path"]), (&"GET".into(), &"/wait".into()), "{one:#}");
        assert_eq!(one["query"], "page=2&token=<redacted>");
        assert_eq!((&one["host"], &one["protocol"]), (&"books.example".into(), &"wsgi".into()));
        assert!(one["interpreter"].as_i64() > Some(0) && one["thread"].is_i64(), "{one:#}");
        assert!(one["age_s"].as_f64().is_some_and(|age| age < 600.0), "{one:#}");
        assert_eq!(one["frames"][0]["function"], "application", "{one:#}");
        let answer = waiting.join().expect("no panic").expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn two_daemons() {
    the_odd_daemon(2);
}

#[test]
fn three_daemons() {
    the_odd_daemon(3);
}

/// Calls in the sub-interpreters of all daemons are told of, and the main interpreters have nothing of it.
#[test]
fn requests_are_traced() {
    let Some(server) = Server::start("apache-trace", &Site::django(2)) else { return };
    let line = SITE.lines().position(|line| line.contains("start_response(\"200")).unwrap() + 1;
    let place = format!("site.wsgi:{line}");
    let words = ["trace", "--yes", "--json", &server.name, &place, "--limit", "6"];
    let (ran, _) = server.under_requests(&["/"], || run(words));
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> =
        ran.data.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<&Value> = lines.iter().filter(|line| line["event"] == "line").collect();
    assert_eq!(told.len(), 6, "{ran:?}");
    for line in told {
        assert_eq!((&line["function"], &line["interpreter"]), (&"application".into(), &1.into()));
    }
    assert!(ran.talk.contains("not loaded in: "), "{ran:?}");
    server.serves();
    // Another one finds nothing of it.
    let code = "[m for m in sys.modules if 'spyhole' in m], application.__code__.co_consts[1:2]";
    let ran = run(["eval", "--yes", "--json", &server.name, code]);
    assert!(!ran.data.contains("hooks_of"), "{ran:?}");
}

/// Requests go on while the daemons are asked again and again, and none fails. `SPYHOLE_TEST_ATTACHES` is for a long run on
/// a machine that does nothing else, with times of nobody asking in between: there requests take no longer, either.
#[test]
fn requests_go_on() {
    let Some(server) = Server::start("apache-load", &Site::django(2)) else { return };
    let attaches: Option<usize> =
        std::env::var("SPYHOLE_TEST_ATTACHES").ok().and_then(|n| n.parse().ok());
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..attaches.unwrap_or(1).div_ceil(20) {
        let begun = Instant::now();
        // Each asks both daemons, and both interpreters of each.
        let ask = || {
            for _ in 0..10 {
                let (_, report) = registries(&server);
                assert_eq!(report["answers"].as_array().map(Vec::len), Some(2), "{report:#}");
            }
        };
        with.extend(server.under_requests(&["/", "/"], ask).1);
        if attaches.is_some() {
            let as_long = begun.elapsed();
            let wait = || std::thread::sleep(as_long);
            without.extend(server.under_requests(&["/", "/"], wait).1);
        }
    }
    println!("{} requests served meanwhile", with.len());
    assert!(with.len() > 2);
    if attaches.is_some() {
        let (asked, alone) = (slowest(&mut with), slowest(&mut without));
        println!("one in 100 takes longer than {asked:?}, and than {alone:?} of {}", without.len());
        assert!(asked < alone + Duration::from_millis(5));
    }
    let log = server.log();
    assert!(!log.contains("[error]") && !log.contains("exit signal"), "{log}");
}

/// What one in a hundred exceeds.
fn slowest(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Two application groups in each daemon, asked and named, idle and under requests to both.
fn two_groups_by(test: &str, site: &Site) {
    let Some(server) = Server::start(test, site) else { return };
    let ask = || {
        let ran = run(["eval", "--yes", "--json", "--timeout", "30s", &server.name, "shop.group"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let report = ran.json();
        let mut groups: Vec<String> = report["groups"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|group| {
                format!("{} {}", members(group).len(), group["repr"].as_str().unwrap_or(""))
            })
            .collect();
        groups.sort();
        let expected = [
            format!("{} '{ODD_GROUP}'", site.daemons),
            format!("{} 'books.example|/'", site.daemons),
        ];
        assert_eq!(groups, expected, "{report:#}");
        assert_eq!(report["not_loaded"].as_array().map(Vec::len), Some(site.daemons), "{report:#}");
        report
    };
    let report = ask();
    let place = &members(&report["groups"][0])[0];
    let (pid, _) = place.split_once('/').expect("PID/INTERP");
    for group in site.groups {
        run(["eval", &format!("{pid}/{group}"), "shop.group"]).gave(&format!("'{group}'\n"));
        let typed = "shop.group\nmod_wsgi.application_group == shop.group\n";
        let ran = run_with_input(&["console", &format!("{pid}/{group}"), "--no-history"], typed);
        assert_eq!((ran.code, ran.data), (0, format!("'{group}'\nTrue\n")), "{}", ran.talk);
    }
    let (_, took) = server.under_requests(&["/", "/b/x"], || (0..10).for_each(|_| drop(ask())));
    assert!(took.len() > 2);
    let log = server.log();
    assert!(!log.contains("[error]") && !log.contains("exit signal"), "{log}");
}

#[test]
fn two_groups() {
    two_groups_by("apache-groups", &Site::plain(2));
}

/// The same in Pythons that came without Apache, whose files nobody else can read.
#[test]
fn of_another_python() {
    two_groups_by("apache-313", &Site { from: Origin::Venv("3.13"), ..Site::plain(2) });
}

/// `apachectl graceful`: each daemon is replaced, with the log that it has without us, and the exit functions of its
/// interpreters have run.
#[test]
fn graceful() {
    let site = Site::plain(1);
    let mut logs = Vec::new();
    for agent in all_of_them() {
        let Some(server) = Server::start("apache-graceful", &site) else { return };
        let ready = server.noted("ready");
        let (pid, _) = ready[0].split_once('.').expect("a pid and a number");
        let mut client = client(&format!("{pid}/books.example|/"), agent);
        let took = std::thread::scope(|scope| {
            // On a machine that is too busy, Apache ends the daemon before it has answered.
            scope.spawn(|| server.get("/hold").map(drop));
            server.wait_for("holding", 1);
            ask(&mut client, agent);
            let begun = Instant::now();
            server.watchdog.signal(Signal::USR1).expect("it is ours");
            while Path::new("/proc").join(pid).exists() {
                assert!(begun.elapsed() < LIMIT, "{agent:?}: it does not end: {}", server.log());
                std::thread::sleep(Duration::from_millis(5));
            }
            begun.elapsed()
        });
        server.wait_for("ready", 2 * site.loaded());
        server.serves();
        heard(client, agent);
        // After three seconds it is killed: on a machine that is too busy, and where an interpreter waits for code of
        // ours that is asleep in C.
        if took < Duration::from_secs(2) {
            let own = format!("{pid}.");
            let ended = server.noted("ended").iter().filter(|who| who.starts_with(&own)).count();
            assert_eq!(ended, site.loaded(), "{agent:?}: {}", server.log());
        }
        logs.push((agent, plain_log(&server.log())));
    }
    let (_, alone) = logs[0].clone();
    for (agent, log) in logs {
        assert_eq!(log, alone, "{agent:?}");
    }
}

/// Without times and numbers, in an order that does not depend on who was first.
fn plain_log(log: &str) -> Vec<String> {
    let plain = |line: &str| line.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let lines = log
        .lines()
        .filter(|line| !line.contains("did not exit"))
        .filter_map(|line| line.split_once("] ").map(|(_, rest)| plain(rest)));
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}
