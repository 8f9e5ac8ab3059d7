//! Values made of garbage: whatever an object is said to be, telling it ends, within bounds.

use std::cell::Cell;
use std::rc::Rc;

use spyhole_proc::Address;

use super::classes::{Class, Slot};
use super::forms::{Form, Look};
use super::{Limits, Values};
use crate::layout::{self, Layout};
use crate::reader::flag;
use crate::tests::Garbage;
use crate::{Reader, Types};

const FORMS: &[Form] = &[
    Form::Boolean,
    Form::Integer,
    Form::Float,
    Form::Complex,
    Form::Text,
    Form::Bytes,
    Form::ByteArray,
    Form::Tuple,
    Form::List,
    Form::Dict,
    Form::Set,
    Form::Range,
    Form::Slice,
    Form::Ordered,
    Form::Defaulting,
    Form::Deque,
    Form::Proxy,
    Form::Keys,
    Form::Items,
    Form::DictValues,
    Form::Exception,
    Form::Function,
    Form::Method,
    Form::Builtin,
    Form::Descriptor("method"),
    Form::Wrapper,
    Form::Wrapped("classmethod"),
    Form::Class,
    Form::EnumClass(true),
    Form::Module,
    Form::Weak,
    Form::Generator("generator"),
    Form::Frame,
    Form::Code,
    Form::Cell,
    Form::Partial,
    Form::Lock,
    Form::RLock,
    Form::Date,
    Form::Time,
    Form::DateTime,
    Form::Delta,
    Form::Zone,
    Form::Decimal,
    Form::Counter,
    Form::NamedTuple,
    Form::Enum,
    Form::Uuid,
    Form::Path,
    Form::Instance,
];

fn class(of_python: bool, bases: Vec<Address>) -> Class {
    let slot = |offset: u64| Slot { name: "slot".into(), offset };
    Class {
        name: "module.Class".into(),
        c_name: "Class".into(),
        flags: flag::HEAP_TYPE,
        of_python,
        repr: Address(0),
        own_repr: None,
        fields: bases.first().copied(),
        slots: vec![slot(16), slot(24)],
        bases,
    }
}

#[test]
fn garbage_is_told_within_bounds() {
    let at = |number: u64| Address(0x7f00_0000_0000 + number * 8);
    for version in layout::versions() {
        let layout = Layout::of(version).unwrap();
        for seed in 0..3 {
            let memory = Garbage { seed, reads: Cell::new(0) };
            let types = Types {
                text: at(1),
                tuple: at(2),
                dict: at(3),
                kind: at(4),
                integer: at(5),
                none: at(6),
                bytes: at(7),
                ..Types::default()
            };
            let reader = Reader { memory: &memory, layout: &layout, types: &types };
            let limits = Limits { characters: 100, hides: |name| name.len() == 7 };
            let mut values = Values::new(reader, reader, limits);
            for form in FORMS {
                for place in 0..2 {
                    // Its class is one that looks so, and so is what is in it.
                    let look = |form| Look {
                        class: Rc::new(class(true, vec![at(place), at(place + 1)])),
                        form,
                        base: Some(Form::List),
                        has_slots: true,
                    };
                    let look = Rc::new(look(*form));
                    for kind in 0..512 {
                        values.looks.insert(at(kind), Some(look.clone()));
                    }
                    memory.reads.set(0);
                    let rendered = values.render(at(place));
                    assert!(memory.reads.get() < 100_000, "{form:?}: {} reads", memory.reads.get());
                    let length = rendered.text.chars().count();
                    assert!(length < 2000, "{form:?}: {length} characters");
                    let again = values.render(at(place + 100));
                    assert!(again.text.len() < 8000, "{form:?}");
                }
            }
        }
    }
}

#[test]
fn no_memory_is_no_value() {
    struct Nothing;
    impl spyhole_proc::memory::ReadMemory for Nothing {
        fn read(
            &self,
            address: Address,
            buffer: &mut [u8],
        ) -> Result<(), spyhole_proc::memory::Unreadable> {
            Err(spyhole_proc::memory::Unreadable { address, length: buffer.len() })
        }
    }
    let layout = Layout::of(layout::versions().next().unwrap()).unwrap();
    let types = Types::default();
    let reader = Reader { memory: &Nothing, layout: &layout, types: &types };
    let limits = Limits { characters: 100, hides: |_| false };
    let rendered = Values::new(reader, reader, limits).render(Address(8));
    assert_eq!((&*rendered.text, &*rendered.type_name), ("<unreadable>", "<unreadable>"));
}
