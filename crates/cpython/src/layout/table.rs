//! The version table: one row for each minor version of CPython, its numbers and its shapes.
//!
//! A new version is a row here and a file beside it. Nothing else in this program asks for a version's number.

use super::numbers::Numbers;
use super::suspended::{
    GENERATORS_ELEVEN, GENERATORS_FIFTEEN, GENERATORS_FOURTEEN, GENERATORS_OLDEST, GENERATORS_TEN,
    GENERATORS_THIRTEEN,
};
use super::{
    ChainKind, DictKeys, Gil, InstanceDicts, Integers, Lines, Locks, Position, References, Reprs,
    Shape,
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
    locks: Locks::Byte,
    generators: GENERATORS_OLDEST,
    reprs: Reprs {
        unicode: 90,
        exception_comma: true,
        bytearray_quotes: true,
        own_names: false,
        delta_words: false,
        ordered_as_dict: false,
    },
    entry_owner: None,
    inherits_ids: true,
};

// 3.7.4 made the GIL's state longer at its end (`FORCE_SWITCHING`, Include/internal/gil.h), behind the words that are
// read here: one row serves all its patch levels.
const SEVEN: Shape = Shape {
    gil: Gil::Runtime,
    reprs: Reprs {
        unicode: 110,
        exception_comma: false,
        own_names: true,
        delta_words: true,
        ..OLDEST.reprs
    },
    ..OLDEST
};

const EIGHT: Shape = Shape { reprs: Reprs { unicode: 121, ..SEVEN.reprs }, ..SEVEN };

const NINE: Shape = Shape { reprs: Reprs { unicode: 130, ..EIGHT.reprs }, ..EIGHT };

const TEN: Shape =
    Shape { position: Position::Words, lines: Lines::Ranges, generators: GENERATORS_TEN, ..NINE };

const ELEVEN: Shape = Shape {
    chain: ChainKind::CFrame,
    position: Position::Pointer,
    lines: Lines::Locations,
    dict_keys: DictKeys::Logarithm,
    generators: GENERATORS_ELEVEN,
    instance_dicts: InstanceDicts::ValuesBefore,
    reprs: Reprs { unicode: 140, ..TEN.reprs },
    ..TEN
};

const TWELVE: Shape = Shape {
    gil: Gil::Interpreter,
    instance_dicts: InstanceDicts::TaggedWord,
    integers: Integers::Tag,
    reprs: Reprs { unicode: 150, ordered_as_dict: true, ..ELEVEN.reprs },
    // `FRAME_OWNED_BY_CSTACK`, and from 3.14 `FRAME_OWNED_BY_INTERPRETER` (Include/internal/pycore_frame.h,
    // pycore_interpframe_structs.h).
    entry_owner: Some(3),
    ..ELEVEN
};

const THIRTEEN: Shape = Shape {
    chain: ChainKind::Current,
    instance_dicts: InstanceDicts::Inline,
    generators: GENERATORS_THIRTEEN,
    inherits_ids: false,
    reprs: Reprs { unicode: 151, ..TWELVE.reprs },
    ..TWELVE
};

const FOURTEEN: Shape = Shape {
    references: References::Tagged,
    locks: Locks::Mutex,
    generators: GENERATORS_FOURTEEN,
    reprs: Reprs { unicode: 160, ..THIRTEEN.reprs },
    ..THIRTEEN
};

const FIFTEEN: Shape = Shape {
    generators: GENERATORS_FIFTEEN,
    reprs: Reprs { unicode: 170, bytearray_quotes: false, ..FOURTEEN.reprs },
    ..FOURTEEN
};

const ROWS: &[Row] = &[
    Row { minor: 6, numbers: include_str!("rows/cpython-3.6.txt"), shape: OLDEST },
    Row { minor: 7, numbers: include_str!("rows/cpython-3.7.txt"), shape: SEVEN },
    Row { minor: 8, numbers: include_str!("rows/cpython-3.8.txt"), shape: EIGHT },
    Row { minor: 9, numbers: include_str!("rows/cpython-3.9.txt"), shape: NINE },
    Row { minor: 10, numbers: include_str!("rows/cpython-3.10.txt"), shape: TEN },
    Row { minor: 11, numbers: include_str!("rows/cpython-3.11.txt"), shape: ELEVEN },
    Row { minor: 12, numbers: include_str!("rows/cpython-3.12.txt"), shape: TWELVE },
    Row { minor: 13, numbers: include_str!("rows/cpython-3.13.txt"), shape: THIRTEEN },
    Row { minor: 14, numbers: include_str!("rows/cpython-3.14.txt"), shape: FOURTEEN },
    Row { minor: 15, numbers: include_str!("rows/cpython-3.15.txt"), shape: FIFTEEN },
];

