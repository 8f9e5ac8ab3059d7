//! The record: one line to the system's log for each process that is entered.
//!
//! The client writes it, never the target. Where there is no `/dev/log` nothing is said: a container often has none,
//! and a record must not keep anybody from looking.

use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::SystemTime;

use crate::views::clock::Moment;
use crate::views::escape::one_line;

const SOCKET: &str = "/dev/log";
/// Facility `auth` (4), severity `info` (6).
const PRIORITY: u8 = 4 * 8 + 6;
/// Characters of code that are kept.
const CODE_LIMIT: usize = 200;

/// What is about to be done to the processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) pids: &'a [i32],
    /// `ask`
    pub(crate) level: &'a str,
    /// `eval`
    pub(crate) command: &'a str,
    /// The code; one that begins with a space is hidden.
    pub(crate) code: Option<&'a str>,
}

/// Writes one line for each process, without ever waiting.
pub(crate) fn record(entry: Entry<'_>) {
    let Ok(socket) = UnixDatagram::unbound() else { return };
    if socket.set_nonblocking(true).is_err() || socket.connect(SOCKET).is_err() {
        return;
    }
    let user = user();
    let sudo_user = std::env::var("SUDO_USER").unwrap_or_else(|_| "-".to_owned());
    let now = Moment::from(SystemTime::now());
    for pid in entry.pids {
        let _ = socket.send(line(now, &user, &sudo_user, *pid, &entry).as_bytes());
    }
}

fn line(now: Moment, user: &str, sudo_user: &str, pid: i32, entry: &Entry<'_>) -> String {
    let code = match entry.code {
        None => String::new(),
        Some(code) if code.starts_with(' ') => " code=(hidden)".to_owned(),
        Some(code) => {
            let cut: String = code.chars().take(CODE_LIMIT).collect();
            format!(" code={}", one_line(&cut))
        }
    };
    format!(
        "<{PRIORITY}>{} spyhole[{}]: user={} sudo_user={} pid={pid} level={} command={}{code}",
        now.for_syslog(),
        std::process::id(),
        one_line(user),
        one_line(sudo_user),
        entry.level,
        entry.command,
    )
}

/// The name of whoever runs us, or their number. `/etc/passwd` is read as it is: a static program has no name service.
fn user() -> String {
    let Ok(uid) = std::fs::metadata("/proc/self").map(|metadata| metadata.st_uid().to_string())
    else {
        return "?".to_owned();
    };
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let name = String::from_utf8_lossy(&passwd).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_a_process() {
        let now =
            Moment::from(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_132_805));
        let entry = Entry { pids: &[7], level: "ask", command: "eval", code: Some("a\nb\x1b") };
        let line = line(now, "eve", "ann\n", 7, &entry);
        let (head, rest) = line.split_once("spyhole[").unwrap();
        assert_eq!(head, "<38>Nov 20 00:00:05 ");
        let (_, rest) = rest.split_once("]: ").unwrap();
        assert_eq!(rest, "user=eve sudo_user=ann\\n pid=7 level=ask command=eval code=a\\nb\\x1b");
    }

    #[test]
    fn a_leading_space_hides_the_code() {
        let now = Moment::from(SystemTime::UNIX_EPOCH);
        let entry = Entry { pids: &[7], level: "ask", command: "eval", code: Some(" secret") };
        assert!(line(now, "eve", "-", 7, &entry).ends_with("code=(hidden)"));
        let long = "x".repeat(500);
        let entry = Entry { code: Some(&long), ..entry };
        assert!(line(now, "eve", "-", 7, &entry).ends_with(&format!("code={}", "x".repeat(200))));
    }

    #[test]
    fn somebody_runs_the_tests() {
        assert!(!user().is_empty() && user() != "?");
    }
}
