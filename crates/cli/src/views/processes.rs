//! The table of `ps`.

use comfy_table::{Cell, Table, presets};
use spyhole_session::model::{Allowed, InterpreterRow, ProcessRow};

use super::escape::{flat, one_line};
use super::terminal::Terminal;
use super::text::{Ink, Text};
use super::width::{columns, cut};
use crate::duration::short;

/// Below this width only the most telling columns are shown.
const NARROW: usize = 60;
/// Below this one a process takes two lines instead of a row.
const TINY: usize = 36;
/// Blanks between two columns.
const GAP: usize = 2;

/// How a process's words are shown in a row: escaped here already, as their width must be known, unless they are wanted
/// raw.
fn word(text: &str, raw: bool) -> String {
    if raw { flat(text).into_owned() } else { one_line(text).into_owned() }
}

/// What is worth the last column: what the process is, then its command line. Where it has to fit, the folder of the
/// program goes first, then code on the command line: what tells processes apart mostly comes after them.
fn what(row: &ProcessRow, width: Option<usize>, raw: bool) -> String {
    let known = row.kind.iter().chain(&row.groups).chain(&row.loaded);
    let known: Vec<String> = known.map(|one| word(one, raw)).collect();
    let kind = if known.is_empty() { String::new() } else { format!("[{}] ", known.join(", ")) };
    let mut words: Vec<String> = row.cmdline.iter().map(|word| shortened(word, raw)).collect();
    let fits = |words: &[String]| {
        width.is_none_or(|width| columns(&kind) + columns(&words.join(" ")) <= width)
    };
    if !fits(&words)
        && let Some(program) = words.first_mut()
        && program.starts_with('/')
        && let Some((_, name)) = program.rsplit_once('/')
    {
        *program = name.to_owned();
    }
    if !fits(&words)
        && let Some(code) =
            words.iter().position(|word| word == "-c").and_then(|at| words.get_mut(at + 1))
    {
        "…".clone_into(code);
    }
    let all = format!("{kind}{}", words.join(" "));
    width.map_or_else(|| all.clone(), |width| cut(&all, width))
}

/// One word of a command line. A program given to `python -c` would fill the screen: its first line does.
pub(super) fn shortened(text: &str, raw: bool) -> String {
    match text.trim_start().split_once('\n') {
        Some((first, _)) => format!("{}…", word(first.trim_end(), raw)),
        None => word(text, raw),
    }
}

fn allowed(allowed: &Allowed) -> &'static str {
    if allowed.ok { "yes" } else { "no" }
}

pub(crate) fn table(rows: &[ProcessRow], width: Option<usize>, raw: bool) -> Text {
    match width {
        Some(width) if width < TINY => stacked(rows, width, raw),
        _ => rows_of_columns(rows, width, raw),
    }
}

fn rows_of_columns(rows: &[ProcessRow], width: Option<usize>, raw: bool) -> Text {
    let narrow = width.is_some_and(|width| width < NARROW);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let head: &[&str] = if narrow {
        &["PID", "PYTHON", "ASK", "WHAT"]
    } else {
        &["PID", "USER", "PYTHON", "AGE", "THREADS", "LOOK", "ASK", "WHAT"]
    };
    table.set_header(head.iter().copied().map(Cell::new));
    let others: Vec<Vec<String>> = rows.iter().map(|row| cells(row, narrow, raw)).collect();
    let used: usize = (0..head.len() - 1)
        .map(|column| {
            let cells = others.iter().map(|cells| columns(&cells[column]));
            cells.chain([columns(head[column])]).max().unwrap_or(0) + GAP
        })
        .sum();
    for (row, mut cells) in rows.iter().zip(others) {
        cells.push(what(row, width.map(|width| width.saturating_sub(used)), raw));
        table.add_row(cells);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP as u16));
    }
    let mut text = Text::new();
    for (index, line) in table.lines().enumerate() {
        let line = line.trim_end();
        let line = width.map_or_else(|| line.to_owned(), |width| cut(line, width));
        text.ink(if index == 0 { Ink::Head } else { Ink::Plain }, line).plain("\n");
    }
    text
}