/// Where the first patch level of a version has other numbers than the last one: what is different. Of the others, the
/// structures that move (`struct _ts`, `struct _is`, frames, code, `PyDictObject`, `struct _typeobject`, strings, ints; of
/// 3.9.5, 3.10.0, 3.12.0, 3.13.0 and 3.15.0 the GIL's, too) were compared with their rows for 3.6.6, 3.7.0, 3.8.0, 3.9.5,
/// 3.10.0, 3.11.0, 3.12.0, 3.13.0 and 3.15.0: 56 to 75 numbers of each, and all are the same.
const EARLIER: &[(u8, &str)] = &[(14, include_str!("rows/cpython-3.14.0.txt"))];

/// The numbers of a version's first patch level, where they are others than those of its row.
pub(crate) fn earlier(version: Version) -> Option<Numbers> {
    let (_, text) = EARLIER.iter().find(|(minor, _)| *minor == version.minor)?;
    let (mut numbers, _) = row(version)?;
    for (name, value) in Numbers::parse(text).all() {
        numbers.replace(name, value);
    }
    Some(numbers)
}

/// The row of a version; `None` for one that this build does not know.
pub(crate) fn row(version: Version) -> Option<(Numbers, Shape)> {
    let row = ROWS.iter().find(|row| version.major == 3 && row.minor == version.minor)?;
    Some((Numbers::parse(row.numbers), row.shape))
}

/// All versions that have a row, without their patch levels.
pub fn versions() -> impl Iterator<Item = Version> {
    ROWS.iter().map(|row| Version::new(3, row.minor, 0))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use spyhole_proc::Address;
    use spyhole_proc::memory::{ReadMemory, Unreadable};

    use super::super::{Layout, Mismatch};
    use super::*;

    const MODULES: &str = "interpreter.modules";

    /// What a process of 3.13 or later publishes.
    struct Publishing(HashMap<u64, u64>);

    impl ReadMemory for Publishing {
        fn read(&self, at: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
            for (index, word) in buffer.chunks_mut(8).enumerate() {
                let known = self.0.get(&(at.0 + index as u64 * 8)).copied().unwrap_or(1 << 40);
                word.copy_from_slice(&known.to_le_bytes()[..word.len()]);
            }
            Ok(())
        }
    }

    fn publishing(version: Version, numbers: &Numbers) -> Publishing {
        const RUNTIME: u64 = 0x1000;
        let hex = u64::from(version.major) << 24
            | u64::from(version.minor) << 16
            | u64::from(version.micro) << 8;
        let mut words: HashMap<u64, u64> = numbers
            .published()
            .filter_map(|(name, place)| Some((RUNTIME + place, numbers.find(name)?)))
            .collect();
        words.insert(RUNTIME, u64::from_le_bytes(*b"xdebugpy"));
        words.insert(RUNTIME + 8, hex);
        Publishing(words)
    }

    #[test]
    fn a_process_tells_which_row_is_its_own() {
        let runtime = Some(Address(0x1000));
        for version in versions().filter(|version| version.minor >= 13) {
            let (last, _) = row(version).unwrap();
            let memory = publishing(version, &last);
            let (layout, mismatches) = Layout::of_process(&memory, version, runtime).unwrap();
            assert_eq!(
                (mismatches, layout.interpreter.modules),
                (vec![], last.find(MODULES).unwrap())
            );
        }
        let version = Version::new(3, 14, 0);
        let first = earlier(version).unwrap();
        let memory = publishing(version, &first);
        let (layout, mismatches) = Layout::of_process(&memory, version, runtime).unwrap();
        assert_eq!((mismatches, layout.interpreter.modules), (vec![], 7664));
        assert_eq!(layout.suspended.task_lists.unwrap().of_interpreter, 10848);
        // One that fits neither is believed, and it is said.
        let (mut other, _) = row(version).unwrap();
        other.replace(MODULES, 7696);
        let memory = publishing(version, &other);
        let (layout, mismatches) = Layout::of_process(&memory, version, runtime).unwrap();
        let said = Mismatch { name: MODULES, table: 7688, process: 7696 };
        assert_eq!((mismatches, layout.interpreter.modules), (vec![said], 7696));
    }
}
