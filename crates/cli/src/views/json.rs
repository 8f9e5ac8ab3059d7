//! Models as JSON: the keys of the contract. More may be added, none renamed.

use serde_json::{Value as Json, json};
use spyhole_session::model::{
    Allowed, Answer, ErrorKind, EvalError, EvalReport, InterpreterRow, Left, Outcome, Place,
    ProcessRow, Running,
};

use super::traceback;
use crate::failure::Kind;

fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

pub(crate) fn place(place: Place) -> String {
    format!("{}/{}", place.pid, place.interpreter)
}

pub(crate) fn processes(rows: &[ProcessRow]) -> Json {
    rows.iter().map(process).collect()
}

fn process(row: &ProcessRow) -> Json {
    let mut process = json!({
        "pid": row.pid,
        "ppid": row.ppid,
        "namespace_pid": row.namespace_pid,
        "user": row.user,
        "python": row.python,
        "implementation": row.implementation,
        "executable": row.executable,
        "cmdline": row.cmdline,
        "age_s": (row.age.as_secs_f64() * 1e3).round() / 1e3,
        "threads": row.threads,
        "interpreters": row.interpreters,
        "kind": row.kind,
        "loaded": row.loaded,
        "groups": row.groups,
        "look": look(&row.look),
        "ask": {"ok": row.ask.ok, "door": row.ask.door, "reason": row.ask.reason},
    });
    if let Some(list) = &row.interpreter_list {
        process["interpreter_list"] = list.iter().map(interpreter).collect();
    }
    process
}

fn interpreter(row: &InterpreterRow) -> Json {
    json!({"id": row.id, "name": row.name, "modules": row.modules, "packages": row.packages})
}

fn look(allowed: &Allowed) -> Json {
    json!({"ok": allowed.ok, "reason": allowed.reason})
}

pub(crate) fn report(report: &EvalReport) -> Json {
    json!({
        "code": report.code,
        "answers": report.answers.iter().map(answer).collect::<Json>(),
        "groups": report.groups.iter().map(|group| json!({
            "repr": group.repr,
            "members": group.members.iter().copied().map(place).collect::<Vec<_>>(),
            "is_error": group.is_error,
        })).collect::<Json>(),
        "not_loaded": report.not_loaded.iter().copied().map(place).collect::<Vec<_>>(),
    })
}

pub(crate) fn answer(answer: &Answer) -> Json {
    let (value, error) = match &answer.outcome {
        Outcome::Value(value) => (Some(value), None),
        Outcome::Error(error) => (None, Some(error)),
    };
    json!({
        "pid": answer.place.pid,
        "interpreter": answer.place.interpreter,
        "ok": error.is_none(),
        "type": value.map(|value| &value.type_name),
        "repr": value.map(|value| &value.repr),
        "value": value.and_then(|value| value.json.clone()),
        "truncated": value.is_some_and(|value| value.truncated),
        "stdout": answer.stdout,
        "stderr": answer.stderr,
        "output_cut": answer.output_cut,
        "error": error.map(self::error),
        "duration_ms": milliseconds(answer.duration),
        "group": answer.group,
        "left": answer.left.as_ref().map(left),
    })
}

pub(crate) fn error(error: &EvalError) -> Json {
    let from_code =
        matches!(error.kind, ErrorKind::Raised | ErrorKind::Syntax | ErrorKind::Interrupted);
    json!({
        "kind": Kind::from(error.kind).name(),
        "type": error.type_name,
        "message": error.message,
        "traceback": from_code.then(|| traceback::text(error)),
        "causes": error.causes,
        "hints": error.hints,
    })
}

fn left(left: &Left) -> Json {
    json!({
        "held_ms": milliseconds(left.held),
        "kept": left.kept,
        "still_running": left.still_running.iter().map(running).collect::<Json>(),
    })
}

fn running(running: &Running) -> Json {
    json!({"code": running.code, "at": running.at, "thread": running.thread})
}
