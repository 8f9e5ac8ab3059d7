//! How our ends of the channels come to us.
//!
//! We take them where the kernel allows it (`pidfd_getfd`), and else have them passed.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use spyhole_proc::Address;
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::rendezvous::{NAME_LENGTH, Rendezvous};
use spyhole_proc::sys::SysError;

use crate::error::{AttachError, NotHere};

#[derive(Clone, Debug)]
pub(crate) enum Ends {
    Taken,
    Passed(Arc<Rendezvous>),
}

impl Ends {
    /// What is allowed with this process. `choice`: a number that nobody can guess.
    pub(crate) fn of(process: &Pidfd, choice: u64) -> Result<Self, AttachError> {
        // No process has a descriptor of that number: the answer tells what would be said of one that is there.
        let refused = match process.get(i32::MAX).map_err(|error| error.errno()) {
            Err(errno) => matches!(errno, libc::EPERM | libc::EACCES | libc::ENOSYS),
            Ok(_) => false,
        };
        if !refused {
            return Ok(Self::Taken);
        }
        log::info!("process {}: descriptors may not be taken, it passes them", process.pid);
        let place = Rendezvous::with(process.pid, choice).map_err(|error| {
            log::info!("process {}: no place to pass them: {error}", process.pid);
            AttachError::NotHere(NotHere::NoPidfdGetfd)
        })?;
        Ok(Self::Passed(Arc::new(place)))
    }

    /// Where the stub is to pass them.
    pub(crate) fn name(&self) -> Option<[u8; NAME_LENGTH]> {
        match self {
            Self::Taken => None,
            Self::Passed(place) => Some(place.name),
        }
    }

    /// The main and the control channel of the stub whose page lies at `page`.
    pub(crate) fn receive(
        &self,
        process: &Pidfd,
        numbers: [i32; 2],
        page: Address,
        patience: Duration,
    ) -> Result<[OwnedFd; 2], AttachError> {
        let pid = process.pid;
        let failed = |source: SysError| match source.errno() {
            libc::ENOSYS => AttachError::NotHere(NotHere::NoPidfdGetfd),
            libc::ESRCH => AttachError::Gone { pid },
            _ => AttachError::Sys { pid, source },
        };
        match self {
            Self::Taken => {
                let [main, control] = numbers;
                Ok([process.get(main).map_err(failed)?, process.get(control).map_err(failed)?])
            }
            Self::Passed(place) => match place.receive(patience) {
                Ok((ends, from)) if from == page.0 => Ok(ends),
                _ if process.has_ended() => Err(AttachError::Gone { pid }),
                _ => Err(AttachError::NotHere(NotHere::NoPidfdGetfd)),
            },
        }
    }
}
