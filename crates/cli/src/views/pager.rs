//! Text that is longer than the screen, through the user's pager.
//!
//! It does as git does: `SPYHOLE_PAGER`, `PAGER` or `less`, run by the shell; `cat` or nothing means none. It does not
//! know what the text says.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGINT;

const USUAL: &str = "less -FRX";

/// What a shell ends with if it has not found or cannot run the command.
const NOT_RUN: [i32; 2] = [126, 127];

#[derive(Clone, Debug)]
pub(crate) struct Pager {
    command: String,
    /// Lines of the screen.
    rows: usize,
}

impl Pager {
    /// The one that the user wants; `None` if that is none, or the screen has no height.
    pub(crate) fn wanted() -> Option<Self> {
        let rows = crossterm::terminal::size().map_or(0, |(_, rows)| usize::from(rows));
        let named = |name| std::env::var(name).ok();
        let command = chosen(named("SPYHOLE_PAGER"), named("PAGER"))?;
        (rows > 0).then_some(Self { command, rows })
    }

    /// Whether a text does not fit on the screen, with a line left for the prompt.
    pub(crate) fn is_for(&self, text: &str) -> bool {
        text.lines().count() >= self.rows
    }

    /// Shows a text until the user has seen enough. `false`: there is no such pager.
    pub(crate) fn show(&self, text: &str) -> io::Result<bool> {
        // Ctrl-C is the pager's while it runs: it would be left alone with the terminal.
        let _taken = signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false)));
        let mut command = Command::new("sh");
        command.args(["-c", &self.command]).stdin(Stdio::piped());
        for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        let Ok(mut pager) = command.spawn() else { return Ok(false) };
        if let Some(mut input) = pager.stdin.take() {
            match input.write_all(text.as_bytes()) {
                // The user has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                other => other?,
            }
        }
        let status = pager.wait()?;
        Ok(!status.code().is_some_and(|code| NOT_RUN.contains(&code)))
    }
}

fn chosen(own: Option<String>, general: Option<String>) -> Option<String> {
    let command = own.or(general).unwrap_or_else(|| USUAL.to_owned());
    let command = command.trim();
    (!command.is_empty() && command != "cat").then(|| command.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_choice() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(chosen(None, None).as_deref(), Some("less -FRX"));
        assert_eq!(chosen(None, some("most")).as_deref(), Some("most"));
        assert_eq!(chosen(some("bat -p"), some("most")).as_deref(), Some("bat -p"));
        assert_eq!(chosen(None, some("cat")), None);
        assert_eq!(chosen(some(""), some("less")), None);
    }

    #[test]
    fn what_fits_is_not_paged() {
        let pager = Pager { command: "less".to_owned(), rows: 3 };
        assert!(!pager.is_for("1\n2\n"));
        assert!(pager.is_for("1\n2\n3\n"));
    }

    #[test]
    fn one_that_stops_reading_is_content_and_one_that_is_missing_is_told() {
        let long = "x\n".repeat(1 << 20);
        let show = |command: &str| Pager { command: command.to_owned(), rows: 1 }.show(&long);
        assert!(show("true").unwrap());
        assert!(show("false").unwrap());
        assert!(!show("no-such-pager-anywhere 2>/dev/null").unwrap());
    }
}
