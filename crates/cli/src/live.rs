//! The package's part for a prompt in a live loop, as it is handed to an interpreter: one file in memory, which a short
//! program finds by its number.

use std::io;
use std::os::fd::OwnedFd;

use spyhole_session::live;

/// Reads the file, lets `import` find its modules, and begins.
const BOOT: &str = include_str!("live/boot.py");

/// The file: each module's name and source, with zeros between.
pub(crate) fn carried() -> io::Result<OwnedFd> {
    live::carried()
}

/// The program that an interpreter runs to begin.
pub(crate) fn boot(number: i32) -> String {
    BOOT.replace("NUMBER", &number.to_string())
}
