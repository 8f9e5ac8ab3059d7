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
    /// The interpreter shall stand still between commands, each of which has to come and to end within so many seconds;
    /// `None`: it shall go on.
    Freeze {
        job: u32,
        limit: Option<(f64, GilWords)>,
    },
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
    /// Keep the exceptions that leave a function, or that nobody handles.
    Catch(Catch),
    /// The client has taken the exceptions of this job up to a number.
    Took {
        job: u32,
        seq: i64,
    },
    /// Let go what is too old, and look whether the name still means the same function.
    Recheck {
        job: u32,
    },
    /// Stop keeping, and sum up.
    Uncatch {
        job: u32,
    },
    /// About what is kept in the interpreter, by whichever client.
    Kept {
        job: u32,
        what: AboutKept,
    },
    /// The debugger on an exception that is kept.
    Postmortem {
        job: u32,
        id: u32,
    },
    /// A line for the debugger; `None`: the end of the input.
    Line {
        job: u32,
        text: Option<Text>,
    },
    /// Undo everything and end.
    Bye,
}

/// Which exceptions are to be kept, and how many of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Catch {
    pub job: u32,
    /// `module:function`, `file:line`, or `*` for what nobody handles.
    pub place: String,
    /// Only those for which this expression is true.
    pub when: Option<String>,
    /// How many are kept.
    pub last: u32,
    /// For how many seconds each.
    pub age: f64,
    /// How much memory they may hold, as far as that can be told.
    pub bytes: u64,
    /// How many are kept in a second at most.
    pub rate: f64,
    /// How deep values are shown, and with how many characters.
    pub depth: u32,
    pub max: usize,
    /// It stays for so many seconds when nobody looks, until it is stopped.
    pub stay: Option<f64>,
}

/// What a client wants of that which is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboutKept {
    List,
    /// One, with its locals.
    Print(u32),
    Discard(u32),
    /// Let all go; what watches goes on.
    Reset,
    /// End what was left behind to go on watching.
    Stop,
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
    pub place: Placement,
}

/// Where code runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// In the agent's own thread.
    #[default]
    Thread,
    /// In the main thread, between two bytecodes or over the call in which it is blocked.
    Main,
    /// In the asyncio loop that runs.
    Loop,
    /// In a greenlet of the hub of gevent or eventlet.
    Hub,
    /// In the agent's own thread, with the variables of a frame.
    Frame {
        /// `pthread_self()` of its thread.
        ident: u64,
        /// 0 is the innermost one.
        number: u32,
        /// Native id of its thread.
        native: i32,
    },
}

impl Placement {
    fn value(self) -> Value {
        match self {
            Self::Thread => Value::None,
            Self::Main => Value::List(vec!["main".into()]),
            Self::Loop => Value::List(vec!["loop".into()]),
            Self::Hub => Value::List(vec!["hub".into()]),
            Self::Frame { ident, number, native } => Value::List(vec![
                "frame".into(),
                i64::try_from(ident).unwrap_or(i64::MAX).into(),
                i64::from(number).into(),
                i64::from(native).into(),
            ]),
        }
    }
}

/// Addresses of what an interpreter keeps of its GIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GilWords {
    /// How long a thread waits before it asks for it.
    pub interval: u64,
    /// How often it has changed hands.
    pub switches: u64,
    /// That somebody asks for it, and what makes the running thread look.
    pub request: u64,
    pub breaker: u64,
    /// Where that is in a thread's state, instead of the two; 0: it is not.
    pub in_state: u64,
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
                ("place", eval.place.value()),
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
            Request::Freeze { job, limit } => {
                let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(0));
                let words = limit.map(|(_, words)| {
                    [words.interval, words.switches, words.request, words.breaker, words.in_state]
                });
                vec![
                    ("op", "freeze".into()),
                    ("job", i64::from(*job).into()),
                    ("limit", limit.map_or(Value::None, |(limit, _)| limit.into())),
                    ("words", Value::List(words.into_iter().flatten().map(number).collect())),
                ]
            }
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
            Request::Catch(catch) => catch.items(),
            Request::Took { job, seq } => {
                vec![("op", "took".into()), ("job", i64::from(*job).into()), ("seq", (*seq).into())]
            }
            Request::Recheck { job } => of_job("recheck", *job),
            Request::Uncatch { job } => of_job("uncatch", *job),
            Request::Kept { job, what } => {
                let (what, id) = match what {
                    AboutKept::List => ("list", 0),
                    AboutKept::Print(id) => ("print", *id),
                    AboutKept::Discard(id) => ("discard", *id),
                    AboutKept::Reset => ("reset", 0),
                    AboutKept::Stop => ("stop", 0),
                };
                let mut items = of_job("kept", *job);
                items.extend([("what", what.into()), ("id", i64::from(id).into())]);
                items
            }
            Request::Postmortem { job, id } => {
                let mut items = of_job("postmortem", *job);
                items.push(("id", i64::from(*id).into()));
                items
            }
            Request::Line { job, text: line } => {
                let mut items = of_job("line", *job);
                items.push(("text", line.as_ref().map_or(Value::None, text)));
                items
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

impl Catch {
    fn items(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("op", "catch".into()),
            ("job", i64::from(self.job).into()),
            ("where", self.place.as_str().into()),
            ("when", self.when.as_deref().map_or(Value::None, Value::from)),
            ("last", i64::from(self.last).into()),
            ("age", self.age.into()),
            ("bytes", i64::try_from(self.bytes).unwrap_or(i64::MAX).into()),
            ("rate", self.rate.into()),
            ("depth", i64::from(self.depth).into()),
            ("max", i64::try_from(self.max).unwrap_or(i64::MAX).into()),
            ("stay", self.stay.map_or(Value::None, Value::from)),
        ]
    }
}

fn dict(items: Vec<(&str, Value)>) -> Value {
    Value::Dict(items.into_iter().map(|(name, value)| (name.into(), value)).collect())
}
