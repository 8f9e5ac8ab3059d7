//! How commands end that watch functions in many interpreters.

use spyhole_session::catches::Ended;
use spyhole_session::model::Place;

use crate::failure::{Failure, Kind};
use crate::views::answers;
use crate::views::terminal::Terminal;

/// Tells what failed, and gives the exit code. Interpreters without the module are passed over, unless nobody has it.
pub(super) fn verdict<Answer>(terminal: &Terminal, ended: &[Ended<Answer>], json: bool) -> u8 {
    let (passed_over, asked): (Vec<_>, Vec<_>) = ended.iter().partition(|one| one.is_not_loaded());
    let of =
        |one: &Ended<Answer>| Some(Failure::of_process(one.place.pid, one.outcome.as_ref().err()?));
    if asked.is_empty() {
        let failed = passed_over.first().and_then(|one| of(one)).unwrap_or_else(|| {
            Failure::new(Kind::NoMatch, "no process matches").hint("spyhole ps")
        });
        failed.report(terminal, json);
        return Kind::Failed.exit_code();
    }
    let places: Vec<Place> = passed_over.iter().map(|one| one.place).collect();
    terminal.talk(&answers::not_loaded(&places));
    let failures: Vec<Option<Failure>> = asked.iter().map(|one| of(one)).collect();
    for failed in failures.iter().flatten() {
        failed.report(terminal, json);
    }
    let kinds: Vec<Option<Kind>> =
        failures.iter().map(|failed| failed.as_ref().map(|failed| failed.kind)).collect();
    Kind::of_many(&kinds).map_or(0, Kind::exit_code)
}
