//! One example of each message, as committed in `golden/messages.txt` for the Rust and the Python
//! side alike: its name, the dict as a Python literal, and its bytes in hexadecimal.
//!
//! `SPYHOLE_BLESS=1 cargo test -p spyhole-agent` writes the file anew.

use std::fmt::Write as _;
use std::path::PathBuf;

use spyhole_agent::frame::{Frames, frame};
use spyhole_agent::marshal::{Text, Value, decode};
use spyhole_agent::message::{
    About, AboutKept, Candidate, Candidates, Catch, Complete, Control, Eval, Event, Frame, Freeze,
    GilWords, Hello, Kind, Link, Load, Output, Placement, Raised, Refused, Relation, Request,
    Stream, Syntax, Thaw, Trace, ValueEvent, Where,
};

#[path = "golden/exceptions.rs"]
mod exceptions;
#[path = "golden/probes.rs"]
mod probes;

fn dict(items: &[(&str, Value)]) -> Value {
    Value::Dict(items.iter().map(|(name, value)| (Value::from(*name), value.clone())).collect())
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::List(items.into_iter().collect())
}

fn place(file: &str, line: i64, function: &str, first: i64, end: i64) -> Value {
    list([file.into(), line.into(), function.into(), first.into(), end.into()])
}

fn requests() -> Vec<(&'static str, Request)> {
    let code = Text::from("site._registry['caf\u{e9}']\n");
    vec![
        (
            "eval",
            Request::Eval(Eval {
                job: 1,
                code,
                name: "<eval>".into(),
                max: 1 << 20,
                full: false,
                want_value: true,
                console: false,
                place: Placement::Thread,
            }),
        ),
        (
            "eval_in_frame",
            Request::Eval(Eval {
                job: 2,
                code: "total".into(),
                name: "<eval>".into(),
                max: 1 << 20,
                full: false,
                want_value: false,
                console: true,
                place: Placement::Frame { ident: 0x7f00_1234_5640, number: 1, native: 4123 },
            }),
        ),
        ("complete", Request::Complete(Complete { job: 2, text: "print(os.pa".into() })),
        ("about", Request::About(About { job: 3, text: "os.path.join".into(), source: true })),
        (
            "load",
            Request::Load(Load {
                feature: "render".into(),
                source: "# Feature\n".into(),
                code: b"N".to_vec(),
            }),
        ),
        (
            "freeze",
            Request::Freeze {
                job: 3,
                limit: Some((
                    10.0,
                    GilWords {
                        interval: 0x7f00_1234_5000,
                        switches: 0x7f00_1234_5018,
                        request: 0x55d0_1234_5068,
                        breaker: 0x55d0_1234_5064,
                        in_state: 0,
                    },
                )),
            },
        ),
        ("thaw", Request::Freeze { job: 4, limit: None }),
        ("loaded", Request::Loaded(vec!["shop.admin".into(), "nothing".into()])),
        (
            "trace",
            Request::Trace(Trace {
                job: 1,
                place: "shop.cart:total".into(),
                when: Some("count > 2".into()),
                show: vec!["len(items)".into()],
                stack: true,
                depth: 4,
                max: 200,
                limit: 100,
                rate: 10.0,
                stats: false,
            }),
        ),
        ("ack", Request::Ack { job: 1, seq: 7 }),
        ("check", Request::Check { job: 1 }),
        ("stats", Request::Stats { job: 1 }),
        ("untrace", Request::Untrace { job: 1 }),
        (
            "catch",
            Request::Catch(Catch {
                job: 1,
                place: "shop.cart:total".into(),
                when: None,
                last: 10,
                age: 3600.0,
                bytes: 64 << 20,
                rate: 10.0,
                depth: 4,
                max: 200,
                stay: Some(1800.0),
            }),
        ),
        ("took", Request::Took { job: 1, seq: 7 }),
        ("recheck", Request::Recheck { job: 1 }),
        ("uncatch", Request::Uncatch { job: 1 }),
        ("kept", Request::Kept { job: 1, what: AboutKept::Print(3) }),
        ("postmortem", Request::Postmortem { job: 1, id: 3 }),
        ("line", Request::Line { job: 2, text: Some("p x".into()) }),
        ("bye", Request::Bye),
    ]
}

