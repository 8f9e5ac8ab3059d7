//! A web server of our own on loopback, whatever program it is: its folder, its notes, its requests and its end.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use spyhole_testkit::target::Signal;
use spyhole_testkit::watchdog::Watchdog;

use crate::program::LIMIT;

/// Where a server will listen. Each test program has an address of the loopback network for itself, and gives no port
/// of it twice: whoever else asks for a free one meanwhile does not get this one.
pub(crate) fn place() -> SocketAddrV4 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low.max(1));
    loop {
        let free = TcpListener::bind((address, 0)).expect("a port");
        let port = free.local_addr().expect("its address").port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return SocketAddrV4::new(address, port);
        }
    }
}

/// A folder for it.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("spyhole-{test}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A server; ended when this is dropped, and its folder with it.
pub(crate) struct Served {
    pub(crate) parent: Child,
    pub(crate) watchdog: Watchdog,
    pub(crate) folder: PathBuf,
    pub(crate) place: SocketAddrV4,
    /// Where the application writes its notes: files named WHAT.WHO.
    notes: PathBuf,
    log: PathBuf,
}

impl Served {
    /// `notes` and `log` lie in its folder.
    pub(crate) fn start(
        mut command: Command,
        place: SocketAddrV4,
        folder: PathBuf,
        (notes, log): (&Path, &Path),
    ) -> Self {
        let parent = command.spawn().expect("it starts");
        let watchdog = Watchdog::over(&parent, Duration::from_secs(300)).expect("it is watched");
        let (notes, log) = (folder.join(notes), folder.join(log));
        Self { parent, watchdog, folder, place, notes, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Who has noted this, by name.
    pub(crate) fn noted(&self, what: &str) -> Vec<String> {
        let files = fs::read_dir(&self.notes).expect("it is there").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names
            .filter_map(|name| Some(name.strip_prefix(what)?.strip_prefix('.')?.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// Until so many have noted it.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, count: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.noted(what).len() < count {
            let ended = self.watchdog.wait_ended(Duration::from_millis(20)).expect("it is watched");
            assert!(!ended, "it has ended, and not {count} are {what}: {}", self.log());
            assert!(Instant::now() < deadline, "not {count} are {what}: {}", self.log());
        }
    }

    /// The whole answer to one request.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.place)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: books.example\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[track_caller]
    pub(crate) fn serves(&self) {
        self.serves_at("/");
    }

    #[track_caller]
    pub(crate) fn serves_at(&self, path: &str) {
        let answer = self.get(path).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
    }

    /// Does something while somebody at each path makes one request after the other, none of which fails; and how long
    /// each of them took.
    pub(crate) fn under_requests<T>(
        &self,
        paths: &[&str],
        work: impl FnOnce() -> T,
    ) -> (T, Vec<Duration>) {
        let ended = AtomicBool::new(false);
        let request = |path: &str| {
            let mut took = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                let begun = Instant::now();
                self.serves_at(path);
                took.push(begun.elapsed());
            }
            took
        };
        std::thread::scope(|scope| {
            let request = &request;
            let clients: Vec<_> =
                paths.iter().map(|path| scope.spawn(move || request(path))).collect();
            let done = {
                let _ended = Ended(&ended);
                work()
            };
            let took = clients.into_iter().flat_map(|client| client.join().expect("all answered"));
            (done, took.collect())
        })
    }
}

/// Ends the others, whatever happens to us.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It ends its workers first; an error means that it has ended.
        let _ = self.watchdog.signal(Signal::TERM);
        let _ = self.parent.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
