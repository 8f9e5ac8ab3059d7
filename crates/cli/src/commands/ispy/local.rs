//! The level `(ispyd)`: which processes an ini file names, and connecting to one.

use spyhole_session::ispy::ini::Settings;
use spyhole_session::ispy::link::Link;
use spyhole_session::ispy::servers::{self, Servers};
use spyhole_session::socket::Address;

use super::super::console::socket;
use super::{Shell, listed, remote};
use crate::audit;
use crate::console::lines::Listed;
use crate::console::plain::Line;
use crate::failure::{Failure, Kind};
use crate::views::escape::flat;
use crate::views::text::Text;

const PROMPT: &str = "(ispyd) ";
const COMMANDS: [(&str, &str, &str); 4] = [
    (
        "connect",
        "connect [N]",
        "Connects to the process with this number; the only one needs none.",
    ),
    ("exit", "exit", "Leaves."),
    ("help", "help [TOPIC]", "Lists the commands, or tells what one does."),
    ("servers", "servers", "Lists the processes that listen, with their numbers."),
];

pub(super) fn run(
    shell: &mut Shell<'_>,
    settings: &Settings,
    token: Option<&str>,
) -> Result<(), Failure> {
    let mut shown: Vec<Address> = Vec::new();
    loop {
        offer(shell);
        let line = match shell.editor.read(PROMPT)? {
            Line::End => return Ok(()),
            Line::Cleared => continue,
            Line::Text(line) => line,
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["exit" | "quit"] => return Ok(()),
            ["help" | "?"] => {
                let names: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
                shell.terminal.data(&Text::of(listed(&names)))?;
            }
            ["help" | "?", topic] => match COMMANDS.iter().find(|(name, ..)| name == topic) {
                Some((_, usage, help)) => {
                    shell.terminal.data(&Text::of(format!("{usage}\n    {help}\n")))?;
                }
                None => shell.told(&unknown(topic)),
            },
            ["servers"] => {
                let found = servers::find(&settings.listen);
                shell.terminal.data(&list(&found.listening))?;
                shell.terminal.talk(&passed_over(&found));
                shown = found.listening;
            }
            ["connect"] | ["connect", _] => {
                if shown.is_empty() || words.len() == 1 {
                    shown = servers::find(&settings.listen).listening;
                }
                match chosen(&shown, words.get(1).copied()) {
                    Ok(at) => connect(shell, &at.clone(), token)?,
                    Err(failure) => shell.told(&failure),
                }
            }
            [command @ ("servers" | "connect" | "exit"), ..] => {
                let usage = COMMANDS.iter().find(|(name, ..)| name == command);
                let usage = usage.map_or("", |(_, usage, _)| usage);
                shell.told(&Failure::new(Kind::Usage, format!("usage: {usage}")));
            }
            [command, ..] => shell.told(&unknown(command)),
        }
    }
}

fn offer(shell: &Shell<'_>) {
    let commands: Vec<String> = COMMANDS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let after = vec![("help", commands.clone())];
    shell.offer(Listed { commands, after });
}

fn unknown(command: &str) -> Failure {
    let message = format!("there is no command `{}` here", flat(command));
    Failure::new(Kind::Usage, message).hint("help")
}

/// As Python shows the address of a socket: its family, and where it is.
fn list(servers: &[Address]) -> Text {
    let mut text = Text::new();
    for (index, server) in servers.iter().enumerate() {
        let number = index + 1;
        text.line(match server {
            Address::Unix(path) => {
                format!("{number}: (1, '{}')", flat(&path.to_string_lossy()))
            }
            Address::Tcp { host, port } => format!("{number}: (2, ('{host}', {port}))"),
        });
    }
    if servers.is_empty() {
        text.line("Nobody listens.");
    }
    text
}

fn passed_over(found: &Servers) -> Text {
    let mut text = Text::new();
    for (count, why) in
        [(found.stale, "nobody listens at them"), (found.foreign, "they are another user's")]
    {
        if count > 0 {
            text.line(format!("sockets passed over: {count} ({why})"));
        }
    }
    text
}

fn chosen<'s>(servers: &'s [Address], number: Option<&str>) -> Result<&'s Address, Failure> {
    let wrong = |message: String| Failure::new(Kind::Usage, message).hint("servers");
    match (number, servers) {
        (_, []) => Err(Failure::new(Kind::NoMatch, "nobody listens there").hint("servers")),
        (None, [one]) => Ok(one),
        (None, _) => Err(wrong(format!("there are {} servers: which one?", servers.len()))),
        (Some(text), _) => {
            let number: Option<usize> = text.parse().ok();
            let place = number.and_then(|number| number.checked_sub(1));
            place.and_then(|place| servers.get(place)).ok_or_else(|| {
                wrong(format!("there is no server `{}`, but {}", flat(text), servers.len()))
            })
        }
    }
}

fn connect(shell: &mut Shell<'_>, at: &Address, token: Option<&str>) -> Result<(), Failure> {
    match Link::open(at, token) {
        Ok(link) => {
            audit::record(audit::Entry {
                pids: &[link.pid],
                level: "ask",
                command: "ispy",
                code: None,
            });
            remote::talk(shell, link, at)
        }
        Err(refusal) => shell.ended(socket::refused(refusal)),
    }
}
