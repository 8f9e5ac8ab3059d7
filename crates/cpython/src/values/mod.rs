//! Values, read from outside and told as Python's `repr` tells them, as far as that needs no code of the program.
//!
//! It knows the kinds of objects of the builtins and of the standard library's C code, and a few classes in Python. It
//! runs nothing: where a class has a `__repr__` of its own, the attributes are told. Everything is bounded: characters,
//! depth, and the memory that is read for one value.

mod callables;
mod characters;
mod classes;
mod containers;
mod descriptors;
mod forms;
mod instances;
mod numbers;
mod output;
mod printable;
mod proxies;
mod steps;
#[cfg(test)]
mod tests;
mod times;
mod tree;

use std::rc::Rc;
use std::sync::Arc;

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;
use spyhole_proc::spread::QuickMap;

use crate::reader::Reader;
use crate::text;
use classes::Classes;
pub(crate) use classes::c_string;
use forms::{Form, Look};
use output::Output;
pub use steps::{Key, Step, StepError};
pub use tree::{Bounds, Item, Tree};

/// How much of a value is told, and what of it is not.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Characters of one value.
    pub characters: usize,
    /// Whether what stands under a name is a secret.
    pub hides: fn(&str) -> bool,
}

/// What stands for a secret.
pub const REDACTED: &str = "<redacted>";
/// What stands for a value that cannot be read.
pub const UNREADABLE: &str = "<unreadable>";

/// A value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// `module.qualname`, bare for builtins.
    pub type_name: Arc<str>,
    pub text: Arc<str>,
    pub truncated: bool,
}

/// Values in values that are followed.
const DEPTH_AT_MOST: usize = 30;
/// Values that an instance's attributes may have in them, themselves the first; what is deeper is named alone.
const INSTANCES_AT_MOST: usize = 2;
/// Names within values.
const NAME_AT_MOST: usize = 200;
/// Places of a table without an entry that are passed over.
const GAPS_AT_MOST: u64 = 4096;
/// Digits of an int that are cut nowhere.
const NUMBER_IN_ONE_PIECE: usize = 20;
/// Text that is made for one process, if single values may not be so long that more was asked for.
const ALL_TEXT_AT_MOST: usize = 16 << 20;

/// The values of one process.
pub struct Values<'a> {
    reader: Reader<'a>,
    classes: Classes<'a>,
    limits: Limits,
    looks: QuickMap<Address, Option<Rc<Look>>>,
    out: Output,
    /// What is being told, outermost first.
    path: Vec<Address>,
    depth: usize,
    instances: usize,
    text_left: usize,
}

impl<'a> Values<'a> {
    /// `steady` reads what does not change: classes and their names.
    pub fn new(reader: Reader<'a>, steady: Reader<'a>, limits: Limits) -> Self {
        Self {
            reader,
            classes: Classes::new(steady),
            limits,
            looks: QuickMap::default(),
            out: Output::default(),
            path: Vec::new(),
            depth: 0,
            instances: 0,
            text_left: ALL_TEXT_AT_MOST.max(limits.characters.saturating_mul(64)),
        }
    }

    /// The value at `at`.
    pub fn render(&mut self, at: Address) -> Rendered {
        self.out.begin(self.limits.characters.min(self.text_left));
        self.path.clear();
        (self.depth, self.instances) = (0, 0);
        self.value(at);
        let type_name = self.type_name(at);
        let (text, truncated) = self.out.finish();
        self.text_left = self.text_left.saturating_sub(text.len());
        Rendered { type_name, text: text.into(), truncated }
    }

    /// What the value at `at` is.
    pub fn type_name(&mut self, at: Address) -> Arc<str> {
        let look = self.reader.kind(at).ok().and_then(|kind| self.look(kind));
        look.map_or_else(|| UNREADABLE.into(), |look| look.class.name.clone())
    }

    fn look(&mut self, kind: Address) -> Option<Rc<Look>> {
        if let Some(known) = self.looks.get(&kind) {
            return known.clone();
        }
        let class = self.classes.get(kind);
        let look = class.map(|class| Rc::new(self.look_of(class)));
        self.looks.insert(kind, look.clone());
        look
    }

