//! Where the tasks of a planned app would be placed: the scheduler is asked about one deployment or job after the other, on a draft
//! in which what was asked before is placed. Who found no place is asked about again when others found one since: it may need them
//! beside it.

mod trial;

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::{Deployment, DeploymentMode, UpdateOrder};
use davit_core::spec::TaskSpec;
use davit_proto::v1;
use davit_svc_kit::grpc::{ApiError, Deadline};

use self::trial::{Settled, Trial, most_first};
use super::errors::scheduler_error;
use super::{Api, put_together};
use crate::commands::AppChanges;
use crate::state::Draft;

/// So often the scheduler is asked.
const MAX_QUESTIONS: usize = 128;

/// Fills in where tasks would be placed. Says why it could not be, for some or all; empty: it could.
pub(super) async fn place(
    api: &Api,
    draft: Draft,
    changes: &AppChanges,
    planned: &mut v1::PlanAppResponse,
    deadline: Option<Deadline>,
) -> String {
    let mut trial = Trial::new(draft);
    for change in changes.deployments.iter().filter(|change| change.after.is_deleted) {
        trial.take_away(&change.after);
    }
    for change in changes.jobs.iter().filter(|change| change.after.is_deleted) {
        trial.take_away_job(&change.after);
    }
    let mut questions = questions(changes, planned);
    let (mut asked, mut found) = (0, 0);
    loop {
        let asked_before = asked;
        for question in &mut questions {
            if question.count == 0 || question.asked_at == Some(found) {
                continue;
            }
            if question.asked_at.is_none() && question.order == UpdateOrder::StopFirst {
                question.old.iter().for_each(|old| trial.take_away(old));
            }
            if let (true, Some(deployment)) = (question.is_global, &question.old) {
                let placement = trial.on_each_node(api, deployment, &question.spec);
                question.count = 0;
                question.target.fill(planned, placement);
                continue;
            }
            if asked == MAX_QUESTIONS {
                return format!(
                    "the scheduler was asked {MAX_QUESTIONS} times; about some deployments and jobs not at all, or not again"
                );
            }
            asked += 1;
            match Box::pin(ask(api, trial, Arc::clone(&question.spec), question.count, deadline)).await {
                Ok((given_back, settled)) => {
                    trial = given_back;
                    found += usize::from(!settled.by_node.is_empty());
                    question.asked_at = Some(found);
                    question.target.fill(planned, question.told(settled));
                }
                Err(problem) => return problem.message,
            }
            if question.count == 0 && question.order == UpdateOrder::StartFirst {
                question.old.iter().for_each(|old| trial.take_away(old));
            }
        }
        if asked == asked_before {
            return String::new();
        }
    }
}

/// Tasks that are to be placed.
struct Question {
    target: Target,
    spec: Arc<TaskSpec>,
    /// Whose tasks give way to them.
    old: Option<Arc<Deployment>>,
    /// When those do.
    order: UpdateOrder,
    /// There is one on each node: nobody is asked.
    is_global: bool,
    /// How many have no place yet.
    count: u32,
    /// Where the others are.
    by_node: BTreeMap<String, u32>,
    /// How many questions had found places after it was asked; `None`: it was not.
    asked_at: Option<usize>,
}

impl Question {
    /// What is told after an answer.
    fn told(&mut self, settled: Settled) -> v1::PlannedPlacement {
        let Settled { by_node, unplaced_reason, preemptions } = settled;
        for (node, count) in by_node {
            self.count = self.count.saturating_sub(count);
            let there = self.by_node.entry(node).or_default();
            *there = there.saturating_add(count);
        }
        let unplaced_reason = if self.count > 0 { unplaced_reason } else { String::new() };
        v1::PlannedPlacement {
            nodes: most_first(&self.by_node),
            unplaced_count: self.count,
            unplaced_reason,
            preemptions,
        }
    }
}

/// Whose tasks they are, by its place in the plan.
#[derive(Debug, Clone, Copy)]
enum Target {
    Deployment(usize),
    Job(usize),
}

impl Target {
    fn fill(self, planned: &mut v1::PlanAppResponse, placement: v1::PlannedPlacement) {
        let place = match self {
            Self::Deployment(index) => planned.deployments.get_mut(index).map(|planned| &mut planned.placement),
            Self::Job(index) => planned.jobs.get_mut(index).map(|planned| &mut planned.placement),
        };
        if let Some(place) = place {
            *place = Some(placement);
        }
    }
}

/// About each deployment that gets tasks, then about each job that runs.
fn questions(changes: &AppChanges, planned: &v1::PlanAppResponse) -> Vec<Question> {
    let deployments = changes.deployments.iter().zip(&planned.deployments).enumerate();
    let of_deployments = deployments.filter_map(|(index, (change, planned))| {
        let deployment = Arc::clone(&change.after);
        let current = deployment.current().filter(|_| !deployment.is_deleted)?;
        let update = &current.spec.update;
        let under_way = match update.order {
            UpdateOrder::StopFirst => u32::MAX,
            UpdateOrder::StartFirst => u32::try_from(update.max_in_flight()).unwrap_or(u32::MAX),
        };
        Some(Question {
            target: Target::Deployment(index),
            spec: Arc::clone(&current.spec.task),
            order: update.order,
            is_global: current.spec.mode == DeploymentMode::Global,
            count: planned.created_tasks.saturating_add(planned.replaced_tasks.min(under_way)),
            by_node: BTreeMap::new(),
            asked_at: None,
            old: Some(deployment),
        })
    });
    let jobs = changes.jobs.iter().zip(&planned.jobs).enumerate();
    let of_jobs = jobs.map(|(index, (change, planned))| Question {
        target: Target::Job(index),
        spec: Arc::clone(&change.after.spec.task),
        order: UpdateOrder::StartFirst,
        is_global: false,
        count: planned.started_tasks,
        by_node: BTreeMap::new(),
        asked_at: None,
        old: None,
    });
    of_deployments.chain(of_jobs).filter(|question| question.count > 0).collect()
}

async fn ask(
    api: &Api,
    trial: Trial,
    spec: Arc<TaskSpec>,
    count: u32,
    deadline: Option<Deadline>,
) -> Result<(Trial, Settled), ApiError> {
    let turn = api.scheduler.turn(deadline).await.map_err(scheduler_error)?;
    let (asked_api, asked_spec) = (api.clone(), Arc::clone(&spec));
    let together = put_together(turn, move || {
        let mut trial = trial;
        let question = trial.question(&asked_api, &asked_spec, count);
        (trial, question)
    });
    let (turn, (mut trial, question)) = together.await?;
    let answer = turn.explain(question?).await.map_err(scheduler_error)?;
    let settled = trial.settle(&spec, answer.placement.unwrap_or_default());
    Ok((trial, settled))
}
