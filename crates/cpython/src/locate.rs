//! Finding the runtime in a process: the mapped file that holds CPython, and the C library beside it.
//!
//! It goes by symbols, never by the command line: a program that has libpython linked in is found, a shell that talks
//! about python is not. Names only decide what is looked at first. Where nothing is exported, the file's own table of
//! symbols and its sections tell (the section `.PyRuntime` is there from 3.10 on), and at last what lies in its data.

use spyhole_proc::Address;
use spyhole_proc::elf::file::{MappedFiles, Tables};
use spyhole_proc::elf::{Image, Symbol};
use spyhole_proc::maps::{Mapping, Maps};
use spyhole_proc::memory::ReadMemory;
use thiserror::Error;

use crate::published::Published;
use crate::scan;
use crate::version::{self, Version};

/// Why a process is not one that can be worked with.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotPython {
    #[error("no file that it has mapped holds CPython")]
    NoRuntime,
    #[error("it runs PyPy, not CPython")]
    PyPy,
    #[error("it has no C library that is known here (glibc is)")]
    NoLibc,
    #[error("it runs under musl; glibc alone is known here")]
    Musl,
}

/// A symbol that every process of this kind has, every CPython exports, and nobody else defines.
const MARK: &str = "PyGILState_Ensure";

const RUNTIME: &str = "_PyRuntime";

/// The files of a process that hold CPython and libc.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub python: Image,
    /// Name of the file that holds CPython, for people.
    pub file_name: String,
    pub python_mapping: Mapping,
    libc: Image,
    /// libpthread before glibc 2.34.
    libpthread: Option<Image>,
    pub version: Option<Version>,
    /// Where the data was searched, because nothing else told of it: the runtime.
    scanned: Option<Address>,
}

/// CPython in a file that a process has mapped.
struct Python {
    image: Image,
    version: Option<Version>,
    scanned: Option<Address>,
}

/// Which CPython a mapped file holds, if its symbols or sections tell that it does; the version is not known before
/// the interpreter has started.
pub fn holds_python(
    memory: &dyn ReadMemory,
    maps: &Maps,
    mapping: &Mapping,
    files: &dyn MappedFiles,
) -> Option<Option<Version>> {
    let found = exported(memory, maps, mapping).or_else(|| told(memory, maps, mapping, files))?;
    Some(found.version)
}

/// Which CPython runs in a mapped file, if its data tells that one does.
pub fn runs_python(memory: &dyn ReadMemory, maps: &Maps, mapping: &Mapping) -> Option<Version> {
    let mut left = scan::ALL_AT_MOST;
    scanned(memory, maps, mapping, &mut left)?.version
}

/// By a symbol that it exports.
fn exported(memory: &dyn ReadMemory, maps: &Maps, mapping: &Mapping) -> Option<Python> {
    let image = Image::of(memory, maps, mapping).ok()?;
    image.symbol(memory, MARK)?;
    let version =
        version::read(memory, &image).or_else(|| version::from_file_name(mapping.file_name()));
    Some(Python { image, version, scanned: None })
}

/// By its own table of symbols, or its sections.
fn told(
    memory: &dyn ReadMemory,
    maps: &Maps,
    mapping: &Mapping,
    files: &dyn MappedFiles,
) -> Option<Python> {
    let image = Image::of(memory, maps, mapping).ok()?;
    let file = files.open(mapping).ok()?;
    let is_pythons =
        |name: &[u8]| name.starts_with(b"Py") || name.starts_with(b"_Py") || name == b"malloc";
    let mut tables = Tables::read(&file, is_pythons)?;
    tables.name_section(".PyRuntime", RUNTIME);
    if !tables.has_symbol(MARK) && !tables.has_symbol(RUNTIME) {
        return None;
    }
    let image = image.with(tables);
    let published =
        || Some(Published::read(memory, image.symbol(memory, RUNTIME)?.address)?.version);
    let version = published().or_else(|| version::read(memory, &image));
    Some(Python { image, version, scanned: None })
}

/// By what lies in its data.
fn scanned(
    memory: &dyn ReadMemory,
    maps: &Maps,
    mapping: &Mapping,
    left: &mut u64,
) -> Option<Python> {
    let image = Image::of(memory, maps, mapping).ok()?;
    let found = scan::runtime(memory, &image, left)?;
    Some(Python { image, version: Some(found.version), scanned: Some(found.runtime) })
}

