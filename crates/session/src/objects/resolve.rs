//! Looking up what a path leads to, in one interpreter.
//!
//! It knows where names are looked for: `__main__`, loaded modules, builtins. Nothing runs for it.

use std::collections::HashSet;

use spyhole_cpython::Reader;
use spyhole_cpython::heap::{self, Instances};
use spyhole_cpython::locals::Variables;
use spyhole_cpython::reader::flag;
use spyhole_cpython::runtime::InterpreterState;
use spyhole_cpython::values::{Bounds, Item, Key, Step, StepError, Tree, Values};
use spyhole_proc::Address;
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::ReadMemory;

use super::path::{Path, Root};
use crate::pause::SeenInterpreter;

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nowhere {
    pub message: String,
    /// The path as far as the step that failed.
    pub step: String,
    /// Names that are there and look like the one that is not, the nearest first.
    pub near: Vec<String>,
    /// There is nothing of it here, not even where it begins.
    pub(crate) not_here: bool,
    /// The dotted name that is missing, where it could be a module's.
    pub(crate) missing: Option<String>,
}

impl Nowhere {
    pub fn new(message: String, step: String, near: Vec<String>) -> Self {
        Self { message, step, near, not_here: false, missing: None }
    }
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) tree: Tree,
    /// What should be known of it.
    pub(crate) note: Option<String>,
}

/// One interpreter and what a path needs to be looked up in it.
pub(crate) struct Inside<'r> {
    pub(crate) reader: Reader<'r>,
    pub(crate) seen: &'r SeenInterpreter,
    /// This machine's number of each of its threads, in their order.
    pub(crate) tids: &'r [Option<i32>],
    /// The instances that `type:` asks for.
    pub(crate) instances: Option<&'r Instances>,
    pub(crate) hides: fn(&str) -> bool,
}

fn nowhere(path: &Path, last: usize, error: &StepError) -> Nowhere {
    let wanted = match path.steps.get(last) {
        Some(Step::Attribute(name)) => name.clone(),
        Some(Step::Item(Key::Text(name))) => name.clone(),
        _ => String::new(),
    };
    let there: &[String] = match error {
        StepError::Absent { there, .. } => there,
        _ => &[],
    };
    Nowhere {
        message: error.to_string(),
        step: path.until(last),
        near: super::near::names(&wanted, there),
        not_here: false,
        missing: None,
    }
}

