//! How the things in a CPython's memory are laid out, one value for each version.
//!
//! It knows offsets and shapes. It does not read memory, but for the numbers that a process publishes itself
//! (`Include/internal/pycore_debug_offsets.h`, 3.13+): where they differ from the table, the process is right.

mod details;
mod numbers;
mod operands;
mod suspended;
mod table;

use spyhole_proc::Address;
use spyhole_proc::memory::ReadMemory;
use thiserror::Error;

use crate::Version;
use crate::published::Published;
pub use details::{Details, Unlisted};
pub use numbers::Numbers;
pub use operands::{Begin, Blocks, Operands};
pub use suspended::{
    Awaiting, FUTURE_LOOP, GREENLET, GeneratorFrame, GeneratorStates, Generators, GreenletPlaces,
    SOCKET_DESCRIPTOR, StackEnd, Suspended, TaskLists, Tasks, WRAPPED,
};
pub use table::versions;

/// Why there is no layout for a process.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    #[error("CPython {version} is not in the version table")]
    UnknownVersion { version: Version },
    #[error("the version table's row has no `{name}`")]
    NoNumber { name: &'static str },
}

/// A number of the table that the process contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub name: &'static str,
    pub table: u64,
    pub process: u64,
}

/// How a thread's frames hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Frame objects by `f_back` (`Include/frameobject.h`).
    Objects,
    /// From a structure on the C stack (`_PyCFrame` of `Include/cpython/pystate.h`).
    CFrame,
    /// From the thread state itself.
    Current,
}

/// What a frame stores of where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Bytes from the first instruction (`f_lasti`).
    Bytes,
    /// The same in units of two bytes.
    Words,
    /// The address of an instruction.
    Pointer,
}

/// What the bytes of a code object's line table mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Pairs of deltas (`Objects/lnotab_notes.txt` of 3.6 to 3.9).
    Deltas,
    /// Ranges (`Objects/lnotab_notes.txt` of 3.10).
    Ranges,
    /// Lines and columns (`Objects/locations.md`).
    Locations,
}

/// Where the GIL's state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gil {
    /// In the variable `_PyThreadState_Current` (`Python/pystate.c`).
    CurrentThread,
    /// In the runtime (`Include/internal/pycore_runtime.h`).
    Runtime,
    /// Each interpreter points to its own or to a shared one (`Include/internal/pycore_ceval_state.h`).
    Interpreter,
}

/// What a reference in a frame looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    Plain,
    /// The two lowest bits are a tag (`Include/internal/pycore_stackref.h`).
    Tagged,
}

impl References {
    /// The address that a reference means; null for one that means no object.
    pub fn address(self, raw: u64) -> Address {
        match self {
            Self::Plain => Address(raw),
            // Both set: a small integer that is no object.
            Self::Tagged if raw & 3 == 3 => Address(0),
            Self::Tagged => Address(raw & !3),
        }
    }
}

/// The form of a dict's keys (`Objects/dict-common.h`, `Include/internal/pycore_dict.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DictKeys {
    /// Size, look-up function, usable, entries, then the indices.
    Sized,
    /// Logarithms of the sizes and the kind of the entries.
    Logarithm,
}

/// Where an instance keeps its attributes (`Objects/dictobject.c`, `_PyObject_GetDictPtr` and its successors).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceDicts {
    /// Where its type says.
    TypeOffset,
    /// Values 32 bytes and a dict 24 bytes before the object.
    ValuesBefore,
    /// One word 24 bytes before: one less than the address of values if its lowest bit is set, else a dict.
    TaggedWord,
    /// A dict 24 bytes before, or values behind the object's fixed part.
    Inline,
}

/// How an int tells its sign and the number of its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integers {
    SignedSize,
    /// Three bits of sign and flags below the number.
    Tag,
}

/// How the C code's locks tell that they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// A byte of the lock object; an RLock counts how often.
    Byte,
    /// The lowest bit of a `PyMutex` right behind the object's head (`Include/internal/pycore_lock.h`); an RLock counts
    /// from 0.
    Mutex,
}

/// Where the texts that `repr` gives differ between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reprs {
    /// The Unicode that tells what is printable, times ten (`Objects/unicodetype_db.h`).
    pub unicode: u32,
    /// `ValueError('x',)` (`Objects/exceptions.c`).
    pub exception_comma: bool,
    /// In a `bytearray` a single quote is always escaped (`Objects/bytearrayobject.c`).
    pub bytearray_quotes: bool,
    /// A subclass of `bytearray` or `deque` is called by its own name.
    pub own_names: bool,
    /// `timedelta(days=1)` and not `timedelta(1)` (`Modules/_datetimemodule.c`).
    pub delta_words: bool,
    /// `OrderedDict({'a': 1})` and not `OrderedDict([('a', 1)])` (`Objects/odictobject.c`).
    pub ordered_as_dict: bool,
}

