//! From the command line to what is wanted of a job.

use clap::{Args, ValueEnum};
use davit_proto::v1;

use crate::args::{duration, key_value};
use crate::error::Error;

/// What a job has beyond what its tasks run. What is not given stays as it is, or gets its default.
#[derive(Debug, Args)]
#[command(next_help_heading = "When and how often it runs")]
pub(super) struct JobArgs {
    /// How many indexes have to complete, each with a task of its own that is told it as DAVIT_INDEX; 1 unless set
    #[arg(long, value_name = "N")]
    completions: Option<u32>,
    /// How many tasks there are at one time; all unless set
    #[arg(long, value_name = "N")]
    parallelism: Option<u32>,
    /// Arguments of one index, split as a shell does ('--title "two words"'), put after the command; the first is for index 0.
    /// May be repeated, and sets how many indexes there are
    #[arg(long, value_name = "ARGUMENTS", value_parser = index_arguments)]
    #[arg(conflicts_with = "completions", allow_hyphen_values = true)]
    each: Vec<v1::IndexArguments>,
    /// How often an index is tried again; 3 unless set
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// How many indexes may fail before the run does; 0 unless set
    #[arg(long, value_name = "N")]
    max_failed: Option<u32>,
    /// A run that takes longer fails
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<prost_types::Duration>,
    /// So long after its end a run goes with its tasks; a job without a schedule as a whole
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<prost_types::Duration>,
    /// When it runs, as cron has it: `30 3 * * 1-5`, or `@daily`
    #[arg(long, value_name = "SCHEDULE")]
    cron: Option<String>,
    /// Of the schedule, such as Europe/Berlin; UTC unless set
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// What follows when its time comes while it still runs; forbid unless set
    #[arg(long, value_enum, value_name = "RULE")]
    overlap: Option<Overlap>,
    /// A run that could not begin so long after its time is left out
    #[arg(long, value_name = "TIME", value_parser = duration)]
    start_deadline: Option<prost_types::Duration>,
    /// What follows when its time passed while the manager was away; run-once unless set
    #[arg(long, value_enum, value_name = "RULE")]
    missed: Option<Missed>,
    /// How many completed runs are kept; 3 unless set
    #[arg(long, value_name = "N")]
    keep_completed: Option<u32>,
    /// How many other runs that ended are kept; 3 unless set
    #[arg(long, value_name = "N")]
    keep_failed: Option<u32>,
    /// Set a label of the job itself. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    job_label: Vec<(String, String)>,
}

/// What follows when the time of a run comes while another goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Overlap {
    /// Both go on
    Allow,
    /// The new one is left out
    Forbid,
    /// The other is stopped first
    Replace,
}

/// What follows when times have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Missed {
    /// Nothing
    Skip,
    /// One run for all of them
    RunOnce,
}

impl JobArgs {
    /// Sets what is given.
    ///
    /// # Errors
    /// When something of a schedule is given, but there is none.
    pub(super) fn over(self, spec: &mut v1::JobSpec) -> Result<(), Error> {
        let all_at_once = spec.parallelism == spec.completions;
        if !self.each.is_empty() {
            (spec.completions, spec.arguments) = (None, self.each);
        }
        if self.completions.is_some() {
            (spec.completions, spec.arguments) = (self.completions, Vec::new());
        }
        if all_at_once && (!spec.arguments.is_empty() || self.completions.is_some()) {
            // As many as before would be a bound that nobody asked for.
            spec.parallelism = None;
        }
        spec.parallelism = self.parallelism.or(spec.parallelism);
        spec.max_retries = self.retries.or(spec.max_retries);
        spec.max_failed_indexes = self.max_failed.unwrap_or(spec.max_failed_indexes);
        spec.deadline = self.deadline.or(spec.deadline);
        spec.time_to_live = self.ttl.or(spec.time_to_live);
        spec.labels.extend(self.job_label);
        let history = spec.history.get_or_insert_default();
        history.succeeded = self.keep_completed.or(history.succeeded);
        history.failed = self.keep_failed.or(history.failed);
        let of_schedules = [
            (self.time_zone.is_some(), "--time-zone"),
            (self.overlap.is_some(), "--overlap"),
            (self.start_deadline.is_some(), "--start-deadline"),
            (self.missed.is_some(), "--missed"),
        ];
        if self.cron.is_none() && spec.schedule.is_none() {
            let Some((_, option)) = of_schedules.into_iter().find(|(is_given, _)| *is_given) else { return Ok(()) };
            let problem = format!(
                "{option} is of a schedule, and there is none: give one with --cron, such as --cron '30 3 * * *'"
            );
            return Err(Error::usage(problem));
        }
        let schedule = spec.schedule.get_or_insert_default();
        schedule.cron = self.cron.unwrap_or_else(|| std::mem::take(&mut schedule.cron));
        schedule.time_zone = self.time_zone.unwrap_or_else(|| std::mem::take(&mut schedule.time_zone));
        schedule.start_deadline = self.start_deadline.or(schedule.start_deadline);
        if let Some(overlap) = self.overlap {
            schedule.overlap = i32::from(match overlap {
                Overlap::Allow => v1::JobOverlap::Allow,
                Overlap::Forbid => v1::JobOverlap::Forbid,
                Overlap::Replace => v1::JobOverlap::Replace,
            });
        }
        if let Some(missed) = self.missed {
            schedule.missed_runs = i32::from(match missed {
                Missed::Skip => v1::MissedRuns::Skip,
                Missed::RunOnce => v1::MissedRuns::RunOnce,
            });
        }
        Ok(())
    }
}

