//! Lines from a pipe or a file, or from a terminal that can do nothing (`TERM=dumb`).
//!
//! Blocks are grouped as Python's interactive mode does it: an empty line ends one. A line at the left margin that
//! does not go on with the block ends it, too, so that a script can be fed in as it is.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use spyhole_session::Cancel;
use spyhole_session::postmortem::PROMPT;

use super::conversation::Wants;
use super::editor::{Editor, Input};
use super::lexer::{self, Open};
use crate::failure::{Failure, Kind};
use crate::views::terminal::Terminal;
use crate::views::text::Text;

/// How often a wait for a line looks for Ctrl-C and for the end.
const TICK: Duration = Duration::from_millis(20);

pub(crate) enum Line {
    Text(String),
    /// Ctrl-C.
    Cleared,
    End,
}

/// Where a plain editor's lines come from.
pub(crate) trait Lines {
    fn next_line(&mut self) -> Result<Line, Failure>;
}

fn read_line(source: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if source.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&bytes);
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

/// Standard input, read by a thread of its own: a read can not be told to stop, a wait for the thread can.
pub(crate) struct StandardInput {
    lines: Receiver<std::io::Result<String>>,
    end: Arc<AtomicBool>,
    cancel: Cancel,
    seen: u32,
    typed: bool,
}

impl StandardInput {
    pub(crate) fn new(end: Arc<AtomicBool>, cancel: Cancel, typed: bool) -> Result<Self, Failure> {
        let (sender, lines) = sync_channel(1);
        std::thread::Builder::new()
            .name("standard input".to_owned())
            .spawn(move || {
                let mut source = std::io::stdin().lock();
                while let Some(line) = read_line(&mut source).transpose() {
                    let failed = line.is_err();
                    if sender.send(line).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(unreadable)?;
        Ok(Self { lines, end, seen: cancel.count(), cancel, typed })
    }
}

impl Lines for StandardInput {
    fn next_line(&mut self) -> Result<Line, Failure> {
        // What was raised while code ran has been dealt with.
        self.seen = self.cancel.count();
        loop {
            match self.lines.recv_timeout(TICK) {
                Ok(Ok(line)) => return Ok(Line::Text(line)),
                Ok(Err(error)) => return Err(unreadable(error)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Line::End),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.end.load(Ordering::SeqCst) {
                return Ok(Line::End);
            }
            if self.cancel.count() > self.seen {
                self.seen = self.cancel.count();
                return Ok(if self.typed { Line::Cleared } else { Line::End });
            }
        }
    }
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::new(Kind::Failed, "cannot read the input").caused_by(&error)
}

pub(crate) struct PlainEditor<Source> {
    source: Source,
    /// Prompts are shown where somebody types.
    prompts: Option<Terminal>,
    /// A line that was read, but belongs to what comes next.
    ahead: Option<String>,
}

impl<Source: Lines> PlainEditor<Source> {
    pub(crate) fn new(source: Source, prompts: Option<Terminal>) -> Self {
        Self { source, prompts, ahead: None }
    }

    fn line(&mut self, prompt: &str) -> Result<Line, Failure> {
        if let Some(line) = self.ahead.take() {
            return Ok(Line::Text(line));
        }
        if let Some(terminal) = &self.prompts {
            terminal.data(&Text::of(prompt))?;
        }
        self.source.next_line()
    }
}

impl<Source: Lines> Editor for PlainEditor<Source> {
    fn read(&mut self, wants: Wants) -> Result<Input, Failure> {
        let mut code = String::new();
        loop {
            let prompt = match wants {
                Wants::Answer => "",
                Wants::Command => PROMPT,
                Wants::Code if code.is_empty() => ">>> ",
                Wants::Code | Wants::More => "... ",
            };
            let line = match self.line(prompt)? {
                Line::Text(line) => line,
                Line::Cleared => {
                    if let Some(terminal) = &self.prompts {
                        terminal.data(&Text::of("\n"))?;
                    }
                    return Ok(Input::Cleared);
                }
                Line::End => {
                    return Ok(if code.trim().is_empty() { Input::End } else { Input::Code(code) });
                }
            };
            if wants != Wants::Code {
                return Ok(Input::Code(line));
            }
            if code.is_empty() {
                if line.trim().is_empty() {
                    continue;
                }
                code = line;
            } else {
                let in_block = lexer::open(&code) == Open::Block;
                let at_margin = !line.starts_with([' ', '\t', '#']) && !line.is_empty();
                let decorated = code.lines().last().is_some_and(|last| last.starts_with('@'));
                if in_block
                    && at_margin
                    && !decorated
                    && !lexer::is_clause(&line)
                    && self.prompts.is_none()
                {
                    self.ahead = Some(line);
                    return Ok(Input::Code(code));
                }
                code.push('\n');
                code.push_str(&line);
            }
            if lexer::open(&lexer::without_indent(&code)) == Open::Nothing {
                return Ok(Input::Code(code));
            }
        }
    }
}

/// Lines that are there already.
impl Lines for &[u8] {
    fn next_line(&mut self) -> Result<Line, Failure> {
        Ok(read_line(self).map_err(unreadable)?.map_or(Line::End, Line::Text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut editor = PlainEditor::new(text.as_bytes(), None);
        let mut inputs = Vec::new();
        while let Input::Code(code) = editor.read(Wants::Code).unwrap() {
            inputs.push(code);
        }
        inputs
    }

    #[test]
    fn lines_and_blocks() {
        assert_eq!(all("1\n\n2\n"), ["1", "2"]);
        assert_eq!(all("for x in y:\n    a\n\nb"), ["for x in y:\n    a\n", "b"]);
        assert_eq!(all("x = [1,\n\n2]\nx"), ["x = [1,\n\n2]", "x"]);
        assert_eq!(all("'''a\n\nb'''\r\nc\r\n"), ["'''a\n\nb'''", "c"]);
    }

    #[test]
    fn a_script_as_it_is() {
        assert_eq!(
            all("def f():\n    return 1\nprint(f())\nif x:\n    a\nelse:\n    b\nc\n"),
            ["def f():\n    return 1", "print(f())", "if x:\n    a\nelse:\n    b", "c"]
        );
        assert_eq!(all("@d\ndef f(): pass\nf()"), ["@d\ndef f(): pass", "f()"]);
    }

    #[test]
    fn the_end_of_the_input_ends_a_block() {
        assert_eq!(all("if x:\n    a"), ["if x:\n    a"]);
        assert_eq!(all("(1,\n"), ["(1,"]);
        assert_eq!(all(""), Vec::<String>::new());
        assert_eq!(all("\n \n"), Vec::<String>::new());
    }
}