/// Finds CPython and libc among what a process has mapped.
pub fn locate(
    memory: &dyn ReadMemory,
    maps: &Maps,
    opener: &dyn MappedFiles,
) -> Result<Runtime, NotPython> {
    let files = files(maps);
    let mut left = scan::ALL_AT_MOST;
    let by = |how: &mut dyn FnMut(&Mapping) -> Option<Python>| {
        files.iter().find_map(|mapping| Some((*mapping, how(mapping)?)))
    };
    let python = by(&mut |mapping| exported(memory, maps, mapping))
        .or_else(|| by(&mut |mapping| told(memory, maps, mapping, opener)))
        .or_else(|| by(&mut |mapping| scanned(memory, maps, mapping, &mut left)));
    let Some((mapping, Python { image: python, version, scanned })) = python else {
        let pypy = files.iter().any(|m| starts_with(m, b"libpypy") || starts_with(m, b"pypy"));
        return Err(if pypy { NotPython::PyPy } else { NotPython::NoRuntime });
    };
    if files.iter().any(|m| starts_with(m, b"ld-musl")) {
        return Err(NotPython::Musl);
    }
    let image = |known: &[&[u8]]| {
        let mapping = files.iter().find(|m| known.iter().any(|k| starts_with(m, k)))?;
        Image::of(memory, maps, mapping).ok()
    };
    let libc = image(&[b"libc.so.", b"libc-2."]).ok_or(NotPython::NoLibc)?;
    Ok(Runtime {
        python,
        file_name: String::from_utf8_lossy(mapping.file_name()).into_owned(),
        python_mapping: mapping.clone(),
        libc,
        libpthread: image(&[b"libpthread.so.", b"libpthread-2."]),
        version,
        scanned,
    })
}

fn starts_with(mapping: &Mapping, name: &[u8]) -> bool {
    mapping.file_name().starts_with(name)
}

/// One mapping of each executable file: those named like Python first, then as they lie.
fn files(maps: &Maps) -> Vec<&Mapping> {
    let mut files: Vec<&Mapping> = Vec::new();
    for mapping in maps.iter().filter(|m| m.executable && m.is_file()) {
        if !files.iter().any(|f| f.same_file(mapping)) {
            files.push(mapping);
        }
    }
    let rank = |m: &&Mapping| {
        let name = m.file_name();
        match () {
            // A launcher comes before the libpython that it uses, and does not have the mark: cheap to ask.
            () if name.starts_with(b"libpython") || name.starts_with(b"python") => 0,
            // Extension modules have the interpreter's name in theirs, too.
            () if name.windows(8).any(|w| w == b".cpython") => 2,
            () if name.windows(6).any(|w| w == b"python") => 1,
            () => 2,
        }
    };
    files.sort_by_key(rank);
    files
}

impl Runtime {
    /// A function or datum of CPython.
    pub fn python_symbol(&self, memory: &dyn ReadMemory, name: &str) -> Option<Symbol> {
        self.python.symbol(memory, name)
    }

    /// Where `_PyRuntime` lies (3.7+).
    pub fn address(&self, memory: &dyn ReadMemory) -> Option<Address> {
        self.python_symbol(memory, RUNTIME).map(|s| s.address).or(self.scanned)
    }

    /// Where 3.6 keeps its first interpreter, if that had to be searched for.
    pub(crate) fn first_interpreter(&self) -> Option<Address> {
        self.scanned
    }

    /// A function of the C library, indirect ones left out.
    pub fn libc_symbol(&self, memory: &dyn ReadMemory, name: &str) -> Option<Symbol> {
        self.libc
            .symbol(memory, name)
            .or_else(|| self.libpthread.as_ref()?.symbol(memory, name))
            .filter(|s| !s.indirect)
    }

    /// Finds a sequence of instructions in libc's code; the neighbourhood of `near` is looked at first.
    pub fn libc_code(&self, memory: &dyn ReadMemory, wanted: &[u8], near: &str) -> Option<Address> {
        const NEIGHBOURHOOD: u64 = 16 << 10;
        let search = |start: Address, length: u64| {
            let bytes = memory.bytes(start, length as usize).ok()?;
            let at = bytes.windows(wanted.len()).position(|w| w == wanted)?;
            Some(start.plus(at as u64))
        };
        let code = self.libc.segments.iter().filter(|s| s.executable);
        for segment in code {
            let end = segment.start.plus(segment.length);
            if let Some(symbol) = self.libc.symbol(memory, near)
                && (segment.start..end).contains(&symbol.address)
            {
                let low =
                    Address(symbol.address.0.saturating_sub(NEIGHBOURHOOD).max(segment.start.0));
                let high = symbol.address.plus(NEIGHBOURHOOD).min(end);
                if let Some(found) = search(low, high.0 - low.0) {
                    return Some(found);
                }
            }
            const LIBC_AT_MOST: u64 = 8 << 20;
            if let Some(found) = search(segment.start, segment.length.min(LIBC_AT_MOST)) {
                return Some(found);
            }
        }
        None
    }

    /// Whether that file also brings the allocator: then being in its code says nothing about malloc's locks.
    pub fn defines_malloc(&self, memory: &dyn ReadMemory) -> bool {
        self.python.symbol(memory, "malloc").is_some()
    }
}
