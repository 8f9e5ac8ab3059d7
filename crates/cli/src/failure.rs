//! How a command fails: one fact, its causes, what to run next, and an exit code by kind.

use clap::CommandFactory;
use serde_json::json;
use spyhole_session::model::{ErrorKind, EvalError};
use spyhole_session::target::{ResolveError, SpecError};

use crate::arguments::Arguments;
use crate::views::terminal::{OutputError, Terminal};
use crate::views::text::{Ink, Text};

/// What went wrong, as scripts tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The output's reader has gone: no failure at all.
    Quiet,
    Failed,
    NoMatch,
    Raised,
    Syntax,
    Timeout,
    Unreachable,
    Usage,
    Partial,
    AccessDenied,
    Gone,
    Bug,
    Interrupted,
}

impl Kind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Quiet => 0,
            Self::Failed
            | Self::NoMatch
            | Self::Raised
            | Self::Syntax
            | Self::Timeout
            | Self::Unreachable => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::AccessDenied => 4,
            Self::Gone => 5,
            Self::Bug => 70,
            Self::Interrupted => 130,
        }
    }

    /// What several outcomes come to: nothing if all went well, the common failure if none did, else partial.
    pub(crate) fn of_many(kinds: &[Option<Self>]) -> Option<Self> {
        let first = *kinds.first()?;
        let code = |kind: Option<Self>| kind.map(Self::exit_code);
        match kinds.iter().all(|kind| code(*kind) == code(first)) {
            true => first,
            false => Some(Self::Partial),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Failed => "failed",
            Self::NoMatch => "no-match",
            Self::Raised => "raised",
            Self::Syntax => "syntax",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::AccessDenied => "access-denied",
            Self::Gone => "gone",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<ErrorKind> for Kind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Raised => Self::Raised,
            ErrorKind::Syntax => Self::Syntax,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Unreachable => Self::Unreachable,
            ErrorKind::AccessDenied => Self::AccessDenied,
            ErrorKind::Gone => Self::Gone,
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Bug => Self::Bug,
        }
    }
}

/// The end of a command that did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// One fact, in lower case, names in backticks.
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    /// Each one a command to run, or one thing to do.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With the error and all its sources as causes.
    pub(crate) fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    /// The failure of one process, named in front unless its message names it.
    pub(crate) fn of_process(pid: i32, error: &EvalError) -> Self {
        let named = error.message.contains(&pid.to_string());
        let message =
            if named { error.message.clone() } else { format!("process {pid}: {}", error.message) };
        Self {
            kind: error.kind.into(),
            message,
            causes: error.causes.clone(),
            hints: error.hints.clone(),
        }
    }

    pub(crate) fn text(&self) -> Text {
        let mut text = Text::new();
        text.ink(Ink::Bad, "error:").plain(" ").line(self.message.trim_end());
        for cause in &self.causes {
            text.line(format!("  because: {cause}"));
        }
        if !self.hints.is_empty() {
            text.plain("\n");
        }
        for hint in &self.hints {
            text.ink(Ink::Advice, "hint:").plain(" ").line(hint.as_str());
        }
        text
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        json!({"error": {
            "kind": self.kind.name(),
            "message": self.message,
            "causes": self.causes,
            "hints": self.hints,
        }})
    }

    /// Tells the user, in the form that was asked for.
    pub(crate) fn report(&self, terminal: &Terminal, json: bool) {
        match (self.kind, json) {
            (Kind::Quiet, _) => {}
            (_, true) => terminal.talk_json(&self.json()),
            (_, false) => terminal.talk(&self.text()),
        }
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        match &error {
            OutputError::Closed => Self::new(Kind::Quiet, error.to_string()),
            OutputError::Failed(cause) => {
                Self::new(Kind::Failed, error.to_string()).caused_by(cause)
            }
        }
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        Self::new(Kind::Usage, error.to_string()).hint("spyhole help targets")
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        let kind = match &error {
            ResolveError::NoProcess(_) => Kind::Gone,
            ResolveError::NoMatch(_) | ResolveError::EmptyTree(_) => Kind::NoMatch,
            ResolveError::Ourselves(_) => Kind::Usage,
            ResolveError::Address(address) => {
                return Self::new(Kind::Usage, error.to_string())
                    .hint(format!("spyhole console {address}"));
            }
            ResolveError::Proc(cause) => {
                return Self::new(Kind::Failed, error.to_string()).caused_by(cause);
            }
        };
        Self::new(kind, error.to_string()).hint("spyhole ps")
    }
}

