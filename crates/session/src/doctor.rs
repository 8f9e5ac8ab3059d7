//! Why a process cannot be looked at or asked, check by check, and the one thing that mends it.
//!
//! It gathers what the other modules know and touches nothing. What a check says is a fact that was read; whether it
//! stands in the way is for the rules of [`spyhole_proc::access`] and for the refusals of an attach.

use spyhole_attach::AttachError;
use spyhole_proc::access::{self, Cause, Facts, SYS_PTRACE};
use spyhole_proc::bell;
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stat::{self, Stat, Status};
use spyhole_proc::surroundings::{self, KernelVersion, Surroundings};
use spyhole_proc::users::Users;

use crate::model::{Allowed, ErrorKind, EvalError, ProcessRow};
use crate::target::Target;
use crate::{failure, processes, unreached};

/// What was found out about a process, or about this machine.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// `None`: the machine and this program.
    pub pid: Option<i32>,
    /// Its words; its name where it has none.
    pub cmdline: Vec<String>,
    pub checks: Vec<Check>,
    pub look: Allowed,
    pub ask: Allowed,
    /// Why it cannot be asked, or not even be looked at.
    pub refusal: Option<EvalError>,
    /// Each one command, or one step; the first is the one to try.
    pub hints: Vec<String>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    pub says: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Fine,
    /// It stands in the way.
    Bars,
    /// Worth knowing; nothing is barred by it alone.
    Note,
}

impl State {
    /// As it stands in JSON and in the text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Bars => "bars",
            Self::Note => "note",
        }
    }
}

fn check(name: &'static str, bars: bool, says: impl Into<String>) -> Check {
    Check { name, state: if bars { State::Bars } else { State::Fine }, says: says.into() }
}

fn note(name: &'static str, says: impl Into<String>) -> Check {
    Check { name, state: State::Note, says: says.into() }
}

/// What this program may do on this machine.
pub fn of_machine() -> Diagnosis {
    let own = Status::own().ok();
    let effective = own.as_ref().map_or(0, |own| own.effective_capabilities);
    let capable = effective >> SYS_PTRACE & 1 == 1;
    let yama = access::yama();
    let barred = match yama {
        Some(3) => Some(Cause::Yama { pid: 0, scope: 3 }),
        Some(scope @ 1..=2) if !capable => Some(Cause::Yama { pid: 0, scope }),
        _ => None,
    };
    let mut checks =
        vec![kernel(), user(own.as_ref()), capability(capable), yama_check(yama, barred.is_some())];
    checks.extend(own_filter(own.is_some_and(|own| own.seccomp != 0)));
    checks.extend(
        surroundings::own_container()
            .map(|by| note("container", format!("this program is in a container ({by})"))),
    );
    checks.extend(module(access::security_module()));
    let reach = match (&barred, capable) {
        (Some(Cause::Yama { scope: 1, .. }), _) => "its own child processes",
        (Some(_), _) => "none",
        (None, true) => "any",
        (None, false) => "those of its own user",
    };
    checks.push(check(
        "reach",
        barred.is_some(),
        format!("processes that may be entered: {reach}"),
    ));
    let refusal = barred
        .as_ref()
        .map(|cause| failure::error(ErrorKind::AccessDenied, "AccessDenied", cause.to_string()));
    let reason = barred.as_ref().map(ToString::to_string);
    let allowed = Allowed { ok: reason.is_none(), door: None, reason };
    let hints = barred.iter().filter_map(Cause::hint).collect();
    Diagnosis {
        pid: None,
        cmdline: Vec::new(),
        checks,
        look: allowed.clone(),
        ask: allowed,
        refusal,
        hints,
    }
}

