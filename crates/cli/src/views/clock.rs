//! Moments in UTC, as text. A static program has no time zones.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    year: u64,
    month: u64,
    day: u64,
    second_of_day: u64,
    millisecond: u32,
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut left = since.as_secs() / 86_400;
        let mut year = 1970;
        let leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        while left >= 365 + u64::from(leap(year)) {
            left -= 365 + u64::from(leap(year));
            year += 1;
        }
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while left >= lengths[month] {
            left -= lengths[month];
            month += 1;
        }
        Self {
            year,
            month: month as u64 + 1,
            day: left + 1,
            second_of_day: since.as_secs() % 86_400,
            millisecond: since.subsec_millis(),
        }
    }
}

impl Moment {
    pub(crate) fn now() -> Self {
        SystemTime::now().into()
    }

    fn clock(self) -> String {
        let second = self.second_of_day;
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }

    /// `2026-11-20T10:00:00.123Z`
    pub(crate) fn iso(self) -> String {
        let Self { year, month, day, millisecond, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{}.{millisecond:03}Z", self.clock())
    }

    /// `10:00:00.123Z`
    pub(crate) fn time_of_day(self) -> String {
        format!("{}.{:03}Z", self.clock(), self.millisecond)
    }

    /// `Nov 20 10:00:00`, the day padded with a space.
    pub(crate) fn for_syslog(self) -> String {
        let month = MONTHS[(self.month as usize - 1) % MONTHS.len()];
        format!("{month} {:>2} {}", self.day, self.clock())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_moments() {
        for (second, iso) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_164_800, "2024-02-29T00:00:00.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let moment = Moment::from(UNIX_EPOCH + Duration::from_millis(second * 1000 + 7));
            assert_eq!(moment.iso(), iso);
        }
        let moment = Moment::from(UNIX_EPOCH + Duration::from_secs(1_709_251_200));
        assert_eq!(moment.for_syslog(), "Mar  1 00:00:00");
        assert_eq!(moment.time_of_day(), "00:00:00.000Z");
    }
}
