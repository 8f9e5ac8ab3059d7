//! The few hundred instructions that are mapped into a target.
//!
//! They lie in one section, refer to nothing outside of it and have no relocations (the build fails otherwise), so
//! that they can be copied to any address. Their page is found from the program counter: the read-execute mapping is
//! aligned, and the read-write one, with [`Params`] at its beginning, follows it. System calls are made directly,
//! since libc's `errno` belongs to the target; C-API calls go through the table in [`Params`].
//!
//! Threads: the owner (runs the agent, ends last and unmaps), the watcher (hears the control channel while Python code
//! of the agent is busy), and those that the agent spawns. The owner joins all the others before it unmaps.
//!
//! For another interpreter of the same process there is a session: a page, an owner and a watcher more, on the same
//! code. Functions that Python sees find the page of their agent by their `self`. The first owner joins those of the
//! sessions before it unmaps the code.

#![no_std]
#![allow(unsafe_op_in_unsafe_fn, clippy::missing_safety_doc, clippy::undocumented_unsafe_blocks)]

#[path = "../src/params.rs"]
mod params;

/// Puts functions into the one section.
macro_rules! section {
    ($($item:item)*) => { $(#[unsafe(link_section = ".text.stub")] $item)* };
}

macro_rules! call {
    ($p:expr, $name:ident ( $($argument:expr),* ) -> $result:ty) => {{
        let f: extern "C" fn($(call!(@u64 $argument)),*) -> $result =
            core::mem::transmute((*$p).functions[crate::params::Function::$name as usize]);
        f($($argument as u64),*)
    }};
    ($p:expr, $name:ident ( $($argument:expr),* )) => { call!($p, $name($($argument),*) -> u64) };
    (@u64 $e:expr) => { u64 };
}

mod freezing;
mod functions;
mod home;
mod interpreter;
mod kernel;
mod owner;
mod sessions;
mod watcher;

use core::arch::global_asm;

use owner::{launch, owner};
use params::Params;

pub(crate) type Object = u64;
pub(crate) type P = *mut Params;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The two ways out that must not come back into the code that they unmap: a jump, not a call, to munmap.
global_asm!(
    ".section .text.stub,\"ax\",@progbits",
    // launch(template): in the borrowed thread. 0: a thread is on its way and owns the mappings. Else they are unmapped.
    ".globl stub_launch",
    "stub_launch:",
    "push rbx",
    "mov rbx, rdi",
    "call {launch}",
    "test eax, eax",
    "jz 2f",
    "mov rdi, [rbx + {base}]",
    "mov rsi, [rbx + {length}]",
    "mov rax, [rbx + {munmap}]",
    "pop rbx",
    "jmp rax",
    "2:",
    "pop rbx",
    "ret",
    // owner(params): a thread's start routine.
    ".globl stub_owner",
    "stub_owner:",
    "push rbx",
    "mov rbx, rdi",
    "call {owner}",
    "test eax, eax",
    "jz 2f",
    "mov rdi, [rbx + {base}]",
    "mov rsi, [rbx + {length}]",
    "mov rax, [rbx + {munmap}]",
    "pop rbx",
    "jmp rax",
    "2:",
    "xor eax, eax",
    "pop rbx",
    "ret",
    launch = sym launch,
    owner = sym owner,
    base = const core::mem::offset_of!(Params, base),
    length = const core::mem::offset_of!(Params, length),
    munmap = const core::mem::offset_of!(Params, functions),
);
