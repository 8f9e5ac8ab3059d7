//! Taking the fields out of a dict that a hostile process sent.

use thiserror::Error;

use crate::marshal::{DecodeError, Value};

/// Why a message could not be understood.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    #[error("message is not marshalled data")]
    Marshal(#[from] DecodeError),
    #[error("message is not a dict with a `{key}`")]
    NoName { key: &'static str },
    #[error("`{message}` message has no `{key}`")]
    Missing { message: &'static str, key: &'static str },
    #[error("`{key}` of a `{message}` message is not {expected}")]
    WrongType { message: &'static str, key: &'static str, expected: &'static str },
}

/// The dict of one message, and the message's name for errors.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) message: &'static str,
    pub(super) dict: &'a Value,
}

impl<'a> Fields<'a> {
    /// `None` if the key is missing or its value is `None`.
    pub(super) fn optional(&self, key: &'static str) -> Option<&'a Value> {
        self.dict.get(key).filter(|value| **value != Value::None)
    }

    pub(super) fn required(&self, key: &'static str) -> Result<&'a Value, MessageError> {
        self.optional(key).ok_or(MessageError::Missing { message: self.message, key })
    }

    pub(super) fn wrong(&self, key: &'static str, expected: &'static str) -> MessageError {
        MessageError::WrongType { message: self.message, key, expected }
    }

    /// Text with lone surrogates escaped.
    pub(super) fn text(&self, key: &'static str) -> Result<String, MessageError> {
        self.as_text(key, self.required(key)?)
    }

    pub(super) fn optional_text(&self, key: &'static str) -> Result<Option<String>, MessageError> {
        self.optional(key).map(|value| self.as_text(key, value)).transpose()
    }

    pub(super) fn as_text(&self, key: &'static str, value: &Value) -> Result<String, MessageError> {
        match value {
            Value::Str(text) => Ok(text.escaped().into_owned()),
            _ => Err(self.wrong(key, "a text")),
        }
    }

    /// An integer within the range of `T`.
    pub(super) fn number<T: TryFrom<i64>>(&self, key: &'static str) -> Result<T, MessageError> {
        self.as_number(key, self.required(key)?)
    }

    pub(super) fn as_number<T>(&self, key: &'static str, value: &Value) -> Result<T, MessageError>
    where
        T: TryFrom<i64>,
    {
        let number = if let Value::Int(number) = value { T::try_from(*number).ok() } else { None };
        number.ok_or_else(|| self.wrong(key, "a number within range"))
    }

    /// `false` if it is missing.
    pub(super) fn flag(&self, key: &'static str) -> Result<bool, MessageError> {
        match self.optional(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(key, "a bool")),
        }
    }

    /// A finite number of seconds that is not negative.
    pub(super) fn seconds(&self, key: &'static str) -> Result<f64, MessageError> {
        match self.required(key)? {
            Value::Float(seconds) if seconds.is_finite() => Ok(seconds.max(0.0)),
            _ => Err(self.wrong(key, "a finite float")),
        }
    }

    /// The items of a list or tuple; none if it is missing.
    pub(super) fn items(&self, key: &'static str) -> Result<&'a [Value], MessageError> {
        self.optional(key).map_or(Ok(&[]), |value| self.as_items(key, value))
    }

    pub(super) fn as_items(
        &self,
        key: &'static str,
        value: &'a Value,
    ) -> Result<&'a [Value], MessageError> {
        match value {
            Value::List(items) | Value::Tuple(items) => Ok(items),
            _ => Err(self.wrong(key, "a list")),
        }
    }

    /// The texts of a list.
    pub(super) fn texts(&self, key: &'static str) -> Result<Vec<String>, MessageError> {
        self.items(key)?.iter().map(|item| self.as_text(key, item)).collect()
    }
}
