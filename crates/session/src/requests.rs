//! The web requests that are being served: found in the local variables of frames, without any help of the program.
//!
//! It knows what WSGI and ASGI hand to an application (PEP 3333, the ASGI specification): a dict with `REQUEST_METHOD` and
//! `wsgi.version`, or a scope of type `http` or `websocket`. What the dict says is told; nothing of it is proven.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spyhole_cpython::Reader;
use spyhole_cpython::frames::RawFrame;
use spyhole_cpython::locals::Variables;
use spyhole_cpython::reader::flag;
use spyhole_cpython::values::{Limits, REDACTED, Values};
use spyhole_proc::Address;
use spyhole_proc::memory::{Cached, ReadMemory};
use spyhole_proc::spread::QuickMap;

use crate::beyond::SeenBeyond;
use crate::model::{InterpreterStacks, ProcessStacks, StackFrame};
use crate::pause::SeenInterpreter;
use crate::redaction;
use crate::suspended::{GreenletState, TaskState};

/// What is wanted of requests.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// All that the server handed over.
    pub environ: bool,
    /// Secrets, too.
    pub reveal: bool,
}

/// A request that is being served.
#[derive(Clone, Debug, PartialEq)]
pub struct WebRequest {
    pub interpreter: i64,
    /// Its number, where `spyhole.wsgi.Middleware` counts them.
    pub number: Option<u64>,
    /// The thread that serves it.
    pub thread: Option<i32>,
    pub greenlet: Option<String>,
    pub task: Option<String>,
    pub protocol: Protocol,
    pub method: Option<String>,
    pub path: Option<String>,
    /// Values of secrets in it are hidden.
    pub query: Option<String>,
    /// `address:port`
    pub client: Option<String>,
    pub host: Option<String>,
    /// Since it came in, where somebody wrote down when that was.
    pub age: Option<Duration>,
    /// Names and values, where they were asked for.
    pub environ: Option<Vec<(String, String)>>,
    /// It changed while it was read.
    pub torn: bool,
    pub(crate) served_by: ServedBy,
}

/// Where the frames of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedBy {
    /// The place of a thread in its interpreter.
    Thread(usize),
    /// Its id.
    Greenlet(u64),
    /// Its id.
    Task(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Wsgi,
    Asgi,
    /// ASGI over a websocket.
    WebSocket,
}

impl Protocol {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wsgi => "wsgi",
            Self::Asgi => "asgi",
            Self::WebSocket => "asgi-websocket",
        }
    }
}

impl WebRequest {
    /// One that a test made.
    pub fn example(served_by: ServedBy, text: &str) -> Self {
        let some = || Some(text.to_owned());
        Self {
            interpreter: 0,
            number: Some(7),
            thread: Some(1),
            greenlet: some(),
            task: some(),
            protocol: Protocol::Wsgi,
            method: some(),
            path: some(),
            query: some(),
            client: some(),
            host: some(),
            age: Some(Duration::from_secs(3)),
            environ: Some(vec![(text.to_owned(), text.to_owned())]),
            torn: true,
            served_by,
        }
    }

    /// What serves it, innermost frame first.
    pub fn frames<'p>(&self, process: &'p ProcessStacks) -> &'p [StackFrame] {
        let own = process.interpreters.iter().find(|one| one.id == self.interpreter);
        let frames = own.and_then(|own| match self.served_by {
            ServedBy::Thread(index) => own.threads.get(index).map(|one| &one.frames),
            ServedBy::Greenlet(id) => {
                own.greenlets.iter().find(|one| one.id == id).map(|one| &one.frames)
            }
            ServedBy::Task(id) => own.tasks.iter().find(|one| one.id == id).map(|one| &one.frames),
        });
        frames.map(Vec::as_slice).unwrap_or_default()
    }
}

/// Requests of one process; nobody serves more at a time.
const REQUESTS_AT_MOST: usize = 10_000;
/// Frames of one stack, the outermost first: servers are there.
const FRAMES_AT_MOST: usize = 300;
/// Variables that are looked at in one process.
const VARIABLES_AT_MOST: usize = 1 << 21;
const TEXT_AT_MOST: usize = 4096;
const ENTRIES_AT_MOST: usize = 2000;
const CHARACTERS: usize = 1000;

