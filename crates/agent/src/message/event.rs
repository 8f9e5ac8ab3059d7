//! What the agent says. Its texts may hold anything: whoever shows them escapes them.

use super::caught::{self, Ask, Caught, Kept};
use super::fields::{Fields, MessageError};
use super::freeze::Freeze;
use super::probe::Probe;
use crate::marshal;

/// A message from the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Hello(Hello),
    Output(Output),
    Value(Value),
    Raised(Raised),
    /// `exit()` or `quit()` was called in a console. `duration` in seconds.
    Exit {
        job: u32,
        duration: f64,
    },
    Candidates(Candidates),
    Where(Where),
    /// This thread reads the main channel now.
    TakeOver {
        thread: i32,
    },
    Refused(Refused),
    /// The job waits for the main thread, which has to ask for the truth value of this object.
    Visit {
        job: u32,
        object: u64,
    },
    /// Something about an interpreter that stands still.
    Freeze(Freeze),
    /// Something that a probe has to tell.
    Probe(Probe),
    /// An exception that is kept.
    Caught(Box<Caught>),
    /// What is kept, after those that were asked for.
    Kept(Kept),
    /// The debugger wants a line.
    Ask(Ask),
    /// Those of the names that were asked about that are loaded modules.
    Loaded {
        names: Vec<String>,
    },
    /// Everything is undone; `left` names what could not be.
    Bye {
        left: Vec<String>,
    },
    /// An event that this program does not know.
    Unknown(String),
}

/// The names of events, for what depends on no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Ends its job.
    Result,
    /// Belongs to a job that goes on.
    Progress,
    /// Belongs to no job.
    Session,
}

/// Said once, first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// As the process itself sees it.
    pub pid: i32,
    /// `sys.version_info`: major, minor, micro, level, serial.
    pub python: (u32, u32, u32, String, u32),
    /// `sys.version`.
    pub version: String,
    /// Native id of the agent's thread, in the process's own pid namespace.
    pub thread: i32,
    /// 0 is the main one.
    pub interpreter: i64,
    /// `sys.executable`; may be empty.
    pub executable: String,
}

/// Text that evaluated code printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub job: u32,
    pub stream: Stream,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The code of a job ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub job: u32,
    /// `module.qualname`, bare for builtins.
    pub type_name: String,
    pub repr: String,
    pub is_none: bool,
    /// Something was cut from `repr`; marks in it say what.
    pub truncated: bool,
    /// What to compare by where that is not `repr`.
    pub key: Option<String>,
    /// The value itself, if it was asked for and is plain data.
    pub value: Option<marshal::Value>,
    /// Seconds.
    pub duration: f64,
}

/// The code of a job raised an exception.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    pub job: u32,
    pub kind: Kind,
    /// The exception that ended the code is the last one; never empty.
    pub chain: Vec<Link>,
    /// Dotted name of a module whose lack made the code fail, perhaps with an attribute behind it.
    pub missing: Option<String>,
    /// Seconds.
    pub duration: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Raised,
    /// The code did not compile, and nothing of it ran.
    Syntax,
    /// By `KeyboardInterrupt`.
    Interrupted,
}

/// One exception of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub type_name: String,
    pub message: String,
    /// How it belongs to the one that follows.
    pub relation: Option<Relation>,
    /// Outermost first.
    pub frames: Vec<Frame>,
    /// Frames that were left out after the first half of `frames`.
    pub omitted: u64,
    pub syntax: Option<Syntax>,
    /// `__notes__`, and the members of an exception group.
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Cause,
    Context,
}

/// A place in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub file: String,
    /// From 1; 0 if unknown.
    pub line: u32,
    pub function: String,
    /// Where on the line the running expression begins and ends, in UTF-8 bytes from 0; no end if it
    /// goes on in a later line.
    pub columns: Option<(u32, Option<u32>)>,
}

/// Where a `SyntaxError` points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax {
    pub file: String,
    pub line: u32,
    /// From 1, in characters; 0 if unknown.
    pub column: u32,
    pub text: String,
}

/// Answer to a `complete` request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    pub job: u32,
    /// Where in the request's text the completed word begins, in characters.
    pub start: usize,
    pub names: Vec<Candidate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub name: String,
    /// `function`, `class`, `module`, `keyword`, `property` or `value`.
    pub kind: String,
}

/// Where a job's thread is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    pub job: u32,
    /// Native id; 0 if the job has ended.
    pub thread: i32,
    /// Innermost last.
    pub frames: Vec<Frame>,
    /// Frames that were left out after the first half of `frames`.
    pub omitted: u64,
}

