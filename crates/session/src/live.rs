//! Parts of the package that an interpreter of our own is handed, which need not have it installed.

use std::io;
use std::os::fd::OwnedFd;

pub use spyhole_agent::bundle::{DOORBELL, LIVE, Part};
use spyhole_proc::sys;

/// A file in memory that outlives an `exec`: each module's name and source, with zeros between.
pub fn carried(part: Part) -> io::Result<OwnedFd> {
    let mut content = Vec::new();
    for (name, source) in part {
        if !content.is_empty() {
            content.push(0);
        }
        content.extend(name.as_bytes());
        content.push(0);
        content.extend(source.as_bytes());
    }
    sys::bell::memory_file(&content)
}
