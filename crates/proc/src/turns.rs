//! Not to lose the processor while a thread of somebody else stands still for us.
//!
//! It knows policies of the scheduler; what is done meanwhile is the caller's.

use std::marker::PhantomData;

use crate::sys;

/// As long as this lives, no usual thread takes the processor from the calling one, if the kernel allows it (root, or
/// `CAP_SYS_NICE`): a turn that another one gets is up to 4 ms, for which a thread that we hold would stand still, too.
#[derive(Debug)]
pub struct Undisturbed {
    changed: bool,
    /// The policy is that of the calling thread.
    _not_send: PhantomData<*const ()>,
}

impl Undisturbed {
    /// For moments only: nothing else runs on this processor meanwhile, and who waits for another thread must let go of
    /// this first.
    pub fn start() -> Self {
        const LOWEST: u32 = 1;
        let changed = sys::is_scheduled_as_usual() && sys::be_scheduled(libc::SCHED_FIFO, LOWEST);
        Self { changed, _not_send: PhantomData }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        if self.changed {
            sys::be_scheduled(libc::SCHED_OTHER, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_the_guard() {
        assert!(sys::is_scheduled_as_usual());
        let guard = Undisturbed::start();
        assert_eq!(sys::is_scheduled_as_usual(), !guard.changed);
        // A second one changes nothing, and takes nothing away.
        drop(Undisturbed::start());
        assert_eq!(sys::is_scheduled_as_usual(), !guard.changed);
        drop(guard);
        assert!(sys::is_scheduled_as_usual());
    }
}
