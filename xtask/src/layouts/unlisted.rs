//! What no header shows: compared with the debug information of the interpreters that have it.
//!
//! It asks gdb, which it needs for nothing else; where there is none, or a library is stripped, it says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use spyhole_cpython::layout::Unlisted;
use spyhole_cpython::{Layout, Version};
use spyhole_testkit::Interpreter;

/// The place in the table, as gdb is asked for it.
struct Question {
    /// Beginning of the name of the file that has the structure; empty: the runtime's own.
    module: &'static str,
    expression: &'static str,
    known: fn(&Unlisted) -> u64,
}

macro_rules! questions {
    ($($module:literal $field:ident $expression:literal,)*) => {
        &[$(Question { module: $module, expression: $expression, known: |table| table.$field },)*]
    };
}

const QUESTIONS: &[Question] = questions! {
    "" range_start "&((rangeobject*)0)->start",
    "" viewed "&((mappingproxyobject*)0)->mapping",
    "" wrapper_descriptor "&((wrapperobject*)0)->descr",
    "" wrapper_self "&((wrapperobject*)0)->self",
    "" wrapped "&((classmethod*)0)->cm_callable",
    "" deque_left "&((dequeobject*)0)->leftblock",
    "" deque_left_index "&((dequeobject*)0)->leftindex",
    "" deque_most "&((dequeobject*)0)->maxlen",
    "" block_items "&((block*)0)->data",
    "" block_length "sizeof(((block*)0)->data) / 8",
    "" default_factory "(unsigned long)&((defdictobject*)0)->default_factory - sizeof(PyDictObject)",
    "" ordered_first "(unsigned long)&((struct _odictobject*)0)->od_first - sizeof(PyDictObject)",
    "" node_key "&((struct _odictnode*)0)->key",
    "" node_next "&((struct _odictnode*)0)->next",
    "" partial_function "&((partialobject*)0)->fn",
    "" partial_arguments "&((partialobject*)0)->args",
    "" partial_keywords "&((partialobject*)0)->kw",
    "" rlock_owner "&((rlockobject*)0)->rlock_owner",
    "" rlock_count "&((rlockobject*)0)->rlock_count",
    "_datetime." zone_offset "&((PyDateTime_TimeZone*)0)->offset",
    "_datetime." zone_name "&((PyDateTime_TimeZone*)0)->name",
    "_decimal." decimal_flags "&((PyDecObject*)0)->dec.flags",
    "_decimal." decimal_exponent "&((PyDecObject*)0)->dec.exp",
    "_decimal." decimal_digits "&((PyDecObject*)0)->dec.digits",
    "_decimal." decimal_length "&((PyDecObject*)0)->dec.len",
    "_decimal." decimal_words "&((PyDecObject*)0)->dec.data",
    "" lock_locked "&((lockobject*)0)->locked",
    "" lock_semaphore "&((lockobject*)0)->lock_lock",
};

/// Of one interpreter: how many places were compared, and what differs.
pub(super) struct Compared {
    pub(super) count: usize,
    pub(super) differing: Vec<String>,
}

/// Compares; `None` where there is no debug information to compare with.
pub(super) fn compare(interpreter: &Interpreter) -> Result<Option<Compared>> {
    let (major, minor, micro) = interpreter.version;
    let table = Layout::of(Version::new(major, minor, micro))?.details.unlisted;
    let mut compared = Compared { count: 0, differing: Vec::new() };
    for module in ["", "_datetime.", "_decimal."] {
        let Some(file) = file(interpreter, module) else { continue };
        let questions: Vec<&Question> =
            QUESTIONS.iter().filter(|one| one.module == module).collect();
        for (question, found) in questions.iter().zip(ask(&file, &questions)?) {
            let Some(found) = found else { continue };
            compared.count += 1;
            let known = (question.known)(&table);
            if known != found {
                let (version, asked) = (interpreter.full_version(), question.expression);
                compared.differing.push(format!("{version}: `{asked}` is {found}, not {known}"));
            }
        }
    }
    Ok((compared.count > 0).then_some(compared))
}

/// The runtime's library, or an extension module.
fn file(interpreter: &Interpreter, module: &str) -> Option<PathBuf> {
    if interpreter.root.is_some() {
        return None;
    }
    let lib = interpreter.path.ancestors().nth(2)?.join("lib");
    let (folder, prefix) = match module {
        "" => (lib, format!("libpython{}", interpreter.minor())),
        _ => (lib.join(format!("python{}/lib-dynload", interpreter.minor())), module.to_owned()),
    };
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name.contains(".so")
    };
    entries.filter(named).max()
}

/// The answers; `None` for what the debug information does not have.
fn ask(file: &Path, questions: &[&Question]) -> Result<Vec<Option<u64>>> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    for (index, question) in questions.iter().enumerate() {
        let expression = question.expression;
        gdb.arg("-ex").arg(format!("printf \"{index} %lu\\n\", (unsigned long)({expression})"));
    }
    let said = gdb.arg(file).output().context("cannot run gdb")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let answer = |index: usize| {
        said.lines().find_map(|line| line.strip_prefix(&format!("{index} "))?.parse().ok())
    };
    Ok((0..questions.len()).map(answer).collect())
}