/// What may be done to a process, and why not.
pub fn of_process(target: &Target) -> Diagnosis {
    let pid = target.pid;
    let row = processes::of(std::iter::once(pid)).pop();
    let facts = Facts::of(pid).ok();
    let status = Status::of(pid).ok();
    let obstacles = facts.as_ref().map(access::obstacles).unwrap_or_default();
    let refused = refusal(target);
    let mut checks = vec![kernel()];
    if let Some(facts) = &facts {
        checks.extend(of_rules(facts, &obstacles));
        checks.extend(around(pid, status.as_ref()));
    }
    if let Some(status) = &status {
        checks.extend(of_status(pid, status, refused.as_ref()));
    }
    checks.extend(python(row.as_ref(), refused.as_ref()));
    let mut look = row.as_ref().map(|row| row.look.clone());
    let mut ask = row.as_ref().map(|row| row.ask.clone());
    if let Some(error) = &refused {
        let no = || Allowed { ok: false, door: None, reason: Some(error.to_string()) };
        look.get_or_insert_with(no);
        ask = Some(ask.filter(|ask| !ask.ok).unwrap_or_else(no));
    }
    let unknown = || Allowed { ok: false, door: None, reason: Some("it runs no Python".into()) };
    let (look, ask) = (look.unwrap_or_else(unknown), ask.unwrap_or_else(unknown));
    if look.ok && ask.ok {
        checks.extend(gil(target));
    }
    let mut hints: Vec<String> = Vec::new();
    let causes = obstacles.iter().filter_map(Cause::hint);
    let refusal = refused.as_ref().map(failure::of_attach);
    for hint in causes.chain(refusal.iter().flat_map(|error| error.hints.clone())) {
        if !ask.ok && !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    Diagnosis { pid: Some(pid), cmdline: words(pid), checks, look, ask, refusal, hints }
}

fn words(pid: i32) -> Vec<String> {
    let words = stat::command_line(pid).unwrap_or_default();
    let name = || vec![stat::name(pid).unwrap_or_default()];
    processes::text(&if words.is_empty() { name() } else { words })
}

/// Why an attach would be refused, as far as that is seen without one.
fn refusal(target: &Target) -> Option<AttachError> {
    let pid = target.pid;
    let Some(process) = &target.process else { return Some(AttachError::NoProcess { pid }) };
    match spyhole_attach::could_attach(process) {
        Err(error) => Some(error),
        // A doorbell needs no permission of the kernel's.
        Ok("doorbell") if processes::can_be_rung(pid) => None,
        Ok(_) => access::assess(pid).ask.err().map(|cause| match cause {
            Cause::Traced { pid, tracer } => {
                let name = String::from_utf8_lossy(&tracer.name).into_owned();
                AttachError::Traced { pid, tracer: tracer.pid, name }
            }
            cause => AttachError::Denied { pid, reason: cause.to_string(), hint: cause.hint() },
        }),
    }
}

fn kernel() -> Check {
    const PIDFD_GETFD: KernelVersion = KernelVersion { major: 5, minor: 6 };
    let Some(release) = surroundings::kernel_release() else {
        return note("kernel", "its version is not known");
    };
    match KernelVersion::parse(&release) {
        Some(version) if version < PIDFD_GETFD => note(
            "kernel",
            format!("Linux {release}: descriptors cannot be copied (5.6), pipes are used instead"),
        ),
        _ => check("kernel", false, format!("Linux {release}")),
    }
}

fn user(own: Option<&Status>) -> Check {
    let uid = own.map_or(0, |own| own.uids.effective);
    let users = Users::of_this_machine().unwrap_or_default();
    check("user", false, format!("this program runs as `{}` (uid {uid})", users.shown(uid)))
}

fn capability(capable: bool) -> Check {
    match capable {
        true => check("capability", false, "this program has CAP_SYS_PTRACE"),
        false => note("capability", "this program has no CAP_SYS_PTRACE"),
    }
}

fn yama_check(yama: Option<u8>, bars: bool) -> Check {
    let means = match yama {
        None => return check("yama", false, "the kernel has no Yama"),
        Some(0) => "own processes may be traced",
        Some(1) => "without the capability only child processes may be traced",
        Some(2) => "only with the capability may processes be traced",
        Some(_) => "nobody may trace, until the machine is restarted",
    };
    let scope = yama.unwrap_or_default();
    check("yama", bars, format!("`kernel.yama.ptrace_scope` is {scope}: {means}"))
}

fn own_filter(is_set: bool) -> Option<Check> {
    is_set.then(|| {
        note("own seccomp", "a seccomp filter is set on this program, and may refuse its calls")
    })
}

fn module(name: Option<String>) -> Option<Check> {
    name.map(|name| note("security module", format!("`{name}` is active, and may refuse")))
}

/// The kernel's rules, one by one.
fn of_rules(facts: &Facts, obstacles: &[Cause]) -> Vec<Check> {
    let bars = |is: fn(&Cause) -> bool| obstacles.iter().any(is);
    let capable = facts.own.effective >> SYS_PTRACE & 1 == 1;
    let (own, other) = (facts.own.uids.effective, facts.other.uids.effective);
    let own_user = Users::of_this_machine().unwrap_or_default().shown(own);
    let stranger = bars(|one| matches!(one, Cause::OtherUser { .. } | Cause::NoCapability { .. }));
    let mut checks = vec![check(
        "user",
        stranger,
        format!(
            "it is `{}`'s (uid {other}), this program runs as `{own_user}` (uid {own})",
            facts.user
        ),
    )];
    checks.push(capability(capable));
    checks.push(yama_check(facts.yama, bars(|one| matches!(one, Cause::Yama { .. }))));
    let hidden = bars(|one| matches!(one, Cause::Undumpable { .. }));
    checks.extend(match facts.dumpable {
        Some(true) => Some(check("dumpable", hidden, "it is")),
        Some(false) => Some(Check {
            state: if hidden { State::Bars } else { State::Note },
            ..check(
                "dumpable",
                hidden,
                "it has made itself undumpable, or runs a file that its user may not read",
            )
        }),
        None => None,
    });
    if bars(|one| matches!(one, Cause::MoreCapabilities { .. })) {
        checks.push(check("its capabilities", true, "it has some that this user has not"));
    }
    let namespace = bars(|one| matches!(one, Cause::UserNamespace { .. }));
    let same = facts.other.namespace.is_some() && facts.own.namespace == facts.other.namespace;
    checks.push(match (same, namespace) {
        (true, false) => check("user namespace", false, "this program's"),
        (_, true) => {
            check("user namespace", true, "another one, where no capability of this program counts")
        }
        (false, false) => {
            note("user namespace", "another one, over which this program's capabilities count")
        }
    });
    checks.push(match &facts.tracer {
        None => check("tracer", false, "none"),
        Some(tracer) => check(
            "tracer",
            true,
            format!("{} (pid {}) holds it", String::from_utf8_lossy(&tracer.name), tracer.pid),
        ),
    });
    checks.extend(own_filter(facts.own_seccomp));
    checks.extend(module(facts.security_module.clone()));
    checks
}

/// The container that it is in, if it is one.
fn around(pid: i32, status: Option<&Status>) -> Option<Check> {
    let around = Surroundings::of(pid);
    let mut parts: Vec<String> = Vec::new();
    let own = status.and_then(|status| status.namespace_pids.last().copied());
    if around.same_pid_namespace == Some(false) {
        let number = own.map(|own| format!(" (there it is {own})"));
        parts.push(format!("another pid namespace{}", number.unwrap_or_default()));
    }
    if around.same_mount_namespace == Some(false) {
        parts.push("another mount namespace".into());
    }
    if around.same_root == Some(false) {
        parts.push("another root folder".into());
    }
    (!parts.is_empty()).then(|| note("container", format!("it is in {}", parts.join(", "))))
}

/// What its own state says.
fn of_status(pid: i32, status: &Status, refused: Option<&AttachError>) -> Vec<Check> {
    let exiting = Stat::of(pid).is_ok_and(|stat| stat.is_exiting());
    let mut checks = vec![match status.state {
        'T' => check(
            "state",
            true,
            "stopped (SIGSTOP or a terminal's Ctrl-Z): it can be looked at, and runs nothing",
        ),
        'Z' | 'X' | 'x' => check("state", true, "it has ended"),
        _ if exiting => check("state", true, "it is ending"),
        't' => note("state", "held by its tracer"),
        'D' => note("state", "its main thread is in an uninterruptible system call"),
        _ => check("state", false, "it is alive, and not stopped"),
    }];
    let barred = matches!(refused, Some(AttachError::Seccomp { .. }));
    checks.push(match status.seccomp {
        0 => check("seccomp", false, "no filter"),
        1 => check("seccomp", barred, "strict mode: it may only read, write and end"),
        _ => Check {
            state: if barred { State::Bars } else { State::Note },
            ..check(
                "seccomp",
                true,
                "it has a filter, which might end it for a system call of ours",
            )
        },
    });
    if status.shadow_stack {
        checks.push(check("shadow stack", true, "it has one, which a borrowed call would violate"));
    }
    checks
}

/// What it says of itself.
fn python(row: Option<&ProcessRow>, refused: Option<&AttachError>) -> Vec<Check> {
    let Some(row) = row else {
        return vec![check("python", true, "it runs no CPython that is found here")];
    };
    let version = row.python.as_deref().unwrap_or("of an unknown version");
    let mut checks = vec![match row.implementation.as_str() {
        "cpython" => check("python", false, format!("CPython {version}")),
        _ => check("python", true, "PyPy, which is not CPython"),
    }];
    if matches!(refused, Some(AttachError::OptedOut { .. })) {
        checks.push(check("opt-out", true, "its owner has switched remote debugging off"));
    }
    let status = Status::of(row.pid).ok();
    if status.is_some_and(|status| bell::has_name_plate(&status)) {
        checks.push(check("doorbell", false, "it is prepared: no permission to trace is needed"));
    }
    checks
}

/// Whether code would get to run: a GIL that is held does not bar an attach, but what comes after.
fn gil(target: &Target) -> Option<Check> {
    let process: &Pidfd = target.process.as_ref()?;
    let holder = unreached::who_holds(process, 0);
    Some(match holder {
        None => check("gil", false, "nobody holds it now"),
        Some(told) => note("gil", told),
    })
}
