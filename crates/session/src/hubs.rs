//! What greenlets wait for: with gevent, with eventlet, or in a plain `switch`.
//!
//! It knows the functions of `gevent` and `eventlet`, and of `threading` and `queue` on top of them. Most of gevent is compiled
//! and has no frames: there it is told by what lies on the value stack of who called it, and believed if the greenlet is
//! among those that this object will wake (`_links` of `gevent/_abstract_linkable.py`).

use std::collections::HashMap;

use spyhole_cpython::frames::RawFrame;
use spyhole_proc::Address;

use crate::later::{Later, Subject, Wants};
use crate::model::StackFrame;
use crate::waiting::{at, place};
use crate::waits::WaitKind;

/// Frames of libraries that may lie between a program and what it waits for.
const LIBRARY_FRAMES: usize = 8;
/// Slots of a value stack that are looked at.
const SLOTS_AT_MOST: usize = 64;
/// Words of an object in C that are looked at.
const WORDS_AT_MOST: usize = 64;
const LINKS_AT_MOST: usize = 1000;

/// What a suspended greenlet waits for. `places` are those of all greenlets.
pub(crate) fn wants(
    later: &mut Later<'_>,
    own: Address,
    subject: Subject<'_>,
    places: &HashMap<Address, usize>,
) -> Option<Wants> {
    let first = subject.raw.first()?;
    by_functions(later, own, subject, places).or_else(|| {
        let object = linked(later, own, first)?;
        of_object(later, object, None, places)
    })
}

/// What the functions tell that it is in: the outermost of the library tells most.
fn by_functions(
    later: &mut Later<'_>,
    own: Address,
    subject: Subject<'_>,
    places: &HashMap<Address, usize>,
) -> Option<Wants> {
    let mut wants: Option<Wants> = None;
    for (raw, told) in subject.raw.iter().zip(subject.told).take(LIBRARY_FRAMES) {
        let Some((module, function)) = place(told) else { break };
        if !is_library(module) {
            break;
        }
        // What runs a greenlet is a method of it.
        if later.variable(raw, "self") == Some(own) {
            break;
        }
        if let Some(found) = by_function(later, module, function, raw, told, places) {
            // Who takes its own lock again, after it was woken, waits for that.
            let again = wants.as_ref().is_some_and(|wants| wants.lock.is_some())
                && found.kind == WaitKind::Condition;
            if !again {
                wants = Some(found);
            }
        }
    }
    wants
}

fn is_library(module: &str) -> bool {
    let package = module.split('.').next().unwrap_or(module);
    matches!(package, "gevent" | "eventlet" | "threading" | "queue" | "socket" | "ssl")
}

fn by_function(
    later: &mut Later<'_>,
    module: &str,
    function: &str,
    raw: &RawFrame,
    told: &StackFrame,
    places: &HashMap<Address, usize>,
) -> Option<Wants> {
    match (module, function) {
        ("gevent.hub" | "eventlet.greenthread", "sleep") => {
            let seconds = later.variable(raw, "seconds").and_then(|at| later.seconds(at));
            let what = seconds.map(|seconds| format!("a sleep of {seconds} s to end"));
            Some(Wants::new(WaitKind::Sleep, what.unwrap_or_else(|| "a sleep to end".to_owned())))
        }
        ("eventlet.hubs", "trampoline") => {
            let fd = later.variable(raw, "fd")?;
            let fd = later.reader().word(fd).and_then(|fd| i32::try_from(fd).ok())?;
            Some(Wants { fd: Some(fd), ..Wants::new(WaitKind::Call, format!("fd {fd}")) })
        }
        ("gevent._socket3" | "gevent._socketcommon" | "gevent._ssl3", call) => {
            let own = later.variable(raw, "self")?;
            let socket = later.reader().slot(own, "_sock").unwrap_or(own);
            later.of_socket(call, socket)
        }
        ("eventlet.greenio.base" | "eventlet.greenio.py3", call)
            if matches!(
                call,
                "accept" | "recv" | "recv_into" | "recvfrom" | "send" | "sendall" | "connect"
            ) =>
        {
            // One may be around another.
            const AROUND_AT_MOST: usize = 4;
            let mut socket = later.variable(raw, "self")?;
            for _ in 0..AROUND_AT_MOST {
                socket = later.reader().attribute(socket, "fd").unwrap_or(socket);
            }
            later.of_socket(call, socket)
        }
        _ => {
            let own = later.variable(raw, "self")?;
            if told.function.as_deref().is_none_or(|name| name.contains("<locals>")) {
                return None;
            }
            of_object(later, own, Some(function), places)
        }
    }
}

