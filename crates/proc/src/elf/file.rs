//! What an ELF file tells beyond what is mapped of it: its whole table of symbols, and where its sections lie.
//!
//! It reads no more of the file than these tables, and trusts no number in it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use object::LittleEndian;
use object::elf::{FileHeader64, SHT_SYMTAB, STT_FUNC, STT_GNU_IFUNC, SectionHeader64, Sym64};
use object::pod;

use crate::maps::Mapping;

type Le = LittleEndian;
const LE: Le = LittleEndian;

/// More sections than linkers make.
const SECTIONS_AT_MOST: usize = 4096;
/// Of a table of symbols, or of their names.
const TABLE_AT_MOST: u64 = 64 << 20;
const SYMBOLS_KEPT_AT_MOST: usize = 1 << 17;
const NAME_AT_MOST: usize = 512;

/// Gives the very files that are mapped.
pub trait MappedFiles {
    /// Opens the file that a mapping shows, or tells that it cannot be reached.
    fn open(&self, mapping: &Mapping) -> io::Result<File>;
}

/// A symbol as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileSymbol {
    pub(super) value: u64,
    pub(super) size: u64,
    pub(super) indirect: bool,
}

/// Symbols and sections of a file, at the addresses that it was linked for.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub(super) symbols: HashMap<Vec<u8>, FileSymbol>,
    /// By name: where a section begins.
    sections: HashMap<Vec<u8>, u64>,
}

impl Tables {
    /// Reads the file's tables; of the symbols those whose names are `wanted`.
    pub fn read(file: &File, wanted: impl Fn(&[u8]) -> bool) -> Option<Self> {
        let (sections, name_section) = sections(file)?;
        let names = sections.get(name_section).and_then(|section| content(file, section))?;
        let mut tables = Self::default();
        for section in sections.iter().filter(|section| section.sh_addr.get(LE) != 0) {
            if let Some(name) = name(&names, section.sh_name.get(LE)) {
                tables.sections.insert(name.to_vec(), section.sh_addr.get(LE));
            }
        }
        if let Some((bytes, names)) = symbols(file, &sections) {
            tables.add_symbols(&bytes, &names, wanted);
        }
        Some(tables)
    }

    fn add_symbols(&mut self, bytes: &[u8], names: &[u8], wanted: impl Fn(&[u8]) -> bool) {
        let count = bytes.len() / size_of::<Sym64<Le>>();
        let Ok((symbols, _)) = pod::slice_from_bytes::<Sym64<Le>>(bytes, count) else { return };
        let defined =
            symbols.iter().filter(|s| s.st_value.get(LE) != 0 && s.st_shndx.get(LE).0 != 0);
        for symbol in defined {
            let Some(name) = name(names, symbol.st_name.get(LE)) else { continue };
            if self.symbols.len() < SYMBOLS_KEPT_AT_MOST && wanted(name) {
                let found = FileSymbol {
                    value: symbol.st_value.get(LE),
                    size: symbol.st_size.get(LE),
                    indirect: symbol.st_type() == STT_GNU_IFUNC,
                };
                self.symbols.insert(name.to_vec(), found);
            }
        }
    }

    pub fn has_symbol(&self, name: &str) -> bool {
        self.symbols.contains_key(name.as_bytes())
    }

    /// Where a section begins, as the file was linked.
    pub fn section(&self, name: &str) -> Option<u64> {
        self.sections.get(name.as_bytes()).copied()
    }

    /// Gives a section's beginning a name, unless that name has a symbol.
    pub fn name_section(&mut self, section: &str, symbol: &str) {
        if let Some(value) = self.section(section) {
            let found = FileSymbol { value, size: 0, indirect: false };
            self.symbols.entry(symbol.as_bytes().to_vec()).or_insert(found);
        }
    }
}

/// The function of a file's whole table of symbols that lies at an address, as the file was linked.
pub fn function_at(file: &File, value: u64) -> Option<String> {
    let (bytes, names) = symbols(file, &sections(file)?.0)?;
    let count = bytes.len() / size_of::<Sym64<Le>>();
    let (symbols, _) = pod::slice_from_bytes::<Sym64<Le>>(&bytes, count).ok()?;
    let found = symbols.iter().filter(|symbol| is_in(symbol, value));
    let found = found.filter_map(|symbol| name(&names, symbol.st_name.get(LE)));
    plainest(found.map(|name| String::from_utf8_lossy(name).into_owned()))
}

/// Whether a symbol is a function that has code at this address.
pub(super) fn is_in(symbol: &Sym64<Le>, value: u64) -> bool {
    let (start, size) = (symbol.st_value.get(LE), symbol.st_size.get(LE));
    let is_code = symbol.st_type() == STT_FUNC || symbol.st_type() == STT_GNU_IFUNC;
    is_code && symbol.st_shndx.get(LE).0 != 0 && value >= start && value - start < size
}

