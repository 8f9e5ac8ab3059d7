//! Reading files whose length somebody else decides, up to a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The first `most` bytes of a file. Files of `/proc` have no length that could be asked for first.
pub(crate) fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
