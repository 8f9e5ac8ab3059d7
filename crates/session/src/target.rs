//! Naming targets: what the user wrote, resolved to processes that are there now.

use std::io;

use spyhole_proc::find::{self, Process, Viewer};
use spyhole_proc::pidfd::Pidfd;
use spyhole_proc::stat;
use thiserror::Error;

use crate::model::EvalError;
use crate::socket::Address;
use crate::{failure, interpreters, processes};

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
    /// `HOST:PORT` or `unix:PATH`: a prompt that an application has left open.
    Socket(Address),
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
    /// `None`: a list names it, but there is no such process.
    pub(crate) process: Option<Pidfd>,
}

impl Target {
    /// The same process, of which another interpreter is meant; an error if it has none of that number or name.
    pub fn at(&self, interpreter: &str) -> Result<Self, EvalError> {
        let process = self.hold_again().map_err(|_| failure::gone(self.pid))?;
        let meant = Self {
            pid: self.pid,
            interpreter: Some(interpreter.to_owned()),
            cmdline: self.cmdline.clone(),
            process: None,
        };
        interpreters::choose(&meant, &process)?;
        Ok(Self { process: Some(process), ..meant })
    }

    /// Another hold on the same process.
    pub(crate) fn hold_again(&self) -> io::Result<Pidfd> {
        self.process.as_ref().ok_or(io::ErrorKind::NotFound)?.try_clone()
    }
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
    #[error("`{0}` is an address, and only `console` can go to one")]
    Address(Address),
    #[error("cannot read /proc")]
    Proc(#[from] io::Error),
}

#[derive(Debug)]
pub struct Resolved {
    pub targets: Vec<Target>,
    /// A PATTERN took part, so that a face must ask before it touches more than one process.
    pub by_pattern: bool,
}

/// Parses what the user wrote. Digits alone are a pid, also where a command line has them.
pub fn parse(text: &str) -> Result<Spec, SpecError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(SpecError::Empty);
    }
    if text.contains(',') {
        let parts: Result<Vec<Spec>, SpecError> = text.split(',').map(parse).collect();
        return parts.map(Spec::List);
    }
    if let Some(pid) = text.strip_prefix("tree:") {
        return number(pid).map(Spec::Tree);
    }
    if let Some((pid, interpreter)) = text.split_once('/')
        && !pid.is_empty()
        && pid.bytes().all(|b| b.is_ascii_digit())
    {
        return Ok(Spec::Interpreter(number(pid)?, interpreter.to_owned()));
    }
    if let Some(address) = Address::parse(text) {
        return Ok(Spec::Socket(address));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return number(text).map(Spec::Pid);
    }
    Ok(Spec::Pattern(text.to_owned()))
}

fn number(text: &str) -> Result<i32, SpecError> {
    match text.parse::<i32>() {
        Ok(0) => Err(SpecError::Zero),
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(SpecError::NotAPid(text.to_owned())),
    }
}

/// Looks the processes up. Each comes once, in the order of the words and of the pids.
pub fn resolve(spec: &Spec) -> Result<Resolved, ResolveError> {
    let mut resolved = Resolved { targets: Vec::new(), by_pattern: false };
    add(spec, &mut resolved)?;
    Ok(resolved)
}

fn add(spec: &Spec, resolved: &mut Resolved) -> Result<(), ResolveError> {
    match spec {
        Spec::Pid(pid) => hold(*pid, None, resolved),
        Spec::Interpreter(pid, name) => hold(*pid, Some(name.clone()), resolved),
        Spec::Socket(address) => Err(ResolveError::Address(address.clone())),
        Spec::List(specs) => {
            for spec in specs {
                match add(spec, resolved) {
                    // The others can be asked; that one of them is not there is its answer.
                    Err(ResolveError::NoProcess(pid)) => resolved.targets.push(Target {
                        pid,
                        interpreter: None,
                        cmdline: Vec::new(),
                        process: None,
                    }),
                    other => other?,
                }
            }
            match resolved.targets.first() {
                Some(first) if resolved.targets.iter().all(|one| one.process.is_none()) => {
                    Err(ResolveError::NoProcess(first.pid))
                }
                _ => Ok(()),
            }
        }
        Spec::Tree(root) => {
            let everybody = Viewer { uid: 0, lineage: Vec::new() };
            let all = find::list(&everybody)?;
            let below = find::descendants(&all, *root);
            if below.is_empty() {
                return Err(ResolveError::NoProcess(*root));
            }
            let own = std::process::id() as i32;
            let below = below.into_iter().filter(|p| p.pid != own).map(|p| p.pid);
            if hold_pythons(below, resolved) == 0 {
                return Err(ResolveError::EmptyTree(*root));
            }
            Ok(())
        }
        Spec::Pattern(pattern) => {
            let viewer = Viewer::this_process()?;
            let all = find::list(&viewer)?;
            let matching: Vec<&Process> = find::matching(&all, &viewer, pattern.as_bytes());
            resolved.by_pattern = true;
            if hold_pythons(matching.into_iter().map(|p| p.pid), resolved) == 0 {
                return Err(ResolveError::NoMatch(pattern.clone()));
            }
            Ok(())
        }
    }
}

