//! The examples of documents: what a document shows, against what was really printed.
//!
//! An example is a line that begins with `$ ` in a block fenced with three backticks and `console`; what follows it is
//! its output. Further words of the fence say what the example needs. Numbers, addresses and runs of blanks are not
//! compared; `...` stands for anything within a line, and alone on a line for any lines.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// One command and what it prints.
#[derive(Debug)]
pub struct Example {
    /// Where it is in the document.
    pub line: usize,
    /// What it needs; empty: what all the others do.
    pub needs: String,
    pub command: String,
    pub output: Vec<String>,
}

/// All of them in a file of the workspace.
pub fn examples(file: &str) -> Vec<Example> {
    let path = crate::place::workspace().join(file);
    let text = std::fs::read_to_string(path).expect("the document is there");
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    let mut fresh = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(needs) = line.strip_prefix("```console") {
            (inside, fresh) = (true, Some(needs.trim()));
        } else if line == "```" {
            inside = false;
        } else if !inside {
        } else if let Some(needs) = fresh.take() {
            // Only the first line of a block is a command: output may show commands, too.
            let command = line.strip_prefix("$ ").expect("a console block begins with a command");
            examples.push(Example {
                line: index + 1,
                needs: needs.to_owned(),
                command: command.to_owned(),
                output: Vec::new(),
            });
        } else {
            examples.last_mut().expect("a command came first").output.push(line.to_owned());
        }
    }
    examples
}

impl Example {
    /// Whether this was printed, as far as examples say it; `plain` takes out what is of this run.
    #[track_caller]
    pub fn is(&self, file: &str, shown: &str, plain: impl Fn(&str) -> String) {
        let normal = |line: &str| normal(&plain(line));
        let lines: Vec<String> = shown.lines().map(normal).collect();
        let expected: Vec<String> = self.output.iter().map(|line| normal(line)).collect();
        assert!(
            matches_all(&expected, &lines),
            "{file}:{}: $ {}\n--- the document\n{}\n--- the program\n{}",
            self.line,
            self.command,
            expected.join("\n"),
            lines.join("\n"),
        );
    }
}

/// A line without what differs from run to run: numbers are `N`, blanks are single.
fn normal(line: &str) -> String {
    let mut normal = String::new();
    let characters: Vec<char> = line.chars().collect();
    let mut index = 0;
    while index < characters.len() {
        let character = characters[index];
        if character.is_ascii_digit() {
            normal.push('N');
            while index < characters.len()
                && (characters[index].is_ascii_hexdigit()
                    || (matches!(characters[index], '.' | ':' | 'x')
                        && characters.get(index + 1).is_some_and(char::is_ascii_hexdigit)))
            {
                index += 1;
            }
        } else if character == ' ' {
            while characters.get(index) == Some(&' ') {
                index += 1;
            }
            normal.push(' ');
        } else {
            normal.push(character);
            index += 1;
        }
    }
    normal.trim_end().to_owned()
}

/// Whether a line looks like what was expected, in which `...` is anything.
fn matches(expected: &str, line: &str) -> bool {
    let mut rest = line;
    let mut pieces = expected.split("...").peekable();
    let mut first = true;
    while let Some(piece) = pieces.next() {
        // Blanks beside `...` are part of it, for it may be empty.
        let piece = if first { piece.trim_end() } else { piece.trim() };
        let last = pieces.peek().is_none();
        if first && last {
            return rest == expected;
        }
        if first {
            let Some(after) = rest.strip_prefix(piece) else { return false };
            rest = after;
        } else if last {
            return rest.trim_end().ends_with(piece);
        } else {
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        first = false;
    }
    true
}

fn matches_all(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any == "..." => {
            (0..=lines.len()).any(|skipped| matches_all(rest, &lines[skipped..]))
        }
        Some((first, rest)) => {
            lines.first().is_some_and(|line| matches(first, line)) && matches_all(rest, &lines[1..])
        }
    }
}

/// What a shell shows, with the program's folder in its path: both streams in the order of their writing.
pub fn shown(command: &str, program: &Path) -> String {
    let folder = program.parent().expect("it lies in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let errors = writer.try_clone().expect("a second end");
    let mut shell = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .expect("sh starts");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("it is text");
    shell.wait().expect("it ends");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(normal("left 4121 as it was (held 0.3 ms)  "), "left N as it was (held N ms)");
        assert_eq!(normal("10:00:00.123Z 4121/0  5"), "NZ N/N N");
        assert_eq!(normal("<x at 0x7f00ab12>"), "<x at N>");
        assert!(
            matches("a ... c", "a b b c") && matches("a ...", "a b") && matches("... c", "b c")
        );
        assert!(
            !matches("a ... c", "a b") && !matches("a", "a b") && matches("{'a': ...}", "{'a': 1}")
        );
        let lines =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(matches_all(&lines(&["a", "...", "c"]), &lines(&["a", "b", "b", "c"])));
        assert!(!matches_all(&lines(&["a", "..."]), &lines(&["b"])));
    }
}
