//! Reading files whose length somebody else decides, up to a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than most files of `/proc` have.
const USUAL: u64 = 16 << 10;

/// The first `most` bytes of a file. Files of `/proc` have no length that could be asked for first.
pub(crate) fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    // Grown from nothing, it would be asked for in tiny parts, for each of which the kernel writes a page anew.
    let mut bytes = Vec::with_capacity(most.min(USUAL) as usize);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
