//! A prompt that an application has left on a socket, as its client: lines go in, text and prompts come out.
//!
//! The other side is a plain `code.InteractiveConsole` (Lib/code.py) or something like it: it says nothing of what it
//! is or does, so that only the end of its text tells when it waits for a line. All of it may be hostile: no more of
//! it is kept than a line's end.

mod stream;

use std::fmt;
use std::io;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use spyhole_proc::stat::Status;
use spyhole_proc::sys;
use thiserror::Error;

pub use self::stream::Asks;
use self::stream::Stream;

/// For each address that a name has.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a greeting may take, and how much of it is waited for.
const GREETING: Duration = Duration::from_secs(5);
const GREETING_LONGEST: usize = 16 << 10;
/// A line that is sent and not read for so long has no reader.
const SENDING: Duration = Duration::from_secs(10);
/// A part of a line that stays one for so long is a question.
const QUIET: Duration = Duration::from_secs(1);
/// What looks like a prompt is one if nothing follows it for so long.
const SETTLED: Duration = Duration::from_millis(5);
/// The same where a prompt more may come than lines were sent.
const SURELY_SETTLED: Duration = Duration::from_millis(200);
/// Prompts more that may come then: for an interrupt, and for a line that only ends what was begun.
const SPARE: u32 = 2;
/// What `spyhole.backdoor` says to whom it sends away.
const REFUSED: &str = "spyhole: refused: ";
/// Ctrl-C as a terminal types it. Unlike telnet's sequence it is text: to a side that does not know it it is an error
/// of syntax, and no broken encoding.
const INTERRUPT: &[u8] = b"\x03";

/// Where such a prompt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    /// `HOST:PORT`, `[ADDRESS]:PORT` and `unix:PATH`; `None` for everything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty()).then(|| Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':')?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let named = |character: char| character.is_alphanumeric() || "-._".contains(character);
        let host = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().ok().map(|_| host)?,
            None => Some(host).filter(|host| !host.is_empty() && host.chars().all(named))?,
        };
        Some(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no conversation.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error("cannot connect to `{at}`")]
    Unreachable { at: Address, source: io::Error },
    #[error("nobody at `{at}` answered within {CONNECT:?}")]
    NoAnswer { at: Address },
    #[error("`{at}` belongs to another user (uid {uid})")]
    OtherUser { at: Address, uid: u32 },
    #[error("`{at}` asks for a token")]
    WantsToken { at: Address },
    #[error("`{at}` sent us away")]
    SentAway { at: Address, reason: String },
    #[error("`{at}` has closed the connection")]
    Closed { at: Address },
    #[error("what answers at `{at}` is no ispy shell")]
    NoShell { at: Address },
}

/// What comes from the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Text(String),
    /// It waits for a line.
    Asks(Asks),
    Nothing,
    End,
}

/// One open connection. Dropping it leaves.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    stream: Stream,
    /// When something was heard last.
    heard: Instant,
    settled: Duration,
    ended: bool,
}

