//! The door `doorbell`: a process that has called `spyhole.install()` is sent a signal, and calls back.
//!
//! No right to trace is used, and nothing is read from the process's memory: it says itself which Python it is. Its
//! agent runs on functions that Python has; there is no stub in it.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use spyhole_cpython::Version;
use spyhole_proc::bell::{self, Bell, RING};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stat::Status;
use spyhole_proc::sys;

use super::Door;
use crate::ends::Ends;
use crate::error::{AttachError, NotHere};
use crate::look::denied;
use crate::{Link, MakeOpening, Options, Situation};

pub(crate) struct Doorbell;

/// How often the bell is rung: a signal that comes just before the main thread blocks is heard when it wakes.
const AGAIN: Duration = Duration::from_millis(60);

/// Whether a process shows the name-plate.
pub(crate) fn is_there(pid: i32) -> bool {
    Status::of(pid).is_ok_and(|status| bell::has_name_plate(&status))
}

fn broken(reason: &dyn ToString) -> AttachError {
    AttachError::NotHere(NotHere::BellBroken { reason: reason.to_string() })
}

impl Door for Doorbell {
    fn name(&self) -> &'static str {
        "doorbell"
    }

    fn open(
        &self,
        process: &Pidfd,
        options: &Options,
        opening: MakeOpening<'_>,
        deadline: Instant,
    ) -> Result<Link, AttachError> {
        let pid = process.pid;
        if !is_there(pid) {
            return Err(AttachError::NotHere(NotHere::NoBell));
        }
        if options.interpreter.address != 0 {
            return Err(AttachError::NotHere(NotHere::MainOnly));
        }
        if !Status::of(pid).is_ok_and(|status| bell::may_ring(&status)) {
            // Another door may be open to us.
            return Err(match options.door {
                Some(_) => denied(pid),
                None => broken(&"only its own user and root may ring"),
            });
        }
        let choice = RandomState::new().hash_one(std::process::id());
        let bell = Bell::hang(pid, choice, options.port).map_err(|error| broken(&error))?;
        let (main, version, switched_off) = ring(process, &bell, options, deadline)?;
        let (control, mark) = connection(&bell, deadline)?;
        if mark[0] != b'C' {
            return Err(broken(&"it answered with something else"));
        }
        if switched_off && !options.override_opt_out {
            return Err(AttachError::OptedOut { pid });
        }
        if !version.is_supported() {
            return Err(AttachError::Unsupported { pid, version });
        }
        let link = Link {
            pid,
            door: "doorbell",
            held: Duration::ZERO,
            thread: 0,
            main,
            control,
            base: None,
            page: None,
            ends: Ends::Taken,
            version,
            others: Vec::new(),
            opened: None,
            footing: None,
        };
        let situation = Situation { version, others: &[] };
        link.send(&opening(situation).message()).map_err(|_| broken(&"it hung up"))?;
        Ok(link)
    }
}

/// Rings until the process calls back.
fn ring(
    process: &Pidfd,
    bell: &Bell,
    options: &Options,
    deadline: Instant,
) -> Result<(OwnedFd, Version, bool), AttachError> {
    loop {
        match bell::send(process, RING) {
            Ok(true) => {}
            Ok(false) => return Err(AttachError::NotHere(NotHere::NoBell)),
            Err(_) if process.has_ended() => return Err(AttachError::Gone { pid: process.pid }),
            Err(error) => return Err(broken(&error)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(main) = bell.accept(left.min(AGAIN)).map_err(|error| broken(&error))? {
            let mark = mark(&main, deadline)?;
            if mark[0] != b'M' {
                return Err(broken(&"it answered with something else"));
            }
            return Ok((main, Version::new(mark[1], mark[2], 0), mark[3] & 1 != 0));
        }
        if left.is_zero() {
            return Err(AttachError::NotHere(NotHere::RangInVain { within: options.patience }));
        }
    }
}

fn connection(bell: &Bell, deadline: Instant) -> Result<(OwnedFd, [u8; 4]), AttachError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let connection = bell.accept(left).map_err(|error| broken(&error))?;
    let connection = connection.ok_or_else(|| broken(&"it called back by half"))?;
    let mark = mark(&connection, deadline)?;
    Ok((connection, mark))
}

/// What the process says first on each channel: which it is, its version, and whether debugging is switched off.
fn mark(connection: &OwnedFd, deadline: Instant) -> Result<[u8; 4], AttachError> {
    let mut mark = [0; 4];
    let mut got = 0;
    while got < mark.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if !sys::wait_readable(connection, Some(left)) {
            return Err(broken(&"it called back and said nothing"));
        }
        match sys::receive(connection, &mut mark[got..]) {
            Ok(0) | Err(_) => return Err(broken(&"it hung up")),
            Ok(n) => got += n,
        }
    }
    Ok(mark)
}