/// What differs between versions but is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub chain: ChainKind,
    pub position: Position,
    pub lines: Lines,
    pub gil: Gil,
    pub references: References,
    pub dict_keys: DictKeys,
    pub instance_dicts: InstanceDicts,
    pub integers: Integers,
    pub locks: Locks,
    pub generators: Generators,
    pub reprs: Reprs,
    /// Frames with this owner or a higher one are none of Python's: the interpreter made them for itself.
    pub entry_owner: Option<u8>,
    /// The first state of a sub-interpreter keeps the numbers of the thread that made it, whichever thread runs there
    /// (`Python/pystate.c`, `new_threadstate`).
    pub inherits_ids: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Interpreter {
    pub next: u64,
    /// 3.6 has no ids; there the main one has the number 0.
    pub id: Option<u64>,
    pub threads: u64,
    pub modules: u64,
    pub gil: Option<u64>,
    /// Where a thread of another interpreter is not heard when it asks for the GIL.
    pub drop_request: Option<DropRequest>,
}

/// What a waiter sets in the interpreter that runs (`Include/internal/pycore_interp.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropRequest {
    pub eval_breaker: u64,
    pub gil_drop_request: u64,
}

/// Offsets of the GIL's words from where [`Gil`] says that it is.
#[derive(Clone, Copy, Debug)]
pub struct GilWords {
    pub locked: u64,
    pub holder: u64,
    /// How long a thread waits before it asks for it.
    pub interval: u64,
    /// How often it has changed hands.
    pub switches: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pub next: u64,
    pub interpreter: u64,
    pub ident: u64,
    /// Where the thread that runs is asked to look up from its work.
    pub eval_breaker: Option<u64>,
    /// Without it the number is found in what `ident` points to, the C library's thread descriptor.
    pub native_id: Option<u64>,
    pub frame: u64,
    /// Within the structure on the C stack, where there is one.
    pub cframe: Option<u64>,
    /// Where it points to a structure on the C stack of the thread that runs with it.
    pub c_stack: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub previous: u64,
    pub code: u64,
    pub position: u64,
    pub globals: u64,
    pub owner: Option<u64>,
    pub locals: u64,
}

impl Frame {
    /// Bytes that hold all fixed fields.
    pub fn length(&self) -> usize {
        let last = [self.previous, self.code, self.position, self.globals, self.owner.unwrap_or(0)];
        last.into_iter().max().unwrap_or(0) as usize + 8
    }
}

/// How the names of a frame's variables are kept.
#[derive(Clone, Copy, Debug)]
pub enum Variables {
    /// Three tuples: variables, cells, free variables.
    Apart { variables: u64, cells: u64, free: u64 },
    /// One tuple, and a byte for each that tells what it is.
    Together { names: u64, kinds: u64 },
}

#[derive(Clone, Copy, Debug)]
pub struct Code {
    pub name: u64,
    pub qualified_name: Option<u64>,
    pub file: u64,
    pub first_line: u64,
    pub lines: u64,
    /// Offset of the first instruction, where frames store addresses of instructions.
    pub instructions: Option<u64>,
    pub variables: Variables,
}

#[derive(Clone, Copy, Debug)]
pub struct Type {
    pub name: u64,
    pub basic_size: u64,
    pub item_size: u64,
    pub flags: u64,
    pub dict: u64,
    pub mro: u64,
    pub dict_offset: u64,
    pub qualified_name: u64,
    pub cached_keys: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub length: u64,
    pub state: u64,
    pub ascii_data: u64,
    pub compact_data: u64,
    pub pointer: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Dict {
    pub used: u64,
    pub keys: u64,
    pub values: u64,
    /// First value within a table of values of its own.
    pub values_items: u64,
    /// The byte that tells whether inline values are in use.
    pub values_valid: Option<u64>,
}

/// Places within the other built-in kinds of objects.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    pub kind: u64,
    pub size: u64,
    pub bytes: u64,
    pub bytearray: u64,
    pub tuple: u64,
    pub list: u64,
    pub set_used: u64,
    pub set_mask: u64,
    pub set_table: u64,
    pub integer_tag: u64,
    pub integer_digits: u64,
    pub float: u64,
    pub complex: u64,
    pub cell: u64,
    pub function_name: u64,
    pub method_function: u64,
    pub method_self: u64,
    pub module_dict: u64,
}

