//! Questions to the user, which are asked only where there is one.

use std::io::{self, BufRead, IsTerminal};

use spyhole_session::target::{Resolved, Target};

use crate::failure::{Failure, Kind};
use crate::views::processes::candidates;
use crate::views::terminal::Terminal;
use crate::views::text::Text;

/// Whether there is somebody who reads questions and can answer them.
fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn answer(terminal: &Terminal, question: &str) -> String {
    terminal.talk(&Text::of(format!("{question} ")));
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => {
            terminal.talk(&Text::of("\n"));
            String::new()
        }
        Ok(_) => line.trim().to_owned(),
    }
}

/// A pattern may match more than was thought of: before code runs in many processes, somebody says yes.
pub(crate) fn confirm(terminal: &Terminal, resolved: &Resolved, yes: bool) -> Result<(), Failure> {
    let count = resolved.targets.len();
    if !resolved.by_pattern || count < 2 || yes {
        return Ok(());
    }
    terminal.talk(&candidates(terminal, &resolved.targets, false));
    if !somebody_is_there() {
        return Err(Failure::new(Kind::Usage, format!("the pattern matches {count} processes"))
            .hint("add `--yes` to run in all of them, or name some by pid"));
    }
    match answer(terminal, &format!("run in {count} processes? [y/N]")).to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Kind::Usage, "nothing was run")),
    }
}

/// A command for one process lets the user pick it, or names the candidates.
pub(crate) fn pick(terminal: &Terminal, resolved: Resolved) -> Result<Target, Failure> {
    let mut targets = resolved.targets;
    let count = targets.len();
    if count == 1 {
        return Ok(targets.remove(0));
    }
    if count == 0 {
        return Err(Failure::new(Kind::NoMatch, "no process matches").hint("spyhole ps"));
    }
    let alone = somebody_is_there();
    terminal.talk(&candidates(terminal, &targets, alone));
    if alone {
        let chosen = answer(terminal, &format!("which one? [1-{count}]"));
        if let Some(index) =
            chosen.parse::<usize>().ok().filter(|number| (1..=count).contains(number))
        {
            return Ok(targets.swap_remove(index - 1));
        }
        return Err(Failure::new(Kind::Usage, "no process was chosen"));
    }
    let first = targets[0].pid;
    Err(Failure::new(Kind::Usage, format!("{count} processes match, and this is for one"))
        .hint(format!("name it by pid, as in: spyhole console {first}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(pids: &[i32], by_pattern: bool) -> Resolved {
        let targets = pids
            .iter()
            .map(|pid| Target {
                pid: *pid,
                interpreter: None,
                cmdline: vec!["python3".to_owned(), "\x1b[2J".to_owned()],
            })
            .collect();
        Resolved { targets, by_pattern }
    }

    #[test]
    fn a_pattern_of_one_needs_no_question() {
        let (terminal, _) = Terminal::recorded(None, false);
        assert_eq!(confirm(&terminal, &resolved(&[1], true), false), Ok(()));
        assert_eq!(confirm(&terminal, &resolved(&[1, 2], false), false), Ok(()));
        assert_eq!(confirm(&terminal, &resolved(&[1, 2], true), true), Ok(()));
    }

    #[test]
    fn one_is_picked_without_a_question() {
        let (terminal, _) = Terminal::recorded(None, false);
        assert_eq!(pick(&terminal, resolved(&[7], true)).unwrap().pid, 7);
        assert_eq!(pick(&terminal, resolved(&[], true)).unwrap_err().kind, Kind::NoMatch);
    }
}
