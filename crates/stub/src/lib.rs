//! The stub: machine code that is copied into a target, and the page that it works on.
//!
//! The code itself is `blob/stub.rs`, compiled by the build script; here are its bytes, its entry points, and the
//! filling of its page.

pub mod params;

use params::{METHODS, Params, PyMethodDef};

/// The code; it runs at any address that is a multiple of [`params::ALIGNMENT`].
pub const CODE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stub.bin"));

/// Offsets of the entry points in [`CODE`].
pub mod entry {
    include!(concat!(env!("OUT_DIR"), "/entries.rs"));
}

const _: () = assert!(CODE.len() as u64 <= params::TEMPLATE);

// Include/methodobject.h
const METH_NOARGS: u64 = 4;
const METH_O: u64 = 8;

/// The functions that Python sees: name, offset, flags.
const PYTHON: [(&str, u64, u64); METHODS] = [
    ("stub_now", entry::STUB_NOW, METH_NOARGS),
    ("stub_ident", entry::STUB_IDENT, METH_NOARGS),
    ("stub_tid", entry::STUB_TID, METH_NOARGS),
    ("stub_send", entry::STUB_SEND, METH_O),
    ("stub_take", entry::STUB_TAKE, METH_NOARGS),
    ("stub_arm", entry::STUB_ARM, METH_O),
    ("stub_disarm", entry::STUB_DISARM, METH_O),
    ("stub_spawn", entry::STUB_SPAWN, METH_O),
    ("stub_control", entry::STUB_CONTROL, METH_O),
    ("stub_rest", entry::STUB_REST, METH_O),
    ("stub_guard", entry::STUB_GUARD, METH_NOARGS),
    ("stub_hangup", entry::STUB_HANGUP, METH_NOARGS),
    ("stub_keep", entry::STUB_KEEP, METH_O),
    ("stub_drop", entry::STUB_DROP, METH_O),
    ("stub_queue", entry::STUB_QUEUE, METH_O),
    ("stub_assign", entry::STUB_ASSIGN, METH_O),
    ("stub_freeze", entry::STUB_FREEZE, METH_O),
    ("stub_thaw", entry::STUB_THAW, METH_NOARGS),
    ("stub_still", entry::STUB_STILL, METH_NOARGS),
    ("stub_yielded", entry::STUB_YIELDED, METH_NOARGS),
];

/// What the client decides about one stub.
#[derive(Debug)]
pub struct Plan {
    /// Where the mappings begin.
    pub base: u64,
    /// Addresses of [`params::FUNCTION_NAMES`], in that order.
    pub functions: [u64; params::FUNCTIONS],
    /// 3.6: the GIL may have to be made.
    pub make_gil: bool,
    /// 3.12+: interpreters may have GILs of their own.
    pub own_gils: bool,
    /// Offset of the field of an interpreter's state that is not 0 while it is being ended.
    pub finalizing: Option<u64>,
    pub interpreter: Interpreter,
    /// Name of an abstract socket to which the client's ends of the channels are passed; `None`: it takes them.
    pub rendezvous: Option<[u8; 16]>,
    /// Bytes of stack for threads that run Python code.
    pub stack_size: u64,
}

/// The interpreter that an agent runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interpreter {
    /// Its state; 0 is the main one.
    pub address: u64,
    /// By which it is told, where it has a number.
    pub id: i64,
}

impl Interpreter {
    /// What follows the record that asks the first agent for a further one, whose page is to be at `page`.
    pub fn session(self, page: u64) -> Vec<u8> {
        let words: [u64; params::SESSION_WORDS] = [page, self.address, self.id as u64, 0];
        let mut bytes = vec![0; 8];
        bytes[0] = params::OPEN_SESSION;
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }
}

fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

impl Plan {
    /// What the read-execute mapping holds: the code, and the first content of the page.
    pub fn code(&self) -> Vec<u8> {
        let mut bytes = CODE.to_vec();
        bytes.resize(params::TEMPLATE as usize, 0);
        bytes.extend(self.page());
        bytes
    }