/// A request could not be understood or served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 0 if it had none.
    pub job: u32,
    pub message: String,
    /// The place that was asked for is not there, or cannot be entered.
    pub misplaced: bool,
}

impl Event {
    /// Takes one frame's body apart.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        Self::from_value(&marshal::decode(body)?)
    }

    pub fn from_value(dict: &marshal::Value) -> Result<Self, MessageError> {
        let Some(marshal::Value::Str(name)) = dict.get("ev") else {
            return Err(MessageError::NoName { key: "ev" });
        };
        let fields = |message| Fields { message, dict };
        Ok(match name.escaped().as_ref() {
            "hello" => Event::Hello(hello(fields("hello"))?),
            "out" => Event::Output(output(fields("out"))?),
            "value" => Event::Value(value(fields("value"))?),
            "raised" => Event::Raised(raised(fields("raised"))?),
            "exit" => {
                let fields = fields("exit");
                Event::Exit { job: fields.number("job")?, duration: fields.seconds("duration")? }
            }
            "candidates" => Event::Candidates(candidates(fields("candidates"))?),
            "where" => Event::Where(place(fields("where"))?),
            "takeover" => Event::TakeOver { thread: fields("takeover").number("thread")? },
            "visit" => {
                let fields = fields("visit");
                Event::Visit { job: fields.number("job")?, object: fields.number("object")? }
            }
            "refused" => {
                let fields = fields("refused");
                let job = fields.number("job")?;
                let misplaced = fields.optional("misplaced").is_some();
                Event::Refused(Refused { job, message: fields.text("message")?, misplaced })
            }
            name @ ("probed" | "hit" | "note" | "stats" | "summary") => {
                Event::Probe(Probe::of(name, dict)?)
            }
            name @ ("frozen" | "thawed" | "ran") => Event::Freeze(Freeze::of(name, dict)?),
            "caught" => Event::Caught(Box::new(caught::caught(fields("caught"))?)),
            "kept" => Event::Kept(caught::kept(fields("kept"))?),
            "ask" => Event::Ask(caught::ask(fields("ask"))?),
            "loaded" => Event::Loaded { names: fields("loaded").texts("names")? },
            "bye" => Event::Bye { left: fields("bye").texts("left")? },
            other => Event::Unknown(other.chars().take(100).collect()),
        })
    }

    /// The job it belongs to.
    pub fn job(&self) -> Option<u32> {
        match self {
            Event::Output(output) => Some(output.job),
            Event::Value(value) => Some(value.job),
            Event::Raised(raised) => Some(raised.job),
            Event::Exit { job, .. } | Event::Visit { job, .. } => Some(*job),
            Event::Candidates(candidates) => Some(candidates.job),
            Event::Where(place) => Some(place.job),
            Event::Refused(refused) => Some(refused.job).filter(|job| *job != 0),
            Event::Probe(probe) => Some(probe.job()),
            Event::Freeze(freeze) => Some(freeze.job()).filter(|job| *job != 0),
            Event::Caught(caught) => Some(caught.job),
            Event::Kept(kept) => Some(kept.job),
            Event::Ask(ask) => Some(ask.job),
            Event::Hello(_)
            | Event::Loaded { .. }
            | Event::TakeOver { .. }
            | Event::Bye { .. }
            | Event::Unknown(_) => None,
        }
    }

    /// Whether its job goes on after it.
    pub fn kind(&self) -> EventKind {
        match self {
            Event::Output(_)
            | Event::Where(_)
            | Event::Visit { .. }
            | Event::Probe(_)
            | Event::Freeze(Freeze::Ran { .. })
            | Event::Caught(_) => EventKind::Progress,
            Event::Hello(_)
            | Event::Loaded { .. }
            | Event::TakeOver { .. }
            | Event::Bye { .. }
            | Event::Unknown(_) => EventKind::Session,
            _ => EventKind::Result,
        }
    }
}

fn hello(fields: Fields<'_>) -> Result<Hello, MessageError> {
    let wrong = || fields.wrong("python", "a version");
    let [major, minor, micro, level, serial] = fields.items("python")? else { return Err(wrong()) };
    let number = |value| fields.as_number("python", value);
    Ok(Hello {
        pid: fields.number("pid")?,
        python: (
            number(major)?,
            number(minor)?,
            number(micro)?,
            fields.as_text("python", level)?,
            number(serial)?,
        ),
        version: fields.text("version")?,
        thread: fields.number("thread")?,
        interpreter: fields.number("interpreter")?,
        executable: fields.optional_text("executable")?.unwrap_or_default(),
    })
}

