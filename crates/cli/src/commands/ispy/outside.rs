//! Commands of the plugins on a process that nobody prepared: what can be read from outside is read from outside.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use spyhole_proc::stat::Status;
use spyhole_session::evaluate::{self, Request};
use spyhole_session::model::{ErrorKind, Outcome, ProcessStacks};
use spyhole_session::objects::{self, Outcome as Reached, Path as ObjectPath, Tree};
use spyhole_session::requests::Wanted;
use spyhole_session::snapshot::{self, Options, Pause};
use spyhole_session::target::Target;
use spyhole_session::{Cancel, model};

use crate::arguments::Entry;
use crate::audit;
use crate::failure::{Failure, Kind};
use crate::views::stacks::{self, Style};
use crate::views::text::Text;
use crate::views::{leaving, requests};

/// A command: its name, what it takes, what it does.
pub(super) type Command = (&'static str, &'static str, &'static str);

pub(super) const PLUGINS: [(&str, &str, &[Command]); 4] = [
    (
        "debugger",
        "Exceptions that leave a function are kept, and pdb looks into them later.",
        &[
            ("debug", "debug NAME", "pdb on the last traceback of a probe point; `q` leaves it."),
            ("discard", "discard NAME", "Forgets the last traceback of a probe point."),
            (
                "insert",
                "insert NAME",
                "Keeps the exceptions that leave the function NAME, which is MODULE:FUNCTION or MODULE:CLASS.METHOD.",
            ),
            ("list", "list", "The probe points."),
            ("print", "print NAME", "Prints the last traceback of a probe point."),
            ("remove", "remove NAME", "Takes a probe point out, with what it has kept."),
            ("reset", "reset", "Forgets all that was kept. The probe points stay."),
            ("tracebacks", "tracebacks", "The last traceback of each probe point."),
        ],
    ),
    (
        "process",
        "The process: its id, its user, its folder.",
        &[
            ("cwd", "cwd", "The current working folder."),
            ("egid", "egid", "The effective group id."),
            ("euid", "euid", "The effective user id."),
            ("gid", "gid", "The real group id."),
            ("pid", "pid", "The process id, as the process itself sees it."),
            ("uid", "uid", "The real user id."),
        ],
    ),
    (
        "python",
        "Python: its version, its paths and modules, its threads, and a console.",
        &[
            ("argv", "argv", "The arguments that the program was started with."),
            (
                "console",
                "console",
                "A Python prompt inside the process. `exit()` and `quit()` leave it.",
            ),
            ("defaultencoding", "defaultencoding", "The encoding of text where none is named."),
            (
                "environ",
                "environ [NAME]",
                "The environment, or what matches NAME (`*` and `?` stand for others). Secrets are hidden.",
            ),
            ("executable", "executable", "The interpreter's file."),
            ("filesystemencoding", "filesystemencoding", "The encoding of file names."),
            ("maxsize", "maxsize", "The greatest size of a list."),
            ("maxunicode", "maxunicode", "The greatest code point of a character."),
            ("modules", "modules [PATTERN]", "The loaded modules, or those that match PATTERN."),
            ("path", "path", "Where modules are looked for."),
            ("platform", "platform", "The system."),
            ("prefix", "prefix", "Where Python is installed."),
            ("threads", "threads", "The stack of each thread that runs Python."),
            ("version", "version", "The version of Python, with its compiler."),
        ],
    ),
    (
        "wsgi",
        "Web requests that are being served.",
        &[(
            "requests",
            "requests",
            "The requests that are being served, with their environ and stacks. Secrets are hidden.",
        )],
    ),
];

/// How long what has to be asked may take.
const ASKING: Duration = Duration::from_secs(10);

/// Data, and how people read it.
pub(in crate::commands) struct Answer {
    pub(in crate::commands) value: Json,
    pub(in crate::commands) text: Text,
    /// What is said of how the process was left.
    pub(in crate::commands) left: Text,
}

impl Answer {
    fn new(value: Json, text: Text) -> Self {
        Self { value, text, left: Text::new() }
    }

    fn of(value: impl Into<Json>) -> Self {
        let value = value.into();
        let text = match &value {
            Json::String(text) => format!("{text}\n"),
            Json::Array(all) => {
                all.iter().map(|one| format!("{}\n", one.as_str().unwrap_or_default())).collect()
            }
            other => format!("{other}\n"),
        };
        Self::new(value, Text::of(text))
    }
}

pub(super) fn commands(plugin: &str) -> Option<&'static [Command]> {
    PLUGINS.iter().find(|(name, ..)| *name == plugin).map(|(_, _, commands)| *commands)
}

