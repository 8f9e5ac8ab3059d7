//! The text of the lines that frames are in, from the files that the process names.
//!
//! A line is quoted only if the file is what it was when the process began: code in memory does not follow its file. Of
//! encodings (PEP 263) it knows UTF-8 and Latin-1; a line in another one is not quoted, rather than guessed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spyhole_proc::files::{Content, Files, Refused};
use spyhole_proc::image;

use crate::model::{ProcessStacks, SourceLine, StackFrame};

/// How long files may be read for.
const LIMIT: Duration = Duration::from_millis(250);
/// Files that are read of one process.
const FILES_AT_MOST: usize = 1024;
/// Bytes of a line that are kept.
const LINE_AT_MOST: usize = 2048;
/// Bytes of all lines of a process, counted for each frame that shows one.
const LINES_AT_MOST: usize = 16 << 20;
/// Files that a note names.
const NAMED_AT_MOST: usize = 3;

/// The files of a process that is about to be read: taken hold of before, so that what its memory names is looked up
/// as the process that it was then.
pub(crate) struct Sources(Option<Files>);

impl Sources {
    pub(crate) fn of(pid: i32) -> Self {
        Self(Files::of(pid))
    }

    /// Puts the lines into all frames, and what is missing into the notes.
    pub(crate) fn quote(self, process: &mut ProcessStacks) {
        // Frames of one code share its name: by the place of the text most are known without comparing it.
        let mut slots: HashMap<(*const u8, u32), usize> = HashMap::new();
        let mut places: Vec<(usize, u32)> = Vec::new();
        let mut files: Vec<Arc<str>> = Vec::new();
        let mut numbers: HashMap<Arc<str>, usize> = HashMap::new();
        for frame in frames(process) {
            let Some((file, line)) = place(frame) else { continue };
            slots.entry((file.as_ptr(), line)).or_insert_with(|| {
                let number = *numbers.entry(Arc::clone(file)).or_insert_with(|| {
                    files.push(Arc::clone(file));
                    files.len() - 1
                });
                places.push((number, line));
                places.len() - 1
            });
        }
        if files.is_empty() {
            return;
        }
        files.truncate(FILES_AT_MOST);
        let (Some(opened), Ok(begun)) = (self.0, image::begun(process.pid)) else {
            process.notes.push("no source lines: whose files it may read is not known".to_owned());
            return;
        };
        let names = files.iter().map(|file| file.as_bytes().to_vec()).collect();
        let contents = opened.read(names, LIMIT);
        process.notes.extend(notes(&files, &contents, begun));
        let mut wanted: Vec<Vec<u32>> = vec![Vec::new(); files.len()];
        for (number, line) in &places {
            if let Some(lines) = wanted.get_mut(*number) {
                lines.push(*line);
            }
        }
        let known: Vec<HashMap<u32, SourceLine>> = wanted
            .into_iter()
            .zip(&contents)
            .map(|(lines, content)| match content {
                Err(_) => HashMap::new(),
                Ok(content) if content.changed > begun => {
                    lines.into_iter().map(|line| (line, SourceLine::Changed)).collect()
                }
                Ok(content) => quoted(&content.bytes, lines).into_iter().collect(),
            })
            .collect();
        let lines: Vec<SourceLine> = places
            .iter()
            .map(|(number, line)| known.get(*number).and_then(|lines| lines.get(line)))
            .map(|line| line.cloned().unwrap_or_default())
            .collect();
        let mut left = LINES_AT_MOST;
        for frame in frames_mut(process) {
            let Some((file, line)) = place(frame) else { continue };
            let Some(slot) = slots.get(&(file.as_ptr(), line)) else { continue };
            if let SourceLine::Text(text) = &lines[*slot] {
                let Some(rest) = left.checked_sub(text.len()) else { continue };
                left = rest;
            }
            frame.source = lines[*slot].clone();
        }
    }
}

