//! The tasks of asyncio: where an interpreter lists them, what each of them runs, and what it waits for.
//!
//! It knows `Modules/_asynciomodule.c`, `Lib/asyncio/tasks.py` and `Lib/asyncio/futures.py`, in the C and in the Python
//! form of both. A C structure is only read if its type has the size that the version's has.

use std::collections::HashSet;

use spyhole_proc::Address;
use spyhole_proc::spread::QuickMap;

use crate::generators::Chain;
use crate::layout::{FUTURE_LOOP, TaskLists, Tasks as Places};
use crate::reader::Reader;
use crate::runtime::InterpreterState;

/// Tasks that are told of one interpreter.
pub const TASKS_AT_MOST: usize = 1 << 16;
/// Callbacks of one future that are looked at.
const CALLBACKS_AT_MOST: usize = 4096;
/// The same of all futures of an interpreter.
const ALL_CALLBACKS_AT_MOST: usize = 1 << 18;
const NAME_AT_MOST: usize = 200;
const BASES_AT_MOST: usize = 100;

/// Which implementation an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A task in C.
    Task(Places),
    /// A future in C that is no task.
    Future(Places),
    /// A task in Python.
    PythonTask,
    /// A future in Python.
    PythonFuture,
}

/// A task, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub at: Address,
    pub event_loop: Address,
    pub name: Option<String>,
    /// The coroutine that it runs.
    pub coroutine: Address,
    /// The future that it waits for; null for none.
    pub waiter: Address,
    pub chain: Chain,
}

/// What ends together with a future, told by one of its callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A future that it completes, or helps to complete.
    Future(Address),
    /// A task that is responsible for it.
    Parent(Address),
}

/// The tasks of one interpreter.
pub struct Tasks<'a> {
    reader: Reader<'a>,
    /// `asyncio.tasks`, a dict.
    module: Address,
    in_c: Option<InC>,
    python: Vec<(Address, Kind)>,
    kinds: QuickMap<Address, Option<Kind>>,
    /// The program's C code is another than is known.
    pub unknown: bool,
    /// So many callbacks are still looked at.
    callbacks_left: usize,
}

#[derive(Clone, Copy)]
struct InC {
    task: Address,
    future: Address,
    places: Places,
}

impl<'a> Tasks<'a> {
    /// `None` if asyncio is not loaded.
    pub fn of(reader: Reader<'a>, interpreter: &InterpreterState) -> Option<Self> {
        let module = reader.module_dict(interpreter, "asyncio.tasks")?;
        let item = |dict: Address, name: &str| reader.dict_item(dict, name);
        let mut unknown = false;
        let in_c = reader.module_dict(interpreter, "_asyncio").and_then(|dict| {
            let (task, future) = (item(dict, "Task")?, item(dict, "Future")?);
            let size = reader.memory.word(task.plus(reader.layout.kind.basic_size)).ok()?;
            let places = reader.layout.suspended.tasks.filter(|places| places.size == size);
            unknown = places.is_none();
            Some(InC { task, future, places: places? })
        });
        let futures = reader.module_dict(interpreter, "asyncio.futures");
        let python = [
            (item(module, "_PyTask"), Kind::PythonTask),
            (futures.and_then(|dict| item(dict, "_PyFuture")), Kind::PythonFuture),
        ];
        let python = python.into_iter().filter_map(|(at, kind)| Some((at?, kind))).collect();
        Some(Self {
            reader,
            module,
            in_c,
            python,
            kinds: QuickMap::default(),
            unknown,
            callbacks_left: ALL_CALLBACKS_AT_MOST,
        })
    }

    /// What kind of future the object is; `None`: it is none.
    pub fn kind(&mut self, at: Address) -> Option<Kind> {
        if at.is_null() {
            return None;
        }
        let kind = self.reader.kind(at).ok()?;
        if let Some(known) = self.kinds.get(&kind) {
            return *known;
        }
        let found = self.kind_of_type(kind);
        self.kinds.insert(kind, found);
        found
    }

    fn kind_of_type(&self, kind: Address) -> Option<Kind> {
        let mro = self.reader.memory.pointer(kind.plus(self.reader.layout.kind.mro)).ok()?;
        for base in self.reader.items(mro, BASES_AT_MOST) {
            if let Some(in_c) = &self.in_c {
                if base == in_c.task {
                    return Some(Kind::Task(in_c.places));
                }
                if base == in_c.future {
                    return Some(Kind::Future(in_c.places));
                }
            }
            if let Some((_, kind)) = self.python.iter().find(|(known, _)| *known == base) {
                return Some(*kind);
            }
        }
        None
    }

