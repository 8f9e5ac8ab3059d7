//! `catch`: which exceptions are kept, for how long, what is told of them, and what is left when it ends in any way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, TargetError, census, place};

use crate::program::{LIMIT, Ran, Running, run, spyhole};
use crate::subjects::Subject;

pub(crate) fn raising(python: &Interpreter) -> Subject {
    Subject::serving(Start::new(python, "raising"))
}

/// The number of a marked line of the target.
fn line_of(mark: &str) -> usize {
    let text = std::fs::read_to_string(place::targets().join("raising.py")).expect("it is there");
    let found = text.lines().position(|line| line.contains(&format!("# marked: {mark}")));
    found.expect("the line is marked") + 1
}

/// A catch that goes on.
pub(crate) struct Catch(Running);

impl Catch {
    /// Starts it, and waits until it is in place.
    pub(crate) fn of(pid: i32, place: &str, more: &[&str]) -> Self {
        Self::start(pid, place, more).0
    }

    fn start(pid: i32, place: &str, more: &[&str]) -> (Self, Json) {
        let mut command = spyhole();
        command.args(["catch", &pid.to_string(), place, "--json"]).args(more);
        if !more.contains(&"--rate") {
            command.args(["--rate", "1000"]);
        }
        let mut catch = Self(Running::start(command.stdin(Stdio::null())));
        let placed = catch.next();
        assert_eq!(placed["event"], "placed", "{placed}");
        (catch, placed)
    }

