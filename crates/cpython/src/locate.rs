//! Finding the runtime in a process: the mapped file that holds CPython, and the C library beside it.
//!
//! It goes by symbols, never by the command line: a program that has libpython linked in is found, a shell that talks
//! about python is not. Names only decide what is looked at first.

use spyhole_proc::Address;
use spyhole_proc::elf::{Image, Symbol};
use spyhole_proc::maps::{Mapping, Maps};
use spyhole_proc::memory::ReadMemory;
use thiserror::Error;

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
}

/// Finds CPython and libc among what a process has mapped.
pub fn locate(memory: &dyn ReadMemory, maps: &Maps) -> Result<Runtime, NotPython> {
    let files = files(maps);
    let python = files
        .iter()
        .filter_map(|m| {
            let image = Image::of(memory, maps, m).ok()?;
            image.symbol(memory, MARK)?;
            Some((*m, image))
        })
        .next();
    let Some((mapping, python)) = python else {
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
    let version =
        version::read(memory, &python).or_else(|| version::from_file_name(mapping.file_name()));
    Ok(Runtime {
        python,
        file_name: String::from_utf8_lossy(mapping.file_name()).into_owned(),
        python_mapping: mapping.clone(),
        libc,
        libpthread: image(&[b"libpthread.so.", b"libpthread-2."]),
        version,
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
    let named = |m: &&Mapping| {
        let name = m.file_name();
        !name.windows(6).any(|w| w == b"python")
    };
    // A launcher named python comes before the libpython that it uses, and does not have the mark: cheap to ask.
    files.sort_by_key(named);
    files
}

impl Runtime {
    /// A function or datum of CPython.
    pub fn python_symbol(&self, memory: &dyn ReadMemory, name: &str) -> Option<Symbol> {
        self.python.symbol(memory, name)
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
