//! The frames of one stack: function, file and line, and below them the line itself.
//!
//! The lines of the innermost frame and of the program's own files are shown, as they say what is done and for what; those
//! of the standard library and of installed packages in between are shown with `all`.

use spyhole_session::model::{SourceLine, StackFrame, ThreadStack};

use super::{Style, counted, excerpt};
use crate::views::escape::flat;
use crate::views::text::{Ink, Text};
use crate::views::width::{columns, cut};

/// Columns that a function's name gets before the file follows.
const FUNCTION_AT_MOST: usize = 32;
/// Columns before a line of source.
const SOURCE_INDENT: usize = 6;

pub(super) fn frames(text: &mut Text, thread: &ThreadStack, style: Style) {
    let stack = Stack { frames: &thread.frames, cut: thread.cut };
    of_stack(text, stack, style);
}

/// The frames of a thread, a task or a greenlet.
#[derive(Clone, Copy)]
pub(super) struct Stack<'a> {
    pub(super) frames: &'a [StackFrame],
    /// There are more.
    pub(super) cut: bool,
}

pub(super) fn of_stack(text: &mut Text, stack: Stack<'_>, style: Style) {
    let names: Vec<String> = stack.frames.iter().map(function).collect();
    let most = style.width.map_or(FUNCTION_AT_MOST, |width| FUNCTION_AT_MOST.min(width / 2));
    let widest = names.iter().map(|name| columns(name)).max().unwrap_or(0).min(most);
    let mut repeated = 0;
    for (index, (frame, name)) in stack.frames.iter().zip(&names).enumerate() {
        // A deep recursion is told in a line.
        if !style.all && index > 0 && stack.frames[index - 1] == *frame {
            repeated += 1;
            continue;
        }
        repetition(text, std::mem::take(&mut repeated));
        let name = cut(name, most);
        let gap = " ".repeat(widest.saturating_sub(columns(&name)));
        text.plain("    ").plain(name);
        if let Some(file) = &frame.file {
            let line = frame.line.map_or_else(|| "?".to_owned(), |line| line.to_string());
            let used = 4 + widest + 2 + 1 + line.len();
            let flat = flat(file);
            let shown = match style.width {
                Some(width) => end_of(&flat, width.saturating_sub(used)),
                None => flat.into_owned(),
            };
            text.plain(format!("{gap}  ")).ink(Ink::Faint, format!("{shown}:")).plain(line);
            text.plain("\n");
            if style.all || index == 0 || !is_library(file) {
                source(text, frame, style);
            }
        } else {
            text.plain("\n");
        }
        for local in &frame.locals {
            let line = format!("        {} = {}", flat(&local.name), flat(&local.repr));
            text.line(style.width.map_or_else(|| line.clone(), |width| cut(&line, width)));
        }
        if frame.locals_cut {
            text.line("        ... and more");
        }
    }
    repetition(text, repeated);
    if stack.frames.is_empty() {
        text.line("    no Python frames");
    }
    if stack.cut {
        text.line("    ... and more");
    }
}

fn function(frame: &StackFrame) -> String {
    frame.function.as_deref().map_or_else(|| "<unreadable>".to_owned(), |f| flat(f).into_owned())
}

fn source(text: &mut Text, frame: &StackFrame, style: Style) {
    let room = style.width.map(|width| width.saturating_sub(SOURCE_INDENT));
    let indent = " ".repeat(SOURCE_INDENT);
    match &frame.source {
        SourceLine::Unknown => {}
        SourceLine::Text(line) => {
            let part = excerpt::of(line, excerpt::marked(frame), room);
            if part.line.is_empty() {
                return;
            }
            text.plain(indent.clone()).ink(Ink::Faint, part.line).plain("\n");
            if let Some(marks) = part.marks {
                text.plain(indent).ink(Ink::Mark, marks).plain("\n");
            }
        }
        SourceLine::Changed => {
            text.plain(indent).ink(Ink::Faint, "(source changed since)").plain("\n");
        }
        SourceLine::Missing => {
            text.plain(indent).ink(Ink::Faint, "(no such line in the file)").plain("\n");
        }
    }
}

/// Whether a file belongs to the standard library or to an installed package, by the folders in which these lie.
fn is_library(file: &str) -> bool {
    const FOLDERS: [&str; 4] =
        ["/site-packages/", "/dist-packages/", "/lib/python3", "/lib64/python3"];
    file.starts_with('<') || FOLDERS.iter().any(|folder| file.contains(folder))
}

fn repetition(text: &mut Text, count: usize) {
    if count > 0 {
        let times = counted(count, "more time");
        text.ink(Ink::Faint, format!("    ... the same {times}")).plain("\n");
    }
}

/// The end of a path that fits, as the end tells more than the beginning: whole names, where one fits.
fn end_of(path: &str, width: usize) -> String {
    if columns(path) <= width {
        return path.to_owned();
    }
    let fits = |(at, _): &(usize, &str)| columns(&path[*at..]) < width;
    let begin =
        path.match_indices('/').find(fits).map(|(at, _)| at).or_else(|| {
            path.char_indices().map(|(at, _)| at).find(|at| columns(&path[*at..]) < width)
        });
    begin.map_or_else(|| cut(path, width), |begin| format!("…{}", &path[begin..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_ends() {
        assert_eq!(end_of("/srv/app/views.py", 17), "/srv/app/views.py");
        assert_eq!(end_of("/srv/app/views.py", 16), "…/app/views.py");
        assert_eq!(end_of("/srv/app/views.py", 10), "…/views.py".to_owned());
        assert_eq!(end_of("/srv/app/views.py", 6), "…ws.py");
        assert_eq!(end_of("/srv/日本.py", 8), "…日本.py");
        assert_eq!(end_of("/srv", 0), "");
    }

    #[test]
    fn installed_files_are_told_from_the_programs_own() {
        for (file, library) in [
            ("/usr/lib/python3.11/threading.py", true),
            ("/srv/venv/lib/python3.11/site-packages/django/db.py", true),
            ("/usr/lib/python3/dist-packages/apt.py", true),
            ("<frozen runpy>", true),
            ("/srv/shop/views.py", false),
            ("/home/lib/python.py", false),
            ("app.py", false),
        ] {
            assert_eq!(is_library(file), library, "{file}");
        }
    }
}
