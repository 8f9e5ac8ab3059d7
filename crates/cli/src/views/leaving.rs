//! The closing line: how a process was left.

use std::collections::BTreeMap;

use spyhole_session::model::{Answer, Left, Running};

use super::escape::flat;
use super::text::Text;
use super::width::cut;
use crate::duration::short;

/// Columns of code that are shown for what still runs.
const CODE_WIDTH: usize = 60;

/// One line, or one for each thing that stays.
pub(crate) fn closing(pid: i32, left: &Left) -> Text {
    let mut text = Text::new();
    let held = short(left.held);
    if left.kept.is_empty() && left.still_running.is_empty() {
        text.line(format!("left {pid} as it was (held {held})"));
        return text;
    }
    if left.kept.is_empty() {
        text.line(format!("left {pid} (held {held}), but code still runs in it"));
    } else {
        let kept: Vec<_> = left.kept.iter().map(|kept| flat(kept)).collect();
        text.line(format!("left {pid} (held {held}); what stays: {}", kept.join("; ")));
    }
    for running in &left.still_running {
        text.line(format!("{pid}: {}", still_running(running)));
    }
    text
}

/// `still running: time.sleep(100) (thread 4177)`
pub(crate) fn still_running(running: &Running) -> String {
    let at = running.at.as_deref().unwrap_or(&running.code);
    let at = cut(&flat(at.trim()), CODE_WIDTH);
    match running.thread {
        // Just given up: where it is was not told yet.
        0 => format!("still running: {at}"),
        thread => format!("still running: {at} (thread {thread})"),
    }
}

/// One closing for each process that was entered, by pid: what is said of several interpreters is said once.
pub(crate) fn closings<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Text {
    let left = |answer: &'a Answer| Some((answer.place.pid, answer.left.as_ref()?));
    of_processes(answers.into_iter().filter_map(left))
}

/// As `closings`, of whatever left them.
pub(crate) fn of_processes<'a>(all: impl IntoIterator<Item = (i32, &'a Left)>) -> Text {
    let mut by_process: BTreeMap<i32, Left> = BTreeMap::new();
    for (pid, left) in all {
        let known = by_process.entry(pid).or_default();
        known.held = known.held.max(left.held);
        for kept in &left.kept {
            if !known.kept.contains(kept) {
                known.kept.push(kept.clone());
            }
        }
        for running in &left.still_running {
            if !known.still_running.contains(running) {
                known.still_running.push(running.clone());
            }
        }
    }
    let mut text = Text::new();
    for (pid, left) in &by_process {
        text.append(closing(*pid, left));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn plain(text: &Text) -> String {
        text.pieces().iter().map(|(_, piece)| piece.as_str()).collect()
    }

    #[test]
    fn says_how_it_was_left() {
        let mut left = Left { held: Duration::from_micros(310), ..Left::default() };
        assert_eq!(plain(&closing(4123, &left)), "left 4123 as it was (held 0.3 ms)\n");
        left.still_running.push(Running {
            job: 1,
            code: "import time; time.sleep(100)".to_owned(),
            at: Some("time.sleep(100)".to_owned()),
            thread: 4177,
        });
        assert_eq!(
            plain(&closing(4123, &left)),
            "left 4123 (held 0.3 ms), but code still runs in it\n4123: still running: time.sleep(100) (thread 4177)\n"
        );
        left.still_running.clear();
        left.kept.push("the GIL was created".to_owned());
        assert_eq!(
            plain(&closing(4123, &left)),
            "left 4123 (held 0.3 ms); what stays: the GIL was created\n"
        );
    }
}
