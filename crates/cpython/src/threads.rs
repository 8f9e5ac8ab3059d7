//! The threads of an interpreter: their states, and which thread of the process each belongs to.
//!
//! It knows thread states (`Include/cpython/pystate.h`). Their frames are followed by `frames`, and their names, which
//! CPython itself does not know, are found by `names`.

use std::collections::{HashMap, HashSet};

use spyhole_proc::Address;
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::{ReadMemory, Unreadable};

use crate::layout::Layout;
use crate::runtime::InterpreterState;

/// A thread's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadState {
    pub address: Address,
    /// `threading.get_ident()`: on Linux the address of the C library's descriptor.
    pub ident: u64,
    /// As the process itself numbers its threads, where the version stores it.
    pub native_id: Option<i32>,
}

/// More threads than a process gets; a list that is longer is not one.
pub const THREADS_AT_MOST: usize = 1 << 16;

/// The states of an interpreter's threads, oldest first and at most `most`, and whether the list was whole.
pub fn states(
    memory: &dyn ReadMemory,
    layout: &Layout,
    interpreter: &InterpreterState,
    most: usize,
) -> (Vec<ThreadState>, bool) {
    let mut states: Vec<ThreadState> = Vec::new();
    let mut seen = HashSet::new();
    let mut at = interpreter.threads;
    let mut whole = true;
    while !at.is_null() {
        if states.len() == most || !seen.insert(at) {
            whole = false;
            break;
        }
        let Ok((state, next)) = state(memory, layout, interpreter, at) else {
            whole = false;
            break;
        };
        match state {
            Some(state) => states.push(state),
            // Freed and used for something else meanwhile.
            None => {
                whole = false;
                break;
            }
        }
        at = next;
    }
    // A new one is put before the others.
    states.reverse();
    (states, whole)
}

/// States whose numbers may be those of another thread: they are of a sub-interpreter, and a state of another interpreter
/// has the same ones.
pub fn doubtful(layout: &Layout, all: &[(i64, ThreadState)]) -> HashSet<Address> {
    if !layout.shape.inherits_ids {
        return HashSet::new();
    }
    // An ident with the interpreters that have it: one, or more than one.
    let mut homes: HashMap<u64, (i64, bool)> = HashMap::new();
    for (id, state) in all {
        let home = homes.entry(state.ident).or_insert((*id, false));
        home.1 |= home.0 != *id;
    }
    all.iter()
        .filter(|(id, state)| *id != 0 && homes.get(&state.ident).is_some_and(|home| home.1))
        .map(|(_, state)| state.address)
        .collect()
}

fn state(
    memory: &dyn ReadMemory,
    layout: &Layout,
    interpreter: &InterpreterState,
    at: Address,
) -> Result<(Option<ThreadState>, Address), Unreadable> {
    let of = &layout.thread;
    let next = memory.pointer(at.plus(of.next))?;
    if memory.pointer(at.plus(of.interpreter))? != interpreter.address {
        return Ok((None, next));
    }
    let native_id = match of.native_id {
        Some(offset) => Some(memory.word(at.plus(offset))? as i32),
        None => None,
    };
    let state = ThreadState { address: at, ident: memory.word(at.plus(of.ident))?, native_id };
    Ok((Some(state), next))
}

/// An address on the C stack of the thread that runs with this state, whatever numbers it has: where its evaluation
/// loop keeps its `CFrame` (`Python/ceval.c`, 3.10 to 3.12). `None` if it runs no Python code, or the version has none.
pub fn c_stack(memory: &dyn ReadMemory, layout: &Layout, thread: &ThreadState) -> Option<Address> {
    let at = memory.pointer(thread.address.plus(layout.thread.c_stack?)).ok()?;
    // Before the loop is entered, it is within the state itself.
    const STATE_AT_MOST: u64 = 8192;
    let within = at.0.wrapping_sub(thread.address.0) < STATE_AT_MOST;
    (!at.is_null() && !within).then_some(at)
}