/// A stack in which a request may be.
struct Stack<'a> {
    frames: &'a [RawFrame],
    served_by: ServedBy,
    thread: Option<i32>,
    greenlet: Option<String>,
    task: Option<String>,
}

/// The requests of a moment; `anew` makes memory that was not read before, where the process goes on meanwhile.
pub(crate) fn find<M: ReadMemory + Clone>(
    reader: Reader<'_>,
    memory: &Cached<M>,
    changes: bool,
    seen: (&[SeenInterpreter], &[SeenBeyond]),
    told: &[InterpreterStacks],
    wanted: Wanted,
) -> Vec<WebRequest> {
    let mut finder = Finder::new(Reader { memory, ..reader });
    let mut requests = Vec::new();
    for ((interpreter, beyond), told) in seen.0.iter().zip(seen.1).zip(told) {
        for (found, stack) in finder.of_stacks(stacks(interpreter, beyond, told)) {
            memory.went_beyond();
            let Some(mut request) = finder.told(&found, &stack, told.id, wanted) else { continue };
            if changes && memory.went_beyond() {
                let fresh = memory.anew();
                let now = Finder::new(Reader { memory: &fresh, ..reader });
                let now = now.told(&found, &stack, told.id, wanted);
                // Time goes on.
                let same = |now: WebRequest| WebRequest { age: request.age, ..now } == request;
                request.torn = !now.is_some_and(same);
            }
            requests.push(request);
            if requests.len() == REQUESTS_AT_MOST {
                return requests;
            }
        }
    }
    requests
}

/// Reads what that needs of the frames of threads, so that it is copied in the pause.
pub(crate) fn rehearse(reader: Reader<'_>, seen: &[SeenInterpreter]) {
    let mut finder = Finder::new(reader);
    let wanted = Wanted { environ: true, reveal: true };
    for interpreter in seen {
        for (index, thread) in interpreter.threads.iter().enumerate() {
            let stack = Stack {
                frames: &thread.stack.frames,
                served_by: ServedBy::Thread(index),
                thread: None,
                greenlet: None,
                task: None,
            };
            if let Some(found) = finder.in_stack(&stack) {
                finder.told(&found, &stack, 0, wanted);
            }
        }
    }
}

/// Tasks and greenlets come before the threads that run them.
fn stacks<'a>(
    interpreter: &'a SeenInterpreter,
    beyond: &'a SeenBeyond,
    told: &InterpreterStacks,
) -> Vec<Stack<'a>> {
    let mut all = Vec::new();
    for (seen, task) in beyond.tasks.iter().zip(&told.tasks) {
        if task.state == TaskState::New {
            continue;
        }
        let name = task.name.clone().or_else(|| task.coroutine.clone());
        all.push(Stack {
            frames: &seen.frames,
            served_by: ServedBy::Task(task.id),
            thread: task.thread,
            greenlet: None,
            task: Some(name.unwrap_or_else(|| format!("{:#x}", task.id))),
        });
    }
    for (seen, greenlet) in beyond.greenlets.iter().zip(&told.greenlets) {
        let name = greenlet.name.clone().unwrap_or_else(|| format!("{:#x}", greenlet.id));
        all.push(Stack {
            frames: &seen.greenlet.stack.frames,
            served_by: ServedBy::Greenlet(greenlet.id),
            thread: greenlet.thread,
            greenlet: Some(name),
            task: None,
        });
    }
    for ((index, seen), thread) in interpreter.threads.iter().enumerate().zip(&told.threads) {
        let runs = told.greenlets.iter().find(|greenlet| {
            greenlet.state == GreenletState::Running && greenlet.thread == thread.native_id
        });
        all.push(Stack {
            frames: &seen.stack.frames,
            served_by: ServedBy::Thread(index),
            thread: thread.native_id,
            greenlet: runs.and_then(|greenlet| greenlet.name.clone()),
            task: None,
        });
    }
    all
}

/// What a server handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    dict: Address,
    protocol: Protocol,
}

struct Finder<'a> {
    reader: Reader<'a>,
    variables: QuickMap<Address, Option<Variables>>,
    /// What was looked at and is none.
    others: HashSet<Address>,
    left: usize,
}

impl<'a> Finder<'a> {
    fn new(reader: Reader<'a>) -> Self {
        Self {
            reader,
            variables: QuickMap::default(),
            others: HashSet::new(),
            left: VARIABLES_AT_MOST,
        }
    }