fn events() -> Vec<(&'static str, Value, Event)> {
    let mut all = vec![
        hello(),
        out(),
        value(),
        raised(),
        exit(),
        candidates(),
        where_it_is(),
        takeover(),
        refused(),
        visit(),
        loaded(),
        probes::probed(),
        probes::unplaced(),
        probes::hit(),
        probes::note(),
        probes::stats(),
        probes::summary(),
        exceptions::caught(),
        exceptions::kept(),
        exceptions::ask(),
        bye(),
    ];
    all.extend(freezes());
    all
}

fn hello() -> (&'static str, Value, Event) {
    let version = "3.11.7 (main, Jan  1 2024, 00:00:00) [GCC 12.2.0]";
    let dict = dict(&[
        ("ev", "hello".into()),
        ("pid", 4123.into()),
        ("python", list([3.into(), 11.into(), 7.into(), "final".into(), 0.into()])),
        ("version", version.into()),
        ("thread", 4177.into()),
        ("interpreter", 0.into()),
        ("executable", "/usr/bin/python3.11".into()),
    ]);
    let event = Event::Hello(Hello {
        pid: 4123,
        python: (3, 11, 7, "final".into(), 0),
        version: version.into(),
        thread: 4177,
        interpreter: 0,
        executable: "/usr/bin/python3.11".into(),
    });
    ("hello", dict, event)
}

fn out() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "out".into()),
        ("job", 1.into()),
        ("stream", "stderr".into()),
        ("text", decode(b"u\x06\x00\x00\x00a\xed\xb2\x80b\n").unwrap()),
    ]);
    let event =
        Event::Output(Output { job: 1, stream: Stream::Stderr, text: "a\\udc80b\n".into() });
    ("out", dict, event)
}

fn value() -> (&'static str, Value, Event) {
    let plain = dict(&[
        ("b", list([1.into(), Value::None, true.into(), 2.5.into()])),
        ("a", (1i64 << 40).into()),
    ]);
    let (repr, key) = (
        "{'b': [1, None, True, 2.5], 'a': 1099511627776}",
        "{'a': 1099511627776, 'b': [1, None, True, 2.5]}",
    );
    let dict = dict(&[
        ("ev", "value".into()),
        ("job", 1.into()),
        ("duration", 0.000125.into()),
        ("none", false.into()),
        ("truncated", false.into()),
        ("has_value", true.into()),
        ("type", "dict".into()),
        ("repr", repr.into()),
        ("key", key.into()),
        ("value", plain.clone()),
    ]);
    let event = Event::Value(ValueEvent {
        job: 1,
        type_name: "dict".into(),
        repr: repr.into(),
        is_none: false,
        truncated: false,
        key: Some(key.into()),
        value: Some(plain),
        duration: 0.000125,
    });
    ("value", dict, event)
}

fn raised() -> (&'static str, Value, Event) {
    let message = "module 'django' has no attribute 'contrib'";
    let inner = dict(&[
        ("type", "SyntaxError".into()),
        ("message", "invalid syntax".into()),
        ("relation", "context".into()),
        ("frames", list([])),
        ("omitted", 0.into()),
        (
            "syntax",
            dict(&[
                ("file", "/srv/app/site.py".into()),
                ("line", 3.into()),
                ("column", 9.into()),
                ("text", "x = = 1\n".into()),
            ]),
        ),
        ("notes", list([])),
    ]);
    let outer = dict(&[
        ("type", "AttributeError".into()),
        ("message", message.into()),
        ("relation", Value::None),
        (
            "frames",
            list([
                place("<eval>", 1, "<module>", 0, 14),
                place("/srv/app/site.py", 40, "Site.load", -1, -1),
            ]),
        ),
        ("omitted", 12.into()),
        ("syntax", Value::None),
        ("notes", list(["while the site was loaded".into()])),
    ]);
    let dict = dict(&[
        ("ev", "raised".into()),
        ("job", 1.into()),
        ("kind", "raised".into()),
        ("chain", list([inner, outer])),
        ("missing", "django.contrib.admin".into()),
        ("duration", 0.5.into()),
    ]);
    let frame = |file: &str, line, function: &str, columns| Frame {
        file: file.into(),
        line,
        function: function.into(),
        columns,
    };
    let inner = Link {
        type_name: "SyntaxError".into(),
        message: "invalid syntax".into(),
        relation: Some(Relation::Context),
        frames: vec![],
        omitted: 0,
        syntax: Some(Syntax {
            file: "/srv/app/site.py".into(),
            line: 3,
            column: 9,
            text: "x = = 1\n".into(),
        }),
        notes: vec![],
    };
    let outer = Link {
        type_name: "AttributeError".into(),
        message: message.into(),
        relation: None,
        frames: vec![
            frame("<eval>", 1, "<module>", Some((0, Some(14)))),
            frame("/srv/app/site.py", 40, "Site.load", None),
        ],
        omitted: 12,
        syntax: None,
        notes: vec!["while the site was loaded".into()],
    };
    let event = Event::Raised(Raised {
        job: 1,
        kind: Kind::Raised,
        chain: vec![inner, outer],
        missing: Some("django.contrib.admin".into()),
        duration: 0.5,
    });
    ("raised", dict, event)
}

