//! Strings and bytes with their quotes and escapes.
//!
//! It knows `unicode_repr` (`Objects/unicodeobject.c`) and `PyBytes_Repr` (`Objects/bytesobject.c`). It reads no memory.

use super::output::Output;
use super::printable::is_printable;

/// Double quotes only around what has single quotes and no double ones.
fn quote(has: impl Fn(char) -> bool) -> char {
    if has('\'') && !has('"') { '"' } else { '\'' }
}

/// A string; `whole`: these are all of its characters.
pub(super) fn text(
    out: &mut Output,
    numbers: impl Iterator<Item = u32> + Clone,
    whole: bool,
    unicode: u32,
) {
    let quote = quote(|wanted| numbers.clone().any(|number| number == u32::from(wanted)));
    let shown = |number: u32, out: &mut Output| match char::from_u32(number) {
        Some(c) if c == quote || c == '\\' => out.whole(&format!("\\{c}")),
        Some(c) if is_printable(number, unicode) => out.character(c),
        _ => escape(out, number),
    };
    quoted(out, quote, whole, numbers, shown);
}

/// Bytes, without the `b` in front. `single`: a single quote is escaped whatever stands around it.
pub(super) fn bytes(out: &mut Output, bytes: &[u8], whole: bool, single: bool) {
    let quote = quote(|wanted| bytes.iter().any(|byte| char::from(*byte) == wanted));
    let shown = |number: u32, out: &mut Output| match char::from_u32(number) {
        Some('\'') if single => out.whole("\\'"),
        Some(c) if c == quote || c == '\\' => out.whole(&format!("\\{c}")),
        Some(c @ ' '..='~') => out.character(c),
        _ => escape(out, number),
    };
    quoted(out, quote, whole, bytes.iter().map(|byte| u32::from(*byte)), shown);
}

fn escape(out: &mut Output, number: u32) -> bool {
    match number {
        9 => out.whole("\\t"),
        10 => out.whole("\\n"),
        13 => out.whole("\\r"),
        0..=0xff => out.whole(&format!("\\x{number:02x}")),
        0x100..=0xffff => out.whole(&format!("\\u{number:04x}")),
        _ => out.whole(&format!("\\U{number:08x}")),
    }
}

fn quoted(
    out: &mut Output,
    quote: char,
    whole: bool,
    mut numbers: impl Iterator<Item = u32>,
    shown: impl Fn(u32, &mut Output) -> bool,
) {
    let quote = quote.encode_utf8(&mut [0; 4]).to_owned();
    out.form(&quote);
    let all = numbers.all(|number| shown(number, out));
    out.form(&quote);
    // Behind the quotes, as it is none of the text.
    if !all || !whole {
        out.leave_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(numbers: &[u32], room: usize) -> (String, bool) {
        let mut out = Output::with_room(room);
        text(&mut out, numbers.iter().copied(), true, 170);
        out.finish()
    }

    fn of_chars(characters: &str, room: usize) -> (String, bool) {
        of_text(&characters.chars().map(u32::from).collect::<Vec<_>>(), room)
    }

    fn of_bytes(content: &[u8], single: bool) -> String {
        let mut out = Output::with_room(100);
        bytes(&mut out, content, true, single);
        out.finish().0
    }

    #[test]
    fn quotes_and_escapes() {
        for (given, text) in [
            ("", "''"),
            ("it's", "\"it's\""),
            ("'\"", "'\\'\"'"),
            ("a\\b\t\r\n\u{1b}", "'a\\\\b\\t\\r\\n\\x1b'"),
            ("\u{a0}é€𝄞\u{202e}\u{e0001}", "'\\xa0é€𝄞\\u202e\\U000e0001'"),
        ] {
            assert_eq!(of_chars(given, 100), (text.to_owned(), false));
        }
        assert_eq!(of_text(&[0xdc80, 0x61], 100).0, "'\\udc80a'");
        assert_eq!(of_text(&[0xffff_ffff], 100).0, "'\\Uffffffff'");
        assert_eq!(of_bytes(b"a'\x00\xff\n", false), "\"a'\\x00\\xff\\n\"");
        assert_eq!(of_bytes(b"it's", true), "\"it\\'s\"");
    }

    #[test]
    fn a_cut_stands_behind_the_quotes() {
        assert_eq!(of_chars("abcdefgh", 5), ("'abcd'...".to_owned(), true));
        // An escape is not cut into halves.
        assert_eq!(of_chars("abc\u{1b}d", 6), ("'abc'...".to_owned(), true));
        assert_eq!(of_chars("abc", 5), ("'abc'".to_owned(), false));
    }
}
