//! `x-davit.job`, and which mode a service has.

use crate::keys;
use crate::model::{History, Job, MissedRuns, Mode, Overlap};
use crate::read::{Context, Item};

/// The longest schedule, in bytes.
const MAX_SCHEDULE_BYTES: usize = 256;

/// The longest name of a time zone, in bytes.
const MAX_TIME_ZONE_BYTES: usize = 64;

/// The mode that is written, or the one that a job has without.
pub(super) fn mode(written: Option<(Mode, Item)>, job: Option<&Job>, cx: &mut Context<'_>) -> Mode {
    match (written, job) {
        (Some((mode, item)), Some(_)) if !mode.is_job() => {
            item.bad(
                "the service is a job by its `x-davit.job`; write `replicated-job` or `global-job`, or nothing",
                cx,
            );
            mode
        }
        (Some((mode, _)), _) => mode,
        (None, Some(_)) => Mode::ReplicatedJob,
        (None, None) => Mode::Replicated,
    }
}

/// Reads `x-davit.job`.
pub(super) fn job(item: Item, cx: &mut Context<'_>) -> Option<Job> {
    const OVERLAPS: [(&str, Overlap); 3] =
        [("allow", Overlap::Allow), ("forbid", Overlap::Forbid), ("replace", Overlap::Replace)];
    const MISSED: [(&str, MissedRuns); 2] = [("skip", MissedRuns::Skip), ("run_once", MissedRuns::RunOnce)];
    let mut fields = item.fields(keys::JOB, cx)?;
    let schedule = fields.take("schedule");
    let has_schedule = schedule.is_some();
    let schedule = schedule.and_then(|item| item.parsed(schedule_text, cx));
    let mut only_scheduled = Vec::new();
    let mut scheduled = |name: &str| {
        let item = fields.take(name);
        only_scheduled.extend(item.as_ref().map(Item::place));
        item
    };
    let time_zone = scheduled("time_zone").and_then(|item| item.parsed(time_zone, cx));
    let overlap = scheduled("overlap").and_then(|item| item.one_of(&OVERLAPS, cx));
    let start_deadline = scheduled("start_deadline").and_then(|item| item.duration(cx));
    let missed_runs = scheduled("missed_runs").and_then(|item| item.one_of(&MISSED, cx));
    let history = scheduled("history").map(|item| history(item, cx)).unwrap_or_default();
    let completions = fields.take("completions").and_then(|item| item.count_from_one(cx));
    let parallelism = fields.take("parallelism").and_then(|item| item.count_from_one(cx));
    let retries = fields.take("retries").and_then(|item| item.count(cx));
    let deadline = fields.take("deadline").and_then(|item| item.duration(cx));
    let ttl = fields.take("ttl").and_then(|item| item.duration(cx));
    fields.finish(cx);
    if !has_schedule {
        for item in only_scheduled {
            item.bad("has a meaning with a `schedule` only", cx);
        }
    }
    Some(Job {
        completions,
        parallelism,
        retries,
        deadline,
        ttl,
        schedule,
        time_zone,
        overlap,
        start_deadline,
        missed_runs,
        history,
    })
}

fn history(item: Item, cx: &mut Context<'_>) -> History {
    let Some(mut fields) = item.fields(keys::HISTORY, cx) else { return History::default() };
    let succeeded = fields.take("succeeded").and_then(|item| item.count(cx));
    let failed = fields.take("failed").and_then(|item| item.count(cx));
    fields.finish(cx);
    History { succeeded, failed }
}

/// Checks the form of a schedule; what its fields mean is read by who runs it.
fn schedule_text(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "is not a schedule; write five fields as cron has them, such as `0 3 * * *`, or `@daily`";
    const NAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    let words: Vec<_> = text.split_whitespace().collect();
    let field = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*,-/?#".contains(&byte));
    let fields = matches!(words.len(), 5 | 6) && words.iter().all(field);
    let name = words.len() == 1 && NAMES.contains(&text.trim());
    if text.len() <= MAX_SCHEDULE_BYTES && (fields || name) { Ok(words.join(" ")) } else { Err(WRONG) }
}

fn time_zone(text: &str) -> Result<String, &'static str> {
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= MAX_TIME_ZONE_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+/".contains(&byte));
    if good { Ok(text.to_owned()) } else { Err("is not a time zone; write it like `Europe/Berlin` or `UTC`") }
}
