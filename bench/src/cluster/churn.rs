//! Tasks come and go: each second 1 % of them are stopped and as many are created anew, at a fixed pace.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::grid::Cell;
use super::setup::{Cluster, Share};
use super::stop::Stops;
use super::wanted::Wanted;
use crate::error::Error;
use crate::running::calls::Calls;
use crate::running::client::Client;
use crate::running::latency::{Latencies, Samples};
use crate::running::work::{spec, wait_running};

/// Each second is cut into so many portions, so that its work comes evenly.
const PORTIONS_PER_S: u32 = 10;
/// Creates on their way at once.
const CREATES_AT_ONCE: usize = 4;
/// Between two tasks whose latency is taken.
const SAMPLE_PERIOD: Duration = Duration::from_millis(100);
/// The pace is kept if nothing was answered later than this after it was due.
const LATE: Duration = Duration::from_secs(1);

/// What coming and going costs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Churn {
    seconds: u32,
    wanted_per_s: u32,
    replaced: u64,
    pub(super) replaced_per_s: f64,
    /// From when a portion was due until all of it was sent, at most; of the last one, until it was answered.
    late_s: f64,
    pace_kept: bool,
    /// From the last create until all that are wanted ran and all others had ended.
    backlog_s: f64,
    /// Of single tasks in the midst of it.
    one_at_a_time: Latencies,
    /// CPU seconds for 1,000 replacements, of each process.
    cpu_s_per_1000: BTreeMap<&'static str, f64>,
    client_cpu_s_per_1000: f64,
}

/// What is done when.
#[derive(Debug, Clone, Copy)]
struct Pace {
    seconds: u32,
    per_s: u32,
}

impl Pace {
    /// Of a cell: 1 % of its tasks each second.
    fn new(seconds: u32, tasks: u32) -> Self {
        Self { seconds, per_s: (tasks / 100).max(1) }
    }

    /// When each portion is due, after the beginning, and how large it is; empty ones are left out.
    fn portions(self) -> impl Iterator<Item = (Duration, u32)> {
        let due_by = move |portion: u32| u64::from(portion) * u64::from(self.per_s) / u64::from(PORTIONS_PER_S);
        (0..self.seconds * PORTIONS_PER_S)
            .map(move |portion| {
                let size = due_by(portion + 1) - due_by(portion);
                (Duration::from_secs(1) * portion / PORTIONS_PER_S, u32::try_from(size).unwrap_or(u32::MAX))
            })
            .filter(|(_, size)| *size > 0)
    }

    fn total(self) -> u64 {
        u64::from(self.seconds) * u64::from(self.per_s)
    }
}

/// Replaces tasks for so many seconds.
pub(super) async fn run(cluster: &Cluster, cell: Cell, seconds: u32, wanted: &mut Wanted) -> Result<Churn, Error> {
    let pace = Pace::new(seconds, cell.tasks);
    let old = wanted.take_oldest(usize::try_from(pace.total()).unwrap_or(usize::MAX));
    let (before, began) = (cluster.used()?, Instant::now());
    // Samples have a connection of their own: they would wait behind the stops otherwise.
    let (stopped, (new, created), samples) = tokio::try_join!(
        stop(cluster.client.clone(), pace, began, old),
        create(cluster.client.clone(), pace, began),
        sample(cluster.another_client()?, pace, began),
    )?;
    wanted.add(new);
    wanted.add(samples.task_ids.iter().copied());
    let all_running = wait_running(cluster.client.clone(), wanted.running_count()).await?;
    let answered = stopped.answered.max(created.answered).duration_since(began);
    let (late, replaced) = (stopped.late.max(created.late), pace.total());
    let per_1000 = |cpu_s: f64| cpu_s * 1000.0 / replaced as f64;
    let shares = cluster.shares(&before)?;
    let churn = Churn {
        seconds,
        wanted_per_s: pace.per_s,
        replaced,
        replaced_per_s: replaced as f64 / answered.max(Duration::from_secs(seconds.into())).as_secs_f64(),
        late_s: late.as_secs_f64(),
        pace_kept: late <= LATE,
        backlog_s: all_running.duration_since(created.last_sent).as_secs_f64(),
        one_at_a_time: samples.latencies(),
        cpu_s_per_1000: shares.iter().map(|Share { name, cpu_s, .. }| (*name, per_1000(*cpu_s))).collect(),
        client_cpu_s_per_1000: per_1000(before.client_cpu_s()?),
    };
    churn.tell();
    Ok(churn)
}

