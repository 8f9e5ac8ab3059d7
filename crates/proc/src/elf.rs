//! Symbols of an ELF file as it lies in a process's memory.
//!
//! The dynamic symbol table of every mapped file is itself mapped, so it is read from the process and no file has to
//! be found or opened: this serves deleted and unreadable files and other roots alike, and costs the few pages that a
//! look-up touches. `.symtab`, which is not mapped, is read from the file ([`file`]), for programs that export nothing.

pub mod file;

use std::sync::Arc;

use object::LittleEndian;
use object::elf::{
    DT_GNU_HASH, DT_HASH, DT_STRTAB, DT_SYMTAB, Dyn64, FileHeader64, PT_DYNAMIC, PT_GNU_EH_FRAME,
    PT_LOAD, ProgramHeader64, STT_GNU_IFUNC, Sym64,
};
use object::pod::{self, Pod};
use thiserror::Error;

use crate::memory::{ReadMemory, Unreadable};
use crate::{Address, maps::Mapping, maps::Maps};
use file::Tables;

type Le = LittleEndian;
const LE: Le = LittleEndian;

/// Why an image could not be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ElfError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("not a 64-bit x86-64 ELF file")]
    NotElf,
    #[error("the ELF file has no dynamic symbols")]
    NoSymbols,
}

/// A symbol, at its place in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub address: Address,
    pub size: u64,
    /// An indirect function: its value is a resolver, not the function.
    pub indirect: bool,
}

/// A loadable segment, at its place in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub start: Address,
    /// Bytes in memory, those that no file backs included.
    pub length: u64,
    pub executable: bool,
    pub writable: bool,
}

/// One mapped ELF file.
#[derive(Clone, Debug)]
pub struct Image {
    /// What is added to the file's addresses.
    pub bias: u64,
    pub segments: Vec<Segment>,
    /// Where the index of its tables for exceptions lies (`.eh_frame_hdr`).
    pub unwinding: Option<Address>,
    symbols: Address,
    strings: Address,
    gnu_hash: Option<Address>,
    hash: Option<Address>,
    tables: Option<Arc<Tables>>,
}

const HEADERS_AT_MOST: u16 = 128;
const DYNAMIC_AT_MOST: usize = 1024;
const NAME_AT_MOST: usize = 512;
/// Symbols that share a bucket: a few, as linkers make tables.
const CHAIN_AT_MOST: usize = 4096;

fn value<T: Pod + Copy>(memory: &dyn ReadMemory, at: Address) -> Result<T, Unreadable> {
    let bytes = memory.bytes(at, size_of::<T>())?;
    let (value, _) = pod::from_bytes::<T>(&bytes)
        .map_err(|()| Unreadable { address: at, length: size_of::<T>() })?;
    Ok(*value)
}

impl Image {
    /// Reads the image of the file that `mapping` shows; any of its mappings will do.
    pub fn of(memory: &dyn ReadMemory, maps: &Maps, mapping: &Mapping) -> Result<Self, ElfError> {
        let first = maps.of_file(mapping).find(|m| m.offset == 0).ok_or(ElfError::NotElf)?;
        Self::at(memory, first.start)
    }

    /// Reads the image whose ELF header lies at `base`.
    pub fn at(memory: &dyn ReadMemory, base: Address) -> Result<Self, ElfError> {
        let header: FileHeader64<Le> = value(memory, base)?;
        let ident = &header.e_ident;
        let machine = header.e_machine.get(LE);
        if ident.magic != object::elf::ELFMAG
            || ident.class != object::elf::ELFCLASS64
            || machine != object::elf::EM_X86_64
        {
            return Err(ElfError::NotElf);
        }
        let count = header.e_phnum.get(LE).min(HEADERS_AT_MOST);
        let table = base.plus(header.e_phoff.get(LE));
        let mut headers = Vec::with_capacity(count.into());
        for i in 0..count {
            let size = size_of::<ProgramHeader64<Le>>() as u64;
            headers.push(value::<ProgramHeader64<Le>>(memory, table.plus(u64::from(i) * size))?);
        }
        let first = headers
            .iter()
            .find(|h| h.p_type.get(LE) == PT_LOAD && h.p_offset.get(LE) < 4096)
            .ok_or(ElfError::NotElf)?;
        let bias = base.0.wrapping_sub(first.p_vaddr.get(LE) & !0xfff);
        let segments = headers
            .iter()
            .filter(|h| h.p_type.get(LE) == PT_LOAD)
            .map(|h| Segment {
                start: Address(bias).plus(h.p_vaddr.get(LE)),
                length: h.p_memsz.get(LE),
                executable: h.p_flags.get(LE).0 & object::elf::PF_X.0 != 0,
                writable: h.p_flags.get(LE).0 & object::elf::PF_W.0 != 0,
            })
            .collect();
        let mut image = Self {
            bias,
            segments,
            unwinding: headers
                .iter()
                .find(|h| h.p_type.get(LE) == PT_GNU_EH_FRAME)
                .map(|h| Address(bias).plus(h.p_vaddr.get(LE))),
            symbols: Address(0),
            strings: Address(0),
            gnu_hash: None,
            hash: None,
            tables: None,
        };
        // A program that is linked to nothing has no such table.
        if let Some(dynamic) = headers.iter().find(|h| h.p_type.get(LE) == PT_DYNAMIC) {
            image.read_dynamic(memory, Address(bias).plus(dynamic.p_vaddr.get(LE)))?;
        }
        Ok(image)
    }