/// What a command answers.
pub(in crate::commands) fn answer(
    target: &Target,
    plugin: &str,
    command: &str,
    words: &[String],
    entry: &Entry,
    width: Option<usize>,
) -> Result<Answer, Failure> {
    let all = commands(plugin).ok_or_else(|| {
        let names: Vec<&str> = PLUGINS.iter().map(|(name, ..)| *name).collect();
        let message = format!("there is no plugin `{plugin}`, but {}", names.join(", "));
        Failure::new(Kind::Usage, message)
    })?;
    let (_, usage, _) = all.iter().find(|(name, ..)| *name == command).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, ..)| *name).collect();
        let message =
            format!("the plugin `{plugin}` has no command `{command}`, but {}", names.join(", "));
        Failure::new(Kind::Usage, message)
    })?;
    if words.len() >= usage.split(' ').count() {
        return Err(Failure::new(Kind::Usage, format!("usage: {usage}")));
    }
    let pattern = words.first().map_or("*", String::as_str);
    match command {
        "cwd" => folder(target.pid),
        "uid" => status(target.pid, |status| status.uids.real),
        "euid" => status(target.pid, |status| status.uids.effective),
        "gid" => status(target.pid, |status| status.gids.real),
        "egid" => status(target.pid, |status| status.gids.effective),
        "pid" => status(target.pid, |status| {
            status.namespace_pids.last().map_or(status.pid, |pid| *pid) as u32
        }),
        "argv" => {
            let argv = tree(target, "sys:argv")?;
            let text = Text::of(format!("{}\n", argv.repr));
            Ok(Answer::new(row(&argv), text))
        }
        "path" => Ok(Answer::of(row(&tree(target, "sys:path")?))),
        "executable" | "platform" | "prefix" | "version" => {
            let tree = tree(target, &format!("sys:{command}"))?;
            Ok(Answer::of(literal(&tree.repr).unwrap_or_else(|| tree.repr.to_string())))
        }
        "maxsize" | "maxunicode" => {
            let tree = tree(target, &format!("sys:{command}"))?;
            let number: Option<i64> = tree.repr.parse().ok();
            Ok(Answer::of(number.map_or_else(|| Json::from(&*tree.repr), Json::from)))
        }
        // Of every Python 3 (Objects/unicodeobject.c, PyUnicode_GetDefaultEncoding).
        "defaultencoding" => Ok(Answer::of("utf-8")),
        "filesystemencoding" => asked(target, "__import__('sys').getfilesystemencoding()", entry),
        "modules" => {
            let modules = tree(target, "sys:modules")?;
            let mut names: Vec<String> = keys(&modules).collect();
            names.retain(|name| matches(pattern, name));
            names.sort();
            Ok(Answer::of(names))
        }
        "environ" => environ(target, pattern),
        "threads" => {
            let process = look(target, None)?;
            let style = Style { all: true, width };
            let value = Json::from(vec![stacks::json::process(&process)]);
            let mut text = stacks::text(std::slice::from_ref(&process), style);
            text.append(stacks::notes(&[process]));
            Ok(Answer::new(value, text))
        }
        "requests" => {
            let process = look(target, Some(Wanted { environ: true, reveal: false }))?;
            let style = Style { all: true, width };
            let processes = [process];
            Ok(Answer::new(requests::json(&processes), requests::text(&processes, style)))
        }
        _ if plugin == "debugger" && command != "debug" => Err(Failure::new(
            Kind::Usage,
            "probe points in an unprepared process go with the shell that has made them",
        )
        .hint(format!("spyhole ispy {pid}, or spyhole catch {pid} WHERE", pid = target.pid))),
        _ => Err(Failure::new(
            Kind::Usage,
            format!("`{command}` talks to somebody: `spyhole ispy` is the place for it"),
        )),
    }
}