/// How it was kept to a pace.
#[derive(Debug)]
struct Kept {
    /// How late a portion was sent at most, or the last one answered.
    late: Duration,
    /// When the last portion was sent, and when it was answered.
    last_sent: Instant,
    answered: Instant,
}

impl Kept {
    fn new(began: Instant) -> Self {
        Self { late: Duration::ZERO, last_sent: began, answered: began }
    }

    /// A portion that was due then is sent now.
    fn sent(&mut self, due: Instant) {
        self.last_sent = Instant::now();
        self.late = self.late.max(self.last_sent.duration_since(due));
    }

    /// The last one was due then and is answered now.
    fn answered(mut self, last_due: Instant) -> Self {
        self.answered = Instant::now();
        self.late = self.late.max(self.answered.duration_since(last_due));
        self
    }
}

/// Stops these.
async fn stop(client: Client, pace: Pace, began: Instant, task_ids: Vec<Uuid>) -> Result<Kept, Error> {
    let (mut stops, mut kept, mut task_ids) = (Stops::new(client), Kept::new(began), task_ids.into_iter());
    let mut last_due = began;
    for (due, size) in pace.portions() {
        last_due = began + due;
        tokio::time::sleep_until(last_due).await;
        for task_id in task_ids.by_ref().take(size as usize) {
            stops.begin(task_id).await?;
        }
        kept.sent(last_due);
    }
    stops.finish().await?;
    Ok(kept.answered(last_due))
}

/// Creates as many. Answers which.
async fn create(client: Client, pace: Pace, began: Instant) -> Result<(Vec<Uuid>, Kept), Error> {
    let (mut calls, mut kept) = (Calls::at_once(CREATES_AT_ONCE), Kept::new(began));
    let mut last_due = began;
    for (number, (due, size)) in pace.portions().enumerate() {
        last_due = began + due;
        tokio::time::sleep_until(last_due).await;
        let mut client = client.clone();
        let call = async move { client.create(&spec(0), size, &format!("churn-{number}")).await };
        calls.begin(call).await?;
        kept.sent(last_due);
    }
    let task_ids = calls.finish().await?.into_iter().flat_map(|created| created.task_ids).collect();
    Ok((task_ids, kept.answered(last_due)))
}

/// Creates single tasks for as long, each followed until it runs.
async fn sample(mut client: Client, pace: Pace, began: Instant) -> Result<Samples, Error> {
    let mut samples = Samples::default();
    let end = began + Duration::from_secs(pace.seconds.into());
    while Instant::now() < end {
        let next = Instant::now() + SAMPLE_PERIOD;
        samples.amid(&mut client, &spec(0)).await?;
        tokio::time::sleep_until(next).await;
    }
    Ok(samples)
}

impl Churn {
    fn tell(&self) {
        let kept = if self.pace_kept { "kept" } else { "NOT KEPT" };
        println!(
            "{} tasks replaced within {} s, {:.0} of {} a second: pace {kept}, late by {:.2} s at most; \
             all RUNNING {:.2} s after the last create",
            self.replaced, self.seconds, self.replaced_per_s, self.wanted_per_s, self.late_s, self.backlog_s
        );
        let Latencies { tasks, created, scheduled, running } = &self.one_at_a_time;
        println!("amid them {tasks} single tasks: created {created}; SCHEDULED {scheduled}; RUNNING {running}");
        let cpu: Vec<_> = self.cpu_s_per_1000.iter().map(|(name, cpu_s)| format!("{name} {cpu_s:.2}")).collect();
        println!("CPU s for 1,000 replaced: {}, client {:.2}", cpu.join(", "), self.client_cpu_s_per_1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_add_up_and_each_is_due_in_its_tenth_of_a_second() {
        let pace = Pace::new(3, 2_500);
        let portions: Vec<_> = pace.portions().collect();
        assert_eq!(portions.len(), 30);
        assert_eq!(portions.iter().map(|(_, size)| u64::from(*size)).sum::<u64>(), pace.total());
        assert_eq!(pace.total(), 75);
        assert!(portions.iter().all(|(_, size)| (2..=3).contains(size)));
        assert_eq!(portions[29].0, Duration::from_millis(2_900));
    }

    #[test]
    fn few_tasks_are_replaced_one_a_second() {
        let portions: Vec<_> = Pace::new(2, 50).portions().collect();
        assert_eq!(portions, [(Duration::from_millis(900), 1), (Duration::from_millis(1_900), 1)]);
    }
}
