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

/// At most `most` characters of the string at `at`, which must be known to be one.
pub fn read(
    memory: &dyn ReadMemory,
    layout: &Layout,
    at: Address,
    most: usize,
) -> Result<Text, Unreadable> {
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
    let bytes = memory.bytes(data, taken * width)?;
    let character = |number: u32| char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
    let text = match width {
        1 => bytes.iter().map(|b| char::from(*b)).collect(),
        2 => bytes
            .chunks_exact(2)
            .map(|c| character(u16::from_le_bytes([c[0], c[1]]).into()))
            .collect(),
        _ => bytes
            .chunks_exact(4)
            .map(|c| character(u32::from_le_bytes([c[0], c[1], c[2], c[3]])))
            .collect(),
    };
    Ok(Text { text, length })
}
