//! A memory of garbage: every address can be read, and nothing there means anything. Reading it ends, within bounds.

use std::cell::Cell;

use spyhole_proc::Address;
use spyhole_proc::memory::{ReadMemory, Unreadable};

use crate::code::Code;
use crate::layout::{self, Layout};
use crate::runtime::InterpreterState;
use crate::threads::Descriptor;
use crate::{Reader, Types, frames, threads};

/// Words that are made of their address; some are null, small, or lead back to where others are.
pub(crate) struct Garbage {
    pub(crate) seed: u64,
    pub(crate) reads: Cell<u64>,
}

impl Garbage {
    fn word_at(&self, place: u64) -> u64 {
        let mut word = (place ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word ^= word >> 29;
        match word % 7 {
            0 => 0,
            1 => word % 300,
            2 => word,
            // Few places, so that chains meet themselves.
            _ => 0x7f00_0000_0000 + word % 512 * 8,
        }
    }
}

impl ReadMemory for Garbage {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Unreadable> {
        assert!(buffer.len() <= 64 << 20, "{} bytes are read at once", buffer.len());
        self.reads.set(self.reads.get() + 1);
        for (index, byte) in buffer.iter_mut().enumerate() {
            let at = address.plus(index as u64).0;
            *byte = self.word_at(at / 8).to_le_bytes()[(at % 8) as usize];
        }
        Ok(())
    }
}

#[test]
fn garbage_is_read_within_bounds() {
    for version in layout::versions() {
        let layout = Layout::of(version).unwrap();
        for seed in 0..40 {
            let memory = Garbage { seed, reads: Cell::new(0) };
            let at = |number: u64| Address(0x7f00_0000_0000 + number * 8);
            let types =
                Types { text: at(1), code: at(2), dict: at(3), bytes: at(4), ..Types::default() };
            let reader = Reader { memory: &memory, layout: &layout, types: &types };
            for place in 0..4 {
                let state = InterpreterState {
                    address: at(place),
                    id: 0,
                    threads: at(5),
                    modules: at(place),
                };
                threads::states(&memory, &layout, &state, 1000);
                let stack = frames::stack(&memory, &layout, at(place), 1000);
                assert!(stack.frames.len() <= 1000);
                for frame in stack.frames.iter().take(3) {
                    if let Ok(code) = Code::read(&reader, frame.code) {
                        code.location(&reader, frame);
                    }
                    reader.module_name(frame.globals);
                }
                let entries = reader.dict_entries(at(place), 100).unwrap_or_default();
                assert!(entries.len() <= 100);
                let attributes = reader.attributes(at(place), 100).ok().flatten();
                assert!(attributes.unwrap_or_default().len() <= 100);
                let text = reader.text(at(place), 50);
                assert!(text.is_none_or(|text| text.text.chars().count() <= 50));
                let _ = reader.integer(at(place), 10);
                Descriptor::calibrate(&memory, &[at(place).0], &[1, 2, 3]);
            }
            assert!(memory.reads.get() < 1_000_000, "{} reads", memory.reads.get());
        }
    }
}
