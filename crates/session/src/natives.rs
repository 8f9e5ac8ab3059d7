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
        let inner = calls.iter().take_while(|call| !self.runs_python(call)).count();
        let calls = &calls[..inner];
        let innermost = calls.first()?;
        let function = frame.and_then(|frame| self.called(frame, calls));
        let named = calls.iter().find_map(|call| Some((call, self.symbol(call.at)?)));
        let (call, symbol) = match named {
            Some((call, symbol)) => (call, Some(symbol)),
            None => (innermost, None),
        };
        Some(NativeCall { function, symbol, file: self.file(call.at) })
    }

    /// Whether a call is in the function that runs Python's code, or in the part of it that compilers put elsewhere since it
    /// is seldom needed: that jumps into the midst of the other.
    fn runs_python(&self, call: &Call) -> bool {
        let Some(evaluation) = &self.evaluation else { return false };
        let is_within =
            |target: &Address| evaluation.contains(target) && *target != evaluation.start;
        evaluation.contains(&call.at)
            || call.function.as_ref().is_some_and(|code| self.jumps(code).iter().any(is_within))
    }

    /// The function that the innermost frame called.
    fn called(&mut self, frame: &RawFrame, calls: &[Call]) -> Option<String> {
        let reader = self.reader;
        // What a function in C calls may have been left on the value stack, too: the outermost is Python's.
        let mut outermost: Option<(usize, Native)> = None;
        for native in reader.natives(frame) {
            if let Some(index) = self.runs(&native, calls)
                && outermost.as_ref().is_none_or(|(known, _)| index > *known)
            {
                outermost = Some((index, native));
            }
        }
        reader.native_name(&outermost?.1)
    }

    /// The place of a function that has not returned: it is one of the calls, or its last act was a jump to one of the
    /// outermost, which then has its place on the stack.
    fn runs(&mut self, native: &Native, calls: &[Call]) -> Option<usize> {
        /// Functions that are looked at for jumps: one ends in the next, which ends in another.
        const LOOKED_AT: usize = 24;
        const OUTERMOST: usize = 6;
        let code = self.unwinder.function(native.code)?;
        if let Some(index) = calls.iter().rposition(|call| code.contains(&call.at)) {
            return Some(index);
        }
        let outer = calls.iter().enumerate().rev().take(OUTERMOST);
        let outer: Vec<(usize, Address)> = outer
            .filter_map(|(index, call)| Some((index, call.function.as_ref()?.start)))
            .collect();
        let mut codes = vec![code];
        let mut index = 0;
        while let Some(code) = codes.get(index).cloned() {
            index += 1;
            for target in self.jumps(&code) {
                if let Some((index, _)) = outer.iter().find(|(_, start)| *start == target) {
                    return Some(*index);
                }
                // A function is entered at its beginning; parts of one are not.
                if codes.len() < LOOKED_AT
                    && codes.iter().all(|known| !known.contains(&target))
                    && let Some(next) = self.unwinder.function(target)
                    && next.start == target
                {
                    codes.push(next);
                }
            }
        }
        None
    }

    /// Where code jumps to that lies outside of it.
    fn jumps(&self, code: &Range<Address>) -> Vec<Address> {
        const CODE_AT_MOST: u64 = 4096;
        /// `jmp` with a distance of 4 bytes.
        const JUMP: u8 = 0xe9;
        let length = (code.end.0 - code.start.0).min(CODE_AT_MOST) as usize;
        let bytes = self.reader.memory.bytes(code.start, length).unwrap_or_default();
        let jumps = bytes.windows(5).enumerate().filter(|(_, window)| window[0] == JUMP);
        let targets = jumps.filter_map(|(at, window)| {
            let distance = i32::from_le_bytes(window[1..].try_into().ok()?);
            let next = code.start.plus(at as u64 + 5);
            Some(Address(next.0.wrapping_add(i64::from(distance) as u64)))
        });
        targets.filter(|target| !code.contains(target)).collect()
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
