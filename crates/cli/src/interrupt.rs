//! Ctrl-C, and being asked to end: signals become raises of one `Cancel`.
//!
//! The first Ctrl-C interrupts what runs, the second gives up waiting, the third ends the program where it stands. A
//! target takes no harm from that: whatever a client was doing there undoes itself when its channel closes.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use spyhole_session::Cancel;

use crate::failure::{Failure, Kind};

/// Raises beyond this end the program.
const PATIENCE: u32 = 3;

/// Begins to listen. Signals that ask for the end count as two, so that nothing is waited for.
pub(crate) fn listen() -> Result<Cancel, Failure> {
    raising(|raised, signal| {
        if signal != SIGINT {
            raised.raise();
        }
        if raised.count() >= PATIENCE {
            let _ = crossterm::terminal::disable_raw_mode();
            std::process::exit(i32::from(Kind::Interrupted.exit_code()));
        }
    })
}

/// As `listen` for a long conversation, in which Ctrl-C is an everyday thing and never ends the program; `end` is set
/// when the program is asked to.
pub(crate) fn listen_for_conversation(end: &Arc<AtomicBool>) -> Result<Cancel, Failure> {
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(end)).map_err(cannot_listen)?;
    }
    raising(|_, signal| {
        if signal != SIGINT {
            end_soon();
        }
    })
}

/// Each signal raises the flag, and does then what is told.
fn raising(then: impl Fn(&Cancel, i32) + Send + 'static) -> Result<Cancel, Failure> {
    let cancel = Cancel::default();
    let raised = cancel.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot_listen)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                raised.raise();
                then(&raised, signal);
            }
        })
        .map_err(cannot_listen)?;
    Ok(cancel)
}

/// Ends the program when its terminal goes, of which not everybody is told by a signal: an editor would read the end
/// of its input for ever.
pub(crate) fn end_with_the_terminal() -> Result<(), Failure> {
    std::thread::Builder::new()
        .name("terminal".to_owned())
        .spawn(|| {
            spyhole_proc::sys::wait_hangup(std::io::stdin().as_fd());
            end_soon();
        })
        .map_err(cannot_listen)?;
    Ok(())
}

/// Leaves time for a proper leave, then ends: an editor that waits for a key hears of nothing else. The agent takes
/// the closed channel as the end, too.
fn end_soon() {
    const FAREWELL: Duration = Duration::from_millis(500);
    std::thread::sleep(FAREWELL);
    let _ = crossterm::terminal::disable_raw_mode();
    std::process::exit(i32::from(Kind::Interrupted.exit_code()));
}

fn cannot_listen(error: std::io::Error) -> Failure {
    Failure::new(Kind::Failed, "cannot listen for Ctrl-C").caused_by(&error)
}
