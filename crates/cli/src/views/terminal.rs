//! The one way out: everything that reaches the user's terminal is written here.
//!
//! Data goes to standard output, talk to standard error. What a process may have put into a text is escaped, unless
//! the user asked for it raw.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};

use thiserror::Error;

use super::escape::{escape, escape_json};
use super::pager::Pager;
use super::text::{Ink, Text};
use crate::arguments::{Color, Global};

/// Why data could not be written.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    /// The reader has gone away, which is its right.
    #[error("nobody reads the output any more")]
    Closed,
    #[error("cannot write the output")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Data,
    Talk,
}

/// What was written in a test.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) data: String,
    pub(crate) talk: String,
}

#[derive(Clone, Debug)]
enum Sink {
    Standard,
    #[cfg_attr(not(test), allow(dead_code, reason = "tests read what was written"))]
    Recorded(Arc<Mutex<Recorded>>),
}

/// Where text goes and how it may look there.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    sink: Sink,
    raw: bool,
    color_data: bool,
    color_talk: bool,
    verbose: bool,
    width: Option<usize>,
    /// For documents; `None` in a pipe, and where the user wants none.
    pager: Option<Pager>,
}

impl Terminal {
    pub(crate) fn new(global: &Global) -> Self {
        let data_is_terminal = io::stdout().is_terminal();
        let color = |is_terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && environment_allows_color(),
        };
        Self {
            sink: Sink::Standard,
            raw: global.raw,
            color_data: color(data_is_terminal),
            color_talk: color(io::stderr().is_terminal()),
            verbose: global.verbose,
            width: width_from_environment()
                .or_else(|| data_is_terminal.then(width_of_terminal).flatten()),
            pager: (data_is_terminal && !global.no_pager).then(Pager::wanted).flatten(),
        }
    }

    /// The plainest one, for a program that is about to end.
    pub(crate) fn for_panic() -> Self {
        Self {
            sink: Sink::Standard,
            raw: false,
            color_data: false,
            color_talk: false,
            verbose: false,
            width: None,
            pager: None,
        }
    }

    /// A terminal whose text a test reads back.
    #[cfg(test)]
    pub(crate) fn recorded(width: Option<usize>, raw: bool) -> (Self, Arc<Mutex<Recorded>>) {
        let recorded = Arc::new(Mutex::new(Recorded::default()));
        let terminal = Self {
            sink: Sink::Recorded(Arc::clone(&recorded)),
            raw,
            color_data: false,
            color_talk: false,
            verbose: false,
            width,
            pager: None,
        };
        (terminal, recorded)
    }

    /// Columns of the terminal; `None` where lines may be of any length (a pipe, a file).
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.raw
    }

    pub(crate) fn has_color(&self) -> bool {
        self.color_data
    }

    /// Writes data.
    pub(crate) fn data(&self, text: &Text) -> Result<(), OutputError> {
        Ok(self.write(Stream::Data, text)?)
    }

    /// Writes all data of a command, through the user's pager where it is longer than the screen.
    pub(crate) fn document(&self, text: &Text) -> Result<(), OutputError> {
        if let Some(pager) = &self.pager {
            let rendered = self.rendered(text, self.color_data);
            if pager.is_for(&rendered) && pager.show(&rendered)? {
                return Ok(());
            }
        }
        self.data(text)
    }

    /// Writes talk. Nobody to talk to is no reason to stop.
    pub(crate) fn talk(&self, text: &Text) {
        let _ = self.write(Stream::Talk, text);
    }

    /// Writes one JSON document, or one line of a stream of them, as data.
    pub(crate) fn json(&self, value: &serde_json::Value, pretty: bool) -> Result<(), OutputError> {
        Ok(self.write(Stream::Data, &self.json_text(value, pretty))?)
    }

    /// Writes a piece of a JSON document that is text already, as data.
    pub(crate) fn json_piece(&self, json: &str) -> Result<(), OutputError> {
        let safe = if self.raw { json.into() } else { escape_json(json) };
        Ok(self.put(Stream::Data, &safe)?)
    }

    /// Writes one JSON document as talk: how an error looks to a script.
    pub(crate) fn talk_json(&self, value: &serde_json::Value) {
        let _ = self.write(Stream::Talk, &self.json_text(value, false));
    }

    /// A JSON document as it is for this terminal, to be put into a file.
    pub(crate) fn json_rendered(&self, value: &serde_json::Value) -> String {
        self.rendered(&self.json_text(value, true), false)
    }

    fn json_text(&self, value: &serde_json::Value, pretty: bool) -> Text {
        let json = if pretty { format!("{value:#}") } else { value.to_string() };
        let mut text = Text::new();
        text.line(if self.raw { json } else { escape_json(&json).into_owned() });
        text
    }

    fn write(&self, stream: Stream, text: &Text) -> io::Result<()> {
        let color = match stream {
            Stream::Data => self.color_data,
            Stream::Talk => self.color_talk,
        };
        self.put(stream, &self.rendered(text, color))
    }

    /// Writes what is harmless already.
    fn put(&self, stream: Stream, text: &str) -> io::Result<()> {
        match (&self.sink, stream) {
            (Sink::Standard, Stream::Data) => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
            (Sink::Standard, Stream::Talk) => io::stderr().lock().write_all(text.as_bytes()),
            (Sink::Recorded(recorded), stream) => {
                let mut recorded = recorded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                match stream {
                    Stream::Data => recorded.data.push_str(text),
                    Stream::Talk => recorded.talk.push_str(text),
                }
                Ok(())
            }
        }
    }

    /// The text as it is for this terminal: escaped, and with colours where they are wanted.
    pub(crate) fn rendered(&self, text: &Text, color: bool) -> String {
        let mut rendered = String::new();
        for (ink, piece) in text.pieces() {
            let safe = if self.raw { piece.as_str().into() } else { escape(piece) };
            if color && *ink != Ink::Plain && !safe.is_empty() {
                let style = ink.style();
                // Styles end before a newline, so that a colour never runs into what comes next.
                for (index, line) in safe.split('\n').enumerate() {
                    if index > 0 {
                        rendered.push('\n');
                    }
                    if !line.is_empty() {
                        rendered.push_str(&format!("{style}{line}{style:#}"));
                    }
                }
            } else {
                rendered.push_str(&safe);
            }
        }
        rendered
    }
}

fn environment_allows_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn width_from_environment() -> Option<usize> {
    std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0)
}

fn width_of_terminal() -> Option<usize> {
    let (columns, _) = crossterm::terminal::size().ok()?;
    (columns > 0).then_some(usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_unless_raw() {
        let (safe, recorded) = Terminal::recorded(None, false);
        safe.data(&Text::of("\x1b]0;x\x07\n")).unwrap();
        assert_eq!(recorded.lock().unwrap().data, "\\x1b]0;x\\x07\n");
        let (raw, recorded) = Terminal::recorded(None, true);
        raw.data(&Text::of("\x1b]0;x\x07\n")).unwrap();
        assert_eq!(recorded.lock().unwrap().data, "\x1b]0;x\x07\n");
    }

    #[test]
    fn colours_wrap_each_line() {
        let (terminal, _) = Terminal::recorded(None, false);
        let mut text = Text::new();
        text.ink(Ink::Added, "a\x1bb\nc").plain("d");
        assert_eq!(terminal.rendered(&text, true), "\x1b[32ma\\x1bb\x1b[0m\n\x1b[32mc\x1b[0md");
        assert_eq!(terminal.rendered(&text, false), "a\\x1bb\ncd");
    }
}
