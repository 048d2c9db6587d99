//! What waits in vain, once something was done about it.

use std::sync::Arc;

use davit_core::deployment::{Deployment, RolloutState};
use davit_core::job::Job;

use super::deployments::put_same;
use super::jobs::put_same_job;
use crate::state::{Draft, EventType};

const WHY: &str = "its app was changed: what it waits for may come";

/// Has what waits in vain in an app count as waiting again. If it still does so in vain, that is seen at the next look; if not,
/// nobody who follows it from now on takes it for failed.
pub(super) fn wait_on(draft: &mut Draft, app: &str) {
    let in_vain = |one: &&Arc<Deployment>| one.waits && !one.is_deleted && one.rollout.state == RolloutState::Failed;
    let deployments: Vec<_> = draft.state().deployments_of_app(app).filter(in_vain).cloned().collect();
    for deployment in deployments {
        let mut next = Deployment::clone(&deployment);
        (next.rollout.state, next.rollout.finished_at) = (RolloutState::InProgress, None);
        next.rollout.progress_at = draft.now();
        put_same(draft, next, EventType::DeploymentRolloutChanged, WHY);
    }
    let in_vain = |job: &&Arc<Job>| job.waits_in_vain && !job.is_deleted;
    let jobs: Vec<_> = draft.state().jobs_of_app(app).filter(in_vain).cloned().collect();
    for job in jobs {
        let next = Job { waits_in_vain: false, ..Job::clone(&job) };
        put_same_job(draft, next, EventType::JobRunChanged, WHY);
    }
}