    pub fn is_task(&mut self, at: Address) -> bool {
        matches!(self.kind(at), Some(Kind::Task(_) | Kind::PythonTask))
    }

    /// All tasks that are known to this interpreter and not done, and whether these are all. `threads` are the states of
    /// its threads.
    pub fn list(
        &mut self,
        interpreter: &InterpreterState,
        threads: &[Address],
    ) -> (Vec<Address>, bool) {
        let mut found = Vec::new();
        let mut whole = true;
        if let (Some(lists), Some(places)) =
            (self.reader.layout.suspended.task_lists, self.in_c.map(|in_c| in_c.places))
        {
            let of_threads = threads.iter().map(|thread| (*thread, lists.of_thread));
            for (of, place) in of_threads.chain([(interpreter.address, lists.of_interpreter)]) {
                let head = of.plus(place.wrapping_add(self.shift(of, place)));
                whole &= self.linked(head, places, &mut found);
            }
        }
        found.extend(self.in_sets());
        let mut seen = HashSet::new();
        found.retain(|at| seen.insert(*at));
        whole &= found.len() <= TASKS_AT_MOST;
        found.truncate(TASKS_AT_MOST);
        self.expect(&found);
        found.retain(|at| self.is_task(*at) && self.is_pending(*at));
        (found, whole)
    }

    /// Reads these tasks together, and what they run: each may lie in a page of its own.
    fn expect(&self, tasks: &[Address]) {
        let Some(InC { places, .. }) = self.in_c else { return };
        let memory = self.reader.memory;
        memory.expect(&mut tasks.iter().map(|at| at.plus(places.state)));
        // Of an object of another kind this is no address, which does no harm.
        let coroutines = tasks.iter().map(|at| memory.pointer(at.plus(places.coroutine)));
        memory.expect(&mut coroutines.filter_map(Result::ok));
    }

    /// How much further than at `place` the head of a list is: patch levels of a version differ by a word, and none of
    /// them publishes it. The ring itself tells: what follows the head leads back to it.
    fn shift(&self, of: Address, place: u64) -> u64 {
        const WORD: u64 = 8;
        let memory = self.reader.memory;
        let leads_back = |shift: &u64| {
            let head = of.plus(place.wrapping_add(*shift));
            let next = memory.pointer(head).unwrap_or_default();
            !next.is_null() && memory.pointer(next.plus(WORD)) == Ok(head)
        };
        [0, WORD, WORD.wrapping_neg()].into_iter().find(leads_back).unwrap_or(0)
    }

    /// A ring of tasks (`Include/internal/pycore_llist.h`).
    fn linked(&self, head: Address, places: Places, found: &mut Vec<Address>) -> bool {
        let Some(node) = places.node else { return true };
        let Ok(mut at) = self.reader.memory.pointer(head) else { return false };
        let mut passed = 0;
        while at != head && !at.is_null() {
            passed += 1;
            if passed > TASKS_AT_MOST {
                return false;
            }
            found.push(Address(at.0.wrapping_sub(node)));
            match self.reader.memory.pointer(at) {
                Ok(next) => at = next,
                Err(_) => return false,
            }
        }
        true
    }

    /// Those in the sets that `asyncio.tasks` and, to 3.6, the classes have.
    fn in_sets(&self) -> Vec<Address> {
        let reader = self.reader;
        let mut found = Vec::new();
        let mut named = false;
        for name in ["_all_tasks", "_scheduled_tasks", "_eager_tasks"] {
            if let Some(set) = reader.dict_item(self.module, name) {
                named = true;
                found.extend(self.of_set(set));
            }
        }
        let classes = self.python.iter().map(|(class, _)| *class);
        for class in classes.chain(self.in_c.map(|in_c| in_c.task)) {
            let dict = reader.memory.pointer(class.plus(reader.layout.kind.dict));
            let set = dict.ok().and_then(|dict| self.item_of_dict(dict, "_all_tasks"));
            found.extend(set.into_iter().flat_map(|set| self.of_set(set)));
        }
        if !named {
            found.extend(self.in_variables());
        }
        found
    }

