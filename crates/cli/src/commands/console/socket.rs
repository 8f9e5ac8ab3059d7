//! `spyhole console HOST:PORT` and `unix:PATH`: the client of a prompt that an application has left open.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use spyhole_session::socket::{Address, Connection, Refusal};

use super::Console;
use crate::commands::Outcome;
use crate::console::distant::Distant;
use crate::console::shell::{Ended, Shell};
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::views::terminal::Terminal;
use crate::views::text::{Ink, Text};

/// Bytes of a file that are looked at for a token; `spyhole.backdoor` takes no longer one.
const TOKEN_LONGEST: u64 = 4096;
const LEAVING: &str = "Ctrl-D or exit() leaves and the program goes on";

pub(super) fn run(console: &Console, terminal: &Terminal, at: &Address) -> Outcome {
    let entry = &console.entry;
    if entry.door.is_some() || entry.port.is_some() || entry.override_opt_out {
        return Err(Failure::new(
            Kind::Usage,
            format!("`{at}` is an address: no door leads there but its own"),
        )
        .hint(format!("spyhole console {at}")));
    }
    let token = console.token_file.as_deref().map(|file| token(terminal, file)).transpose()?;
    // Until it is connected, Ctrl-C ends the program as it ends any.
    let (connection, greeting) = Connection::open(at, token.as_deref()).map_err(refused)?;
    let end = Arc::new(AtomicBool::new(false));
    let cancel = interrupt::listen_for_conversation(&end)?;
    let mut text = Text::new();
    text.plain(greeting.as_str());
    if !text.ends_a_line() {
        text.plain("\n");
    }
    text.ink(Ink::Strong, format!("Remote console at {at}")).plain("\n").line(LEAVING);
    terminal.talk(&text);

    let conversation = Arc::new(Mutex::new(Distant::new(connection)));
    let name = [at.to_string().replace('/', "_")];
    let mut editor = console.editor(terminal, &conversation, &name, end, &cancel)?;
    let shell = Shell::new(Arc::clone(&conversation), terminal.clone(), cancel.clone());
    let ended = shell.run(editor.as_mut());
    drop((editor, shell));
    match ended? {
        Ended::Gone(reason) => {
            let mut failure = Failure::new(Kind::Gone, format!("the console at `{at}` is gone"));
            failure.causes.extend(Some(reason).filter(|reason| !reason.is_empty()));
            Err(failure)
        }
        Ended::Left => {
            let still_running = match Arc::into_inner(conversation) {
                Some(conversation) => {
                    let distant = conversation.into_inner().unwrap_or_else(PoisonError::into_inner);
                    !distant.leave(terminal, &cancel)?
                }
                None => true,
            };
            let more = if still_running { ", but code may still run in it" } else { "" };
            terminal.talk(&Text::of(format!("left {at}; its program goes on{more}\n")));
            Ok(0)
        }
    }
}

/// The first line of a file, which should be for its owner's eyes alone.
pub(in crate::commands) fn token(terminal: &Terminal, file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| {
        Failure::new(Kind::Failed, format!("cannot read the token in `{shown}`")).caused_by(&error)
    };
    let opened = File::open(file).map_err(unreadable)?;
    if opened.metadata().map_err(unreadable)?.mode() & 0o077 != 0 {
        let mut text = Text::new();
        text.ink(Ink::Strong, "warning:").line(format!(" others may read the token in `{shown}`"));
        text.ink(Ink::Advice, "hint:").line(format!(" chmod 600 {shown}"));
        terminal.talk(&text);
    }
    let mut content = String::new();
    opened.take(TOKEN_LONGEST).read_to_string(&mut content).map_err(unreadable)?;
    match content.lines().next() {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Err(Failure::new(Kind::Failed, format!("the first line of `{shown}` is empty"))
            .hint("write the token there")),
    }
}

pub(in crate::commands) fn refused(refusal: Refusal) -> Failure {
    let kind = match &refusal {
        Refusal::Unreachable { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Kind::AccessDenied
        }
        Refusal::Unreachable { .. } => Kind::Failed,
        Refusal::NoAnswer { .. } => Kind::Timeout,
        Refusal::OtherUser { .. } | Refusal::WantsToken { .. } | Refusal::SentAway { .. } => {
            Kind::AccessDenied
        }
        Refusal::Closed { .. } => Kind::Gone,
        Refusal::NoShell { .. } => Kind::Failed,
    };
    let mut failure = Failure::new(kind, refusal.to_string());
    match refusal {
        Refusal::Unreachable { at, source } => {
            if source.kind() == ErrorKind::ConnectionRefused {
                let list = if matches!(at, Address::Unix(_)) { "ss -xlp" } else { "ss -tlp" };
                failure.hints.push(format!("nobody listens there; see who does with `{list}`"));
            }
            failure.causes.push(source.to_string());
        }
        Refusal::OtherUser { .. } => failure.hints.push("retry as that user, or as root".into()),
        Refusal::WantsToken { .. } => {
            failure.hints.push("give a file that holds it with `--token-file FILE`".into());
        }
        Refusal::SentAway { reason, .. } => failure.causes.push(reason),
        Refusal::NoShell { at } => failure.hints.push(format!("spyhole console {at}")),
        Refusal::NoAnswer { .. } | Refusal::Closed { .. } => {}
    }
    failure
}