fn frames(process: &ProcessStacks) -> impl Iterator<Item = &StackFrame> {
    process.interpreters.iter().flat_map(|interpreter| {
        let threads = interpreter.threads.iter().flat_map(|thread| &thread.frames);
        let tasks = interpreter.tasks.iter().flat_map(|task| &task.frames);
        threads.chain(tasks).chain(interpreter.greenlets.iter().flat_map(|one| &one.frames))
    })
}

fn frames_mut(process: &mut ProcessStacks) -> impl Iterator<Item = &mut StackFrame> {
    process.interpreters.iter_mut().flat_map(|interpreter| {
        let threads = interpreter.threads.iter_mut().flat_map(|thread| &mut thread.frames);
        let tasks = interpreter.tasks.iter_mut().flat_map(|task| &mut task.frames);
        threads.chain(tasks).chain(interpreter.greenlets.iter_mut().flat_map(|one| &mut one.frames))
    })
}

fn place(frame: &StackFrame) -> Option<(&Arc<str>, u32)> {
    let file = frame.file.as_ref()?;
    let line = frame.line.filter(|line| *line > 0)?;
    // `<string>`, `<frozen importlib._bootstrap>`: code without a file.
    (!file.starts_with('<')).then_some((file, line))
}

/// What should be known of lines that are not quoted.
fn notes(
    files: &[Arc<str>],
    contents: &[Result<Content, Refused>],
    begun: SystemTime,
) -> Vec<String> {
    let mut notes = Vec::new();
    let mut names: Vec<&str> = files
        .iter()
        .zip(contents)
        .filter(|(_, content)| content.as_ref().is_ok_and(|content| content.changed > begun))
        .map(|(file, _)| &**file)
        .collect();
    names.sort_unstable();
    if !names.is_empty() {
        let mut told: Vec<String> =
            names.iter().take(NAMED_AT_MOST).map(|name| format!("`{name}`")).collect();
        if names.len() > NAMED_AT_MOST {
            told.push(format!("{} more", names.len() - NAMED_AT_MOST));
        }
        notes
            .push(format!("files that changed after it began are not quoted: {}", told.join(", ")));
    }
    let refused = |why| contents.iter().any(|content| content.as_ref() == Err(&why));
    if refused(Refused::Unsupported) {
        notes.push("no source lines: `openat2` is missing here, or a filter forbids it".to_owned());
    }
    if refused(Refused::TooSlow) {
        notes.push(format!("source lines are missing: files were not read within {LIMIT:?}"));
    }
    notes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Latin1,
    Other,
}

/// The lines of a file with these numbers, which come in any order.
fn quoted(bytes: &[u8], mut numbers: Vec<u32>) -> Vec<(u32, SourceLine)> {
    numbers.sort_unstable();
    numbers.dedup();
    let (bytes, encoding) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => (rest, Encoding::Utf8),
        None => (bytes, encoding(bytes)),
    };
    let mut lines = lines(bytes);
    let mut passed = 0;
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers {
        let line = lines.nth((number - passed - 1) as usize);
        passed = number;
        let source = match line {
            None => SourceLine::Missing,
            Some(line) => decoded(line, encoding)
                .map_or(SourceLine::Unknown, |text| SourceLine::Text(text.into())),
        };
        found.push((number, source));
    }
    found
}

/// Lines without their ends, as Python's tokenizer has them: `\n`, `\r\n` or `\r`.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let end = end.unwrap_or(rest.len());
        let line = &rest[..end];
        let ends = match &rest[end..] {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        rest = &rest[end + ends..];
        Some(line)
    })
}

/// What the first two lines say (PEP 263; Parser/tokenizer.c `get_coding_spec`).
fn encoding(bytes: &[u8]) -> Encoding {
    for line in lines(bytes).take(2) {
        let text = line.trim_ascii_start();
        let text = text.strip_prefix(b"\x0c").unwrap_or(text);
        if let Some(comment) = text.strip_prefix(b"#") {
            if let Some(name) = declared(comment) {
                return known(&name);
            }
        } else if !text.is_empty() {
            break;
        }
    }
    Encoding::Utf8
}