    /// The page's content before the stub starts.
    fn page(&self) -> Vec<u8> {
        let data = self.base + params::CODE_LENGTH;
        // SAFETY: all-zero is a valid value: the struct has nothing but numbers.
        let mut page: Params = unsafe { std::mem::zeroed() };
        page.base = self.base;
        page.length = params::CODE_LENGTH + params::DATA_LENGTH;
        page.billionth = 1e-9;
        page.make_gil = self.make_gil.into();
        page.own_gils = self.own_gils.into();
        page.finalizing = self.finalizing.unwrap_or(0);
        page.interpreter = self.interpreter.address;
        page.interpreter_id = self.interpreter.id;
        page.shown_id = self.interpreter.id;
        page.stack_size = self.stack_size;
        page.owner_entry = self.base + entry::STUB_OWNER;
        page.watcher_entry = self.base + entry::STUB_WATCHER;
        page.spawned_entry = self.base + entry::STUB_SPAWNED;
        page.descriptors = [-1; 4];
        if let Some(name) = self.rendezvous {
            // struct sockaddr_un: the family AF_UNIX, and a name that begins with a zero.
            page.rendezvous[0] = 1;
            page.rendezvous[3..19].copy_from_slice(&name);
            page.rendezvous_length = 19;
        }
        page.fork_entry = self.base + entry::STUB_FORKED;
        page.functions = self.functions;
        page.name_locals = text("f_locals");
        page.name_builtins = text("__builtins__");
        page.name_name = text("__name__");
        page.name_fd = text("stub_fd");
        page.name_compiled = text("stub_compiled");
        page.name_interpreter = text("stub_interpreter");
        page.name_lent = text("stub_lent");
        page.name_atexit = text("atexit");
        page.name_register = text("register");
        page.name_unregister = text("unregister");
        page.value_name = text("spyhole");
        page.file_name = text("<spyhole>");
        page.thread_name = text("spyhole");
        let names = data + std::mem::offset_of!(Params, method_names) as u64;
        for (i, (name, offset, flags)) in PYTHON.into_iter().enumerate() {
            page.method_names[i] = text(name);
            page.methods[i] = PyMethodDef {
                ml_name: names + i as u64 * 24,
                ml_meth: self.base + offset,
                ml_flags: flags,
                ml_doc: 0,
            };
        }
        page.guard_method = PyMethodDef {
            ml_name: data + std::mem::offset_of!(Params, value_name) as u64,
            ml_meth: self.base + entry::STUB_HOLD,
            ml_flags: METH_NOARGS,
            ml_doc: 0,
        };
        // SAFETY: `Params` is plain numbers without padding that matters; the slice ends with it.
        unsafe {
            std::slice::from_raw_parts((&raw const page).cast::<u8>(), size_of::<Params>()).to_vec()
        }
    }
}

/// Offsets of the fields that the client reads back while the stub runs.
pub mod field {
    use super::Params;

    pub const STATE: u64 = std::mem::offset_of!(Params, state) as u64;
    pub const ACKNOWLEDGED: u64 = std::mem::offset_of!(Params, acknowledged) as u64;
    /// How many times a further agent could not be started.
    pub const REFUSED: u64 = std::mem::offset_of!(Params, refused) as u64;
    /// The table of code that may be interrupted: [`super::params::ARMED_AT_MOST`] entries of so many bytes.
    pub const ARMED: u64 = std::mem::offset_of!(Params, armed) as u64;
    pub const ARMED_LENGTH: usize = size_of::<super::params::Armed>();
    /// Offsets within such an entry.
    pub mod armed {
        use crate::params::Armed;

        pub const JOB: usize = std::mem::offset_of!(Armed, job);
        pub const THREAD: usize = std::mem::offset_of!(Armed, thread);
        pub const RAISED: usize = std::mem::offset_of!(Armed, raised);
    }
    /// How many 32-bit numbers the first fields are.
    pub const HEAD_WORDS: usize = 11;
    /// Positions among them.
    pub mod head {
        pub const STATE: usize = 0;
        pub const ERROR: usize = 1;
        pub const DETAIL: usize = 2;
        pub const THREAD: usize = 3;
        pub const LAUNCHED: usize = 5;
        /// Of the main and of the control channel: our ends.
        pub const MAIN: usize = 7;
        pub const CONTROL: usize = 9;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_small_and_its_entries_lie_in_it() {
        assert!(CODE.len() < 14_000, "{} bytes", CODE.len());
        for (_, offset, _) in PYTHON {
            assert!(offset < CODE.len() as u64);
        }
        assert_ne!(entry::STUB_OWNER, entry::STUB_LAUNCH);
    }

    #[test]
    fn the_page_tells_where_its_functions_are() {
        let plan = Plan {
            base: 0x10_0000,
            functions: [7; params::FUNCTIONS],
            make_gil: true,
            own_gils: false,
            finalizing: None,
            interpreter: Interpreter::default(),
            rendezvous: None,
            stack_size: 1 << 20,
        };
        let page = plan.page();
        assert!(page.len() as u64 <= params::PARAMS_LENGTH);
        let words: Vec<u64> =
            page.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
        assert!(words.contains(&(0x10_0000 + entry::STUB_SEND)));
    }
}