fn folder(pid: i32) -> Result<Answer, Failure> {
    match std::fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(path) => Ok(Answer::of(path.to_string_lossy().into_owned())),
        Err(error) => Err(unreadable(pid, &error)),
    }
}

fn unreadable(pid: i32, error: &std::io::Error) -> Failure {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Kind::AccessDenied,
        _ if !Path::new(&format!("/proc/{pid}")).exists() => Kind::Gone,
        _ => Kind::Failed,
    };
    Failure::new(kind, format!("process {pid} can not be looked at")).caused_by(error)
}

fn status(pid: i32, of: impl Fn(&Status) -> u32) -> Result<Answer, Failure> {
    let status = Status::of(pid).map_err(|error| unreadable(pid, &error))?;
    Ok(Answer::of(of(&status)))
}

fn look(target: &Target, requests: Option<Wanted>) -> Result<ProcessStacks, Failure> {
    let options = Options { pause: Pause::Holder, sources: true, locals: None, requests };
    let look = snapshot::of_all(std::slice::from_ref(target), options).pop();
    let gone = || Failure::new(Kind::Gone, format!("process {} is gone", target.pid));
    look.ok_or_else(gone)?.outcome.map_err(|error| Failure::of_process(target.pid, &error))
}

/// The object at a path, in the interpreter that is meant.
fn tree(target: &Target, path: &str) -> Result<Tree, Failure> {
    let path =
        ObjectPath::parse(path).map_err(|error| Failure::new(Kind::Bug, error.to_string()))?;
    let request = objects::Request { path, depth: 1, reveal: false };
    let report = objects::in_all(std::slice::from_ref(target), &request);
    let pid = target.pid;
    // Of several interpreters the main one, unless one is named.
    let answer = report.answers.into_iter().min_by_key(|answer| answer.place.interpreter);
    match answer.map(|answer| answer.outcome) {
        Some(Reached::Found(found)) => Ok(found.tree),
        Some(Reached::Nowhere(nowhere)) => Err(Failure::new(
            Kind::Failed,
            format!("process {pid}: `{}`: {}", nowhere.step, nowhere.message),
        )),
        Some(Reached::Failed(error)) => Err(Failure::of_process(pid, &error)),
        None => Err(Failure::new(
            Kind::Failed,
            format!("process {pid} has not loaded what `{}` asks for", report.path),
        )),
    }
}

fn row(tree: &Tree) -> Json {
    let items = tree.items.iter().flatten();
    let text = |repr: &str| literal(repr).unwrap_or_else(|| repr.to_owned());
    items.map(|item| Json::from(text(&item.value.repr))).collect()
}

fn keys(tree: &Tree) -> impl Iterator<Item = String> {
    let items = tree.items.iter().flatten();
    items.filter_map(|item| {
        item.key.as_deref().map(|key| literal(key).unwrap_or_else(|| key.to_owned()))
    })
}

/// The mapping that `os.environ` wraps, whose names and values are bytes (Lib/os.py); the one that the process was
/// started with, if it has not loaded `os`.
fn environ(target: &Target, pattern: &str) -> Result<Answer, Failure> {
    let data = tree(target, "os:environ._data")?;
    let mut all: Vec<(String, String)> = keys(&data)
        .zip(data.items.iter().flatten())
        .map(|(key, item)| {
            let repr = &*item.value.repr;
            (key, literal(repr).unwrap_or_else(|| repr.to_owned()))
        })
        .filter(|(key, _)| matches(pattern, key))
        .collect();
    all.sort();
    let mut text = String::new();
    let mut value = Map::new();
    for (name, content) in all {
        text.push_str(&format!("{name} = {}\n", quoted(&content)));
        value.insert(name, content.into());
    }
    Ok(Answer::new(value.into(), Text::of(text)))
}

/// As Python writes a text.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for one in text.chars() {
        match one {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            one if one == quote => quoted.extend(['\\', one]),
            one => quoted.push(one),
        }
    }
    quoted.push(quote);
    quoted
}

