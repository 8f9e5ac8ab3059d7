//! Where the workspace and its generated folders are.

use std::path::{Path, PathBuf};

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies in `crates/` of the workspace")
}

/// The Debian roots that `cargo xtask pythons` makes.
pub fn pythons() -> PathBuf {
    workspace().join("target/pythons")
}

/// The environments that `cargo xtask venvs` makes.
pub fn venvs() -> PathBuf {
    workspace().join("target/venvs")
}

/// The programs to attach to.
pub fn targets() -> PathBuf {
    workspace().join("tests/targets")
}
