//! What came of looking at several processes: those that were seen, and of the others the reasons.

use spyhole_session::model::ProcessStacks;
use spyhole_session::snapshot::Look;

use crate::failure::{Failure, Kind};
use crate::views::terminal::Terminal;

/// Reports each failure at once. Of each process what failed, for the exit code, and those that were seen.
pub(super) fn sorted(
    looks: impl IntoIterator<Item = Look>,
    terminal: &Terminal,
    json: bool,
) -> (Vec<Option<Kind>>, Vec<ProcessStacks>) {
    let mut kinds = Vec::new();
    let mut seen = Vec::new();
    for Look { pid, outcome } in looks {
        match outcome {
            Ok(process) => {
                kinds.push(None);
                seen.push(process);
            }
            Err(error) => {
                let failure = Failure::of_process(pid, &error);
                kinds.push(Some(failure.kind));
                failure.report(terminal, json);
            }
        }
    }
    (kinds, seen)
}
