//! `trace`: what is told of calls and lines, what is not touched, and what is left when it ends in any way.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::Value as Json;
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, TargetError, census, place};

use crate::program::{Running, run, spyhole};
use crate::subjects::Subject;

fn traced(python: &Interpreter) -> Subject {
    Subject::serving(Start::new(python, "traced"))
}

/// The number of a marked line of the target.
fn line_of(mark: &str) -> usize {
    let text = std::fs::read_to_string(place::targets().join("traced.py")).expect("it is there");
    let found = text.lines().position(|line| line.contains(&format!("# marked: {mark}")));
    found.expect("the line is marked") + 1
}

/// A trace that goes on.
pub(crate) struct Trace(Running);

impl Trace {
    /// Starts it, and waits until it is in place.
    pub(crate) fn of(pid: i32, place: &str, more: &[&str]) -> Self {
        Self::start(pid, place, more).0
    }

    /// With what it said then.
    fn start(pid: i32, place: &str, more: &[&str]) -> (Self, Json) {
        Self::at(&pid.to_string(), place, more)
    }

    /// In whatever `target` names.
    fn at(target: &str, place: &str, more: &[&str]) -> (Self, Json) {
        let mut command = spyhole();
        command.args(["trace", target, place, "--json"]).args(more);
        if !more.contains(&"--rate") {
            command.args(["--rate", "1000"]);
        }
        let mut trace = Self(Running::start(command.stdin(Stdio::null())));
        let placed = trace.next();
        assert_eq!(placed["event"], "placed", "{placed}");
        (trace, placed)
    }

