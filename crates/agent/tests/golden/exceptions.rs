//! Exceptions that are kept, and the debugger that asks.

use spyhole_agent::marshal::Value;
use spyhole_agent::message::{Ask, Caught, Event, Frame, Kept, Link, Watching, Who};

use super::{dict, list, place};

pub(super) fn caught() -> (&'static str, Value, Event) {
    let link = dict(&[
        ("type", "ValueError".into()),
        ("message", "three".into()),
        ("relation", Value::None),
        ("frames", list([place("/srv/cart.py", 7, "total", 4, -1)])),
        ("omitted", 0.into()),
        ("syntax", Value::None),
        ("notes", list([])),
    ]);
    let dict = dict(&[
        ("ev", "caught".into()),
        ("job", 1.into()),
        ("seq", 3.into()),
        ("id", 7.into()),
        ("at", 12.5.into()),
        ("thread", 4177.into()),
        ("name", "worker".into()),
        ("greenlet", Value::None),
        ("task", Value::None),
        ("where", "shop.cart:total".into()),
        ("by", "function".into()),
        ("chain", list([link])),
        ("locals", list([list([list(["count".into(), "3".into()])])])),
        ("stack", list([place("/srv/views.py", 9, "show", -1, -1)])),
        ("times", 1.into()),
        ("live", true.into()),
    ]);
    let frame = |file: &str, line, function: &str, columns| Frame {
        file: file.into(),
        line,
        function: function.into(),
        columns,
    };
    let event = Event::Caught(Box::new(Caught {
        job: 1,
        seq: 3,
        id: 7,
        at: 12.5,
        who: Who { thread: 4177, name: Some("worker".into()), ..Who::default() },
        place: "shop.cart:total".into(),
        by: "function".into(),
        chain: vec![Link {
            type_name: "ValueError".into(),
            message: "three".into(),
            relation: None,
            frames: vec![frame("/srv/cart.py", 7, "total", Some((4, None)))],
            omitted: 0,
            syntax: None,
            notes: vec![],
        }],
        locals: vec![vec![("count".into(), "3".into())]],
        callers: vec![frame("/srv/views.py", 9, "show", None)],
        times: 1,
        is_live: true,
    }));
    ("caught", dict, event)
}

pub(super) fn kept() -> (&'static str, Value, Event) {
    let watching = list(["*".into(), "unhandled".into(), 2.into(), 60.5.into()]);
    let dict = dict(&[
        ("ev", "kept".into()),
        ("job", 1.into()),
        ("count", 2.into()),
        ("watching", list([watching])),
    ]);
    let watching =
        vec![Watching { place: "*".into(), how: "unhandled".into(), count: 2, left: Some(60.5) }];
    ("kept", dict, Event::Kept(Kept { job: 1, count: 2, watching }))
}

pub(super) fn ask() -> (&'static str, Value, Event) {
    let dict = dict(&[("ev", "ask".into()), ("job", 2.into()), ("prompt", "(Pdb) ".into())]);
    ("ask", dict, Event::Ask(Ask { job: 2, prompt: "(Pdb) ".into() }))
}