fn exit() -> (&'static str, Value, Event) {
    let dict = dict(&[("ev", "exit".into()), ("job", 3.into()), ("duration", 0.25.into())]);
    ("exit", dict, Event::Exit { job: 3, duration: 0.25 })
}

fn candidates() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "candidates".into()),
        ("job", 2.into()),
        ("start", 9.into()),
        (
            "names",
            list([list(["pardir".into(), "value".into()]), list(["path".into(), "module".into()])]),
        ),
    ]);
    let name = |name: &str, kind: &str| Candidate { name: name.into(), kind: kind.into() };
    let names = vec![name("pardir", "value"), name("path", "module")];
    ("candidates", dict, Event::Candidates(Candidates { job: 2, start: 9, names }))
}

fn where_it_is() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "where".into()),
        ("job", 1.into()),
        ("thread", 4177.into()),
        ("omitted", 0.into()),
        ("frames", list([place("<eval>", 1, "<module>", 0, -1)])),
    ]);
    let frame = Frame {
        file: "<eval>".into(),
        line: 1,
        function: "<module>".into(),
        columns: Some((0, None)),
    };
    ("where", dict, Event::Where(Where { job: 1, thread: 4177, frames: vec![frame], omitted: 0 }))
}

fn takeover() -> (&'static str, Value, Event) {
    let dict = dict(&[("ev", "takeover".into()), ("thread", 4180.into())]);
    ("takeover", dict, Event::TakeOver { thread: 4180 })
}

fn visit() -> (&'static str, Value, Event) {
    let object = 0x7f00_1234_5678_i64;
    let dict = dict(&[("ev", "visit".into()), ("job", 2.into()), ("object", object.into())]);
    ("visit", dict, Event::Visit { job: 2, object: object as u64 })
}

fn freezes() -> Vec<(&'static str, Value, Event)> {
    let event = |name: &'static str, job: i64, key: &str, value: Value, event: Freeze| {
        let dict = dict(&[("ev", name.into()), ("job", job.into()), (key, value)]);
        (name, dict, Event::Freeze(event))
    };
    vec![
        event("frozen", 3, "limit", 10.0.into(), Freeze::Frozen { job: 3, limit: 10.0 }),
        event("ran", 4, "duration", 0.25.into(), Freeze::Ran { job: 4, duration: 0.25 }),
        event("thawed", 0, "reason", "idle".into(), Freeze::Thawed { job: 0, reason: Thaw::Idle }),
    ]
}

fn refused() -> (&'static str, Value, Event) {
    let message = "LookupError: feature `complete` was not loaded";
    let dict = dict(&[("ev", "refused".into()), ("job", 2.into()), ("message", message.into())]);
    ("refused", dict, Event::Refused(Refused { job: 2, message: message.into(), misplaced: false }))
}

fn loaded() -> (&'static str, Value, Event) {
    let dict = dict(&[("ev", "loaded".into()), ("names", list(["shop.admin".into()]))]);
    ("loaded", dict, Event::Loaded { names: vec!["shop.admin".into()] })
}

fn bye() -> (&'static str, Value, Event) {
    let left = "job 1 still runs in thread 4177";
    let dict = dict(&[("ev", "bye".into()), ("left", list([left.into()]))]);
    ("bye", dict, Event::Bye { left: vec![left.into()] })
}