    pub(crate) fn next(&mut self) -> Json {
        let line = self.0.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next exception, with its type and message.
    #[track_caller]
    pub(crate) fn caught(&mut self, kind: &str, message: &str) -> Json {
        let caught = self.next();
        let exception = &caught["exception"];
        assert_eq!((&exception["type"], &exception["message"]), (&kind.into(), &message.into()));
        caught
    }

    /// As Ctrl-C ends it.
    #[track_caller]
    pub(crate) fn interrupt(self) -> Json {
        self.0.signal(Signal::INT);
        let ran = self.0.wait();
        assert_eq!(ran.code, 0, "{ran:?}");
        let last = ran.data.lines().last().expect("it sums up").to_owned();
        serde_json::from_str(&last).expect("JSON")
    }
}

/// What another client is told: each line as JSON.
#[track_caller]
fn asked(pid: i32, more: &[&str]) -> Vec<Json> {
    let pid = pid.to_string();
    let ran = run(["catch", &pid, "--json"].iter().chain(more));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.data.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn ids(all: &[Json]) -> Vec<u64> {
    all.iter().filter_map(|one| one["id"].as_u64()).collect()
}

/// The names and values that the last exception's frame of this function held.
fn locals(caught: &Json, function: &str) -> Vec<(String, String)> {
    let chain = caught["chain"].as_array().expect("a list");
    let frames = chain.last().expect("not empty")["frames"].as_array().expect("a list");
    let is_it =
        |frame: &&Json| frame["function"].as_str().is_some_and(|name| name.ends_with(function));
    let frame = frames.iter().find(is_it).unwrap_or_else(|| panic!("no {function}: {caught}"));
    let text = |value: &Json| value.as_str().expect("text").to_owned();
    let all = frame["locals"].as_array().expect("a list").iter();
    let mut found: Vec<_> = all.map(|one| (text(&one["name"]), text(&one["repr"]))).collect();
    found.sort();
    found
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

/// Listed as they come; another client lists, prints, discards and resets.
fn kept(python: &Interpreter) {
    let mut subject = raising(python);
    let pid = subject.pid();
    let mut catch = Catch::of(pid, "__main__:checked", &[]);
    assert_eq!(subject.evaluate("work(1)").expect("it answers"), "'1'");
    assert_eq!(subject.evaluate("work(5)").expect("it answers"), "\"ValueError('too many', 5)\"");
    let caught = catch.caught("ValueError", "('too many', 5)");
    assert_eq!((&caught["id"], &caught["by"]), (&1.into(), &"function".into()), "{caught}");
    assert_eq!((&caught["thread_name"], &caught["live"]), (&"MainThread".into(), &true.into()));
    let frames = caught["chain"][0]["frames"].as_array().expect("a list");
    let lines: Vec<_> = frames.iter().map(|frame| frame["line"].as_u64()).collect();
    assert_eq!(lines.last(), Some(&Some(line_of("check") as u64)), "{caught}");
    assert_eq!(lines.len(), 2, "nothing of ours is a frame: {caught}");
    subject.evaluate("work(9)").expect("it answers");
    catch.caught("KeyError", "9");
    let all = asked(pid, &[]);
    assert_eq!(ids(&all), [1, 2], "{all:?}");
    let watching = &all.last().expect("it sums up")["watching"][0];
    assert_eq!((&watching["where"], &watching["count"]), (&"__main__:checked".into(), &2.into()));
    let printed = asked(pid, &["--print", "1"]);
    let own = pairs(&[("limit", "2"), ("secret_token", "<redacted>"), ("self", "<Item 5>")]);
    assert_eq!(locals(&printed[0], "check"), own);
    let own = pairs(&[("item", "<Item 5>"), ("limit", "2"), ("number", "5")]);
    assert_eq!(locals(&printed[0], "checked"), own);
    let callers = printed[0]["stack"].as_array().expect("a list");
    assert!(callers.iter().any(|frame| frame["function"] == "work"), "{printed:?}");
    let text = run(["catch", &pid.to_string(), "--print", "1", "--reveal"]);
    assert!(text.data.contains("      secret_token = 'hidden'\n"), "{text:?}");
    assert!(text.data.ends_with("ValueError: ('too many', 5)\n"), "{text:?}");
    text.left(pid);
    asked(pid, &["--discard", "1"]);
    assert_eq!(ids(&asked(pid, &[])), [2]);
    run(["catch", &pid.to_string(), "--print", "1"]).failed(1, "there is no exception 1");
    asked(pid, &["--reset"]);
    assert_eq!(ids(&asked(pid, &[])), Vec::<u64>::new());
    subject.evaluate("work(6)").expect("it answers");
    assert_eq!(catch.caught("ValueError", "('too many', 6)")["id"], 3);
    let ended = catch.interrupt();
    assert_eq!((&ended["seen"], &ended["kept"]), (&3.into(), &3.into()), "{ended}");
    assert_eq!(ids(&asked(pid, &[])), Vec::<u64>::new(), "they go with their client");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    subject.is_unchanged();
}

/// Functions of every kind; a recursion is one exception.
fn kinds(python: &Interpreter) {
    let mut subject = raising(python);
    let pid = subject.pid();
    for (name, call, kind, message) in [
        ("Item.check", "work(7)", "ValueError", "('too many', 7)"),
        ("generated", "seen(list, generated(1))", "ValueError", "('generated', 1)"),
        ("awaited", "seen(drive, awaited(2))", "ValueError", "('awaited', 2)"),
        ("outer.inner", "seen(live, 3)", "ValueError", "('inner', 13)"),
        ("outer.inner", "seen(outer(1), 3)", "ValueError", "('inner', 4)"),
        ("sourceless", "seen(sourceless, 3)", "ZeroDivisionError", "division by zero"),
        ("down", "seen(down, 4)", "LookupError", "bottom"),
    ] {
        let (mut catch, placed) = Catch::start(pid, &format!("__main__:{name}"), &[]);
        let how = match &placed["how"] {
            how if *how == "monitored" => "monitored",
            _ if name == "sourceless" => "wrapped",
            _ => "compiled in",
        };
        assert_eq!(placed["how"], how, "{name}: {placed}");
        subject.evaluate(call).expect("it answers");
        catch.caught(kind, message);
        if name == "generated" {
            // One that is closed has not failed.
            subject.evaluate("next(generated(1))").expect("it answers");
        }
        if name == "down" {
            assert_eq!(asked(pid, &["--print", "1"])[0]["times"], 5);
        }
        let ended = catch.interrupt();
        assert_eq!((&ended["seen"], &ended["kept"]), (&1.into(), &1.into()), "{name}: {ended}");
        assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True", "{name}");
    }
    // So many agents in a row make tables of the interpreter grow.
    let mut subject = subject.again();
    let mut catch = Catch::of(pid, "__main__:checked", &[]);
    subject.evaluate("work(5)").expect("it answers");
    catch.caught("ValueError", "('too many', 5)");
    catch.interrupt();
    subject.is_unchanged();
}

/// The newest ones alone; not more in a second than was asked for; what holds too much is kept as text.
fn bounded(python: &Interpreter) {
    let mut subject = raising(python);
    let pid = subject.pid();
    let many = "[work(n) for n in range(3, 8)]";
    let mut catch = Catch::of(pid, "__main__:checked", &["--last", "2"]);
    subject.evaluate(many).expect("it answers");
    for n in 3..8 {
        catch.caught("ValueError", &format!("('too many', {n})"));
    }
    assert_eq!(ids(&asked(pid, &[])), [4, 5]);
    catch.interrupt();
    let mut catch = Catch::of(pid, "__main__:checked", &["--rate", "0.0001"]);
    subject.evaluate(many).expect("it answers");
    catch.caught("ValueError", "('too many', 3)");
    let ended = catch.interrupt();
    assert_eq!((&ended["seen"], &ended["dropped"]["rate"]), (&5.into(), &4.into()), "{ended}");
    let mut catch = Catch::of(pid, "__main__:down", &["--megabytes", "1"]);
    subject.evaluate("seen(down, [1])").expect("it answers");
    assert_eq!(catch.caught("TypeError", DOWN)["live"], true);
    subject.evaluate("seen(down, [b'x'] + ['y' * (2 << 20)])").expect("it answers");
    assert_eq!(catch.caught("TypeError", DOWN)["live"], false);
    catch.interrupt();
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
}

const DOWN: &str = "unsupported operand type(s) for -: 'list' and 'int'";

/// Conditions over what the function holds, those that raise, and lines.
fn conditions(python: &Interpreter) {
    let mut subject = raising(python);
    let pid = subject.pid();
    let many = "[work(n) for n in (3, 9, 5)]";
    let mut expect = |place: &str, when: &[&str], kind: &str, message: &str| {
        let mut catch = Catch::of(pid, place, when);
        subject.evaluate(many).expect("it answers");
        catch.caught(kind, message);
        let ended = catch.interrupt();
        assert_eq!(ended["kept"], 1, "{place}: {ended}");
    };
    expect("__main__:checked", &["--when", "number == 5"], "ValueError", "('too many', 5)");
    let key = ["--when", "isinstance(exception, KeyError) and item.number == 9"];
    expect("__main__:checked", &key, "KeyError", "9");
    expect(&format!("raising.py:{}", line_of("key")), &[], "KeyError", "9");
    let mut catch = Catch::of(pid, "__main__:checked", &["--when", "nothing > 1"]);
    subject.evaluate(many).expect("it answers");
    let note = catch.next();
    assert!(note["text"].as_str().unwrap().contains("the condition raised NameError"), "{note}");
    for (kind, message) in
        [("ValueError", "('too many', 3)"), ("KeyError", "9"), ("ValueError", "('too many', 5)")]
    {
        catch.caught(kind, message);
    }
    assert_eq!(catch.interrupt()["condition_raised"], 3);
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    let pid = pid.to_string();
    for (place, code, said) in [
        ("__mian__:checked", 1, "did you mean `__main__`?"),
        ("__main__:chekced", 1, "did you mean `checked`?"),
        ("__main__:Item", 2, "is a class"),
        ("__main__:made", 2, "is no function"),
        ("sys:exit", 2, "is written in C"),
        ("checked", 2, "write `checked` as module:function or file:line"),
        ("raising.py:99999", 2, "no code in line 99999 or after it"),
    ] {
        run(["catch", &pid, place]).failed(code, said);
    }
    run(["catch", &pid, "__main__:checked", "--when", "number >"]).failed(2, "is no expression");
    subject.is_unchanged();
}

/// What nobody handles, wherever it is told; each once.
fn unhandled(python: &Interpreter) {
    let mut subject = raising(python);
    let pid = subject.pid();
    let mut catch = Catch::of(pid, "*", &[]);
    for (call, message, by) in [
        ("in_thread()", "in a thread", "thread"),
        ("in_task()", "in a task", "task"),
        ("logged()", "logged", "log"),
        ("printed()", "printed", "print"),
        ("formatted()", "formatted", "print"),
    ] {
        subject.evaluate(call).expect("it answers");
        let caught = catch.caught("RuntimeError", message);
        assert_eq!(caught["by"], by, "{caught}");
        let chain = caught["chain"][0]["frames"].as_array().expect("a list");
        assert_eq!(chain.last().map(|frame| &frame["function"]), Some(&"fail".into()), "{caught}");
    }
    subject.evaluate("quiet_log()").expect("it answers");
    let ended = catch.interrupt();
    assert_eq!((&ended["kept"], &ended["seen"]), (&5.into(), &5.into()), "{ended}");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    // So many first uses make caches of the interpreter grow; what is looked at now is that nothing more comes.
    let mut subject = subject.again();
    let catch = Catch::of(pid, "*", &[]);
    catch.interrupt();
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    subject.is_unchanged();
}

/// Two clients on one function, which leave in either order; one that reads nothing holds nobody up.
fn two_at_once(python: &Interpreter) {
    let mut subject = raising(python).by_threads(3);
    let pid = subject.pid();
    for first_leaves_first in [true, false] {
        let mut one = Catch::of(pid, "__main__:checked", &[]);
        let mut other = Catch::of(pid, "__main__:checked", &[]);
        subject.evaluate("work(5)").expect("it answers");
        let (first, second) = (one.next()["id"].as_u64(), other.next()["id"].as_u64());
        assert_ne!(first, second, "numbers are not given twice");
        assert_eq!(ids(&asked(pid, &[])).len(), 2);
        let (leaves, mut stays) = if first_leaves_first { (one, other) } else { (other, one) };
        leaves.interrupt();
        subject.evaluate("work(6)").expect("it answers");
        stays.caught("ValueError", "('too many', 6)");
        stays.interrupt();
        assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    }
    let mut catch = Catch::of(pid, "__main__:checked", &["--rate", "100000"]);
    catch.0.signal(Signal::STOP);
    let code = "len([work(10 + n) for n in range(2000)])";
    assert_eq!(subject.evaluate(code).expect("it answers"), "2000");
    catch.0.signal(Signal::CONT);
    catch.caught("ValueError", "('too many', 10)");
    let ended = catch.interrupt();
    assert_eq!(ended["seen"], 2000, "{ended}");
    assert!(ended["dropped"]["slow"].as_u64() > Some(0), "{ended}");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
}

/// However the client dies, what it keeps goes with it.
fn killed(python: &Interpreter) {
    let subject = raising(python);
    // Trees of whole modules make the allocator keep more, once.
    Catch::of(subject.pid(), "*", &[]).interrupt();
    let mut subject = subject.again().by_threads(3);
    let pid = subject.pid();
    for place in ["__main__:checked", "__main__:sourceless", "*"] {
        let mut catch = Catch::of(pid, place, &[]);
        if place == "__main__:checked" {
            subject.evaluate("work(5)").expect("it answers");
            catch.next();
        }
        catch.0.signal(Signal::KILL);
        catch.0.wait_quietly();
        subject.is_unchanged();
        assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True", "{place}");
    }
}

/// Left behind: a later client finds what was kept meanwhile, and ends it.
fn left_behind(python: &Interpreter) {
    let mut subject = raising(python);
    let pid = subject.pid();
    let staying = |time: &str| -> Ran {
        let ran = run(["catch", &pid.to_string(), "__main__:checked", "--keep", "--for", time]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.talk.contains(&format!("left {pid} with exceptions of __main__:checked")));
        ran
    };
    staying("10m");
    subject.evaluate("work(5)").expect("it answers");
    let rows = run(["ps", "--json"]).json();
    let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["pid"] == pid));
    let loaded = row.map(|row| row["loaded"].to_string()).unwrap_or_default();
    assert!(loaded.contains("spyhole"), "{loaded}");
    let all = asked(pid, &[]);
    assert_eq!(ids(&all), [1], "{all:?}");
    let left = all.last().expect("it sums up")["watching"][0]["left_s"].as_f64();
    assert!(left > Some(60.0) && left <= Some(600.0), "{all:?}");
    assert_eq!(asked(pid, &["--print", "1"])[0]["exception"]["type"], "ValueError");
    let stopped = asked(pid, &["--stop"]);
    assert_eq!(stopped[0]["count"], 1, "{stopped:?}");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    assert_eq!(ids(&asked(pid, &[])), Vec::<u64>::new());
    // It ends by itself, and by its client's end.
    let mut subject = subject.again();
    staying("1s");
    subject.is_unchanged();
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    let ran = staying("10m");
    let by = ran.talk.split("by process ").nth(1).and_then(|rest| rest.split(';').next());
    let by: i32 = by.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{ran:?}"));
    assert!(
        Command::new("kill").args(["-9", &by.to_string()]).status().expect("it runs").success()
    );
    subject.is_unchanged();
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
}

/// A world with greenlets or tasks: who had it is told, what is lost in them is seen, and the world goes on.
fn world(python: &Interpreter, world: &str) {
    let start = Start::new(python, "failing").args([world]);
    let Some(mut subject) = Subject::optional(&format!("catch::{world}"), start) else { return };
    let pid = subject.pid();
    let mut catch = Catch::of(pid, "__main__:step", &[]);
    for _ in 0..3 {
        let caught = catch.next();
        assert_eq!(caught["exception"]["type"], "ValueError", "{caught}");
        let who = if world == "asyncio" { &caught["task"] } else { &caught["greenlet"] };
        assert!(who.is_string(), "{caught}");
    }
    catch.interrupt();
    let mut catch = Catch::of(pid, "*", &[]);
    for _ in 0..3 {
        let caught = catch.next();
        assert_eq!(caught["exception"]["type"], "RuntimeError", "{caught}");
        let chain = caught["chain"][0]["frames"].as_array().expect("a list");
        assert_eq!(chain.last().map(|frame| &frame["function"]), Some(&"lost".into()), "{caught}");
    }
    catch.interrupt();
    subject.is_unchanged();
}

fn gevent(python: &Interpreter) {
    world(python, "gevent");
}

fn eventlet(python: &Interpreter) {
    world(python, "eventlet");
}

fn asyncio(python: &Interpreter) {
    world(python, "asyncio");
}

/// What a server makes of an application that raises is seen; in all of its processes.
fn requests(python: &Interpreter, kind: &str) {
    let test = format!("catch::{kind}");
    let packaged = if kind == "wsgiref" { Some(python.clone()) } else { python.with_packages() };
    let Some(python) = packaged else {
        return census::skipped(&test, &format!("no packages for {}", python.minor()));
    };
    let target = match Start::new(&python, "web").args([kind, "logged"]).start() {
        Ok(target) => target,
        Err(TargetError::Skipped { reason, .. }) => return census::skipped(&test, &reason),
        Err(error) => panic!("{error}"),
    };
    let port = target.ready()["port"].as_u64().expect("a port");
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port as u16)).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("it can be set");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is there");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    };
    // Then its workers are there.
    assert!(ask("/quick").contains(" 200 "));
    let mut command = spyhole();
    command.args(["catch", &format!("tree:{}", target.pid()), "*", "--json", "--yes"]);
    let mut catch = Catch(Running::start(command.stdin(Stdio::null())));
    for _ in 0..if kind == "wsgiref" { 1 } else { 2 } {
        let placed = catch.next();
        assert_eq!(placed["event"], "placed", "{placed}");
    }
    assert!(ask("/fail").contains(" 500 "));
    let caught = catch.caught("LookupError", "no such page");
    assert!(["log", "print"].contains(&caught["by"].as_str().expect("a word")), "{caught}");
    assert!(ask("/quick").contains(" 200 "));
    catch.interrupt();
    assert!(ask("/fail").contains(" 500 "));
}

fn gunicorn(python: &Interpreter) {
    requests(python, "sync");
}

fn gunicorn_threads(python: &Interpreter) {
    requests(python, "gthread");
}

fn wsgiref(python: &Interpreter) {
    requests(python, "wsgiref");
}

on_three! { asyncio wsgiref }
each! { on, gunicorn, py36 = "3.6", py313 = "3.13" }
each! { on, gunicorn_threads, py313 = "3.13" }
each! { on, gevent, py36 = "3.6", py311 = "3.11", py313 = "3.13" }
each! { on, eventlet, py36 = "3.6", py311 = "3.11", py313 = "3.13" }
on_full_set! { kinds killed }
on_three! { kept conditions unhandled two_at_once left_behind }
on_one! { bounded }
