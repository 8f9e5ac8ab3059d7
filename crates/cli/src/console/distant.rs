//! A prompt on a socket, spoken to as if it were a process's own console.
//!
//! The other side takes one line at a time and tells nothing of code, values or errors: code is cut into lines, each of
//! which waits for its prompt, and all that comes back is output.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spyhole_session::Cancel;
use spyhole_session::console::Event;
use spyhole_session::model::{Candidate, Running, Value};
use spyhole_session::socket::{Asks, Connection, Heard};

use super::conversation::{Conversation, Wants};
use super::editor::{Editor, Input};
use super::lexer::{self, Open};
use super::plain::PlainEditor;
use crate::views::terminal::{OutputError, Terminal};
use crate::views::text::Text;

/// How long an interrupt may take, and a goodbye.
const ANSWER: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(20);
/// The number of what belongs to no code.
const NO_JOB: u32 = 0;

pub(crate) struct Distant {
    connection: Connection,
    /// Statements that are still to be sent, each with its lines.
    statements: VecDeque<VecDeque<String>>,
    /// The statement was ended by an empty line.
    closed: bool,
    job: u32,
    code: String,
    busy: bool,
    /// Code that was given up runs on, as far as we know.
    given_up: bool,
    wants: Wants,
    /// The code that runs asks for the end.
    leaving: bool,
}

impl Distant {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            statements: VecDeque::new(),
            closed: false,
            job: NO_JOB,
            code: String::new(),
            busy: false,
            given_up: false,
            wants: Wants::Code,
            leaving: false,
        }
    }

    /// Says goodbye, and shows what the code that still runs has to say. Whether all was said.
    pub(crate) fn leave(
        mut self,
        terminal: &Terminal,
        cancel: &Cancel,
    ) -> Result<bool, OutputError> {
        let in_order = self.wants == Wants::Code && !self.given_up && !self.busy;
        let before = cancel.count();
        let start = Instant::now();
        self.connection.say_goodbye();
        loop {
            match self.connection.next(TICK) {
                Heard::End => return Ok(true),
                // Its answer to the end of the input.
                Heard::Text(_) if in_order => {}
                Heard::Text(text) => terminal.data(&Text::of(text))?,
                Heard::Asks(_) | Heard::Nothing => {}
            }
            if cancel.count() > before || ((in_order || self.given_up) && start.elapsed() > ANSWER)
            {
                return Ok(in_order);
            }
        }
    }

    fn send(&mut self, line: &str) -> Option<Event> {
        let error = self.connection.send_line(line).err()?;
        Some(Event::Gone { reason: error.to_string() })
    }

    /// The next line of the present statement.
    fn next_line(&mut self) -> Option<String> {
        self.statements.front_mut()?.pop_front()
    }

    fn next_statement(&mut self) -> Option<String> {
        self.statements.pop_front();
        self.closed = false;
        self.next_line()
    }

    /// What its waiting for a line means to the code that runs.
    fn asked(&mut self, asks: Asks) -> Option<Event> {
        self.wants = match asks {
            Asks::Code => Wants::Code,
            Asks::More => Wants::More,
            Asks::Token | Asks::Something => Wants::Answer,
        };
        if !self.busy {
            self.given_up &= asks != Asks::Code;
            return None;
        }
        let line = match asks {
            // The statement has run, or was no Python: what is left of it is not sent.
            Asks::Code => self.next_statement(),
            Asks::More => match self.next_line() {
                None if !self.closed => {
                    self.closed = true;
                    Some(String::new())
                }
                None => self.next_statement(),
                line => line,
            },
            Asks::Token | Asks::Something => self.next_line().or_else(|| self.next_statement()),
        };
        match line {
            Some(line) => self.send(&line),
            None => {
                self.busy = false;
                self.statements.clear();
                let value = Value {
                    type_name: "NoneType".to_owned(),
                    repr: "None".to_owned(),
                    is_none: true,
                    truncated: false,
                    key: None,
                    json: None,
                };
                Some(Event::Value { job: self.job, value, duration: Duration::ZERO })
            }
        }
    }
}

impl Conversation for Distant {
    fn start(&mut self, code: &str) -> u32 {
        self.job += 1;
        self.code = code.to_owned();
        self.busy = true;
        self.leaving = self.wants == Wants::Code && asks_for_the_end(code);
        if self.given_up {
            // The interrupt may lie before it in the line.
            self.given_up = false;
            self.connection.expect_more_prompts();
            let _ = self.send("");
        }
        self.closed = self.wants != Wants::Code;
        self.statements = match self.wants {
            Wants::Code => statements(code),
            Wants::More | Wants::Answer | Wants::Command => VecDeque::from([lines(code)]),
        };
        if let Some(line) = self.next_line() {
            // That the other side has gone is heard next.
            let _ = self.send(&line);
        }
        self.job
    }

