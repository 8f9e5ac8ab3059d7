//! What a process runs, told by the files that it has mapped.
//!
//! It knows how to reach the very file that a process runs: through containers, after it was
//! deleted, and never another one that has its path here. What the file holds is told by the
//! function that it is given.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::elf::file::MappedFiles;
use crate::maps::{Mapping, Maps};
use crate::memory::Live;

/// A file that a process runs, or has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappedFile {
    Executable { pid: i32 },
    Library { pid: i32, mapping: Mapping },
}

impl MappedFile {
    /// Opens it for reading.
    ///
    /// `maps` prints paths as seen from the reader's root, so a path alone may lead to another
    /// file: what was opened is compared with what is mapped.
    pub fn open(&self) -> io::Result<File> {
        match self {
            Self::Executable { pid } => open_regular(Path::new(&format!("/proc/{pid}/exe"))),
            Self::Library { pid, mapping } => open_library(*pid, mapping),
        }
    }

    pub fn pid(&self) -> i32 {
        match self {
            Self::Executable { pid } | Self::Library { pid, .. } => *pid,
        }
    }

    /// The same for all processes that run this file.
    fn identity(&self) -> io::Result<Identity> {
        match self {
            Self::Executable { pid } => {
                let metadata = fs::metadata(format!("/proc/{pid}/exe"))?;
                Ok(Identity { device: split(metadata.dev()), inode: metadata.ino() })
            }
            Self::Library { mapping, .. } => {
                Ok(Identity { device: mapping.device, inode: mapping.inode })
            }
        }
    }
}

impl MappedFiles for Live {
    fn open(&self, mapping: &Mapping) -> io::Result<File> {
        // The program itself can always be reached.
        let executable = MappedFile::Executable { pid: self.pid };
        match executable.open() {
            Ok(file) if is_mapped(&file, mapping)? => Ok(file),
            _ => open_library(self.pid, mapping),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: (u32, u32),
    inode: u64,
}

/// Says what a file is, if it is anything.
type Check<K> = Box<dyn Fn(&MappedFile) -> Option<K> + Send>;

/// Tells of processes what they are, looking at each file once.
///
/// A cached answer belongs to a file by device and inode, which a file system may give to another
/// file later: a recogniser is for one command, not for days.
pub struct Recogniser<K> {
    /// Beginnings of the names of libraries that are worth a look.
    names: &'static [&'static [u8]],
    check: Check<K>,
    known: HashMap<Identity, Option<K>>,
}

impl<K: Clone> Recogniser<K> {
    /// `check` says what a file is, if it is anything. It is asked about the executable, and only
    /// if that is nothing, about mapped files whose names begin with one of `names`: a command
    /// line is never looked at, so a shell that talks about a program is not taken for it.
    pub fn new(
        names: &'static [&'static [u8]],
        check: impl Fn(&MappedFile) -> Option<K> + Send + 'static,
    ) -> Self {
        Self { names, check: Box::new(check), known: HashMap::new() }
    }

    /// What the process is, and the file that tells; `None` if it is nothing, has ended, or may
    /// not be looked at.
    pub fn recognise(&mut self, pid: i32) -> Option<(K, MappedFile)> {
        let executable = MappedFile::Executable { pid };
        if let Some(kind) = self.kind(&executable) {
            return Some((kind, executable));
        }
        let maps = Maps::of(pid).ok()?;
        let mut last: Option<&Mapping> = None;
        for mapping in maps.iter() {
            let named = self.names.iter().any(|name| mapping.file_name().starts_with(name));
            let seen = last.is_some_and(|last| last.same_file(mapping));
            if !named || seen || !mapping.is_file() {
                continue;
            }
            last = Some(mapping);
            let library = MappedFile::Library { pid, mapping: mapping.clone() };
            if let Some(kind) = self.kind(&library) {
                return Some((kind, library));
            }
        }
        None
    }

    fn kind(&mut self, file: &MappedFile) -> Option<K> {
        let identity = file.identity().ok()?;
        if let Some(kind) = self.known.get(&identity) {
            return kind.clone();
        }
        let kind = (self.check)(file);
        self.known.insert(identity, kind.clone());
        kind
    }
}

fn open_library(pid: i32, mapping: &Mapping) -> io::Result<File> {
    let range = format!("{:x}-{:x}", mapping.start.0, mapping.end.0);
    // The kernel's own link leads to the very file, deleted ones too; it is for root.
    if let Ok(file) = open_regular(Path::new(&format!("/proc/{pid}/map_files/{range}"))) {
        return Ok(file);
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(&mapping.path));
    let mut below_root = PathBuf::from(format!("/proc/{pid}/root"));
    below_root.push(path.strip_prefix("/").unwrap_or(path));
    for candidate in [below_root.as_path(), path] {
        if let Ok(file) = open_regular(candidate)
            && is_mapped(&file, mapping)?
        {
            return Ok(file);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the mapped file cannot be reached"))
}

/// Opens a regular file, and nothing that blocks or has an effect by being opened.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

fn is_mapped(file: &File, mapping: &Mapping) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let device = split(metadata.dev());
    // btrfs and overlayfs show one device in `maps` and another, of major number 0, in `stat`.
    let same_device = device == mapping.device || (device.0 == 0 && mapping.device.0 == 0);
    Ok(metadata.ino() == mapping.inode && same_device)
}

/// The device number as `maps` prints it.
fn split(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}
