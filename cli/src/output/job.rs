//! Jobs and their runs for people.

use comfy_table::Cell;
use davit_core::words::counted;
use davit_proto::v1;
use jiff::Timestamp;

use super::describe::{Lines, add_spec};
use super::live::LiveLine;
use super::style::{Palette, Tone};
use super::table::{render, since, toned};
use super::text::{age, from_proto_time};

/// Jobs, one a line.
#[must_use]
pub fn jobs_table(jobs: &[v1::Job], now: Timestamp, palette: Palette) -> String {
    let rows = jobs.iter().map(|job| {
        let spec = job.spec.clone().unwrap_or_default();
        let newest = job.runs.last();
        let (state, tone) = newest.map_or(("-", Tone::Plain), |run| (state(run), tone(run)));
        let next = from_proto_time(job.next_run_time.as_ref()).map(|at| format!("in {}", age(now, at)));
        let schedule = spec.schedule.as_ref().map_or_else(|| "once".to_owned(), times);
        vec![
            Cell::new(&spec.name),
            Cell::new(schedule),
            Cell::new(newest.map_or_else(|| "-".to_owned(), |run| run.run.to_string())),
            toned(if job.deleting { "DELETING" } else { state }, tone),
            Cell::new(newest.map_or_else(|| "-".to_owned(), progress)),
            Cell::new(next.unwrap_or_else(|| if job.paused { "paused" } else { "-" }.to_owned())),
            Cell::new(since(job.create_time.as_ref(), now)),
            Cell::new(&job.trouble),
        ]
    });
    render(&["NAME", "SCHEDULE", "RUN", "STATE", "DONE", "NEXT", "AGE", "DETAIL"], rows, palette)
}

/// All that is known of a job.
#[must_use]
pub fn job(job: &v1::Job, now: Timestamp, palette: Palette) -> String {
    let spec = job.spec.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines.add("Job", &job.job_id);
    lines.add("Name", &spec.name);
    lines.add("Paused", if job.paused { "yes" } else { "" });
    lines.add("Deleting", if job.deleting { "yes" } else { "" });
    lines.add("Trouble", palette.paint(Tone::Bad, &job.trouble));
    if let Some(schedule) = &spec.schedule {
        lines.add("Schedule", schedule_text(schedule));
    }
    if let Some(at) = from_proto_time(job.next_run_time.as_ref()) {
        lines.add("Next run", format!("{at} (in {})", age(now, at)));
    }
    if let Some(missed) = &job.missed {
        let at = from_proto_time(missed.scheduled_time.as_ref()).map(|at| at.to_string()).unwrap_or_default();
        lines.add("Left out", format!("the run for {at}: {} ({} in all)", missed.reason, missed.count));
    }
    lines.add("App", &spec.app);
    lines.add_pairs("Labels", &spec.labels);
    let completions = spec.completions.unwrap_or(1);
    let (parallelism, retries) = (spec.parallelism.unwrap_or(completions), spec.max_retries.unwrap_or_default());
    let retries = counted(retries.into(), "time", "times");
    lines.add("Indexes", format!("{completions}, {parallelism} at a time, each tried again {retries}"));
    if let Some(task) = &spec.task {
        add_spec(&mut lines, task);
    }
    for run in job.runs.iter().rev() {
        lines.add("Run", run_text(run, now, palette));
    }
    lines.add_time("Created", job.create_time.as_ref(), now);
    lines.finish()
}

/// How far a run is, and why.
#[must_use]
pub fn run_line(name: &str, run: &v1::JobRun, palette: Palette) -> LiveLine {
    let state = palette.paint(tone(run), state(run));
    LiveLine { text: format!("{name}  run {}  {state}  {}", run.run, counts(run)), cause: run.reason.clone() }
}

fn run_text(run: &v1::JobRun, now: Timestamp, palette: Palette) -> String {
    let began = since(run.start_time.as_ref(), now);
    let why = if run.scheduled_time.is_some() { " by its schedule" } else { "" };
    let mut text =
        format!("{}: {}, {}, began {began} ago{why}", run.run, palette.paint(tone(run), state(run)), counts(run));
    for (ranges, what) in [(&run.failed, "failed"), (&run.stopped, "stopped")] {
        if !ranges.is_empty() {
            text.push_str(&format!("; {what} indexes: {}", ranges_text(ranges)));
        }
    }
    if !run.reason.is_empty() {
        text.push_str(&format!("; {}", run.reason));
    }
    text
}

