//! How a process looks from outside: threads, descriptors, mappings, signals, tracer, children.
//!
//! It reads `/proc` and compares nothing. A process that runs may change between two of the
//! reads; only one that is blocked, or otherwise still, has a fingerprint worth comparing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// One reading of a process.
#[derive(Clone, Debug, Default)]
pub struct Fingerprint {
    pub pid: i32,
    /// By native thread id.
    pub threads: BTreeMap<i32, Thread>,
    /// By number.
    pub descriptors: BTreeMap<i32, Descriptor>,
    /// By address.
    pub mappings: Vec<Mapping>,
    pub children: BTreeSet<i32>,
    pub working_folder: String,
    pub umask: String,
    /// For looking at a mapping's content later; `None` where that is not permitted.
    pub(crate) memory: Option<Arc<File>>,
}

/// One thread, from its `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    pub name: String,
    /// `S`, `R`, `t`, ...
    pub state: char,
    /// Pid of the tracer, 0 if none.
    pub tracer: i32,
    pub blocked: u64,
    pub ignored: u64,
    pub caught: u64,
}

/// An open file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Where `/proc/PID/fd/N` points.
    pub link: String,
    /// The open flags, octal.
    pub flags: String,
}

/// One line of `maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// `rw-p`
    pub permissions: String,
    pub offset: u64,
    pub device: String,
    pub inode: u64,
    /// A path, a name in brackets, or empty.
    pub path: String,
}

impl Fingerprint {
    /// Reads the process as it is now.
    pub fn of(pid: i32) -> io::Result<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let mut threads = BTreeMap::new();
        let mut children = BTreeSet::new();
        for tid in numbers(&folder.join("task"))? {
            let task = folder.join("task").join(tid.to_string());
            // A thread that ended since the listing is not there any more.
            let Some(status) = unless_gone(fs::read(task.join("status")))? else { continue };
            threads.insert(tid, parse_thread(&String::from_utf8_lossy(&status)));
            if let Some(list) = unless_gone(fs::read_to_string(task.join("children")))? {
                children.extend(list.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
            }
        }
        let status = String::from_utf8_lossy(&fs::read(folder.join("status"))?).into_owned();
        Ok(Self {
            pid,
            threads,
            descriptors: descriptors(&folder)?,
            mappings: parse_mappings(&String::from_utf8_lossy(&fs::read(folder.join("maps"))?)),
            children,
            working_folder: fs::read_link(folder.join("cwd"))?.to_string_lossy().into_owned(),
            umask: field(&status, "Umask").to_owned(),
            memory: File::open(folder.join("mem")).ok().map(Arc::new),
        })
    }
}

/// The resident memory of a process that is not backed by files, in bytes.
pub fn resident(pid: i32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kibibytes = field(&status, "RssAnon").trim_end_matches("kB").trim();
    kibibytes.parse::<u64>().map(|number| number << 10).map_err(io::Error::other)
}

fn numbers(folder: &Path) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(found)
}

fn unless_gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    const ESRCH: i32 = 3;
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn descriptors(folder: &Path) -> io::Result<BTreeMap<i32, Descriptor>> {
    let mut found = BTreeMap::new();
    for number in numbers(&folder.join("fd"))? {
        let Some(link) = unless_gone(fs::read_link(folder.join(format!("fd/{number}"))))? else {
            continue;
        };
        let info = unless_gone(fs::read_to_string(folder.join(format!("fdinfo/{number}"))))?;
        let flags = info.as_deref().map_or("", |info| field(info, "flags")).to_owned();
        found.insert(number, Descriptor { link: link.to_string_lossy().into_owned(), flags });
    }
    Ok(found)
}

/// The value of `name:` in a `/proc` file of such lines; empty if it is not there.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim)
}

fn parse_thread(status: &str) -> Thread {
    let mask = |name| u64::from_str_radix(field(status, name), 16).unwrap_or_default();
    Thread {
        name: field(status, "Name").to_owned(),
        state: field(status, "State").chars().next().unwrap_or('?'),
        tracer: field(status, "TracerPid").parse().unwrap_or_default(),
        blocked: mask("SigBlk"),
        ignored: mask("SigIgn"),
        caught: mask("SigCgt"),
    }
}

/// Parses `maps`; lines that are none are left out.
pub(crate) fn parse_mappings(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(parse_mapping).collect()
}

fn parse_mapping(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail.trim_start();
        word
    };
    let (start, end) = word().split_once('-')?;
    let (permissions, offset, device, inode) = (word(), word(), word(), word());
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        permissions: permissions.to_owned(),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: device.to_owned(),
        inode: inode.parse().ok()?,
        path: rest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_is_one_path() {
        let line = "7f00-7f10 r-xp 00001000 fe:01 42                         /a b/c (deleted)";
        let mapping = parse_mapping(line).unwrap();
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7f00, 0x7f10, 0x1000));
        assert_eq!((mapping.inode, mapping.path.as_str()), (42, "/a b/c (deleted)"));
        assert_eq!(parse_mapping("7f00-7f10 rw-p 00000000 00:00 0").unwrap().path, "");
    }

    #[test]
    fn our_own_process_has_a_fingerprint() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = Fingerprint::of(pid).unwrap();
        assert!(own.threads.values().all(|thread| thread.tracer == 0));
        assert!(own.mappings.iter().any(|mapping| mapping.path == "[stack]"));
        assert!(own.descriptors.contains_key(&2));
        assert!(resident(pid).unwrap() > 0);
    }
}
