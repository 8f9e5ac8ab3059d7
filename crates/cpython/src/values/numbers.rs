//! Numbers as `repr` writes them.
//!
//! It knows `float_repr_style` `short` (`Python/pystrtod.c`), `complex_repr` (`Objects/complexobject.c`), ints of any
//! length, and the strings of `decimal` (`Modules/_decimal/libmpdec/io.c`). It reads no memory.

use crate::integers::Integer;

/// `float.__repr__`.
pub(super) fn float(value: f64) -> String {
    let text = short(value, false);
    let is_finite_word = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if is_finite_word { text + ".0" } else { text }
}

/// The fewest digits that read back as the same number, as format code `r`.
fn short(value: f64, sign: bool) -> String {
    let plus = if sign && !value.is_sign_negative() { "+" } else { "" };
    if value.is_nan() {
        return format!("{plus}nan").replace("-", "");
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf".into() } else { format!("{plus}inf") };
    }
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let minus = if value.is_sign_negative() { "-" } else { plus };
    if !(-4..16).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let side = if exponent < 0 { '-' } else { '+' };
        return format!("{minus}{first}{dot}{rest}e{side}{:02}", exponent.abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{minus}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{minus}{digits}{}", "0".repeat(whole - digits.len()));
    }
    let (whole, rest) = digits.split_at(whole);
    format!("{minus}{whole}.{rest}")
}

/// `complex.__repr__`.
pub(super) fn complex(real: f64, imaginary: f64) -> String {
    if real == 0.0 && real.is_sign_positive() {
        return format!("{}j", short(imaginary, false));
    }
    format!("({}{}j)", short(real, false), short(imaginary, true))
}

/// Digits of an int that are still written in decimal: the work grows with their square.
pub(super) const DIGITS_AT_MOST: usize = 2000;

/// `int.__repr__`; `None` for one that is too long for it.
pub(super) fn integer(value: &Integer) -> Option<String> {
    const BASE: u128 = 10_u128.pow(18);
    if value.count > value.digits.len() as u64 {
        return None;
    }
    let mut parts: Vec<u64> = vec![0];
    for digit in value.digits.iter().rev() {
        let mut carry = u128::from(*digit);
        for part in &mut parts {
            let sum = (u128::from(*part) << 30) + carry;
            *part = (sum % BASE) as u64;
            carry = sum / BASE;
        }
        if carry > 0 {
            parts.push(carry as u64);
        }
    }
    while parts.len() > 1 && parts.last() == Some(&0) {
        parts.pop();
    }
    let mut text = String::from(if value.negative { "-" } else { "" });
    for (index, part) in parts.iter().rev().enumerate() {
        text.push_str(&if index == 0 { part.to_string() } else { format!("{part:018}") });
    }
    Some(text)
}

/// What a `decimal` says of itself.
pub(super) struct Decimal {
    /// `MPD_NEG`, `MPD_INF`, `MPD_NAN`, `MPD_SNAN`.
    pub(super) flags: u8,
    pub(super) exponent: i64,
    /// The coefficient, without zeros in front.
    pub(super) digits: String,
}

/// `str` of a decimal.
pub(super) fn decimal(value: &Decimal) -> String {
    let sign = if value.flags & 1 != 0 { "-" } else { "" };
    let digits = &value.digits;
    match value.flags & 0xe {
        2 => return format!("{sign}Infinity"),
        4 => return format!("{sign}NaN{}", digits.trim_start_matches('0')),
        8 => return format!("{sign}sNaN{}", digits.trim_start_matches('0')),
        _ => {}
    }
    let length = digits.len() as i64;
    let left = value.exponent.saturating_add(length);
    let plain = value.exponent <= 0 && left > -6;
    let place = if plain { left } else { 1 };
    let number = match place {
        ..=0 => format!("0.{}{digits}", "0".repeat(place.unsigned_abs() as usize)),
        _ if place >= length => digits.clone(),
        _ => {
            let (whole, rest) = digits.split_at(place as usize);
            format!("{whole}.{rest}")
        }
    };
    let exponent = left.saturating_sub(place);
    if exponent == 0 { format!("{sign}{number}") } else { format!("{sign}{number}E{exponent:+}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn floats_as_python_writes_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e16, "1e+16"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e22, "1e+22"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (-2.5, "-2.5"),
            (999.99998, "999.99998"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn complex_numbers() {
        for (real, imaginary, text) in [
            (0.0, 1.0, "1j"),
            (-0.0, 1.0, "(-0+1j)"),
            (1.5, -2.0, "(1.5-2j)"),
            (1e16, f64::NAN, "(1e+16+nanj)"),
            (f64::INFINITY, -0.0, "(inf-0j)"),
            (0.0, f64::NEG_INFINITY, "-infj"),
        ] {
            assert_eq!(complex(real, imaginary), text);
        }
    }

    #[test]
    fn decimals() {
        for (flags, exponent, digits, text) in [
            (0, 0, "0", "0"),
            (1, -2, "110", "-1.10"),
            (0, 3, "1", "1E+3"),
            (0, -7, "12", "0.0000012"),
            (0, -8, "1", "1E-8"),
            (0, 2, "123", "1.23E+4"),
            (2, 0, "", "Infinity"),
            (5, 0, "", "-NaN"),
            (8, 0, "7", "sNaN7"),
        ] {
            assert_eq!(decimal(&Decimal { flags, exponent, digits: digits.into() }), text);
        }
    }

    fn of(mut value: u128, negative: bool) -> Integer {
        let mut digits = Vec::new();
        while value > 0 {
            digits.push((value & 0x3fff_ffff) as u32);
            value >>= 30;
        }
        Integer { negative, count: digits.len() as u64, digits }
    }

    #[test]
    fn a_cut_integer_is_no_number() {
        assert_eq!(integer(&of(0, false)).as_deref(), Some("0"));
        assert_eq!(integer(&Integer { negative: false, digits: vec![1], count: 2 }), None);
    }

    proptest! {
        #[test]
        fn integers_read_back(value: u128, negative: bool) {
            let sign = if negative && value > 0 { "-" } else { "" };
            let text = integer(&of(value, negative && value > 0)).unwrap();
            prop_assert_eq!(text, format!("{sign}{value}"));
        }

        #[test]
        fn floats_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            let text = float(value);
            let back: f64 = text.parse().unwrap();
            prop_assert!(back.to_bits() == bits || value.is_nan());
            prop_assert!(text.contains(['.', 'e', 'n']), "{}", text);
        }
    }
}