/// Those among `pids` that run Python; how many they are. One that ends meanwhile is passed over.
fn hold_pythons(pids: impl Iterator<Item = i32>, resolved: &mut Resolved) -> usize {
    let mut pythons = processes::Pythons::new();
    let mut count = 0;
    for pid in pids {
        if pythons.recognise(pid).is_some() && hold(pid, None, resolved).is_ok() {
            count += 1;
        }
    }
    count
}

fn hold(
    pid: i32,
    interpreter: Option<String>,
    resolved: &mut Resolved,
) -> Result<(), ResolveError> {
    if pid == std::process::id() as i32 {
        return Err(ResolveError::Ourselves(pid));
    }
    if resolved.targets.iter().any(|t| t.pid == pid && t.interpreter == interpreter) {
        return Ok(());
    }
    let process = Pidfd::open(pid).map_err(|_| ResolveError::NoProcess(pid))?;
    let words = stat::command_line(pid).map_err(|_| ResolveError::NoProcess(pid))?;
    let cmdline = processes::text(&words);
    resolved.targets.push(Target { pid, interpreter, cmdline, process: Some(process) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        assert_eq!(parse("4123"), Ok(Spec::Pid(4123)));
        assert_eq!(parse("4123/2"), Ok(Spec::Interpreter(4123, "2".into())));
        assert_eq!(parse("1/shop.example|/x"), Ok(Spec::Interpreter(1, "shop.example|/x".into())));
        assert_eq!(parse("tree:7"), Ok(Spec::Tree(7)));
        assert_eq!(parse("wsgi:bookshop"), Ok(Spec::Pattern("wsgi:bookshop".into())));
        assert_eq!(parse("/usr/bin/x"), Ok(Spec::Pattern("/usr/bin/x".into())));
        let address = Address::Tcp { host: "localhost".into(), port: 3000 };
        assert_eq!(parse("localhost:3000"), Ok(Spec::Socket(address)));
        assert_eq!(parse("unix:/run/x"), Ok(Spec::Socket(Address::Unix("/run/x".into()))));
        assert_eq!(
            parse("1, worker"),
            Ok(Spec::List(vec![Spec::Pid(1), Spec::Pattern("worker".into())]))
        );
    }

    #[test]
    fn what_names_nothing_is_said() {
        assert_eq!(parse("0"), Err(SpecError::Zero));
        assert_eq!(parse(""), Err(SpecError::Empty));
        assert_eq!(parse("1,,2"), Err(SpecError::Empty));
        assert_eq!(parse("-5"), Err(SpecError::NotAPid("-5".into())));
        assert_eq!(parse("99999999999"), Err(SpecError::NotAPid("99999999999".into())));
        assert_eq!(parse("tree:x"), Err(SpecError::NotAPid("x".into())));
    }

    #[test]
    fn ourselves_and_nobody_are_no_targets() {
        let own = std::process::id() as i32;
        assert!(matches!(resolve(&Spec::Pid(own)), Err(ResolveError::Ourselves(_))));
        assert!(matches!(resolve(&Spec::Pid(i32::MAX)), Err(ResolveError::NoProcess(_))));
        let address = parse("1,localhost:3000").unwrap();
        assert!(matches!(resolve(&address), Err(ResolveError::Address(_))));
        let pattern = Spec::Pattern("no process has this in its command line".into());
        assert!(matches!(resolve(&pattern), Err(ResolveError::NoMatch(_))));
    }
}
