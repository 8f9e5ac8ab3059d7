//! Paths to objects, as a user writes them.
//!
//! It knows their grammar: `module:attr.attr["key"][0]`, the same with dots alone, `thread:TID/FRAME:name`, and
//! `type:module.Class`. What they lead to is looked up by `resolve`.

use spyhole_cpython::values::{Key, Step};
use thiserror::Error;

/// A path that reads well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// As it was written.
    pub text: String,
    pub(crate) root: Root,
    pub(crate) steps: Vec<Step>,
}

/// Where a path begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// `module:`
    Module(String),
    /// A name of `__main__`, a module, or a builtin; the names that follow may be modules, too.
    Name,
    /// `thread:TID/FRAME:`; without a frame, the innermost one that has such a variable.
    Local { thread: i32, frame: Option<usize>, name: String },
    /// `type:`; the first so many steps lead to the class.
    Instances { class: usize },
}

/// Why a path cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PathError {
    #[error("the path is empty")]
    Empty,
    #[error("`{0}` is no name")]
    NotAName(String),
    #[error("`{0}` is no key: strings, bytes, numbers, True, False and None are")]
    NotAKey(String),
    #[error("`{0}` is not closed")]
    Open(String),
    #[error("`{0}` names no thread: it is thread:TID/FRAME:name")]
    NotAThread(String),
}

/// Steps of one path; a longer one is a mistake.
const STEPS_AT_MOST: usize = 200;

impl Path {
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let text = text.trim();
        let whole = text.to_owned();
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if let Some(rest) = text.strip_prefix("thread:") {
            let wrong = || PathError::NotAThread(whole.clone());
            let (place, rest) = rest.split_once(':').ok_or_else(wrong)?;
            let (thread, frame) = match place.split_once('/') {
                Some((thread, frame)) => (thread, Some(frame.parse().map_err(|_| wrong())?)),
                None => (place, None),
            };
            let thread = thread.parse().map_err(|_| wrong())?;
            let mut steps = steps(rest)?;
            let Step::Attribute(name) = steps.remove(0) else { return Err(wrong()) };
            return Ok(Self { text: whole, root: Root::Local { thread, frame, name }, steps });
        }
        if let Some(rest) = text.strip_prefix("type:") {
            let steps = steps(&rest.replacen(':', ".", 1))?;
            let class = steps.iter().take_while(|step| matches!(step, Step::Attribute(_))).count();
            return Ok(Self { text: whole, root: Root::Instances { class }, steps });
        }
        let head = text.find(['[', '"', '\'']).unwrap_or(text.len());
        if let Some(colon) = text[..head].find(':') {
            let (module, rest) = (&text[..colon], &text[colon + 1..]);
            if !module.split('.').all(is_name) {
                return Err(PathError::NotAName(module.to_owned()));
            }
            let steps = if rest.is_empty() { Vec::new() } else { steps(rest)? };
            return Ok(Self { text: whole, root: Root::Module(module.to_owned()), steps });
        }
        Ok(Self { root: Root::Name, steps: steps(text)?, text: whole })
    }

    /// The path as far as its step number `last`, written plainly.
    pub(crate) fn until(&self, last: usize) -> String {
        let mut text = match &self.root {
            Root::Module(module) => format!("{module}:"),
            Root::Name => String::new(),
            Root::Local { thread, frame: Some(frame), name } => {
                format!("thread:{thread}/{frame}:{name}")
            }
            Root::Local { thread, frame: None, name } => format!("thread:{thread}:{name}"),
            Root::Instances { .. } => "type:".to_owned(),
        };
        for step in self.steps.iter().take(last + 1) {
            match step {
                Step::Attribute(name) if text.is_empty() || text.ends_with(':') => {
                    text.push_str(name);
                }
                step => text.push_str(&written(step)),
            }
        }
        text
    }

    /// The dotted name of what the steps until `last` lead to if all of them are names from the beginning on.
    pub(crate) fn dotted(&self, last: usize) -> Option<String> {
        let names = self.steps.get(..=last)?.iter().map(|step| match step {
            Step::Attribute(name) => Some(name.as_str()),
            Step::Item(_) => None,
        });
        let names: Option<Vec<&str>> = names.collect();
        let names = names?.join(".");
        match &self.root {
            Root::Module(module) => Some(format!("{module}.{names}")),
            Root::Name | Root::Instances { .. } => Some(names),
            Root::Local { .. } => None,
        }
    }

    pub(crate) fn is_of_instances(&self) -> bool {
        matches!(self.root, Root::Instances { .. })
    }

    pub(crate) fn is_of_a_thread(&self) -> bool {
        matches!(self.root, Root::Local { .. })
    }

    /// Whether a step has a name under which secrets stand.
    pub(crate) fn names_a_secret(&self, hides: fn(&str) -> bool) -> bool {
        let is_secret = |step: &Step| match step {
            Step::Attribute(name) => hides(name),
            Step::Item(Key::Text(name)) => hides(name),
            Step::Item(Key::Bytes(name)) => hides(&String::from_utf8_lossy(name)),
            Step::Item(_) => false,
        };
        let local = matches!(&self.root, Root::Local { name, .. } if hides(name));
        // Those before the last two name modules and classes more often than values.
        local || self.steps.iter().rev().take(2).any(is_secret)
    }
}

