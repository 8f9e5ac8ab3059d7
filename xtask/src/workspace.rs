//! Where the workspace and its generated folders are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// What chores leave for tests to find. Always the workspace's own `target`, never
/// `CARGO_TARGET_DIR`: the interpreters belong to the tree, not to one build of it.
pub(crate) fn generated(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// Where programs are built.
pub(crate) fn builds() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
