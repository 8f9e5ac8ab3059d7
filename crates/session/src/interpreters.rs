//! The interpreters of a process, as a look from outside tells them: numbers, names, and what they have loaded.
//!
//! It knows that mod_wsgi tells an interpreter its application group in `mod_wsgi.application_group`.

use spyhole_attach::{AttachError, Interpreter};
use spyhole_cpython::runtime::InterpreterState;
use spyhole_cpython::{Reader, Types};
use spyhole_proc::memory::{Cached, Live};
use spyhole_proc::pidfd::Pidfd;

use crate::model::{EvalError, InterpreterRow};
use crate::target::Target;
use crate::{failure, snapshot};

/// Packages that tell what an interpreter is for.
const TELLING: &[&str] = &[
    "aiohttp",
    "asyncio",
    "bottle",
    "celery",
    "cherrypy",
    "django",
    "dramatiq",
    "eventlet",
    "falcon",
    "fastapi",
    "flask",
    "gevent",
    "gunicorn",
    "mod_wsgi",
    "numpy",
    "pandas",
    "pyramid",
    "quart",
    "rq",
    "sanic",
    "sqlalchemy",
    "starlette",
    "tornado",
    "torch",
    "trac",
    "trio",
    "twisted",
    "uvicorn",
    "uwsgi",
    "web2py",
    "werkzeug",
];

const NAME_AT_MOST: usize = 1000;

/// An interpreter, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) interpreter: Interpreter,
    pub(crate) row: InterpreterRow,
}

/// The application group of an interpreter under mod_wsgi; the empty one is that of the main interpreter.
pub(crate) fn group(reader: &Reader<'_>, state: &InterpreterState) -> Option<String> {
    let dict = reader.module_dict(state, "mod_wsgi")?;
    let name = reader.dict_item(dict, "application_group")?;
    reader.text(name, NAME_AT_MOST).map(|name| name.text)
}

/// All interpreters of a process, by number.
pub(crate) fn list(process: &Pidfd) -> Result<Vec<Named>, AttachError> {
    let pid = process.pid;
    let memory = Cached::new(Live { pid });
    let (opened, _) = snapshot::open(process, &memory)?;
    let types = Types::find(&memory, &opened.runtime);
    let reader = Reader { memory: &memory, layout: &opened.layout, types: &types };
    let states = opened
        .roots
        .interpreters(&memory, &opened.layout)
        .map_err(|_| AttachError::NotInitialised { pid })?;
    if states.is_empty() {
        return Err(AttachError::without_interpreter(pid, &memory, &opened));
    }
    let named = |state: &InterpreterState| {
        let address = if state.id == 0 { 0 } else { state.address.0 };
        let modules = reader.module_names(state);
        let has = |package: &&&str| modules.iter().any(|module| module == **package);
        Named {
            interpreter: Interpreter { address, id: state.id },
            row: InterpreterRow {
                id: state.id,
                name: group(&reader, state),
                modules: modules.len(),
                packages: TELLING.iter().filter(has).map(|package| (*package).to_owned()).collect(),
            },
        }
    };
    Ok(states.iter().map(named).collect())
}

/// The interpreter that a target names; `None`: it names none.
pub(crate) fn choose(target: &Target, process: &Pidfd) -> Result<Option<Interpreter>, EvalError> {
    let Some(wanted) = &target.interpreter else { return Ok(None) };
    let all = list(process).map_err(|error| failure::of_attach(&error))?;
    match find(&all, wanted) {
        Some(found) => Ok(Some(found.interpreter)),
        None => {
            let rows: Vec<InterpreterRow> = all.into_iter().map(|named| named.row).collect();
            Err(failure::unknown_interpreter(target, &rows))
        }
    }
}

/// By number, or else by name.
fn find<'a>(all: &'a [Named], wanted: &str) -> Option<&'a Named> {
    let number = || all.iter().find(|one| one.row.id.to_string() == wanted);
    let name = || all.iter().find(|one| one.row.name.as_deref() == Some(wanted));
    number().or_else(name).or_else(|| all.first().filter(|_| wanted == "main"))
}

/// Whether a target's word means this interpreter.
pub(crate) fn is_meant(wanted: &str, id: i64, name: Option<&str>) -> bool {
    id.to_string() == wanted || name == Some(wanted) || (wanted == "main" && id == 0)
}

/// The interpreters of a target's process, for a face that lets its user choose.
pub fn of(target: &Target) -> Vec<InterpreterRow> {
    let Some(process) = &target.process else { return Vec::new() };
    rows(process)
}

/// Empty where they cannot be seen.
pub(crate) fn rows(process: &Pidfd) -> Vec<InterpreterRow> {
    let all = list(process).unwrap_or_default();
    all.into_iter().map(|named| named.row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: i64, name: Option<&str>) -> Named {
        let row =
            InterpreterRow { id, name: name.map(str::to_owned), modules: 0, packages: Vec::new() };
        Named { interpreter: Interpreter { address: id as u64 * 16, id }, row }
    }

    #[test]
    fn numbers_come_before_names() {
        let all = [
            named(0, Some("")),
            named(1, Some("shop.example:8080|/x y")),
            named(2, Some("1")),
            named(3, None),
        ];
        let id = |wanted: &str| find(&all, wanted).map(|one| one.row.id);
        assert_eq!(id(""), Some(0));
        assert_eq!(id("main"), Some(0));
        assert_eq!(id("1"), Some(1));
        assert_eq!(id("shop.example:8080|/x y"), Some(1));
        assert_eq!(id("3"), Some(3));
        assert_eq!(id("4"), None);
        assert_eq!(id("shop.example"), None);
    }
}