/// Reads words as a shell does, but knows no comments.
fn index_arguments(text: &str) -> Result<v1::IndexArguments, String> {
    /// No argument on a command line has it.
    const HASH: &str = "\0";
    let words = shlex::split(&text.replace('#', HASH)).ok_or("a quote has no end, or nothing follows a backslash")?;
    Ok(v1::IndexArguments { values: words.into_iter().map(|word| word.replace(HASH, "#")).collect() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        job: JobArgs,
    }

    fn over(line: &[&str], mut spec: v1::JobSpec) -> v1::JobSpec {
        Line::try_parse_from(["job"].iter().chain(line)).unwrap().job.over(&mut spec).unwrap();
        spec
    }

    #[test]
    fn what_is_not_given_stays() {
        let first = over(&["--completions", "4", "--parallelism", "2", "--cron", "@daily"], v1::JobSpec::default());
        assert_eq!((first.completions, first.parallelism), (Some(4), Some(2)));
        let second = over(&["--time-zone", "Europe/Berlin", "--overlap", "replace", "--retries", "0"], first);
        let third = over(&["--completions", "9"], second.clone());
        assert_eq!((third.completions, third.parallelism), (Some(9), Some(2)));
        let all = v1::JobSpec { completions: Some(4), parallelism: Some(4), ..Default::default() };
        assert_eq!(over(&["--completions", "9"], all).parallelism, None, "all at once, as before");
        let schedule = second.schedule.as_ref().unwrap();
        assert_eq!((schedule.cron.as_str(), schedule.time_zone.as_str()), ("@daily", "Europe/Berlin"));
        assert_eq!((schedule.overlap(), second.max_retries), (v1::JobOverlap::Replace, Some(0)));
        assert_eq!((second.completions, second.parallelism), (Some(4), Some(2)));
    }

    #[test]
    fn each_index_may_have_arguments() {
        let spec = over(&["--each", "--from 0", "--each", "--from 50"], v1::JobSpec::default());
        let values: Vec<_> = spec.arguments.into_iter().map(|arguments| arguments.values).collect();
        assert_eq!(values, [["--from", "0"], ["--from", "50"]]);
        assert!(Line::try_parse_from(["job", "--each", "a", "--completions", "2"]).is_err());
    }

    #[test]
    fn arguments_are_split_as_a_shell_does() {
        for (text, expected) in [
            ("", &[][..]),
            (" a  b ", &["a", "b"]),
            ("--title \"two words\" 'it''s'", &["--title", "two words", "its"]),
            ("a\\ b '' #1", &["a b", "", "#1"]),
        ] {
            assert_eq!(index_arguments(text).unwrap().values, expected, "{text}");
        }
        assert!(index_arguments("'a").is_err() && index_arguments("a\\").is_err());
    }

    #[test]
    fn what_is_of_a_schedule_needs_one() {
        let line = Line::try_parse_from(["job", "--overlap", "allow"]).unwrap();
        let error = line.job.over(&mut v1::JobSpec::default()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("--overlap is of a schedule, and there is none: "), "{error}");
        let nightly = v1::JobSpec { schedule: Some(v1::JobSchedule::default()), ..Default::default() };
        assert_eq!(over(&["--overlap", "allow"], nightly).schedule.unwrap().overlap(), v1::JobOverlap::Allow);
    }
}
