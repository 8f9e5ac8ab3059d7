//! Ctrl-C, and being asked to end: signals become raises of one `Cancel`.
//!
//! The first Ctrl-C interrupts what runs, the second gives up waiting, the third ends the program where it stands. A
//! target takes no harm from that: whatever a client was doing there undoes itself when its channel closes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use spyhole_session::Cancel;

use crate::failure::{Failure, Kind};

/// Raises beyond this end the program.
const PATIENCE: u32 = 3;

/// Begins to listen. Signals that ask for the end count as two, so that nothing is waited for.
pub(crate) fn listen() -> Result<Cancel, Failure> {
    let cancel = Cancel::default();
    let raised = cancel.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot_listen)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                raised.raise();
                if signal != SIGINT {
                    raised.raise();
                }
                if raised.count() >= PATIENCE {
                    let _ = crossterm::terminal::disable_raw_mode();
                    std::process::exit(i32::from(Kind::Interrupted.exit_code()));
                }
            }
        })
        .map_err(cannot_listen)?;
    Ok(cancel)
}

/// As `listen` for a long conversation, in which Ctrl-C is an everyday thing and never ends the program; `end` is set
/// when the program is asked to.
pub(crate) fn listen_for_conversation(end: &Arc<AtomicBool>) -> Result<Cancel, Failure> {
    let cancel = Cancel::default();
    let raised = cancel.clone();
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(end)).map_err(cannot_listen)?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot_listen)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| raised.raise()))
        .map_err(cannot_listen)?;
    Ok(cancel)
}

fn cannot_listen(error: std::io::Error) -> Failure {
    Failure::new(Kind::Failed, "cannot listen for Ctrl-C").caused_by(&error)
}
