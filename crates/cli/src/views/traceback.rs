//! Exceptions as Python prints them (`Lib/traceback.py`).

use std::fmt::Write;

use spyhole_session::model::{EvalError, Raised, Relation, SyntaxPlace, TraceFrame};

/// Equal frames in a row that are shown before the rest is counted, as in `traceback._RECURSIVE_CUTOFF`.
const RECURSION_SHOWN: usize = 3;

/// The whole chain, or just `type: message` where nothing is known but that. Ends with a newline.
pub(crate) fn text(error: &EvalError) -> String {
    let mut text = String::new();
    if error.traceback.is_empty() {
        write_headline(&mut text, &error.type_name, &error.message);
        return text;
    }
    write_chain(&mut text, &error.traceback, None);
    text
}

/// The whole chain, with what `below` gives under each frame of the last exception.
pub(crate) fn with_frames(chain: &[Raised], below: &dyn Fn(usize) -> String) -> String {
    let mut text = String::new();
    write_chain(&mut text, chain, Some(below));
    text
}

type Below<'a> = Option<&'a dyn Fn(usize) -> String>;

fn write_chain(text: &mut String, chain: &[Raised], below: Below<'_>) {
    for (index, raised) in chain.iter().enumerate() {
        let is_last = index + 1 == chain.len();
        write_raised(text, raised, below.filter(|_| is_last));
        if !is_last {
            text.push_str(match raised.relation {
                Some(Relation::Cause) => {
                    "\nThe above exception was the direct cause of the following exception:\n\n"
                }
                _ => "\nDuring handling of the above exception, another exception occurred:\n\n",
            });
        }
    }
}

/// The last line of the traceback: `ValueError: too late`.
pub(crate) fn headline(error: &EvalError) -> String {
    let mut text = String::new();
    match error.traceback.last() {
        Some(raised) => write_headline(&mut text, &raised.type_name, &raised.message),
        None => write_headline(&mut text, &error.type_name, &error.message),
    }
    text.truncate(text.trim_end().len());
    text
}

fn write_headline(text: &mut String, type_name: &str, message: &str) {
    text.push_str(type_name);
    if !message.is_empty() {
        text.push_str(": ");
        text.push_str(message);
    }
    text.push('\n');
}

fn write_raised(text: &mut String, raised: &Raised, below: Below<'_>) {
    if !raised.frames.is_empty() {
        text.push_str("Traceback (most recent call last):\n");
        match below {
            None => write_frames(text, &raised.frames),
            Some(below) => {
                for (index, frame) in raised.frames.iter().enumerate() {
                    write_frame(text, frame);
                    text.push_str(&below(index));
                }
            }
        }
    }
    if let Some(place) = &raised.syntax {
        write_syntax(text, place);
    }
    write_headline(text, &raised.type_name, &raised.message);
    for note in &raised.notes {
        text.push_str(note);
        text.push('\n');
    }
}

fn write_frames(text: &mut String, frames: &[TraceFrame]) {
    let same = |one: &TraceFrame, other: &TraceFrame| {
        one.file == other.file && one.line == other.line && one.function == other.function
    };
    let mut index = 0;
    while index < frames.len() {
        let frame = &frames[index];
        let run = frames[index..].iter().take_while(|other| same(frame, other)).count();
        for frame in frames[index..].iter().take(run.min(RECURSION_SHOWN)) {
            write_frame(text, frame);
        }
        if run > RECURSION_SHOWN {
            let more = run - RECURSION_SHOWN;
            let plural = if more == 1 { "" } else { "s" };
            let _ = writeln!(text, "  [Previous line repeated {more} more time{plural}]");
        }
        index += run;
    }
}

fn write_frame(text: &mut String, frame: &TraceFrame) {
    let _ = writeln!(text, "  File \"{}\", line {}, in {}", frame.file, frame.line, frame.function);
    let Some(source) = &frame.text else { return };
    let shown = source.trim();
    if shown.is_empty() {
        return;
    }
    let _ = writeln!(text, "    {shown}");
    let Some((first, end)) = frame.columns else { return };
    let indent = source.chars().take_while(|character| character.is_whitespace()).count();
    let width = shown.chars().count();
    let first = (first as usize).saturating_sub(indent).min(width);
    let end = (end as usize).saturating_sub(indent).min(width);
    // Marks under the whole line say nothing, as Python knows, too.
    if first < end && end - first < width {
        let _ = writeln!(text, "    {}{}", " ".repeat(first), "^".repeat(end - first));
    }
}