    /// 3.6 has the set in a variable of its C code (`all_tasks`), near the type.
    fn in_variables(&self) -> Vec<Address> {
        const PAGE: u64 = 4096;
        const PAGES: u64 = 8;
        let Some(in_c) = self.in_c else { return Vec::new() };
        let reader = self.reader;
        let first = Address((in_c.task.0 / PAGE).saturating_sub(PAGES) * PAGE);
        let mut found = Vec::new();
        for page in 0..=2 * PAGES {
            let bytes = reader.memory.bytes(first.plus(page * PAGE), PAGE as usize);
            for word in bytes.unwrap_or_default().chunks_exact(8) {
                let at = Address(word.try_into().map_or(0, u64::from_le_bytes));
                let kind = reader.kind(at).ok().filter(|_| !at.is_null());
                if kind.and_then(|kind| reader.type_name(kind)).as_deref() == Some("WeakSet") {
                    found.extend(self.of_set(at));
                }
            }
        }
        found
    }

    fn item_of_dict(&self, dict: Address, name: &str) -> Option<Address> {
        let is_dict = self.reader.kind(dict).ok()? == self.reader.types.dict;
        is_dict.then(|| self.reader.dict_item(dict, name)).flatten()
    }

    fn of_set(&self, set: Address) -> Vec<Address> {
        if self.reader.is_set(set) {
            return self.reader.members(set, TASKS_AT_MOST).unwrap_or_default();
        }
        self.reader.weak_members(set, TASKS_AT_MOST).unwrap_or_default()
    }

    /// The tasks that run at this moment, as asyncio itself tells it.
    pub fn running(&self, threads: &[Address]) -> HashSet<Address> {
        let reader = self.reader;
        let mut found = HashSet::new();
        let lists = reader.layout.suspended.task_lists;
        if let Some(TaskLists { running_task, of_thread, .. }) = lists {
            let place = |thread: &Address| {
                thread.plus(running_task.wrapping_add(self.shift(*thread, of_thread)))
            };
            let tasks = threads.iter().map(place);
            found.extend(tasks.filter_map(|place| reader.memory.pointer(place).ok()));
        }
        let mut dicts: Vec<Option<Address>> = vec![reader.dict_item(self.module, "_current_tasks")];
        let classes = self.python.iter().map(|(class, _)| *class);
        for class in classes.chain(self.in_c.map(|in_c| in_c.task)) {
            let dict = reader.memory.pointer(class.plus(reader.layout.kind.dict)).ok();
            dicts.push(dict.and_then(|dict| self.item_of_dict(dict, "_current_tasks")));
        }
        for dict in dicts.into_iter().flatten() {
            if reader.kind(dict).ok() == Some(reader.types.dict) {
                let entries = reader.dict_entries(dict, TASKS_AT_MOST).unwrap_or_default();
                found.extend(entries.iter().map(|entry| entry.value));
            }
        }
        found
    }

    /// Whether a future has no result yet.
    pub fn is_pending(&mut self, at: Address) -> bool {
        match self.kind(at) {
            Some(Kind::Task(places) | Kind::Future(places)) => {
                self.reader.memory.half(at.plus(places.state)) == Ok(0)
            }
            // As long as it is pending, it may have that from its class.
            Some(Kind::PythonTask | Kind::PythonFuture) => self
                .reader
                .attribute(at, "_state")
                .is_none_or(|state| self.reader.is_text(state, "PENDING")),
            None => false,
        }
    }

    /// The task at `at`, at most so many frames of it.
    pub fn read(&mut self, at: Address, frames: usize) -> Option<Task> {
        let kind = self.kind(at)?;
        let reader = self.reader;
        let (event_loop, coroutine, waiter, name) = match kind {
            Kind::Task(places) => {
                let field = |place: u64| reader.memory.pointer(at.plus(place)).ok();
                let name = places.name.and_then(field);
                (field(FUTURE_LOOP)?, field(places.coroutine)?, field(places.waiter)?, name)
            }
            Kind::PythonTask => {
                let field = |name: &str| reader.attribute(at, name);
                let waiter = field("_fut_waiter").filter(|at| *at != reader.types.none);
                (
                    field("_loop").unwrap_or_default(),
                    field("_coro")?,
                    waiter.unwrap_or_default(),
                    field("_name"),
                )
            }
            Kind::Future(_) | Kind::PythonFuture => return None,
        };
        Some(Task {
            at,
            event_loop,
            name: name.and_then(|name| self.name(name)),
            coroutine,
            waiter,
            chain: reader.await_chain(coroutine, frames),
        })
    }

    /// A string, or the number from which a name is made when it is first asked for (3.12+).
    fn name(&self, at: Address) -> Option<String> {
        if let Some(text) = self.reader.text(at, NAME_AT_MOST) {
            return Some(text.text);
        }
        let is_number = self.reader.kind(at).ok()? == self.reader.types.integer;
        is_number.then(|| self.reader.word(at).map(|number| format!("Task-{number}"))).flatten()
    }