    fn next(&mut self, patience: Duration) -> Option<Event> {
        let deadline = Instant::now() + patience;
        loop {
            let event = match self.connection.next(deadline - Instant::now().min(deadline)) {
                Heard::Nothing => return None,
                Heard::End if self.leaving => Some(Event::Exit),
                Heard::End => Some(Event::Gone { reason: String::new() }),
                Heard::Asks(asks) => self.asked(asks),
                Heard::Text(text) => {
                    let job = if self.busy { self.job } else { NO_JOB };
                    Some(Event::Output { job, stderr: false, text })
                }
            };
            if event.is_some() {
                return event;
            }
        }
    }

    fn interrupt(&mut self) {
        // If that fails, its end is heard next.
        let _ = self.connection.interrupt();
        self.statements.truncate(1);
        self.statements.iter_mut().for_each(VecDeque::clear);
    }

    fn abandon(&mut self, _job: u32) {
        self.busy = false;
        self.given_up = true;
        self.statements.clear();
        self.wants = Wants::Code;
    }

    fn running(&self) -> Vec<Running> {
        if !self.given_up {
            return Vec::new();
        }
        vec![Running { job: self.job, code: self.code.clone(), at: None, thread: 0 }]
    }

    fn complete(&mut self, _text: &str) -> (usize, Vec<Candidate>) {
        (0, Vec::new())
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    /// It has a way to go there and back, and what raises it there competes with the code for the interpreter.
    fn grace(&self) -> Duration {
        ANSWER
    }

    fn forget_line(&mut self) {
        if self.wants != Wants::More {
            return;
        }
        // One that does not know the interrupt takes it for an error of syntax, and so ends the statement, too.
        let _ = self.connection.interrupt();
        self.connection.expect_more_prompts();
        let _ = self.send("");
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline && self.wants == Wants::More {
            match self.connection.next(TICK) {
                Heard::Asks(asks) => drop(self.asked(asks)),
                Heard::End => return,
                Heard::Text(_) | Heard::Nothing => {}
            }
        }
    }
}

/// Whether the other side will close the connection by itself.
fn asks_for_the_end(code: &str) -> bool {
    let code = code.trim();
    let called = |name: &str| {
        code.strip_prefix(name).is_some_and(|rest| {
            rest.is_empty() || rest.trim_start().starts_with('(') && rest.ends_with(')')
        })
    };
    called("exit") || called("quit") || code.contains("sys.exit(") || code.contains("SystemExit")
}

fn lines(code: &str) -> VecDeque<String> {
    code.split('\n').map(str::to_owned).collect()
}

/// Code as it may be sent to one who takes an empty line for the end of a block.
fn statements(code: &str) -> VecDeque<VecDeque<String>> {
    let dense = without_empty_lines(code);
    let mut editor = PlainEditor::new(dense.as_bytes(), None);
    let mut found = VecDeque::new();
    while let Ok(Input::Code(statement)) = editor.read(Wants::Code) {
        found.push_back(lines(statement.trim_end_matches('\n')));
    }
    found
}

/// Without those that stand within a block.
fn without_empty_lines(code: &str) -> String {
    let mut kept = String::new();
    let mut lines = code.split('\n').peekable();
    while let Some(line) = lines.next() {
        let inside = line.trim().is_empty()
            && lines.peek().is_some_and(|next| next.is_empty() || next.starts_with([' ', '\t']))
            && lexer::open(&kept) != Open::Token;
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept.pop();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(code: &str) -> Vec<Vec<String>> {
        statements(code).into_iter().map(Into::into).collect()
    }

    #[test]
    fn code_is_cut_into_statements() {
        assert_eq!(sent("1"), [["1"]]);
        assert_eq!(sent(" hidden"), [[" hidden"]]);
        assert_eq!(sent("if x:\n    a\nelse:\n    b\n"), [["if x:", "    a", "else:", "    b"]]);
        let pasted = "def f():\n    a\n\n    b\n\nf()";
        assert_eq!(sent(pasted), [vec!["def f():", "    a", "    b"], vec!["f()"]]);
        assert_eq!(sent("'''a\n\n  b'''\nx"), [vec!["'''a", "", "  b'''"], vec!["x"]]);
        assert_eq!(sent(""), Vec::<Vec<String>>::new());
    }

    #[test]
    fn ways_out_are_known() {
        for code in ["exit()", "quit( )", "exit", " exit(3)", "raise SystemExit", "sys.exit(1)"] {
            assert!(asks_for_the_end(code), "{code}");
        }
        for code in ["exit_code", "exiting()", "os._exit(1)", "1"] {
            assert!(!asks_for_the_end(code), "{code}");
        }
    }
}
