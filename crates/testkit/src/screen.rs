//! A terminal of a known size for a program to write to, and keys for it.
//!
//! It knows pseudo-terminals (pty(7)); it does not draw: what was written is kept as it came.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::watchdog::readable;

/// How long a program may have a screen.
const LIMIT: Duration = Duration::from_secs(30);

/// A program on a terminal of its own, in a session of its own. Dropping it kills the program.
#[derive(Debug)]
pub struct Screen {
    child: Child,
    own: File,
    shown: String,
    /// The beginning of a character that is not whole yet.
    unread: Vec<u8>,
    deadline: Instant,
}

impl Screen {
    /// Runs a command, with its environment, on a screen of this size.
    pub fn run(command: &Command, columns: u16, rows: u16) -> io::Result<Self> {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&own)?;
        unlockpt(&own)?;
        let name = ptsname(&own, Vec::new())?;
        let theirs = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(theirs.as_fd(), size)?;
        // Keys that are signals go to the program of the session that has the terminal.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let end = |fd: &OwnedFd| fd.try_clone().map(Stdio::from);
        session.stdin(end(&theirs)?).stdout(end(&theirs)?).stderr(end(&theirs)?);
        let child = session.spawn()?;
        let (shown, unread) = (String::new(), Vec::new());
        Ok(Self { child, own: own.into(), shown, unread, deadline: Instant::now() + LIMIT })
    }

    /// Presses keys: `\x03` is Ctrl-C.
    pub fn press(&mut self, keys: &str) -> io::Result<()> {
        self.own.write_all(keys.as_bytes())
    }

    /// Waits until this has been written.
    pub fn wait_for(&mut self, text: &str) -> io::Result<()> {
        while !self.shown.contains(text) {
            if !self.more()? {
                return Err(io::Error::other(format!("`{text}` is not in {:?}", self.shown)));
            }
        }
        Ok(())
    }

    /// Waits for the end: all that was written, with plain line ends, and the exit code.
    pub fn end(mut self) -> io::Result<(String, i32)> {
        while self.more()? {}
        let code = self.child.wait()?.code().unwrap_or(-1);
        Ok((std::mem::take(&mut self.shown).replace("\r\n", "\n"), code))
    }

    /// Reads what comes next; `false` at the end.
    fn more(&mut self) -> io::Result<bool> {
        if !readable(&self.own, self.deadline)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, self.shown.clone()));
        }
        let mut chunk = [0; 4096];
        match self.own.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.unread.extend_from_slice(&chunk[..length]);
                // A character may be read in two parts.
                let whole = match std::str::from_utf8(&self.unread) {
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    _ => self.unread.len(),
                };
                let rest = self.unread.split_off(whole);
                self.shown.push_str(&String::from_utf8_lossy(&self.unread));
                self.unread = rest;
                Ok(true)
            }
            // So a terminal says that nobody has its other side any more.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