/// The thread on whose C stack an address lies, by the number that the process uses for it: glibc puts a thread's
/// descriptor above its stack (`nptl/allocatestack.c`), and both pointers to itself within it
/// (`sysdeps/x86_64/nptl/tls.h`) give it away. Not for the main thread, whose descriptor is elsewhere.
pub fn owner(
    memory: &dyn ReadMemory,
    maps: &Maps,
    at: Address,
    tids: &HashMap<i32, i32>,
) -> Option<i32> {
    /// The usual size of a stack and twice as much.
    const STACK_AT_MOST: u64 = 16 << 20;
    const ALIGNMENT: u64 = 64;
    const PAGE: u64 = 4096;
    let mapping = maps.at(at)?;
    let end = mapping.end.min(at.plus(STACK_AT_MOST));
    let mut here = Address(at.0 / ALIGNMENT * ALIGNMENT);
    while here < end {
        let rest = (PAGE - here.0 % PAGE) as usize;
        let page = memory.bytes(here, rest).ok()?;
        for (index, part) in page.chunks(ALIGNMENT as usize).enumerate() {
            let descriptor = here.plus(index as u64 * ALIGNMENT);
            let word = |from: usize| {
                part.get(from..from + 8)?.try_into().ok().map(|b| Address(u64::from_le_bytes(b)))
            };
            if word(0) == Some(descriptor) && word(16) == Some(descriptor) {
                let tid = memory.half(descriptor.plus(USUAL)).ok()? as i32;
                return tids.contains_key(&tid).then_some(tid);
            }
        }
        here = here.plus(rest as u64);
    }
    None
}

/// The number by which a process knows the thread with this descriptor, where it has the usual form. A child that a C
/// program has forked may not have told Python its new one, but glibc has noted it (`sysdeps/nptl/_Fork.c`).
pub fn noted_number(memory: &dyn ReadMemory, ident: u64) -> Option<i32> {
    let at = Address(ident);
    let is_own = |from: u64| memory.word(at.plus(from)).is_ok_and(|word| word == ident);
    (is_own(0) && is_own(16)).then(|| memory.half(at.plus(USUAL)).ok().map(|tid| tid as i32))?
}

/// Where the C library's thread descriptor holds the thread's number: found by looking, as no header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    offset: u64,
}

/// Where glibc has it on x86_64 since 2.4 (`nptl/descr.h`); looked at first.
const USUAL: u64 = 720;
const DESCRIPTOR_LENGTH: usize = 2304;

impl Descriptor {
    /// Finds the one place that holds a living thread's number, a different one in each descriptor.
    pub fn calibrate(memory: &dyn ReadMemory, idents: &[u64], tids: &[i32]) -> Option<Self> {
        const SAMPLES: usize = 16;
        let descriptors: Vec<Vec<u8>> = idents
            .iter()
            .filter_map(|ident| memory.bytes(Address(*ident), DESCRIPTOR_LENGTH).ok())
            .take(SAMPLES)
            .collect();
        if descriptors.is_empty() {
            return None;
        }
        let number = |descriptor: &[u8], offset: usize| {
            descriptor.get(offset..offset + 4)?.try_into().ok().map(i32::from_le_bytes)
        };
        let fits = |offset: usize| {
            let found: Vec<i32> = descriptors.iter().filter_map(|d| number(d, offset)).collect();
            let living = found.iter().filter(|tid| tids.contains(tid)).count();
            let distinct: HashSet<&i32> = found.iter().collect();
            // A thread may have ended since the numbers were listed.
            living > 0 && living * 2 > descriptors.len() && distinct.len() == found.len()
        };
        if fits(USUAL as usize) {
            return Some(Self { offset: USUAL });
        }
        let mut others = (0..DESCRIPTOR_LENGTH - 4).step_by(4).filter(|offset| fits(*offset));
        match (others.next(), others.next()) {
            (Some(offset), None) => Some(Self { offset: offset as u64 }),
            _ => None,
        }
    }

    /// Where the number of the thread with this descriptor is.
    pub fn place(&self, ident: u64) -> Address {
        Address(ident).plus(self.offset)
    }

    /// The number of the thread with this descriptor.
    pub fn native_id(&self, memory: &dyn ReadMemory, ident: u64) -> Option<i32> {
        memory.half(self.place(ident)).ok().map(|tid| tid as i32)
    }
}
