//! The files of a process, read as that process itself could read them.
//!
//! Their names come from the process, and so may name anything: a pipe that blocks, a device that acts when it is
//! opened, a link out of its root, a file of ours that it may not read. So a name is looked up below the process's root
//! (`openat2`), what it leads to is looked at before it is opened, and all of that happens in a thread that has the
//! user, the groups and the capabilities of the process: the kernel itself decides, with folders and access lists, too.
//! Where such a thread cannot be had (we are not root), the file's mode decides as well, by the process's groups.
//!
//! A filesystem may hang (a server that is gone): nobody waits for the thread beyond a limit.

use std::ffi::CString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::access::Namespace;
use crate::stat::Status;
use crate::sys::files as sys;

/// A longer file is not read.
pub const FILE_AT_MOST: u64 = 4 << 20;
/// What is read in one go, of all files together.
const ALL_AT_MOST: u64 = 32 << 20;

/// Why a file was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is none of that name, or it is none that has a place (`<string>`).
    NotThere,
    /// The process itself may not read it.
    NotAllowed,
    /// A folder, a pipe, a device, or a file that the kernel makes up.
    NotPlain,
    /// It, or all of them together, is more than is read.
    TooLong,
    /// It could not be read in the time that there was.
    TooSlow,
    /// This kernel cannot look names up below a root, or may not for us.
    Unsupported,
}

/// What a file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub bytes: Vec<u8>,
    /// When it was last written, replaced, or given another name or mode.
    pub changed: SystemTime,
}

/// Who a process is to the filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    capabilities: u64,
}

impl Identity {
    /// `None` if it has more than one: then it is about to become somebody else.
    fn of(pid: i32) -> io::Result<Option<Self>> {
        let status = Status::of(pid)?;
        let same = |ids: crate::stat::Ids| {
            ids.real == ids.effective && ids.real == ids.saved && ids.real == ids.filesystem
        };
        if !same(status.uids) || !same(status.gids) {
            return Ok(None);
        }
        // Capabilities of another user namespace are none in ours.
        let namespace = |path: String| Namespace::of(&path);
        let own = namespace("/proc/self/ns/user".to_owned());
        let counts = own.is_some() && own == namespace(format!("/proc/{pid}/ns/user"));
        Ok(Some(Self {
            uid: status.uids.filesystem,
            gid: status.gids.filesystem,
            groups: status.groups,
            capabilities: if counts { status.effective_capabilities } else { 0 },
        }))
    }

    /// Makes the calling thread it, for the rest of its life. `None`: it cannot be. Else whether its groups are, too.
    fn take_on(&self) -> Option<bool> {
        let groups = sys::take_groups(&self.groups).is_ok();
        let taken = sys::take_filesystem_ids(self.uid, self.gid)
            && sys::keep_capabilities(self.capabilities).is_ok();
        taken.then_some(groups)
    }

    /// What the mode of a file allows it, leaving aside its capabilities.
    fn may_read(&self, file: &Metadata) -> bool {
        let bit = if file.uid() == self.uid {
            0o400
        } else if file.gid() == self.gid || self.groups.contains(&file.gid()) {
            0o040
        } else {
            0o004
        };
        file.mode() & bit != 0
    }
}

/// The files of one process.
#[derive(Debug)]
pub struct Files {
    pid: i32,
    identity: Identity,
    root: OwnedFd,
    /// What the kernel says of its working folder and its root; nothing is looked up for it.
    links: [Option<PathBuf>; 2],
}

