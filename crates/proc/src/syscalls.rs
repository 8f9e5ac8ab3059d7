//! The names of system calls.
//!
//! It knows those of the kernels that are around today; a newer one has a number alone.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("syscalls/x86_64.txt");

/// The name of a system call: `futex`.
pub fn name(number: i64) -> Option<&'static str> {
    static NAMES: LazyLock<HashMap<i64, &str>> = LazyLock::new(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once(' '));
        pairs.filter_map(|(number, name)| Some((number.parse().ok()?, name))).collect()
    });
    NAMES.get(&number).copied()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn numbers_have_names() {
        assert_eq!(name(libc::SYS_futex), Some("futex"));
        assert_eq!(name(libc::SYS_epoll_wait), Some("epoll_wait"));
        assert_eq!(name(99_999), None);
    }
}