impl From<clap::Error> for Failure {
    /// Says in our voice what clap found: the first paragraph is the fact, its tips are the hints.
    fn from(error: clap::Error) -> Self {
        let rendered = error.to_string();
        let mut paragraphs = rendered.split("\n\n");
        let fact = paragraphs.next().unwrap_or_default();
        let fact = fact.strip_prefix("error: ").unwrap_or(fact);
        let words: Vec<&str> = fact.split_whitespace().collect();
        let fact =
            backticked(&words.join(" ")).replace("unrecognized subcommand", "unknown command");
        let mut failure = Self::new(Kind::Usage, fact);
        for paragraph in paragraphs {
            for line in paragraph.lines() {
                if let Some(tip) = line.trim().strip_prefix("tip: ") {
                    failure.hints.push(backticked(tip).replace("subcommand", "command"));
                }
            }
        }
        let known = Arguments::command();
        let command = std::env::args_os()
            .skip(1)
            .filter_map(|word| word.into_string().ok())
            .find(|word| known.get_subcommands().any(|command| command.get_name() == word));
        failure.hint(match command {
            Some(command) => format!("spyhole {command} --help"),
            None => "spyhole --help".to_owned(),
        })
    }
}

/// clap quotes names with apostrophes; ours stand in backticks.
fn backticked(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let characters: Vec<char> = text.chars().collect();
    for (index, character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| characters[before]);
        let after = characters.get(index + 1);
        // An apostrophe within a word is one.
        let inside = before.is_some_and(char::is_alphanumeric)
            && after.is_some_and(|next| next.is_alphanumeric());
        result.push(if *character == '\'' && !inside { '`' } else { *character });
    }
    result
}

/// A panic is our bug: the terminal is made usable again, and the user is asked to report it.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        // The line editor may have left the terminal raw. Where it did not, this does nothing.
        let _ = crossterm::terminal::disable_raw_mode();
        let place = panic
            .location()
            .map(|place| format!(" ({}:{})", place.file(), place.line()))
            .unwrap_or_default();
        let what = panic
            .payload()
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.payload().downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let json = std::env::args_os().any(|argument| argument == "--json");
        let failure =
            Failure::new(Kind::Bug, format!("a bug in spyhole: {what}{place}")).hint(format!(
                "please report this with the command that you ran and the version, {}",
                env!("CARGO_PKG_VERSION")
            ));
        failure.report(&Terminal::for_panic(), json);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_a_sentence() {
        let failure = Failure::new(
            Kind::AccessDenied,
            "cannot attach to process 4123: another tracer holds it",
        )
        .caused_by(&std::io::Error::other("operation not permitted"))
        .hint("detach it, then retry");
        let (terminal, recorded) = Terminal::recorded(None, false);
        failure.report(&terminal, false);
        assert_eq!(
            recorded.lock().unwrap().talk,
            "error: cannot attach to process 4123: another tracer holds it\n  \
             because: operation not permitted\n\nhint: detach it, then retry\n"
        );
    }

    #[test]
    fn json_has_the_keys_of_the_contract() {
        let json = Failure::new(Kind::Timeout, "late").hint("wait").json();
        assert_eq!(
            json.to_string(),
            r#"{"error":{"kind":"timeout","message":"late","causes":[],"hints":["wait"]}}"#
        );
    }

    #[test]
    fn exit_codes_are_the_contract() {
        for (kind, code) in [
            (Kind::Quiet, 0),
            (Kind::Failed, 1),
            (Kind::Timeout, 1),
            (Kind::Unreachable, 1),
            (Kind::Usage, 2),
            (Kind::Partial, 3),
            (Kind::AccessDenied, 4),
            (Kind::Gone, 5),
            (Kind::Bug, 70),
            (Kind::Interrupted, 130),
        ] {
            assert_eq!(kind.exit_code(), code);
        }
    }

    #[test]
    fn quotes_become_backticks() {
        assert_eq!(
            backticked("unexpected argument '--x' found"),
            "unexpected argument `--x` found"
        );
        assert_eq!(backticked("it's 'a'"), "it's `a`");
    }
}