    fn next(&mut self) -> Json {
        let line = self.0.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next call.
    pub(crate) fn call(&mut self) -> Json {
        let call = self.next();
        assert!(call["event"] == "call" || call["event"] == "line", "{call}");
        call
    }

    /// As Ctrl-C ends it.
    pub(crate) fn interrupt(self) -> Json {
        self.0.signal(Signal::INT);
        let ran = self.0.wait();
        assert_eq!(ran.code, 0, "{ran:?}");
        let last = ran.data.lines().last().expect("it sums up").to_owned();
        serde_json::from_str(&last).expect("JSON")
    }
}

/// Names with the texts of their values.
type Arguments = Vec<(String, String)>;

fn arguments(call: &Json) -> Arguments {
    let text = |value: &Json| value.as_str().expect("text").to_owned();
    let all = call["arguments"].as_array().expect("a list").iter();
    all.map(|one| (text(&one["name"]), text(&one["repr"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Arguments {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

/// Functions of every kind: one call each, with what comes of it.
fn kinds(python: &Interpreter) {
    let mut subject = traced(python);
    let pid = subject.pid();
    let own = |rest: &[(&str, &str)]| [pairs(&[("self", "Derived()")]), pairs(rest)].concat();
    let cases: Vec<(&str, &str, &str, Arguments, &str)> = vec![
        ("plain", "plain(1, b=[2])", "[1, [2]]", pairs(&[("a", "1"), ("b", "[2]")]), "[1, [2]]"),
        ("Derived.method", "Derived().method(3)", "8", own(&[("x", "3")]), "8"),
        (
            "Derived.of_class",
            "Derived.of_class(3)",
            "'Derived3'",
            pairs(&[("cls", "<class '__main__.Derived'>"), ("x", "3")]),
            "'Derived3'",
        ),
        ("Derived.static", "Derived.static()", "4", pairs(&[("x", "4")]), "4"),
        ("Derived.prop", "Derived().prop", "'Derived'", own(&[]), "'Derived'"),
        ("Derived.__private", "Derived().call_private(4)", "4", own(&[("_Derived__y", "4")]), "4"),
        ("decorated", "decorated(3)", "3", pairs(&[("x", "3")]), "3"),
        ("silently", "silently(3)", "3", pairs(&[("x", "3")]), "3"),
        ("cached", "cached(3)", "3", pairs(&[("x", "3")]), "3"),
        ("outer.inner", "live(5)", "15", pairs(&[("m", "5")]), "15"),
        ("outer.inner", "outer(7)(8)", "15", pairs(&[("m", "8")]), "15"),
        ("generator", "list(generator(2))", "[0, 1]", pairs(&[("n", "2")]), "'end'"),
        ("coroutine", "driven(coroutine(3))", "3", pairs(&[("x", "3")]), "3"),
        ("async_generator", "driven(collected(2))", "[0, 1]", pairs(&[("n", "2")]), "None"),
        (
            "kinds",
            "kinds(1, 2, k=3, z=4)",
            "['a', 'args', 'k', 'more']",
            pairs(&[("a", "1"), ("k", "3"), ("args", "(2,)"), ("more", "{'z': 4}")]),
            "['a', 'args', 'k', 'more']",
        ),
        ("calls_imported", "calls_imported('b')", "'b'", pairs(&[("n", "'b'")]), "'b'"),
        ("sourceless", "sourceless(1, y=3)", "4", pairs(&[("x", "1"), ("y", "3")]), "4"),
    ];
    for (name, call, value, expected, result) in cases {
        let (mut trace, placed) = Trace::start(pid, &format!("__main__:{name}"), &[]);
        let how = if name == "sourceless" { "wrapped" } else { "compiled in" };
        assert_eq!(placed["how"], how, "{name}: {placed}");
        assert_eq!(subject.evaluate(call).expect("it answers"), value, "{name}");
        let told = trace.call();
        assert_eq!(arguments(&told), expected, "{name}");
        assert_eq!(told["result"], result, "{name}: {told}");
        assert!(told["duration_ms"].as_f64().is_some_and(|d| d >= 0.0), "{told}");
        assert_eq!((&told["pid"], &told["thread_name"]), (&pid.into(), &"MainThread".into()));
        let ended = trace.interrupt();
        assert_eq!(
            (&ended["passed"], &ended["told"], &ended["open"]),
            (&1.into(), &1.into(), &0.into())
        );
        assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True", "{name}");
    }
    // So many agents in a row make tables of the interpreter grow; other tests compare with the very first state.
    let mut subject = subject.again();
    // An exception passes with the traceback that it would have had.
    let mut trace = Trace::of(pid, "__main__:raises", &["--stack"]);
    let place = subject.evaluate("traceback_of(3)").expect("it answers");
    assert_eq!(place, format!("({}, None)", line_of("raises")));
    let told = trace.call();
    assert_eq!(told["exception"]["type"], "ValueError", "{told}");
    assert_eq!(told["exception"]["message"], "('two', 2)");
    let stack = told["stack"].as_array().expect("a list");
    assert_eq!(stack.last().map(|frame| &frame["function"]), Some(&"raises".into()), "{told}");
    assert_eq!(stack[stack.len() - 2]["function"], "traceback_of", "{told}");
    trace.interrupt();
    // An asynchronous generator that is closed early ends there.
    let mut trace = Trace::of(pid, "__main__:async_generator", &[]);
    assert_eq!(subject.evaluate("driven(closed_early(9))").expect("it answers"), "0");
    assert_eq!(trace.call()["exception"]["type"], "GeneratorExit");
    trace.interrupt();
    subject.is_unchanged();
}

/// Each level of a recursion is a call, told when it ends.
fn recursion_and_limit(python: &Interpreter) {
    let mut subject = traced(python);
    let pid = subject.pid();
    let mut trace = Trace::of(pid, "__main__:factorial", &["--limit", "3"]);
    assert_eq!(subject.evaluate("factorial(5)").expect("it answers"), "120");
    // The limit is one of calls that are taken, from the outermost on.
    for (n, result) in [("3", "6"), ("4", "24"), ("5", "120")] {
        let told = trace.call();
        assert_eq!((arguments(&told), &told["result"]), (pairs(&[("n", n)]), &result.into()));
    }
    let ran = trace.0.wait();
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.left(pid);
    let ended: Json = serde_json::from_str(ran.data.lines().last().unwrap()).expect("JSON");
    assert_eq!((&ended["told"], &ended["dropped"]["limit"]), (&3.into(), &2.into()), "{ended}");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    subject.is_unchanged();
}

/// Conditions over arguments and over what came of it, expressions to show, and those that raise.
fn conditions(python: &Interpreter) {
    let mut subject = traced(python);
    let pid = subject.pid();
    let many = "[plain(n)[0] for n in range(5)]";
    let mut expect = |more: &[&str], first: &str, count: usize| {
        let mut trace = Trace::of(pid, "__main__:plain", more);
        assert_eq!(subject.evaluate(many).expect("it answers"), "[0, 1, 2, 3, 4]");
        let told: Vec<Json> = (0..count).map(|_| trace.call()).collect();
        assert_eq!(arguments(&told[0])[0].1, first, "{told:?}");
        let ended = trace.interrupt();
        assert_eq!(ended["told"], count, "{ended}");
        assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
        told
    };
    expect(&["--when", "a > 2"], "3", 2);
    expect(&["--when", "a in [n for n in (1, 3)]"], "1", 2);
    expect(&["--when", "result == [4, ()]"], "4", 1);
    expect(&["--when", "duration >= 0 and exception is None and a == 2"], "2", 1);
    let told = expect(&["--show", "a * 2", "--show", "nothing", "--when", "a == 3"], "3", 1);
    assert_eq!(
        (&told[0]["show"][0]["repr"], &told[0]["show"][0]["ok"]),
        (&"6".into(), &true.into())
    );
    assert_eq!(told[0]["show"][1]["ok"], false, "{told:?}");
    let mut trace = Trace::of(pid, "__main__:plain", &["--when", "a.nothing"]);
    subject.evaluate(many).expect("it answers");
    let note = trace.next();
    assert_eq!(note["event"], "note", "{note}");
    assert!(
        note["text"].as_str().unwrap().contains("the condition raised AttributeError"),
        "{note}"
    );
    for _ in 0..5 {
        trace.call();
    }
    assert_eq!(trace.interrupt()["condition_raised"], 5);
    for condition in ["a >", "(a := 3)", "await a", "yield", "a = 2"] {
        let pid = pid.to_string();
        run(["trace", &pid, "__main__:plain", "--when", condition]).failed(2, "error: ");
    }
    subject.is_unchanged();
}

/// A line; one without code; those that run once.
fn lines(python: &Interpreter) {
    let mut subject = traced(python);
    let pid = subject.pid();
    let line = line_of("line");
    let mut trace = Trace::of(pid, &format!("traced.py:{line}"), &["--show", "total"]);
    assert_eq!(subject.evaluate("lines(3)").expect("it answers"), "3");
    for (n, total) in [("3", "0"), ("2", "2"), ("1", "3")] {
        let told = trace.call();
        assert_eq!((&told["event"], &told["line"]), (&"line".into(), &line.into()));
        assert_eq!(arguments(&told), pairs(&[("n", n)]), "{told}");
        assert_eq!(told["show"][0]["repr"], total, "{told}");
    }
    trace.interrupt();
    let (mut trace, placed) =
        Trace::start(pid, &format!("traced.py:{}", line + 1), &["--when", "n == 1"]);
    assert_eq!(placed["moved_to"], line_of("next"));
    assert_eq!(subject.evaluate("lines(3)").expect("it answers"), "3");
    assert_eq!(arguments(&trace.call()), pairs(&[("n", "1")]));
    trace.interrupt();
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    let pid = pid.to_string();
    run(["trace", &pid, "traced.py:99999"]).failed(2, "no code in line 99999 or after it");
    run(["trace", &pid, "trased.py:1"]).failed(1, "did you mean `traced.py`?");
    subject.is_unchanged();
}

/// What cannot be traced is said, with what can be done instead.
fn not_to_be_traced(python: &Interpreter) {
    let mut subject = traced(python);
    let pid = subject.pid().to_string();
    for (place, code, said) in [
        ("__mian__:plain", 1, "did you mean `__main__`?"),
        ("__main__:plian", 1, "did you mean `plain`?"),
        ("__main__:Derived", 2, "is a class"),
        ("__main__:commands", 2, "is a module"),
        ("__main__:counts", 2, "is no function, but a value of type `list`"),
        ("sys:exit", 2, "is written in C"),
        ("plain", 2, "write `plain` as module:function or file:line"),
        ("__main__:", 2, "write `__main__:` as"),
    ] {
        let ran = run(["trace", &pid, place]);
        ran.failed(code, said);
        ran.left(subject.pid());
    }
    subject.is_unchanged();
}

/// Names that stand before secrets hide what is passed under them.
fn secrets(python: &Interpreter) {
    let mut subject = traced(python);
    let pid = subject.pid();
    for (more, shown) in [(&[][..], "<redacted>"), (&["--reveal"][..], "'s3cret'")] {
        let mut trace = Trace::of(pid, "__main__:login", more);
        subject.evaluate("login('ann', 's3cret')").expect("it answers");
        let expected = pairs(&[("user", "'ann'"), ("password", shown)]);
        assert_eq!(arguments(&trace.call()), expected);
        trace.interrupt();
    }
    subject.is_unchanged();
}

/// Numbers instead of lines, while threads call without end; every call is right, and nothing stays.
fn under_load(python: &Interpreter) {
    let mut subject = traced(python).by_threads(3);
    let pid = subject.pid();
    subject.evaluate("load(2)").expect("it answers");
    let mut trace = Trace::of(pid, "__main__:busy", &["--stats", "100ms"]);
    for _ in 0..3 {
        let told = trace.next();
        assert_eq!(told["event"], "stats", "{told}");
        assert!(told["p50_ms"].as_f64() <= told["max_ms"].as_f64(), "{told}");
    }
    trace.interrupt();
    // Over the rate nothing is told, and all is counted.
    let mut slow = Trace::of(pid, "__main__:busy", &["--rate", "5", "--limit", "7"]);
    for _ in 0..7 {
        slow.call();
    }
    let ran = slow.0.wait();
    let ended: Json = serde_json::from_str(ran.data.lines().last().unwrap()).expect("JSON");
    let rate = ended["dropped"]["rate"].as_u64().expect("a number");
    assert!(rate > 0 && ended["passed"].as_u64() >= Some(rate), "{ended}");
    assert_eq!(subject.evaluate("unload()").expect("it answers"), "True");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    subject.is_unchanged();
}

/// However the client dies, its probes go with it.
fn killed(python: &Interpreter) {
    let mut subject = traced(python).by_threads(3);
    let pid = subject.pid();
    let function = "__main__:busy";
    let line = format!("traced.py:{}", line_of("line"));
    let cases: [(&str, &[&str]); 5] = [
        (function, &[]),
        (function, &["--when", "n == 50"]),
        (function, &["--stats", "50ms"]),
        (&line, &[]),
        ("__main__:sourceless", &[]),
    ];
    for (place, more) in cases {
        subject.evaluate("load(2)").expect("it answers");
        let (mut trace, _) = Trace::start(pid, place, more);
        if place == function {
            trace.next();
        }
        trace.0.signal(Signal::KILL);
        trace.0.wait_quietly();
        assert_eq!(subject.evaluate("unload()").expect("it answers"), "True");
        subject.is_unchanged();
        assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True", "{place}");
    }
}

/// A client that reads nothing holds nobody up.
fn nobody_reads(python: &Interpreter) {
    let mut subject = traced(python).by_threads(3);
    let pid = subject.pid();
    let (mut trace, _) =
        Trace::start(pid, "__main__:plain", &["--rate", "100000", "--limit", "1000000"]);
    trace.0.signal(Signal::STOP);
    // Far more than any channel holds.
    let code = "sum(len(plain(n, 'x' * 150)) for n in range(3000))";
    assert_eq!(subject.evaluate(code).expect("it answers"), "6000");
    trace.0.signal(Signal::CONT);
    let told = trace.call();
    assert_eq!(arguments(&told)[0], ("a".to_owned(), "0".to_owned()));
    let ended = trace.interrupt();
    assert_eq!(ended["passed"], 3000, "{ended}");
    assert!(ended["dropped"]["slow"].as_u64() > Some(0), "{ended}");
    subject.is_unchanged();
}

/// Two clients on one function, which leave in either order.
fn two_at_once(python: &Interpreter) {
    let mut subject = traced(python).by_threads(3);
    let pid = subject.pid();
    for first_leaves_first in [true, false] {
        let mut one = Trace::of(pid, "__main__:plain", &[]);
        let mut other = Trace::of(pid, "__main__:plain", &[]);
        assert_eq!(subject.evaluate("plain(7)").expect("it answers"), "[7, ()]");
        assert_eq!(arguments(&one.call())[0].1, "7");
        assert_eq!(arguments(&other.call())[0].1, "7");
        let (first, last) = if first_leaves_first { (one, other) } else { (other, one) };
        first.interrupt();
        let mut last = last;
        assert_eq!(subject.evaluate("plain(8)").expect("it answers"), "[8, ()]");
        assert_eq!(arguments(&last.call())[0].1, "8");
        last.interrupt();
        assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    }
    subject.is_unchanged();
}

/// A world with greenlets or tasks: who passed is told, and the world goes on.
fn stepping(python: &Interpreter, world: &str) {
    let test = format!("trace::{world}");
    let start = Start::new(python, "stepping").args([world]);
    let Some(mut subject) = Subject::optional(&test, start) else { return };
    let pid = subject.pid();
    let place = format!("stepping.py:{}", 28);
    for place in ["__main__:step", &place] {
        let mut trace = Trace::of(pid, place, &["--limit", "3", "--show", "n + 1"]);
        let numbers: Vec<u64> = (0..3)
            .map(|_| {
                let told = trace.call();
                let who = if world == "asyncio" { &told["task"] } else { &told["greenlet"] };
                assert!(who.is_string(), "{told}");
                assert_eq!(told["show"][0]["ok"], true, "{told}");
                arguments(&told)[0].1.parse().expect("a number")
            })
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
        let ran = trace.0.wait();
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.left(pid);
    }
    subject.is_unchanged();
    assert_eq!(subject.stderr(), "");
}

fn gevent(python: &Interpreter) {
    stepping(python, "gevent");
}

fn eventlet(python: &Interpreter) {
    stepping(python, "eventlet");
}

fn asyncio(python: &Interpreter) {
    stepping(python, "asyncio");
}

/// The workers of a server; who serves none has not loaded the application.
fn gunicorn(python: &Interpreter) {
    let python = python.with_packages().unwrap_or_else(|| python.clone());
    let mut target = match Start::new(&python, "web").args(["gthread"]).start() {
        Ok(target) => target,
        Err(TargetError::Skipped { reason, .. }) => {
            return census::skipped("trace::gunicorn", &reason);
        }
        Err(error) => panic!("{error}"),
    };
    let port = target.ready()["port"].as_u64().expect("a port");
    let ask = |path: &str| {
        let address = ("127.0.0.1", u16::try_from(port).expect("a port"));
        let mut stream = TcpStream::connect(address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is there");
        stream
    };
    // It is up when it serves the first one.
    let first = ask("/first");
    assert_eq!(target.receive().expect("it says so"), "serving /first");
    let (mut trace, _) = Trace::at(&format!("tree:{}", target.pid()), "web:say", &[]);
    let second = ask("/second");
    assert_eq!(target.receive().expect("it says so"), "serving /second");
    let told = trace.call();
    assert_eq!(arguments(&told), pairs(&[("path", "'/second'")]));
    assert_ne!(told["pid"], target.pid(), "the worker, not the master: {told}");
    let ended = trace.interrupt();
    assert_eq!((&ended["passed"], &ended["pid"]), (&1.into(), &told["pid"]), "{ended}");
    drop((first, second));
}

/// A child that is forked from a traced process takes the code out by itself.
fn forked(python: &Interpreter) {
    let mut target = Start::new(python, "stepping").args(["fork"]).start().expect("it starts");
    let trace = Trace::of(target.pid(), "__main__:step", &[]);
    let child = target.ask("go").expect("it forks");
    assert!(child.starts_with("child "), "{child}");
    assert_eq!(target.receive().expect("the child's code is its own"), "clean");
    assert_eq!(trace.interrupt()["told"], 0);
    assert_eq!(target.stderr(), "");
}

/// A module that is loaded anew has new functions: the new one is traced then.
fn loaded_anew(python: &Interpreter) {
    let mut subject = traced(python);
    let pid = subject.pid();
    let mut trace = Trace::of(pid, "__main__:later", &[]);
    subject.evaluate("later(1)").expect("it answers");
    assert_eq!(trace.call()["result"], "1");
    // As a reload does: the name means another function.
    subject.ask("exec first = later").expect("it answers");
    subject.ask("exec exec('def later(n): return n * 2')").expect("it answers");
    let note = trace.next();
    assert!(note["text"].as_str().is_some_and(|text| text.contains("loaded anew")), "{note}");
    assert_eq!(subject.evaluate("later(4)").expect("it answers"), "8");
    assert_eq!(trace.call()["result"], "8");
    subject.ask("exec later = 5").expect("it answers");
    let note = trace.next();
    assert!(note["text"].as_str().is_some_and(|text| text.starts_with("lost: ")), "{note}");
    trace.interrupt();
    subject.ask("exec later = first; del first").expect("it answers");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    subject.is_unchanged();
}

/// A trace function of somebody else goes on, and is told of; so does a profiler.
fn beside_a_debugger(python: &Interpreter) {
    let mut subject = traced(python);
    for (kind, said) in
        [("settrace", "a trace function is"), ("setprofile", "a profile function is")]
    {
        subject.ask("exec threading.settrace(None)").expect("it answers");
        subject.ask(&format!("exec threading.{kind}(lambda *event: None)")).expect("it answers");
        subject = subject.again();
        let (mut trace, placed) = Trace::start(subject.pid(), "__main__:plain", &[]);
        let notes = placed["notes"].to_string();
        assert!(notes.contains(&format!("{said} set there")), "{placed}");
        subject.evaluate("plain(1)").expect("it answers");
        trace.call();
        trace.interrupt();
        subject.is_unchanged();
    }
}

/// Code goes in and out again and again while threads run it.
fn many_exchanges(python: &Interpreter) {
    const ROUNDS: usize = 25;
    let mut subject = traced(python).by_threads(3);
    let pid = subject.pid();
    subject.evaluate("load(2)").expect("it answers");
    for round in 0..ROUNDS {
        let when = format!("n == {round}");
        let mut trace = Trace::of(pid, "__main__:busy", &["--limit", "1", "--when", &when]);
        let told = trace.call();
        assert_eq!(told["result"], (2 * round + 1).to_string(), "{told}");
        assert_eq!(trace.0.wait().code, 0);
    }
    assert_eq!(subject.evaluate("unload()").expect("it answers"), "True");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    assert_eq!(subject.stderr(), "");
}

/// A bare interpreter gains no module, and keeps none.
fn bare(python: &Interpreter) {
    let mut subject = Subject::serving(Start::new(python, "quiet").flags(["-I", "-S"]));
    let pid = subject.pid();
    let trace = Trace::of(pid, "commands:answer", &[]);
    assert_eq!(subject.evaluate("answer").expect("it answers"), "42");
    assert_eq!(trace.interrupt()["told"], 1);
    subject.is_unchanged();
}

on_three! { asyncio loaded_anew forked many_exchanges bare }
each! { on, gevent, py36 = "3.6", py311 = "3.11", py313 = "3.13" }
each! { on, eventlet, py36 = "3.6", py311 = "3.11", py313 = "3.13" }
each! { on, gunicorn, py36 = "3.6", py313 = "3.13" }
on_one! { beside_a_debugger }
on_full_set! { kinds lines conditions under_load killed }
on_three! { recursion_and_limit not_to_be_traced nobody_reads two_at_once }
on_one! { secrets }
