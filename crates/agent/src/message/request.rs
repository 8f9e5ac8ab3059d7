//! What the client asks.

use crate::bundle::Feature;
use crate::marshal::{Text, Value};

/// A message to the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Eval(Eval),
    Complete(Complete),
    About(About),
    Load(Load),
    /// Which of these dotted names are loaded modules?
    Loaded(Vec<String>),
    /// Tell of each passing of a function or a line.
    Trace(Trace),
    /// The client has taken the events of this job up to a number.
    Ack {
        job: u32,
        seq: i64,
    },
    /// Look whether a traced name still means the same function.
    Check {
        job: u32,
    },
    /// The numbers of the time since the last such request.
    Stats {
        job: u32,
    },
    /// Take a probe out, and sum up.
    Untrace {
        job: u32,
    },
    /// Undo everything and end.
    Bye,
}

/// What is to be told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub job: u32,
    /// `module:function` or `file:line`.
    pub place: String,
    /// Only passings for which this expression is true.
    pub when: Option<String>,
    /// Expressions whose values are told, too.
    pub show: Vec<String>,
    /// Tell the stack, too.
    pub stack: bool,
    /// How deep values are shown.
    pub depth: u32,
    /// Characters of a value.
    pub max: usize,
    /// Passings that are told at most.
    pub limit: u64,
    /// Passings that are told in a second at most.
    pub rate: f64,
    /// Count instead of telling.
    pub stats: bool,
}

/// Run an expression, or statements whose last expression is the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eval {
    pub job: u32,
    pub code: Text,
    /// File name for tracebacks.
    pub name: String,
    /// Bytes of rendered text at most.
    pub max: usize,
    /// No bound on the rendered text but that of a frame.
    pub full: bool,
    /// Send the value itself where it is plain data.
    pub want_value: bool,
    /// Bind `_`, and let `exit()` end the session.
    pub console: bool,
}

/// Candidates for the dotted name at the end of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    pub job: u32,
    pub text: Text,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub job: u32,
    /// A name, an attribute, an item: `shop.orders["a"].total`.
    pub text: Text,
    /// Its source, too.
    pub source: bool,
}

/// One more file of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub feature: String,
    pub source: String,
    /// The source compiled for the target's version; empty if there is none.
    pub code: Vec<u8>,
}

impl Request {
    /// The message's body, to be put into a frame.
    pub fn encode(&self) -> Vec<u8> {
        self.to_value().encode()
    }

    pub fn to_value(&self) -> Value {
        let text = |text: &Text| Value::Str(text.clone());
        dict(match self {
            Request::Eval(eval) => vec![
                ("op", "eval".into()),
                ("job", i64::from(eval.job).into()),
                ("code", text(&eval.code)),
                ("name", eval.name.as_str().into()),
                ("max", i64::try_from(eval.max).unwrap_or(i64::MAX).into()),
                ("full", eval.full.into()),
                ("want_value", eval.want_value.into()),
                ("console", eval.console.into()),
            ],
            Request::Complete(complete) => vec![
                ("op", "complete".into()),
                ("job", i64::from(complete.job).into()),
                ("text", text(&complete.text)),
            ],
            Request::About(about) => vec![
                ("op", "about".into()),
                ("job", i64::from(about.job).into()),
                ("text", text(&about.text)),
                ("source", about.source.into()),
            ],
            Request::Load(load) => vec![
                ("op", "load".into()),
                ("feature", load.feature.as_str().into()),
                ("source", load.source.as_str().into()),
                ("code", Value::Bytes(load.code.clone())),
            ],
            Request::Loaded(names) => {
                let names = names.iter().map(|name| name.as_str().into()).collect();
                vec![("op", "loaded".into()), ("names", Value::List(names))]
            }
            Request::Trace(trace) => trace.items(),
            Request::Ack { job, seq } => {
                vec![("op", "ack".into()), ("job", i64::from(*job).into()), ("seq", (*seq).into())]
            }
            Request::Check { job } => of_job("check", *job),
            Request::Stats { job } => of_job("stats", *job),
            Request::Untrace { job } => of_job("untrace", *job),
            Request::Bye => vec![("op", "bye".into())],
        })
    }
}

impl From<Feature> for Request {
    fn from(feature: Feature) -> Self {
        Request::Load(Load {
            feature: feature.name.into(),
            source: feature.source.into(),
            code: Vec::new(),
        })
    }
}

fn of_job(op: &str, job: u32) -> Vec<(&'static str, Value)> {
    vec![("op", op.into()), ("job", i64::from(job).into())]
}

impl Trace {
    fn items(&self) -> Vec<(&'static str, Value)> {
        let show = self.show.iter().map(|text| text.as_str().into()).collect();
        vec![
            ("op", "trace".into()),
            ("job", i64::from(self.job).into()),
            ("where", self.place.as_str().into()),
            ("when", self.when.as_deref().map_or(Value::None, Value::from)),
            ("show", Value::List(show)),
            ("stack", self.stack.into()),
            ("depth", i64::from(self.depth).into()),
            ("max", i64::try_from(self.max).unwrap_or(i64::MAX).into()),
            ("limit", i64::try_from(self.limit).unwrap_or(i64::MAX).into()),
            ("rate", self.rate.into()),
            ("stats", self.stats.into()),
        ]
    }
}

fn dict(items: Vec<(&str, Value)>) -> Value {
    Value::Dict(items.into_iter().map(|(name, value)| (name.into(), value)).collect())
}
