//! Carries out what is planned for deployments.

use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::{Deployment, RolloutState};
use davit_core::id::{DeploymentId, TaskId};
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::{Claim, DesiredState, Membership, Slot, Task};
use jiff::{SignedDuration, Timestamp};

use super::Limits;
use super::deployments::{put_same, return_to};
use super::tasks::{new_task, want_stopped};
use crate::reconcile::{DeploymentPlan, DeploymentStep, plan_deployment};
use crate::state::{Draft, EventType};

/// Who makes a version that nobody asked for.
const BY_ITSELF: &str = "davit";

/// How often it is looked whether there may be more tasks again.
const ROOM_PERIOD: Duration = Duration::from_secs(1);

/// Does what is due for a deployment. `ids` are for tasks that it creates, and do not run out.
pub fn reconcile_deployment(
    draft: &mut Draft,
    deployment_id: DeploymentId,
    ids: &mut impl Iterator<Item = TaskId>,
    limits: Limits,
) {
    let Some(deployment) = draft.state().deployment(deployment_id).cloned() else {
        return draft.note_looked_at(deployment_id, None);
    };
    let now = draft.now();
    let plan = plan_deployment(draft.state(), &deployment, now);
    if plan.is_gone {
        return draft.remove_deployment(deployment_id, "deleted, as asked for");
    }
    let DeploymentPlan { steps, rollout, roll_back_to, has_run, begins, next_look, .. } = plan;
    // What follows from it is seen at once.
    let is_at_rest = steps.is_empty() && rollout.is_none();
    let mut next_look = if is_at_rest { next_look } else { Some(now) };
    let mut lacks_room = false;
    for step in steps {
        match step {
            DeploymentStep::Create { slot, spec, why } => {
                if !has_room(draft, limits) {
                    lacks_room = true;
                    next_look = Some(now.checked_add(ROOM_PERIOD).unwrap_or(Timestamp::MAX));
                    continue;
                }
                let Some(task_id) = ids.next() else { continue };
                create(draft, &deployment, (task_id, slot), &spec, &why);
            }
            DeploymentStep::Stop { task_id, remove, why } => stop(draft, task_id, remove, &why),
            DeploymentStep::TakeOver { task_id, spec } => take_over(draft, task_id, &spec),
        }
    }
    draft.note_room(deployment_id, lacks_room);
    let mut deployment = deployment;
    if let Some((rollout, message)) = rollout {
        let proves =
            has_run && rollout.state == RolloutState::Complete && deployment.rollout.state != RolloutState::Complete;
        let mut next = Deployment::clone(&deployment);
        next.rollout = rollout;
        next.waits &= !begins;
        if let Some(newest) = next.versions.last_mut().filter(|newest| proves && !newest.proven) {
            Arc::make_mut(newest).proven = true;
        }
        deployment = put_same(draft, next, EventType::DeploymentRolloutChanged, message);
    }
    if let Some(earlier) = roll_back_to.and_then(|number| deployment.version(number).cloned()) {
        let why = deployment.rollout.reason.clone();
        return_to(draft, &deployment, &earlier, BY_ITSELF.to_owned(), &why);
        next_look = Some(now);
    }
    draft.note_looked_at(deployment_id, next_look);
}

/// Rollouts that are under way when the manager starts get all their time anew: nobody could get on while it was away.
pub fn restart_deadlines(draft: &mut Draft) {
    let under_way = |deployment: &&Arc<Deployment>| !deployment.rollout.state.is_settled();
    let deployments: Vec<Arc<Deployment>> = draft.state().deployments().filter(under_way).cloned().collect();
    let now = draft.now();
    for deployment in deployments {
        let mut next = Deployment::clone(&deployment);
        next.rollout.progress_at = now;
        next.rollout.serving_since = None;
        next.rollout.in_flight.values_mut().for_each(|incoming| incoming.ready_since = None);
        put_same(
            draft,
            next,
            EventType::DeploymentRolloutChanged,
            "the manager was started anew; its time begins again",
        );
    }
}

/// The time of day was set by so much: rollouts that are under way go on as if it had not been.
pub fn shift_rollouts(draft: &mut Draft, by: SignedDuration) {
    let with_times = |deployment: &&Arc<Deployment>| {
        let rollout = &deployment.rollout;
        rollout.state != RolloutState::Complete || !rollout.in_flight.is_empty()
    };
    let deployments: Vec<Arc<Deployment>> = draft.state().deployments().filter(with_times).cloned().collect();
    let shifted = |time: Timestamp| time.checked_add(by).unwrap_or(time);
    for deployment in deployments {
        let mut next = Deployment::clone(&deployment);
        let rollout = &mut next.rollout;
        rollout.progress_at = shifted(rollout.progress_at);
        rollout.next_at = rollout.next_at.map(shifted);
        rollout.serving_since = rollout.serving_since.map(shifted);
        for incoming in rollout.in_flight.values_mut() {
            incoming.ready_since = incoming.ready_since.map(shifted);
        }
        let message = "the manager's clock was set; the rollout goes on as if it had not been";
        put_same(draft, next, EventType::DeploymentRolloutChanged, message);
    }
}

/// Whether one more task may be held.
fn has_room(draft: &Draft, limits: Limits) -> bool {
    let there: u64 = TaskState::ALL.iter().map(|state| draft.state().task_count(*state)).sum();
    there < limits.max_tasks
}

fn create(
    draft: &mut Draft,
    deployment: &Deployment,
    (task_id, slot): (TaskId, Slot),
    spec: &Arc<TaskSpec>,
    why: &str,
) {
    let keyed = draft.state().specs().keyed(spec);
    let membership = Some(Box::new(Membership::Deployment(deployment.deployment_id, slot)));
    let claim = claim_of(slot);
    let task = Task { membership, claim, ..new_task(task_id, spec, draft.now()) };
    let place = match slot {
        Slot::Replica(number) => format!("slot {number}"),
        Slot::Node(_) => "a node's slot".to_owned(),
    };
    draft.create_task(task, &keyed, format!("created for {place} of {}: {why}", deployment.name));
}

/// The room that is kept for a task which may run on one node alone.
pub(super) fn claim_of(slot: Slot) -> Option<Box<Claim>> {
    match slot {
        Slot::Replica(_) => None,
        Slot::Node(node_id) => Some(Box::new(Claim { node_id, reason: "it runs there or nowhere".to_owned() })),
    }
}

fn stop(draft: &mut Draft, task_id: TaskId, remove: bool, why: &str) {
    let Some(task) = draft.state().task(task_id).cloned() else { return };
    let desired = if remove { DesiredState::Removed } else { DesiredState::Stopped };
    if task.desired_state >= desired {
        return;
    }
    if remove && task.is_finished() {
        return draft.remove_task(task_id, format!("deleted: {why}"));
    }
    want_stopped(draft, &task, desired, why);
}

fn take_over(draft: &mut Draft, task_id: TaskId, spec: &Arc<TaskSpec>) {
    let Some(task) = draft.state().task(task_id).cloned() else { return };
    let keyed = draft.state().specs().keyed(spec);
    draft.put_spec(&task, &keyed, "takes over the newest version of its deployment as it runs");
}