/// Everything that reading a CPython needs to know of its version.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub version: Version,
    pub shape: Shape,
    /// Where the list of interpreters begins in the runtime; 3.6 has no runtime.
    pub runtime_interpreters: Option<u64>,
    pub interpreter: Interpreter,
    pub gil: Option<GilWords>,
    /// Where that is asked for which all interpreters share.
    pub runtime_drop_request: Option<DropRequest>,
    pub thread: Thread,
    pub frame: Frame,
    pub operands: Operands,
    pub code: Code,
    pub kind: Type,
    pub text: Text,
    pub dict: Dict,
    pub objects: Objects,
    pub details: Details,
    pub suspended: Suspended,
}

impl Layout {
    /// The table's row for a version.
    pub fn of(version: Version) -> Result<Self, LayoutError> {
        let (numbers, shape) =
            table::row(version).ok_or(LayoutError::UnknownVersion { version })?;
        Self::build(version, &numbers, shape)
    }

    /// The layout of a process: the row, corrected by what the process publishes.
    pub fn of_process(
        memory: &dyn ReadMemory,
        version: Version,
        runtime: Option<Address>,
    ) -> Result<(Self, Vec<Mismatch>), LayoutError> {
        let (mut numbers, shape) =
            table::row(version).ok_or(LayoutError::UnknownVersion { version })?;
        let mut mismatches = Vec::new();
        if let Some(runtime) = runtime
            && Published::read(memory, runtime).is_some()
        {
            mismatches = contradicted(memory, &numbers, runtime);
            // Which patch level has which of two rows, its own numbers tell best.
            if let Some(earlier) = table::earlier(version) {
                let those = contradicted(memory, &earlier, runtime);
                if those.len() < mismatches.len() {
                    (numbers, mismatches) = (earlier, those);
                }
            }
            for mismatch in &mismatches {
                numbers.replace(mismatch.name, mismatch.process);
            }
        }
        Ok((Self::build(version, &numbers, shape)?, mismatches))
    }

    fn build(version: Version, n: &Numbers, shape: Shape) -> Result<Self, LayoutError> {
        let gil = match shape.gil {
            Gil::CurrentThread => None,
            Gil::Runtime => {
                let locked = n.get("runtime.gil_locked")?;
                let start = locked.wrapping_sub(n.get("gil.locked")?);
                Some(GilWords {
                    locked,
                    holder: n.get("runtime.gil_holder")?,
                    interval: start.wrapping_add(n.get("gil.interval")?),
                    switches: start.wrapping_add(n.get("gil.switches")?),
                })
            }
            Gil::Interpreter => Some(GilWords {
                locked: n.get("gil.locked")?,
                holder: n.get("gil.holder")?,
                interval: n.get("gil.interval")?,
                switches: n.get("gil.switches")?,
            }),
        };
        let drop_request = |breaker: &str, request: &str| match (n.find(breaker), n.find(request)) {
            (Some(eval_breaker), Some(gil_drop_request)) => {
                Some(DropRequest { eval_breaker, gil_drop_request })
            }
            _ => None,
        };
        let variables = match n.find("code.all_locals") {
            Some(names) => Variables::Together { names, kinds: n.get("code.kinds")? },
            None => Variables::Apart {
                variables: n.get("code.variables")?,
                cells: n.get("code.cells")?,
                free: n.get("code.free")?,
            },
        };
        Ok(Self {
            version,
            shape,
            runtime_interpreters: n.find("runtime.interpreters"),
            interpreter: Interpreter {
                next: n.get("interpreter.next")?,
                id: n.find("interpreter.id"),
                threads: n.get("interpreter.threads")?,
                modules: n.get("interpreter.modules")?,
                gil: n.find("interpreter.gil"),
                drop_request: drop_request(
                    "interpreter.eval_breaker",
                    "interpreter.gil_drop_request",
                ),
            },
            gil,
            runtime_drop_request: drop_request("runtime.eval_breaker", "runtime.gil_drop_request"),
            thread: Thread {
                next: n.get("thread.next")?,
                interpreter: n.get("thread.interpreter")?,
                ident: n.get("thread.ident")?,
                eval_breaker: n.find("thread.eval_breaker"),
                native_id: n.find("thread.native_id"),
                frame: n.get("thread.frame")?,
                cframe: n.find("cframe.frame"),
                c_stack: n.find("thread.c_stack"),
            },
            frame: Frame {
                previous: n.get("frame.previous")?,
                code: n.get("frame.code")?,
                position: n.get("frame.position")?,
                globals: n.get("frame.globals")?,
                owner: n.find("frame.owner"),
                locals: n.get("frame.locals")?,
            },
            code: Code {
                name: n.get("code.name")?,
                qualified_name: n.find("code.qualified_name"),
                file: n.get("code.file")?,
                first_line: n.get("code.first_line")?,
                lines: n.get("code.lines")?,
                instructions: n.find("code.instructions"),
                variables,
            },
            kind: Type {
                name: n.get("type.name")?,
                basic_size: n.get("type.basic_size")?,
                item_size: n.get("type.item_size")?,
                flags: n.get("type.flags")?,
                dict: n.get("type.dict")?,
                mro: n.get("type.mro")?,
                dict_offset: n.get("type.dict_offset")?,
                qualified_name: n.get("type.qualified_name")?,
                cached_keys: n.get("type.cached_keys")?,
            },
            text: Text {
                length: n.get("text.length")?,
                state: n.get("text.state")?,
                ascii_data: n.get("text.ascii_data")?,
                compact_data: n.get("text.compact_data")?,
                pointer: n.get("text.pointer")?,
            },
            details: Details::build(n)?,
            suspended: Suspended::build(n, version)?,
            operands: Operands::build(n)?,
            dict: Dict {
                used: n.get("dict.used")?,
                keys: n.get("dict.keys")?,
                values: n.get("dict.values")?,
                values_items: n.find("values.items").unwrap_or(0),
                values_valid: n.find("values.valid"),
            },
            objects: Objects {
                kind: n.get("object.type")?,
                size: n.get("object.size")?,
                bytes: n.get("bytes.data")?,
                bytearray: n.get("bytearray.start")?,
                tuple: n.get("tuple.items")?,
                list: n.get("list.items")?,
                set_used: n.get("set.used")?,
                set_mask: n.get("set.mask")?,
                set_table: n.get("set.table")?,
                integer_tag: n.get("int.tag")?,
                integer_digits: n.get("int.digits")?,
                float: n.get("float.value")?,
                complex: n.get("complex.value")?,
                cell: n.get("cell.value")?,
                function_name: n.get("function.qualified_name")?,
                method_function: n.get("method.function")?,
                method_self: n.get("method.self")?,
                module_dict: n.get("module.dict")?,
            },
        })
    }
}

