//! The version table: one row for each minor version of CPython, its numbers and its shapes.
//!
//! A new version is a row here and a file beside it. Nothing else in this program asks for a version's number.

use super::numbers::Numbers;
use super::{
    ChainKind, DictKeys, Gil, InstanceDicts, Integers, Lines, Position, References, Shape,
};
use crate::Version;

struct Row {
    minor: u8,
    numbers: &'static str,
    shape: Shape,
}

/// What many versions have alike.
const OLDEST: Shape = Shape {
    chain: ChainKind::Objects,
    position: Position::Bytes,
    lines: Lines::Deltas,
    gil: Gil::CurrentThread,
    references: References::Plain,
    dict_keys: DictKeys::Sized,
    instance_dicts: InstanceDicts::TypeOffset,
    integers: Integers::SignedSize,
    entry_owner: None,
    inherits_ids: true,
};

const SEVEN: Shape = Shape { gil: Gil::Runtime, ..OLDEST };

const TEN: Shape = Shape { position: Position::Words, lines: Lines::Ranges, ..SEVEN };

const ELEVEN: Shape = Shape {
    chain: ChainKind::CFrame,
    position: Position::Pointer,
    lines: Lines::Locations,
    dict_keys: DictKeys::Logarithm,
    instance_dicts: InstanceDicts::ValuesBefore,
    ..SEVEN
};

const TWELVE: Shape = Shape {
    gil: Gil::Interpreter,
    instance_dicts: InstanceDicts::TaggedWord,
    integers: Integers::Tag,
    // `FRAME_OWNED_BY_CSTACK`, and from 3.14 `FRAME_OWNED_BY_INTERPRETER` (Include/internal/pycore_frame.h,
    // pycore_interpframe_structs.h).
    entry_owner: Some(3),
    ..ELEVEN
};

const THIRTEEN: Shape = Shape {
    chain: ChainKind::Current,
    instance_dicts: InstanceDicts::Inline,
    inherits_ids: false,
    ..TWELVE
};

const FOURTEEN: Shape = Shape { references: References::Tagged, ..THIRTEEN };

const ROWS: &[Row] = &[
    Row { minor: 6, numbers: include_str!("rows/cpython-3.6.txt"), shape: OLDEST },
    Row { minor: 7, numbers: include_str!("rows/cpython-3.7.txt"), shape: SEVEN },
    Row { minor: 8, numbers: include_str!("rows/cpython-3.8.txt"), shape: SEVEN },
    Row { minor: 9, numbers: include_str!("rows/cpython-3.9.txt"), shape: SEVEN },
    Row { minor: 10, numbers: include_str!("rows/cpython-3.10.txt"), shape: TEN },
    Row { minor: 11, numbers: include_str!("rows/cpython-3.11.txt"), shape: ELEVEN },
    Row { minor: 12, numbers: include_str!("rows/cpython-3.12.txt"), shape: TWELVE },
    Row { minor: 13, numbers: include_str!("rows/cpython-3.13.txt"), shape: THIRTEEN },
    Row { minor: 14, numbers: include_str!("rows/cpython-3.14.txt"), shape: FOURTEEN },
    Row { minor: 15, numbers: include_str!("rows/cpython-3.15.txt"), shape: FOURTEEN },
];

/// The row of a version; `None` for one that this build does not know.
pub(crate) fn row(version: Version) -> Option<(Numbers, Shape)> {
    let row = ROWS.iter().find(|row| version.major == 3 && row.minor == version.minor)?;
    Some((Numbers::parse(row.numbers), row.shape))
}

/// All versions that have a row, without their patch levels.
pub fn versions() -> impl Iterator<Item = Version> {
    ROWS.iter().map(|row| Version::new(3, row.minor, 0))
}
