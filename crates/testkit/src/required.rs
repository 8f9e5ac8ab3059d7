//! Which Python versions the tests must have covered: `tests/pythons.txt`.

use std::fs;

use crate::{interpreters, place};

/// The minor versions that the list names, in its order.
pub fn required() -> Vec<String> {
    let path = place::workspace().join("tests/pythons.txt");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text)
}

/// The required versions that this machine does not have.
pub fn missing() -> Vec<String> {
    let here: Vec<String> = interpreters::interpreters().iter().map(|one| one.minor()).collect();
    required().into_iter().filter(|minor| !here.contains(minor)).collect()
}

/// Whether a missing interpreter is a failure and not a skipped test: on the machine that decides.
pub fn enforced() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

fn parse(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_name_no_version() {
        assert_eq!(parse("# oldest first\n3.6\n\n3.7 # legacy\n"), ["3.6", "3.7"]);
    }

    #[test]
    fn the_required_versions_are_here() {
        for one in interpreters::interpreters() {
            println!("covered: {} {} ({:?})", one.full_version(), one.path.display(), one.origin);
        }
        let missing = missing();
        println!("missing: {missing:?}");
        assert!(missing.is_empty() || !enforced(), "no interpreter for {missing:?}");
    }
}
