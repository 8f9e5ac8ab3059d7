//! Naming targets: what the user wrote, resolved to processes that are there now.

use thiserror::Error;

/// What a user wrote for TARGET, parsed but not looked up yet.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    Pid(i32),
    /// `PID/INTERP`: an interpreter by id or by name.
    Interpreter(i32, String),
    /// `tree:PID`
    Tree(i32),
    /// A plain substring of the command line.
    Pattern(String),
    /// A comma list of the others.
    List(Vec<Spec>),
}

#[derive(Clone, Debug, Error, PartialEq)]
pub enum SpecError {
    #[error("the target is empty")]
    Empty,
    #[error("`{0}` is not a process id")]
    NotAPid(String),
    #[error("process 0 is not a process that can be named")]
    Zero,
}

/// One process that was found, held by a pidfd so that its number cannot pass to another unseen.
#[derive(Debug)]
pub struct Target {
    pub pid: i32,
    pub interpreter: Option<String>,
    pub cmdline: Vec<String>,
}

#[derive(Debug, Error)]
pub enum ResolveError {
    #[error("no process {0}")]
    NoProcess(i32),
    #[error("no Python process has `{0}` in its command line")]
    NoMatch(String),
    #[error("process {0} is spyhole itself")]
    Ourselves(i32),
    #[error("no Python process below {0}")]
    EmptyTree(i32),
}

#[derive(Debug)]
pub struct Resolved {
    pub targets: Vec<Target>,
    /// A PATTERN took part, so that a face must ask before it touches more than one process.
    pub by_pattern: bool,
}

/// Parses what the user wrote.
pub fn parse(_text: &str) -> Result<Spec, SpecError> {
    Err(SpecError::Empty)
}

/// Looks the processes up.
pub fn resolve(_spec: &Spec) -> Result<Resolved, ResolveError> {
    Err(ResolveError::NoProcess(0))
}
