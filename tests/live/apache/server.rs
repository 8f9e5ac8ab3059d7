//! An Apache of our own with mod_wsgi, on loopback.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use spyhole_testkit::{census, interpreters, place};

use super::{ODD_GROUP, PLAIN, SITE};
use crate::served::{self, Served};

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
    pub(super) from: Origin,
}

/// Where mod_wsgi and its Python come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    Debian,
    /// `mod_wsgi` of PyPI, in the environment of this version.
    Venv(&'static str),
}

/// What has to be loaded into Apache, and where its Python has its library.
struct Module {
    lines: String,
    home: Option<PathBuf>,
}

impl Origin {
    fn module(self) -> Option<Module> {
        match self {
            Self::Debian => {
                let module = Path::new(MODULES).join("mod_wsgi.so");
                let lines = format!("LoadModule wsgi_module {}\n", module.display());
                module.exists().then_some(Module { lines, home: None })
            }
            Self::Venv(minor) => {
                let python = fs::canonicalize(interpreters::for_version(minor)?.path).ok()?;
                let home = python.parent()?.parent()?.to_owned();
                let library = home.join(format!("lib/libpython{minor}.so.1.0"));
                let place = format!("{minor}/lib/python{minor}/site-packages/mod_wsgi/server");
                let files = fs::read_dir(place::venvs().join(place)).ok()?.flatten();
                let mut files = files.map(|file| file.path());
                let module = files.find(|path| path.extension().is_some_and(|end| end == "so"))?;
                let (library, module) = (library.display(), module.display());
                let lines = format!("LoadFile {library}\nLoadModule wsgi_module {module}\n");
                Some(Module { lines, home: Some(home) })
            }
        }
    }
}

/// Nobody else may read where we have our interpreters: the daemons find theirs at a place of their own, in a mount
/// namespace of their own.
const WITH_PYTHON: &str = r#"mount --bind "$1" "$2"; shift 2; exec "$@""#;

impl Site {
    pub(super) fn django(daemons: usize) -> Self {
        Self { daemons, script: SITE, groups: &["books.example|/"], more: "", from: Origin::Debian }
    }

    pub(super) fn plain(daemons: usize) -> Self {
        Self { script: PLAIN, groups: &["books.example|/", ODD_GROUP], ..Self::django(daemons) }
    }

    /// So many notes there are when all daemons have loaded it.
    pub(super) fn loaded(&self) -> usize {
        self.daemons * self.groups.len()
    }
}

/// An Apache that serves a site.
pub(super) struct Server {
    served: Served,
    /// What its daemons call themselves.
    pub(super) name: String,
}

impl Server {
    /// `None`, with the reason written down, where the packages are not installed.
    pub(super) fn start(test: &str, site: &Site) -> Option<Self> {
        let django =
            site.script != SITE || Path::new("/usr/lib/python3/dist-packages/django").exists();
        let module = site.from.module();
        let status = fs::read_to_string("/proc/self/status").expect("it is there");
        let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
        let Some(module) = module.filter(|_| django && root && Path::new(APACHE).exists()) else {
            let reason = "needs root, Apache, mod_wsgi from";
            census::skipped(test, &format!("{reason} {:?}, and Django for some sites", site.from));
            return None;
        };
        let (folder, listen) = (served::folder(test), served::place());
        let shown = folder.display();
        fs::create_dir_all(folder.join("run")).expect("a folder");
        fs::write(folder.join("site.wsgi"), site.script).expect("a file");
        let package = place::workspace().join("crates/agent/python/spyhole");
        let copied = Command::new("cp").arg("-r").arg(package).arg(&folder).status();
        assert!(copied.expect("cp starts").success());
        // The daemons are another user.
        let open = Command::new("chmod").args(["-R", "a+rwX"]).arg(&folder).status();
        assert!(open.expect("chmod starts").success());
        // There is no more room for it than for the program's path.
        let name = {
            static STARTED: AtomicUsize = AtomicUsize::new(0);
            let number = STARTED.fetch_add(1, Ordering::SeqCst);
            let letter = |place: u32| {
                char::from(
                    b'a' + u8::try_from(number / 26_usize.pow(place) % 26).unwrap_or_default(),
                )
            };
            let number: String = (0..3).map(letter).collect();
            format!("(wsgi:{number}{})", std::process::id())
        };
        let load = |module: &str| format!("LoadModule {module}_module {MODULES}/mod_{module}.so\n");
        let mut conf = format!(
            "ServerRoot {shown}/run\nServerName localhost\nListen {listen}\nPidFile httpd.pid\n\
             ErrorLog error.log\n{}{}{}User www-data\nGroup www-data\nWSGISocketPrefix {shown}/run/wsgi\n\
             WSGIDaemonProcess site processes={} threads=3 display-name={name}\n\
             <Directory {shown}>\nRequire all granted\n</Directory>\n{}\n",
            load("mpm_event"),
            load("authz_core"),
            module.lines,
            site.daemons,
            site.more,
        );
        for (group, path) in site.groups.iter().zip(["/", "/b"]).rev() {
            let place =
                format!("{shown}/site.wsgi process-group=site application-group=\"{group}\"");
            conf += &format!("WSGIScriptAlias {path} {place}\nWSGIImportScript {place}\n");
        }
        let mut command = Command::new(APACHE);
        if let Some(home) = &module.home {
            let python = folder.join("python");
            fs::create_dir(&python).expect("a folder");
            conf += &format!("WSGIPythonHome {}\n", python.display());
            command = Command::new("unshare");
            command
                .args(["--mount", "sh", "-ec", WITH_PYTHON, "sh"])
                .args([home, &python])
                .arg(APACHE);
        }
        fs::write(folder.join("httpd.conf"), conf).expect("a file");
        command.arg("-d").arg(folder.join("run")).arg("-f").arg(folder.join("httpd.conf"));
        command.arg("-DFOREGROUND").stdin(Stdio::null());
        let files = (Path::new("run"), Path::new("run/error.log"));
        let server = Self { served: Served::start(command, listen, folder, files), name };
        server.wait_for("ready", site.loaded());
        Some(server)
    }
}

impl Deref for Server {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}