impl Files {
    /// Takes hold of a process's root. `None` if its files cannot be told apart from ours.
    pub fn of(pid: i32) -> Option<Self> {
        let identity = Identity::of(pid).ok().flatten()?;
        let path = format!("/proc/{pid}/root");
        let root = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(path)
            .ok()?
            .into();
        let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).ok();
        Some(Self { pid, identity, root, links: ["cwd", "root"].map(link) })
    }

    /// Reads files by the names that the process has for them, in their order, and no longer than `limit`. Nothing is
    /// read if the process has meanwhile become another: then the names may be those that somebody else chose.
    pub fn read(self, names: Vec<Vec<u8>>, limit: Duration) -> Vec<Result<Content, Refused>> {
        if Identity::of(self.pid).ok().flatten().as_ref() != Some(&self.identity) {
            return vec![Err(Refused::NotAllowed); names.len()];
        }
        let count = names.len();
        let deadline = Instant::now() + limit;
        let (sender, receiver) = mpsc::channel();
        let reader = std::thread::Builder::new().name("files".to_owned());
        let started = reader.spawn(move || {
            // Here, as its filesystem may be one that hangs.
            let folder = self.working_folder();
            let groups_are_taken = self.identity.take_on();
            let mut left = ALL_AT_MOST;
            for name in names {
                let read = match groups_are_taken {
                    None => Err(Refused::NotAllowed),
                    Some(taken) => self.read_one(&name, folder.as_deref(), !taken, left),
                };
                if let Ok(content) = &read {
                    left -= content.bytes.len() as u64;
                }
                if sender.send(read).is_err() {
                    return;
                }
            }
        });
        let mut contents = Vec::with_capacity(count);
        while started.is_ok() && contents.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(content) => contents.push(content),
                Err(_) => break,
            }
        }
        contents.resize(count, Err(Refused::TooSlow));
        contents
    }

    fn read_one(
        &self,
        name: &[u8],
        folder: Option<&[u8]>,
        check: bool,
        left: u64,
    ) -> Result<Content, Refused> {
        let path = place_of(name, folder).ok_or(Refused::NotThere)?;
        let place = sys::open_within(self.root.as_fd(), &path, libc::O_PATH | libc::O_CLOEXEC)
            .map_err(|error| match error.raw_os_error() {
                // So a filter refuses the call itself; of a file it never says this.
                Some(libc::EPERM) => Refused::Unsupported,
                _ => refused(&error),
            })?;
        let place = File::from(place);
        let seen = place.metadata().map_err(|error| refused(&error))?;
        let invented = sys::filesystem(place.as_fd()).map_or(true, is_invented);
        if !seen.is_file() || invented {
            return Err(Refused::NotPlain);
        }
        if seen.len() > FILE_AT_MOST.min(left) {
            return Err(Refused::TooLong);
        }
        if check && !self.identity.may_read(&seen) {
            return Err(Refused::NotAllowed);
        }
        // The very file that was looked at, whatever has its name by now.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
            .open(format!("/proc/self/fd/{}", place.as_raw_fd()))
            .map_err(|error| refused(&error))?;
        let mut bytes = Vec::with_capacity(seen.len() as usize);
        let most = FILE_AT_MOST.min(left);
        (&file).take(most + 1).read_to_end(&mut bytes).map_err(|error| refused(&error))?;
        if bytes.len() as u64 > most {
            return Err(Refused::TooLong);
        }
        // Afterwards, so that what was written while it was read counts.
        let seen = file.metadata().map_err(|error| refused(&error))?;
        Ok(Content { bytes, changed: changed(&seen) })
    }

    /// The working folder of the process as a path below its root; `None` if it is not to be had there, or another by
    /// now. What the kernel tells is seen from our root, so that it is looked up to prove it.
    fn working_folder(&self) -> Option<Vec<u8>> {
        let [Some(folder), Some(above)] = &self.links else { return None };
        let folder = folder.as_os_str().as_bytes();
        let below = match above.as_os_str().as_bytes() {
            b"/" => folder,
            above => folder.strip_prefix(above).unwrap_or(folder),
        };
        let path = if below.is_empty() { b"/" } else { below };
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let found = sys::open_within(self.root.as_fd(), &CString::new(path).ok()?, flags).ok()?;
        let found = File::from(found).metadata().ok()?;
        let wanted = fs::metadata(format!("/proc/{}/cwd", self.pid)).ok()?;
        let same = (found.dev(), found.ino()) == (wanted.dev(), wanted.ino());
        same.then(|| path.to_vec())
    }
}

/// A name as a path from the root; `folder`: where names begin that have no place of their own.
fn place_of(name: &[u8], folder: Option<&[u8]>) -> Option<CString> {
    if name.is_empty() || name.first() == Some(&b'<') {
        return None;
    }
    let mut path = Vec::new();
    if name.first() != Some(&b'/') {
        path.extend_from_slice(folder?);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    CString::new(path).ok()
}

fn refused(error: &io::Error) -> Refused {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Refused::Unsupported,
        Some(libc::EACCES | libc::EPERM) => Refused::NotAllowed,
        _ => Refused::NotThere,
    }
}

/// Filesystems whose files are the kernel's answers: reading one may do something, and `self` in one is us. Numbers of
/// linux/magic.h.
fn is_invented(filesystem: i64) -> bool {
    matches!(
        filesystem,
        0x9fa0 // proc
            | 0x6265_6572 // sysfs
            | 0x6462_6720 // debugfs
            | 0x7472_6163 // tracefs
            | 0x7363_6673 // securityfs
            | 0x6265_6570 // configfs
            | 0x6165_676c // pstore
            | 0xde5e_81e4 // efivarfs
            | 0xcafe_4a11 // bpf
            | 0x0027_e0eb // cgroup
            | 0x6367_7270 // cgroup2
            | 0xf97c_ff8c // selinuxfs
    )
}

fn changed(file: &Metadata) -> SystemTime {
    let at = |seconds: i64, nanoseconds: i64| {
        let (seconds, nanoseconds) =
            (u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
    };
    // One that is out of all bounds is taken for now: it proves nothing.
    let written = at(file.mtime(), file.mtime_nsec()).unwrap_or_else(SystemTime::now);
    let touched = at(file.ctime(), file.ctime_nsec()).unwrap_or_else(SystemTime::now);
    written.max(touched)
}
