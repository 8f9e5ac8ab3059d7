//! What `doctor` found: check by check, then what may be done, then what mends it.

use serde_json::{Value as Json, json};
use spyhole_session::doctor::{Diagnosis, State};
use spyhole_session::model::Allowed;

use super::escape::flat;
use super::processes::shortened;
use super::text::{Ink, Text};

pub(crate) fn text(all: &[Diagnosis]) -> Text {
    let mut text = Text::new();
    for (index, one) in all.iter().enumerate() {
        if index > 0 {
            text.plain("\n");
        }
        text.ink(Ink::Head, title(one)).plain("\n");
        let width = one.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &one.checks {
            let ink = match check.state {
                State::Fine => Ink::Plain,
                State::Bars => Ink::Bad,
                State::Note => Ink::Strong,
            };
            text.plain("  ").ink(ink, format!("{:<4}", check.state.name()));
            text.line(format!("  {:<width$}  {}", check.name, flat(&check.says)));
        }
        text.plain("\n");
        for (what, allowed) in [("look", &one.look), ("ask", &one.ask)] {
            text.plain("  ").ink(Ink::Strong, format!("{what:<4}"));
            text.line(format!("  {}", said(allowed)));
        }
        for hint in &one.hints {
            text.plain("  ").ink(Ink::Advice, "hint").line(format!("  {}", flat(hint)));
        }
    }
    text
}

fn title(one: &Diagnosis) -> String {
    let Some(pid) = one.pid else { return "this machine".to_owned() };
    let words: Vec<String> = one.cmdline.iter().map(|word| shortened(word, false)).collect();
    format!("process {pid}: {}", words.join(" "))
}

/// `yes, by the door thread`, `no: another tracer (pid 7, gdb) holds process 4123`
pub(super) fn said(allowed: &Allowed) -> String {
    match (&allowed.reason, &allowed.door) {
        (Some(reason), _) => format!("no: {}", flat(reason)),
        (None, Some(door)) => format!("yes, by the door {}", flat(door)),
        (None, None) => "yes".to_owned(),
    }
}

pub(crate) fn json(all: &[Diagnosis]) -> Json {
    let one = |one: &Diagnosis| {
        let checks = one.checks.iter().map(
            |check| json!({"name": check.name, "state": check.state.name(), "says": check.says}),
        );
        json!({
            "pid": one.pid,
            "checks": checks.collect::<Json>(),
            "look": {"ok": one.look.ok, "reason": one.look.reason},
            "ask": {"ok": one.ask.ok, "door": one.ask.door, "reason": one.ask.reason},
            "hints": one.hints,
        })
    };
    all.iter().map(one).collect()
}