/// All cells of a row but the last, which takes the width that is left.
fn cells(row: &ProcessRow, narrow: bool, raw: bool) -> Vec<String> {
    let pid = row.pid.to_string();
    let ask = allowed(&row.ask).to_owned();
    if narrow {
        return vec![pid, python(row, raw), ask];
    }
    vec![
        pid,
        cut(&word(&row.user, raw), 16),
        python(row, raw),
        short(row.age),
        row.threads.to_string(),
        allowed(&row.look).to_owned(),
        ask,
    ]
}

fn stacked(rows: &[ProcessRow], width: usize, raw: bool) -> Text {
    let mut text = Text::new();
    for row in rows {
        let ask = if row.ask.ok { "" } else { " no ask" };
        text.ink(Ink::Strong, row.pid.to_string());
        text.line(cut(
            &format!(" {}{ask}", python(row, raw)),
            width.saturating_sub(row.pid.to_string().len()),
        ));
        text.line(format!("  {}", what(row, Some(width.saturating_sub(2)), raw)));
    }
    text
}

fn python(row: &ProcessRow, raw: bool) -> String {
    let version = row.python.as_deref().unwrap_or("?");
    let version = cut(&word(version, raw), 12);
    if row.implementation == "cpython" {
        version
    } else {
        format!("{version} {}", cut(&word(&row.implementation, raw), 12))
    }
}

/// Everything that is known, a paragraph for each process.
pub(crate) fn details(rows: &[ProcessRow], raw: bool) -> Text {
    let mut text = Text::new();
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            text.plain("\n");
        }
        text.ink(Ink::Strong, row.pid.to_string());
        text.line(format!("  {}", what(row, None, raw)));
        let mut fact = |name: &str, value: &str| {
            text.ink(Ink::Faint, format!("  {name:<13}")).line(word(value, raw));
        };
        fact(
            "python",
            &format!(
                "{} {}",
                row.implementation,
                row.python.as_deref().unwrap_or("(version unknown)")
            ),
        );
        fact("executable", row.executable.as_deref().unwrap_or("(unknown)"));
        fact("user", &row.user);
        if let Some(own) = row.namespace_pid {
            fact("own number", &format!("{own}, in its pid namespace"));
        }
        fact("parent", &row.ppid.to_string());
        fact("age", &short(row.age));
        fact("threads", &row.threads.to_string());
        let interpreters =
            row.interpreters.map_or_else(|| "(not counted)".to_owned(), |count| count.to_string());
        fact("interpreters", &interpreters);
        for one in row.interpreter_list.iter().flatten() {
            fact("", &interpreter(row.pid, one));
        }
        fact("look", &allowance(&row.look));
        fact("ask", &allowance(&row.ask));
    }
    text
}

/// `4123/1  shop.example|/x  (312 modules, django)`
pub(crate) fn interpreter(pid: i32, row: &InterpreterRow) -> String {
    let mut words = format!("{pid}/{}", row.id);
    match row.name.as_deref() {
        None => {}
        Some("") => words.push_str("  (the empty group)"),
        Some(name) => words.push_str(&format!("  {}", flat(name))),
    }
    let packages: String = row.packages.iter().map(|one| format!(", {}", flat(one))).collect();
    words.push_str(&format!("  ({} modules{packages})", row.modules));
    words
}

fn allowance(allowed: &Allowed) -> String {
    let mut words = self::allowed(allowed).to_owned();
    if let Some(door) = &allowed.door {
        words.push_str(&format!(", by the door {door}"));
    }
    if let Some(reason) = &allowed.reason {
        words.push_str(&format!(": {reason}"));
    }
    words
}

/// Why something is not allowed, each reason once with the processes that it holds for; empty if all is allowed.
pub(crate) fn refusals(rows: &[ProcessRow]) -> Text {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        for (level, allowed) in [("look", &row.look), ("ask", &row.ask)] {
            if allowed.ok {
                continue;
            }
            let reason = allowed.reason.as_deref().unwrap_or("the reason is not known");
            let reason = format!("no {level}: {}", flat(reason));
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, pids)) => pids.push(row.pid.to_string()),
                None => reasons.push((reason, vec![row.pid.to_string()])),
            }
        }
    }
    let mut text = Text::new();
    for (reason, pids) in reasons {
        text.line(format!("{reason} ({})", some(&pids)));
    }
    text
}

