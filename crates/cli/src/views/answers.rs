//! The answers of `eval`: one process plainly, many compared.

use spyhole_session::model::{
    Answer, ErrorKind, EvalError, EvalReport, Group, Outcome, Place, Value,
};

use super::difference;
use super::escape::flat;
use super::json::place;
use super::terminal::{OutputError, Terminal};
use super::text::{Ink, Text};
use super::traceback;
use super::width::list;
use crate::failure::Failure;

/// What the code of one process said: its output and its value as they are, its exception as Python prints it.
pub(crate) fn one(terminal: &Terminal, answer: &Answer) -> Result<(), OutputError> {
    terminal.talk(&ended(&answer.stderr));
    terminal.data(&ended(&answer.stdout))?;
    if answer.output_cut > 0 {
        terminal.talk(&cut_notice(answer.output_cut));
    }
    match &answer.outcome {
        Outcome::Value(value) => {
            if !value.is_none {
                terminal.data(&ended(&value.repr))?;
            }
            if value.truncated {
                terminal.talk(&truncation_notice());
            }
        }
        Outcome::Error(error) if is_of_code(error) => {
            terminal.talk(&Text::of(traceback::text(error)))
        }
        Outcome::Error(error) => {
            terminal.talk(&Failure::of_process(answer.place.pid, error).text())
        }
    }
    Ok(())
}

/// Whether the code itself failed, in contrast to the way to it.
pub(crate) fn is_of_code(error: &EvalError) -> bool {
    matches!(error.kind, ErrorKind::Raised | ErrorKind::Syntax | ErrorKind::Interrupted)
}

/// Text that ends with a newline, unless it is empty.
fn ended(text: &str) -> Text {
    let mut ended = Text::of(text);
    if !ended.ends_a_line() {
        ended.plain("\n");
    }
    ended
}

fn truncation_notice() -> Text {
    Text::of("the value was cut; `--max BYTES` or `--full` shows more\n")
}

fn cut_notice(bytes: u64) -> Text {
    Text::of(format!(
        "{bytes} bytes of printed text were cut; `--max BYTES` or `--full` shows more\n"
    ))
}

/// The answers of many: the odd ones first, each against the majority, then the majority.
pub(crate) fn many(terminal: &Terminal, report: &EvalReport) -> Result<(), OutputError> {
    let width = terminal.width();
    let asked: usize = report.groups.iter().map(|group| group.members.len()).sum();
    // Groups come largest first; the reference is the largest one that answered.
    let reference = report.groups.iter().position(|group| !group.is_error);
    for (index, group) in report.groups.iter().enumerate().rev() {
        let Some(answer) = member_of(report, index) else { continue };
        if let Outcome::Error(error) = &answer.outcome
            && !is_of_code(error)
        {
            // No answer at all: told below, with the others like it.
            continue;
        }
        let against =
            reference.filter(|reference| *reference != index).map(|index| &report.groups[index]);
        terminal.data(&heading(group, asked, against, width))?;
        terminal.data(&body(group, answer, against))?;
        for member in members_of(report, index) {
            terminal.data(&prefixed(member.place, "printed", &member.stdout))?;
            terminal.talk(&prefixed(member.place, "stderr", &member.stderr));
            if member.output_cut > 0 {
                terminal.talk(&cut_notice(member.output_cut));
            }
        }
    }
    if report
        .answers
        .iter()
        .any(|answer| matches!(&answer.outcome, Outcome::Value(value) if value.truncated))
    {
        terminal.talk(&truncation_notice());
    }
    terminal.talk(&unreached(report));
    Ok(())
}

fn members_of(report: &EvalReport, group: usize) -> impl Iterator<Item = &Answer> {
    report.answers.iter().filter(move |answer| answer.group == Some(group))
}

fn member_of(report: &EvalReport, group: usize) -> Option<&Answer> {
    members_of(report, group).next()
}

fn heading(group: &Group, asked: usize, against: Option<&Group>, width: Option<usize>) -> Text {
    let count = group.members.len();
    let verb = match (group.is_error, against, count) {
        (true, _, 1) => "failed",
        (true, _, _) => "failed alike",
        (false, Some(_), 1) => "differs",
        (false, Some(_), _) => "differ",
        (false, None, 1) => "answered",
        (false, None, _) => "agree",
    };
    let members: Vec<String> = group.members.iter().copied().map(place).collect();
    let mut text = Text::new();
    text.ink(Ink::Strong, list(&members, 0, "  ", width));
    text.line(format!(" {verb} ({count} of {asked}):"));
    text
}

fn body(group: &Group, answer: &Answer, against: Option<&Group>) -> Text {
    match (&answer.outcome, against) {
        (Outcome::Error(error), _) => indented(&traceback::text(error)),
        (Outcome::Value(_), Some(majority)) if majority.repr != group.repr => {
            difference::between(&majority.repr, &group.repr, "  ")
        }
        (Outcome::Value(_), Some(_)) => {
            let mut text = indented(&group.repr);
            text.line("  (it reads the same, but is not equal: its type or an order differs)");
            text
        }
        (Outcome::Value(_), None) => indented(&group.repr),
    }
}

fn indented(text: &str) -> Text {
    let mut indented = Text::new();
    for line in text.lines() {
        indented.line(format!("  {line}"));
    }
    indented
}

