//! `spyhole catch --keep`: a process of ours stays when the command ends, and holds on to the target for the time.
//!
//! It is the client that the agent needs: when it ends, however it ends, everything is undone. It has no terminal, waits
//! nearly all the time, and tells the command that started it how it went by lines of JSON.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde_json::{Value as Json, json};
use spyhole_session::catches::{self, Ended, Heard, Request, Summary};
use spyhole_session::target::Target;

use super::failure;
use crate::commands::Outcome;
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::views::catch as view;
use crate::views::clock::Moment;
use crate::views::escape::flat;
use crate::views::terminal::Terminal;
use crate::views::text::Text;

/// What is written to the command that started us, once it is known how it went.
const SETTLED: &str = "settled";

/// Starts it, hears how it went, and leaves it.
pub(super) fn leave_one_behind(terminal: &Terminal, json: bool) -> Outcome {
    let cannot = |error: std::io::Error| {
        Failure::new(Kind::Failed, "cannot start the process that stays").caused_by(&error)
    };
    let mut words: Vec<_> = std::env::args_os().skip(1).collect();
    let at = words.iter().position(|word| word == "catch").map_or(0, |at| at + 1);
    words.splice(at..at, ["--stay-behind".into(), "--yes".into()]);
    let mut child = Command::new("/proc/self/exe")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut settled = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let Ok(told) = serde_json::from_str::<Json>(&line.map_err(cannot)?) else { break };
            if told["event"] == SETTLED {
                settled = Some(told);
                break;
            }
            if json {
                terminal.json(&told, false)?;
            } else if let Some(text) = told["text"].as_str() {
                terminal.talk(&Text::of(text.to_owned()));
            }
        }
    }
    let Some(settled) = settled else {
        // It could not stay anywhere, and has said why.
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        terminal.talk(&Text::of(said));
        let code = child.wait().map_err(cannot)?.code();
        return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Kind::Bug.exit_code()));
    };
    let until = settled["until"].as_str().unwrap_or_default();
    let place = settled["where"].as_str().unwrap_or_default();
    for pid in settled["pids"].as_array().into_iter().flatten() {
        let mut text = Text::new();
        text.line(format!(
            "left {pid} with exceptions of {} being kept until {}, by process {}; `spyhole catch {pid} --stop` ends it",
            flat(place),
            flat(until),
            child.id()
        ));
        terminal.talk(&text);
    }
    if json {
        let mut kept = settled.clone();
        kept["event"] = "staying".into();
        kept["by"] = child.id().into();
        terminal.json(&kept, false)?;
    }
    Ok(settled["code"].as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or_default())
}

/// Stays until the time is over, all processes are gone, or somebody has ended it.
pub(super) fn behind(terminal: &Terminal, targets: &[Target], request: &Request) -> Outcome {
    spyhole_proc::sys::leave_terminal();
    let cancel = interrupt::listen()?;
    let mut placed: Vec<i32> = Vec::new();
    let mut failures: Vec<Option<Kind>> = Vec::new();
    let until = Moment::from(SystemTime::now() + request.stay.unwrap_or_default()).iso();
    let mut settled = false;
    let ended = catches::keep(targets, request, &cancel, &mut |place, heard| {
        let mut line = view::heard_json(place, &heard, Moment::now());
        match &heard {
            Heard::Placed { .. } => {
                placed.push(place.pid);
                failures.push(None);
                if let Some(line) = &mut line {
                    line["text"] = plain(&view::aside(place, &heard, false)).into();
                }
            }
            Heard::Failed(error) if error.type_name != "NotLoaded" => {
                let failed = failure(place, error);
                failures.push(Some(failed.kind));
                line = Some(json!({
                    "event": "failed", "pid": place.pid, "interpreter": place.interpreter,
                    "text": plain(&failed.text()),
                }));
            }
            Heard::Settled if !placed.is_empty() => {
                settled = true;
                placed.dedup();
                let code = Kind::of_many(&failures).map_or(0, Kind::exit_code);
                line = Some(json!({
                    "event": SETTLED, "time": Moment::now().iso(), "where": request.place, "pids": placed,
                    "until": until, "code": code,
                }));
            }
            // Nobody listens any more.
            _ if settled => line = None,
            _ => {}
        }
        if let Some(line) = line {
            // Nobody may be there to hear it any more.
            let _ = terminal.json(&line, false);
        }
        true
    });
    if settled {
        return Ok(0);
    }
    Err(nowhere(&ended))
}

fn nowhere(ended: &[Ended<Option<Summary>>]) -> Failure {
    let mut failed = ended.iter().filter(|one| !one.is_not_loaded()).chain(ended);
    failed
        .find_map(|one| Some(failure(one.place, one.outcome.as_ref().err()?)))
        .unwrap_or_else(|| Failure::new(Kind::NoMatch, "no process matches").hint("spyhole ps"))
}

fn plain(text: &Text) -> String {
    text.pieces().iter().map(|(_, piece)| piece.as_str()).collect()
}
