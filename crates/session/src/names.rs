//! Dotted names in a piece of Python code: what might be a module there.
//!
//! It is a look at the words, not a parse: a word within a string counts, too, and does no harm.

/// All dotted names with all their beginnings: of `a.b.c` these are `a`, `a.b` and `a.b.c`.
pub(crate) fn dotted(code: &str) -> Vec<String> {
    const AT_MOST: usize = 200;
    let mut found: Vec<String> = Vec::new();
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    for word in code.split(|c| !part(c)) {
        let word = word.trim_matches('.');
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let ends = word.match_indices('.').map(|(at, _)| at).chain([word.len()]);
        for end in ends {
            let name = &word[..end];
            if found.len() < AT_MOST && !found.iter().any(|f| f == name) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::dotted;

    #[test]
    fn beginnings_count_and_numbers_do_not() {
        assert_eq!(dotted("a.b.c(1.5) + a.d"), ["a", "a.b", "a.b.c", "a.d"]);
        assert!(dotted("1 + 2").is_empty());
        assert_eq!(dotted("é.x"), ["é", "é.x"]);
    }
}
