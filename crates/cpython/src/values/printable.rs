//! Which characters `repr` shows as they are.
//!
//! It knows the table that `cargo xtask printable` writes, with the Unicode since which each range is printable.

use std::sync::LazyLock;

struct Range {
    first: u32,
    last: u32,
    since: u32,
}

static TABLE: LazyLock<Vec<Range>> = LazyLock::new(|| {
    let number = |word: Option<&str>, radix| u32::from_str_radix(word?, radix).ok();
    let lines = include_str!("printable.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(Range {
                first: number(words.next(), 16)?,
                last: number(words.next(), 16)?,
                since: number(words.next(), 10)?,
            })
        })
        .collect()
});

/// As `str.isprintable` of a version with this Unicode (times ten); false for what is no character.
pub(super) fn is_printable(number: u32, unicode: u32) -> bool {
    if number < 0x7f {
        return number >= 0x20;
    }
    let after = TABLE.partition_point(|range| range.first <= number);
    let range = after.checked_sub(1).and_then(|index| TABLE.get(index));
    range.is_some_and(|range| number <= range.last && range.since <= unicode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_signs_and_what_came_later() {
        for printable in ['a', 'é', '€', '𝄞', '中'] {
            assert!(is_printable(printable.into(), 90), "{printable}");
        }
        for number in [0, 0x1f, 0x7f, 0x80, 0xa0, 0xad, 0x200b, 0x2028, 0xd800, 0xe000, 0x11_0000] {
            assert!(!is_printable(number, 170), "{number:x}");
        }
        // `BITCOIN SIGN` came with Unicode 10, which 3.7 was the first to have.
        assert!(!is_printable(0x20bf, 90) && is_printable(0x20bf, 110));
        // The table is whole.
        assert!(is_printable(0xe01ef, 90) && TABLE.len() > 1000);
        assert!(TABLE.windows(2).all(|two| two[0].last < two[1].first));
    }
}
