//! `/proc/PID/maps`, parsed from bytes: paths need not be UTF-8, and lines may be hostile.

use std::io;
use std::time::Duration;

use crate::{Address, bounded};

/// Far more than all mappings that a kernel allows a process take.
const BYTES_AT_MOST: u64 = 256 << 20;

/// One mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: Address,
    pub end: Address,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    pub offset: u64,
    /// `major:minor` as printed.
    pub device: (u32, u32),
    pub inode: u64,
    /// As the kernel prints it to this reader; empty for anonymous memory.
    pub path: Vec<u8>,
}

impl Mapping {
    pub fn len(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn contains(&self, address: Address) -> bool {
        self.start <= address && address < self.end
    }

    /// Whether it shows a file (deleted ones too), not memory, `[heap]` or a special name.
    pub fn is_file(&self) -> bool {
        self.path.starts_with(b"/") && self.inode != 0
    }

    /// The last part of the path, without ` (deleted)`.
    pub fn file_name(&self) -> &[u8] {
        let path = self.path.strip_suffix(b" (deleted)").unwrap_or(&self.path);
        path.rsplit(|b| *b == b'/').next().unwrap_or(path)
    }

    /// Whether two mappings show the same file.
    pub fn same_file(&self, other: &Self) -> bool {
        self.is_file()
            && self.inode == other.inode
            && self.device == other.device
            && self.path == other.path
    }
}

/// The mappings of a process at one moment, by address.
#[derive(Clone, Debug, Default)]
pub struct Maps(Vec<Mapping>);

impl Maps {
    /// Reads the mappings of a live process.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self::parse(&bounded::read(format!("/proc/{pid}/maps"), BYTES_AT_MOST)?))
    }

    /// As `of`, for a process that is known to have mappings: an empty answer, which a busy process was seen to give
    /// (Linux 6.18, whose fs/proc/task_mmu.c locks the mappings one by one), is asked for again.
    pub fn of_living(pid: i32) -> io::Result<Self> {
        const TRIES: u32 = 10;
        const PAUSE: Duration = Duration::from_micros(200);
        for _ in 1..TRIES {
            let maps = Self::of(pid)?;
            if !maps.is_empty() {
                return Ok(maps);
            }
            std::thread::sleep(PAUSE);
        }
        Self::of(pid)
    }

    /// Parses the file's text; a line that is none is passed over.
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|b| *b == b'\n').filter_map(parse_line).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mapping that holds an address.
    pub fn at(&self, address: Address) -> Option<&Mapping> {
        let after = self.0.partition_point(|m| m.end <= address);
        self.0.get(after).filter(|m| m.contains(address))
    }

    /// All mappings of the same file as `one`.
    pub fn of_file<'a>(&'a self, one: &'a Mapping) -> impl Iterator<Item = &'a Mapping> {
        self.0.iter().filter(move |m| m.same_file(one))
    }

    /// An unused range of `length` bytes, aligned to `align`, within the middle half of the largest gap below the stack:
    /// the kernel fills gaps from their ends, so that nobody else is given this place meanwhile. `choice`, any number,
    /// picks one of many, so that two who look at the same time do not pick the same.
    pub fn quiet_gap(&self, length: u64, align: u64, choice: u64) -> Option<Address> {
        // Above this is kernel space; below the first megabyte the kernel may refuse.
        const LOWEST: u64 = 0x10_0000;
        const HIGHEST: u64 = 0x7fff_ffff_0000;
        let mut best: Option<(u64, u64)> = None;
        let mut from = LOWEST;
        for mapping in &self.0 {
            let to = mapping.start.0.min(HIGHEST);
            if to > from && best.is_none_or(|(a, b)| to - from > b - a) {
                best = Some((from, to));
            }
            from = from.max(mapping.end.0);
        }
        let (low, high) = best?;
        let quarter = (high - low) / 4;
        let places = ((2 * quarter).saturating_sub(length) / align).max(1);
        let place = (low + quarter).div_ceil(align) * align + choice % places * align;
        (place >= low && place.checked_add(length)? <= high).then_some(Address(place))
    }
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    // start-end perms offset major:minor inode path
    let mut fields = line.splitn(6, |b| *b == b' ');
    let mut range = fields.next()?.split(|b| *b == b'-');
    let (start, end) = (hexadecimal(range.next()?)?, hexadecimal(range.next()?)?);
    let permissions = fields.next()?;
    let offset = hexadecimal(fields.next()?)?;
    let mut device = fields.next()?.split(|b| *b == b':');
    let device = (hexadecimal(device.next()?)? as u32, hexadecimal(device.next()?)? as u32);
    let inode = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let path = fields.next().unwrap_or_default();
    let path = &path[path.iter().position(|b| *b != b' ').unwrap_or(path.len())..];
    (start < end && permissions.len() >= 4).then(|| Mapping {
        start: Address(start),
        end: Address(end),
        readable: permissions[0] == b'r',
        writable: permissions[1] == b'w',
        executable: permissions[2] == b'x',
        offset,
        device,
        inode,
        path: path.to_vec(),
    })
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"00400000-00401000 r--p 00000000 fe:00 42                         /usr/bin/py thon3\n\
        00401000-00402000 r-xp 00001000 fe:00 42                         /usr/bin/py thon3\n\
        garbage\n\
        7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n\
        7f0000030000-7f0000031000 r-xp 00000000 fe:00 43                 /lib/\xff.so (deleted)\n\
        7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]\n";

    #[test]
    fn lines_are_parsed_and_garbage_is_passed_over() {
        let maps = Maps::parse(TEXT);
        assert_eq!(maps.iter().count(), 5);
        let first = maps.at(Address(0x400800)).unwrap();
        assert_eq!(first.path, b"/usr/bin/py thon3");
        assert_eq!(first.file_name(), b"py thon3");
        assert_eq!(maps.of_file(first).count(), 2);
        assert!(maps.at(Address(0x402000)).is_none());
        assert!(!maps.at(Address(0x7f00_0000_0010)).unwrap().is_file());
        assert_eq!(maps.at(Address(0x7f00_0003_0000)).unwrap().file_name(), b"\xff.so");
    }

    #[test]
    fn the_gap_is_free_and_aligned() {
        let maps = Maps::parse(TEXT);
        for choice in [0, 1, 12345, u64::MAX] {
            let gap = maps.quiet_gap(0x20_0000, 0x1_0000, choice).unwrap();
            assert_eq!(gap.0 % 0x1_0000, 0);
            assert!(maps.at(gap).is_none() && maps.at(gap.plus(0x20_0000)).is_none());
        }
        assert_ne!(maps.quiet_gap(1, 4096, 1), maps.quiet_gap(1, 4096, 2));
        assert!(Maps::parse(b"").quiet_gap(1, 1, 0).is_none());
    }
}
