//! What the rules of access are applied to, gathered from `/proc`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::bounded;
use crate::stat::{self, Ids, Stat, Status};
use crate::users::Users;

/// More generations than any tree of processes has.
const GENERATIONS: usize = 1024;

/// Everything that the rules look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub pid: i32,
    pub own: Side,
    pub other: Side,
    /// The other's user, by name or number.
    pub user: String,
    pub kernel_thread: bool,
    /// `None` where it cannot be told from outside.
    pub dumpable: Option<bool>,
    pub tracer: Option<Tracer>,
    /// The other was started by us, or by one that we started.
    pub is_descendant: bool,
    /// `kernel.yama.ptrace_scope`; `None` on a kernel without Yama.
    pub yama: Option<u8>,
    /// A filter is set on ourselves, which may refuse the call.
    pub own_seccomp: bool,
    /// A security module that may refuse, if one is active.
    pub security_module: Option<String>,
}

/// One of the two processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    pub uids: Ids,
    pub gids: Ids,
    /// Capabilities, one bit each.
    pub permitted: u64,
    pub effective: u64,
    /// `None` where we may not know it.
    pub namespace: Option<Namespace>,
}

/// A user namespace, by its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace(pub u64);

impl Namespace {
    /// The one that the machine starts with (`PROC_USER_INIT_INO` of include/linux/proc_ns.h): an
    /// ancestor of all others.
    pub const FIRST: Self = Self(0xEFFF_FFFD);

    pub(crate) fn of(path: &str) -> Option<Self> {
        // Its metadata, not its text: the link is one of the kernel's own.
        fs::metadata(path).ok().map(|metadata| Self(metadata.ino()))
    }
}

/// Who traces a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracer {
    /// In our pid namespace.
    pub pid: i32,
    /// As it calls itself; hostile text.
    pub name: Vec<u8>,
}

impl Facts {
    /// Gathers them; an error means that the process is gone.
    pub fn of(pid: i32) -> io::Result<Self> {
        let own = Status::own()?;
        let other = Status::of(pid)?;
        let tracer = (other.tracer != 0).then(|| Tracer {
            pid: other.tracer,
            name: stat::name(other.tracer).unwrap_or_default(),
        });
        Ok(Self {
            pid,
            own: Side::of(&own, "/proc/self/ns/user"),
            other: Side::of(&other, &format!("/proc/{pid}/ns/user")),
            user: Users::of_this_machine().unwrap_or_default().shown(other.uids.effective),
            kernel_thread: Stat::of(pid)?.is_kernel_thread(),
            dumpable: dumpable(pid, other.uids.effective),
            tracer,
            is_descendant: is_descendant(pid),
            yama: yama(),
            own_seccomp: own.seccomp != 0,
            security_module: security_module(),
        })
    }

    /// As if the other were ours, with no id that differs.
    pub(super) fn become_owner(&mut self) {
        let all = |id| Ids { real: id, effective: id, saved: id, filesystem: id };
        self.other.uids = all(self.own.uids.real);
        self.other.gids = all(self.own.gids.real);
    }

    /// Whether a capability of ours is one over the other too: in the same user namespace, or in
    /// one above it.
    pub(super) fn own_capabilities_count(&self) -> bool {
        match (self.own.namespace, self.other.namespace) {
            (Some(Namespace::FIRST), _) => true,
            (own, Some(other)) => own == Some(other),
            // Had we the capability over it, we could read its namespace.
            (_, None) => false,
        }
    }
}

impl Side {
    fn of(status: &Status, namespace: &str) -> Self {
        Self {
            uids: status.uids,
            gids: status.gids,
            permitted: status.permitted_capabilities,
            effective: status.effective_capabilities,
            namespace: Namespace::of(namespace),
        }
    }
}

/// The kernel gives the files of an undumpable process to root. Of root's own it does not show.
fn dumpable(pid: i32, uid: u32) -> Option<bool> {
    let owner = fs::metadata(format!("/proc/{pid}/maps")).ok()?.uid();
    match (owner, uid) {
        (0, 0) => None,
        (owner, uid) => Some(owner == uid),
    }
}

fn is_descendant(pid: i32) -> bool {
    let Ok(own) = i32::try_from(std::process::id()) else { return false };
    let mut at = pid;
    for _ in 0..GENERATIONS {
        match Stat::of(at) {
            Ok(stat) if stat.ppid == own => return true,
            Ok(stat) if stat.ppid > 0 => at = stat.ppid,
            _ => return false,
        }
    }
    false
}

/// `kernel.yama.ptrace_scope`; `None` on a kernel without Yama.
pub fn yama() -> Option<u8> {
    let text = bounded::read("/proc/sys/kernel/yama/ptrace_scope", 16).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// SELinux, AppArmor, SMACK and the like can refuse on their own account.
pub fn security_module() -> Option<String> {
    const PASSIVE: [&str; 7] = ["capability", "lockdown", "yama", "landlock", "bpf", "ima", "evm"];
    let text = bounded::read("/sys/kernel/security/lsm", 256).ok()?;
    let text = String::from_utf8(text).ok()?;
    text.trim()
        .split(',')
        .find(|name| !name.is_empty() && !PASSIVE.contains(name))
        .map(str::to_owned)
}
