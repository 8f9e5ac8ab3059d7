//! Questions to the user, which are asked only where there is one.

use std::io::{self, BufRead, IsTerminal};

use spyhole_session::interpreters;
use spyhole_session::model::InterpreterRow;
use spyhole_session::target::{Resolved, Target};

use crate::failure::{Failure, Kind};
use crate::views::processes::{self as view, Candidate};
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

fn candidates(targets: &[Target]) -> Vec<Candidate<'_>> {
    targets.iter().map(|target| Candidate { pid: target.pid, cmdline: &target.cmdline }).collect()
}

/// A pattern may match more than was thought of: before code runs in many processes, somebody says yes.
pub(crate) fn confirm(terminal: &Terminal, resolved: &Resolved, yes: bool) -> Result<(), Failure> {
    if !resolved.by_pattern || yes {
        return Ok(());
    }
    confirm_all(terminal, &candidates(&resolved.targets))
}

fn confirm_all(terminal: &Terminal, candidates: &[Candidate<'_>]) -> Result<(), Failure> {
    let count = candidates.len();
    if count < 2 {
        return Ok(());
    }
    terminal.talk(&view::candidates(terminal, candidates, false));
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
    let index = pick_one(terminal, &candidates(&targets))?;
    Ok(targets.swap_remove(index))
}

fn pick_one(terminal: &Terminal, candidates: &[Candidate<'_>]) -> Result<usize, Failure> {
    let first = match candidates {
        [] => return Err(Failure::new(Kind::NoMatch, "no process matches").hint("spyhole ps")),
        [_] => return Ok(0),
        [first, ..] => first.pid,
    };
    let count = candidates.len();
    let asked = somebody_is_there();
    terminal.talk(&view::candidates(terminal, candidates, asked));
    if !asked {
        return Err(Failure::new(
            Kind::Usage,
            format!("{count} processes match, and this is for one"),
        )
        .hint(format!("name it by pid, as in: spyhole console {first}")));
    }
    let chosen = answer(terminal, &format!("which one? [1-{count}]"));
    match chosen.parse::<usize>() {
        Ok(number) if (1..=count).contains(&number) => Ok(number - 1),
        _ => Err(Failure::new(Kind::Usage, "no process was chosen")),
    }
}

/// In a process with several interpreters the user picks one, if none is named; without anybody to ask it is the main one.
pub(crate) fn pick_interpreter(terminal: &Terminal, target: &mut Target) -> Result<(), Failure> {
    if target.interpreter.is_some() || !somebody_is_there() {
        return Ok(());
    }
    let there = interpreters::of(target);
    if there.len() < 2 {
        return Ok(());
    }
    let mut text = Text::new();
    for one in &there {
        text.line(format!("  {}", view::interpreter(target.pid, one)));
    }
    terminal.talk(&text);
    let chosen = answer(terminal, "which interpreter? [0]");
    let chosen = chosen_interpreter(&there, target.pid, &chosen).ok_or_else(|| {
        Failure::new(Kind::Usage, "no interpreter was chosen")
            .hint(format!("name it, as in: spyhole console {}/{}", target.pid, there[1].id))
    })?;
    target.interpreter = Some(chosen.to_string());
    Ok(())
}

/// By number, as `PID/INTERP`, or by name; nothing is the main one.
fn chosen_interpreter(there: &[InterpreterRow], pid: i32, answer: &str) -> Option<i64> {
    let word = answer.strip_prefix(&format!("{pid}/")).unwrap_or(answer);
    let number = |one: &&InterpreterRow| match word {
        "" => one.id == 0,
        word => one.id.to_string() == word,
    };
    let name = |one: &&InterpreterRow| one.name.as_deref() == Some(word);
    let found = there.iter().find(number).or_else(|| there.iter().find(name));
    found.map(|one| one.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_chosen_by_number_or_name() {
        let row = |id, name: Option<&str>| InterpreterRow {
            id,
            name: name.map(str::to_owned),
            modules: 0,
            packages: Vec::new(),
        };
        let there = [row(0, Some("")), row(1, Some("shop.example|/x")), row(7, Some("1"))];
        for (answer, id) in [
            ("", Some(0)),
            ("0", Some(0)),
            ("1", Some(1)),
            ("4123/7", Some(7)),
            ("shop.example|/x", Some(1)),
            ("2", None),
            ("shop", None),
        ] {
            assert_eq!(chosen_interpreter(&there, 4123, answer), id, "{answer}");
        }
    }

    #[test]
    fn one_needs_no_question() {
        let (terminal, _) = Terminal::recorded(None, false);
        let only = [Candidate { pid: 7, cmdline: &[] }];
        assert_eq!(confirm_all(&terminal, &only), Ok(()));
        assert_eq!(pick_one(&terminal, &only), Ok(0));
        assert_eq!(pick_one(&terminal, &[]).unwrap_err().kind, Kind::NoMatch);
    }
}