/// What waiting for an object is, by its class; `function` is the one that waits.
fn of_object(
    later: &mut Later<'_>,
    own: Address,
    function: Option<&str>,
    places: &HashMap<Address, usize>,
) -> Option<Wants> {
    if let Some(index) = places.get(&own) {
        let joined = Wants::new(WaitKind::Join, "the end of a greenlet".to_owned());
        return Some(Wants { on: vec![*index], ..joined });
    }
    let class = later.class(own)?;
    let known = later.synchroniser(own)?;
    let kind = match known.trim_start_matches('_') {
        "Lock" | "LockType" => WaitKind::Lock,
        "RLock" => WaitKind::RLock,
        "Semaphore" | "BoundedSemaphore" | "DummySemaphore" | "CappedSemaphore" => {
            WaitKind::Semaphore
        }
        "Condition" => WaitKind::Condition,
        "Event" => WaitKind::Event,
        "AsyncResult" => WaitKind::Future,
        "Barrier" => WaitKind::Barrier,
        "Thread" => WaitKind::Join,
        name if name.ends_with("Queue") || name == "Channel" => WaitKind::Queue,
        _ => return None,
    };
    let what = match (kind, function) {
        (WaitKind::Queue, Some(function)) => at(&format!("{function} of {class}"), own),
        _ => at(&class, own),
    };
    let lock = matches!(kind, WaitKind::Lock | WaitKind::RLock);
    Some(Wants { lock: lock.then_some(own), ..Wants::new(kind, what) })
}

/// The object on a frame's value stack that will wake this greenlet.
fn linked(later: &mut Later<'_>, own: Address, frame: &RawFrame) -> Option<Address> {
    let slots = later.reader().operands(frame)?.slots;
    for slot in slots.into_iter().rev().take(SLOTS_AT_MOST) {
        let bound = later.owner_of_method(slot);
        for object in [Some(slot), bound].into_iter().flatten() {
            if !object.is_null() && wakes(later, object, own) {
                return Some(object);
            }
        }
    }
    None
}

/// Whether an object of gevent has a greenlet's `switch` among what it calls, or in a waiter of its queues.
fn wakes(later: &mut Later<'_>, object: Address, greenlet: Address) -> bool {
    let reader = later.reader();
    let Ok(kind) = reader.kind(object) else { return false };
    if !reader.class_name(kind).is_some_and(|name| name.starts_with("gevent.")) {
        return false;
    }
    let Ok(size) = reader.memory.word(kind.plus(reader.layout.kind.basic_size)) else {
        return false;
    };
    let words = (size / 8).min(WORDS_AT_MOST as u64);
    (2..words).any(|index| {
        let Ok(field) = reader.memory.pointer(object.plus(index * 8)) else { return false };
        let Ok(of_field) = reader.kind(field) else { return false };
        let links = match reader.type_name(of_field).as_deref() {
            Some("list") => reader.items(field, LINKS_AT_MOST),
            Some("collections.deque") => {
                reader.deque_items(field, LINKS_AT_MOST).unwrap_or_default()
            }
            _ => return false,
        };
        links.into_iter().any(|link| {
            link == greenlet
                || later.owner_of_method(link) == Some(greenlet)
                || is_waiter_of(later, link, greenlet)
        })
    })
}

/// Whether an object is a `Waiter` (`gevent/_waiter.py`) of this greenlet.
fn is_waiter_of(later: &Later<'_>, object: Address, greenlet: Address) -> bool {
    let reader = later.reader();
    let Ok(kind) = reader.kind(object) else { return false };
    let is_waiter = reader
        .type_name(kind)
        .is_some_and(|name| name.starts_with("gevent.") && name.ends_with("Waiter"));
    is_waiter
        && (2..WORDS_AT_MOST as u64 / 4)
            .any(|index| reader.memory.pointer(object.plus(index * 8)) == Ok(greenlet))
}
