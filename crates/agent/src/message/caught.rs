//! Exceptions that were caught, and the debugger on one of them. Texts may hold anything: whoever shows them escapes
//! them.

use super::event::{Frame, Link, frames, link};
use super::fields::{Fields, MessageError};
use super::probe::Who;
use crate::marshal::Value;

/// An exception that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Caught {
    pub job: u32,
    /// Counts the events of a job; 0 for one that was asked for.
    pub seq: i64,
    /// What it is called by within its interpreter.
    pub id: u32,
    /// When it was caught: monotonic seconds of the process.
    pub at: f64,
    pub who: Who,
    /// What watches for it: the name of a function, `file:line` or `*`.
    pub place: String,
    /// Who had it: `function`, `thread`, `task`, `log` and the like.
    pub by: String,
    /// It is the last one; never empty.
    pub chain: Vec<Link>,
    /// Names and values of each frame of the last one; empty where they were not asked for.
    pub locals: Vec<Vec<(String, String)>>,
    /// Who called the outermost of these frames; outermost first.
    pub callers: Vec<Frame>,
    /// How often it was seen.
    pub times: u32,
    /// Its frames are still there for a debugger.
    pub is_live: bool,
}

/// Answer to `kept`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub job: u32,
    /// How many it was about.
    pub count: u32,
    pub watching: Vec<Watching>,
}

/// Something that catches exceptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Watching {
    pub place: String,
    /// `monitored`, `compiled in`, `wrapped` or `unhandled`.
    pub how: String,
    pub count: u32,
    /// Of one that was left behind: for how many seconds more.
    pub left: Option<f64>,
}

/// The debugger wants a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub job: u32,
    pub prompt: String,
}

pub(super) fn caught(fields: Fields<'_>) -> Result<Caught, MessageError> {
    let chain: Vec<Link> = fields
        .items("chain")?
        .iter()
        .map(|dict| link(Fields { message: "caught", dict }))
        .collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(MessageError::Missing { message: "caught", key: "chain" });
    }
    let stack = Value::Dict(vec![("frames".into(), Value::List(fields.items("stack")?.to_vec()))]);
    Ok(Caught {
        job: fields.number("job")?,
        seq: fields.number("seq")?,
        id: fields.number("id")?,
        at: fields.seconds("at")?,
        who: Who {
            thread: fields.number("thread")?,
            name: fields.optional_text("name")?,
            greenlet: fields.optional_text("greenlet")?,
            task: fields.optional_text("task")?,
        },
        place: fields.text("where")?,
        by: fields.text("by")?,
        chain,
        locals: locals(fields)?,
        callers: frames(Fields { message: "caught", dict: &stack })?,
        times: fields.number("times")?,
        is_live: fields.flag("live")?,
    })
}

type Locals = Vec<Vec<(String, String)>>;

fn locals(fields: Fields<'_>) -> Result<Locals, MessageError> {
    let pair = |entry: &Value| match fields.as_items("locals", entry)? {
        [name, text] => Ok((fields.as_text("locals", name)?, fields.as_text("locals", text)?)),
        _ => Err(fields.wrong("locals", "lists of pairs")),
    };
    let of_frame = |entry: &Value| {
        let pairs = fields.as_items("locals", entry)?.iter();
        pairs.map(pair).collect::<Result<Vec<_>, MessageError>>()
    };
    fields.items("locals")?.iter().map(of_frame).collect()
}

pub(super) fn kept(fields: Fields<'_>) -> Result<Kept, MessageError> {
    let watching = |entry: &Value| match fields.as_items("watching", entry)? {
        [place, how, count, left] => Ok(Watching {
            place: fields.as_text("watching", place)?,
            how: fields.as_text("watching", how)?,
            count: fields.as_number("watching", count)?,
            left: match left {
                Value::Float(seconds) if seconds.is_finite() && *seconds >= 0.0 => Some(*seconds),
                _ => None,
            },
        }),
        _ => Err(fields.wrong("watching", "lists of four")),
    };
    Ok(Kept {
        job: fields.number("job")?,
        count: fields.number("count")?,
        watching: fields.items("watching")?.iter().map(watching).collect::<Result<_, _>>()?,
    })
}

pub(super) fn ask(fields: Fields<'_>) -> Result<Ask, MessageError> {
    Ok(Ask { job: fields.number("job")?, prompt: fields.text("prompt")? })
}
