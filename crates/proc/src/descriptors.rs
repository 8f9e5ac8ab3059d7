//! What the file descriptors of a process are: files, pipes, and sockets with whom they are connected to.
//!
//! It knows `/proc/PID/fd`, `/proc/PID/net` and `/proc/PID/fdinfo` (Linux, Documentation/filesystems/proc.rst). The tables
//! of sockets are those of the process's own network.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;

use crate::bounded;

/// Bytes that are read of one table; some tens of thousands of sockets.
const TABLE_AT_MOST: u64 = 8 << 20;
/// Descriptors of an `epoll` that are listed.
const LISTED: usize = 5;

/// What these descriptors are: `pipe`, `/srv/data.txt`, `TCP socket 127.0.0.1:80, peer 10.0.0.7:4711`.
pub(crate) fn of(pid: i32, wanted: &[i32]) -> HashMap<i32, String> {
    let mut found = HashMap::new();
    let mut sockets: Vec<(i32, u64)> = Vec::new();
    for fd in wanted {
        let Ok(link) = fs::read_link(format!("/proc/{pid}/fd/{fd}")) else { continue };
        let link = String::from_utf8_lossy(&link.into_os_string().into_vec()).into_owned();
        if let Some(inode) = numbered(&link, "socket:") {
            sockets.push((*fd, inode));
            found.insert(*fd, "socket".to_owned());
        } else if numbered(&link, "pipe:").is_some() {
            found.insert(*fd, "pipe".to_owned());
        } else if link == "anon_inode:[eventpoll]" {
            found.insert(*fd, epoll(pid, *fd));
        } else {
            let name = link.strip_prefix("anon_inode:").map(|name| name.trim_matches(['[', ']']));
            found.insert(*fd, name.map_or_else(|| link.clone(), str::to_owned));
        }
    }
    for table in ["tcp", "tcp6", "udp", "udp6", "unix"] {
        if sockets.is_empty() {
            break;
        }
        let Ok(text) = bounded::read(format!("/proc/{pid}/net/{table}"), TABLE_AT_MOST) else {
            continue;
        };
        let text = String::from_utf8_lossy(&text);
        for line in text.lines().skip(1) {
            let told = if table == "unix" { unix(line) } else { internet(table, line) };
            let Some((inode, what)) = told else { continue };
            sockets.retain(|(fd, wanted)| {
                let is = *wanted == inode;
                if is {
                    found.insert(*fd, what.clone());
                }
                !is
            });
        }
    }
    found
}

/// `socket:[4711]`
fn numbered(link: &str, kind: &str) -> Option<u64> {
    link.strip_prefix(kind)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn epoll(pid: i32, fd: i32) -> String {
    let text = bounded::read(format!("/proc/{pid}/fdinfo/{fd}"), 1 << 16).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let watched: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("tfd:")?.split_ascii_whitespace().next())
        .collect();
    let more = if watched.len() > LISTED { ", ..." } else { "" };
    match watched.len() {
        0 => "epoll of nothing".to_owned(),
        _ => format!("epoll of fd {}{more}", watched[..watched.len().min(LISTED)].join(", ")),
    }
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`
fn internet(table: &str, line: &str) -> Option<(u64, String)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, remote) = (address(fields.get(1)?)?, address(fields.get(2)?)?);
    let inode = fields.get(9)?.parse().ok()?;
    let name = if table.starts_with("tcp") { "TCP" } else { "UDP" };
    // `TCP_LISTEN` (include/net/tcp_states.h)
    let listens = *fields.get(3)? == "0A" && name == "TCP";
    let what = if listens {
        format!("TCP socket that listens on {local}")
    } else if remote.port() == 0 {
        format!("{name} socket {local}")
    } else {
        format!("{name} socket {local}, peer {remote}")
    };
    Some((inode, what))
}

/// `0100007F:1F90`: words as the machine has them, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..host.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?.to_le_bytes());
    }
    let host = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => {
            let host = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            host.to_ipv4_mapped().map_or(IpAddr::V6(host), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(host, port))
}

/// `Num RefCount Protocol Flags Type St Inode Path`
fn unix(line: &str) -> Option<(u64, String)> {
    let mut fields = line.split_ascii_whitespace();
    let inode = fields.nth(6)?.parse().ok()?;
    let what = match fields.next() {
        Some(path) => format!("Unix socket {path}"),
        None => "Unix socket".to_owned(),
    };
    Some((inode, what))
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn our_own_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let stream = TcpStream::connect(at).unwrap();
        let (reader, _writer) = pipe().unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let wanted = [
            listener.as_raw_fd(),
            stream.as_raw_fd(),
            reader.as_raw_fd(),
            null.as_raw_fd(),
            1_000_000,
        ];
        let found = of(std::process::id() as i32, &wanted);
        assert_eq!(found[&wanted[0]], format!("TCP socket that listens on {at}"));
        let own = stream.local_addr().unwrap();
        assert_eq!(found[&wanted[1]], format!("TCP socket {own}, peer {at}"));
        assert_eq!((&*found[&wanted[2]], &*found[&wanted[3]]), ("pipe", "/dev/null"));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn lines_of_the_tables() {
        let line = "0: 00000000000000000000000001000000:1F90 \
                    0000000000000000FFFF00000100007F:0050 01 0:0 0:0 0 0 0 77 1";
        let told = internet("tcp6", line);
        assert_eq!(told, Some((77, "TCP socket [::1]:8080, peer 127.0.0.1:80".to_owned())));
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 4242 /run/x.sock";
        assert_eq!(unix(line), Some((4242, "Unix socket /run/x.sock".to_owned())));
        for garbage in ["", "a b c", "0: 0:0 0:0 0 0 0 x 0 0 x"] {
            assert_eq!((internet("tcp", garbage), unix(garbage)), (None, None));
        }
    }
}
