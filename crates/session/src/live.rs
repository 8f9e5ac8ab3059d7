//! What a fresh interpreter needs to give a prompt inside a live loop.

use std::io;
use std::os::fd::OwnedFd;

use spyhole_agent::bundle;
use spyhole_proc::sys;

/// A file in memory that outlives an `exec`: each module's name and source, with zeros between.
pub fn carried() -> io::Result<OwnedFd> {
    let mut content = Vec::new();
    for (name, source) in bundle::LIVE {
        if !content.is_empty() {
            content.push(0);
        }
        content.extend(name.as_bytes());
        content.push(0);
        content.extend(source.as_bytes());
    }
    sys::bell::memory_file(&content)
}