    /// Writes a value.
    fn value(&mut self, at: Address) {
        if self.out.is_full() || self.depth >= DEPTH_AT_MOST {
            return self.out.leave_out();
        }
        self.depth += 1;
        if self.try_value(at).is_err() {
            self.out.form(UNREADABLE);
        }
        self.depth -= 1;
    }

    fn try_value(&mut self, at: Address) -> Result<(), Unreadable> {
        let kind = self.reader.kind(at)?;
        let look = self.look(kind).ok_or(Unreadable { address: kind, length: 0 })?;
        self.of_form(at, &look, look.form)
    }

    fn of_form(&mut self, at: Address, look: &Look, form: Form) -> Result<(), Unreadable> {
        let Reader { memory, layout, types } = self.reader;
        let of = &layout.objects;
        let double = |at: Address| memory.word(at).map(f64::from_bits);
        match form {
            Form::Constant(name) => self.out.form(name),
            Form::Boolean => self.out.form(if at == types.yes { "True" } else { "False" }),
            Form::Integer => self.integer(at)?,
            Form::Float => self.out.form(&numbers::float(double(at.plus(of.float))?)),
            Form::Complex => {
                let (real, imaginary) =
                    (double(at.plus(of.complex))?, double(at.plus(of.complex + 8))?);
                self.out.form(&numbers::complex(real, imaginary));
            }
            Form::Text => self.text(at)?,
            Form::Bytes => {
                let length = self.length(at)?;
                self.bytes("b", at.plus(of.bytes), length, false)?;
            }
            Form::ByteArray => {
                let (length, start) = (self.length(at)?, memory.pointer(at.plus(of.bytearray))?);
                let name = self.own_name(look, "bytearray");
                self.out.form(&format!("{name}(b"));
                self.bytes("", start, length, layout.shape.reprs.bytearray_quotes)?;
                self.out.form(")");
            }
            Form::Tuple => self.tuple(at)?,
            Form::List => self.list(at)?,
            Form::Dict => self.dict(at)?,
            Form::Set => self.set(at, look)?,
            Form::Range => self.range(at)?,
            Form::Slice => self.slice(at)?,
            Form::Ordered => self.ordered(at, look)?,
            Form::Defaulting => self.defaulting(at, look)?,
            Form::Deque => self.deque(at, look)?,
            Form::Proxy => self.proxy(at)?,
            Form::Keys | Form::Items | Form::DictValues => self.dict_view(at, look, form)?,
            Form::Exception => self.exception(at, look)?,
            Form::Function => self.function(at)?,
            Form::Method => self.method(at)?,
            Form::Builtin => self.builtin(at)?,
            Form::Descriptor(what) => self.descriptor(at, what)?,
            Form::Wrapper => self.wrapper(at)?,
            Form::Wrapped(what) => self.wrapped(at, what)?,
            Form::Class => self.class(at, "class")?,
            Form::EnumClass(flags) => self.enum_class(at, flags)?,
            Form::Module => self.module(at)?,
            Form::Weak => self.weak(at)?,
            Form::Generator(what) => {
                let name = self.name_at(at.plus(layout.details.generator_name))?;
                self.pieces(&["<", what, " object "], &name, at);
            }
            Form::Frame => self.frame(at)?,
            Form::Code => self.code(at)?,
            Form::Cell => self.cell(at)?,
            Form::View => self.out.form(&format!("<memory at {at}>")),
            Form::Partial => self.partial(at, look)?,
            Form::Lock => self.lock(at, look)?,
            Form::RLock => self.rlock(at, look)?,
            Form::Date => self.date(at, look)?,
            Form::Time => self.time(at, look)?,
            Form::DateTime => self.datetime(at, look)?,
            Form::Delta => self.delta(at, look)?,
            Form::Zone => self.zone(at, look)?,
            Form::Decimal => self.decimal(at)?,
            Form::Counter => self.counter(at, look)?,
            Form::NamedTuple => self.named_tuple(at, look)?,
            Form::Enum => self.enum_member(at, look)?,
            Form::Uuid => self.uuid(at, look)?,
            Form::Path => self.path(at, look)?,
            Form::Bare => self.bare(at, look),
            Form::Instance => self.instance(at, look)?,
        }
        Ok(())
    }