impl Connection {
    /// Connects and hears the greeting. The token is said only if it is asked for.
    pub fn open(at: &Address, token: Option<&str>) -> Result<(Self, String), Refusal> {
        let mut connection = Self {
            socket: connect(at)?,
            stream: Stream::default(),
            heard: Instant::now(),
            settled: SETTLED,
            ended: false,
        };
        let mut greeting = String::new();
        let mut token = token;
        let deadline = Instant::now() + GREETING;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match connection.next(left) {
                Heard::Text(text) => greeting.push_str(&text),
                Heard::Asks(Asks::Token) => match token.take() {
                    Some(token) => connection
                        .send_line(token)
                        .map_err(|_| Refusal::Closed { at: at.clone() })?,
                    None => return Err(Refusal::WantsToken { at: at.clone() }),
                },
                Heard::Asks(_) => break,
                Heard::End => {
                    let reason = greeting.lines().find_map(|line| line.strip_prefix(REFUSED));
                    return Err(match reason {
                        Some(reason) => {
                            Refusal::SentAway { at: at.clone(), reason: reason.to_owned() }
                        }
                        None => Refusal::Closed { at: at.clone() },
                    });
                }
                Heard::Nothing => {}
            }
            if left.is_zero() || greeting.len() > GREETING_LONGEST {
                break;
            }
        }
        Ok((connection, greeting))
    }

    /// The next thing that is heard within `patience`.
    pub fn next(&mut self, patience: Duration) -> Heard {
        let deadline = Instant::now() + patience;
        loop {
            if self.ended {
                return self.stream.rest().map_or(Heard::End, Heard::Text);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if self.stream.prompt().is_some() { self.settled } else { left };
            if !sys::wait_readable(&self.socket, Some(wait)) {
                if let Some(asks) = self.stream.take_prompt() {
                    self.settled = SETTLED;
                    self.stream.expect(0);
                    return Heard::Asks(asks);
                }
                if self.heard.elapsed() < QUIET {
                    return Heard::Nothing;
                }
                return match self.stream.rest() {
                    Some(text) => Heard::Text(text),
                    None if self.stream.take_question() => Heard::Asks(Asks::Something),
                    None => Heard::Nothing,
                };
            }
            let mut buffer = [0; 16 << 10];
            let length = match sys::receive(&self.socket, &mut buffer) {
                Ok(0) | Err(_) => {
                    self.ended = true;
                    continue;
                }
                Ok(length) => length,
            };
            self.heard = Instant::now();
            let text = self.stream.feed(&buffer[..length]);
            let reply = self.stream.reply();
            if !reply.is_empty() {
                // If that fails, so does the next read.
                let _ = sys::send_all(&self.socket, &reply);
            }
            if !text.is_empty() {
                return Heard::Text(text);
            }
        }
    }

    /// Sends one line.
    pub fn send_line(&mut self, line: &str) -> io::Result<()> {
        self.stream.answered();
        self.send(format!("{line}\n").as_bytes())
    }

    /// Asks for the end of what runs, or of what was begun. A side that does not know it takes it for the beginning of
    /// the next line.
    pub fn interrupt(&mut self) -> io::Result<()> {
        self.send(INTERRUPT)
    }

    /// From now to the next prompt, one that is followed by another at once is none: more lines may have been sent
    /// than were asked for.
    pub fn expect_more_prompts(&mut self) {
        self.settled = SURELY_SETTLED;
        self.stream.expect(SPARE);
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sys::send_all(&self.socket, bytes)
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }

    /// Says that no line will follow. What is still on its way can be heard.
    pub fn say_goodbye(&mut self) {
        // The call is the same for each kind of socket. One that is closed already needs no goodbye.
        if let Ok(socket) = self.socket.try_clone() {
            let _ = UnixStream::from(socket).shutdown(Shutdown::Write);
        }
    }
}

pub(crate) fn connect(at: &Address) -> Result<OwnedFd, Refusal> {
    let unreachable = |source| Refusal::Unreachable { at: at.clone(), source };
    match at {
        Address::Unix(path) => {
            let socket = UnixStream::connect(path).map_err(unreachable)?;
            socket.set_write_timeout(Some(SENDING)).map_err(unreachable)?;
            let (_, uid) = sys::bell::peer(socket.as_fd()).map_err(unreachable)?;
            let own = Status::own().map_err(unreachable)?.uids.effective;
            // Whoever is not root has no business with what another user has put there; root's own is root's.
            if ![own, 0].contains(&uid) && own != 0 {
                return Err(Refusal::OtherUser { at: at.clone(), uid });
            }
            Ok(socket.into())
        }
        Address::Tcp { host, port } => {
            let addresses = (host.as_str(), *port).to_socket_addrs().map_err(unreachable)?;
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in addresses {
                match TcpStream::connect_timeout(&address, CONNECT) {
                    Ok(socket) => {
                        socket.set_write_timeout(Some(SENDING)).map_err(unreachable)?;
                        // Lines are short, and each is waited for.
                        socket.set_nodelay(true).map_err(unreachable)?;
                        return Ok(socket.into());
                    }
                    Err(error) => last = error,
                }
            }
            Err(match last.kind() {
                io::ErrorKind::TimedOut => Refusal::NoAnswer { at: at.clone() },
                _ => unreachable(last),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_patterns() {
        let tcp = |host: &str, port| Some(Address::Tcp { host: host.into(), port });
        assert_eq!(Address::parse("localhost:3000"), tcp("localhost", 3000));
        assert_eq!(Address::parse("127.0.0.1:1"), tcp("127.0.0.1", 1));
        assert_eq!(Address::parse("[::1]:3000"), tcp("::1", 3000));
        assert_eq!(Address::parse("unix:/run/x y"), Some(Address::Unix("/run/x y".into())));
        for text in [
            "wsgi:bookshop",
            ":3000",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "::1:3000",
            "[x]:1",
            "[]:1",
            "runserver 0.0.0.0:8000",
            "/x:1",
            "unix:",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
        assert_eq!(Address::parse("[::1]:3000").unwrap().to_string(), "[::1]:3000");
    }
}
