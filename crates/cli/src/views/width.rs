//! Text and the columns it takes.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// The beginning of `text` that fits into `width` columns, with `…` for what was cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut taken = 0;
    let mut kept = String::new();
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if taken + wide + 1 > width {
            break;
        }
        taken += wide;
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// Words with `, ` between them, broken into lines of at most `width` columns where there is a width.
pub(crate) fn list(
    words: &[String],
    first_used: usize,
    indent: &str,
    width: Option<usize>,
) -> String {
    let mut text = String::new();
    let mut used = first_used;
    for (index, word) in words.iter().enumerate() {
        let comma = if index + 1 < words.len() { "," } else { "" };
        let long = columns(word) + comma.len();
        if index > 0 {
            if width.is_some_and(|width| used + 1 + long > width) {
                text.push('\n');
                text.push_str(indent);
                used = columns(indent);
            } else {
                text.push(' ');
                used += 1;
            }
        }
        text.push_str(word);
        text.push_str(comma);
        used += long;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn lists_wrap() {
        let words: Vec<String> = ["4121/0", "4122/0", "4123/0"].map(str::to_owned).to_vec();
        assert_eq!(list(&words, 0, "  ", None), "4121/0, 4122/0, 4123/0");
        assert_eq!(list(&words, 0, "  ", Some(16)), "4121/0, 4122/0,\n  4123/0");
        assert_eq!(list(&[], 0, "", Some(3)), "");
    }
}
