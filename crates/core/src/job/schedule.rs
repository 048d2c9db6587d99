//! When a job runs: fields as cron has them, in a time zone.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{CivilDateTime, Cron, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// The longest fields, in bytes.
const MAX_CRON_BYTES: usize = 256;

/// The fields as people know them, and what each may be. The first one need not be there.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day of the week", "0 to 7, or SUN to SAT"),
];

/// A time that is seen no later than this was not missed.
pub const ON_TIME: SignedDuration = SignedDuration::from_secs(10);

/// What follows when the time of a run comes while another goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// Both go on.
    Allow,
    /// The new one is left out.
    #[default]
    Forbid,
    /// The other is stopped first.
    Replace,
}

/// What follows when times have passed before they were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissedRuns {
    /// Nothing.
    Skip,
    /// One run for all of them.
    #[default]
    RunOnce,
}

/// When a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The times.
    pub times: Times,
    /// What follows when one comes while a run goes on.
    pub overlap: Overlap,
    /// How long after its time a run may begin.
    pub start_deadline: Option<Duration>,
    /// What follows when times have passed before they were seen.
    pub missed_runs: MissedRuns,
}

/// Times of a schedule.
#[derive(Clone)]
pub struct Times {
    cron: Cron,
    /// As it was written.
    text: String,
    zone: TimeZone,
    zone_name: String,
}

/// Why there are no such times.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There are no fields.
    #[error("a cron expression is needed: five fields, such as `30 3 * * *`, or `@daily`")]
    Missing,
    /// The fields can't be read.
    #[error(
        "`{text}` is not a schedule: {problem}; write five fields as cron has them, such as `30 3 * * 1-5`, or `@daily`"
    )]
    Cron {
        /// The fields.
        text: String,
        /// What is wrong with them.
        problem: String,
    },
    /// There is no such time zone.
    #[error("`{zone}` is not a time zone: write it like `Europe/Berlin` or `UTC`")]
    Zone {
        /// What was written.
        zone: String,
    },
    /// No time is one of it.
    #[error("`{text}` never comes")]
    Never {
        /// The fields.
        text: String,
    },
}

impl Times {
    /// Reads fields and the name of a time zone; empty: UTC.
    ///
    /// # Errors
    /// When they can't be read, or no time is one of them.
    pub fn new(cron: &str, zone_name: &str) -> Result<Self, ScheduleError> {
        if cron.trim().is_empty() {
            return Err(ScheduleError::Missing);
        }
        let text: String = cron.chars().take(MAX_CRON_BYTES).collect();
        let wrong = |problem: String| ScheduleError::Cron { text: text.clone(), problem };
        if cron.len() > MAX_CRON_BYTES {
            return Err(wrong(format!("it is longer than {MAX_CRON_BYTES} bytes")));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let read = parser.parse(cron).map_err(|error| wrong(problem(cron, &parser, &error)))?;
        let zone = match zone_name {
            "" => TimeZone::UTC,
            // The bundled database alone is asked: the same schedule has the same times on each machine.
            name => TimeZone::get(name).map_err(|_| ScheduleError::Zone { zone: name.chars().take(64).collect() })?,
        };
        let times = Self { cron: read, text: cron.trim().to_owned(), zone, zone_name: zone_name.to_owned() };
        match times.after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(times),
            None => Err(ScheduleError::Never { text }),
        }
    }

    /// The first time after another; `None`: there is none.
    #[must_use]
    pub fn after(&self, after: Timestamp) -> Option<Timestamp> {
        let start = Instant { at: after, zone: self.zone.clone() };
        let found = self.cron.find_next_occurrence(&start, false).ok()?;
        // It is of whole seconds; what follows a part of one may be that very second.
        Some(found.at).filter(|at| *at > after)
    }

    /// The last time up to another, itself included, of those after `after`.
    #[must_use]
    pub fn last_until(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let start = Instant { at: until, zone: self.zone.clone() };
        let found = self.cron.find_previous_occurrence(&start, true).ok()?;
        Some(found.at).filter(|at| *at > after && *at <= until)
    }

    /// The fields as they were written.
    #[must_use]
    pub fn cron(&self) -> &str {
        &self.text
    }

    /// The name of the time zone; empty: UTC.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }
}

/// What is wrong with what the parser refused. It tells no field, so each is tried alone.
fn problem(cron: &str, parser: &CronParser, error: &CronError) -> String {
    if cron.contains('@') {
        return "such names are @hourly, @daily, @weekly, @monthly and @yearly".to_owned();
    }
    let fields: Vec<&str> = cron.split_whitespace().collect();
    let known = match fields.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        1 => return "it has one field".to_owned(),
        count => return format!("it has {count} fields"),
    };
    for (place, (field, (name, range))) in fields.iter().zip(known).enumerate() {
        let mut alone = vec!["*"; fields.len()];
        alone[place] = field;
        if parser.parse(&alone.join(" ")).is_err() {
            return format!("the {name} can't be `{field}`, it is {range}");
        }
    }
    error.to_string().trim_end_matches('.').to_owned()
}

impl PartialEq for Times {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.zone_name) == (&other.text, &other.zone_name)
    }
}

