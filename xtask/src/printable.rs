//! `cargo xtask printable [--check]`: which characters `repr` shows as they are, from each interpreter.
//!
//! `str.isprintable` follows the Unicode that a version was built with (`Objects/unicodectype.c`). A character that is
//! printable once stays so, which this checks: so a line for each range tells since which Unicode.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use spyhole_testkit::interpreters;

use crate::workspace;

const TABLE: &str = "crates/cpython/src/values/printable.txt";

/// Prints the version of Unicode, then the first and the last of each range.
const PROGRAM: &str = "
import unicodedata
print(unicodedata.unidata_version)
start = None
for number in range(0x110001):
    shown = number < 0x110000 and chr(number).isprintable()
    if shown and start is None:
        start = number
    if not shown and start is not None:
        print(start, number - 1)
        start = None
";

pub(crate) fn run(words: &[String]) -> Result<()> {
    let check = match words {
        [] => false,
        [word] if word == "--check" => true,
        _ => bail!("there is the option `--check` and no other"),
    };
    let mut all: BTreeMap<u32, Vec<bool>> = BTreeMap::new();
    for interpreter in interpreters::interpreters() {
        let output = interpreter.command().args(["-I", "-S", "-c", PROGRAM]).output()?;
        ensure!(output.status.success(), "{} failed", interpreter.full_version());
        let said = String::from_utf8(output.stdout)?;
        let (unicode, ranges) = said.split_once('\n').context("it says nothing")?;
        let mut numbers = unicode.split('.').map(str::parse::<u32>);
        let mut number = || numbers.next().context("not a version of Unicode");
        let unicode = number()?? * 10 + number()??;
        let mut shown = vec![false; 0x11_0000];
        for range in ranges.lines() {
            let (first, last) = range.split_once(' ').context("not a range")?;
            shown[first.parse()?..=last.parse()?].fill(true);
        }
        println!("{}: Unicode {unicode}", interpreter.full_version());
        all.insert(unicode, shown);
    }
    let text = table(&all)?;
    let path = workspace::root().join(TABLE);
    if !check {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    } else if fs::read_to_string(&path).unwrap_or_default() != text {
        bail!("{} is not what the interpreters say", path.display());
    }
    Ok(())
}

fn table(all: &BTreeMap<u32, Vec<bool>>) -> Result<String> {
    let mut text = String::from(
        "# Printable characters: first, last, and the Unicode (times ten) since which they are; written by\n\
         # `cargo xtask printable`.\n",
    );
    let since =
        |number: usize| all.iter().find(|(_, shown)| shown[number]).map(|(unicode, _)| *unicode);
    let mut open: Option<(usize, u32)> = None;
    for number in 0..=0x11_0000 {
        let now = if number < 0x11_0000 { since(number) } else { None };
        if let Some(now) = now {
            let stays = all.range(now..).all(|(_, shown)| shown[number]);
            ensure!(stays, "U+{number:04X} was printable and is no more");
        }
        if let Some((first, unicode)) = open
            && now != Some(unicode)
        {
            text.push_str(&format!("{first:x} {:x} {unicode}\n", number - 1));
            open = None;
        }
        if let (None, Some(now)) = (open, now) {
            open = Some((number, now));
        }
    }
    Ok(text)
}
