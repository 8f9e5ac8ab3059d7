//! From an instruction to its line, and to its columns where the version knows them.
//!
//! It knows the three forms of line tables, as bytes; it reads no memory.

use crate::layout::Lines;

/// Where an instruction is in its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    pub line: Option<u32>,
    pub end_line: Option<u32>,
    /// Bytes of UTF-8 from the beginning of the line, as in `co_positions()`.
    pub column: Option<u32>,
    pub end_column: Option<u32>,
}

/// The location of the instruction `offset` bytes after the first one. `offset` is negative before the first one.
pub fn locate(form: Lines, table: &[u8], first_line: i32, offset: i64) -> Location {
    match form {
        Lines::Deltas => line_alone(deltas(table, first_line, offset)),
        Lines::Ranges => line_alone(ranges(table, first_line, offset)),
        Lines::Locations => locations(table, first_line, offset),
    }
}

fn number(line: i64) -> Option<u32> {
    u32::try_from(line).ok().filter(|line| *line > 0)
}

fn line_alone(line: Option<u32>) -> Location {
    Location { line, ..Location::default() }
}

/// `PyCode_Addr2Line` of `Objects/codeobject.c`, 3.6 to 3.9.
fn deltas(table: &[u8], first_line: i32, offset: i64) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut at = 0;
    for pair in table.chunks_exact(2) {
        at += i64::from(pair[0]);
        if at > offset {
            break;
        }
        line += i64::from(pair[1] as i8);
    }
    number(line)
}

/// `PyLineTable_NextAddressRange` of `Objects/codeobject.c`, 3.10.
fn ranges(table: &[u8], first_line: i32, offset: i64) -> Option<u32> {
    const NO_LINE: i8 = -128;
    let mut line = i64::from(first_line);
    if offset < 0 {
        return number(line);
    }
    let mut end = 0;
    for pair in table.chunks_exact(2) {
        let delta = pair[1] as i8;
        if delta != NO_LINE {
            line += i64::from(delta);
        }
        end += i64::from(pair[0]);
        if offset < end {
            return if delta == NO_LINE { None } else { number(line) };
        }
    }
    None
}

/// Numbers of a location table: six bits a byte, bit 6 for more.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..60).step_by(6) {
            let byte = self.byte()?;
            value |= u64::from(byte & 63) << shift;
            if byte & 64 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        let size = (value >> 1) as i64;
        Some(if value & 1 == 1 { -size } else { size })
    }
}

/// `Objects/locations.md` and `advance_with_locations` of `Objects/codeobject.c`, 3.11+.
fn locations(table: &[u8], first_line: i32, offset: i64) -> Location {
    let first = i64::from(first_line);
    if offset < 0 {
        return Location { line: number(first), ..Location::default() };
    }
    let mut bytes = Bytes(table.iter());
    let (mut line, mut end) = (first, 0);
    while let Some(head) = bytes.byte() {
        end += i64::from(head & 7) * 2 + 2;
        let Some(location) = entry(head >> 3 & 15, &mut bytes, &mut line) else { break };
        if offset < end {
            return location;
        }
    }
    Location::default()
}

/// One entry; `None` if the table ends within it.
fn entry(code: u8, bytes: &mut Bytes<'_>, line: &mut i64) -> Option<Location> {
    let on = |line: i64, end_line: i64, column: Option<u32>, end_column: Option<u32>| Location {
        line: number(line),
        end_line: number(end_line),
        column,
        end_column,
    };
    // Columns are stored one higher; 0 is none.
    let column = |value: u64| u32::try_from(value).ok()?.checked_sub(1);
    Some(match code {
        15 => Location::default(),
        14 => {
            *line = line.saturating_add(bytes.signed()?);
            let end_line = line.checked_add_unsigned(bytes.unsigned()?)?;
            let (start, end) = (bytes.unsigned()?, bytes.unsigned()?);
            on(*line, end_line, column(start), column(end))
        }
        13 => {
            *line = line.saturating_add(bytes.signed()?);
            on(*line, *line, None, None)
        }
        10..=12 => {
            *line = line.saturating_add(i64::from(code) - 10);
            let (start, end) = (bytes.byte()?, bytes.byte()?);
            on(*line, *line, Some(start.into()), Some(end.into()))
        }
        _ => {
            let second = bytes.byte()?;
            let start = u32::from(code) << 3 | u32::from(second >> 4 & 7);
            on(*line, *line, Some(start), Some(start + u32::from(second & 15)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(form: Lines, table: &[u8], offset: i64) -> Option<u32> {
        locate(form, table, 10, offset).line
    }

    #[test]
    fn deltas_go_back_and_forth() {
        // 0: 10; 6: 13; 20: 11
        let table = [6, 3, 14, 0xfe];
        assert_eq!(line(Lines::Deltas, &table, -1), Some(10));
        assert_eq!(line(Lines::Deltas, &table, 5), Some(10));
        assert_eq!(line(Lines::Deltas, &table, 6), Some(13));
        assert_eq!(line(Lines::Deltas, &table, 400), Some(11));
    }

    #[test]
    fn ranges_may_have_no_line() {
        // 0..4: 11; 4..6: none; 6..10: 12
        let table = [4, 1, 2, 0x80, 4, 1];
        assert_eq!(line(Lines::Ranges, &table, 0), Some(11));
        assert_eq!(line(Lines::Ranges, &table, 4), None);
        assert_eq!(line(Lines::Ranges, &table, 8), Some(12));
        assert_eq!(line(Lines::Ranges, &table, 10), None);
    }

    #[test]
    fn locations_have_columns() {
        // One unit on line 11, columns 4 to 9; two on the same line, short form, 8 to 11; one without.
        let table = [0x80 | 11 << 3, 4, 9, 0x80 | 1 << 3 | 1, 3, 0x80 | 15 << 3];
        let first = locate(Lines::Locations, &table, 10, 0);
        assert_eq!((first.line, first.column, first.end_column), (Some(11), Some(4), Some(9)));
        let second = locate(Lines::Locations, &table, 10, 4);
        assert_eq!((second.line, second.column, second.end_column), (Some(11), Some(8), Some(11)));
        assert_eq!(locate(Lines::Locations, &table, 10, 6), Location::default());
        assert_eq!(locate(Lines::Locations, &table, 10, 8), Location::default());
    }

    #[test]
    fn garbage_ends() {
        for form in [Lines::Deltas, Lines::Ranges, Lines::Locations] {
            for byte in 0..=255 {
                for length in [0, 1, 3, 100] {
                    for offset in [-2, 0, 50, i64::MAX] {
                        locate(form, &vec![byte; length], i32::MAX, offset);
                    }
                }
            }
        }
    }
}
