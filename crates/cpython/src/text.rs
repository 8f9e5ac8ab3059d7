//! Strings, as `Include/cpython/unicodeobject.h` lays them out.
//!
//! It knows compact and other strings of one, two and four bytes a character. What cannot be a character becomes
//! U+FFFD: a lone surrogate, too.

use spyhole_proc::Address;
use spyhole_proc::memory::{ReadMemory, Unreadable};

use crate::layout::Layout;

/// A string, perhaps only its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    /// Characters of the whole.
    pub length: u64,
}

impl Text {
    pub fn is_cut(&self) -> bool {
        (self.text.chars().count() as u64) < self.length
    }
}

/// The characters of a string as they are stored, perhaps only the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    bytes: Vec<u8>,
    width: usize,
    /// Characters of the whole.
    pub length: u64,
}

impl Raw {
    /// The numbers of the characters; lone surrogates and worse may be among them.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.bytes.chunks_exact(self.width).map(|c| match *c {
            [one] => one.into(),
            [low, high] => u16::from_le_bytes([low, high]).into(),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        })
    }
}

/// At most `most` characters of the string at `at`, which must be known to be one.
pub fn raw(
    memory: &dyn ReadMemory,
    layout: &Layout,
    at: Address,
    most: usize,
) -> Result<Raw, Unreadable> {
    let of = &layout.text;
    let length = memory.word(at.plus(of.length))?;
    let state = memory.half(at.plus(of.state))?;
    let width = (state >> 2 & 7) as usize;
    let (compact, ascii) = (state >> 5 & 1 == 1, state >> 6 & 1 == 1);
    let data = match (compact, ascii) {
        (true, true) => at.plus(of.ascii_data),
        (true, false) => at.plus(of.compact_data),
        (false, _) => memory.pointer(at.plus(of.pointer))?,
    };
    let taken = usize::try_from(length).unwrap_or(usize::MAX).min(most);
    if !matches!(width, 1 | 2 | 4) || length > i64::MAX as u64 {
        return Err(Unreadable { address: at, length: 0 });
    }
    Ok(Raw { bytes: memory.bytes(data, taken * width)?, width, length })
}

/// The same as text.
pub fn read(
    memory: &dyn ReadMemory,
    layout: &Layout,
    at: Address,
    most: usize,
) -> Result<Text, Unreadable> {
    let raw = raw(memory, layout, at, most)?;
    let character = |number| char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
    Ok(Text { text: raw.numbers().map(character).collect(), length: raw.length })
}
