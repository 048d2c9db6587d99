//! What a user asks of deployments, of which some runs have up to three at a time.

use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::deployment_spec::Mode;
use tonic::Status;

use super::{Call, Change, Outcome, TRIES, Users, done, in_time, outcome_of};

/// In how many runs of a hundred there are deployments.
const CHANCE: u64 = 70;

/// A deployment as its user knows it.
struct Kept {
    name: String,
    /// How many images its versions had.
    images: u32,
    /// What was asked for last.
    spec: v1::DeploymentSpec,
}

impl Users {
    /// Has deployments and changes them until the time is up.
    pub(super) async fn keep_deployments(&self, time: Duration) {
        if !self.rng.percent(CHANCE) {
            return;
        }
        let end = tokio::time::Instant::now() + time;
        let most = usize::try_from(self.rng.between(1, 3)).unwrap_or(1);
        let mut kept: Vec<Kept> = Vec::new();
        while tokio::time::Instant::now() < end {
            let is_new = kept.is_empty() || (kept.len() < most && self.rng.percent(30));
            let index = usize::try_from(self.rng.below(kept.len().max(1) as u64)).unwrap_or(0);
            match kept.get_mut(index).filter(|_| !is_new) {
                None => kept.push(self.create_deployment().await),
                Some(_) if self.rng.percent(6) => self.delete_deployment(&kept.swap_remove(index).name).await,
                Some(deployment) => self.change_deployment(deployment).await,
            }
            tokio::time::sleep(self.rng.millis(50, 2500)).await;
        }
    }

    /// Creates with a request id, as often as it takes to be answered.
    async fn create_deployment(&self) -> Kept {
        let name = self.next_name("web");
        let spec = self.new_deployment(&name);
        for _ in 0..TRIES {
            let request = v1::CreateDeploymentRequest {
                spec: Some(spec.clone()),
                request_id: format!("request-of-{name}"),
                ..Default::default()
            };
            let mut deployments = self.deployments.clone();
            let answer = in_time(Box::pin(async move { deployments.create_deployment(request).await })).await;
            let answer = answer.map(|response| response.into_inner().deployment);
            let is_over = self.told(Call::CreateDeployment(name.clone()), answer);
            // Now and then an impatient user sends it once more, although it was answered.
            if is_over && !self.rng.percent(15) {
                break;
            }
            tokio::time::sleep(self.rng.millis(100, 2000)).await;
        }
        Kept { name, images: 1, spec }
    }

    async fn change_deployment(&self, kept: &mut Kept) {
        match self.rng.below(100) {
            0..=49 => self.update_deployment(kept).await,
            50..=61 => self.scale_deployment(kept).await,
            62..=70 => self.roll_back(&kept.name).await,
            71..=73 => self.ask_rollout(&kept.name, Change::Pause).await,
            74..=80 => self.ask_rollout(&kept.name, Change::Resume).await,
            81..=87 => self.ask_rollout(&kept.name, Change::Promote).await,
            _ => self.meddle_with_a_task(&kept.name).await,
        }
    }

    async fn update_deployment(&self, kept: &mut Kept) {
        kept.images += 1;
        kept.spec = self.changed_deployment(&kept.spec, kept.images);
        let request = v1::UpdateDeploymentRequest {
            deployment: kept.name.clone(),
            spec: Some(kept.spec.clone()),
            ..Default::default()
        };
        let mut deployments = self.deployments.clone();
        let answer = in_time(Box::pin(async move { deployments.update_deployment(request).await })).await;
        self.told_of(&kept.name, Change::Update, answer.map(|response| response.into_inner().deployment));
    }

    async fn scale_deployment(&self, kept: &mut Kept) {
        let Some(Mode::Replicated(mode)) = &mut kept.spec.mode else { return };
        let replicas = if self.rng.percent(10) { 0 } else { self.some_replicas() };
        mode.replicas = Some(replicas);
        let request = v1::ScaleDeploymentRequest { deployment: kept.name.clone(), replicas, ..Default::default() };
        let mut deployments = self.deployments.clone();
        let answer = in_time(async move { deployments.scale_deployment(request).await }).await;
        self.told_of(&kept.name, Change::Scale, answer.map(|response| response.into_inner().deployment));
    }

    /// Goes back to the newest version that was healthy, or to any.
    async fn roll_back(&self, name: &str) {
        let version = if self.rng.percent(60) { 0 } else { u32::try_from(self.rng.between(1, 5)).unwrap_or(1) };
        let request = v1::RollbackDeploymentRequest { deployment: name.to_owned(), version, ..Default::default() };
        let mut deployments = self.deployments.clone();
        let answer = in_time(async move { deployments.rollback_deployment(request).await }).await;
        self.told_of(name, Change::Rollback, answer.map(|response| response.into_inner().deployment));
    }

    async fn ask_rollout(&self, name: &str, change: Change) {
        let (mut deployments, deployment, etag) = (self.deployments.clone(), name.to_owned(), String::new());
        let answer = in_time(async move {
            match change {
                Change::Pause => {
                    let request = v1::PauseRolloutRequest { deployment };
                    Ok(deployments.pause_rollout(request).await?.into_inner().deployment)
                }
                Change::Promote => {
                    let request = v1::PromoteRolloutRequest { deployment, etag };
                    Ok(deployments.promote_rollout(request).await?.into_inner().deployment)
                }
                _ => {
                    let request = v1::ResumeRolloutRequest { deployment, etag };
                    Ok(deployments.resume_rollout(request).await?.into_inner().deployment)
                }
            }
        });
        self.told_of(name, change, answer.await);
    }

    async fn delete_deployment(&self, name: &str) {
        for _ in 0..TRIES {
            let request = v1::DeleteDeploymentRequest { deployment: name.to_owned(), etag: String::new() };
            let mut deployments = self.deployments.clone();
            let outcome = done(in_time(async move { deployments.delete_deployment(request).await }).await);
            let is_over = !matches!(outcome, Outcome::Unknown(_));
            self.answered(Call::DeleteDeployment(name.to_owned()), outcome);
            if is_over {
                return;
            }
            tokio::time::sleep(self.rng.millis(100, 2000)).await;
        }
    }

    /// Stops, restarts or deletes one of its tasks, also one that has ended.
    async fn meddle_with_a_task(&self, name: &str) {
        let model = self.cluster.disk.model();
        let is_of = |id| model.deployments.get(&id).is_some_and(|deployment| deployment.name == name);
        let tasks = model.tasks.values().filter(|task| task.slot().is_some_and(|(of, _)| is_of(of)));
        self.meddle_with_one_of(&tasks.map(|task| task.task_id).collect::<Vec<_>>()).await;
    }

    fn told_of(&self, name: &str, change: Change, answer: Result<Option<v1::Deployment>, Status>) {
        self.told(Call::ChangeDeployment { name: name.to_owned(), change }, answer);
    }

    /// True if it is not to be tried again.
    fn told(&self, call: Call, answer: Result<Option<v1::Deployment>, Status>) -> bool {
        let outcome = match answer {
            Ok(Some(deployment)) => match deployment.deployment_id.parse() {
                Ok(deployment_id) => Outcome::Version { deployment_id, version: deployment.version },
                Err(_) => Outcome::Done,
            },
            Ok(None) => Outcome::Done,
            Err(status) => outcome_of(&status),
        };
        let is_over = !matches!(outcome, Outcome::Unknown(_));
        self.answered(call, outcome);
        is_over
    }
}
