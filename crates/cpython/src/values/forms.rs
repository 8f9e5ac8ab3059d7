//! How the values of a class look: which of the `repr` functions that are known here is theirs.
//!
//! `repr(x)` calls `tp_repr` of the class of `x`. A class that inherits it has the same address there, so the last one
//! of its bases with that address is the one that defines it; by that one's name the function is known. A `__repr__`
//! in Python is never run: those of a few classes of the standard library are known by their names.

use std::rc::Rc;

use super::Values;
use super::classes::Class;
use crate::reader::flag;

/// A way to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Constant(&'static str),
    Boolean,
    Integer,
    Float,
    Complex,
    Text,
    Bytes,
    ByteArray,
    Tuple,
    List,
    Dict,
    Set,
    Range,
    Slice,
    Ordered,
    Defaulting,
    Deque,
    Proxy,
    Keys,
    Items,
    DictValues,
    Exception,
    Function,
    Method,
    Builtin,
    /// What a class in C has: `method`, `slot wrapper`, ...
    Descriptor(&'static str),
    Wrapper,
    Wrapped(&'static str),
    Class,
    Module,
    Weak,
    Generator(&'static str),
    Frame,
    Code,
    Cell,
    View,
    Partial,
    Lock,
    RLock,
    Date,
    Time,
    DateTime,
    Delta,
    Zone,
    Decimal,
    Counter,
    NamedTuple,
    Enum,
    /// A class of an enum: `enum` or `flag` where that is told.
    EnumClass(bool),
    Uuid,
    Path,
    /// Nothing but its class and its address.
    Bare,
    /// Its own `__repr__` would have to run, or there is none: its attributes.
    Instance,
}

/// How the values of one class look.
pub(super) struct Look {
    pub(super) class: Rc<Class>,
    pub(super) form: Form,
    /// For an [`Form::Instance`] that is also a value of a builtin kind: how that looks.
    pub(super) base: Option<Form>,
    /// Whether any of the classes it inherits from has slots.
    pub(super) has_slots: bool,
}

/// The functions of C that are known, by the class that defines them.
fn of_c(name: &str) -> Option<Form> {
    Some(match name {
        "object" => Form::Bare,
        "NoneType" => Form::Constant("None"),
        "ellipsis" => Form::Constant("Ellipsis"),
        "NotImplementedType" => Form::Constant("NotImplemented"),
        "bool" => Form::Boolean,
        "int" => Form::Integer,
        "float" => Form::Float,
        "complex" => Form::Complex,
        "str" => Form::Text,
        "bytes" => Form::Bytes,
        "bytearray" => Form::ByteArray,
        "memoryview" => Form::View,
        "tuple" => Form::Tuple,
        "list" => Form::List,
        "dict" => Form::Dict,
        "set" | "frozenset" => Form::Set,
        "range" => Form::Range,
        "slice" => Form::Slice,
        "collections.OrderedDict" => Form::Ordered,
        "collections.defaultdict" => Form::Defaulting,
        "collections.deque" => Form::Deque,
        "mappingproxy" => Form::Proxy,
        "dict_keys" => Form::Keys,
        "dict_items" => Form::Items,
        "dict_values" => Form::DictValues,
        "BaseException" => Form::Exception,
        "function" => Form::Function,
        "method" => Form::Method,
        "builtin_function_or_method" => Form::Builtin,
        "method_descriptor" | "classmethod_descriptor" => Form::Descriptor("method"),
        "wrapper_descriptor" => Form::Descriptor("slot wrapper"),
        "getset_descriptor" => Form::Descriptor("attribute"),
        "member_descriptor" => Form::Descriptor("member"),
        "method-wrapper" => Form::Wrapper,
        "classmethod" => Form::Wrapped("classmethod"),
        "staticmethod" => Form::Wrapped("staticmethod"),
        "type" => Form::Class,
        "module" => Form::Module,
        "weakref" | "weakref.ReferenceType" => Form::Weak,
        "generator" => Form::Generator("generator"),
        "coroutine" => Form::Generator("coroutine"),
        "async_generator" => Form::Generator("async_generator"),
        "frame" => Form::Frame,
        "code" => Form::Code,
        "cell" => Form::Cell,
        "functools.partial" => Form::Partial,
        "_thread.lock" => Form::Lock,
        "_thread.RLock" => Form::RLock,
        "datetime.date" => Form::Date,
        "datetime.time" => Form::Time,
        "datetime.datetime" => Form::DateTime,
        "datetime.timedelta" => Form::Delta,
        "datetime.timezone" => Form::Zone,
        "decimal.Decimal" => Form::Decimal,
        _ => return None,
    })
}

/// The functions of Python that are known, by their module and qualified name.
fn of_python(module: &str, name: &str, is_tuple_with_fields: bool) -> Option<Form> {
    Some(match (module, name) {
        ("collections", "Counter.__repr__") => Form::Counter,
        // To 3.10 a flag without a name of its own has the names of its parts.
        ("enum", "Enum.__repr__" | "Flag.__repr__") => Form::Enum,
        ("enum", "EnumMeta.__repr__") => Form::EnumClass(false),
        ("enum", "EnumType.__repr__") => Form::EnumClass(true),
        ("uuid", "UUID.__repr__") => Form::Uuid,
        ("pathlib" | "pathlib._local", "PurePath.__repr__") => Form::Path,
        _ if is_tuple_with_fields => {
            // Made by `exec` in a namespace of its own to 3.6.
            let is_theirs = module == "collections" || module.starts_with("namedtuple_");
            (is_theirs && name.ends_with(".__repr__")).then_some(Form::NamedTuple)?
        }
        _ => return None,
    })
}

impl Values<'_> {
    /// How the values of a class look.
    pub(super) fn look_of(&mut self, class: Rc<Class>) -> Look {
        let bases: Vec<Rc<Class>> =
            class.bases.iter().filter_map(|base| self.classes.get(*base)).collect();
        let definer = bases.iter().rev().find(|base| base.repr == class.repr);
        let form = match definer {
            Some(definer) if !definer.of_python => match of_c(&definer.c_name) {
                Some(Form::Bare) if class.of_python => Form::Instance,
                Some(form) => form,
                None => Form::Bare,
            },
            _ => self.form_in_python(&class, &bases).unwrap_or(Form::Instance),
        };
        // Whatever a metaclass makes of it, a class is one.
        let form = match form {
            Form::Instance if class.flags & flag::KIND != 0 => Form::Class,
            form => form,
        };
        let base = bases
            .iter()
            .find(|base| !base.of_python)
            .and_then(|base| of_c(&base.c_name))
            .filter(|base| form == Form::Instance && *base != Form::Bare);
        let has_slots = bases.iter().any(|base| !base.slots.is_empty());
        Look { class, form, base, has_slots }
    }

    fn form_in_python(&mut self, class: &Class, bases: &[Rc<Class>]) -> Option<Form> {
        let function = bases.iter().find_map(|base| base.own_repr)?;
        let reader = self.classes.reader();
        if reader.kind(function).ok()? != reader.types.function {
            return None;
        }
        let text = |offset: u64| {
            let text = reader.memory.pointer(function.plus(offset)).ok()?;
            Some(reader.text(text, 200)?.text)
        };
        let name = text(reader.layout.objects.function_name)?;
        let module = text(reader.layout.details.function_module)?;
        let has_fields = bases.iter().any(|base| base.fields.is_some());
        of_python(&module, &name, has_fields && class.flags & flag::TUPLE != 0)
    }
}