fn counts(run: &v1::JobRun) -> String {
    let mut parts = vec![format!("{} of {} completed", run.completed_count, run.completions)];
    for (count, what) in [(run.active_count, "active"), (run.failed_count, "failed"), (run.stopped_count, "stopped")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.join(", ")
}

/// Indexes as people write them: `0-3, 7`.
fn ranges_text(ranges: &[v1::IndexRange]) -> String {
    let one = |range: &v1::IndexRange| match (range.first, range.last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn progress(run: &v1::JobRun) -> String {
    format!("{}/{}", run.completed_count, run.completions)
}

fn state(run: &v1::JobRun) -> &'static str {
    run.state().as_str_name().trim_start_matches("JOB_RUN_STATE_")
}

fn tone(run: &v1::JobRun) -> Tone {
    match run.state() {
        v1::JobRunState::Completed => Tone::Good,
        v1::JobRunState::Failed => Tone::Bad,
        v1::JobRunState::Running if run.failed_count > 0 => Tone::Bad,
        v1::JobRunState::Running
        | v1::JobRunState::Stopping
        | v1::JobRunState::Stopped
        | v1::JobRunState::Unspecified => Tone::Waiting,
    }
}

fn times(schedule: &v1::JobSchedule) -> String {
    let zone = if schedule.time_zone.is_empty() { "UTC" } else { &schedule.time_zone };
    format!("{} ({zone})", schedule.cron)
}

fn schedule_text(schedule: &v1::JobSchedule) -> String {
    let overlap = match schedule.overlap() {
        v1::JobOverlap::Allow => "runs may overlap",
        v1::JobOverlap::Replace => "a new run replaces the one before",
        v1::JobOverlap::Forbid | v1::JobOverlap::Unspecified => "left out while a run goes on",
    };
    format!("{}, {overlap}", times(schedule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{NOW, task};

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds: NOW.as_second() + seconds, nanos: 0 })
    }

    fn nightly() -> v1::Job {
        let run = |run, state: v1::JobRunState, reason: &str| v1::JobRun {
            run,
            state: state.into(),
            reason: reason.to_owned(),
            scheduled_time: at(-90),
            start_time: at(-80),
            completions: 5,
            completed_count: 2,
            failed_count: 2,
            active_count: 1,
            failed: vec![v1::IndexRange { first: 1, last: 1 }, v1::IndexRange { first: 3, last: 4 }],
            ..Default::default()
        };
        let schedule =
            v1::JobSchedule { cron: "30 3 * * *".into(), time_zone: "Europe/Berlin".into(), ..Default::default() };
        let spec = v1::JobSpec {
            name: "report".into(),
            completions: Some(5),
            parallelism: Some(2),
            max_retries: Some(3),
            schedule: Some(schedule),
            task: task(1, "report", v1::TaskState::Pending).spec,
            ..Default::default()
        };
        v1::Job {
            job_id: "0193a5c0-0000-7d3a-9a53-000000000001".into(),
            spec: Some(spec),
            runs: vec![
                run(1, v1::JobRunState::Completed, ""),
                run(2, v1::JobRunState::Failed, "2 of 5 indexes failed; index 1 on node-1: exit code 1"),
            ],
            next_run_time: at(3_600),
            missed: Some(v1::MissedRun { scheduled_time: at(-30), reason: "run 2 goes on".into(), count: 3 }),
            create_time: at(-300),
            trouble: "2 of 5 indexes failed; index 1 on node-1: exit code 1".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_table_tells_when_a_job_runs_and_how_it_went() {
        let once = v1::Job { paused: true, ..Default::default() };
        insta::assert_snapshot!(jobs_table(&[nightly(), once], NOW, Palette::new(false)));
    }

    #[test]
    fn a_job_is_described_with_its_runs_the_newest_first() {
        insta::assert_snapshot!(job(&nightly(), NOW, Palette::new(false)));
    }

    #[test]
    fn a_line_tells_how_far_a_run_is() {
        let line = run_line("report", &nightly().runs[1], Palette::new(false)).whole();
        insta::assert_snapshot!(line);
    }
}
