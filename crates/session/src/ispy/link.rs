//! A conversation with a prepared process's ispy shell.
//!
//! The other side greets as it greets everybody: with its prompt, a question for the token, or a refusal. From our first
//! line on it speaks in lines of JSON; `spyhole/_shell.py` tells them. All of it may be hostile.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use spyhole_proc::sys;

use crate::socket::{self, Address, Refusal};

/// How long the greeting may take.
const GREETING: Duration = Duration::from_secs(10);
const GREETING_LONGEST: usize = 16 << 10;
/// Bytes of one line of JSON.
const LONGEST: usize = 64 << 20;
const TOKEN: &str = "token: ";
const REFUSED: &str = "spyhole: refused: ";
const INTERRUPT: &[u8] = b"\x03";

/// What comes from the other side.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Text(String),
    /// It waits for a line, with this before it.
    Asks(String),
    Words(Vec<String>),
    Answer(Json),
    Nothing,
    End,
}

/// One open conversation. Dropping it leaves.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// Of the buffer, known to have no newline.
    searched: usize,
    ended: bool,
    /// What was heard while something else was waited for.
    kept: VecDeque<Told>,
    /// As the other side calls itself.
    pub pid: i32,
}

impl Link {
    /// Connects, says the token if it is asked for, and then who we are.
    pub fn open(at: &Address, token: Option<&str>) -> Result<Self, Refusal> {
        let socket = socket::connect(at)?;
        let mut link = Self {
            socket,
            buffer: Vec::new(),
            searched: 0,
            ended: false,
            kept: VecDeque::new(),
            pid: 0,
        };
        link.pid = link.greeted(at, token)?;
        link.buffer.clear();
        link.send("\x01hello 1\n").map_err(|_| Refusal::Closed { at: at.clone() })?;
        Ok(link)
    }

    /// The pid of the prompt that greets.
    fn greeted(&mut self, at: &Address, token: Option<&str>) -> Result<i32, Refusal> {
        let mut token = token;
        let deadline = Instant::now() + GREETING;
        loop {
            let heard = String::from_utf8_lossy(&self.buffer).into_owned();
            if let Some(reason) = heard.lines().find_map(|line| line.strip_prefix(REFUSED))
                && heard.ends_with('\n')
            {
                return Err(Refusal::SentAway { at: at.clone(), reason: reason.to_owned() });
            }
            if heard.ends_with(TOKEN) {
                let Some(token) = token.take() else {
                    return Err(Refusal::WantsToken { at: at.clone() });
                };
                self.buffer.clear();
                self.send(&format!("{token}\n")).map_err(|_| Refusal::Closed { at: at.clone() })?;
                continue;
            }
            let prompt = heard.strip_prefix("(ispyd:").and_then(|rest| rest.strip_suffix(") "));
            if let Some(pid) = prompt.and_then(|pid| pid.parse().ok()) {
                return Ok(pid);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.ended {
                return Err(Refusal::Closed { at: at.clone() });
            }
            if heard.len() > GREETING_LONGEST || left.is_zero() {
                return Err(match heard.is_empty() {
                    true => Refusal::NoAnswer { at: at.clone() },
                    false => Refusal::NoShell { at: at.clone() },
                });
            }
            self.receive(left);
        }
    }

    /// The next thing that is heard within `patience`.
    pub fn next(&mut self, patience: Duration) -> Told {
        if let Some(told) = self.kept.pop_front() {
            return told;
        }
        let deadline = Instant::now() + patience;
        loop {
            if let Some(told) = self.take() {
                return told;
            }
            if self.ended || self.buffer.len() > LONGEST {
                return Told::End;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.receive(left) && left.is_zero() {
                return Told::Nothing;
            }
        }
    }

    /// The next whole line; what is no message of ours is passed over.
    fn take(&mut self) -> Option<Told> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(end) = end else {
                self.searched = self.buffer.len();
                return None;
            };
            let line: Vec<u8> = self.buffer.drain(..self.searched + end + 1).collect();
            self.searched = 0;
            if let Some(told) = told(&line) {
                return Some(told);
            }
        }
    }

    /// Whether something came.
    fn receive(&mut self, patience: Duration) -> bool {
        if !sys::wait_readable(&self.socket, Some(patience)) {
            return false;
        }
        let mut buffer = [0; 64 << 10];
        match sys::receive(&self.socket, &mut buffer) {
            Ok(0) | Err(_) => self.ended = true,
            Ok(length) => self.buffer.extend_from_slice(&buffer[..length]),
        }
        true
    }

    /// Sends one line. The byte that begins a question of ours begins none.
    pub fn send_line(&mut self, line: &str) -> io::Result<()> {
        let line = line.trim_start_matches('\x01').replace(['\n', '\x03'], " ");
        self.send(&format!("{line}\n"))
    }