/// Printed text with its place before each line, so that no process can speak for another.
fn prefixed(at: Place, what: &str, printed: &str) -> Text {
    let mut text = Text::new();
    for line in printed.lines() {
        text.ink(Ink::Faint, format!("  {} {what}| ", place(at))).line(line);
    }
    text
}

/// Those that gave no answer, and those that have not loaded what was asked for.
fn unreached(report: &EvalReport) -> Text {
    let mut text = Text::new();
    let mut hints: Vec<&String> = Vec::new();
    for answer in &report.answers {
        let Outcome::Error(error) = &answer.outcome else { continue };
        if is_of_code(error) && answer.group.is_some() {
            continue;
        }
        let mut failure = Failure::of_process(answer.place.pid, error);
        for hint in &error.hints {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        failure.hints.clear();
        text.append(failure.text());
    }
    if !hints.is_empty() {
        text.plain("\n");
    }
    for hint in hints {
        text.ink(Ink::Advice, "hint:").plain(" ").line(hint.as_str());
    }
    text.append(not_loaded(&report.not_loaded));
    text
}

/// `not loaded in: 4121/0, 4122/0`
pub(crate) fn not_loaded(places: &[Place]) -> Text {
    if places.is_empty() {
        return Text::new();
    }
    let places: Vec<String> = places.iter().copied().map(place).collect();
    Text::of(format!("not loaded in: {}\n", places.join(", ")))
}

/// What is said with `--verbose`.
pub(crate) fn verbose(answer: &Answer) -> Text {
    let what = match &answer.outcome {
        Outcome::Value(Value { type_name, .. }) => format!("a value of type {}", flat(type_name)),
        Outcome::Error(error) => flat(&traceback::headline(error)).into_owned(),
    };
    Text::of(format!(
        "{}: {what}, after {}\n",
        place(answer.place),
        crate::duration::short(answer.duration)
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn place_of(pid: i32) -> Place {
        Place { pid, interpreter: 0 }
    }

    fn answer(pid: i32, repr: &str, group: usize) -> Answer {
        Answer {
            place: place_of(pid),
            outcome: Outcome::Value(Value {
                type_name: "bool".to_owned(),
                repr: repr.to_owned(),
                is_none: false,
                truncated: false,
                key: None,
                json: None,
            }),
            stdout: String::new(),
            stderr: String::new(),
            output_cut: 0,
            duration: Duration::from_millis(2),
            group: Some(group),
            left: None,
        }
    }

    fn error(kind: ErrorKind, message: &str) -> Outcome {
        Outcome::Error(EvalError {
            kind,
            type_name: "PermissionError".to_owned(),
            message: message.to_owned(),
            traceback: vec![],
            causes: vec![],
            hints: vec!["sudo spyhole ps".to_owned()],
        })
    }

    #[test]
    fn the_odd_one_out_comes_first() {
        let mut broken = answer(4125, "", 2);
        broken.outcome = error(ErrorKind::AccessDenied, "no permission");
        let mut talking = answer(4122, "True", 0);
        talking.stdout = "hello\nthere".to_owned();
        let report = EvalReport {
            code: "settings.DEBUG".to_owned(),
            answers: vec![answer(4121, "True", 0), talking, answer(4123, "False", 1), broken],
            groups: vec![
                Group {
                    repr: "True".to_owned(),
                    members: vec![place_of(4121), place_of(4122)],
                    is_error: false,
                },
                Group { repr: "False".to_owned(), members: vec![place_of(4123)], is_error: false },
                Group {
                    repr: "no permission".to_owned(),
                    members: vec![place_of(4125)],
                    is_error: true,
                },
            ],
            not_loaded: vec![place_of(9), place_of(10)],
            passed_over: vec![],
        };
        let (terminal, recorded) = Terminal::recorded(Some(80), false);
        many(&terminal, &report).unwrap();
        let recorded = recorded.lock().unwrap();
        assert_eq!(
            recorded.data,
            "4123/0 differs (1 of 4):\n  - True\n  + False\n4121/0, 4122/0 agree (2 of 4):\n  True\n  \
             4122/0 printed| hello\n  4122/0 printed| there\n"
        );
        assert_eq!(
            recorded.talk,
            "error: process 4125: no permission\n\nhint: sudo spyhole ps\nnot loaded in: 9/0, 10/0\n"
        );
    }

    #[test]
    fn one_process_just_answers() {
        let (terminal, recorded) = Terminal::recorded(None, false);
        let mut only = answer(1, "42", 0);
        only.stdout = "printed\n".to_owned();
        only.stderr = "warned".to_owned();
        one(&terminal, &only).unwrap();
        let recorded = recorded.lock().unwrap();
        assert_eq!((recorded.data.as_str(), recorded.talk.as_str()), ("printed\n42\n", "warned\n"));
    }

    #[test]
    fn nothing_is_printed_for_none() {
        let (terminal, recorded) = Terminal::recorded(None, false);
        let mut nothing = answer(1, "None", 0);
        if let Outcome::Value(value) = &mut nothing.outcome {
            value.is_none = true;
        }
        one(&terminal, &nothing).unwrap();
        assert_eq!(recorded.lock().unwrap().data, "");
    }
}
