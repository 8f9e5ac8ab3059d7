//! What surrounds a process: its kernel, and how far its namespaces and its root are those of this program.
//!
//! It knows where the kernel tells of that, and judges nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::bounded;

/// Where a process lives, seen from here. `None`: it may not be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    pub same_pid_namespace: Option<bool>,
    pub same_mount_namespace: Option<bool>,
    pub same_user_namespace: Option<bool>,
    /// Its root folder is ours: no chroot, no container's file system.
    pub same_root: Option<bool>,
}

impl Surroundings {
    pub fn of(pid: i32) -> Self {
        let same =
            |what: &str| same_file(&format!("/proc/{pid}/{what}"), &format!("/proc/self/{what}"));
        Self {
            same_pid_namespace: same("ns/pid"),
            same_mount_namespace: same("ns/mnt"),
            same_user_namespace: same("ns/user"),
            same_root: same("root"),
        }
    }
}

/// Their metadata are compared, not their names: the links are the kernel's own.
fn same_file(one: &str, other: &str) -> Option<bool> {
    let (one, other) = (fs::metadata(one).ok()?, fs::metadata(other).ok()?);
    Some((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// A kernel's version, its first two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    pub major: u32,
    pub minor: u32,
}

impl KernelVersion {
    /// Of a text as `6.1.0-13-amd64`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { major: next()?, minor: next()? })
    }
}

/// What the running kernel calls itself (`6.1.0-13-amd64`).
pub fn kernel_release() -> Option<String> {
    let text = bounded::read("/proc/sys/kernel/osrelease", 256).ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}

/// What tells that this program itself is in a container: the mark that Docker or Podman leaves, or a pid namespace that
/// is not the machine's first one (`PROC_PID_INIT_INO` of include/linux/proc_ns.h).
pub fn own_container() -> Option<&'static str> {
    const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
    let there = |path: &str| fs::symlink_metadata(path).is_ok();
    if there("/.dockerenv") {
        return Some("Docker");
    }
    if there("/run/.containerenv") {
        return Some("Podman");
    }
    let inner = fs::metadata("/proc/self/ns/pid").is_ok_and(|one| one.ino() != FIRST_PID_NAMESPACE);
    inner.then_some("a pid namespace of its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_all_kinds_of_names() {
        let of = |text| KernelVersion::parse(text).map(|v| (v.major, v.minor));
        assert_eq!(of("6.1.0-13-amd64\n"), Some((6, 1)));
        assert_eq!(of("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(of("4.18+"), Some((4, 18)));
        assert_eq!(of("next"), None);
        assert_eq!(of("6"), None);
        assert!(KernelVersion::parse("5.6") < KernelVersion::parse("5.10"));
    }

    #[test]
    fn this_process_is_where_it_is() {
        let own = Surroundings::of(std::process::id() as i32);
        let there = Some(true);
        assert_eq!(
            own,
            Surroundings {
                same_pid_namespace: there,
                same_mount_namespace: there,
                same_user_namespace: there,
                same_root: there,
            }
        );
        assert_eq!(Surroundings::of(i32::MAX), Surroundings::default());
        assert!(KernelVersion::parse(&kernel_release().unwrap()).unwrap().major > 2);
    }
}
