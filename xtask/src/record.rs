//! Figures for the documents: on which day and kind of machine, and where in a page they go.
//!
//! It knows no figure. No host name is written down.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;

/// `2030-01-31, 2 cores of Model, Linux 6.1.0`
pub(crate) fn circumstances() -> Result<String> {
    let day = Command::new("date").args(["-u", "+%F"]).output().context("cannot run `date`")?;
    let day = String::from_utf8_lossy(&day.stdout).trim().to_owned();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What follows the number names a build, sometimes a company.
    let kernel = kernel.trim().split(['-', '+']).next().unwrap_or_default().to_owned();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("an unknown processor", |(_, model)| model.trim());
    Ok(format!("{day}, {cores} cores of {model}, Linux {kernel}"))
}

/// The average number of running threads over the last minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// Replaces what stands between the two marks of `name` in a page of `docs/`.
pub(crate) fn write(page: &str, name: &str, text: &str) -> Result<()> {
    let path = workspace::root().join("docs").join(page);
    let old =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = replaced(&old, name, text)
        .with_context(|| format!("{} has no marks for `{name}`", path.display()))?;
    fs::write(&path, new).with_context(|| format!("cannot write {}", path.display()))
}

fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (head, rest) = page.split_once(&begin)?;
    let (_, tail) = rest.split_once(&end)?;
    Some(format!("{head}{begin}{}\n{end}{tail}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        let new = replaced(page, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n");
        assert_eq!(replaced(page, "y", "new"), None);
    }
}