fn literal(value: &Value) -> String {
    let all = |items: &[Value]| items.iter().map(literal).collect::<Vec<_>>().join(", ");
    match value {
        Value::None => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Bytes(bytes) => format!("b\"{}\"", bytes.escape_ascii()),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Str(text) => {
            let escaped = text.as_str().map_or_else(
                || text.escaped().replace('\n', "\\n"),
                |text| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"),
            );
            format!("\"{escaped}\"")
        }
        Value::List(items) => format!("[{}]", all(items)),
        Value::Dict(items) => {
            let pair =
                |(name, value): &(Value, Value)| format!("{}: {}", literal(name), literal(value));
            format!("{{{}}}", items.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        other => panic!("no literal for {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listing() -> String {
    let mut text = String::new();
    for (name, request) in requests() {
        let value = request.to_value();
        let _ = writeln!(text, "request {name}\n{}\n{}\n", literal(&value), hex(&request.encode()));
    }
    for (name, value, _) in events() {
        let _ = writeln!(text, "event {name}\n{}\n{}\n", literal(&value), hex(&value.encode()));
    }
    for (name, control) in [
        ("interrupt", Control::Interrupt { job: 1 }),
        ("cancel", Control::Cancel { job: 2 }),
        ("queue", Control::Queue { job: 2 }),
        ("watch", Control::Watch { on: true }),
        ("where", Control::Where { job: 258 }),
        ("takeover", Control::TakeOver { job: u32::MAX }),
    ] {
        let _ = writeln!(text, "control {name}\n{control:?}\n{}\n", hex(&control.encode()));
    }
    text
}

#[test]
fn the_listing_is_what_the_code_makes() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/messages.txt");
    let made = listing();
    if std::env::var_os("SPYHOLE_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(committed, made, "SPYHOLE_BLESS=1 writes the file anew");
}

#[test]
fn events_are_understood() {
    let mut frames = Frames::new();
    for (_, value, _) in events() {
        frames.push(&frame(&value.encode()).unwrap());
    }
    for (name, _, event) in events() {
        let body = frames.pop().unwrap().unwrap();
        assert_eq!(Event::decode(&body), Ok(event), "{name}");
    }
    assert!(frames.is_between());
}

#[test]
fn every_missing_or_wrong_key_is_an_error_that_names_it_or_has_a_default() {
    const OPTIONAL: [&str; 29] = [
        "moved",
        "hints",
        "name",
        "greenlet",
        "task",
        "args",
        "result",
        "error",
        "show",
        "stack",
        "dropped",
        "executable",
        "none",
        "truncated",
        "key",
        "has_value",
        "value",
        "relation",
        "frames",
        "omitted",
        "syntax",
        "notes",
        "missing",
        "duration",
        "names",
        "left",
        "locals",
        "watching",
        "live",
    ];
    for (name, value, _) in events() {
        let Value::Dict(items) = &value else { unreachable!() };
        for (index, (key, _)) in items.iter().enumerate().skip(1) {
            let Value::Str(key) = key else { unreachable!() };
            let key = key.as_str().unwrap();
            let mut without = items.clone();
            without.remove(index);
            match Event::from_value(&Value::Dict(without)) {
                Ok(_) => assert!(OPTIONAL.contains(&key), "{name} without {key}"),
                Err(error) => assert!(error.to_string().contains(&format!("`{key}`")), "{error}"),
            }
            let mut wrong = items.clone();
            wrong[index].1 = Value::Bytes(vec![0xff]);
            match Event::from_value(&Value::Dict(wrong)) {
                Ok(_) => assert_eq!(key, "value", "{name}"),
                Err(error) => assert!(error.to_string().contains(&format!("`{key}`")), "{error}"),
            }
        }
    }
}

#[test]
fn what_is_no_event() {
    let unknown = dict(&[("ev", "later".into()), ("more", 5.into())]);
    assert_eq!(Event::from_value(&unknown), Ok(Event::Unknown("later".into())));
    for value in [Value::None, Value::Dict(vec![]), dict(&[("ev", 5.into())]), list([])] {
        assert!(Event::from_value(&value).is_err());
    }
    assert!(Event::decode(b"").is_err());
}
