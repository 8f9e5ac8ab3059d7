//! The levels on a process that nobody prepared: the same commands, from outside.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use spyhole_session::console::Console as Session;
use spyhole_session::target::Target;

use super::outside::{self, PLUGINS};
use super::{Shell, listed};
use crate::arguments::Entry;
use crate::audit;
use crate::console::lines::{LineEditor, Listed, Shown, Within};
use crate::console::plain::{Line, PlainEditor};
use crate::console::rich::{Keys, RichEditor};
use crate::console::shell::{Ended, Shell as PythonShell};
use crate::failure::{Failure, Kind};
use crate::views::escape::flat;
use crate::views::leaving;
use crate::views::text::Text;

const TOP: [(&str, &str, &str); 5] = [
    ("exit", "exit", "Leaves this level; at the top one, the process."),
    ("help", "help [TOPIC]", "Lists the commands, or tells what one does."),
    ("plugins", "plugins", "Lists the plugins, and those that could not be loaded."),
    ("prompt", "prompt on|off", "Shows a prompt before each command, or does not."),
    (
        "shell",
        "shell NAME",
        "Enters a plugin, whose commands can be used then. `!NAME` is the same.",
    ),
];
const INSIDE: [&str; 3] = ["exit", "help", "prompt"];

/// Where the shell is: the plugin's name, and its commands.
type Level = Option<(&'static str, &'static [outside::Command])>;

pub(super) fn run(shell: &mut Shell<'_>, target: Target, entry: &Entry) -> Result<(), Failure> {
    let target = Rc::new(target);
    let mut level: Level = None;
    let mut prompts = true;
    loop {
        offer(shell, level);
        let prompt = match prompts {
            true => format!("({}:{}) ", level.map_or("ispyd", |(name, _)| name), target.pid),
            false => String::new(),
        };
        let line = match shell.editor.read(&prompt)? {
            Line::End => return Ok(()),
            Line::Cleared => continue,
            Line::Text(line) => line,
        };
        let line = line.trim();
        let words: Vec<String> = match line.strip_prefix('!') {
            Some(rest) => ["shell", rest.trim()].map(str::to_owned).into(),
            None => line.split_whitespace().map(str::to_owned).collect(),
        };
        let Some((word, rest)) = words.split_first() else { continue };
        let rest_words: Vec<&str> = rest.iter().map(String::as_str).collect();
        let own = level.is_some_and(|(_, commands)| commands.iter().any(|(name, ..)| name == word));
        match (word.as_str(), rest_words.as_slice()) {
            ("console", []) if own => console(shell, &target, entry)?,
            (command, _) if own => {
                let plugin = level.map_or("", |(name, _)| name);
                match outside::answer(&target, plugin, command, rest, entry, shell.terminal.width())
                {
                    Ok(answer) => {
                        shell.terminal.data(&answer.text)?;
                        shell.terminal.talk(&answer.left);
                    }
                    Err(failure) if failure.kind == Kind::Gone => return shell.ended(failure),
                    Err(failure) => shell.told(&failure),
                }
            }
            ("exit" | "quit", []) => match level.take() {
                Some(_) => {}
                None => return Ok(()),
            },
            ("help" | "?", topics) => help(shell, level, topics)?,
            ("prompt", ["on"]) => prompts = true,
            ("prompt", ["off"]) => prompts = false,
            ("plugins", []) if level.is_none() => {
                let names: Vec<String> =
                    PLUGINS.iter().map(|(name, ..)| format!("'{name}'")).collect();
                shell.terminal.data(&Text::of(format!("[{}]\n", names.join(", "))))?;
            }
            ("shell", [name]) if level.is_none() => {
                match PLUGINS.iter().find(|(plugin, ..)| plugin == name) {
                    Some((name, _, commands)) => level = Some((name, commands)),
                    None => {
                        let message = format!("there is no plugin `{}`", flat(name));
                        shell.told(&Failure::new(Kind::Usage, message).hint("plugins"));
                    }
                }
            }
            (command, _) => {
                let known = TOP.iter().find(|(name, ..)| *name == command);
                let here = level.is_none() || INSIDE.contains(&command);
                let message = match known.filter(|_| here) {
                    Some((_, usage, _)) => format!("usage: {usage}"),
                    None => format!("there is no command `{}` here", flat(command)),
                };
                shell.told(&Failure::new(Kind::Usage, message).hint("help"));
            }
        }
    }
}

