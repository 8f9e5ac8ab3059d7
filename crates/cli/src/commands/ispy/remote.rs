//! The levels within a prepared process: its lines and its prompts are the process's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use spyhole_session::ispy::link::{Link, Told};
use spyhole_session::socket::Address;

use super::Shell;
use crate::console::lines::Words;
use crate::console::plain::Line;
use crate::console::shell::locked;
use crate::failure::{Failure, Kind};
use crate::views::text::Text;

/// How often a wait looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(20);
/// How long the candidates of a completion may take.
const COMPLETING: Duration = Duration::from_secs(1);
/// How long the other side may take for its last words.
const GOODBYE: Duration = Duration::from_secs(5);
/// Ctrl-C in a row with no answer: it is left.
const PATIENCE: u32 = 3;

struct OfProcess {
    link: Arc<Mutex<Link>>,
    /// What is typed next is Python.
    python: Arc<AtomicBool>,
}

impl Words for OfProcess {
    fn words(&mut self, line: &str) -> Vec<String> {
        locked(&self.link).words(line, COMPLETING)
    }

    fn are_whole(&self) -> bool {
        !self.python.load(Ordering::SeqCst)
    }
}

/// Until somebody leaves, or the process is gone.
pub(super) fn talk(shell: &mut Shell<'_>, link: Link, at: &Address) -> Result<(), Failure> {
    let link = Arc::new(Mutex::new(link));
    let mut leaving = false;
    let python = Arc::new(AtomicBool::new(false));
    shell.offer(OfProcess { link: Arc::clone(&link), python: Arc::clone(&python) });
    loop {
        let Some(prompt) = asked(shell, &link)? else {
            if leaving {
                return Ok(());
            }
            return shell.ended(Failure::new(Kind::Gone, format!("the process at `{at}` is gone")));
        };
        python.store(matches!(prompt.as_str(), ">>> " | "... "), Ordering::SeqCst);
        let sent = match shell.editor.read(&prompt)? {
            Line::End => {
                locked(&link).say_goodbye();
                return rest(shell, &link);
            }
            Line::Cleared => locked(&link).interrupt(),
            Line::Text(line) => {
                leaving = matches!(line.trim(), "exit" | "quit");
                locked(&link).send_line(&line)
            }
        };
        // That the other side has gone is heard next.
        let _ = sent;
    }
}

/// Shows what comes until a line is asked for; `None`: nothing will come any more.
fn asked(shell: &Shell<'_>, link: &Mutex<Link>) -> Result<Option<String>, Failure> {
    let start = shell.cancel.count();
    let mut seen = start;
    loop {
        let told = locked(link).next(TICK);
        match told {
            Told::Text(text) => shell.terminal.data(&Text::of(text))?,
            Told::Asks(prompt) => return Ok(Some(prompt)),
            Told::End => return Ok(None),
            Told::Words(_) | Told::Answer(_) | Told::Nothing => {}
        }
        if shell.cancel.count() > seen {
            seen = shell.cancel.count();
            // If that fails, its end is heard next.
            let _ = locked(link).interrupt();
        }
        if seen - start >= PATIENCE || shell.end.load(Ordering::SeqCst) {
            return Ok(None);
        }
    }
}

/// What the last lines still print.
fn rest(shell: &Shell<'_>, link: &Mutex<Link>) -> Result<(), Failure> {
    let deadline = Instant::now() + GOODBYE;
    let before = shell.cancel.count();
    loop {
        match locked(link).next(TICK) {
            Told::Text(text) if text != "\n" => shell.terminal.data(&Text::of(text))?,
            Told::End => return Ok(()),
            _ => {}
        }
        if Instant::now() > deadline || shell.cancel.count() > before {
            return Ok(());
        }
    }
}
