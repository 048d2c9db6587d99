//! Lengths of time, amounts of bytes and of cpu, as Compose files write them.

use std::time::Duration;

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a length of time.
    #[error("is not a length of time; write it like `30s`, `1m30s`, `1.5h` or `200ms`")]
    Duration,
    /// A number that does not say of what.
    #[error("needs a unit, as in `{0}s`; known are `us`, `ms`, `s`, `m`, `h`, `d`, `w`")]
    DurationWithoutUnit(String),
    /// Not an amount of bytes.
    #[error("is not an amount of bytes; write it like `512m`, `1.5gb` or `1048576`")]
    Bytes,
    /// Not an amount of cpu.
    #[error("is not a number of cpus; write it like `0.5` or `2`")]
    Cpus,
    /// More than any machine has, or than any time lasts.
    #[error("is too large")]
    TooLarge,
    /// A negative number.
    #[error("must not be negative")]
    Negative,
}

/// One unit's name, and its length in nanoseconds.
const TIME_UNITS: [(&str, f64); 9] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
    ("w", 604_800e9),
];

/// No length of time is longer: a hundred years.
const MAX_NANOS: f64 = 100.0 * 365.25 * 86_400e9;

/// No amount is larger: an exbibyte.
const MAX_BYTES: f64 = (1u64 << 60) as f64;

/// No task has more than a million cpus.
const MAX_CPUS: f64 = 1e6;

/// Reads `1m30s`, `1.5h`, `200ms`, and `0`.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(UnitError::Negative);
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(UnitError::DurationWithoutUnit(text.to_owned()));
    }
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or(UnitError::Duration)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, length) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Duration)?;
        nanos += number * length;
        rest = after;
    }
    if text.is_empty() {
        return Err(UnitError::Duration);
    }
    if nanos > MAX_NANOS {
        return Err(UnitError::TooLarge);
    }
    // Whole nanoseconds, so that 0.1s is not 99.999999ms.
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// Reads `512m`, `1.5gb`, `64k`, `10b`, and a plain number of bytes. A kilobyte has 1024 bytes, as in Compose.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(UnitError::Negative);
    }
    let (number, unit) = split_number(text).ok_or(UnitError::Bytes)?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(UnitError::Bytes),
    };
    let bytes = number * (1u64 << shift) as f64;
    if bytes > MAX_BYTES { Err(UnitError::TooLarge) } else { Ok(bytes.round() as u64) }
}

/// Reads a number of cpus and gives thousandths; what is above zero is at least one thousandth.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_cpu_millis(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(UnitError::Negative);
    }
    let (cpus, rest) = split_number(text).ok_or(UnitError::Cpus)?;
    if !rest.is_empty() {
        return Err(UnitError::Cpus);
    }
    if cpus > MAX_CPUS { Err(UnitError::TooLarge) } else { Ok(ceil_unless_close(cpus * 1000.0) as u64) }
}

/// Up to the next whole number, unless it is above one only because decimals are no sums of powers of two.
fn ceil_unless_close(number: f64) -> f64 {
    let nearest = number.round();
    if (number - nearest).abs() < 1e-6 { nearest } else { number.ceil() }
}

/// Splits a decimal number off the front.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let number = number.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read() {
        for (text, expected) in [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("10s", Duration::from_secs(10)),
            ("1m30s", Duration::from_secs(90)),
            ("1.5h", Duration::from_secs(5400)),
            ("1h5m30s20ms", Duration::from_millis(3_930_020)),
            ("200ms", Duration::from_millis(200)),
            ("0.1s", Duration::from_millis(100)),
            ("10us", Duration::from_micros(10)),
            ("10µs", Duration::from_micros(10)),
            ("2d", Duration::from_secs(172_800)),
            ("1w", Duration::from_secs(604_800)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "10x", "1 s", "1m s", "m1", "1..5s", "ten", "1e3s", "inf", "NaN"] {
            assert_eq!(parse_duration(text), Err(UnitError::Duration), "{text}");
        }
        assert_eq!(parse_duration("-1s"), Err(UnitError::Negative));
        assert_eq!(parse_duration("30"), Err(UnitError::DurationWithoutUnit("30".to_owned())));
        assert_eq!(parse_duration("99999999999h"), Err(UnitError::TooLarge));
    }

    #[test]
    fn amounts_of_bytes_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("2b", 2),
            ("1024kb", 1 << 20),
            ("2048k", 2 << 20),
            ("300m", 300 << 20),
            ("1gb", 1 << 30),
            ("1.5G", 3 << 29),
            ("512M", 512 << 20),
            ("50MiB", 50 << 20),
            ("1048576", 1 << 20),
            ("64 mb", 64 << 20),
        ] {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "1x", "1 2", "ten", "1.2.3m"] {
            assert_eq!(parse_bytes(text), Err(UnitError::Bytes), "{text}");
        }
        assert_eq!(parse_bytes("-1m"), Err(UnitError::Negative));
        assert_eq!(parse_bytes("1025p"), Err(UnitError::TooLarge));
    }

    #[test]
    fn amounts_of_cpu_are_read() {
        for (text, expected) in [("0.5", 500), ("2", 2000), (".25", 250), ("0.1", 100), ("0.0001", 1), ("0", 0)] {
            assert_eq!(parse_cpu_millis(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_cpu_millis("0.29"), Ok(290));
        assert_eq!(parse_cpu_millis("500m"), Err(UnitError::Cpus));
        assert_eq!(parse_cpu_millis("1e9"), Err(UnitError::Cpus));
        assert_eq!(parse_cpu_millis("99999999"), Err(UnitError::TooLarge));
    }
}
