//! What the client asks.

use crate::bundle::Feature;
use crate::marshal::{Text, Value};

/// A message to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Eval(Eval),
    Complete(Complete),
    About(About),
    Load(Load),
    /// Which of these dotted names are loaded modules?
    Loaded(Vec<String>),
    /// Undo everything and end.
    Bye,
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

fn dict(items: Vec<(&str, Value)>) -> Value {
    Value::Dict(items.into_iter().map(|(name, value)| (name.into(), value)).collect())
}
