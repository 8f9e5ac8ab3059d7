//! Every example of the documents is run, and what it prints has the shape that the document shows.
//!
//! An example is a line that begins with `$ ` in a block fenced with three backticks and `console`; what follows it is
//! its output. 4121 to 4124 and `shop` stand for sample workers. Numbers, addresses and runs of blanks are not compared;
//! `...` stands for anything within a line, and alone on a line for any lines.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::program::{Worker, spyhole, unique};

#[derive(Debug)]
struct Example {
    line: usize,
    command: String,
    output: Vec<String>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    let mut fresh = false;
    for (index, line) in text.lines().enumerate() {
        match line {
            "```console" => (inside, fresh) = (true, true),
            "```" => inside = false,
            _ if !inside => {}
            // Only the first line of a block is a command: output may show commands, too.
            _ if fresh => {
                let command =
                    line.strip_prefix("$ ").expect("a console block begins with a command");
                examples.push(Example {
                    line: index + 1,
                    command: command.to_owned(),
                    output: Vec::new(),
                });
                fresh = false;
            }
            output => {
                examples.last_mut().expect("a command came first").output.push(output.to_owned())
            }
        }
    }
    examples
}

/// The command with real workers in the place of those that the document names.
fn filled(command: &str, name: &str, workers: &[Worker]) -> String {
    let mut filled = command.to_owned();
    for (index, worker) in workers.iter().enumerate() {
        filled = filled.replace(&(4121 + index).to_string(), &worker.pid().to_string());
    }
    let words: Vec<String> = filled
        .split(' ')
        .map(|word| match word {
            "shop" | "'shop" => word.replace("shop", name),
            "shop;" => format!("{name};"),
            other => other.to_owned(),
        })
        .collect();
    words.join(" ")
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

/// What a shell shows: both streams in the order of their writing.
fn shown(command: &str) -> String {
    let program = PathBuf::from(spyhole().get_program());
    let folder = program.parent().expect("it lies in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let errors = writer.try_clone().expect("a second end");
    let mut shell = std::process::Command::new("sh")
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

fn check(file: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(file)).expect("the document is there");
    let examples = examples(&text);
    assert!(!examples.is_empty(), "{file} has examples");
    let name = unique(&format!("sample-{}", file.replace(['/', '.'], "-")));
    let workers: Vec<Worker> = (1..=4).map(|number| Worker::start(&name, number)).collect();
    for example in examples {
        let shown = shown(&filled(&example.command, &name, &workers));
        let plain = |line: &str| normal(&line.replace(&name, "shop"));
        let lines: Vec<String> = shown.lines().map(plain).collect();
        let expected: Vec<String> = example.output.iter().map(|line| plain(line)).collect();
        assert!(
            matches_all(&expected, &lines),
            "{file}:{}: $ {}\n--- the document\n{}\n--- the program\n{}",
            example.line,
            example.command,
            expected.join("\n"),
            lines.join("\n"),
        );
    }
}

#[test]
fn readme() {
    check("README.md");
}

#[test]
fn ps() {
    check("docs/ps.md");
}

#[test]
fn stack() {
    check("docs/stack.md");
}

#[test]
fn get() {
    check("docs/get.md");
}

#[test]
fn doctor() {
    check("docs/doctor.md");
}

#[test]
fn report() {
    check("docs/report.md");
}

#[test]
fn requests() {
    check("docs/requests.md");
}

#[test]
fn eval() {
    check("docs/eval.md");
}

#[test]
fn console() {
    check("docs/console.md");
}

#[test]
fn trace() {
    check("docs/trace.md");
}

#[test]
fn catch() {
    check("docs/catch.md");
}

#[test]
fn postmortem() {
    check("docs/postmortem.md");
}

#[test]
fn demo() {
    check("docs/demo.md");
}

#[test]
fn shapes() {
    assert_eq!(normal("left 4121 as it was (held 0.3 ms)  "), "left N as it was (held N ms)");
    assert_eq!(normal("10:00:00.123Z 4121/0  5"), "NZ N/N N");
    assert_eq!(normal("<x at 0x7f00ab12>"), "<x at N>");
    assert!(matches("a ... c", "a b b c") && matches("a ...", "a b") && matches("... c", "b c"));
    assert!(
        !matches("a ... c", "a b") && !matches("a", "a b") && matches("{'a': ...}", "{'a': 1}")
    );
    let lines = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert!(matches_all(&lines(&["a", "...", "c"]), &lines(&["a", "b", "b", "c"])));
    assert!(!matches_all(&lines(&["a", "..."]), &lines(&["b"])));
}
