//! A process whose runtime was found, and what is known of it before any thread is looked at.
//!
//! It needs a memory and nothing else: that of a live process or of a recorded one.

use spyhole_proc::memory::{Cached, ReadMemory};
use thiserror::Error;

use crate::layout::{Layout, LayoutError, Mismatch};
use crate::locate::Runtime;
use crate::reader::Types;
use crate::runtime::{Roots, RootsError};
use crate::threads::{self, Descriptor};
use crate::version::Version;

/// Why a runtime that was found cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Roots(#[from] RootsError),
}

/// What is needed to read a process's interpreters.
#[derive(Clone, Debug)]
pub struct Opened {
    pub runtime: Runtime,
    pub version: Version,
    pub layout: Layout,
    /// Where the process contradicts the version table; it is right.
    pub mismatches: Vec<Mismatch>,
    pub roots: Roots,
}

impl Opened {
    pub fn of(
        memory: &dyn ReadMemory,
        runtime: Runtime,
        version: Version,
    ) -> Result<Self, OpenError> {
        let (layout, mismatches) = Layout::of_process(memory, version, runtime.address(memory))?;
        let roots = Roots::find(memory, &runtime, &layout)?;
        Ok(Self { runtime, version, layout, mismatches, roots })
    }

    /// The built-in types: by their symbols, or else by their names.
    pub fn types(&self, memory: &dyn ReadMemory) -> Types {
        let types = Types::find(memory, &self.runtime);
        if !types.text.is_null() {
            return types;
        }
        let first = self.roots.interpreters(memory, &self.layout).ok();
        match first.and_then(|interpreters| interpreters.first().copied()) {
            Some(main) => Types::search(memory, &self.layout, &self.runtime, &main),
            None => types,
        }
    }

    /// Finds where the C library keeps a thread's number, for versions that do not store it. `tids` are the numbers of
    /// the process's threads as it uses them itself.
    pub fn calibrate(&self, memory: &dyn ReadMemory, tids: Vec<i32>) -> Option<Descriptor> {
        let memory = Cached::new(memory);
        let interpreters = self.roots.interpreters(&memory, &self.layout).ok()?;
        // Some are enough, and those of the main interpreter are sure to be its own.
        const SAMPLES: usize = 32;
        let idents: Vec<u64> = interpreters
            .iter()
            .take(1)
            .flat_map(|interpreter| threads::states(&memory, &self.layout, interpreter, SAMPLES).0)
            .map(|state| state.ident)
            .collect();
        Descriptor::calibrate(&memory, &idents, &tids)
    }
}