impl Inside<'_> {
    fn state(&self) -> &InterpreterState {
        &self.seen.state
    }

    /// The tree of what the path leads to.
    pub(crate) fn tree(
        &self,
        path: &Path,
        values: &mut Values<'_>,
        bounds: Bounds,
    ) -> Result<Reached, Nowhere> {
        if let Root::Instances { class } = path.root {
            return self.instances(path, class, values, bounds);
        }
        let (start, first) = self.root(path, values)?;
        let at = self.walk(path, start, first, values)?;
        self.told(path, at, values, bounds)
    }

    /// What is at the end of the path, secrets hidden.
    fn told(
        &self,
        path: &Path,
        at: Address,
        values: &mut Values<'_>,
        bounds: Bounds,
    ) -> Result<Reached, Nowhere> {
        let last = path.steps.len().saturating_sub(1);
        let (to, through) = values.followed(at).map_err(|error| nowhere(path, last, &error))?;
        let mut tree = match path.names_a_secret(self.hides) {
            true => Tree::redacted(values.type_name(to), to),
            false => values.tree(to, bounds),
        };
        tree.through = through;
        Ok(Reached { tree, note: None })
    }

    fn walk(
        &self,
        path: &Path,
        start: Address,
        first: usize,
        values: &mut Values<'_>,
    ) -> Result<Address, Nowhere> {
        self.walk_until(path, start, first, path.steps.len(), values)
    }

    fn walk_until(
        &self,
        path: &Path,
        start: Address,
        first: usize,
        end: usize,
        values: &mut Values<'_>,
    ) -> Result<Address, Nowhere> {
        let mut at = start;
        let mut before = None;
        // As long as all that was passed are modules, a name may be a module that its package does not have.
        let mut modules = !matches!(path.root, Root::Local { .. });
        for (index, step) in path.steps.iter().enumerate().take(end).skip(first) {
            let is_closure = |step: &Step| *step == Step::Attribute("__closure__".to_owned());
            let found = match (step, index.checked_sub(1).and_then(|last| path.steps.get(last))) {
                (Step::Item(Key::Text(name)), Some(last)) if is_closure(last) => match before {
                    Some(function) => values.closed_over(function, name),
                    None => values.step(at, step),
                },
                _ => values.step(at, step),
            };
            modules &= self.reader.kind(at).is_ok_and(|kind| kind == self.reader.types.module);
            let next = match found {
                Ok(next) => next,
                Err(error) => {
                    let module = if modules { path.dotted(index) } else { None };
                    let loaded = module.as_deref().and_then(|name| self.module(name));
                    match loaded {
                        Some(module) => module,
                        None => {
                            let failed = nowhere(path, index, &error);
                            return Err(Nowhere { missing: module, ..failed });
                        }
                    }
                }
            };
            before = Some(at);
            at = next;
        }
        Ok(at)
    }

    fn module(&self, name: &str) -> Option<Address> {
        let modules = self.state().modules;
        let is_dict = self.reader.kind(modules).ok()? == self.reader.types.dict;
        let found = if is_dict { self.reader.dict_item(modules, name) } else { None };
        found.filter(|at| *at != self.reader.types.none)
    }

    /// Which of the modules that a path may go through are loaded here.
    pub(crate) fn loaded(&self, path: &Path) -> Vec<String> {
        let names = match &path.root {
            Root::Module(module) => module.clone(),
            Root::Local { .. } => return Vec::new(),
            _ => String::new(),
        };
        let mut dotted = names;
        let mut all: Vec<String> = Vec::new();
        for part in dotted.split('.').map(str::to_owned).collect::<Vec<_>>() {
            let name = all.last().map_or(part.clone(), |before| format!("{before}.{part}"));
            all.push(name);
        }
        for step in &path.steps {
            let Step::Attribute(name) = step else { break };
            dotted = if dotted.is_empty() { name.clone() } else { format!("{dotted}.{name}") };
            all.push(dotted.clone());
        }
        all.retain(|name| !name.is_empty() && self.module(name).is_some());
        all
    }

    /// Where the path begins, and its first step from there.
    fn root(&self, path: &Path, values: &mut Values<'_>) -> Result<(Address, usize), Nowhere> {
        match &path.root {
            Root::Module(name) => match self.module(name) {
                Some(module) => Ok((module, 0)),
                None => Err(self.not_loaded(name, &format!("{name}:"))),
            },
            Root::Local { thread, frame, name } => {
                Ok((self.local(path, *thread, *frame, name)?, 0))
            }
            Root::Name | Root::Instances { .. } => {
                let Some(Step::Attribute(name)) = path.steps.first() else {
                    return Err(self.not_loaded("", ""));
                };
                let of_module = |module: &str| {
                    let dict = self.reader.module_dict(self.state(), module)?;
                    self.reader.dict_item(dict, name)
                };
                let found = of_module("__main__")
                    .or_else(|| self.module(name))
                    .or_else(|| of_module("builtins"));
                let _ = values;
                found.map(|at| (at, 1)).ok_or_else(|| self.not_loaded(name, name))
            }
        }
    }

    fn not_loaded(&self, name: &str, step: &str) -> Nowhere {
        let mut there = self.reader.module_names(self.state());
        if let Some(main) = self.reader.module_dict(self.state(), "__main__") {
            let entries = self.reader.dict_entries(main, 2000).unwrap_or_default();
            let names = entries.iter().filter_map(|entry| self.reader.text(entry.key, 200));
            there.extend(names.map(|name| name.text));
        }
        let is_module = step.ends_with(':') || name.is_empty();
        Nowhere {
            message: match is_module {
                true => "this module is not loaded".to_owned(),
                false => format!("no module, global or builtin is called `{name}`"),
            },
            step: step.to_owned(),
            near: super::near::names(name, &there),
            not_here: true,
            missing: Some(name.to_owned()),
        }
    }

    /// A local variable of a thread.
    fn local(
        &self,
        path: &Path,
        thread: i32,
        frame: Option<usize>,
        name: &str,
    ) -> Result<Address, Nowhere> {
        let failed = |message: String, near: Vec<String>, not_here: bool| Nowhere {
            message,
            step: path.until(0).split('.').next().unwrap_or_default().to_owned(),
            near,
            not_here,
            missing: None,
        };
        let Some(index) = self.tids.iter().position(|tid| *tid == Some(thread)) else {
            let tids = self.tids.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
            return Err(failed(format!("there is no Python thread {thread} here"), tids, true));
        };
        let frames = &self.seen.threads[index].stack.frames;
        let chosen = match frame {
            Some(number) => match frames.get(number) {
                Some(_) => number..number + 1,
                None => {
                    let message =
                        format!("thread {thread} has {} frames, 0 the innermost", frames.len());
                    return Err(failed(message, Vec::new(), false));
                }
            },
            None => 0..frames.len(),
        };
        let mut there = Vec::new();
        for frame in &frames[chosen] {
            let is_code = self.reader.kind(frame.code).ok() == Some(self.reader.types.code);
            let variables = is_code.then(|| Variables::read(&self.reader, frame.code).ok());
            let Some(variables) = variables.flatten() else { continue };
            let locals = variables.of_frame(&self.reader, frame.address).found;
            if let Some(found) = locals.iter().find(|local| *local.name == *name) {
                return Ok(found.value);
            }
            there.extend(locals.into_iter().map(|local| local.name.to_string()));
        }
        let message = format!("no local variable is called `{name}`");
        Err(failed(message, super::near::names(name, &there), false))
    }

    /// The class that `type:` names.
    pub(crate) fn class(&self, path: &Path, values: &mut Values<'_>) -> Result<Address, Nowhere> {
        let Root::Instances { class } = path.root else {
            return Err(self.not_loaded("", ""));
        };
        let (start, first) = self.root(path, values)?;
        let at = self.walk_until(path, start, first, class, values)?;
        let flags = self.reader.kind(at).and_then(|kind| self.reader.flags(kind));
        if flags.is_ok_and(|flags| flags & flag::KIND != 0) {
            return Ok(at);
        }
        Err(Nowhere {
            message: format!("it is no class but a {}", values.type_name(at)),
            step: path.until(class.saturating_sub(1)),
            near: Vec::new(),
            not_here: false,
            missing: None,
        })
    }

    fn instances(
        &self,
        path: &Path,
        class: usize,
        values: &mut Values<'_>,
        bounds: Bounds,
    ) -> Result<Reached, Nowhere> {
        let at = self.class(path, values)?;
        let name = values.render_short(at).text;
        let name = name.trim_start_matches("<class '").trim_end_matches("'>").to_owned();
        let none = Instances::default();
        let all = self.instances.unwrap_or(&none);
        // What was found before may be gone by now.
        let classes: HashSet<u64> =
            self.reader.with_subclasses(at).iter().map(|one| one.0).collect();
        let there = |one: &Address| self.reader.is_instance(*one, &classes).is_some();
        let mut living: Vec<Address> = all.found.iter().copied().filter(there).collect();
        let length = living.len();
        if let Some(step) = path.steps.get(class) {
            let Step::Item(Key::Integer(number)) = step else {
                let kind = name.as_str().into();
                return Err(nowhere(path, class, &StepError::NoItems { kind }));
            };
            let index = match *number {
                ..0 => length.checked_sub(number.unsigned_abs() as usize),
                _ => usize::try_from(*number).ok(),
            };
            let chosen = index.and_then(|index| living.get(index)).copied();
            let chosen = chosen.ok_or_else(|| {
                let error =
                    StepError::OutOfRange { kind: name.as_str().into(), length: length as u64 };
                nowhere(path, class, &error)
            })?;
            let end = self.walk(path, chosen, class + 1, values)?;
            return self.told(path, end, values, bounds);
        }
        let cut = living.len() > bounds.items;
        living.truncate(bounds.items);
        let mut left = bounds.nodes;
        let mut items = Vec::new();
        for (number, instance) in living.into_iter().enumerate() {
            let nodes = left.min(bounds.nodes / 16 + 1);
            let depth = bounds.depth.saturating_sub(1);
            let value = values.tree(instance, Bounds { nodes, depth, ..bounds });
            left = left.saturating_sub(size(&value));
            items.push(Item { key: Some(number.to_string().into()), value });
            if left == 0 {
                break;
            }
        }
        let mut tree = Tree::redacted("instances".into(), at);
        let plural = if length == 1 { "instance" } else { "instances" };
        tree.repr = format!("{length} {plural} of {name}").into();
        tree.length = Some(length as u64);
        tree.truncated = cut || all.cut || items.len() < length;
        tree.items = Some(items);
        let note = match (all.by_looks, all.cut) {
            (true, _) => Some("the garbage collector does not know them: some may be gone already"),
            (_, true) => Some("the process has more memory, or more of them, than was looked at"),
            _ => None,
        };
        Ok(Reached { tree, note: note.map(str::to_owned) })
    }
}

/// How many values a tree has.
pub(crate) fn size(tree: &Tree) -> usize {
    let items = tree.items.iter().flatten().map(|item| size(&item.value));
    let attributes = tree.attributes.iter().flatten().map(|(_, value)| size(value));
    1 + items.sum::<usize>() + attributes.sum::<usize>()
}

/// The instances that `type:` asks for, as they are now.
pub(crate) fn find_instances(
    inside: &Inside<'_>,
    path: &Path,
    values: &mut Values<'_>,
    raw: &dyn ReadMemory,
    maps: &Maps,
) -> Option<Instances> {
    let class = inside.class(path, values).ok()?;
    let classes = inside.reader.with_subclasses(class);
    Some(heap::instances(&inside.reader, raw, maps, &classes))
}
