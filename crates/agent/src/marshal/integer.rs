//! Python integers beyond 64 bits.

use std::fmt::Write as _;

/// Bits up to which decimal digits are worked out; the time grows with the square.
const DECIMAL_BITS: usize = 1 << 16;

/// An integer that does not fit 64 bits, in marshal's base of 2^15.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigInt {
    pub(crate) negative: bool,
    /// Least significant first, each below 2^15, the last one not zero.
    pub(crate) digits: Vec<u16>,
}

impl BigInt {
    /// Decimal digits, or hexadecimal ones (`0x…`) where those of a hostile sender would take long.
    pub fn to_text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        if self.digits.len() * 15 <= DECIMAL_BITS { self.decimal(sign) } else { self.hex(sign) }
    }

    fn decimal(&self, sign: &str) -> String {
        const BASE: u64 = 1_000_000_000_000_000;
        let mut groups: Vec<u64> = Vec::new();
        for digit in self.digits.iter().rev() {
            let mut carry = u64::from(*digit);
            for group in &mut groups {
                let sum = u128::from(*group) * (1 << 15) + u128::from(carry);
                *group = (sum % u128::from(BASE)) as u64;
                carry = (sum / u128::from(BASE)) as u64;
            }
            if carry > 0 {
                groups.push(carry);
            }
        }
        let mut text = format!("{sign}{}", groups.pop().unwrap_or(0));
        for group in groups.iter().rev() {
            let _ = write!(text, "{group:015}");
        }
        text
    }

    fn hex(&self, sign: &str) -> String {
        let bit = |index: usize| {
            self.digits.get(index / 15).is_some_and(|digit| digit >> (index % 15) & 1 == 1)
        };
        let nibbles = (self.digits.len() * 15).div_ceil(4);
        let mut text = format!("{sign}0x");
        let start = text.len();
        for nibble in (0..nibbles).rev() {
            let value = (0..4).fold(0, |sum, one| sum | u32::from(bit(nibble * 4 + one)) << one);
            if value != 0 || text.len() > start {
                text.extend(char::from_digit(value, 16));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_digits() {
        // 2**75 and -(2**150 - 1)
        let big = BigInt { negative: false, digits: vec![0, 0, 0, 0, 0, 1] };
        assert_eq!(big.to_text(), "37778931862957161709568");
        let big = BigInt { negative: true, digits: vec![0x7fff; 10] };
        assert_eq!(big.to_text(), "-1427247692705959881058285969449495136382746623");
        assert_eq!(big.hex("-"), format!("-0x3{}", "f".repeat(37)));
    }

    #[test]
    fn many_digits_are_hexadecimal() {
        let mut digits = vec![0; 6000];
        digits.push(1);
        assert_eq!(BigInt { negative: false, digits }.to_text().len(), 2 + 6000 * 15 / 4 + 1);
    }
}
