//! Durations as users write them: `250ms`, `30s`, `10m`; a bare number is seconds.

use std::time::Duration;

use thiserror::Error;

/// The longest that is accepted: more is a slip of the finger, and instants must not overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum DurationError {
    #[error("`{0}` is not a duration: write 250ms, 30s, 10m or a number of seconds")]
    Malformed(String),
    #[error("a duration of zero is not possible here")]
    Zero,
    #[error("`{0}` is longer than a year")]
    TooLong(String),
}

/// Parses a duration longer than zero.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let units: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
        .unwrap_or((text, 1.0));
    // `f64::from_str` also takes `inf`, `nan`, `1e9` and signs, none of which is a duration.
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let points = number.bytes().filter(|byte| *byte == b'.').count();
    if digits == 0 || points > 1 || digits + points != number.len() {
        return Err(malformed());
    }
    let seconds = number.parse::<f64>().map_err(|_| malformed())? * factor;
    if seconds > LONGEST.as_secs_f64() {
        return Err(DurationError::TooLong(text.to_owned()));
    }
    let duration = Duration::from_secs_f64(seconds);
    if duration.is_zero() { Err(DurationError::Zero) } else { Ok(duration) }
}

/// A duration as one short word: `0.3 ms`, `4.2 s`, `12 m`, `3 h`, `9 d`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.9995 {
        let milliseconds = seconds * 1000.0;
        return if milliseconds < 9.95 {
            format!("{milliseconds:.1} ms")
        } else {
            format!("{milliseconds:.0} ms")
        };
    }
    match duration.as_secs() {
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{seconds:.0} s"),
        whole @ 120..7200 => format!("{} m", whole / 60),
        whole @ 7200..172_800 => format!("{} h", whole / 3600),
        whole => format!("{} d", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_contract_names() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("10m", 600_000),
            ("5", 5_000),
            ("0.5", 500),
            ("1.5s", 1_500),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "", "s", "ms", "-1", "+1", "1e3", "inf", "nan", "1 s", "1.2.3", "1d", "ten", ".",
            "1sms",
        ] {
            assert_eq!(parse(text), Err(DurationError::Malformed(text.to_owned())), "{text}");
        }
        assert_eq!(parse("0"), Err(DurationError::Zero));
        assert_eq!(parse("0ms"), Err(DurationError::Zero));
        assert!(matches!(parse("99999999999999999999"), Err(DurationError::TooLong(_))));
    }

    #[test]
    fn shortens() {
        for (milliseconds, text) in [
            (0.31, "0.3 ms"),
            (12.4, "12 ms"),
            (999.7, "1.0 s"),
            (4_200.0, "4.2 s"),
            (41_000.0, "41 s"),
            (600_000.0, "10 m"),
            (10_800_000.0, "3 h"),
            (800_000_000.0, "9 d"),
        ] {
            assert_eq!(short(Duration::from_secs_f64(milliseconds / 1000.0)), text);
        }
    }
}