    fn read_dynamic(&mut self, memory: &dyn ReadMemory, at: Address) -> Result<(), ElfError> {
        for i in 0..DYNAMIC_AT_MOST {
            let size = size_of::<Dyn64<Le>>();
            let entry: Dyn64<Le> = value(memory, at.plus((i * size) as u64))?;
            let pointer = entry.d_val.get(LE);
            // The dynamic linker turns these into addresses, except where the section is read-only.
            let address = Address(if pointer < self.bias {
                pointer.wrapping_add(self.bias)
            } else {
                pointer
            });
            match entry.d_tag.get(LE) {
                object::elf::DT_NULL => break,
                DT_SYMTAB => self.symbols = address,
                DT_STRTAB => self.strings = address,
                DT_GNU_HASH => self.gnu_hash = Some(address),
                DT_HASH => self.hash = Some(address),
                _ => {}
            }
        }
        if self.symbols.is_null() || self.strings.is_null() {
            return Err(ElfError::NoSymbols);
        }
        Ok(())
    }

    /// The same image with what its file tells: a symbol that is not exported is looked for there.
    #[must_use]
    pub fn with(mut self, tables: Tables) -> Self {
        self.tables = Some(Arc::new(tables));
        self
    }

    /// A defined symbol by its name: a dynamic one, or else one of the file's.
    pub fn symbol(&self, memory: &dyn ReadMemory, name: &str) -> Option<Symbol> {
        self.exported(memory, name).or_else(|| {
            let found = self.tables.as_ref()?.symbols.get(name.as_bytes())?;
            Some(Symbol {
                address: Address(self.bias).plus(found.value),
                size: found.size,
                indirect: found.indirect,
            })
        })
    }

    /// The exported function that an address lies in.
    pub fn exported_at(&self, memory: &dyn ReadMemory, at: Address) -> Option<String> {
        const SYMBOLS_AT_MOST: u64 = 1 << 17;
        let size = size_of::<Sym64<Le>>();
        let count = self.count(memory)?.min(SYMBOLS_AT_MOST) as usize;
        let bytes = memory.bytes(self.symbols, count * size).ok()?;
        let (symbols, _) = pod::slice_from_bytes::<Sym64<Le>>(&bytes, count).ok()?;
        let value = at.0.wrapping_sub(self.bias);
        let names =
            symbols.iter().filter(|symbol| file::is_in(symbol, value)).filter_map(|symbol| {
                let name = self.strings.plus(symbol.st_name.get(LE).into());
                // The strings may end before as much was read.
                let bytes =
                    [NAME_AT_MOST, 64, 16].iter().find_map(|n| memory.bytes(name, *n).ok())?;
                let end = bytes.iter().position(|byte| *byte == 0)?;
                Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
            });
        file::plainest(names)
    }

    /// How many dynamic symbols there are: only the tables for looking them up tell.
    fn count(&self, memory: &dyn ReadMemory) -> Option<u64> {
        const BUCKETS_AT_MOST: u64 = 1 << 16;
        let Some(table) = self.gnu_hash else {
            return memory.half(self.hash?.plus(4)).ok().map(u64::from);
        };
        let buckets = u64::from(memory.half(table).ok()?).min(BUCKETS_AT_MOST);
        let first = u64::from(memory.half(table.plus(4)).ok()?);
        let words = u64::from(memory.half(table.plus(8)).ok()?);
        let bucket_table = table.plus(16 + words * 8);
        let bytes = memory.bytes(bucket_table, buckets as usize * 4).ok()?;
        let begins =
            bytes.chunks_exact(4).filter_map(|b| b.try_into().ok().map(u32::from_le_bytes));
        // The symbols of the bucket that begins last are the last ones.
        let last = u64::from(begins.max()?).max(first);
        let chains = bucket_table.plus(buckets * 4);
        let is_end = |index: &u64| {
            memory.half(chains.plus((index - first) * 4)).map_or(true, |c| c & 1 != 0)
        };
        (last..).take(CHAIN_AT_MOST).find(is_end).map(|index| index + 1)
    }

