//! Text that attacks whoever shows it: for command lines and answers that views must escape.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Control characters that no view may pass on: C0 but newline and tab, DEL, C1, and those that
/// turn text around or hide it.
pub const FORBIDDEN: &[char] = &[
    '\u{1b}', '\u{7}', '\u{8}', '\r', '\u{7f}', '\u{9b}', '\u{90}', '\u{9d}', '\u{202e}',
    '\u{2066}', '\u{200b}', '\u{feff}',
];

/// Arguments for a target, one of them not UTF-8.
pub fn arguments() -> Vec<OsString> {
    let every: String = FORBIDDEN.iter().collect();
    vec![
        "\u{1b}[2J\u{1b}]0;title\u{7}".into(),
        every.into(),
        OsString::from_vec(b"\xff\xfe\x9b31m".to_vec()),
        "two\nlines".into(),
        "password=hunter2".into(),
    ]
}

/// The first character of a text that must not reach a terminal.
pub fn first_forbidden(text: &str) -> Option<char> {
    text.chars().find(|char| {
        FORBIDDEN.contains(char) || (char.is_control() && !matches!(char, '\n' | '\t'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_text_is_seen_and_plain_text_is_not() {
        assert_eq!(first_forbidden("a\tb\nc é 日本"), None);
        for char in FORBIDDEN {
            assert_eq!(first_forbidden(&format!("a{char}b")), Some(*char));
        }
        assert_eq!(first_forbidden("\0"), Some('\0'));
    }
}