/// What is asked of the process, since nothing outside tells it.
fn asked(target: &Target, code: &str, entry: &Entry) -> Result<Answer, Failure> {
    audit::record(audit::Entry {
        pids: &[target.pid],
        level: "ask",
        command: "ispy",
        code: Some(code),
    });
    let request = Request {
        code: code.to_owned(),
        timeout: ASKING,
        max: 4096,
        full: false,
        want_value: true,
        reach: entry.reach(),
    };
    let targets = std::slice::from_ref(target);
    let report = evaluate::in_all(targets, &request, &Cancel::default(), &mut |_| ());
    let left = leaving::closings(report.answers.iter().chain(&report.passed_over));
    let answer = report.answers.into_iter().next();
    match answer.map(|answer| answer.outcome) {
        Some(Outcome::Value(value)) => {
            let value = value.json.unwrap_or_else(|| Json::from(value.repr));
            Ok(Answer { left, ..Answer::of(value) })
        }
        Some(Outcome::Error(error)) => Err(Failure::of_process(target.pid, &error)),
        None => Err(Failure::of_process(target.pid, &nobody())),
    }
}

fn nobody() -> model::EvalError {
    model::EvalError {
        kind: ErrorKind::Unreachable,
        type_name: String::new(),
        message: "it has no interpreter that could answer".to_owned(),
        traceback: Vec::new(),
        causes: Vec::new(),
        hints: Vec::new(),
    }
}

/// The text of a literal of Python, of a `str` or of `bytes`; `None` if it is none, or was cut.
fn literal(repr: &str) -> Option<String> {
    let is_bytes = repr.starts_with('b');
    let body = repr.strip_prefix('b').unwrap_or(repr);
    let quote = body.chars().next().filter(|one| matches!(one, '\'' | '"'))?;
    let body = body.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut bytes: Vec<u8> = Vec::new();
    let mut rest = body.chars();
    while let Some(one) = rest.next() {
        let mut text = [0; 4];
        if one != '\\' {
            bytes.extend(one.encode_utf8(&mut text).as_bytes());
            continue;
        }
        let escaped = match rest.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            letter @ ('x' | 'u' | 'U') => {
                let digits = match letter {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let number: String = rest.by_ref().take(digits).collect();
                if number.len() < digits {
                    return None;
                }
                let number = u32::from_str_radix(&number, 16).ok()?;
                if let (true, Ok(byte)) = (is_bytes, u8::try_from(number)) {
                    bytes.push(byte);
                    continue;
                }
                char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => other,
        };
        bytes.extend(escaped.encode_utf8(&mut text).as_bytes());
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `*` for any text, `?` for one character, as in `fnmatch`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut here) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while here < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(one) if *one == '?' || *one == name[here] => {
                at += 1;
                here += 1;
            }
            _ => match star {
                Some((place, from)) => {
                    at = place + 1;
                    here = from + 1;
                    star = Some((place, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|one| *one == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read() {
        for (repr, text) in [
            ("'a'", "a"),
            ("b'HOME'", "HOME"),
            ("\"it's\"", "it's"),
            (r"'a\n\\\'\x41\u20ac\U0001f40d'", "a\n\\'A€🐍"),
            (r"b'\xc3\xa9\xff'", "é\u{fffd}"),
            ("''", ""),
        ] {
            assert_eq!(literal(repr).as_deref(), Some(text), "{repr}");
        }
        for repr in ["", "1", "'", "'a", "<redacted>", r"'\x4'", r"'\", "b"] {
            assert_eq!(literal(repr), None, "{repr}");
        }
    }

    #[test]
    fn patterns_of_names() {
        for (pattern, name) in
            [("*", ""), ("os*", "os.path"), ("*.path", "os.path"), ("o?", "os"), ("*a*b", "xaab")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("os", "os.path"), ("?", ""), ("*b", "ba"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn texts_are_quoted_as_python_does() {
        assert_eq!(quoted("a"), "'a'");
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("'\"\n"), "'\\'\"\\n'");
    }
}