fn names(level: Level) -> Vec<&'static str> {
    let mut names: Vec<&str> = match level {
        None => TOP.iter().map(|(name, ..)| *name).collect(),
        Some((_, commands)) => {
            INSIDE.into_iter().chain(commands.iter().map(|(name, ..)| *name)).collect()
        }
    };
    names.sort_unstable();
    names
}

fn offer(shell: &Shell<'_>, level: Level) {
    let owned =
        |names: Vec<&str>| -> Vec<String> { names.into_iter().map(str::to_owned).collect() };
    let plugins: Vec<&str> = PLUGINS.iter().map(|(name, ..)| *name).collect();
    let mut commands = owned(names(level));
    if level.is_none() {
        commands.extend(plugins.iter().map(|name| format!("!{name}")));
    }
    let after = vec![
        ("help", owned(names(level))),
        ("shell", owned(plugins)),
        ("prompt", owned(vec!["on", "off"])),
    ];
    shell.offer(Listed { commands, after });
}

fn help(shell: &mut Shell<'_>, level: Level, topics: &[&str]) -> Result<(), Failure> {
    if topics.is_empty() {
        shell.terminal.data(&Text::of(listed(&names(level))))?;
    }
    for topic in topics {
        let of_plugin = level.and_then(|(_, all)| all.iter().find(|(name, ..)| name == topic));
        let of_level = TOP.iter().find(|(name, ..)| name == topic);
        let of_level = of_level.filter(|_| level.is_none() || INSIDE.contains(topic));
        let plugin = PLUGINS.iter().find(|(name, ..)| name == topic && level.is_none());
        let told = of_plugin.or(of_level).map(|(_, usage, help)| (*usage, *help));
        match told.or_else(|| plugin.map(|(name, help, _)| (*name, *help))) {
            Some((usage, help)) => {
                shell.terminal.data(&Text::of(format!("{usage}\n    {help}\n")))?;
            }
            None => {
                let message = format!("there is no help on `{}`", flat(topic));
                shell.told(&Failure::new(Kind::Usage, message).hint("help"));
            }
        }
    }
    Ok(())
}

/// A Python prompt inside the process, out of the same input.
fn console(shell: &mut Shell<'_>, target: &Rc<Target>, entry: &Entry) -> Result<(), Failure> {
    audit::record(audit::Entry { pids: &[target.pid], level: "ask", command: "ispy", code: None });
    let session = match Session::open(target, &entry.reach()) {
        Ok(session) => session,
        Err(error) => {
            shell.told(&Failure::of_process(target.pid, &error));
            return Ok(());
        }
    };
    let hello = session.hello();
    let python = flat(&hello.python).into_owned();
    let mut text = Text::new();
    text.line(format!("Python {python}")).line("(EmbeddedConsole)");
    shell.terminal.talk(&text);
    let conversation = Arc::new(Mutex::new(session));
    let python =
        PythonShell::new(Arc::clone(&conversation), shell.terminal.clone(), shell.cancel.clone());
    let ended = match &mut shell.editor {
        LineEditor::Rich { .. } => {
            let end = Arc::clone(&shell.end);
            let mut editor =
                RichEditor::new(&conversation, None, end, shell.terminal, Keys::usual());
            python.run(&mut editor)
        }
        LineEditor::Plain { input, terminal, shown } => {
            let prompts = (*shown != Shown::Nothing).then(|| terminal.clone());
            let lines = (*shown == Shown::PromptsAndLines).then(|| terminal.clone());
            python.run(&mut PlainEditor::new(Within { input, shown: lines }, prompts))
        }
    };
    drop(python);
    if let Some(conversation) = Arc::into_inner(conversation) {
        let session = conversation.into_inner().unwrap_or_else(PoisonError::into_inner);
        let left = session.close();
        if !matches!(ended, Ok(Ended::Gone(_))) {
            shell.terminal.talk(&leaving::closing(target.pid, &left));
        }
    }
    match ended? {
        Ended::Left => Ok(()),
        Ended::Gone(_) => {
            shell.ended(Failure::new(Kind::Gone, format!("process {} is gone", target.pid)))
        }
    }
}
