//! Bytes of a hostile sender to values.

use thiserror::Error;

use super::{BigInt, MAX_DEPTH, MAX_VALUES, Text, Value};

/// Why bytes are no message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    #[error("message ends at byte {offset}, within a value")]
    Truncated { offset: usize },
    #[error("{count} bytes follow the message's value")]
    Trailing { count: usize },
    #[error("unknown type code {code:#04x} at byte {offset}")]
    UnknownType { code: u8, offset: usize },
    #[error("length {length} at byte {offset} is more than what follows")]
    Length { length: i64, offset: usize },
    #[error("integer digits out of range at byte {offset}")]
    Digits { offset: usize },
    #[error("text at byte {offset} is not UTF-8")]
    Text { offset: usize },
    #[error("containers are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("message has more than {MAX_VALUES} values")]
    TooMany,
}

/// The one value that `bytes` hold.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut reader = Reader { bytes, offset: 0, values: 0 };
    let code = reader.byte()?;
    let value = reader.value(code, 0)?;
    match bytes.len() - reader.offset {
        0 => Ok(value),
        count => Err(DecodeError::Trailing { count }),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..count).ok_or(DecodeError::Truncated { offset: self.bytes.len() })?;
        self.offset += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// A length of elements that take at least `each` bytes, checked against what is left.
    fn length(&mut self, each: usize) -> Result<usize, DecodeError> {
        let offset = self.offset;
        let length = i32::from_le_bytes(self.array()?);
        let left = (self.bytes.len() - self.offset) / each;
        match usize::try_from(length) {
            Ok(count) if count <= left => Ok(count),
            _ => Err(DecodeError::Length { length: length.into(), offset }),
        }
    }

    fn value(&mut self, code: u8, depth: usize) -> Result<Value, DecodeError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(DecodeError::TooMany);
        }
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let offset = self.offset;
        Ok(match code {
            b'N' => Value::None,
            b'T' => Value::Bool(true),
            b'F' => Value::Bool(false),
            b'i' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'l' => self.digits()?,
            b'g' => Value::Float(f64::from_le_bytes(self.array()?)),
            b'u' => {
                let count = self.length(1)?;
                let bytes = self.take(count)?;
                Value::Str(Text::from_bytes(bytes).map_err(|_| DecodeError::Text { offset })?)
            }
            b's' => {
                let count = self.length(1)?;
                Value::Bytes(self.take(count)?.to_vec())
            }
            b'[' => Value::List(self.items(depth)?),
            b'(' => Value::Tuple(self.items(depth)?),
            b'{' => Value::Dict(self.pairs(depth)?),
            code => return Err(DecodeError::UnknownType { code, offset: offset - 1 }),
        })
    }

    fn digits(&mut self) -> Result<Value, DecodeError> {
        let offset = self.offset;
        let count = i32::from_le_bytes(self.array()?);
        let bytes = self.take((count.unsigned_abs() as usize).saturating_mul(2))?;
        let digits: Vec<u16> =
            bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        if digits.iter().any(|digit| *digit > 0x7fff) || digits.last() == Some(&0) {
            return Err(DecodeError::Digits { offset });
        }
        let negative = count < 0;
        if digits.len() <= 5 {
            let sum = digits.iter().rev().fold(0, |sum, digit| sum << 15 | i128::from(*digit));
            if let Ok(small) = i64::try_from(if negative { -sum } else { sum }) {
                return Ok(Value::Int(small));
            }
        }
        Ok(Value::BigInt(BigInt { negative, digits }))
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Value>, DecodeError> {
        let count = self.length(1)?;
        let mut items = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            let code = self.byte()?;
            items.push(self.value(code, depth + 1)?);
        }
        Ok(items)
    }

    fn pairs(&mut self, depth: usize) -> Result<Vec<(Value, Value)>, DecodeError> {
        let mut pairs = Vec::new();
        loop {
            let code = self.byte()?;
            if code == b'0' {
                return Ok(pairs);
            }
            let name = self.value(code, depth + 1)?;
            let code = self.byte()?;
            pairs.push((name, self.value(code, depth + 1)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::None),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (any::<bool>(), prop::collection::vec(0u16..0x8000, 5..20), 1u16..0x8000).prop_map(
                |(negative, mut digits, last)| {
                    digits.push(last);
                    Value::BigInt(BigInt { negative, digits })
                }
            ),
            (-1e300..1e300f64).prop_map(Value::Float),
            any::<String>().prop_map(|text| Value::Str(text.into())),
            prop::collection::vec(any::<u8>(), 0..50).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Tuple),
                prop::collection::vec((inner.clone(), inner), 0..8).prop_map(Value::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn round_trip(value in values()) {
            prop_assert_eq!(decode(&value.encode()), Ok(value));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn changed_bytes_never_panic(value in values(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = value.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode(&bytes);
        }

        #[test]
        fn a_part_is_an_error(value in values(), at in any::<prop::sample::Index>()) {
            let bytes = value.encode();
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn hostile_lengths_and_depths() {
        let hostile: [(&[u8], DecodeError); 7] = [
            (b"", DecodeError::Truncated { offset: 0 }),
            (b"s\xff\xff\xff\x7fabc", DecodeError::Length { length: 0x7fff_ffff, offset: 1 }),
            (b"[\xff\xff\xff\xff", DecodeError::Length { length: -1, offset: 1 }),
            (b"l\x00\x00\x00\x80", DecodeError::Truncated { offset: 5 }),
            (b"l\x01\x00\x00\x00\xff\xff", DecodeError::Digits { offset: 1 }),
            (b"NN", DecodeError::Trailing { count: 1 }),
            (b"c", DecodeError::UnknownType { code: b'c', offset: 0 }),
        ];
        for (bytes, error) in hostile {
            assert_eq!(decode(bytes), Err(error), "{bytes:?}");
        }
        assert_eq!(decode(&b"[\x01\x00\x00\x00".repeat(100_000)), Err(DecodeError::TooDeep));
        let mut many = b"[\x00\x00\x20\x00".to_vec();
        many.extend(vec![b'N'; 0x20_0000]);
        assert_eq!(decode(&many), Err(DecodeError::TooMany));
    }

    #[test]
    fn smallest_and_largest_integers() {
        for number in [0, 1, -1, i64::MAX, i64::MIN, 1 << 31, -(1 << 31), (1 << 31) - 1] {
            assert_eq!(decode(&Value::Int(number).encode()), Ok(Value::Int(number)));
        }
    }
}