    /// What a task of C says that it is awaited by (3.14+).
    pub fn awaited_by(&mut self, at: Address) -> Vec<Address> {
        let Some(Kind::Task(places) | Kind::Future(places)) = self.kind(at) else {
            return Vec::new();
        };
        let Some(place) = places.awaited_by else { return Vec::new() };
        match self.reader.memory.pointer(at.plus(place)) {
            Ok(by) if by.is_null() || by == self.reader.types.none => Vec::new(),
            Ok(by) if self.reader.is_set(by) => {
                self.reader.members(by, CALLBACKS_AT_MOST).unwrap_or_default()
            }
            Ok(by) => vec![by],
            Err(_) => Vec::new(),
        }
    }

    /// What the callbacks of a future lead to.
    pub fn told(&mut self, at: Address) -> Vec<Told> {
        let mut told = Vec::new();
        for callback in self.callbacks(at) {
            if self.callbacks_left == 0 {
                break;
            }
            self.callbacks_left -= 1;
            self.of_callback(callback, &mut told);
        }
        told
    }

    fn callbacks(&mut self, at: Address) -> Vec<Address> {
        let reader = self.reader;
        let mut found = Vec::new();
        let list = match self.kind(at) {
            Some(Kind::Task(places) | Kind::Future(places)) => {
                let first =
                    places.first_callback.map(|place| reader.memory.pointer(at.plus(place)));
                found.extend(first.and_then(Result::ok).filter(|first| !first.is_null()));
                reader.memory.pointer(at.plus(places.callbacks)).ok()
            }
            Some(Kind::PythonTask | Kind::PythonFuture) => reader.attribute(at, "_callbacks"),
            None => None,
        };
        let list = list.filter(|list| !list.is_null());
        for item in list.map(|list| reader.items(list, CALLBACKS_AT_MOST)).unwrap_or_default() {
            // With its context, from 3.7 on.
            let first = match reader.kind(item) {
                Ok(kind) if kind == reader.types.tuple => reader.items(item, 1).first().copied(),
                _ => Some(item),
            };
            found.extend(first);
        }
        found
    }

    /// `gather`, `shield`, `wait` and `wait_for` complete a future that their callback, a function within them, has as a
    /// variable or an argument; a `TaskGroup` has its task as an attribute.
    fn of_callback(&mut self, callback: Address, told: &mut Vec<Told>) {
        const VARIABLES_AT_MOST: usize = 20;
        let reader = self.reader;
        let Ok(kind) = reader.kind(callback) else { return };
        let mut candidates = Vec::new();
        if kind == reader.types.function {
            let closure =
                reader.memory.pointer(callback.plus(reader.layout.suspended.function_closure));
            for cell in reader.items(closure.unwrap_or_default(), VARIABLES_AT_MOST) {
                if reader.kind(cell).ok() == Some(reader.types.cell) {
                    let value = reader.memory.pointer(cell.plus(reader.layout.objects.cell));
                    candidates.extend(value.ok());
                }
            }
        } else if kind == reader.types.method {
            let own = reader.memory.pointer(callback.plus(reader.layout.objects.method_self));
            let parent = own.ok().and_then(|own| reader.attribute(own, "_parent_task"));
            if let Some(parent) = parent.filter(|parent| self.is_task(*parent)) {
                told.push(Told::Parent(parent));
            }
        } else if reader.type_name(kind).as_deref() == Some("functools.partial") {
            let place = reader.layout.details.unlisted.partial_arguments;
            let arguments = reader.memory.pointer(callback.plus(place)).unwrap_or_default();
            candidates = reader.items(arguments, VARIABLES_AT_MOST);
            let place = reader.layout.details.unlisted.partial_function;
            let function = reader.memory.pointer(callback.plus(place)).unwrap_or_default();
            if reader.kind(function) == Ok(reader.types.function) {
                self.of_callback(function, told);
            }
        }
        for candidate in candidates {
            match self.kind(candidate) {
                Some(Kind::Future(_) | Kind::PythonFuture) => told.push(Told::Future(candidate)),
                // The host of a group of anyio.
                _ if self.is_group(candidate) => {
                    let host = reader
                        .attribute(candidate, "cancel_scope")
                        .and_then(|scope| reader.attribute(scope, "_host_task"));
                    if let Some(host) = host.filter(|host| self.is_task(*host)) {
                        told.push(Told::Parent(host));
                    }
                }
                _ => {}
            }
        }
    }

    fn is_group(&self, at: Address) -> bool {
        let name = self.reader.kind(at).ok().and_then(|kind| self.reader.type_name(kind));
        name.as_deref() == Some("TaskGroup")
    }
}
