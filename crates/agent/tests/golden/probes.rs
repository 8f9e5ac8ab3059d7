//! What probes tell: calls and lines that were passed.

use spyhole_agent::marshal::Value;
use spyhole_agent::message::{Event, Frame, Hit, Probe, Shown, Stats, Summary, Who};

use super::{dict, list, place};

pub(super) fn probed() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "probed".into()),
        ("job", 1.into()),
        ("ok", true.into()),
        ("label", "cart.py:12".into()),
        ("how", "compiled in".into()),
        ("functions", 2.into()),
        ("notes", list(["a note".into()])),
        ("line", 12.into()),
        ("moved", true.into()),
    ]);
    let event = Event::Probe(Probe::Placed {
        job: 1,
        label: "cart.py:12".into(),
        how: "compiled in".into(),
        functions: 2,
        notes: vec!["a note".into()],
        line: 12,
        moved: true,
    });
    ("probed", dict, event)
}

pub(super) fn unplaced() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "probed".into()),
        ("job", 1.into()),
        ("ok", false.into()),
        ("kind", "not-loaded".into()),
        ("message", "module `shpo` is not imported there".into()),
        ("hints", list(["did you mean `shop`?".into()])),
    ]);
    let event = Event::Probe(Probe::Unplaced {
        job: 1,
        kind: "not-loaded".into(),
        message: "module `shpo` is not imported there".into(),
        hints: vec!["did you mean `shop`?".into()],
    });
    ("unplaced", dict, event)
}

pub(super) fn hit() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "hit".into()),
        ("job", 1.into()),
        ("seq", 3.into()),
        ("at", 12.5.into()),
        ("thread", 4177.into()),
        ("name", "worker".into()),
        ("greenlet", Value::None),
        ("task", "Task-1".into()),
        ("function", "Cart.total".into()),
        ("line", 0.into()),
        ("args", list([list(["count".into(), "3".into()])])),
        ("result", Value::None),
        ("error", list(["ValueError".into(), "three".into()])),
        ("duration", 0.25.into()),
        ("show", list([list(["len(items)".into(), "2".into(), true.into()])])),
        ("stack", list([place("/srv/cart.py", 7, "total", 4, -1)])),
    ]);
    let event = Event::Probe(Probe::Hit(Box::new(Hit {
        job: 1,
        seq: 3,
        at: 12.5,
        who: Who {
            thread: 4177,
            name: Some("worker".into()),
            greenlet: None,
            task: Some("Task-1".into()),
        },
        function: "Cart.total".into(),
        line: 0,
        arguments: vec![("count".into(), "3".into())],
        result: None,
        error: Some(("ValueError".into(), "three".into())),
        duration: Some(0.25),
        shown: vec![Shown { expression: "len(items)".into(), text: "2".into(), is_value: true }],
        stack: vec![Frame {
            file: "/srv/cart.py".into(),
            line: 7,
            function: "total".into(),
            columns: Some((4, None)),
        }],
    })));
    ("hit", dict, event)
}

pub(super) fn note() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "note".into()),
        ("job", 1.into()),
        ("seq", 4.into()),
        ("text", "lost".into()),
    ]);
    ("note", dict, Event::Probe(Probe::Note { job: 1, seq: 4, text: "lost".into() }))
}

pub(super) fn stats() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "stats".into()),
        ("job", 1.into()),
        ("calls", 120.into()),
        ("errors", 2.into()),
        ("p50", 0.001.into()),
        ("p99", 0.02.into()),
        ("max", 0.5.into()),
    ]);
    let stats = Stats { job: 1, calls: 120, errors: 2, p50: 0.001, p99: 0.02, max: 0.5 };
    ("stats", dict, Event::Probe(Probe::Stats(stats)))
}

pub(super) fn summary() -> (&'static str, Value, Event) {
    let dict = dict(&[
        ("ev", "summary".into()),
        ("job", 1.into()),
        ("passed", 9.into()),
        ("hits", 3.into()),
        ("dropped", list([list(["rate".into(), 6.into()])])),
        ("failures", 1.into()),
        ("open", 2.into()),
    ]);
    let dropped = vec![("rate".into(), 6)];
    let summary = Summary { job: 1, passed: 9, hits: 3, dropped, failures: 1, open: 2 };
    ("summary", dict, Event::Probe(Probe::Summary(summary)))
}