fn declared(comment: &[u8]) -> Option<String> {
    let mut rest = comment;
    loop {
        let at = rest.windows(6).position(|window| window == b"coding")?;
        rest = &rest[at + 6..];
        let Some(after) = rest.strip_prefix(b":").or_else(|| rest.strip_prefix(b"=")) else {
            continue;
        };
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let name: Vec<u8> = after.trim_ascii_start().iter().take_while(is_part).copied().collect();
        if !name.is_empty() {
            return String::from_utf8(name).ok();
        }
    }
}

/// As the tokenizer's `get_normal_name` has it, with the other usual names of the two.
fn known(name: &str) -> Encoding {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let is = |known: &str| {
        name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    match name.as_str() {
        "utf8" | "ascii" | "us-ascii" => Encoding::Utf8,
        "latin1" | "iso8859-1" | "l1" | "latin" => Encoding::Latin1,
        _ if is("utf-8") => Encoding::Utf8,
        _ if is("latin-1") || is("iso-8859-1") || is("iso-latin-1") => Encoding::Latin1,
        _ => Encoding::Other,
    }
}

fn decoded(line: &[u8], encoding: Encoding) -> Option<String> {
    let mut text = match encoding {
        Encoding::Utf8 => std::str::from_utf8(line).ok()?.to_owned(),
        Encoding::Latin1 => line.iter().map(|byte| char::from(*byte)).collect(),
        Encoding::Other => return None,
    };
    let mut end = text.len().min(LINE_AT_MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], number: u32) -> Option<String> {
        match &quoted(bytes, vec![number])[..] {
            [(_, SourceLine::Text(text))] => Some(text.to_string()),
            [(_, _)] => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_are_counted_as_python_counts_them() {
        let file = b"one\r\ntwo\rthree\n\x0cfour\n\nsix";
        let expected = ["one", "two", "three", "\x0cfour", "", "six"];
        for (index, line) in expected.iter().enumerate() {
            assert_eq!(text(file, index as u32 + 1).as_deref(), Some(*line));
        }
        assert_eq!(quoted(file, vec![7]), [(7, SourceLine::Missing)]);
        assert_eq!(quoted(b"", vec![1]), [(1, SourceLine::Missing)]);
        let two: Vec<u32> = quoted(file, vec![6, 1, 6]).into_iter().map(|(n, _)| n).collect();
        assert_eq!(two, [1, 6]);
    }

    #[test]
    fn encodings() {
        assert_eq!(text("x = 'ü'".as_bytes(), 1).as_deref(), Some("x = 'ü'"));
        assert_eq!(text(b"x = '\xfc'", 1), None);
        for head in ["# -*- coding: latin-1 -*-", "#!/x\n# vim: set fileencoding=ISO_8859-1 :"] {
            let file = [head.as_bytes(), b"\nx = '\xfc'"].concat();
            let last = head.lines().count() as u32 + 1;
            assert_eq!(text(&file, last).as_deref(), Some("x = 'ü'"), "{head}");
        }
        assert_eq!(text(b"# coding: cp1252\nx", 2), None);
        // Only the first two lines declare, and no comment after code does.
        assert_eq!(text(b"\n\n# coding: cp1252\nx", 4).as_deref(), Some("x"));
        assert_eq!(text(b"x = 1\n# coding: cp1252\ny", 3).as_deref(), Some("y"));
        assert_eq!(text("\u{feff}x = 'ü'".as_bytes(), 1).as_deref(), Some("x = 'ü'"));
        assert_eq!(text(b"# coding: utf-8-unix\nx", 2).as_deref(), Some("x"));
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let long = "ü".repeat(LINE_AT_MOST);
        assert_eq!(text(long.as_bytes(), 1).unwrap().len(), LINE_AT_MOST);
        let odd = format!("x{long}");
        assert_eq!(text(odd.as_bytes(), 1).unwrap().len(), LINE_AT_MOST - 1);
    }
}