    /// One for each request. Of several tasks that serve it, the one that got furthest; what threads do is known already
    /// of the tasks and greenlets that they run.
    fn of_stacks<'s>(&mut self, stacks: Vec<Stack<'s>>) -> Vec<(Found, Stack<'s>)> {
        let mut all: Vec<(Found, Stack<'s>)> = Vec::new();
        let mut known: HashMap<Address, usize> = HashMap::new();
        for stack in stacks {
            let Some(found) = self.in_stack(&stack) else { continue };
            match known.entry(self.identity(&found)) {
                Entry::Vacant(new) => {
                    new.insert(all.len());
                    all.push((found, stack));
                }
                Entry::Occupied(of) => {
                    let before = &mut all[*of.get()];
                    let further = stack.frames.len() > before.1.frames.len();
                    if further && !matches!(stack.served_by, ServedBy::Thread(_)) {
                        *before = (found, stack);
                    }
                }
            }
        }
        all
    }

    /// The first one from outside.
    fn in_stack(&mut self, stack: &Stack<'_>) -> Option<Found> {
        for frame in stack.frames.iter().rev().take(FRAMES_AT_MOST) {
            let reader = self.reader;
            let variables = self.variables.entry(frame.code).or_insert_with(|| {
                let is_code = reader.kind(frame.code).ok()? == reader.types.code;
                is_code.then(|| Variables::read(&reader, frame.code).ok()).flatten()
            });
            let Some(variables) = variables else { continue };
            let locals = variables.of_frame(&reader, frame.address).found;
            for local in locals {
                self.left = self.left.checked_sub(1)?;
                let Some(found) = self.handed_over(local.value) else { continue };
                return Some(found);
            }
        }
        None
    }

    fn handed_over(&mut self, at: Address) -> Option<Found> {
        if self.others.contains(&at) {
            return None;
        }
        let reader = self.reader;
        let kind = reader.kind(at).ok()?;
        let is_dict = kind == reader.types.dict
            || reader.flags(kind).is_ok_and(|flags| flags & flag::DICT != 0);
        if !is_dict {
            return None;
        }
        let found = self.protocol(at).map(|protocol| Found { dict: at, protocol });
        if found.is_none() {
            self.others.insert(at);
        }
        found
    }

    fn protocol(&self, dict: Address) -> Option<Protocol> {
        const FEWEST: u64 = 4;
        let used = self.reader.memory.word(dict.plus(self.reader.layout.dict.used)).ok()?;
        if used < FEWEST || used > ENTRIES_AT_MOST as u64 {
            return None;
        }
        let item = |name: &str| self.reader.dict_item(dict, name);
        if item("REQUEST_METHOD").is_some() && item("wsgi.version").is_some() {
            return Some(Protocol::Wsgi);
        }
        let is = |kind: Address, name: &str| self.reader.is_text(kind, name);
        let kind = item("type")?;
        let protocol = match () {
            () if is(kind, "http") => Protocol::Asgi,
            () if is(kind, "websocket") => Protocol::WebSocket,
            () => return None,
        };
        (item("path").is_some() && item("headers").is_some()).then_some(protocol)
    }

    /// A dict may be copied; what the request is read from is one, and so are its headers.
    fn identity(&self, found: &Found) -> Address {
        let key = match found.protocol {
            Protocol::Wsgi => "wsgi.input",
            Protocol::Asgi | Protocol::WebSocket => "headers",
        };
        self.reader.dict_item(found.dict, key).unwrap_or(found.dict)
    }

    fn told(
        &self,
        found: &Found,
        stack: &Stack<'_>,
        interpreter: i64,
        wanted: Wanted,
    ) -> Option<WebRequest> {
        // It may be another one by now.
        let protocol = self.protocol(found.dict).filter(|now| *now == found.protocol)?;
        let mut request = WebRequest {
            interpreter,
            number: None,
            thread: stack.thread,
            greenlet: stack.greenlet.clone(),
            task: stack.task.clone(),
            protocol,
            method: None,
            path: None,
            query: None,
            client: None,
            host: None,
            age: None,
            environ: None,
            torn: false,
            served_by: stack.served_by,
        };
        match protocol {
            Protocol::Wsgi => self.wsgi(found.dict, &mut request),
            Protocol::Asgi | Protocol::WebSocket => self.asgi(found.dict, &mut request),
        }
        if !wanted.reveal {
            request.query = request.query.map(|query| without_secrets(&query));
        }
        request.environ = wanted.environ.then(|| self.environ(found.dict, wanted));
        Some(request)
    }

    /// A text, or bytes, under a name.
    fn item(&self, dict: Address, name: &str) -> Option<String> {
        self.text(self.reader.dict_item(dict, name)?)
    }

    fn text(&self, at: Address) -> Option<String> {
        if let Some(text) = self.reader.text(at, TEXT_AT_MOST) {
            return Some(text.text);
        }
        if self.reader.kind(at).ok()? != self.reader.types.bytes {
            return None;
        }
        let length = usize::try_from(self.reader.size(at).ok()?).ok()?.min(TEXT_AT_MOST);
        let bytes = at.plus(self.reader.layout.objects.bytes);
        let bytes = self.reader.memory.bytes(bytes, length).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn wsgi(&self, dict: Address, request: &mut WebRequest) {
        let item = |name: &str| self.item(dict, name).filter(|text| !text.is_empty());
        request.method = item("REQUEST_METHOD");
        let path = item("SCRIPT_NAME").unwrap_or_default() + &item("PATH_INFO").unwrap_or_default();
        // Bytes stand for characters there (PEP 3333).
        let bytes: Option<Vec<u8>> = path.chars().map(|one| u8::try_from(one).ok()).collect();
        let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        request.path = Some(decoded.unwrap_or(path));
        request.query = item("QUERY_STRING");
        let port = self
            .reader
            .dict_item(dict, "REMOTE_PORT")
            .and_then(|at| self.text(at).or_else(|| Some(self.reader.word(at)?.to_string())));
        request.client = item("REMOTE_ADDR").map(|address| with_port(address, port));
        request.host = item("HTTP_HOST").or_else(|| item("SERVER_NAME"));
        let begun = ["mod_wsgi.request_start", "HTTP_X_REQUEST_START", "HTTP_X_QUEUE_START"];
        request.age = begun.iter().find_map(|name| since(&item(name)?));
        self.of_middleware(dict, request);
    }

    /// What `spyhole.wsgi.Middleware` writes into the environ; the program may have written something else there.
    fn of_middleware(&self, dict: Address, request: &mut WebRequest) {
        let reader = self.reader;
        request.number =
            reader.dict_item(dict, "spyhole.request_id").and_then(|at| reader.word(at));
        let start = reader
            .dict_item(dict, "spyhole.request_start")
            .filter(|at| reader.kind(*at).is_ok_and(|kind| kind == reader.types.float));
        let bits =
            start.and_then(|at| reader.memory.word(at.plus(reader.layout.objects.float)).ok());
        request.age = bits.and_then(|bits| ago(f64::from_bits(bits))).or(request.age);
    }

    fn asgi(&self, dict: Address, request: &mut WebRequest) {
        request.method = self.item(dict, "method");
        request.path = self.item(dict, "path");
        request.query = self.item(dict, "query_string").filter(|query| !query.is_empty());
        let pair = |at: Address| -> Option<[Address; 2]> { self.row(at, 2)?.try_into().ok() };
        if let Some([address, port]) = self.reader.dict_item(dict, "client").and_then(pair) {
            let port = self.reader.word(port).map(|port| port.to_string());
            request.client = self.text(address).map(|address| with_port(address, port));
        }
        let headers = self.reader.dict_item(dict, "headers");
        for header in headers.and_then(|at| self.row(at, 200)).unwrap_or_default() {
            let Some([name, value]) = pair(header) else { continue };
            match self.text(name).as_deref().map(str::to_ascii_lowercase).as_deref() {
                Some("host") => request.host = self.text(value),
                Some("x-request-start") => {
                    request.age = self.text(value).and_then(|begun| since(&begun));
                }
                _ => {}
            }
        }
    }

    /// The first items of a list or a tuple.
    fn row(&self, at: Address, most: usize) -> Option<Vec<Address>> {
        let reader = self.reader;
        let flags = reader.flags(reader.kind(at).ok()?).ok()?;
        let objects = &reader.layout.objects;
        let first = match () {
            () if flags & flag::TUPLE != 0 => at.plus(objects.tuple),
            () if flags & flag::LIST != 0 => reader.memory.pointer(at.plus(objects.list)).ok()?,
            () => return None,
        };
        let count = usize::try_from(reader.size(at).ok()?).ok()?.min(most);
        (0..count as u64).map(|index| reader.memory.pointer(first.plus(index * 8)).ok()).collect()
    }

    fn environ(&self, dict: Address, wanted: Wanted) -> Vec<(String, String)> {
        let hides = match wanted.reveal {
            true => redaction::nothing_is_secret,
            false => redaction::is_secret,
        };
        let limits = Limits { characters: CHARACTERS, hides };
        let mut values = Values::new(self.reader, self.reader, limits);
        let entries = self.reader.dict_entries(dict, ENTRIES_AT_MOST).unwrap_or_default();
        let told = entries.iter().filter_map(|entry| {
            let name = self.reader.text(entry.key, TEXT_AT_MOST)?.text;
            if hides(&name) {
                return Some((name, REDACTED.to_owned()));
            }
            // What an object keeps may be the whole environ again, under other names.
            let kind = values.type_name(entry.value);
            let is_object = kind.contains('.') || kind.starts_with('_');
            let value = match is_object {
                true => format!("<{kind} object>"),
                false => values.render(entry.value).text.to_string(),
            };
            let has_query = value.contains('=') && !wanted.reveal;
            Some((name, if has_query { without_secrets(&value) } else { value }))
        });
        told.collect()
    }
}

fn with_port(address: String, port: Option<String>) -> String {
    match port.filter(|port| !port.is_empty() && port != "0") {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address,
    }
}

/// How long ago a time was that a server wrote down: `t=1700000000.123`, in seconds, milliseconds or microseconds.
fn since(begun: &str) -> Option<Duration> {
    const MILLISECONDS: f64 = 1e11;
    const MICROSECONDS: f64 = 1e14;
    let number: f64 = begun.trim().trim_start_matches("t=").parse().ok()?;
    let seconds = match number {
        _ if number >= MICROSECONDS => number / 1e6,
        _ if number >= MILLISECONDS => number / 1e3,
        _ => number,
    };
    ago(seconds)
}

/// How long ago a time was, in seconds of the Unix epoch.
fn ago(seconds: f64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    // A clock that is a little ahead of ours.
    const AHEAD: f64 = 1.0;
    const OLDEST: f64 = 30.0 * 86400.0;
    let age = now - seconds;
    (-AHEAD..OLDEST).contains(&age).then(|| Duration::from_secs_f64(age.max(0.0)))
}

/// `a=1&token=<redacted>`, also within other text.
pub(crate) fn without_secrets(text: &str) -> String {
    let is_of_name =
        |one: char| one.is_alphanumeric() || matches!(one, '_' | '-' | '.' | '%' | '[' | ']');
    let ends = ['&', '\'', '"', ' ', ')', ',', ';', '#'];
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let start = before.trim_end_matches(is_of_name).len();
        let end = after.find(ends).unwrap_or(after.len());
        kept.push_str(before);
        kept.push('=');
        match end > 0 && redaction::is_secret(&before[start..]) {
            true => {
                kept.push_str(REDACTED);
                rest = &after[end..];
            }
            false => rest = after,
        }
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_query_are_hidden() {
        assert_eq!(without_secrets("a=1&token=x&b"), "a=1&token=<redacted>&b");
        assert_eq!(without_secrets("api_key=x"), "api_key=<redacted>");
        let kept = "b'/x?csrf%5Ftoken=<redacted>&a=b=c'";
        assert_eq!(without_secrets("b'/x?csrf%5Ftoken=x&a=b=c'"), kept);
        assert_eq!(without_secrets("(authorization, b't=1')"), "(authorization, b't=1')");
        assert_eq!(without_secrets(""), "");
    }

    #[test]
    fn times_are_told_in_many_units() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - 5.0;
        for text in
            [format!("t={now:.3}"), format!("{:.0}", now * 1e3), format!("{:.0}", now * 1e6)]
        {
            let age = since(&text).unwrap().as_secs_f64();
            assert!((4.0..10.0).contains(&age), "{text}: {age}");
        }
        assert_eq!((since("x"), since("0"), since("t=9e99")), (None, None, None));
    }

    #[test]
    fn clients_have_ports() {
        assert_eq!(with_port("1.2.3.4".into(), Some("5".into())), "1.2.3.4:5");
        assert_eq!(with_port("::1".into(), Some("5".into())), "[::1]:5");
        assert_eq!(with_port("::1".into(), None), "::1");
    }
}