    /// What the last word of a line may become.
    pub fn words(&mut self, line: &str, patience: Duration) -> Vec<String> {
        if self.send(&format!("\x01complete {}\n", line.replace(['\n', '\x03'], " "))).is_err() {
            return Vec::new();
        }
        match self.wait_for(patience, |told| matches!(told, Told::Words(_))) {
            Some(Told::Words(words)) => words,
            _ => Vec::new(),
        }
    }

    /// What a command of a plugin answers; `None`: the other side went away, or `patience` has passed.
    pub fn run(&mut self, words: &[String], patience: Duration) -> Option<Json> {
        self.send(&format!("\x01run {}\n", json!(words))).ok()?;
        match self.wait_for(patience, |told| matches!(told, Told::Answer(_)))? {
            Told::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    fn wait_for(&mut self, patience: Duration, wanted: impl Fn(&Told) -> bool) -> Option<Told> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = match self.take() {
                Some(told) => told,
                None if self.ended || left.is_zero() => return None,
                None => {
                    self.receive(left);
                    continue;
                }
            };
            if wanted(&told) {
                return Some(told);
            }
            self.kept.push_back(told);
        }
    }

    /// Asks for the end of what runs, or of what was begun.
    pub fn interrupt(&mut self) -> io::Result<()> {
        self.send_bytes(INTERRUPT)
    }

    fn send(&self, text: &str) -> io::Result<()> {
        self.send_bytes(text.as_bytes())
    }

    fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        sys::send_all(&self.socket, bytes)
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }

    /// Says that no line will follow. What is still on its way can be heard.
    pub fn say_goodbye(&mut self) {
        // One that is closed already needs none.
        if let Ok(socket) = self.socket.try_clone() {
            let _ = UnixStream::from(socket).shutdown(std::net::Shutdown::Write);
        }
    }
}

fn told(line: &[u8]) -> Option<Told> {
    let message: Json = serde_json::from_slice(line).ok()?;
    let (name, value) = message.as_object()?.iter().next()?;
    let text = || value.as_str().map(str::to_owned);
    match name.as_str() {
        "out" => text().map(Told::Text),
        "ask" => text().map(Told::Asks),
        "words" => {
            let words =
                value.as_array()?.iter().filter_map(|word| word.as_str().map(str::to_owned));
            Some(Told::Words(words.collect()))
        }
        "answer" => Some(Told::Answer(value.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    /// What the other side does with its end.
    fn with(says: impl FnOnce(UnixStream) + Send + 'static) -> Result<Link, Refusal> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("spyhole-link-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || says(listener.accept().unwrap().0));
        let link = Link::open(&Address::Unix(path.clone()), Some("open sesame"));
        std::fs::remove_file(path).unwrap();
        drop(other);
        link
    }

    fn read(socket: &mut UnixStream, until: &str) {
        let mut text = Vec::new();
        while !text.ends_with(until.as_bytes()) {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            text.extend(byte);
        }
    }

    #[test]
    fn a_greeting_a_token_and_messages() {
        let mut link = with(|mut socket| {
            socket.write_all(b"token: ").unwrap();
            read(&mut socket, "open sesame\n");
            socket.write_all(b"(ispyd:").unwrap();
            socket.write_all(b"41) ").unwrap();
            read(&mut socket, "\x01hello 1\n");
            socket.write_all(b"{\"ask\": \"(ispyd:41) \"}\n{\"out\": \"a").unwrap();
            read(&mut socket, "help\n");
            socket.write_all(b"b\"}\nno json\n{}\n[1]\n{\"out\": 3}\n{\"new\": 1}\n").unwrap();
            read(&mut socket, "\x01complete he\n");
            socket.write_all(b"{\"out\": \"c\"}\n{\"words\": [\"help\", 3]}\n").unwrap();
            read(&mut socket, "\x03");
        })
        .unwrap();
        let patience = Duration::from_secs(60);
        assert_eq!(link.pid, 41);
        assert_eq!(link.next(patience), Told::Asks("(ispyd:41) ".into()));
        assert_eq!(link.next(Duration::ZERO), Told::Nothing);
        link.send_line("help").unwrap();
        assert_eq!(link.next(patience), Told::Text("ab".into()));
        assert_eq!(link.words("he", patience), ["help"]);
        assert_eq!(link.next(patience), Told::Text("c".into()));
        link.interrupt().unwrap();
        assert_eq!(link.next(patience), Told::End);
    }

    #[test]
    fn other_greetings_are_refused() {
        let refused = with(|mut socket| {
            socket.write_all(b"spyhole: refused: uid 7: another user\n").unwrap();
        });
        assert!(
            matches!(&refused, Err(Refusal::SentAway { reason, .. }) if reason == "uid 7: another user"),
            "{refused:?}"
        );
        let closed = with(drop);
        assert!(matches!(closed, Err(Refusal::Closed { .. })), "{closed:?}");
        let strange = with(|mut socket| {
            let _ = socket.write_all(&vec![b'x'; 40 << 10]);
            let _ = socket.read(&mut [0]);
        });
        assert!(matches!(strange, Err(Refusal::NoShell { .. })), "{strange:?}");
    }
}
