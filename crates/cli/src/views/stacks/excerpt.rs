//! A line of source that fits, and the marks below the expression that runs.
//!
//! Python counts columns in bytes of UTF-8; here they become columns of a terminal, where a character may take none, one
//! or two of them, and one that is shown escaped takes more.

use spyhole_session::model::StackFrame;

use crate::views::escape::escape;
use crate::views::width::columns;

/// What a tab is shown as: a line stands apart from its file, so that there is nothing to align it to.
const TAB: &str = "    ";

/// The expression of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marked {
    /// In bytes from the beginning of the line.
    from: usize,
    /// `None`: it goes on in later lines.
    to: Option<usize>,
}

/// Where the expression of a frame lies, where its version tells.
pub(super) fn marked(frame: &StackFrame) -> Option<Marked> {
    let (line, last) = (frame.line?, frame.end_line?);
    let (from, to) = (frame.column? as usize, frame.end_column? as usize);
    match last {
        last if last == line => (from < to).then_some(Marked { from, to: Some(to) }),
        last => (last > line).then_some(Marked { from, to: None }),
    }
}

/// A line as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) line: String,
    /// `^^^` below the expression; `None` if that is unknown, or the whole line.
    pub(super) marks: Option<String>,
}

struct Cell {
    shown: String,
    width: usize,
    inside: bool,
}

/// The part of a line that fits into `room` columns, without its indentation.
pub(super) fn of(line: &str, marked: Option<Marked>, room: Option<usize>) -> Excerpt {
    let text = line.trim_end();
    let cells: Vec<Cell> = text
        .char_indices()
        .skip_while(|(_, character)| character.is_whitespace())
        .map(|(at, character)| {
            let shown = if character == '\t' { TAB.to_owned() } else { character.to_string() };
            let width = columns(&escape(&shown));
            let inside =
                marked.is_some_and(|Marked { from, to }| at >= from && to.is_none_or(|to| at < to));
            Cell { shown, width, inside }
        })
        .collect();
    let goes_on = marked.is_some_and(|marked| marked.to.is_none());
    let blank = |cell: &Cell| cell.shown.trim().is_empty();
    let whole = !goes_on && cells.iter().all(|cell| cell.inside || blank(cell));
    let (first, last) = window(&cells, room, goes_on);
    let mut excerpt = Excerpt::default();
    let mut marks = String::new();
    if first > 0 {
        excerpt.line.push('…');
        marks.push(' ');
    }
    for cell in &cells[first..last] {
        excerpt.line.push_str(&cell.shown);
        marks.push_str(&if cell.inside { "^" } else { " " }.repeat(cell.width));
    }
    if last < cells.len() {
        excerpt.line.push('…');
    }
    if goes_on {
        marks.push('…');
    }
    if marks.contains('^') && !whole {
        excerpt.marks = Some(marks.trim_end().to_owned());
    }
    excerpt
}

/// The cells that are shown: from the beginning, unless the expression would not be seen so.
fn window(cells: &[Cell], room: Option<usize>, goes_on: bool) -> (usize, usize) {
    let width = |cells: &[Cell]| cells.iter().map(|cell| cell.width).sum::<usize>();
    let Some(room) = room else { return (0, cells.len()) };
    let room = room.saturating_sub(usize::from(goes_on));
    if width(cells) <= room {
        return (0, cells.len());
    }
    // A column for each `…`.
    let room = room.saturating_sub(2);
    let begin = cells.iter().position(|cell| cell.inside).unwrap_or(0);
    let end = cells.iter().rposition(|cell| cell.inside).map_or(0, |last| last + 1);
    let mut first = 0;
    if width(&cells[..end]) > room {
        // Its beginning stays in sight, with a quarter of the room before it, and more if its end leaves that.
        let before = (room / 4).max(room.saturating_sub(width(&cells[begin..end])));
        first = begin;
        let mut taken = 0;
        while first > 0 && taken + cells[first - 1].width <= before {
            first -= 1;
            taken += cells[first].width;
        }
    }
    let mut last = first;
    let mut taken = 0;
    while last < cells.len() && taken + cells[last].width <= room {
        taken += cells[last].width;
        last += 1;
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, part: &str, room: usize) -> (String, String) {
        let from = line.find(part).expect("it is there");
        let marked = Marked { from, to: Some(from + part.len()) };
        let excerpt = of(line, Some(marked), Some(room));
        assert!(columns(&escape(&excerpt.line)) <= room, "{excerpt:?}");
        (excerpt.line, excerpt.marks.unwrap_or_default())
    }

    #[test]
    fn marks_stand_below_the_expression() {
        for (line, part, expected) in [
            ("    x = f(1) + 2", "f(1)", ("x = f(1) + 2", "    ^^^^")),
            ("\tname = schlüssel(ö)", "(ö)", ("name = schlüssel(ö)", "                ^^^")),
            ("日本 = f(語) + 1", "f(語)", ("日本 = f(語) + 1", "       ^^^^^")),
            // A combining accent takes no column.
            ("e\u{301} = g()", "g()", ("e\u{301} = g()", "    ^^^")),
            ("a\tb = g()", "g()", ("a    b = g()", "         ^^^")),
            // An escape takes four.
            ("s = '\u{1b}' + g()", "g()", ("s = '\u{1b}' + g()", "             ^^^")),
            // The whole statement needs no marks.
            ("  wait()  ", "wait()", ("wait()", "")),
        ] {
            assert_eq!(shown(line, part, 40), (expected.0.to_owned(), expected.1.to_owned()));
        }
    }

    #[test]
    fn what_goes_on_is_marked_to_the_end() {
        let excerpt = of("    return call(", Some(Marked { from: 11, to: None }), Some(40));
        assert_eq!(excerpt.line, "return call(");
        assert_eq!(excerpt.marks.as_deref(), Some("       ^^^^^…"));
    }

    #[test]
    fn the_expression_stays_in_sight() {
        let line = format!("{} = f(x) + {}", "a".repeat(60), "b".repeat(60));
        assert_eq!(
            shown(&line, "f(x)", 20),
            ("…aaaaaaaaaaa = f(x)…".to_owned(), "               ^^^^".to_owned())
        );
        let line = "x".repeat(100);
        assert_eq!(of(&line, None, Some(10)).line, format!("{}…", "x".repeat(8)));
        let long = format!("value = {}", line);
        let (text, marks) = shown(&long, &line, 20);
        assert_eq!(text, "…e = xxxxxxxxxxxxxx…");
        assert_eq!(marks, format!("     {}", "^".repeat(14)));
    }

    #[test]
    fn nothing_odd_breaks_it() {
        for (line, from, to) in [("", 0, 3), ("abc", 9, 12), ("äöü", 1, 2), ("   ", 0, 2)] {
            for room in [None, Some(0), Some(1), Some(2), Some(3)] {
                of(line, Some(Marked { from, to: Some(to) }), room);
                of(line, Some(Marked { from, to: None }), room);
            }
        }
    }
}
