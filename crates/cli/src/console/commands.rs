//! What can be asked at the prompt that is no Python: `:help` and the like, `name?` and `name??`.

use std::time::Duration;

use spyhole_session::freezing::{LONGEST, SHORTEST, USUAL};

use crate::duration;
use crate::failure::{Failure, Kind};

/// A command with what it takes and what it does, as `:help` lists them.
pub(crate) const ALL: [(&str, &str, &str); 14] = [
    (":where", "", "which process, interpreter and door this is"),
    (":stack", "", "what each thread of the process does, read from outside"),
    (":jobs", "", "lists code that is still running in the process"),
    (":in", "PLACE", "runs code there from now on: thread, main, loop, hub, frame:TID[:N]"),
    (":interp", "NUMBER|NAME", "goes on in another interpreter of the process"),
    (
        ":freeze",
        "[DURATION]",
        "lets the program stand still between commands; it goes on when none comes for 10 s",
    ),
    (":thaw", "", "lets the program go on"),
    (":time", "CODE", "runs it, and tells how long it took"),
    (":full", "CODE", "runs it, and shows its value whole"),
    (":load", "FILE", "runs the code of a file on this side"),
    (
        ":edit",
        "[FILE]",
        "opens $EDITOR on the code that ran last, or a file, and runs what it becomes",
    ),
    (":save", "FILE", "writes what ran here without an error into a new file"),
    (":help", "", "this text"),
    (":quit", "", "leaves; the program goes on"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Where,
    Stack,
    Jobs,
    In(String),
    Interp(String),
    Freeze(Duration),
    Thaw,
    Time(String),
    Full(String),
    Load(String),
    Edit(Option<String>),
    Save(String),
    Help,
    Quit,
    /// `name?`, and with its source `name??`.
    About {
        name: String,
        source: bool,
    },
}

/// The command that a piece of input is; `None` if it is Python.
pub(crate) fn parse(input: &str) -> Option<Result<Command, Failure>> {
    let input = input.trim();
    if let Some(name) = input.strip_suffix('?') {
        let (name, source) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
        let name = name.trim();
        // In a string or a comment it is what it is.
        let is_name = !name.is_empty() && !name.contains(['\n', '#', '?']);
        return is_name.then(|| Ok(Command::About { name: name.to_owned(), source }));
    }
    if !input.starts_with(':') {
        return None;
    }
    let (word, rest) = input.split_once(char::is_whitespace).unwrap_or((input, ""));
    Some(named(word, rest.trim()))
}

fn named(word: &str, rest: &str) -> Result<Command, Failure> {
    let Some((_, takes, _)) = ALL.iter().find(|(name, ..)| *name == word) else {
        return Err(
            Failure::new(Kind::Usage, format!("there is no command `{word}`")).hint(":help")
        );
    };
    let takes_nothing = takes.is_empty() && !rest.is_empty();
    let wants_more = !takes.is_empty() && !takes.starts_with('[') && rest.is_empty();
    if takes_nothing || wants_more {
        let takes = if takes.is_empty() { "nothing" } else { takes };
        return Err(Failure::new(Kind::Usage, format!("`{word}` takes {takes}")).hint(":help"));
    }
    let rest = rest.to_owned();
    Ok(match word {
        ":where" => Command::Where,
        ":stack" => Command::Stack,
        ":jobs" => Command::Jobs,
        ":in" => Command::In(rest),
        ":interp" => Command::Interp(rest),
        ":freeze" if rest.is_empty() => Command::Freeze(USUAL),
        ":freeze" => Command::Freeze(
            freeze_limit(&rest)
                .map_err(|told| Failure::new(Kind::Usage, told).hint(":freeze 30s"))?,
        ),
        ":thaw" => Command::Thaw,
        ":time" => Command::Time(rest),
        ":full" => Command::Full(rest),
        ":load" => Command::Load(rest),
        ":edit" => Command::Edit(Some(rest).filter(|rest| !rest.is_empty())),
        ":save" => Command::Save(rest),
        ":quit" => Command::Quit,
        _ => Command::Help,
    })
}

/// For how long a program may be made to wait for a command.
pub(crate) fn freeze_limit(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(limit) if (SHORTEST..=LONGEST).contains(&limit) => Ok(limit),
        Ok(_) => Err(format!("a program is frozen for {SHORTEST:?} to {LONGEST:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// What the end of a line that is a command could become: where that begins, and the candidates with their kinds.
pub(crate) fn complete(line: &str) -> Option<(usize, Vec<(String, &'static str)>)> {
    let begin = line.len() - line.trim_start().len();
    let command = &line[begin..];
    if !command.starts_with(':') {
        return None;
    }
    let Some((word, rest)) = command.split_once(' ') else {
        let names = ALL.iter().filter(|(name, ..)| name.starts_with(command));
        return Some((begin, names.map(|(name, ..)| ((*name).to_owned(), "command")).collect()));
    };
    let at = line.len() - rest.trim_start().len();
    match word {
        ":load" | ":save" | ":edit" => {
            let (start, files) = files(&line[at..]);
            Some((at + start, files))
        }
        // What follows is Python.
        ":time" | ":full" => None,
        _ => Some((line.len(), Vec::new())),
    }
}

/// Files on this side.
fn files(begun: &str) -> (usize, Vec<(String, &'static str)>) {
    const MOST: usize = 500;
    let start = begun.rfind('/').map_or(0, |at| at + 1);
    let (folder, prefix) = begun.split_at(start);
    let folder = if folder.is_empty() { "." } else { folder };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().take(20_000) {
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        if name.starts_with(prefix) && (!prefix.is_empty() || !name.starts_with('.')) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                name.push('/');
            }
            found.push((name, "file"));
        }
    }
    found.sort();
    found.truncate(MOST);
    (start, found)
}

pub(crate) fn help() -> String {
    let mut text = String::from(
        "Code runs inside the process; names are those of `__main__`, loaded modules, builtins.\n\
         \x20 Ctrl-C             interrupts the code that runs; at the prompt it clears the line\n\
         \x20 Ctrl-D             leaves (also :quit, exit(), quit()); the program goes on\n\
         \x20 Ctrl-R             searches the history; a line that begins with a space is not kept in it\n\
         \x20 Tab                completes names, attributes, keys, modules, paths and commands\n\
         \x20 Alt-Enter          begins a new line\n\
         \x20 name? name??       what it is, with its signature and documentation; with its source\n\
         \x20 _ __ _1 _2         the last value, the one before; the first, the second, of a hundred\n",
    );
    for (name, takes, does) in ALL {
        let call = format!("{name} {takes}");
        text.push_str(&format!("  {call:<18} {does}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Command> {
        parse(text).map(|result| result.unwrap())
    }

    #[test]
    fn commands_are_told_from_python() {
        assert_eq!(parsed(" :time  f( 1 )\n"), Some(Command::Time("f( 1 )".into())));
        assert_eq!(parsed(":edit"), Some(Command::Edit(None)));
        let about = |name: &str, source| Some(Command::About { name: name.into(), source });
        assert_eq!(parsed("os.path?"), about("os.path", false));
        assert_eq!(parsed("d['a b'] ??"), about("d['a b']", true));
        for python in ["x", "x = ':where'", "# what?", "'''a\nb?", "?", "??", "a? b"] {
            assert_eq!(parsed(python), None, "{python}");
        }
    }

    #[test]
    fn wrong_ones_are_told() {
        let told = |text: &str| parse(text).unwrap().unwrap_err().message;
        assert_eq!(told(":frobnicate now"), "there is no command `:frobnicate`");
        assert_eq!(told(":time"), "`:time` takes CODE");
        assert_eq!(told(":jobs all"), "`:jobs` takes nothing");
    }

    #[test]
    fn commands_and_files_are_completed() {
        let names = |line: &str| {
            let (start, found) = complete(line).unwrap();
            (start, found.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(names(":s"), (0, vec![":stack".to_owned(), ":save".to_owned()]));
        assert_eq!(names(" :wh"), (1, vec![":where".to_owned()]));
        assert_eq!(names(":load /proc/self/cmd"), (17, vec!["cmdline".to_owned()]));
        assert_eq!(names(":load /proc/self/tas").1, ["task/"]);
        assert_eq!(names(":where x"), (8, Vec::new()));
        assert!(complete(":time len").is_none() && complete("len").is_none());
    }

    #[test]
    fn help_tells_them_all() {
        assert!(ALL.iter().all(|(name, ..)| help().contains(&format!("\n  {name} "))));
    }
}
