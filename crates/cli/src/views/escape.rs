//! Makes text from a process harmless for a terminal.
//!
//! It knows which characters command a terminal or hide themselves. It does not know where text came from: everything
//! that is written passes through here.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal must not see this character as it is: C0 but newline and tab, DEL, C1, bidirectional controls,
/// zero-width and other invisible format characters.
pub(crate) fn is_dangerous(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        // Below here lies nearly all text; the rest is looked at only beyond.
        '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{ac}' => false,
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

fn write_escaped(into: &mut String, character: char) {
    let code = character as u32;
    // Writing to a `String` cannot fail.
    let _ = match code {
        0..=0xff => write!(into, "\\x{code:02x}"),
        0x100..=0xffff => write!(into, "\\u{code:04x}"),
        _ => write!(into, "\\U{code:08x}"),
    };
}

/// Whether nothing in a text can be dangerous, told quickly: it is ASCII without control characters but newlines and
/// tabs.
fn is_plain(text: &str) -> bool {
    // No early end within a part, so that the processor takes many bytes at a time.
    const PART: usize = 256;
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) | (*byte == b'\n') | (*byte == b'\t');
    text.as_bytes().chunks(PART).all(|part| part.iter().fold(true, |all, byte| all & plain(byte)))
}

fn replaced(text: &str, must: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&must) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' if must('\n') => safe.push_str("\\n"),
            '\t' if must('\t') => safe.push_str("\\t"),
            other if must(other) => write_escaped(&mut safe, other),
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

/// Dangerous characters as `\x1b`, `\u202e`; newlines and tabs stay.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    replaced(text, is_dangerous)
}

/// As `escape`, and newlines and tabs are shown as `\n`, `\t`: for cells, headings and sentences, in which a process
/// must not be able to begin a line of its own.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    replaced(text, |character| is_dangerous(character) || matches!(character, '\n' | '\t'))
}

/// Newlines and tabs as `\n`, `\t`, and nothing else: for texts that are still to be written, and so escaped.
pub(crate) fn flat(text: &str) -> Cow<'_, str> {
    replaced(text, |character| matches!(character, '\n' | '\t'))
}

/// JSON text with dangerous characters as `\u202e`, which any parser reads back as they were. Serialising leaves
/// them only within strings, where that is allowed.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    if is_plain(json) || !json.contains(is_dangerous) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_dangerous(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_would_command_a_terminal() {
        assert_eq!(escape("a\x1b[2Jb\x07\r\x7f\u{9b}"), "a\\x1b[2Jb\\x07\\x0d\\x7f\\x9b");
        assert_eq!(
            escape("\u{202e}abc\u{200b}\u{feff}\u{2066}"),
            "\\u202eabc\\u200b\\ufeff\\u2066"
        );
        assert_eq!(escape("\u{e0041}"), "\\U000e0041");
    }

    #[test]
    fn leaves_text_alone() {
        let text = "line one\n\tüber 日本語 \\x1b 🐍\n";
        assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn plain_text_has_nothing_dangerous() {
        for character in ('\0'..='\u{fff}').chain(['\u{200b}', '\u{feff}', '\u{e0041}']) {
            for text in [character.to_string(), format!("{}{character}", "x".repeat(300))] {
                assert!(!is_plain(&text) || !is_dangerous(character), "{character:?}");
            }
        }
        assert!(is_plain("line\n\tof text ~") && !is_plain("é") && !is_plain("\r"));
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(one_line("a\nb\tc"), "a\\nb\\tc");
    }

    #[test]
    fn every_control_is_covered() {
        for code in (0..0x20).chain(0x7f..0xa0) {
            let character = char::from_u32(code).unwrap();
            assert_eq!(is_dangerous(character), !matches!(character, '\n' | '\t'), "{code:#x}");
        }
        for code in [
            0x61c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068,
            0x2069,
        ] {
            assert!(is_dangerous(char::from_u32(code).unwrap()), "{code:#x}");
        }
    }

    #[test]
    fn json_reads_back_the_same() {
        let text = "\x1b[2J\u{202e}\u{9b}\u{e0041}\u{7f}";
        let json = serde_json::to_string(text).unwrap();
        let safe = escape_json(&json);
        assert!(safe.chars().all(|character| character == '\n' || !is_dangerous(character)));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }
}
