//! What probes tell. Its texts may hold anything: whoever shows them escapes them.

use super::event::{Frame, frames};
use super::fields::{Fields, MessageError};
use crate::marshal::Value;

/// A message of a probe.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// It is in place.
    Placed {
        job: u32,
        /// What is watched.
        label: String,
        /// `compiled in`, `wrapped` or `monitored`.
        how: String,
        /// Functions whose code was exchanged.
        functions: u32,
        /// What its user should know.
        notes: Vec<String>,
        /// Of a line, the one that is watched; 0 of a function.
        line: u32,
        /// That is not the line that was asked for, which has no code.
        moved: bool,
    },
    /// It can not be placed.
    Unplaced {
        job: u32,
        /// `usage`, `not-loaded`, `not-found` or `refused`.
        kind: String,
        message: String,
        hints: Vec<String>,
    },
    Hit(Box<Hit>),
    Note {
        job: u32,
        seq: i64,
        text: String,
    },
    Stats(Stats),
    Summary(Summary),
}

/// Who passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Native id.
    pub thread: i32,
    pub name: Option<String>,
    pub greenlet: Option<String>,
    pub task: Option<String>,
}

/// One call, or one passing of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub job: u32,
    /// Counts the events of a job.
    pub seq: i64,
    /// When it began: monotonic seconds of the process.
    pub at: f64,
    pub who: Who,
    pub function: String,
    /// 0 for a call.
    pub line: u32,
    pub arguments: Vec<(String, String)>,
    pub result: Option<String>,
    /// Type and message.
    pub error: Option<(String, String)>,
    /// Seconds.
    pub duration: Option<f64>,
    pub shown: Vec<Shown>,
    /// Outermost last.
    pub stack: Vec<Frame>,
}

/// An expression with its value, or with what it raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub expression: String,
    pub text: String,
    pub is_value: bool,
}

/// Calls of an interval; times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    pub job: u32,
    pub calls: u64,
    pub errors: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// What a probe has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub job: u32,
    /// Passings for which the condition was true.
    pub passed: u64,
    /// Those that were told.
    pub hits: u64,
    /// Those that were not, by reason: `rate`, `limit`, `slow`, `busy`.
    pub dropped: Vec<(String, u64)>,
    /// How often the condition raised.
    pub failures: u64,
    /// Calls that have not ended.
    pub open: u64,
}

impl Probe {
    pub(super) fn of(name: &str, dict: &Value) -> Result<Self, MessageError> {
        Ok(match name {
            "probed" => placed(Fields { message: "probed", dict })?,
            "hit" => Self::Hit(Box::new(hit(Fields { message: "hit", dict })?)),
            "stats" => Self::Stats(stats(Fields { message: "stats", dict })?),
            "summary" => Self::Summary(summary(Fields { message: "summary", dict })?),
            _ => {
                let fields = Fields { message: "note", dict };
                let (job, seq) = (fields.number("job")?, fields.number("seq")?);
                Self::Note { job, seq, text: fields.text("text")? }
            }
        })
    }

    pub(super) fn job(&self) -> u32 {
        match self {
            Self::Placed { job, .. } | Self::Unplaced { job, .. } | Self::Note { job, .. } => *job,
            Self::Hit(hit) => hit.job,
            Self::Stats(stats) => stats.job,
            Self::Summary(summary) => summary.job,
        }
    }
}

fn placed(fields: Fields<'_>) -> Result<Probe, MessageError> {
    let job = fields.number("job")?;
    fields.required("ok")?;
    if !fields.flag("ok")? {
        return Ok(Probe::Unplaced {
            job,
            kind: fields.text("kind")?,
            message: fields.text("message")?,
            hints: fields.texts("hints")?,
        });
    }
    Ok(Probe::Placed {
        job,
        label: fields.text("label")?,
        how: fields.text("how")?,
        functions: fields.number("functions")?,
        notes: fields.texts("notes")?,
        line: fields.number("line")?,
        moved: fields.flag("moved")?,
    })
}

fn pair<'a>(
    fields: Fields<'_>,
    key: &'static str,
    entry: &'a Value,
) -> Result<[&'a Value; 2], MessageError> {
    match entry {
        Value::List(items) | Value::Tuple(items) => match items.as_slice() {
            [first, second] => Ok([first, second]),
            _ => Err(fields.wrong(key, "a list of pairs")),
        },
        _ => Err(fields.wrong(key, "a list of pairs")),
    }
}

fn hit(fields: Fields<'_>) -> Result<Hit, MessageError> {
    let argument = |entry: &Value| -> Result<_, MessageError> {
        let [name, text] = pair(fields, "args", entry)?;
        Ok((fields.as_text("args", name)?, fields.as_text("args", text)?))
    };
    let shown = |entry: &Value| match entry {
        Value::List(items) | Value::Tuple(items) => match items.as_slice() {
            [expression, text, Value::Bool(is_value)] => Ok(Shown {
                expression: fields.as_text("show", expression)?,
                text: fields.as_text("show", text)?,
                is_value: *is_value,
            }),
            _ => Err(fields.wrong("show", "a list of triples")),
        },
        _ => Err(fields.wrong("show", "a list of triples")),
    };
    let error = fields.optional("error").map(|entry| -> Result<_, MessageError> {
        let [kind, message] = pair(fields, "error", entry)?;
        Ok((fields.as_text("error", kind)?, fields.as_text("error", message)?))
    });
    let duration = fields.optional("duration").map(|_| fields.seconds("duration"));
    Ok(Hit {
        job: fields.number("job")?,
        seq: fields.number("seq")?,
        at: fields.seconds("at")?,
        who: Who {
            thread: fields.number("thread")?,
            name: fields.optional_text("name")?,
            greenlet: fields.optional_text("greenlet")?,
            task: fields.optional_text("task")?,
        },
        function: fields.text("function")?,
        line: fields.number("line")?,
        arguments: fields.items("args")?.iter().map(argument).collect::<Result<_, _>>()?,
        result: fields.optional_text("result")?,
        error: error.transpose()?,
        duration: duration.transpose()?,
        shown: fields.items("show")?.iter().map(shown).collect::<Result<_, _>>()?,
        stack: match fields.items("stack")? {
            [] => Vec::new(),
            items => frames(Fields { message: "hit", dict: &stack_of(items) })?,
        },
    })
}

/// As the one reader of frames wants it.
fn stack_of(items: &[Value]) -> Value {
    Value::Dict(vec![("frames".into(), Value::List(items.to_vec()))])
}

fn stats(fields: Fields<'_>) -> Result<Stats, MessageError> {
    Ok(Stats {
        job: fields.number("job")?,
        calls: fields.number("calls")?,
        errors: fields.number("errors")?,
        p50: fields.seconds("p50")?,
        p99: fields.seconds("p99")?,
        max: fields.seconds("max")?,
    })
}

fn summary(fields: Fields<'_>) -> Result<Summary, MessageError> {
    let dropped = |entry: &Value| -> Result<_, MessageError> {
        let [name, count] = pair(fields, "dropped", entry)?;
        Ok((fields.as_text("dropped", name)?, fields.as_number("dropped", count)?))
    };
    Ok(Summary {
        job: fields.number("job")?,
        passed: fields.number("passed")?,
        hits: fields.number("hits")?,
        dropped: fields.items("dropped")?.iter().map(dropped).collect::<Result<_, _>>()?,
        failures: fields.number("failures")?,
        open: fields.number("open")?,
    })
}
