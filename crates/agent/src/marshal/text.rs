//! A Python `str`, which may hold lone surrogates that UTF-8 forbids.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// UTF-8 in which lone surrogates are encoded like other characters (`surrogatepass` in Python).
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Vec<u8>);

/// Bytes that are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoText;

impl Text {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, NoText> {
        let mut rest = bytes;
        while let Err(error) = std::str::from_utf8(rest) {
            let bad = &rest[error.valid_up_to()..];
            surrogate(bad).ok_or(NoText)?;
            rest = &bad[3..];
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it has no lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text with lone surrogates as Python escapes them: `\udc80`.
    pub fn escaped(&self) -> Cow<'_, str> {
        if let Some(text) = self.as_str() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(self.0.len() + 16);
        let mut rest = self.0.as_slice();
        while !rest.is_empty() {
            let valid = match std::str::from_utf8(rest) {
                Ok(text) => text,
                Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or(""),
            };
            out.push_str(valid);
            rest = &rest[valid.len()..];
            if let Some(code) = surrogate(rest) {
                let _ = write!(out, "\\u{code:04x}");
                rest = &rest[3..];
            }
        }
        Cow::Owned(out)
    }
}

/// The lone surrogate that `bytes` begin with.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] => {
            Some(0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f))
        }
        _ => None,
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.escaped(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_kept_and_escaped() {
        let text = Text::from_bytes(b"a\xed\xb2\x80b\xed\xa0\x80").unwrap();
        assert_eq!(text.as_str(), None);
        assert_eq!(text.escaped(), "a\\udc80b\\ud800");
        assert_eq!(text.as_bytes(), b"a\xed\xb2\x80b\xed\xa0\x80");
    }

    #[test]
    fn other_invalid_bytes_are_no_text() {
        for bytes in [&b"\xff"[..], b"a\xed", b"\xed\xa0", b"\xc0\x80", b"\xf5\x80\x80\x80"] {
            assert_eq!(Text::from_bytes(bytes), Err(NoText), "{bytes:?}");
        }
    }
}
