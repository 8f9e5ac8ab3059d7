//! The text of a row: `name value` lines, as `cargo xtask layouts` writes them.
//!
//! It knows the form, and no name.

use std::collections::BTreeMap;

use super::LayoutError;

/// The numbers of one version, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(BTreeMap<&'static str, u64>);

impl Numbers {
    /// Reads a row that is part of this program.
    pub fn parse(text: &'static str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .filter_map(|line| {
                    let (name, value) = line.split_once(' ')?;
                    Some((name, value.parse().ok()?))
                })
                .collect(),
        )
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, value)| (*name, *value))
    }

    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    pub(crate) fn get(&self, name: &'static str) -> Result<u64, LayoutError> {
        self.find(name).ok_or(LayoutError::NoNumber { name })
    }

    /// Replaces a number that the row has.
    pub(crate) fn replace(&mut self, name: &str, value: u64) {
        if let Some(known) = self.0.get_mut(name) {
            *known = value;
        }
    }

    /// The names with a place in the table that the process publishes, and that place.
    pub(crate) fn published(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().filter_map(|(name, at)| Some((name.strip_prefix("published.")?, *at)))
    }
}
