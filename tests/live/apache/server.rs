//! An Apache of our own with mod_wsgi, on loopback.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use spyhole_testkit::census;
use spyhole_testkit::watchdog::Watchdog;

use super::{ODD_GROUP, PLAIN, SITE};
use crate::program::LIMIT;

const APACHE: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";
/// What a server serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) daemons: usize,
    pub(super) script: &'static str,
    /// Application groups; the second one is served at `/b`.
    pub(super) groups: &'static [&'static str],
    /// More lines of its configuration.
    pub(super) more: &'static str,
}

impl Site {
    pub(super) fn django(daemons: usize) -> Self {
        Self { daemons, script: SITE, groups: &["books.example|/"], more: "" }
    }

    pub(super) fn plain(daemons: usize) -> Self {
        Self { script: PLAIN, groups: &["books.example|/", ODD_GROUP], ..Self::django(daemons) }
    }

    /// So many notes there are when all daemons have loaded it.
    pub(super) fn loaded(&self) -> usize {
        self.daemons * self.groups.len()
    }
}

/// A server of our own, on loopback; ended when this is dropped.
pub(super) struct Server {
    pub(super) parent: Child,
    pub(super) watchdog: Watchdog,
    pub(super) folder: PathBuf,
    pub(super) port: u16,
    /// What its daemons call themselves.
    pub(super) name: String,
}

impl Server {
    /// `None`, with the reason written down, where the packages are not installed.
    pub(super) fn start(test: &str, site: &Site) -> Option<Self> {
        let django =
            site.script != SITE || Path::new("/usr/lib/python3/dist-packages/django").exists();
        let wsgi = Path::new(MODULES).join("mod_wsgi.so").exists();
        let status = fs::read_to_string("/proc/self/status").expect("it is there");
        let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
        if !(django && wsgi && root && Path::new(APACHE).exists()) {
            let reason = "needs root and apache2-bin, libapache2-mod-wsgi-py3, python3-django";
            census::skipped(test, reason);
            return None;
        }
        let folder = std::env::temp_dir().join(format!("spyhole-{test}-{}", std::process::id()));
        let place = folder.display();
        fs::create_dir_all(folder.join("run")).expect("a folder");
        fs::write(folder.join("site.wsgi"), site.script).expect("a file");
        let package = spyhole_testkit::place::workspace().join("crates/agent/python/spyhole");
        let copied = Command::new("cp").arg("-r").arg(package).arg(&folder).status();
        assert!(copied.expect("cp starts").success());
        // The daemons are another user.
        let open = Command::new("chmod").args(["-R", "a+rwX"]).arg(&folder).status();
        assert!(open.expect("chmod starts").success());
        // Nobody else has it at this moment, and the server takes it in the next.
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        // There is no more room for it than for the program's path.
        let name = {
            static STARTED: AtomicUsize = AtomicUsize::new(0);
            let number = STARTED.fetch_add(1, Ordering::SeqCst);
            // A letter for each of this run's servers, which are fewer than there are letters.
            let letter = char::from(b'a' + u8::try_from(number % 26).unwrap_or_default());
            format!("(wsgi:{letter}{})", std::process::id())
        };
        let load = |module: &str| format!("LoadModule {module}_module {MODULES}/mod_{module}.so\n");
        let mut conf = format!(
            "ServerRoot {place}/run\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile httpd.pid\n\
             ErrorLog error.log\n{}{}{}User www-data\nGroup www-data\nWSGISocketPrefix {place}/run/wsgi\n\
             WSGIDaemonProcess site processes={} threads=3 display-name={name}\n\
             <Directory {place}>\nRequire all granted\n</Directory>\n{}\n",
            load("mpm_event"),
            load("authz_core"),
            load("wsgi"),
            site.daemons,
            site.more,
        );
        for (group, path) in site.groups.iter().zip(["/", "/b"]).rev() {
            let place =
                format!("{place}/site.wsgi process-group=site application-group=\"{group}\"");
            conf += &format!("WSGIScriptAlias {path} {place}\nWSGIImportScript {place}\n");
        }
        fs::write(folder.join("httpd.conf"), conf).expect("a file");
        let parent = Command::new(APACHE)
            .arg("-d")
            .arg(folder.join("run"))
            .arg("-f")
            .arg(folder.join("httpd.conf"))
            .arg("-DFOREGROUND")
            .stdin(Stdio::null())
            .spawn()
            .expect("it starts");
        let watchdog = Watchdog::over(&parent, Duration::from_secs(300)).expect("it is watched");
        let server = Self { parent, watchdog, folder, port, name };
        server.wait_for("ready", site.loaded());
        Some(server)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("run/error.log")).unwrap_or_default()
    }

    /// What was noted so, by name.
    pub(super) fn noted(&self, what: &str) -> Vec<String> {
        let files = fs::read_dir(self.folder.join("run")).expect("it is there").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let begin = format!("{what}.");
        let mut names: Vec<String> =
            names.filter_map(|name| name.strip_prefix(&begin).map(str::to_owned)).collect();
        names.sort();
        names
    }

    /// Until it was noted so many times.
    pub(super) fn wait_for(&self, what: &str, count: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.noted(what).len() < count {
            assert!(Instant::now() < deadline, "not {count} are {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The whole answer to one request.
    pub(super) fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: books.example\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[track_caller]
    pub(super) fn serves(&self) {
        self.serves_at("/");
    }

    #[track_caller]
    pub(super) fn serves_at(&self, path: &str) {
        let answer = self.get(path).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends its daemons first; an error means that it has ended.
        let _ = Command::new("kill").arg(self.parent.id().to_string()).status();
        let _ = self.parent.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
