//! Who listens where an ini file says.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

use spyhole_proc::stat::Status;

use super::ini::{Listen, PID, path_for};
use crate::socket::Address;

/// Names of one folder that are looked at.
const NAMES_AT_MOST: usize = 100_000;
/// Sockets that are listed.
const SOCKETS_AT_MOST: usize = 10_000;

/// Where somebody listens, and how many sockets nobody listens at.
#[derive(Debug, Default)]
pub struct Servers {
    /// By process id.
    pub listening: Vec<Address>,
    pub stale: usize,
    /// Sockets of other users.
    pub foreign: usize,
}

/// Looks for them. Of a host and a port it is not asked whether somebody listens there.
pub fn find(listen: &Listen) -> Servers {
    let Listen::Unix(pattern) = listen else {
        return Servers { listening: vec![listen.of(0)], ..Servers::default() };
    };
    let mut servers = Servers::default();
    let own = Status::own().map_or(0, |status| status.uids.effective);
    let known = listed();
    for path in matching(pattern) {
        let Ok(status) = fs::symlink_metadata(&path) else { continue };
        if !status.file_type().is_socket() {
            continue;
        }
        if ![own, 0].contains(&status.uid()) && own != 0 {
            servers.foreign += 1;
        } else if known.contains(&path) || !is_refused(&path) {
            servers.listening.push(Address::Unix(path));
        } else {
            servers.stale += 1;
        }
    }
    servers
}

/// Existing paths, in the order of the numbers that stand for `%(pid)s`.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = vec![(0, PathBuf::new())];
    for component in Path::new(pattern).components() {
        let Component::Normal(name) = component else {
            found.iter_mut().for_each(|(_, path)| path.push(component));
            continue;
        };
        let name = name.to_string_lossy();
        // A doubled percent before it makes it a text.
        let has_pid = name.split("%%").any(|part| part.contains(PID));
        let mut next = Vec::new();
        for (pid, path) in found {
            if !has_pid {
                next.push((pid, path.join(path_for(&name, ""))));
                continue;
            }
            for entry in fs::read_dir(&path).into_iter().flatten().flatten().take(NAMES_AT_MOST) {
                let there = entry.file_name();
                let there = there.to_string_lossy();
                if let Some(number) = pid_in(&name, &there)
                    && (pid == 0 || pid == number)
                    && next.len() < SOCKETS_AT_MOST
                {
                    next.push((number, path.join(&*there)));
                }
            }
        }
        found = next;
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The number that makes the pattern this name.
fn pid_in(pattern: &str, name: &str) -> Option<u32> {
    let before = path_for(&pattern[..pattern.find(PID)?], "");
    let rest = name.strip_prefix(&before)?;
    let digits = rest.find(|one: char| !one.is_ascii_digit()).unwrap_or(rest.len());
    // A digit that follows in the pattern itself is none of the number.
    (1..=digits.min(10)).rev().find_map(|length| {
        let number = &rest[..length];
        (path_for(pattern, number) == name).then(|| number.parse().ok()).flatten()
    })
}

/// Paths at which somebody listens, as this network namespace has them (net/unix/af_unix.c, `unix_seq_show`).
fn listed() -> Vec<PathBuf> {
    const ACCEPTS: &str = "00010000";
    let list = fs::read("/proc/net/unix").unwrap_or_default();
    list.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let line = std::str::from_utf8(line).ok()?;
            let mut words = line.split_ascii_whitespace();
            let flags = words.nth(3)?;
            let at = line.find(" /")?;
            (flags == ACCEPTS)
                .then(|| PathBuf::from(std::ffi::OsStr::from_bytes(&line.as_bytes()[at + 1..])))
        })
        .collect()
}

fn is_refused(path: &Path) -> bool {
    matches!(UnixStream::connect(path), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn numbers_are_found_in_names() {
        assert_eq!(pid_in("ispyd-%(pid)s.sock", "ispyd-123.sock"), Some(123));
        assert_eq!(pid_in("%(pid)s7", "1237"), Some(123));
        assert_eq!(pid_in("a%%%(pid)s-%(pid)s", "a%12-12"), Some(12));
        for name in ["ispyd-.sock", "ispyd-x.sock", "ispyd-1.sock2", "ispyd-99999999999.sock"] {
            assert_eq!(pid_in("ispyd-%(pid)s.sock", name), None, "{name}");
        }
        assert_eq!(pid_in("%(pid)s-%(pid)s", "1-2"), None);
    }

    #[test]
    fn listeners_are_told_from_what_they_left() {
        let folder = std::env::temp_dir().join(format!("spyhole-servers-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        let first = UnixListener::bind(at("s-20.sock")).unwrap();
        let second = UnixListener::bind(at("s-3.sock")).unwrap();
        drop(UnixListener::bind(at("s-4.sock")).unwrap());
        fs::write(at("s-5.sock"), "").unwrap();
        std::os::unix::fs::symlink(at("s-3.sock"), at("s-6.sock")).unwrap();
        let servers = find(&Listen::Unix(format!("{}/s-%(pid)s.sock", folder.display())));
        assert_eq!(
            servers.listening,
            [Address::Unix(at("s-3.sock")), Address::Unix(at("s-20.sock"))]
        );
        assert_eq!((servers.stale, servers.foreign), (1, 0));
        let one = find(&Listen::Unix(at("s-3.sock").display().to_string()));
        assert_eq!(one.listening.len(), 1);
        assert!(find(&Listen::Unix("/nowhere/%(pid)s".into())).listening.is_empty());
        drop((first, second));
        fs::remove_dir_all(&folder).unwrap();
    }
}
