//! Parts of the package, as they are handed to an interpreter of our own: one file in memory, which a short program finds
//! by its number.

use std::io;
use std::os::fd::OwnedFd;

use spyhole_session::live;

pub(crate) use spyhole_session::live::{DOORBELL, LIVE, Part};

/// Reads the file, and lets `import` find its modules.
const BOOT: &str = include_str!("live/boot.py");

/// The file: each module's name and source, with zeros between.
pub(crate) fn carried(part: Part) -> io::Result<OwnedFd> {
    live::carried(part)
}

/// What an interpreter runs first.
pub(crate) fn boot(number: i32) -> String {
    BOOT.replace("NUMBER", &number.to_string())
}

/// The program of a prompt in a live loop.
pub(crate) fn prompt(number: i32) -> String {
    boot(number) + "from spyhole import _live\nsys.exit(_live.main(sys.argv[1:]))\n"
}

/// The beginning of a program that can be rung.
pub(crate) fn doorbell(number: i32) -> String {
    boot(number) + "import spyhole\nspyhole.install()\n"
}