impl Eq for Times {}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Times({:?}, {:?})", self.text, self.zone_name)
    }
}

impl FromStr for Times {
    type Err = ScheduleError;

    /// Fields in UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text, "")
    }
}

/// A moment, on the clocks of a time zone.
#[derive(Debug, Clone)]
struct Instant {
    at: Timestamp,
    zone: TimeZone,
}

impl Instant {
    fn with(&self, at: Result<Timestamp, jiff::Error>) -> Result<Self, CronError> {
        Ok(Self { at: at.map_err(|_| CronError::InvalidTime)?, zone: self.zone.clone() })
    }
}

impl CronDateTime for Instant {
    fn to_civil(&self) -> CivilDateTime {
        let local = self.zone.to_datetime(self.at);
        let part = |part: i8| u32::try_from(part).unwrap_or_default();
        let (month, day) = (part(local.month()), part(local.day()));
        let (hour, minute, second) = (part(local.hour()), part(local.minute()), part(local.second()));
        CivilDateTime::new(
            croner::CivilDate::from_parts_unchecked(i32::from(local.year()), month, day),
            croner::CivilTime::from_parts_unchecked(hour, minute, second),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        let days = self.zone.to_datetime(self.at).weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::try_from(days).unwrap_or_default())
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidTime);
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (part(civil.month())?, part(civil.day())?);
        let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
        let local = DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| CronError::InvalidDate)?;
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(self.with(ambiguous.unambiguous())?),
            AmbiguousOffset::Fold { .. } => {
                let earlier = self.with(ambiguous.earlier())?;
                Resolution::Ambiguous(earlier, self.with(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.with(self.at.checked_add(SignedDuration::from_secs(seconds))).ok()
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let times = Times::new(cron, zone).unwrap();
        let all = std::iter::successors(times.after(at(after)), |last| times.after(*last));
        all.take(count).map(|time| time.to_string()).collect()
    }

    #[test]
    fn times_follow_each_other() {
        let nightly = next("30 3 * * *", "", "2026-02-27T03:30:00Z", 3);
        assert_eq!(nightly, ["2026-02-28T03:30:00Z", "2026-03-01T03:30:00Z", "2026-03-02T03:30:00Z"]);
        let often = next("*/20 * * * * *", "", "2026-01-01T00:00:00.5Z", 3);
        assert_eq!(often, ["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2026-01-01T00:01:00Z"]);
        assert_eq!(next("@weekly", "", "2026-01-01T00:00:00Z", 1), ["2026-01-04T00:00:00Z"]);
        let either = next("0 0 13 * FRI", "", "2026-03-01T00:00:00Z", 3);
        assert_eq!(either, ["2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"]);
    }

    #[test]
    fn a_time_zone_has_its_own_days() {
        let berlin = next("0 9 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3);
        // Summer time begins on the 29th.
        assert_eq!(berlin, ["2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z", "2026-03-30T07:00:00Z"]);
    }

    #[test]
    fn a_time_that_is_left_out_comes_after_the_gap_and_one_that_is_repeated_comes_once() {
        let gap = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(gap, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let fold = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(fold, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn the_last_time_is_found_however_long_ago_one_looked() {
        let times: Times = "0 * * * *".parse().unwrap();
        let (long_ago, now) = (at("2020-01-01T00:00:00Z"), at("2026-01-01T10:59:59Z"));
        assert_eq!(times.last_until(long_ago, now), Some(at("2026-01-01T10:00:00Z")));
        assert_eq!(times.last_until(at("2026-01-01T10:00:00Z"), now), None);
        assert_eq!(times.last_until(long_ago, at("2026-01-01T10:00:00Z")), Some(at("2026-01-01T10:00:00Z")));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for (cron, zone, expected) in [
            (" ", "", "a cron expression is needed: five fields, such as `30 3 * * *`"),
            ("* * *", "", "`* * *` is not a schedule: it has 3 fields; write five"),
            ("61 * * * *", "", "is not a schedule: the minute can't be `61`, it is 0 to 59; write five"),
            ("0 61 * * * *", "", "the minute can't be `61`"),
            ("0 0 0 * *", "", "the day of the month can't be `0`, it is 1 to 31"),
            ("0 0 * 13 *", "", "the month can't be `13`, it is 1 to 12, or JAN to DEC"),
            ("0 0 * * 1-9", "", "the day of the week can't be `1-9`, it is 0 to 7, or SUN to SAT"),
            ("0 0-x * * *", "", "the hour can't be `0-x`, it is 0 to 23"),
            ("*/0 * * * *", "", "the minute can't be `*/0`"),
            ("* * * * * * 2030", "", "it has 7 fields"),
            ("every day", "", "it has 2 fields"),
            ("@nightly", "", "such names are @hourly, @daily"),
            ("0 0 31 2 *", "", "never comes"),
            ("0 0 * * *", "Mars/Olympus", "`Mars/Olympus` is not a time zone"),
        ] {
            let error = Times::new(cron, zone).unwrap_err().to_string();
            assert!(error.contains(expected), "{cron}: {error}");
        }
        assert!(Times::new(&"*".repeat(1000), "").is_err());
    }
}
