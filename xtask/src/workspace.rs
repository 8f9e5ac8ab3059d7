//! Where the workspace and its generated folders are.

use std::path::{Path, PathBuf};

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// What chores leave for tests to find. Always the workspace's own `target`, never
/// `CARGO_TARGET_DIR`: the interpreters belong to the tree, not to one build of it.
pub(crate) fn generated(name: &str) -> PathBuf {
    root().join("target").join(name)
}
