//! A flag that a face raises when its user wants the present work to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Raised from a signal handler or another thread; cheap to clone and to ask.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicU32>);

impl Cancel {
    /// Raises the flag once more; each raise is counted.
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was raised so far.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether it was raised at all.
    pub fn is_raised(&self) -> bool {
        self.count() > 0
    }
}
