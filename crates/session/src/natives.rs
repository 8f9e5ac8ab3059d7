//! The function in C that a thread is in which holds a GIL.
//!
//! The thread's C stack tells which functions have not returned, and the value stack of its innermost frame which functions
//! in C that frame has at hand: one that is both is what the program called. What else runs is told by symbols.

use std::ops::Range;

use spyhole_cpython::frames::RawFrame;
use spyhole_cpython::natives::Native;
use spyhole_cpython::{Opened, Reader};
use spyhole_proc::Address;
use spyhole_proc::elf::Image;
use spyhole_proc::elf::file::{self, MappedFiles};
use spyhole_proc::maps::Maps;
use spyhole_proc::memory::Live;
use spyhole_proc::stop::Attached;
use spyhole_proc::tasks;
use spyhole_proc::unwind::{Call, Registers, StackCopy, Unwinder};

use crate::model::{InterpreterStacks, NativeCall};
use crate::pause::SeenInterpreter;

/// What is copied of a C stack: what C code between two frames of Python needs, many times over.
const STACK_AT_MOST: usize = 32 << 10;

/// Where a thread was in C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    registers: Registers,
    stack: StackCopy,
}

impl Standing {
    /// Of a thread that is stopped by us.
    pub(crate) fn of_stopped(pid: i32, thread: &Attached) -> Option<Self> {
        Self::of(pid, Registers::of(&thread.found.registers))
    }

    /// Of one that stands still by itself: in a system call, or stopped by a signal.
    pub(crate) fn of_still(pid: i32, tid: i32) -> Option<Self> {
        let (stack, code) = tasks::place(pid, tid)?;
        Self::of(pid, Registers::told(stack, code))
    }

    fn of(pid: i32, registers: Registers) -> Option<Self> {
        let at = registers.stack_pointer()?;
        Some(Self { registers, stack: StackCopy::read(&Live { pid }, at, STACK_AT_MOST) })
    }
}

/// Names the functions for those that are told, `standing` by the states of their threads.
pub(crate) fn tell(
    opened: &Opened,
    reader: Reader<'_>,
    maps: &Maps,
    files: &dyn MappedFiles,
    (seen, standing): (&[SeenInterpreter], &[(Address, Standing)]),
    told: &mut [InterpreterStacks],
) {
    if standing.is_empty() {
        return;
    }
    let mut natives = Natives::new(opened, reader, maps, files);
    for (interpreter, told) in seen.iter().zip(told) {
        for (thread, told) in interpreter.threads.iter().zip(&mut told.threads) {
            let own = standing.iter().find(|(state, _)| *state == thread.state.address);
            if let Some((_, standing)) = own.filter(|_| told.holds_gil) {
                told.in_c = natives.of(standing, thread.stack.frames.first());
            }
        }
    }
}

struct Natives<'a> {
    reader: Reader<'a>,
    maps: &'a Maps,
    files: &'a dyn MappedFiles,
    unwinder: Unwinder<'a>,
    /// The function that runs Python's code (`Python/ceval.c`).
    evaluation: Option<Range<Address>>,
}

impl<'a> Natives<'a> {
    fn new(
        opened: &Opened,
        reader: Reader<'a>,
        maps: &'a Maps,
        files: &'a dyn MappedFiles,
    ) -> Self {
        let symbol = opened.runtime.python_symbol(reader.memory, "_PyEval_EvalFrameDefault");
        let mut unwinder = Unwinder::new(reader.memory, maps);
        let evaluation = symbol.map(|symbol| {
            let told = symbol.address..symbol.address.plus(symbol.size.max(1));
            unwinder.function(symbol.address).unwrap_or(told)
        });
        Self { reader, maps, files, unwinder, evaluation }
    }

    /// `None` if it is in Python's own evaluation, or nothing is known of where it is.
    fn of(&mut self, standing: &Standing, frame: Option<&RawFrame>) -> Option<NativeCall> {
        let calls = self.unwinder.calls(standing.registers, &standing.stack);
        let runs_python = |call: &Call| {
            self.evaluation.as_ref().is_some_and(|evaluation| evaluation.contains(&call.at))
        };
        let calls: Vec<Call> = calls.into_iter().take_while(|call| !runs_python(call)).collect();
        let innermost = calls.first()?;
        let function = frame.and_then(|frame| self.called(frame, &calls));
        let named = calls.iter().find_map(|call| Some((call, self.symbol(call.at)?)));
        let (call, symbol) = match named {
            Some((call, symbol)) => (call, Some(symbol)),
            None => (innermost, None),
        };
        Some(NativeCall { function, symbol, file: self.file(call.at) })
    }

    /// The function that the innermost frame called.
    fn called(&mut self, frame: &RawFrame, calls: &[Call]) -> Option<String> {
        let reader = self.reader;
        let native = reader.natives(frame).into_iter().find(|native| self.runs(native, calls))?;
        reader.native_name(&native)
    }

    fn runs(&mut self, native: &Native, calls: &[Call]) -> bool {
        let Some(code) = self.unwinder.function(native.code) else { return false };
        calls.iter().any(|call| code.contains(&call.at)) || self.ends_in(&code, calls)
    }

    /// Whether its last act is a jump to one of the outermost calls, which then has its place on the stack.
    fn ends_in(&self, code: &Range<Address>, calls: &[Call]) -> bool {
        const CODE_AT_MOST: u64 = 4096;
        const OUTERMOST: usize = 3;
        /// `jmp` with a distance of 4 bytes.
        const JUMP: u8 = 0xe9;
        let length = (code.end.0 - code.start.0).min(CODE_AT_MOST) as usize;
        let bytes = self.reader.memory.bytes(code.start, length).unwrap_or_default();
        let targets = bytes.windows(5).enumerate().filter(|(_, window)| window[0] == JUMP);
        let targets = targets.filter_map(|(at, window)| {
            let distance = i32::from_le_bytes(window[1..].try_into().ok()?);
            let next = code.start.plus(at as u64 + 5);
            Some(Address(next.0.wrapping_add(i64::from(distance) as u64)))
        });
        let begins = |target: Address| {
            let mut outer = calls.iter().rev().take(OUTERMOST);
            outer.any(|call| call.function.as_ref().is_some_and(|of| of.start == target))
        };
        targets.into_iter().any(begins)
    }

    /// The function of a symbol that an instruction belongs to.
    fn symbol(&self, at: Address) -> Option<String> {
        let mapping = self.maps.at(at)?;
        let image = Image::of(self.reader.memory, self.maps, mapping).ok()?;
        let name = image.exported_at(self.reader.memory, at).or_else(|| {
            let file = self.files.open(mapping).ok()?;
            file::function_at(&file, at.0.wrapping_sub(image.bias))
        })?;
        // What compilers made of one function has its name with a suffix (`sre_match.constprop.0`).
        let plain = name.split('.').next().filter(|plain| !plain.is_empty());
        (!is_way(&name)).then(|| plain.unwrap_or(&name).to_owned())
    }

    fn file(&self, at: Address) -> Option<String> {
        let mapping = self.maps.at(at).filter(|mapping| mapping.is_file())?;
        Some(String::from_utf8_lossy(&mapping.path).into_owned())
    }
}

/// How Python comes to a function in C: that tells nothing of what it does.
fn is_way(name: &str) -> bool {
    [
        "_PyObject_",
        "PyObject_Call",
        "PyObject_Vectorcall",
        "_PyCFunction",
        "_PyMethodDescr",
        "cfunction_",
    ]
    .iter()
    .any(|way| name.starts_with(way))
}