/// Of several names for one function the one that people use: `read`, not `__read`.
pub(super) fn plainest(names: impl Iterator<Item = String>) -> Option<String> {
    names.filter(|name| !name.is_empty()).min_by_key(|name| {
        let underscores = name.len() - name.trim_start_matches('_').len();
        (underscores, name.len(), name.clone())
    })
}

/// The sections of a file, and which of them has their names.
fn sections(file: &File) -> Option<(Vec<SectionHeader64<Le>>, usize)> {
    let header = part(file, 0, size_of::<FileHeader64<Le>>() as u64)?;
    let (header, _) = pod::from_bytes::<FileHeader64<Le>>(&header).ok()?;
    if header.e_ident.magic != object::elf::ELFMAG {
        return None;
    }
    let size = size_of::<SectionHeader64<Le>>();
    let count = usize::from(header.e_shnum.get(LE)).min(SECTIONS_AT_MOST);
    let bytes = part(file, header.e_shoff.get(LE), (count * size) as u64)?;
    let (sections, _) = pod::slice_from_bytes::<SectionHeader64<Le>>(&bytes, count).ok()?;
    Some((sections.to_vec(), header.e_shstrndx.get(LE).0.into()))
}

fn content(file: &File, section: &SectionHeader64<Le>) -> Option<Vec<u8>> {
    part(file, section.sh_offset.get(LE), section.sh_size.get(LE))
}

/// The table of symbols, and their names.
fn symbols(file: &File, sections: &[SectionHeader64<Le>]) -> Option<(Vec<u8>, Vec<u8>)> {
    let table = sections.iter().find(|s| s.sh_type.get(LE) == SHT_SYMTAB)?;
    let names = content(file, sections.get(table.sh_link.get(LE) as usize)?)?;
    Some((content(file, table)?, names))
}

/// `length` bytes of a file; `None` if it is shorter, or more than is read.
fn part(file: &File, at: u64, length: u64) -> Option<Vec<u8>> {
    let end = at.checked_add(length)?;
    // A length that is made up costs no memory: the file itself must have as much.
    if length > TABLE_AT_MOST || end > file.metadata().ok()?.len() {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn name(names: &[u8], at: u32) -> Option<&[u8]> {
    let rest = names.get(at as usize..)?;
    let end = rest.iter().take(NAME_AT_MOST).position(|byte| *byte == 0)?;
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn own() -> File {
        File::open("/proc/self/exe").unwrap()
    }

    #[test]
    fn own_symbols_and_sections_are_found() {
        let tables = Tables::read(&own(), |name| name == b"main").unwrap();
        assert!(tables.has_symbol("main") && !tables.has_symbol("_start"));
        assert_eq!(tables.symbols.len(), 1);
        assert!(tables.section(".text").is_some() && tables.section(".symtab").is_none());
    }

    #[test]
    fn a_section_takes_the_place_of_a_symbol_that_is_not_there() {
        let mut tables = Tables::read(&own(), |name| name == b"main").unwrap();
        let main = tables.symbols[b"main".as_slice()];
        tables.name_section(".text", "main");
        tables.name_section(".text", "begin");
        tables.name_section(".nothing", "nothing");
        assert_eq!(tables.symbols[b"main".as_slice()], main);
        assert_eq!(Some(tables.symbols[b"begin".as_slice()].value), tables.section(".text"));
        assert!(!tables.has_symbol("nothing"));
    }

    /// Every number of the tables is damaged in turn; nothing is read for it beyond the file.
    #[test]
    fn damaged_files_are_read_within_bounds() {
        let whole = std::fs::read("/bin/true").unwrap();
        let path = std::env::temp_dir().join(format!("spyhole-elf-{}", std::process::id()));
        let headers = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
        let places = (0..64).step_by(4).chain((headers..whole.len()).step_by(8).take(200));
        for place in places {
            for value in [0_u32, 1, 0x7fff_ffff, u32::MAX] {
                let mut damaged = whole.clone();
                let Some(word) = damaged.get_mut(place..place + 4) else { continue };
                word.copy_from_slice(&value.to_le_bytes());
                let mut file = File::create(&path).unwrap();
                file.write_all(&damaged).unwrap();
                Tables::read(&File::open(&path).unwrap(), |_| true);
            }
        }
        std::fs::write(&path, &whole[..100]).unwrap();
        assert!(Tables::read(&File::open(&path).unwrap(), |_| true).is_none());
        std::fs::remove_file(&path).unwrap();
    }
}
