//! What went wrong, as a model: from an attach, from a traceback, from a clock.

use spyhole_agent::message::Refused;
use spyhole_attach::AttachError;

use crate::model::{ErrorKind, EvalError, InterpreterRow, Place};
use crate::place::Within;
use crate::target::Target;

pub(crate) fn error(kind: ErrorKind, type_name: &str, message: String) -> EvalError {
    EvalError {
        kind,
        type_name: type_name.into(),
        message,
        traceback: Vec::new(),
        causes: Vec::new(),
        hints: Vec::new(),
    }
}

/// The type name of a failure that is no answer where others answered.
pub(crate) const NOT_INITIALISED: &str = "NotInitialised";

/// The type name of one that says that a module is not there.
pub(crate) const NOT_LOADED: &str = "NotLoaded";

/// Why a process could not be attached to.
pub(crate) fn of_attach(attach: &AttachError) -> EvalError {
    use AttachError as A;
    let (kind, name) = match attach {
        A::NoProcess { .. }
        | A::Gone { .. }
        | A::Zombie { .. }
        | A::Exiting { .. }
        | A::NoInterpreter { .. } => (ErrorKind::Gone, "Gone"),
        A::NotInitialised { .. } | A::Finalised { .. } => (ErrorKind::Unreachable, NOT_INITIALISED),
        A::Denied { .. } | A::OptedOut { .. } | A::Traced { .. } | A::Seccomp { .. } => {
            (ErrorKind::AccessDenied, "AccessDenied")
        }
        A::NoSuchDoor { .. } | A::Ourselves { .. } => (ErrorKind::Usage, "Usage"),
        A::AgentFailed { .. } => (ErrorKind::Bug, "Bug"),
        A::Call { .. } | A::Sys { .. } | A::Proc { .. } => (ErrorKind::Unreachable, "Unreachable"),
        _ => (ErrorKind::Unreachable, "Unreachable"),
    };
    let mut failure = error(kind, name, attach.to_string());
    let mut cause = std::error::Error::source(attach);
    while let Some(next) = cause {
        failure.causes.push(next.to_string());
        cause = next.source();
    }
    failure.hints.extend(hint(attach));
    failure
}

/// One step that mends it, where there is one.
fn hint(attach: &AttachError) -> Option<String> {
    use AttachError as A;
    match attach {
        A::Denied { hint, .. } => hint.clone(),
        A::Stopped { pid } => Some(format!("let it go on with `kill -CONT {pid}`, then retry")),
        A::Traced { .. } => Some("detach it, then retry".into()),
        A::OptedOut { .. } => {
            Some("for a process of your own, retry with `--override-opt-out`".into())
        }
        A::Zombie { pid } => Some(format!("see its parent with `ps -o ppid= -p {pid}`")),
        A::NotPython { .. } => Some("list the Python processes with `spyhole ps`".into()),
        A::NoThread { pid, .. } => Some(format!("see its limits with `cat /proc/{pid}/limits`")),
        A::NoChannel { pid, .. } => Some(format!("see its descriptors with `ls /proc/{pid}/fd`")),
        A::NotInitialised { .. } => Some("retry when it has started".into()),
        A::NoSafeThread { .. } => Some("retry; a later moment may be better".into()),
        _ => None,
    }
}

/// A list names a process that is not there.
pub(crate) fn no_process(pid: i32) -> EvalError {
    of_attach(&AttachError::NoProcess { pid })
}

/// The process ended before anything was done.
pub(crate) fn gone(pid: i32) -> EvalError {
    of_attach(&AttachError::Gone { pid })
}

/// An interpreter was named that is not there.
pub(crate) fn unknown_interpreter(target: &Target, there: &[InterpreterRow]) -> EvalError {
    let wanted = target.interpreter.as_deref().unwrap_or_default();
    let message = format!("process {} has no interpreter `{wanted}`", target.pid);
    let mut failure = error(ErrorKind::Usage, "Usage", message);
    failure.hints.extend(list_of(target.pid, there));
    failure
}

/// `it has 4123/0, 4123/1 (shop.example|/x)`
fn list_of(pid: i32, there: &[InterpreterRow]) -> Option<String> {
    const AT_MOST: usize = 20;
    let one = |row: &InterpreterRow| match &row.name {
        Some(name) if !name.is_empty() => format!("{pid}/{} ({name})", row.id),
        _ => format!("{pid}/{}", row.id),
    };
    let mut shown: Vec<String> = there.iter().take(AT_MOST).map(one).collect();
    if there.len() > AT_MOST {
        shown.push(format!("and {} more", there.len() - AT_MOST));
    }
    (!shown.is_empty()).then(|| format!("it has {}", shown.join(", ")))
}

/// The code has not ended in time. `at`: the expression that it is in.
pub(crate) fn timed_out(limit: std::time::Duration, at: Option<(&str, i32)>) -> EvalError {
    let message = match at {
        Some((at, thread)) => {
            format!("timed out after {limit:?}, still in `{at}` (thread {thread})")
        }
        None => format!("timed out after {limit:?}"),
    };
    error(ErrorKind::Timeout, "TimeoutError", message)
}

/// The agent never got to run: nobody gave up the GIL. `holder`: who has it now, and where.
pub(crate) fn never_ran(
    place: Place,
    limit: std::time::Duration,
    holder: Option<&str>,
) -> EvalError {
    let Place { pid, interpreter } = place;
    let of =
        if interpreter == 0 { String::new() } else { format!("interpreter {interpreter} of ") };
    let holder = holder.unwrap_or("one is in a long call of C code");
    let message = format!(
        "code cannot run in {of}process {pid}: no thread gave up the GIL within {limit:?}; {holder}"
    );
    let mut failure = error(ErrorKind::Unreachable, "Unreachable", message);
    failure.hints.push(format!("see what it does with `spyhole stack {pid}`"));
    failure
}

/// A place of the program has not let the code in.
pub(crate) fn not_let_in(
    place: Place,
    within: Within,
    limit: std::time::Duration,
    facts: &str,
) -> EvalError {
    let pid = place.pid;
    let which = match within {
        Within::Main => "the main thread",
        Within::Loop => "the event loop",
        _ => "the hub",
    };
    let facts = if facts.is_empty() { String::new() } else { format!(": {facts}") };
    let message =
        format!("{which} of process {pid} has not let the code in within {limit:?}{facts}");
    let mut failure = error(ErrorKind::Unreachable, "Unreachable", message);
    failure.hints.push(format!("see what it does with `spyhole stack {pid}`"));
    failure
}

/// The user gave up.
pub(crate) fn given_up(at: Option<(&str, i32)>) -> EvalError {
    let message = match at {
        Some((at, thread)) => format!("interrupted, still in `{at}` (thread {thread})"),
        None => "interrupted".into(),
    };
    error(ErrorKind::Interrupted, "KeyboardInterrupt", message)
}

/// The agent did not understand us, or the place that was asked for is not there.
pub(crate) fn refused(refused: &Refused) -> EvalError {
    let message = &refused.message;
    if refused.misplaced {
        return error(ErrorKind::Unreachable, "Unreachable", message.clone());
    }
    error(ErrorKind::Bug, "Bug", format!("the agent refused: {message}"))
}