/// The first few of many.
fn some(words: &[String]) -> String {
    const SHOWN: usize = 5;
    match words.len() {
        0..=SHOWN => words.join(", "),
        many => format!("{} and {} more", words[..SHOWN].join(", "), many - SHOWN),
    }
}

/// A process that may be meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) pid: i32,
    pub(crate) cmdline: &'a [String],
}

/// The processes that a pattern names, one a line, for a question or a refusal.
pub(crate) fn candidates(
    terminal: &Terminal,
    candidates: &[Candidate<'_>],
    numbered: bool,
) -> Text {
    let (width, raw) = (terminal.width(), terminal.is_raw());
    let mut text = Text::new();
    for (index, Candidate { pid, cmdline }) in candidates.iter().enumerate() {
        let words: Vec<String> = cmdline.iter().map(|word| shortened(word, raw)).collect();
        let number = if numbered { format!("{:>3}) ", index + 1) } else { "  ".to_owned() };
        let line = format!("{number}{pid}  {}", words.join(" "));
        text.line(width.map_or_else(|| line.clone(), |width| cut(&line, width)));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(pid: i32, kind: Option<&str>, ask: bool) -> ProcessRow {
        ProcessRow {
            pid,
            namespace_pid: None,
            ppid: 1,
            user: "www-data".to_owned(),
            python: Some("3.11.7".to_owned()),
            implementation: "cpython".to_owned(),
            executable: Some("/usr/bin/python3.11".to_owned()),
            cmdline: ["python3", "/srv/shop/manage.py", "runserver", "0.0.0.0:8000", "--noreload"]
                .map(str::to_owned)
                .to_vec(),
            age: Duration::from_secs(41),
            threads: 3,
            interpreters: None,
            interpreter_list: None,
            kind: kind.map(str::to_owned),
            loaded: Vec::new(),
            groups: Vec::new(),
            look: Allowed { ok: true, door: None, reason: None },
            ask: Allowed {
                ok: ask,
                door: ask.then(|| "thread".to_owned()),
                reason: (!ask).then(|| "owned by `root`".to_owned()),
            },
        }
    }

    fn plain(text: &Text) -> String {
        text.pieces().iter().map(|(_, piece)| piece.as_str()).collect()
    }

    #[test]
    fn fits_into_its_width() {
        let rows = [row(4123, Some("gunicorn worker"), true), row(77, None, false)];
        for width in [20, 36, 59, 60, 80, 120] {
            let text = plain(&table(&rows, Some(width), false));
            for line in text.lines() {
                assert!(super::super::width::columns(line) <= width, "{width}: {line:?}");
            }
            assert!(text.contains("4123") && text.contains("77"), "{width}: {text}");
        }
    }

    #[test]
    fn eighty_columns() {
        insta::assert_snapshot!(
            plain(&table(&[row(4123, Some("gunicorn worker"), true), row(77, None, false)], Some(80), false)),
            @"
        PID   USER      PYTHON  AGE   THREADS  LOOK  ASK  WHAT
        4123  www-data  3.11.7  41 s  3        yes   yes  [gunicorn worker] python3 /sr…
        77    www-data  3.11.7  41 s  3        yes   no   python3 /srv/shop/manage.py r…
        "
        );
    }

    #[test]
    fn twenty_columns() {
        insta::assert_snapshot!(
            plain(&table(&[row(4123, Some("gunicorn worker"), true), row(77, None, false)], Some(20), false)),
            @"
        4123 3.11.7
          [gunicorn worker]…
        77 3.11.7 no ask
          python3 /srv/shop…
        "
        );
    }

    #[test]
    fn reasons_are_folded() {
        let rows = [row(1, None, false), row(2, None, false), row(3, None, true)];
        assert_eq!(plain(&refusals(&rows)), "no ask: owned by `root` (1, 2)\n");
    }

    #[test]
    fn a_script_on_the_command_line_is_cut() {
        let mut with_script = row(1, None, true);
        with_script.cmdline = ["python3", "-c", "import time\nwhile True:\n  pass", "x\ty"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(what(&with_script, None, false), "python3 -c import time… x\\ty");
    }
}