/// A step as it is written.
pub(crate) fn written(step: &Step) -> String {
    match step {
        Step::Attribute(name) => format!(".{name}"),
        Step::Item(Key::Text(text)) => format!("[{text:?}]"),
        Step::Item(Key::Bytes(bytes)) => format!("[b\"{}\"]", bytes.escape_ascii()),
        Step::Item(Key::Integer(number)) => format!("[{number}]"),
        Step::Item(Key::Boolean(true)) => "[True]".to_owned(),
        Step::Item(Key::Boolean(false)) => "[False]".to_owned(),
        Step::Item(Key::None) => "[None]".to_owned(),
    }
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|one| one.is_alphanumeric() || one == '_')
}

/// `name.name["key"][0]`
fn steps(text: &str) -> Result<Vec<Step>, PathError> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() || steps.is_empty() {
        if steps.len() == STEPS_AT_MOST {
            return Err(PathError::NotAName(rest.to_owned()));
        }
        if let Some(inside) = rest.strip_prefix('[') {
            if steps.is_empty() {
                return Err(PathError::NotAName(rest.to_owned()));
            }
            let (key, behind) = key(inside).map_err(|error| match error {
                KeyError::Open => PathError::Open(rest.to_owned()),
                KeyError::Unknown => PathError::NotAKey(until_bracket(inside).to_owned()),
            })?;
            steps.push(Step::Item(key));
            rest = behind;
            continue;
        }
        let name = match steps.is_empty() {
            true => rest,
            false => rest.strip_prefix('.').ok_or_else(|| PathError::NotAName(rest.to_owned()))?,
        };
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (name, behind) = name.split_at(end);
        if !is_name(name) {
            return Err(PathError::NotAName(name.to_owned()));
        }
        steps.push(Step::Attribute(name.to_owned()));
        rest = behind;
    }
    Ok(steps)
}

fn until_bracket(text: &str) -> &str {
    text.split(']').next().unwrap_or(text)
}

enum KeyError {
    Open,
    Unknown,
}

/// What stands in brackets, and what comes behind them.
fn key(text: &str) -> Result<(Key, &str), KeyError> {
    let text = text.trim_start();
    let (is_bytes, quoted) = match text.strip_prefix('b') {
        Some(rest) if rest.starts_with(['"', '\'']) => (true, rest),
        _ => (false, text),
    };
    if quoted.starts_with(['"', '\'']) {
        let (content, behind) = string(quoted)?;
        let behind = behind.trim_start().strip_prefix(']').ok_or(KeyError::Open)?;
        let key = match is_bytes {
            // Each character is a byte there.
            true => Key::Bytes(
                content
                    .chars()
                    .map(u8::try_from)
                    .collect::<Result<_, _>>()
                    .map_err(|_| KeyError::Unknown)?,
            ),
            false => Key::Text(content),
        };
        return Ok((key, behind));
    }
    let (word, behind) = text.split_once(']').ok_or(KeyError::Open)?;
    let key = match word.trim() {
        "True" => Key::Boolean(true),
        "False" => Key::Boolean(false),
        "None" => Key::None,
        number => Key::Integer(number.parse().map_err(|_| KeyError::Unknown)?),
    };
    Ok((key, behind))
}