fn write_syntax(text: &mut String, place: &SyntaxPlace) {
    let _ = writeln!(text, "  File \"{}\", line {}", place.file, place.line);
    let source = place.text.trim_end();
    let shown = source.trim_start();
    if shown.is_empty() {
        return;
    }
    let _ = writeln!(text, "    {shown}");
    if place.column > 0 {
        let indent = source.chars().count() - shown.chars().count();
        let column = (place.column as usize - 1).saturating_sub(indent).min(shown.chars().count());
        let _ = writeln!(text, "    {}^", " ".repeat(column));
    }
}

#[cfg(test)]
mod tests {
    use spyhole_session::model::ErrorKind;

    use super::*;

    fn frame(line: u32, text: Option<&str>, columns: Option<(u32, u32)>) -> TraceFrame {
        TraceFrame {
            file: "<spyhole>".to_owned(),
            line,
            function: "f".to_owned(),
            columns,
            text: text.map(str::to_owned),
        }
    }

    fn raised(
        type_name: &str,
        message: &str,
        relation: Option<Relation>,
        frames: Vec<TraceFrame>,
    ) -> Raised {
        Raised {
            type_name: type_name.to_owned(),
            message: message.to_owned(),
            relation,
            frames,
            syntax: None,
            notes: vec![],
        }
    }

    fn error(traceback: Vec<Raised>) -> EvalError {
        EvalError {
            kind: ErrorKind::Raised,
            type_name: "ValueError".to_owned(),
            message: "late".to_owned(),
            traceback,
            causes: vec![],
            hints: vec![],
        }
    }

    #[test]
    fn a_chain() {
        let mut last =
            raised("ValueError", "late", None, vec![frame(2, Some("  a = b / 0"), Some((6, 11)))]);
        last.notes.push("a note".to_owned());
        let chain = vec![
            raised("KeyError", "'x'", Some(Relation::Cause), vec![frame(1, None, None)]),
            last,
        ];
        assert_eq!(
            text(&error(chain)),
            "Traceback (most recent call last):\n  File \"<spyhole>\", line 1, in f\nKeyError: 'x'\n\n\
             The above exception was the direct cause of the following exception:\n\n\
             Traceback (most recent call last):\n  File \"<spyhole>\", line 2, in f\n    a = b / 0\n        ^^^^^\n\
             ValueError: late\na note\n"
        );
    }

    #[test]
    fn recursion_is_counted() {
        let frames = vec![frame(1, None, None); 10];
        let text = text(&error(vec![raised("RecursionError", "", None, frames)]));
        assert_eq!(text.matches("line 1, in f").count(), 3);
        assert!(text.ends_with("  [Previous line repeated 7 more times]\nRecursionError\n"));
    }

    #[test]
    fn syntax_errors_point() {
        let mut syntax = raised("SyntaxError", "invalid syntax", None, vec![]);
        syntax.syntax = Some(SyntaxPlace {
            file: "<spyhole>".to_owned(),
            line: 1,
            column: 3,
            text: "1 +\n".to_owned(),
        });
        assert_eq!(
            text(&error(vec![syntax])),
            "  File \"<spyhole>\", line 1\n    1 +\n      ^\nSyntaxError: invalid syntax\n"
        );
    }

    #[test]
    fn without_a_chain_there_is_a_headline() {
        assert_eq!(text(&error(vec![])), "ValueError: late\n");
        assert_eq!(headline(&error(vec![])), "ValueError: late");
    }

    #[test]
    fn absurd_columns_do_no_harm() {
        let text = text(&error(vec![raised(
            "E",
            "",
            None,
            vec![
                frame(1, Some("x"), Some((u32::MAX - 1, u32::MAX))),
                frame(2, Some("   "), Some((0, 9))),
            ],
        )]));
        assert!(text.contains("    x\n"));
    }
}
