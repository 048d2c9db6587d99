//! When runs begin by themselves.

use std::sync::Arc;

use davit_core::job::{Indexes, Job, MAX_ACTIVE_RUNS, Missed, MissedRuns, ON_TIME, Overlap, Run, RunState, Schedule};
use jiff::Timestamp;

use super::Planner;
use super::runs::after;

/// So many times that passed unseen are counted; of more nobody needs to know how many there were.
const MAX_COUNTED: usize = 1_000;

/// What becomes of a time that has come.
enum Turn {
    /// Its run begins.
    Begin,
    /// It waits for runs before it to end, until a time if there is one.
    Wait(Option<Timestamp>),
    /// The runs that go on are to stop; it waits for that, until a time if there is one.
    Replace(Option<Timestamp>),
    /// It is left out.
    Miss(String),
}

impl Planner<'_> {
    /// Begins a run if the schedule says so.
    pub(super) fn follow_schedule(&mut self) {
        let Some(schedule) = self.job.spec.schedule.clone().filter(|_| !self.job.is_paused) else {
            self.job.awaited = None;
            return;
        };
        let is_ahead = self.job.scheduled_through > self.now;
        if is_ahead && schedule.times.after(self.now).is_some_and(|next| next < self.job.scheduled_through) {
            // The clock was ahead, by more than one time of the schedule. It would run for none of those.
            self.notes.push("the manager's clock was set back; its schedule begins anew".to_owned());
            (self.job.scheduled_through, self.job.awaited) = (self.now, None);
        }
        if let Some(due) = schedule.times.last_until(self.job.scheduled_through, self.now) {
            self.skip_before(due, &schedule);
            if let Some(overtaken) = self.job.awaited.take_if(|awaited| *awaited != due) {
                self.miss(overtaken, 1, format!("the next time came, {due}"));
            }
            match turn(&self.job, &schedule, due, self.now) {
                Turn::Begin => {
                    let run = begin_run(&mut self.job, Some(due), String::new(), self.now);
                    self.notes.push(format!("run {run} begins, for {due}"));
                    self.deal_with(due);
                }
                Turn::Wait(until) => {
                    self.job.awaited = Some(due);
                    until.into_iter().for_each(|at| self.look_at(at));
                }
                Turn::Replace(until) => {
                    self.job.awaited = Some(due);
                    until.into_iter().for_each(|at| self.look_at(at));
                    let why = format!("replaced by the run for {due}");
                    for run in self.job.runs.iter_mut().filter(|run| run.state == RunState::Running) {
                        (run.state, run.reason) = (RunState::Stopping, why.clone());
                        self.notes.push(format!("run {} is being stopped: {why}", run.number));
                    }
                }
                Turn::Miss(reason) => {
                    self.miss(due, 1, reason);
                    self.deal_with(due);
                }
            }
        }
        let next = schedule.times.after(self.now.max(self.job.scheduled_through));
        next.into_iter().for_each(|at| self.look_at(at));
    }

    /// Tells of the times before the one that is due of which nobody has heard, where there is to be no run for all of them.
    fn skip_before(&mut self, due: Timestamp, schedule: &Schedule) {
        let known = self.job.scheduled_through.max(self.job.awaited.unwrap_or(Timestamp::MIN));
        if schedule.missed_runs != MissedRuns::Skip || known >= due {
            return;
        }
        let times = std::iter::successors(schedule.times.after(known), |time| schedule.times.after(*time));
        let (mut count, mut last) = (0, None);
        for time in times.take_while(|time| *time < due).take(MAX_COUNTED) {
            (count, last) = (count + 1, Some(time));
        }
        if let Some(last) = last {
            self.miss(last, count, "the manager was away, or too busy".to_owned());
        }
    }

    /// Tells that so many times were left out, of which this is the last.
    fn miss(&mut self, scheduled_at: Timestamp, times: u64, reason: String) {
        let others = if times > 1 { format!(", and of {} before it,", times - 1) } else { String::new() };
        self.notes.push(format!("the run for {scheduled_at}{others} is left out: {reason}"));
        let count = self.job.missed.as_ref().map_or(0, |missed| missed.count).saturating_add(times);
        self.job.missed = Some(Missed { scheduled_at, reason, count });
    }

    fn deal_with(&mut self, due: Timestamp) {
        (self.job.scheduled_through, self.job.awaited) = (due, None);
        // Runs that have just begun have deadlines too.
        let deadline = self.job.runs.last().and_then(|run| run.deadline);
        deadline.into_iter().for_each(|at| self.look_at(at));
    }
}

fn turn(job: &Job, schedule: &Schedule, due: Timestamp, now: Timestamp) -> Turn {
    let late = now.duration_since(due);
    let was_seen = job.awaited == Some(due);
    if schedule.missed_runs == MissedRuns::Skip && !was_seen && late > ON_TIME {
        return Turn::Miss(format!("it was seen {:.0} s late", late.as_secs_f64()));
    }
    let active = job.active_runs().count();
    let until = schedule.start_deadline.map(|deadline| after(due, deadline));
    if let (Some(until), Some(deadline)) = (until, schedule.start_deadline)
        && until < now
    {
        let why = match job.active_runs().next() {
            Some(run) => format!("; run {} goes on", run.number),
            None => String::new(),
        };
        return Turn::Miss(format!("it could not begin within {} s{why}", deadline.as_secs_f64()));
    }
    match (schedule.overlap, job.active_runs().next()) {
        (_, None) => Turn::Begin,
        (Overlap::Allow, Some(_)) if active < MAX_ACTIVE_RUNS => Turn::Begin,
        (Overlap::Allow, Some(_)) => Turn::Miss(format!("{active} runs go on")),
        (Overlap::Forbid, Some(_)) if until.is_some() => Turn::Wait(until),
        (Overlap::Forbid, Some(run)) => Turn::Miss(format!("run {} goes on", run.number)),
        (Overlap::Replace, Some(_)) => Turn::Replace(until),
    }
}

/// Adds a run that begins now. Answers its number.
pub(crate) fn begin_run(job: &mut Job, scheduled_at: Option<Timestamp>, request_id: String, now: Timestamp) -> u32 {
    let number = job.last_run.saturating_add(1);
    job.last_run = number;
    job.runs.push(Run {
        number,
        spec: Some(Arc::clone(&job.spec)),
        state: RunState::Running,
        reason: String::new(),
        scheduled_at,
        request_id,
        completions: job.spec.completions,
        next_index: 0,
        completed: Indexes::default(),
        failed: Indexes::default(),
        stopped: Indexes::default(),
        started_at: now,
        finished_at: None,
        deadline: job.spec.deadline.map(|deadline| after(now, deadline)),
    });
    number
}
