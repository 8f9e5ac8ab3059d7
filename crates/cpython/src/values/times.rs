//! Dates, times, and decimals.
//!
//! It knows `Include/datetime.h`, `Modules/_datetimemodule.c` and `Modules/_decimal`. The same classes in Python, where
//! those modules are missing, are told as other instances are.

use spyhole_proc::Address;
use spyhole_proc::memory::Unreadable;

use super::Values;
use super::classes::words;
use super::forms::Look;
use super::numbers::{self, Decimal};

impl Values<'_> {
    fn numbers(&mut self, name: &str, numbers: &[u32]) {
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        self.out.form(&format!("{name}({}", numbers.join(", ")));
    }

    pub(super) fn date(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let bytes = self.reader.memory.bytes(at.plus(self.reader.layout.details.date_data), 4)?;
        self.numbers(&look.class.c_name, &day(&bytes));
        self.out.form(")");
        Ok(())
    }

    pub(super) fn time(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let of = &self.reader.layout.details;
        let bytes = self.reader.memory.bytes(at.plus(of.time_data), 6)?;
        self.numbers(&look.class.c_name, &clock(&bytes));
        self.time_zone(at, of.time_zone)?;
        self.fold(at.plus(of.time_fold))?;
        self.out.form(")");
        Ok(())
    }

    pub(super) fn datetime(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let of = &self.reader.layout.details;
        let bytes = self.reader.memory.bytes(at.plus(of.datetime_data), 10)?;
        let numbers: Vec<u32> = day(&bytes).into_iter().chain(clock(&bytes[4..])).collect();
        self.numbers(&look.class.c_name, &numbers);
        self.fold(at.plus(of.datetime_fold))?;
        self.time_zone(at, of.datetime_zone)?;
        self.out.form(")");
        Ok(())
    }

    fn has_zone(&self, at: Address) -> Result<bool, Unreadable> {
        let flag = at.plus(self.reader.layout.details.has_zone);
        Ok(self.reader.memory.bytes(flag, 1)? != [0])
    }

    fn time_zone(&mut self, at: Address, place: u64) -> Result<(), Unreadable> {
        if self.has_zone(at)? {
            let zone = self.reader.memory.pointer(at.plus(place))?;
            self.out.form(", tzinfo=");
            self.value(zone);
        }
        Ok(())
    }

    fn fold(&mut self, place: Address) -> Result<(), Unreadable> {
        if self.reader.memory.bytes(place, 1)? == [1] {
            self.out.form(", fold=1");
        }
        Ok(())
    }

    pub(super) fn delta(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let bytes = self.reader.memory.bytes(at.plus(self.reader.layout.details.delta_days), 12)?;
        let parts: Vec<i32> =
            bytes.chunks_exact(4).map(|b| b.try_into().map_or(0, i32::from_le_bytes)).collect();
        let text = if self.reader.layout.shape.reprs.delta_words {
            let words = ["days", "seconds", "microseconds"].into_iter().zip(&parts);
            let said: Vec<String> = words
                .filter(|(_, value)| **value != 0)
                .map(|(word, value)| format!("{word}={value}"))
                .collect();
            if said.is_empty() { "0".to_owned() } else { said.join(", ") }
        } else {
            let last = parts.iter().rposition(|part| *part != 0).unwrap_or(0);
            let said: Vec<String> = parts[..=last].iter().map(i32::to_string).collect();
            said.join(", ")
        };
        self.out.form(&format!("{}({text})", look.class.c_name));
        Ok(())
    }

    pub(super) fn zone(&mut self, at: Address, look: &Look) -> Result<(), Unreadable> {
        let of = &self.reader.layout.details;
        let memory = self.reader.memory;
        let offset = memory.pointer(at.plus(of.unlisted.zone_offset))?;
        let name = memory.pointer(at.plus(of.unlisted.zone_name))?;
        let utc = memory.bytes(offset.plus(of.delta_days), 12)? == [0; 12];
        if name.is_null() && utc {
            self.out.form("datetime.timezone.utc");
            return Ok(());
        }
        self.out.form(&format!("{}(", look.class.c_name));
        self.value(offset);
        if !name.is_null() {
            self.out.form(", ");
            self.value(name);
        }
        self.out.form(")");
        Ok(())
    }

    pub(super) fn decimal(&mut self, at: Address) -> Result<(), Unreadable> {
        const WORDS_AT_MOST: usize = 64;
        const DIGITS: usize = 19;
        let of = &self.reader.layout.details.unlisted;
        let memory = self.reader.memory;
        let flags = memory.bytes(at.plus(of.decimal_flags), 1)?[0];
        let exponent = memory.word(at.plus(of.decimal_exponent))? as i64;
        let length = memory.word(at.plus(of.decimal_length))?;
        let first = memory.pointer(at.plus(of.decimal_words))?;
        let taken = usize::try_from(length).unwrap_or(usize::MAX).min(WORDS_AT_MOST);
        if taken as u64 != length {
            self.out.form("<decimal.Decimal of ");
            let digits = memory.word(at.plus(of.decimal_digits))?;
            self.out.form(&format!("{digits} digits>"));
            self.out.is_cut();
            return Ok(());
        }
        let words: Vec<u64> = words(&memory.bytes(first, taken * 8)?).collect();
        let digits: String = words.iter().rev().map(|word| format!("{word:0DIGITS$}")).collect();
        let digits = match digits.trim_start_matches('0') {
            "" if flags & 0xe == 0 => "0",
            rest => rest,
        };
        let text = numbers::decimal(&Decimal { flags, exponent, digits: digits.to_owned() });
        self.out.form("Decimal('");
        self.out.content(&text);
        self.out.form("')");
        Ok(())
    }
}

fn day(bytes: &[u8]) -> Vec<u32> {
    let [high, low, month, day] = [0, 1, 2, 3].map(|i| bytes.get(i).copied().map_or(0, u32::from));
    vec![high << 8 | low, month, day]
}

/// Hour and minute, and what is behind them if it is not zero.
fn clock(bytes: &[u8]) -> Vec<u32> {
    let byte = |index: usize| bytes.get(index).copied().map_or(0, u32::from);
    let micro = byte(3) << 16 | byte(4) << 8 | byte(5);
    let all = vec![byte(0), byte(1), byte(2), micro];
    let wanted = if micro != 0 {
        4
    } else if byte(2) != 0 {
        3
    } else {
        2
    };
    all.into_iter().take(wanted).collect()
}
