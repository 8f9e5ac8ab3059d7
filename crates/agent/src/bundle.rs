//! The agent's own files, as they are sent into a process.

/// The file that the stub runs first.
pub const CORE: &str = include_str!("../python/spyhole/_core.py");

/// One more file of the agent, which it compiles when it is first needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name in a `load` request.
    pub name: &'static str,
    pub source: &'static str,
}

/// Code that is more than one expression, and code that does not parse.
pub const STATEMENTS: Feature =
    Feature { name: "statements", source: include_str!("../python/spyhole/_statements.py") };
/// Values that are not a short text or a number.
pub const RENDER: Feature =
    Feature { name: "render", source: include_str!("../python/spyhole/_render.py") };
/// Exceptions, and where a thread is.
pub const RAISED: Feature =
    Feature { name: "raised", source: include_str!("../python/spyhole/_raised.py") };
/// The control records `T` and `W`.
pub const CONTROL: Feature =
    Feature { name: "control", source: include_str!("../python/spyhole/_control.py") };
/// The `complete` request.
pub const COMPLETE: Feature =
    Feature { name: "complete", source: include_str!("../python/spyhole/_complete.py") };

/// Loops and hubs, and the ways into them.
pub const PLACES: Feature =
    Feature { name: "places", source: include_str!("../python/spyhole/_places.py") };
/// Code that runs in another place than the agent's own thread.
pub const ELSEWHERE: Feature =
    Feature { name: "elsewhere", source: include_str!("../python/spyhole/_elsewhere.py") };
/// The `freeze` request.
pub const FREEZE: Feature =
    Feature { name: "freeze", source: include_str!("../python/spyhole/_freeze.py") };
/// The `about` request.
pub const ABOUT: Feature =
    Feature { name: "about", source: include_str!("../python/spyhole/_about.py") };

/// Which function or line somebody means, by name.
pub const SITES: Feature =
    Feature { name: "sites", source: include_str!("../python/spyhole/_sites.py") };
/// The code behind FILE:LINE.
pub const LINES: Feature =
    Feature { name: "lines", source: include_str!("../python/spyhole/_lines.py") };
/// Code of the program with calls compiled into it.
pub const REWRITE: Feature =
    Feature { name: "rewrite", source: include_str!("../python/spyhole/_rewrite.py") };
/// Functions get other code, and their own again.
pub const EXCHANGE: Feature =
    Feature { name: "exchange", source: include_str!("../python/spyhole/_exchange.py") };
/// What is told of a passing.
pub const HITS: Feature =
    Feature { name: "hits", source: include_str!("../python/spyhole/_hits.py") };
/// The `trace` request and what belongs to it.
pub const TRACE: Feature =
    Feature { name: "trace", source: include_str!("../python/spyhole/_trace.py") };

/// Exceptions that were caught, by whichever client.
pub const KEPT: Feature =
    Feature { name: "kept", source: include_str!("../python/spyhole/_kept.py") };
/// The `catch` request and what belongs to it.
pub const CATCH: Feature =
    Feature { name: "catch", source: include_str!("../python/spyhole/_catch.py") };
/// What sees exceptions that nobody handles.
pub const UNHANDLED: Feature =
    Feature { name: "unhandled", source: include_str!("../python/spyhole/_unhandled.py") };
/// The debugger on an exception that is kept.
pub const POSTMORTEM: Feature =
    Feature { name: "postmortem", source: include_str!("../python/spyhole/_postmortem.py") };

/// What any `eval` may need. Sending a feature ahead costs a copy of its text.
pub const FOR_EVAL: &[Feature] = &[STATEMENTS, RENDER, RAISED, CONTROL];
/// What one in another place may need.
pub const FOR_EVAL_ELSEWHERE: &[Feature] =
    &[STATEMENTS, RENDER, RAISED, CONTROL, PLACES, ELSEWHERE];
/// What a conversation at a prompt may need.
pub const FOR_CONSOLE: &[Feature] = &[STATEMENTS, RENDER, RAISED, CONTROL, COMPLETE, ABOUT];
/// What code of such a conversation needs in another place, when it first asks for one.
pub const FOR_PLACES: &[Feature] = &[PLACES, ELSEWHERE];
/// What watches calls and lines.
pub const FOR_TRACE: &[Feature] =
    &[RENDER, RAISED, CONTROL, COMPLETE, SITES, LINES, REWRITE, EXCHANGE, HITS, TRACE];
/// What keeps exceptions.
pub const FOR_CATCH: &[Feature] = &[
    RENDER, RAISED, CONTROL, COMPLETE, SITES, LINES, REWRITE, EXCHANGE, HITS, KEPT, CATCH,
    UNHANDLED,
];
/// What looks into those that are kept.
pub const FOR_KEPT: &[Feature] = &[RENDER, RAISED, CONTROL, COMPLETE, SITES, HITS, KEPT];
/// What debugs one of them.
pub const FOR_POSTMORTEM: &[Feature] =
    &[RENDER, RAISED, CONTROL, COMPLETE, SITES, HITS, KEPT, POSTMORTEM];
/// Everything there is, in the order in which it is compiled.
pub const ALL: [Feature; 19] = [
    STATEMENTS, RENDER, RAISED, CONTROL, COMPLETE, SITES, LINES, REWRITE, EXCHANGE, HITS, TRACE,
    KEPT, CATCH, UNHANDLED, POSTMORTEM, ABOUT, PLACES, ELSEWHERE, FREEZE,
];

/// Modules of the package, with their sources. They are handed to an interpreter of one's own, and never sent into a
/// process.
pub type Part = &'static [(&'static str, &'static str)];

/// A prompt in a live loop.
pub const LIVE: Part = &[
    ("spyhole", include_str!("../python/spyhole/__init__.py")),
    ("spyhole._live", include_str!("../python/spyhole/_live.py")),
    ("spyhole._places", include_str!("../python/spyhole/_places.py")),
    ("spyhole._prompt", include_str!("../python/spyhole/_prompt.py")),
    ("spyhole._interrupts", include_str!("../python/spyhole/_interrupts.py")),
    ("spyhole._output", include_str!("../python/spyhole/_output.py")),
    ("spyhole._records", include_str!("../python/spyhole/_records.py")),
    ("spyhole.debugtools", include_str!("../python/spyhole/debugtools.py")),
];

/// `spyhole.install()`, with what is needed when it is rung.
pub const DOORBELL: Part = &[
    ("spyhole", include_str!("../python/spyhole/__init__.py")),
    ("spyhole._doorbell", include_str!("../python/spyhole/_doorbell.py")),
    ("spyhole._session", include_str!("../python/spyhole/_session.py")),
    ("spyhole._signals", include_str!("../python/spyhole/_signals.py")),
    ("spyhole._peers", include_str!("../python/spyhole/_peers.py")),
    ("spyhole._places", include_str!("../python/spyhole/_places.py")),
    ("spyhole._prompt", include_str!("../python/spyhole/_prompt.py")),
    ("spyhole._interrupts", include_str!("../python/spyhole/_interrupts.py")),
    ("spyhole._output", include_str!("../python/spyhole/_output.py")),
    ("spyhole._records", include_str!("../python/spyhole/_records.py")),
    ("spyhole.debugtools", include_str!("../python/spyhole/debugtools.py")),
];
