//! Where the threads of an interpreter ask each other for the GIL, and how long each waits before it does.
//!
//! It tells addresses; what is to be read or written there is not its affair.

use spyhole_proc::Address;
use spyhole_proc::elf::file::{MappedFiles, Tables};
use spyhole_proc::memory::ReadMemory;

use crate::layout::{DropRequest, Gil};
use crate::opened::Opened;
use crate::runtime::InterpreterState;

/// What `take_gil` and `drop_gil` use (`Python/ceval_gil.h`, `ceval_gil.c` in 3.12+).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switching {
    /// In microseconds: a 64-bit number.
    pub interval: Address,
    /// How often the GIL has changed hands: a 64-bit number.
    pub switches: Address,
    pub asked: Asked,
}

/// Where a thread that waits asks for the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// In two 32-bit words: the request, and what makes the thread that runs look for one.
    Words { request: Address, breaker: Address },
    /// In the lowest bit of this field of the state of the thread that runs.
    State { breaker: u64 },
}

impl Switching {
    /// `None`: it is not known where; in a stripped 3.6.
    pub fn find(
        memory: &dyn ReadMemory,
        files: &dyn MappedFiles,
        opened: &Opened,
        interpreter: &InterpreterState,
    ) -> Option<Self> {
        let layout = &opened.layout;
        let Some(words) = layout.gil else { return Self::variables(memory, files, opened) };
        let gil = opened.roots.gil(memory, layout, interpreter)?;
        let runtime = opened.runtime.address(memory);
        let at = |base: Address, words: DropRequest| Asked::Words {
            request: base.plus(words.gil_drop_request),
            breaker: base.plus(words.eval_breaker),
        };
        let asked = match (layout.thread.eval_breaker, layout.interpreter.drop_request) {
            (Some(breaker), _) => Asked::State { breaker },
            (None, Some(words)) => at(interpreter.address, words),
            (None, None) => at(runtime?, layout.runtime_drop_request?),
        };
        let (interval, switches) = (gil.plus(words.interval), gil.plus(words.switches));
        Some(Self { interval, switches, asked })
    }

    /// Variables of `Python/ceval.c` and `Python/ceval_gil.h`, which only the table of all symbols names.
    fn variables(
        memory: &dyn ReadMemory,
        files: &dyn MappedFiles,
        opened: &Opened,
    ) -> Option<Self> {
        const NAMES: [&str; 4] =
            ["gil_interval", "gil_switch_number", "gil_drop_request", "eval_breaker"];
        if opened.layout.shape.gil != Gil::CurrentThread {
            return None;
        }
        let file = files.open(&opened.runtime.python_mapping).ok()?;
        let tables = Tables::read(&file, |name| NAMES.iter().any(|one| one.as_bytes() == name))?;
        let image = opened.runtime.python.clone().with(tables);
        let mut found = NAMES.iter().map(|name| image.symbol(memory, name).map(|s| s.address));
        let (interval, switches) = (found.next()??, found.next()??);
        let (request, breaker) = (found.next()??, found.next()??);
        Some(Self { interval, switches, asked: Asked::Words { request, breaker } })
    }
}
