//! Why the kernel lets one process touch another, or does not.
//!
//! It knows the rules of ptrace(2) ("Ptrace access mode checking") and Yama, applied to facts that
//! were gathered before; the rules are pure, so each has its test. It does not touch the process.
//! Where the rules allow and the kernel refused all the same, it says that, and names no cause that
//! it has not seen.

mod facts;

use std::fmt;

pub use facts::{Facts, Namespace, Side, Tracer, security_module, yama};

/// `CAP_SYS_PTRACE` of capabilities(7).
pub const SYS_PTRACE: u32 = 19;

/// Why a process may not be touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    Gone {
        pid: i32,
    },
    KernelThread {
        pid: i32,
    },
    /// It belongs to somebody else, and we may not look at others' processes.
    OtherUser {
        pid: i32,
        uid: u32,
        user: String,
    },
    /// We are root, but of a container without the capability.
    NoCapability {
        pid: i32,
        user: String,
    },
    /// It has hidden itself, or runs a file that may be run but not read.
    Undumpable {
        pid: i32,
    },
    /// It is ours, and may do more than we may.
    MoreCapabilities {
        pid: i32,
    },
    /// It lives in a user namespace where our capabilities do not count.
    UserNamespace {
        pid: i32,
    },
    /// The kernel's setting `kernel.yama.ptrace_scope`.
    Yama {
        pid: i32,
        scope: u8,
    },
    /// A debugger, or another of us, holds it.
    Traced {
        pid: i32,
        tracer: Tracer,
    },
    /// All of the rules that are known here allow it.
    Unexplained {
        pid: i32,
        own_seccomp: bool,
        security_module: Option<String>,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { pid } => write!(f, "no process {pid}"),
            Self::KernelThread { pid } => write!(f, "process {pid} is a kernel thread"),
            Self::OtherUser { pid, user, .. } => {
                write!(f, "process {pid} belongs to another user (`{user}`)")
            }
            Self::NoCapability { pid, user } => write!(
                f,
                "process {pid} belongs to `{user}`, and root lacks the capability \
                 CAP_SYS_PTRACE here"
            ),
            Self::Undumpable { pid } => write!(
                f,
                "process {pid} has made itself undumpable, or runs a file that its user may not \
                 read"
            ),
            Self::MoreCapabilities { pid } => {
                write!(f, "process {pid} has capabilities that this user has not")
            }
            Self::UserNamespace { pid } => write!(
                f,
                "process {pid} is in a user namespace where the capability CAP_SYS_PTRACE of \
                 this one does not count"
            ),
            Self::Yama { scope: 3, .. } => {
                f.write_str("the kernel forbids it to everybody (`kernel.yama.ptrace_scope` is 3)")
            }
            Self::Yama { scope: 2, .. } => {
                f.write_str("the kernel allows it to root alone (`kernel.yama.ptrace_scope` is 2)")
            }
            Self::Yama { scope, .. } => write!(
                f,
                "the kernel allows it for one's own child processes alone \
                 (`kernel.yama.ptrace_scope` is {scope})"
            ),
            Self::Traced { pid, tracer } => write!(
                f,
                "another tracer (pid {}, {}) holds process {pid}",
                tracer.pid,
                String::from_utf8_lossy(&tracer.name)
            ),
            Self::Unexplained { own_seccomp, security_module, .. } => {
                f.write_str("the kernel refuses, for no reason that can be seen from here")?;
                if *own_seccomp {
                    f.write_str("; a seccomp filter is set on this program")?;
                }
                if let Some(name) = security_module {
                    write!(f, "; the security module `{name}` is active")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Cause {}

impl Cause {
    /// The one command that mends it, or the one step, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Gone { .. } | Self::KernelThread { .. } => return None,
            Self::OtherUser { .. } | Self::Undumpable { .. } | Self::MoreCapabilities { .. } => {
                "run it as root, with `sudo`"
            }
            Self::NoCapability { .. } => {
                "start the container with `docker run --cap-add=SYS_PTRACE`, or run this outside \
                 of it"
            }
            Self::UserNamespace { .. } => "run it as root outside of the container",
            Self::Yama { scope: 3, .. } => {
                "set `kernel.yama.ptrace_scope` lower in /etc/sysctl.d and restart the machine"
            }
            Self::Yama { scope: 2, .. } => "run it as root, with `sudo`",
            Self::Yama { .. } => {
                "run it as root, with `sudo`, or allow it with `sudo sysctl \
                 kernel.yama.ptrace_scope=0`"
            }
            Self::Traced { .. } => "detach it, then retry",
            Self::Unexplained { own_seccomp: true, .. } => {
                "start the container with `docker run --cap-add=SYS_PTRACE --security-opt \
                 seccomp=unconfined`"
            }
            Self::Unexplained { .. } => "look into the kernel log with `sudo dmesg`",
        };
        Some(hint.to_owned())
    }
}

/// Whether the memory of a process may be read.
pub fn look(facts: &Facts) -> Result<(), Cause> {
    let pid = facts.pid;
    if facts.kernel_thread {
        return Err(Cause::KernelThread { pid });
    }
    let capable = facts.own.effective >> SYS_PTRACE & 1 == 1;
    let counts_there = capable && facts.own_capabilities_count();
    // With the capability all of the rules but Yama's strictest pass.
    if !counts_there {
        without_capability(facts, capable)?;
    }
    match facts.yama {
        Some(3) => Err(Cause::Yama { pid, scope: 3 }),
        Some(2) if !counts_there => Err(Cause::Yama { pid, scope: 2 }),
        Some(1) if !counts_there && !facts.is_descendant => Err(Cause::Yama { pid, scope: 1 }),
        _ => Ok(()),
    }
}

/// Whether a process may be attached to: what `look` asks for, and nobody else traces it.
pub fn ask(facts: &Facts) -> Result<(), Cause> {
    look(facts)?;
    match &facts.tracer {
        Some(tracer) => Err(Cause::Traced { pid: facts.pid, tracer: tracer.clone() }),
        None => Ok(()),
    }
}

/// All that stands in the way, not only what is met first.
pub fn obstacles(facts: &Facts) -> Vec<Cause> {
    let mut facts = facts.clone();
    let mut found = Vec::new();
    while let Err(cause) = ask(&facts) {
        let known = without(&mut facts, &cause);
        found.push(cause);
        if !known {
            break;
        }
    }
    found
}

/// Takes an obstacle away. `false`: none that could be.
fn without(facts: &mut Facts, cause: &Cause) -> bool {
    match cause {
        Cause::Gone { .. } | Cause::KernelThread { .. } | Cause::Unexplained { .. } => {
            return false;
        }
        Cause::OtherUser { .. } | Cause::NoCapability { .. } => facts.become_owner(),
        // There its owner may do it.
        Cause::UserNamespace { .. } => {
            facts.other.namespace = facts.own.namespace;
            facts.become_owner();
        }
        Cause::Undumpable { .. } => facts.dumpable = Some(true),
        Cause::MoreCapabilities { .. } => facts.other.permitted = 0,
        Cause::Yama { .. } => facts.yama = None,
        Cause::Traced { .. } => facts.tracer = None,
    }
    true
}

fn without_capability(facts: &Facts, capable: bool) -> Result<(), Cause> {
    let pid = facts.pid;
    let (own, other) = (&facts.own, &facts.other);
    // The real ids of who attaches are compared with all of the other's.
    let same = |own: u32, other: [u32; 3]| other.iter().all(|id| *id == own);
    let owner = same(own.uids.real, [other.uids.real, other.uids.effective, other.uids.saved])
        && same(own.gids.real, [other.gids.real, other.gids.effective, other.gids.saved]);
    if !owner {
        let uid = other.uids.effective;
        let user = facts.user.clone();
        return Err(match (capable, own.uids.effective) {
            (true, _) => Cause::UserNamespace { pid },
            (false, 0) => Cause::NoCapability { pid, user },
            (false, _) => Cause::OtherUser { pid, uid, user },
        });
    }
    if facts.dumpable == Some(false) {
        return Err(Cause::Undumpable { pid });
    }
    if own.namespace != other.namespace && other.namespace.is_some() {
        return Err(Cause::UserNamespace { pid });
    }
    if other.permitted & !own.permitted != 0 {
        return Err(Cause::MoreCapabilities { pid });
    }
    Ok(())
}

/// What may be done to a process, by the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub look: Result<(), Cause>,
    pub ask: Result<(), Cause>,
}

/// Applies the rules to a process that is there now, and touches nothing.
pub fn assess(pid: i32) -> Assessment {
    match Facts::of(pid) {
        Ok(facts) => Assessment { look: look(&facts), ask: ask(&facts) },
        Err(_) => Assessment { look: Err(Cause::Gone { pid }), ask: Err(Cause::Gone { pid }) },
    }
}

/// Why the kernel has refused to attach to a process just now.
pub fn explain(pid: i32) -> Cause {
    let Ok(facts) = Facts::of(pid) else { return Cause::Gone { pid } };
    match ask(&facts) {
        Err(cause) => cause,
        Ok(()) => Cause::Unexplained {
            pid,
            own_seccomp: facts.own_seccomp,
            security_module: facts.security_module,
        },
    }
}

#[cfg(test)]
mod tests;
