//! Reports: verdicts first, then all that each process does.

use serde_json::{Value as Json, json};
use spyhole_session::report::{Reported, Trouble};

use super::clock::Moment;
use super::escape::flat;
use super::stacks::{self, Style};
use super::text::{Ink, Text};
use super::{doctor, json as models, requests};
use crate::failure::Failure;

/// `4123: deadlocked, 2 threads`: of the worst.
pub(crate) fn verdict(all: &[Reported]) -> Text {
    let mut text = Text::new();
    if let Some(worst) = all.first() {
        one_verdict(&mut text, worst);
    }
    text
}

fn one_verdict(text: &mut Text, one: &Reported) {
    let ink = if one.verdict.trouble == Trouble::None { Ink::Plain } else { Ink::Bad };
    text.ink(Ink::Strong, format!("{}: ", one.pid)).ink(ink, flat(&one.verdict.text).into_owned());
    text.plain("\n");
}

pub(crate) fn text(all: &[Reported], now: Moment, style: Style) -> Text {
    let mut text = Text::new();
    for one in all {
        one_verdict(&mut text, one);
    }
    text.plain("\n").line(format!("{}, spyhole {}", now.iso(), env!("CARGO_PKG_VERSION")));
    for one in all {
        text.plain("\n");
        text.ink(Ink::Head, format!("process {}", one.pid)).plain("\n");
        if let Some(row) = &one.row {
            let kind = row.kind.as_deref().map(|kind| format!("[{}] ", flat(kind)));
            let words = row.cmdline.join(" ");
            text.line(format!("  {}{}", kind.unwrap_or_default(), flat(&words)));
            text.line(format!(
                "  user {}, parent {}, {} old",
                flat(&row.user),
                row.ppid,
                crate::duration::short(row.age)
            ));
            for (what, allowed) in [("look", &row.look), ("ask", &row.ask)] {
                text.line(format!("  {what}: {}", doctor::said(allowed)));
            }
        }
        match &one.stacks {
            Ok(process) => {
                let seen = std::slice::from_ref(process);
                if !process.requests.is_empty() {
                    text.plain("\n").ink(Ink::Strong, "requests").plain("\n");
                    for request in &process.requests {
                        text.append(requests::line(process, request));
                    }
                }
                text.plain("\n").append(stacks::text(seen, style));
                text.append(stacks::notes(seen));
            }
            Err(error) => {
                text.append(Failure::of_process(one.pid, error).text());
            }
        }
    }
    text
}

pub(crate) fn json(all: &[Reported], now: Moment) -> Json {
    let processes = all.iter().map(|one| {
        let stacks = one.stacks.as_ref().ok().map(stacks::json::process);
        let served = one.stacks.as_ref().ok().map(|process| {
            requests::json(std::slice::from_ref(process))
        });
        json!({
            "pid": one.pid,
            "verdict": one.verdict.text,
            "trouble": one.verdict.trouble.name(),
            "process": one.row.as_ref().map(|row| models::processes(std::slice::from_ref(row))[0].clone()),
            "stacks": stacks,
            "requests": served,
            "error": one.stacks.as_ref().err().map(models::error),
        })
    });
    json!({
        "verdict": all.first().map(|one| format!("{}: {}", one.pid, one.verdict.text)),
        "time": now.iso(),
        "spyhole": env!("CARGO_PKG_VERSION"),
        "processes": processes.collect::<Json>(),
    })
}
