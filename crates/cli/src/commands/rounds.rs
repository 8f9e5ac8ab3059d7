//! What `--watch` does in every command: the same again after each period, until something ends it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use spyhole_session::Cancel;

use super::Outcome;
use crate::failure::Failure;

/// How often a wait between two rounds looks whether it should end.
const TICK: Duration = Duration::from_millis(20);

/// Begins a round every `period` until one of them gives an exit code, or the user ends it, which is no failure.
pub(super) fn every(
    period: Duration,
    cancel: &Cancel,
    mut round: impl FnMut() -> Result<ControlFlow<u8>, Failure>,
) -> Outcome {
    while !cancel.is_raised() {
        let next = Instant::now() + period;
        if let ControlFlow::Break(code) = round()? {
            return Ok(code);
        }
        while Instant::now() < next && !cancel.is_raised() {
            std::thread::sleep(TICK.min(next.saturating_duration_since(Instant::now())));
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn rounds_end_by_themselves_or_by_the_user() {
        let cancel = Cancel::default();
        let mut count = 0;
        let code = every(Duration::ZERO, &cancel, || {
            count += 1;
            Ok(if count == 3 { ControlFlow::Break(5) } else { ControlFlow::Continue(()) })
        });
        assert_eq!((code, count), (Ok(5), 3));
        let failed = every(Duration::ZERO, &cancel, || Err(Failure::new(Kind::Quiet, "closed")));
        assert_eq!(failed, Err(Failure::new(Kind::Quiet, "closed")));
        let code = every(Duration::from_secs(3600), &cancel, || {
            cancel.raise();
            Ok(ControlFlow::Continue(()))
        });
        assert_eq!(code, Ok(0));
    }
}
