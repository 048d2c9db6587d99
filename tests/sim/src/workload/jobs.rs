//! What a user asks of jobs, of which some runs have a few.

use std::time::Duration;

use davit_proto::v1;

use super::specs::hasty;
use super::{Call, JobCall, Outcome, TRIES, Users, done, in_time, outcome_of};

/// In how many runs of a hundred there are jobs.
const CHANCE: u64 = 60;

impl Users {
    /// Has jobs and meddles with them until the time is up.
    pub(super) async fn keep_jobs(&self, time: Duration) {
        if !self.rng.percent(CHANCE) {
            return;
        }
        let end = tokio::time::Instant::now() + time;
        let mut names: Vec<String> = Vec::new();
        while tokio::time::Instant::now() < end {
            match self.rng.pick(&names).cloned().filter(|_| !self.rng.percent(30)) {
                None => names.push(self.create_job().await),
                Some(name) => match self.rng.below(100) {
                    0..=24 => self.ask_job(&name, JobCall::Run).await,
                    25..=39 => self.ask_job(&name, JobCall::Pause).await,
                    40..=59 => self.ask_job(&name, JobCall::Resume).await,
                    60..=67 => self.ask_job(&name, JobCall::Stop).await,
                    68..=74 => self.ask_job(&name, JobCall::Delete).await,
                    _ => self.meddle_with_an_index(&name).await,
                },
            }
            tokio::time::sleep(self.rng.millis(50, 2500)).await;
        }
        // What runs for ever never comes to rest.
        for name in names {
            self.ask_job(&name, JobCall::Pause).await;
        }
    }

    /// Creates with a request id, as often as it takes to be answered.
    async fn create_job(&self) -> String {
        let name = self.next_name("batch");
        let request = v1::CreateJobRequest {
            spec: Some(self.new_job(&name)),
            request_id: format!("request-of-{name}"),
            ..Default::default()
        };
        for _ in 0..TRIES {
            let (mut jobs, request) = (self.jobs.clone(), request.clone());
            let answer = in_time(Box::pin(async move { jobs.create_job(request).await })).await;
            let outcome = match answer {
                Ok(response) => match response.into_inner().job.and_then(|job| job.job_id.parse().ok()) {
                    Some(job_id) => Outcome::Job(job_id),
                    None => Outcome::Done,
                },
                Err(status) => outcome_of(&status),
            };
            let is_over = !matches!(outcome, Outcome::Unknown(_));
            self.answered(Call::CreateJob(name.clone()), outcome);
            // Now and then an impatient user sends it once more, although it was answered.
            if is_over && !self.rng.percent(15) {
                break;
            }
            tokio::time::sleep(self.rng.millis(100, 2000)).await;
        }
        name
    }

    fn new_job(&self, name: &str) -> v1::JobSpec {
        let number = |low, high| u32::try_from(self.rng.between(low, high)).unwrap_or(1);
        let completions = number(1, 6);
        let order = |order: &str, value: u64| (format!("fake.{order}"), value.to_string());
        let mut labels = vec![order("run_for_ms", self.rng.between(50, 3000))];
        if self.rng.percent(25) {
            labels.push(order("exit_code", 3));
        }
        let container = v1::ContainerSpec { image: "fake:1".to_owned(), ..Default::default() };
        let reservation = v1::Resources { cpu_millis: 100, memory_bytes: 32 << 20, disk_bytes: 16 << 20 };
        let (action, wait) = match self.rng.percent(60) {
            true => (v1::NodeLossAction::Replace, None),
            false => (v1::NodeLossAction::Wait, self.rng.millis(500, 4000).try_into().ok()),
        };
        let task = v1::TaskSpec {
            labels: labels.into_iter().collect(),
            // Shorter than what a job gets unless it says so.
            on_node_loss: Some(v1::NodeLossPolicy { action: action.into(), wait }),
            ..hasty(name, container, reservation, (v1::RestartMode::Unspecified, 0))
        };
        let overlap = match self.rng.below(3) {
            0 => v1::JobOverlap::Allow,
            1 => v1::JobOverlap::Forbid,
            _ => v1::JobOverlap::Replace,
        };
        let schedule = v1::JobSchedule {
            cron: format!("*/{} * * * * *", self.rng.between(3, 20)),
            overlap: overlap.into(),
            ..Default::default()
        };
        v1::JobSpec {
            name: name.to_owned(),
            task: Some(task),
            completions: Some(completions),
            parallelism: Some(number(1, 3)),
            max_retries: Some(number(0, 2)),
            max_failed_indexes: number(0, 2),
            deadline: self.rng.percent(20).then(|| self.rng.millis(3000, 20_000).try_into().ok()).flatten(),
            time_to_live: self.rng.percent(20).then(|| self.rng.millis(0, 10_000).try_into().ok()).flatten(),
            schedule: self.rng.percent(40).then_some(schedule),
            history: Some(v1::JobHistory { succeeded: Some(number(0, 2)), failed: Some(number(0, 2)) }),
            ..Default::default()
        }
    }

    async fn ask_job(&self, name: &str, call: JobCall) {
        for _ in 0..TRIES {
            let (mut jobs, job) = (self.jobs.clone(), name.to_owned());
            let asked = async move {
                match call {
                    JobCall::Run => jobs.run_job(v1::RunJobRequest { job, ..Default::default() }).await.map(drop),
                    JobCall::Pause => jobs.pause_job(v1::PauseJobRequest { job }).await.map(drop),
                    JobCall::Resume => jobs.resume_job(v1::ResumeJobRequest { job }).await.map(drop),
                    JobCall::Stop => jobs.stop_job_run(v1::StopJobRunRequest { job, run: 0 }).await.map(drop),
                    JobCall::Delete => {
                        jobs.delete_job(v1::DeleteJobRequest { job, ..Default::default() }).await.map(drop)
                    }
                }
            };
            let outcome = done(in_time(Box::pin(asked)).await);
            let is_over = !matches!(outcome, Outcome::Unknown(_));
            self.answered(Call::AskJob { name: name.to_owned(), call }, outcome);
            // A run that may have begun is not asked for again.
            if is_over || call == JobCall::Run {
                return;
            }
            tokio::time::sleep(self.rng.millis(100, 2000)).await;
        }
    }

    /// Stops, restarts or deletes one of its tasks, also one that has ended.
    async fn meddle_with_an_index(&self, name: &str) {
        let model = self.cluster.disk.model();
        let is_of = |id| model.jobs.get(&id).is_some_and(|job| job.name == name);
        let tasks = model.tasks.values().filter(|task| task.run_index().is_some_and(|(of, _)| is_of(of)));
        self.meddle_with_one_of(&tasks.map(|task| task.task_id).collect::<Vec<_>>()).await;
    }
}
