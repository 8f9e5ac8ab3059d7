//! Which CPython it is, as the process's own memory tells.

use std::fmt;

use memchr::memmem;
use spyhole_proc::elf::{Image, Segment};
use spyhole_proc::memory::ReadMemory;

use crate::layout;

/// `sys.version_info` without its last two parts where they are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u8,
    pub minor: u8,
    pub micro: u8,
}

impl Version {
    pub const fn new(major: u8, minor: u8, micro: u8) -> Self {
        Self { major, minor, micro }
    }

    /// Whether this build knows it: whether it has a row in the version table.
    pub fn is_supported(self) -> bool {
        layout::versions().any(|known| (known.major, known.minor) == (self.major, self.minor))
    }

    /// From `PY_VERSION_HEX` (`Include/patchlevel.h`).
    pub fn from_hex(hex: u64) -> Self {
        Self { major: (hex >> 24) as u8, minor: (hex >> 16) as u8, micro: (hex >> 8) as u8 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// Reads the version of the runtime that `image` holds.
///
/// 3.11+ exports it as `Py_Version`; before, the text that `Py_GetVersion` made at start lies in the writable data
/// (`Python/getversion.c`: version, a space, and the build in parentheses). An interpreter that has not started yet
/// has no such text.
pub fn read(memory: &dyn ReadMemory, image: &Image) -> Option<Version> {
    if let Some(symbol) = image.symbol(memory, "Py_Version") {
        return memory.word(symbol.address).ok().map(Version::from_hex);
    }
    text(memory, image)
}

/// The version as `Py_GetVersion` wrote it.
pub(crate) fn text(memory: &dyn ReadMemory, image: &Image) -> Option<Version> {
    /// Of all segments together; what CPython has is below one MiB, and a program around it may have more.
    const AT_MOST: u64 = 16 << 20;
    let mut left = AT_MOST;
    image.segments.iter().filter(|s| s.writable).find_map(|s| search(memory, s, &mut left))
}

fn search(memory: &dyn ReadMemory, segment: &Segment, left: &mut u64) -> Option<Version> {
    const BLOCK: u64 = 256 << 10;
    /// As much as the beginning of the text may reach into the next block.
    const OVERLAP: u64 = 32;
    let length = segment.length.min(*left);
    *left -= length;
    let mut at = 0;
    while at < length {
        let part = (length - at).min(BLOCK + OVERLAP);
        // Pages of the segment that were never touched read as zeros; one that cannot be read ends nothing.
        if let Ok(bytes) = memory.bytes(segment.start.plus(at), part as usize)
            && let Some(version) = find_text(&bytes)
        {
            return Some(version);
        }
        at += BLOCK;
    }
    None
}

/// Finds `3.8.18 (default, ` and the like. 2.7 has such a text, too, and is told by its number.
fn find_text(bytes: &[u8]) -> Option<Version> {
    memmem::find_iter(bytes, b"3.")
        .chain(memmem::find_iter(bytes, b"2.7."))
        .filter(|at| *at == 0 || bytes[at - 1] == 0)
        .find_map(|at| parse_text(&bytes[at..]))
}

/// `3.8.18 (`, `3.12.0rc1+ (`: numbers, perhaps a level, a space, a parenthesis.
fn parse_text(text: &[u8]) -> Option<Version> {
    let end = text.iter().take(24).position(|b| *b == b' ')?;
    if text.get(end + 1) != Some(&b'(') {
        return None;
    }
    let mut parts = std::str::from_utf8(&text[..end]).ok()?.splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let last = parts.next()?;
    let digits = last.find(|c: char| !c.is_ascii_digit()).unwrap_or(last.len());
    Some(Version { major, minor, micro: last[..digits].parse().ok()? })
}

/// The file name's word for it, where memory says nothing: `libpython3.8.so.1.0`, `python3.8`.
pub fn from_file_name(name: &[u8]) -> Option<Version> {
    let name = std::str::from_utf8(name).ok()?;
    let (major, rest) = name[name.find("python")? + 6..].split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some(Version { major: major.parse().ok()?, minor: rest[..digits].parse().ok()?, micro: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_found_among_others() {
        let found = find_text(b"\0\x003.1 nothing\0xx3.9.1 (no)\x003.8.18 (default, Jan  1)\0");
        assert_eq!(found, Some(Version::new(3, 8, 18)));
        assert_eq!(find_text(b"\x003.12.0rc1+ (heads"), Some(Version::new(3, 12, 0)));
        assert_eq!(find_text(b"\x002.7.18 (default, "), Some(Version::new(2, 7, 18)));
        assert_eq!(find_text(b"3.14159 and more"), None);
        assert_eq!(find_text(b""), None);
    }

    #[test]
    fn hex_and_names() {
        assert_eq!(Version::from_hex(0x030b_07f0), Version::new(3, 11, 7));
        assert_eq!(from_file_name(b"libpython3.10.so.1.0"), Some(Version::new(3, 10, 0)));
        assert_eq!(from_file_name(b"python2.7"), Some(Version::new(2, 7, 0)));
        assert_eq!(from_file_name(b"bash"), None);
        assert_eq!(from_file_name(b"python"), None);
    }
}