    /// `ob_size` of what has a length.
    fn length(&self, at: Address) -> Result<u64, Unreadable> {
        let length = self.reader.size(at)?;
        u64::try_from(length).map_err(|_| Unreadable { address: at, length: 0 })
    }

    fn integer(&mut self, at: Address) -> Result<(), Unreadable> {
        let value = self.reader.integer(at, numbers::DIGITS_AT_MOST)?;
        match numbers::integer(&value) {
            // Half of a short number would be another number.
            Some(text) if text.len() <= NUMBER_IN_ONE_PIECE => {
                if !self.out.whole(&text) {
                    self.out.fill();
                }
            }
            Some(text) => self.out.content(&text),
            None => {
                let bits = value.count.saturating_mul(30);
                self.out.form(&format!("<int of about {bits} bits>"));
                self.out.is_cut();
            }
        }
        Ok(())
    }

    fn text(&mut self, at: Address) -> Result<(), Unreadable> {
        let Reader { memory, layout, .. } = self.reader;
        let raw = text::raw(memory, layout, at, self.out.room())?;
        let whole = raw.numbers().count() as u64 == raw.length;
        if let Some(plain) = raw.plain() {
            characters::plain(&mut self.out, plain, whole);
            return Ok(());
        }
        characters::text(&mut self.out, raw.numbers(), whole, layout.shape.reprs.unicode);
        Ok(())
    }

    fn bytes(
        &mut self,
        prefix: &str,
        at: Address,
        length: u64,
        single: bool,
    ) -> Result<(), Unreadable> {
        let taken = usize::try_from(length).unwrap_or(usize::MAX).min(self.out.room());
        let bytes = self.reader.memory.bytes(at, taken)?;
        self.out.form(prefix);
        characters::bytes(&mut self.out, &bytes, bytes.len() as u64 == length, single);
        Ok(())
    }

    /// The name of a class as the C code shortens it.
    fn short_name(look: &Look) -> &str {
        match look.class.of_python {
            true => &look.class.c_name,
            false => look.class.c_name.rsplit('.').next().unwrap_or_default(),
        }
    }

    fn own_name<'l>(&self, look: &'l Look, base: &'l str) -> &'l str {
        if self.reader.layout.shape.reprs.own_names { Self::short_name(look) } else { base }
    }

    /// A string that a field at `at` points to.
    fn name_at(&self, at: Address) -> Result<String, Unreadable> {
        let text = self.reader.memory.pointer(at)?;
        let text = self.reader.text(text, NAME_AT_MOST);
        text.map(|text| text.text).ok_or(Unreadable { address: at, length: 8 })
    }

    /// `<function f at 0x...>`
    fn pieces(&mut self, form: &[&str], name: &str, at: Address) {
        form.iter().for_each(|piece| self.out.form(piece));
        self.out.content(name);
        self.out.form(&format!(" at {at}>"));
    }

    /// Tells what is within the value at `at`, or `again` if that is being told already.
    fn within(
        &mut self,
        at: Address,
        again: &str,
        tell: impl FnOnce(&mut Self) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        if self.path.contains(&at) {
            self.out.form(again);
            return Ok(());
        }
        self.path.push(at);
        let told = tell(self);
        self.path.pop();
        told
    }

    /// Items with commas between them, as far as there is room; `more`: these are not all.
    fn items<T>(&mut self, items: &[T], more: bool, mut one: impl FnMut(&mut Self, &T)) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                if self.out.is_full() {
                    return self.out.leave_out_more();
                }
                self.out.form(", ");
            }
            one(self, item);
        }
        if more {
            if items.is_empty() { self.out.leave_out() } else { self.out.leave_out_more() }
        }
    }

    /// Items that can have room: each takes three characters at least.
    fn items_at_most(&self) -> usize {
        self.out.room() / 3 + 1
    }
}
