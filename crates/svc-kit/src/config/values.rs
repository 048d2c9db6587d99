//! Values as people write them. Each reads from text (flag, variable) and from TOML, and prints what it reads.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not such a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseValueError {
    /// What was given.
    pub text: String,
    /// What would be right.
    pub expected: &'static str,
}

fn not(text: &str, expected: &'static str) -> ParseValueError {
    ParseValueError { text: text.to_owned(), expected }
}

/// A span of time: `500ms`, `1s`, `1m 30s`, `24h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// So many thousandths of a second.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl FromStr for HumanDuration {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = text.parse::<SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
        duration.map(Self).ok_or_else(|| not(text, "a duration such as 500ms, 1s, 1m 30s or 24h"))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(signed) => write!(f, "{signed:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

/// An amount of bytes: `1000000`, `512MiB`, `2GB`. A bare letter counts in 1024s as Docker does: `512m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const KIB: u64 = 1 << 10;
const BINARY_UNITS: [(&str, u64); 5] =
    [("PiB", KIB.pow(5)), ("TiB", KIB.pow(4)), ("GiB", KIB.pow(3)), ("MiB", KIB.pow(2)), ("KiB", KIB)];

impl FromStr for ByteSize {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || not(text, "a size such as 1000000, 512MiB, 1.5GiB or 2GB");
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "ki" | "kib" => KIB,
            "m" | "mi" | "mib" => KIB.pow(2),
            "g" | "gi" | "gib" => KIB.pow(3),
            "t" | "ti" | "tib" => KIB.pow(4),
            "p" | "pi" | "pib" => KIB.pow(5),
            "kb" => 1000,
            "mb" => 1000_u64.pow(2),
            "gb" => 1000_u64.pow(3),
            "tb" => 1000_u64.pow(4),
            "pb" => 1000_u64.pow(5),
            _ => return Err(error()),
        };
        scaled(number, factor).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BINARY_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Thousandths of a core. Written in cores, `1.5`, or in thousandths, `1500m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CpuMillis(pub u64);

impl FromStr for CpuMillis {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let millis = match trimmed.strip_suffix('m') {
            Some(millis) => scaled(millis, 1),
            None => scaled(trimmed, 1000),
        };
        millis.map(Self).ok_or_else(|| not(text, "a number of cores such as 2, 1.5 or 500m (thousandths)"))
    }
}

impl fmt::Display for CpuMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cores, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return write!(f, "{cores}");
        }
        let rest = format!("{rest:03}");
        write!(f, "{cores}.{}", rest.trim_end_matches('0'))
    }
}

/// Decimal digits times a factor, exactly; `None` unless a whole number comes out.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let dangling = number.contains('.') && fraction.is_empty();
    if whole.is_empty() || dangling || fraction.len() > 15 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let product = digits.checked_mul(u128::from(factor))?;
    if product % denominator != 0 {
        return None;
    }
    u64::try_from(product / denominator).ok()
}

/// Labels: `zone=a,disk=ssd`; in TOML also a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(pub BTreeMap<String, String>);

impl FromStr for Labels {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a list of labels such as zone=a,disk=ssd, each key once";
        let mut labels = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| not(text, EXPECTED))?;
            let key = key.trim();
            if key.is_empty() || labels.insert(key.to_owned(), value.trim().to_owned()).is_some() {
                return Err(not(text, EXPECTED));
            }
        }
        Ok(Self(labels))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a table of texts, or a text such as \"zone=a,disk=ssd\"")]
        enum Raw {
            Table(BTreeMap<String, String>),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Table(table) => Ok(Self(table)),
            Raw::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// A TOML value that is text or a bare number; a number reads as its digits would.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or a number with its unit in quotes")]
enum TextOrNumber {
    Text(String),
    Integer(u64),
    Float(f64),
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = match TextOrNumber::deserialize(deserializer)? {
                    TextOrNumber::Text(text) => text,
                    TextOrNumber::Integer(number) => number.to_string(),
                    TextOrNumber::Float(number) => number.to_string(),
                };
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

serde_as_text!(HumanDuration);
serde_as_text!(ByteSize);
serde_as_text!(CpuMillis);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, millis) in [("500ms", 500), ("1s", 1000), ("5m", 300_000), ("1m 30s", 90_000), ("24h", 86_400_000)] {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!(duration.0.as_millis(), millis, "{text}");
            assert_eq!(duration.to_string().parse::<HumanDuration>().unwrap(), duration);
        }
        for bad in ["", "5", "-1s", "soon", "1 parsec"] {
            assert!(bad.parse::<HumanDuration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in [
            ("1000000", 1_000_000, "1000000"),
            ("512MiB", 512 << 20, "512MiB"),
            ("512m", 512 << 20, "512MiB"),
            ("1.5 GiB", 1536 << 20, "1536MiB"),
            ("2GB", 2_000_000_000, "1953125KiB"),
            ("0", 0, "0"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, printed), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.2.3", "2 apples", "1e3", "99999999PiB", "1.", ".5"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cores_read_and_print() {
        for (text, millis, printed) in
            [("2", 2000, "2"), ("1.5", 1500, "1.5"), ("0.05", 50, "0.05"), ("500m", 500, "0.5")]
        {
            let cpu: CpuMillis = text.parse().unwrap();
            assert_eq!((cpu.0, cpu.to_string().as_str()), (millis, printed), "{text}");
        }
        for bad in ["", "m", "0.0005", "-1", "two"] {
            assert!(bad.parse::<CpuMillis>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_read_and_print() {
        let labels: Labels = "zone=a, disk=ssd,empty=".parse().unwrap();
        assert_eq!(labels.to_string(), "disk=ssd,empty=,zone=a");
        assert_eq!("".parse::<Labels>().unwrap(), Labels::default());
        for bad in ["zone", "=a", "a=1,a=2"] {
            assert!(bad.parse::<Labels>().is_err(), "{bad}");
        }
    }

    #[test]
    fn toml_takes_numbers_texts_and_tables() {
        #[derive(Deserialize)]
        struct File {
            cpu: CpuMillis,
            more_cpu: CpuMillis,
            memory: ByteSize,
            labels: Labels,
            same: Labels,
        }
        let text = "cpu = 2\nmore_cpu = 1.5\nmemory = \"1GiB\"\nsame = \"zone=a\"\n[labels]\nzone = \"a\"\n";
        let file: File = toml::from_str(text).unwrap();
        assert_eq!((file.cpu.0, file.more_cpu.0, file.memory.0), (2000, 1500, 1 << 30));
        assert_eq!(file.labels, file.same);
    }
}