    fn exported(&self, memory: &dyn ReadMemory, name: &str) -> Option<Symbol> {
        if let Some(table) = self.gnu_hash {
            return self.by_gnu_hash(memory, table, name).ok().flatten();
        }
        self.by_hash(memory, self.hash?, name).ok().flatten()
    }

    /// The `DT_HASH` table: the numbers of buckets and chains, then both (System V gABI, chapter 5).
    fn by_hash(
        &self,
        memory: &dyn ReadMemory,
        table: Address,
        name: &str,
    ) -> Result<Option<Symbol>, Unreadable> {
        let buckets = u64::from(memory.half(table)?);
        if buckets == 0 {
            return Ok(None);
        }
        let bucket = u64::from(object::elf::hash(name.as_bytes())) % buckets;
        let chains = table.plus(8 + buckets * 4);
        let mut index = u64::from(memory.half(table.plus(8 + bucket * 4))?);
        for _ in 0..CHAIN_AT_MOST {
            if index == 0 {
                break;
            }
            if let Some(symbol) = self.named(memory, index, name)? {
                return Ok(Some(symbol));
            }
            index = u64::from(memory.half(chains.plus(index * 4))?);
        }
        Ok(None)
    }

    /// The `DT_GNU_HASH` table: header, Bloom filter, buckets, chains (glibc's `elf/dl-lookup.c`).
    fn by_gnu_hash(
        &self,
        memory: &dyn ReadMemory,
        table: Address,
        name: &str,
    ) -> Result<Option<Symbol>, Unreadable> {
        let buckets = u64::from(memory.half(table)?);
        let first = u64::from(memory.half(table.plus(4))?);
        let words = u64::from(memory.half(table.plus(8))?);
        let shift = memory.half(table.plus(12))?;
        if buckets == 0 || words == 0 {
            return Ok(None);
        }
        let hash = object::elf::gnu_hash(name.as_bytes());
        let filter = memory.word(table.plus(16 + (u64::from(hash) / 64 % words) * 8))?;
        let second = hash.checked_shr(shift).unwrap_or(0);
        if filter >> (hash % 64) & filter >> (second % 64) & 1 == 0 {
            return Ok(None);
        }
        let bucket_table = table.plus(16 + words * 8);
        let chains = bucket_table.plus(buckets * 4);
        let bucket = bucket_table.plus(u64::from(hash) % buckets * 4);
        let begin = u64::from(memory.half(bucket)?);
        if begin < first {
            return Ok(None);
        }
        for index in (begin..).take(CHAIN_AT_MOST) {
            let chain = memory.half(chains.plus((index - first) * 4))?;
            if chain | 1 == hash | 1
                && let Some(symbol) = self.named(memory, index, name)?
            {
                return Ok(Some(symbol));
            }
            if chain & 1 != 0 {
                break;
            }
        }
        Ok(None)
    }

    fn named(
        &self,
        memory: &dyn ReadMemory,
        index: u64,
        name: &str,
    ) -> Result<Option<Symbol>, Unreadable> {
        let size = size_of::<Sym64<Le>>() as u64;
        let symbol: Sym64<Le> = value(memory, self.symbols.plus(index * size))?;
        if symbol.st_shndx.get(LE).0 == 0 || symbol.st_value.get(LE) == 0 {
            return Ok(None);
        }
        let length = name.len().min(NAME_AT_MOST);
        let there = memory.bytes(self.strings.plus(symbol.st_name.get(LE).into()), length + 1)?;
        Ok((&there[..length] == name.as_bytes() && there[length] == 0)
            .then(|| self.placed(&symbol)))
    }

    fn placed(&self, symbol: &Sym64<Le>) -> Symbol {
        Symbol {
            address: Address(self.bias).plus(symbol.st_value.get(LE)),
            size: symbol.st_size.get(LE),
            indirect: symbol.st_type() == STT_GNU_IFUNC,
        }
    }
}