fn output(fields: Fields<'_>) -> Result<Output, MessageError> {
    let stream = match fields.text("stream")?.as_str() {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return Err(fields.wrong("stream", "the name of a stream")),
    };
    Ok(Output { job: fields.number("job")?, stream, text: fields.text("text")? })
}

fn value(fields: Fields<'_>) -> Result<Value, MessageError> {
    let has_value = fields.flag("has_value")?;
    Ok(Value {
        job: fields.number("job")?,
        type_name: fields.text("type")?,
        repr: fields.text("repr")?,
        is_none: fields.flag("none")?,
        truncated: fields.flag("truncated")?,
        key: fields.optional_text("key")?,
        value: has_value.then(|| fields.optional("value").cloned().unwrap_or(marshal::Value::None)),
        duration: fields.seconds("duration")?,
    })
}

fn raised(fields: Fields<'_>) -> Result<Raised, MessageError> {
    let kind = match fields.text("kind")?.as_str() {
        "raised" => Kind::Raised,
        "syntax" => Kind::Syntax,
        "interrupted" => Kind::Interrupted,
        _ => return Err(fields.wrong("kind", "a kind of failure")),
    };
    let chain: Vec<Link> = fields
        .items("chain")?
        .iter()
        .map(|dict| link(Fields { message: "raised", dict }))
        .collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(MessageError::Missing { message: "raised", key: "chain" });
    }
    Ok(Raised {
        job: fields.number("job")?,
        kind,
        chain,
        missing: fields.optional_text("missing")?,
        duration: fields.seconds("duration")?,
    })
}

pub(super) fn link(fields: Fields<'_>) -> Result<Link, MessageError> {
    let relation = match fields.optional_text("relation")?.as_deref() {
        None => None,
        Some("cause") => Some(Relation::Cause),
        Some("context") => Some(Relation::Context),
        Some(_) => return Err(fields.wrong("relation", "a relation of exceptions")),
    };
    let syntax = fields
        .optional("syntax")
        .map(|dict| syntax(Fields { message: "raised", dict }))
        .transpose()?;
    Ok(Link {
        type_name: fields.text("type")?,
        message: fields.text("message")?,
        relation,
        frames: frames(fields)?,
        omitted: omitted(fields)?,
        syntax,
        notes: fields.texts("notes")?,
    })
}

fn syntax(fields: Fields<'_>) -> Result<Syntax, MessageError> {
    Ok(Syntax {
        file: fields.text("file")?,
        line: fields.number("line")?,
        column: fields.number("column")?,
        text: fields.text("text")?,
    })
}

pub(super) fn frames(fields: Fields<'_>) -> Result<Vec<Frame>, MessageError> {
    let wrong = || fields.wrong("frames", "a list of frames");
    let frame = |entry| {
        let [file, line, function, first, end] = fields.as_items("frames", entry)? else {
            return Err(wrong());
        };
        let column = |value| fields.as_number::<i64>("frames", value);
        let (first, end) = (u32::try_from(column(first)?), u32::try_from(column(end)?));
        Ok(Frame {
            file: fields.as_text("frames", file)?,
            line: fields.as_number("frames", line)?,
            function: fields.as_text("frames", function)?,
            columns: first.ok().map(|first| (first, end.ok())),
        })
    };
    fields.items("frames")?.iter().map(frame).collect()
}

fn omitted(fields: Fields<'_>) -> Result<u64, MessageError> {
    fields.optional("omitted").map_or(Ok(0), |value| fields.as_number("omitted", value))
}

fn candidates(fields: Fields<'_>) -> Result<Candidates, MessageError> {
    let name = |entry| match fields.as_items("names", entry)? {
        [name, kind] => Ok(Candidate {
            name: fields.as_text("names", name)?,
            kind: fields.as_text("names", kind)?,
        }),
        _ => Err(fields.wrong("names", "a list of names with their kinds")),
    };
    Ok(Candidates {
        job: fields.number("job")?,
        start: fields.number("start")?,
        names: fields.items("names")?.iter().map(name).collect::<Result<_, _>>()?,
    })
}

fn place(fields: Fields<'_>) -> Result<Where, MessageError> {
    Ok(Where {
        job: fields.number("job")?,
        thread: fields.number("thread")?,
        frames: frames(fields)?,
        omitted: omitted(fields)?,
    })
}