/// The numbers of a row that a process publishes otherwise.
fn contradicted(memory: &dyn ReadMemory, numbers: &Numbers, runtime: Address) -> Vec<Mismatch> {
    // A number that cannot be an offset is no correction.
    const LARGEST: u64 = 1 << 24;
    let published = numbers.published().filter_map(|(name, place)| {
        let (table, process) = (numbers.find(name)?, memory.word(runtime.plus(place)).ok()?);
        (table != process && process < LARGEST).then_some(Mismatch { name, table, process })
    });
    published.collect()
}

/// Where the published table of a version tells whether remote debugging is allowed; 3.14+.
pub(crate) fn remote_debugging_switch(version: Version) -> Option<u64> {
    table::row(version)?.0.find("published.debugger_support.enabled")
}

/// Whether the GIL is only made when the first thread is (`PyEval_InitThreads`, to 3.6).
pub fn makes_gil_late(version: Version) -> bool {
    table::row(version).is_some_and(|(_, shape)| shape.gil == Gil::CurrentThread)
}

/// Where an interpreter's state tells that it is being ended (`Py_EndInterpreter`, 3.9+).
pub fn finalizing(version: Version) -> Option<u64> {
    table::row(version)?.0.find("interpreter.finalizing")
}

/// Whether interpreters may have GILs of their own (`Py_NewInterpreterFromConfig`, 3.12+).
pub fn has_own_gils(version: Version) -> bool {
    table::row(version).is_some_and(|(_, shape)| shape.gil == Gil::Interpreter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_whole() {
        let mut count = 0;
        for version in versions() {
            let layout = Layout::of(version).unwrap();
            assert_eq!(layout.thread.cframe.is_some(), layout.shape.chain == ChainKind::CFrame);
            assert_eq!(
                layout.code.instructions.is_some(),
                layout.shape.position == Position::Pointer
            );
            assert_eq!(layout.interpreter.gil.is_some(), layout.shape.gil == Gil::Interpreter);
            assert!(version.is_supported());
            count += 1;
        }
        assert_eq!(count, 10);
        let unknown = Version::new(3, 99, 0);
        assert_eq!(
            Layout::of(unknown).unwrap_err(),
            LayoutError::UnknownVersion { version: unknown }
        );
    }

    #[test]
    fn tags_are_no_part_of_an_address() {
        assert_eq!(References::Tagged.address(0x1001), Address(0x1000));
        assert_eq!(References::Tagged.address(1), Address(0));
        assert_eq!(References::Tagged.address(0x17), Address(0));
        assert_eq!(References::Plain.address(0x1001), Address(0x1001));
    }
}