/// A string in quotes, with the escapes that Python has for characters.
fn string(text: &str) -> Result<(String, &str), KeyError> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next().ok_or(KeyError::Open)?;
    let mut content = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return Ok((content, &text[at + 1..])),
            '\\' => {
                let (_, escaped) = characters.next().ok_or(KeyError::Open)?;
                let mut coded = |digits: usize| {
                    let digits: String =
                        characters.by_ref().take(digits).map(|(_, digit)| digit).collect();
                    u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
                };
                content.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'x' => coded(2).ok_or(KeyError::Unknown)?,
                    'u' => coded(4).ok_or(KeyError::Unknown)?,
                    'U' => coded(8).ok_or(KeyError::Unknown)?,
                    '\\' | '\'' | '"' => escaped,
                    _ => return Err(KeyError::Unknown),
                });
            }
            _ => content.push(character),
        }
    }
    Err(KeyError::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Step {
        Step::Attribute(name.to_owned())
    }

    #[test]
    fn paths_are_read() {
        let path = Path::parse(r#"shop.admin:site.registry["auth.User"][-1][b'\xff'][True]"#);
        let path = path.unwrap();
        assert_eq!(path.root, Root::Module("shop.admin".into()));
        let item = |key| Step::Item(key);
        let expected = [
            name("site"),
            name("registry"),
            item(Key::Text("auth.User".into())),
            item(Key::Integer(-1)),
            item(Key::Bytes(vec![255])),
            item(Key::Boolean(true)),
        ];
        assert_eq!(path.steps, expected);
        assert_eq!(path.until(2), r#"shop.admin:site.registry["auth.User"]"#);
        assert_eq!(path.dotted(1).as_deref(), Some("shop.admin.site.registry"));
        assert_eq!(path.dotted(2), None);

        let path = Path::parse(r#"a.b['x:y"z\n\u2603']"#).unwrap();
        assert_eq!(path.root, Root::Name);
        assert_eq!(path.steps, [name("a"), name("b"), item(Key::Text("x:y\"z\n☃".into()))]);
        assert_eq!(path.until(0), "a");

        let path = Path::parse("thread:41/2:request.path").unwrap();
        let root = Root::Local { thread: 41, frame: Some(2), name: "request".into() };
        assert_eq!((path.root.clone(), path.steps.clone()), (root, vec![name("path")]));
        assert_eq!(path.until(0), "thread:41/2:request.path");
        let path = Path::parse("thread:41:request").unwrap();
        assert!(matches!(path.root, Root::Local { frame: None, .. }));

        let path = Path::parse("type:shop.Order[0].total").unwrap();
        assert_eq!(path.root, Root::Instances { class: 2 });
        assert_eq!(path.steps.len(), 4);
        assert_eq!(Path::parse("sys:").unwrap().steps, []);
    }

    #[test]
    fn what_is_no_path_is_said() {
        for (text, error) in [
            ("", PathError::Empty),
            ("a..b", PathError::NotAName(String::new())),
            ("a.b c", PathError::NotAName("b c".into())),
            ("[0]", PathError::NotAName("[0]".into())),
            ("a[0", PathError::Open("[0".into())),
            ("a['x", PathError::Open("['x".into())),
            ("a[x]", PathError::NotAKey("x".into())),
            ("a[1:2]", PathError::NotAKey("1:2".into())),
            ("a[0]b", PathError::NotAName("b".into())),
            ("1x:y", PathError::NotAName("1x".into())),
            ("thread:x:y", PathError::NotAThread("thread:x:y".into())),
            ("thread:1/x:y", PathError::NotAThread("thread:1/x:y".into())),
            ("a['\\q']", PathError::NotAKey("'\\q'".into())),
        ] {
            assert_eq!(Path::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn secrets_are_known_by_the_last_names() {
        let secret =
            |text: &str| Path::parse(text).unwrap().names_a_secret(crate::redaction::is_secret);
        assert!(secret("settings.SECRET_KEY"));
        assert!(secret("settings.DATABASES['default']['PASSWORD']"));
        assert!(secret("app.tokens[0]"));
        assert!(secret("thread:1:password"));
        assert!(!secret("http.cookies.Morsel.output"));
    }
}
