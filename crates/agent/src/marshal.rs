//! The part of CPython's `marshal` format, version 2, that the wire uses.
//!
//! Version 2 has no references, so that a value is a tree. The format is that of `Python/marshal.c`,
//! whose writer has not changed for this version since 3.4. Code objects, sets and complex numbers
//! are not part of the wire and are refused.

mod decode;
mod encode;
mod integer;
mod text;

pub use decode::{DecodeError, decode};
pub use integer::BigInt;
pub use text::Text;

/// Containers within containers that the decoder follows.
pub const MAX_DEPTH: usize = 200;
/// Values in one message. A value takes more memory here than its one byte may take on the wire.
pub const MAX_VALUES: usize = 1 << 20;

/// A Python value that can be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer that does not fit 64 bits.
    BigInt(BigInt),
    Float(f64),
    Str(Text),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// In the order in which it was sent; names may repeat if the sender is hostile.
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// The bytes that `marshal.loads` reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::write(self, &mut bytes);
        bytes
    }

    /// The value of a dict under a `str` key; the last one if it repeats, as in Python.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Dict(items) = self else { return None };
        let is_key =
            |name: &Value| matches!(name, Value::Str(text) if text.as_bytes() == key.as_bytes());
        items.iter().rev().find(|(name, _)| is_key(name)).map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}
