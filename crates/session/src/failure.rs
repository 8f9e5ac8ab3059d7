//! What went wrong, as a model: from an attach, from a traceback, from a clock.

use spyhole_agent::message;
use spyhole_attach::AttachError;

use crate::model::{
    ErrorKind, EvalError, Raised, Relation, SyntaxPlace, TraceFrame,
};
use crate::target::Target;

fn error(kind: ErrorKind, type_name: &str, message: String) -> EvalError {
    EvalError {
        kind,
        type_name: type_name.into(),
        message,
        traceback: Vec::new(),
        causes: Vec::new(),
        hints: Vec::new(),
    }
}

/// Why a process could not be attached to.
pub(crate) fn of_attach(attach: &AttachError) -> EvalError {
    use AttachError as A;
    let (kind, name) = match attach {
        A::NoProcess { .. } | A::Gone { .. } | A::Zombie { .. } | A::Exiting { .. } => {
            (ErrorKind::Gone, "Gone")
        }
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
        A::NoThread { pid, .. } => {
            Some(format!("see its limits with `cat /proc/{pid}/limits`"))
        }
        A::NoChannel { pid, .. } => Some(format!("see its descriptors with `ls /proc/{pid}/fd`")),
        A::NotInitialised { .. } => Some("retry when it has started".into()),
        A::NoSafeThread { .. } => Some("retry; a later moment may be better".into()),
        _ => None,
    }
}

/// The process ended before anything was done.
pub(crate) fn gone(pid: i32) -> EvalError {
    of_attach(&AttachError::Gone { pid })
}

/// A sub-interpreter was named.
pub(crate) fn no_such_interpreter(target: &Target) -> EvalError {
    let name = target.interpreter.as_deref().unwrap_or_default();
    let mut failure = error(
        ErrorKind::Unreachable,
        "Unreachable",
        format!(
            "interpreter `{name}` of process {} cannot be reached: this build reaches the main interpreter alone",
            target.pid
        ),
    );
    failure.hints.push(format!("name the main interpreter with `{}/0`", target.pid));
    failure
}

/// The code has not ended in time. `at`: the expression that it is in.
pub(crate) fn timed_out(limit: std::time::Duration, at: Option<(&str, i32)>) -> EvalError {
    let message = match at {
        Some((at, thread)) => format!("timed out after {limit:?}, still in `{at}` (thread {thread})"),
        None => format!("timed out after {limit:?}"),
    };
    error(ErrorKind::Timeout, "TimeoutError", message)
}

/// The agent never got to run: nobody gave up the GIL.
pub(crate) fn never_ran(pid: i32, limit: std::time::Duration) -> EvalError {
    let message = format!(
        "code cannot run in process {pid}: no thread gave up the GIL within {limit:?}; one is in a long call of C code"
    );
    error(ErrorKind::Unreachable, "Unreachable", message)
}

/// The user gave up.
pub(crate) fn given_up(at: Option<(&str, i32)>) -> EvalError {
    let message = match at {
        Some((at, thread)) => format!("interrupted, still in `{at}` (thread {thread})"),
        None => "interrupted".into(),
    };
    error(ErrorKind::Interrupted, "KeyboardInterrupt", message)
}

/// The agent did not understand us.
pub(crate) fn refused(message: &str) -> EvalError {
    error(ErrorKind::Bug, "Bug", format!("the agent refused: {message}"))
}

/// An exception that the code raised.
pub(crate) fn of_raised(raised: &message::Raised, code: &str, name: &str) -> EvalError {
    let kind = match raised.kind {
        message::RaisedKind::Syntax => ErrorKind::Syntax,
        message::RaisedKind::Interrupted => ErrorKind::Interrupted,
        message::RaisedKind::Raised => ErrorKind::Raised,
    };
    let traceback: Vec<Raised> = raised.chain.iter().map(|l| link(l, code, name)).collect();
    let last = traceback.last();
    let mut failure = error(
        kind,
        last.map_or("BaseException", |l| l.type_name.as_str()),
        last.map(|l| l.message.clone()).unwrap_or_default(),
    );
    failure.traceback = traceback;
    failure
}

fn link(link: &message::Link, code: &str, name: &str) -> Raised {
    Raised {
        type_name: link.type_name.clone(),
        message: link.message.clone(),
        relation: link.relation.map(|relation| match relation {
            message::Relation::Cause => Relation::Cause,
            message::Relation::Context => Relation::Context,
        }),
        frames: link.frames.iter().map(|f| frame(f, code, name)).collect(),
        syntax: link.syntax.as_ref().map(|s| SyntaxPlace {
            file: s.file.clone(),
            line: s.line,
            column: s.column,
            text: s.text.clone(),
        }),
        notes: link.notes.clone(),
    }
}

fn frame(frame: &message::Frame, code: &str, name: &str) -> TraceFrame {
    let text = (frame.file == name)
        .then(|| code.lines().nth((frame.line as usize).checked_sub(1)?).map(str::to_owned))
        .flatten();
    TraceFrame {
        file: frame.file.clone(),
        line: frame.line,
        function: frame.function.clone(),
        columns: frame.columns,
        text,
    }
}

/// The expression that a job is in: of its own code the part that runs, of other code the place.
pub(crate) fn expression(frames: &[message::Frame], code: &str) -> Option<String> {
    let innermost = frames.last()?;
    if !innermost.file.starts_with("<spyhole-") {
        return Some(format!("{} ({}:{})", innermost.function, innermost.file, innermost.line));
    }
    let line = code.lines().nth((innermost.line as usize).checked_sub(1)?)?;
    let part = innermost.columns.and_then(|(from, to)| {
        let chars: Vec<char> = line.chars().collect();
        chars.get(from as usize..to as usize).map(|c| c.iter().collect::<String>())
    });
    Some(part.filter(|p| !p.trim().is_empty()).unwrap_or_else(|| line.trim().to_owned()))
}
