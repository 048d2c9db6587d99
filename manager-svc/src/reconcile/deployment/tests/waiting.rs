//! What a deployment waits for.

use davit_core::deployment::{Dependency, DependencyCondition};
use davit_core::job::{Job, JobSpec, RunState};
use davit_core::task::DesiredState;
use proptest::prelude::*;

use super::super::plan_deployment;
use super::*;
use crate::commands::test_support::job_spec;
use crate::commands::{delete_deployment, restart_task, stop_task};
use crate::reconcile::job::trouble_of_job;

fn after(deployment: &str, condition: DependencyCondition) -> Dependency {
    Dependency { deployment: deployment.to_owned(), condition, required: true }
}

fn waits_for(start_after: Vec<Dependency>) -> DeploymentSpec {
    DeploymentSpec { start_after, ..spec(2, image(1), policy(UpdateOrder::StopFirst, 1)) }
}

fn db(version: u32) -> TaskSpec {
    let mode = if version == 0 { RestartMode::OnFailure } else { RestartMode::Always };
    TaskSpec { name: "db".to_owned(), restart: RestartPolicy { mode, ..RestartPolicy::default() }, ..image(version) }
}

fn replicas(replicas: u32) -> DeploymentMode {
    DeploymentMode::Replicated { replicas }
}

impl Rig {
    fn reason(&self) -> &str {
        &self.deployment().rollout.reason
    }

    fn tasks_of(&self, name: &str) -> Vec<Arc<Task>> {
        let other = self.cluster.state.deployment_by_name(name).unwrap();
        let tasks = self.cluster.state.tasks_of(other.deployment_id);
        tasks.map(|(_, task)| Arc::clone(task)).filter(|task| task.desired_state == DesiredState::Running).collect()
    }

    /// All tasks of another deployment come into a state.
    fn bring(&mut self, name: &str, state: TaskState, ready: bool) {
        self.place();
        for task in self.tasks_of(name) {
            self.report(task.task_id, state, ready);
        }
        self.look();
    }
}

#[test]
fn what_is_not_there_and_what_is_not_healthy_is_waited_for_without_a_deadline() {
    let mut rig = Rig::new(2, waits_for(vec![after("db", DependencyCondition::Healthy)]));
    rig.look();
    assert_eq!((rig.tasks().len(), rig.reason()), (0, "waits for db, which is not there"));
    rig.pass(100_000);
    rig.look();
    assert!(rig.cluster.deploy("db", db(1), replicas(2)));
    rig.look();
    assert_eq!(rig.reason(), "waits for db to be healthy");
    rig.bring("db", TaskState::Running, false);
    assert_eq!((rig.tasks().len(), rig.state()), (0, RolloutState::InProgress));
    rig.bring("db", TaskState::Running, true);
    assert_eq!((rig.tasks().len(), rig.reason()), (2, ""));
    assert!(!rig.deployment().waits);
    // Its time begins with its tasks.
    rig.pass(500);
    rig.look();
    assert_eq!(rig.state(), RolloutState::InProgress);
}

#[test]
fn who_has_begun_waits_no_more() {
    let mut rig = Rig::new(2, waits_for(vec![after("db", DependencyCondition::Started)]));
    assert!(rig.cluster.deploy("db", db(1), replicas(1)));
    rig.look();
    assert_eq!(rig.reason(), "waits for db to be started");
    rig.bring("db", TaskState::Running, false);
    rig.settle();
    assert_eq!((rig.state(), rig.tasks().len()), (RolloutState::Complete, 2));
    let named = Named { deployment: "db".to_owned(), etag: String::new() };
    rig.cluster.run(|draft| delete_deployment(draft, &named)).unwrap();
    let one = rig.tasks()[0].task_id;
    rig.cluster.run(|draft| stop_task(draft, one)).unwrap();
    rig.settle();
    assert_eq!(rig.holding().len(), 2);
    // Nor does an update make it wait again.
    rig.update(DeploymentSpec {
        task: Arc::new(image(2)),
        ..waits_for(vec![after("x", DependencyCondition::Started)])
    });
    rig.settle();
    assert_eq!(rig.holding(), [(2, true), (2, true)]);
}

#[test]
fn what_is_to_complete_is_waited_for_until_all_of_it_has() {
    let mut rig = Rig::new(2, waits_for(vec![after("db", DependencyCondition::Completed)]));
    assert!(rig.cluster.deploy("db", db(0), replicas(2)));
    rig.look();
    rig.bring("db", TaskState::Running, true);
    assert_eq!(rig.reason(), "waits for db to complete");
    let first = rig.tasks_of("db")[0].task_id;
    rig.report(first, TaskState::Completed, false);
    rig.look();
    assert_eq!(rig.tasks().len(), 0);
    rig.bring("db", TaskState::Completed, false);
    assert_eq!(rig.tasks().len(), 2);
}

#[test]
fn what_has_ended_for_good_is_waited_for_in_vain_until_somebody_does_something() {
    let mut rig = Rig::new(2, waits_for(vec![after("db", DependencyCondition::Completed)]));
    let never = RestartPolicy { mode: RestartMode::Never, ..RestartPolicy::default() };
    assert!(rig.cluster.deploy("db", TaskSpec { restart: never, ..db(0) }, replicas(1)));
    rig.look();
    rig.bring("db", TaskState::Running, true);
    assert_eq!((rig.state(), rig.reason()), (RolloutState::InProgress, "waits for db to complete"));
    rig.bring("db", TaskState::Failed, false);
    let (state, reason) = (rig.state(), rig.reason().to_owned());
    assert!(state == RolloutState::Failed && reason.contains("has ended for good"), "{state} {reason}");
    assert_eq!(rig.tasks().len(), 0);
    // So has the one that is waited for.
    let other = rig.cluster.state.deployment_by_name("db").unwrap().rollout.clone();
    assert!(other.state == RolloutState::Failed && other.reason.starts_with("ended for good: slot 1 on "), "{other:?}");
    // Who waits for one that waits in vain does so too.
    let last = DeploymentSpec {
        start_after: vec![after("web", DependencyCondition::Started)],
        ..spec(1, image(1), policy(UpdateOrder::StopFirst, 1))
    };
    let new = NewDeployment {
        deployment_id: DeploymentId(Uuid::from_u128(0xE)),
        name: "last".to_owned(),
        wanted: wanted(last),
        request: None,
    };
    rig.cluster.run(|draft| create_deployment(draft, new, Limits::NONE)).unwrap();
    rig.look();
    let last = rig.cluster.state.deployment_by_name("last").unwrap().rollout.clone();
    assert!(
        last.state == RolloutState::Failed && last.reason.contains("web to be started, which waits for db"),
        "{last:?}"
    );
    // A task that is started again may do it.
    let task = rig.tasks_of("db")[0].task_id;
    rig.cluster.run(|draft| restart_task(draft, task)).unwrap();
    rig.look();
    let reason = rig.reason();
    assert!(reason.starts_with("waits for db to complete, whose rollout is FAILED: ended for good:"), "{reason}");
    rig.bring("db", TaskState::Completed, false);
    rig.settle();
    assert_eq!((rig.state(), rig.holding().len(), rig.reason()), (RolloutState::Complete, 2, ""));
}

#[test]
fn a_rollout_that_failed_is_waited_for_in_vain_until_it_comes_all_the_same() {
    let mut rig = Rig::new(2, waits_for(vec![after("db", DependencyCondition::Healthy)]));
    assert!(rig.cluster.deploy("db", db(1), replicas(1)));
    rig.look();
    rig.bring("db", TaskState::Running, false);
    assert_eq!((rig.state(), rig.reason()), (RolloutState::InProgress, "waits for db to be healthy"));
    // It never gets ready in its time.
    rig.pass(1_000);
    rig.look();
    let reason = rig.reason();
    assert!(
        reason.starts_with("waits for db to be healthy, whose rollout is FAILED: no slot got done for"),
        "{reason}"
    );
    assert_eq!(rig.state(), RolloutState::Failed);
    rig.bring("db", TaskState::Running, true);
    rig.settle();
    assert_eq!((rig.state(), rig.holding().len(), rig.reason()), (RolloutState::Complete, 2, ""));
}

fn job_after(deployment: &str, condition: DependencyCondition) -> JobSpec {
    JobSpec { start_after: vec![after(deployment, condition)], ..job_spec(db(0), 1) }
}

#[test]
fn who_waits_for_a_job_that_waits_in_vain_does_so_too() {
    let mut rig = Rig::new(2, waits_for(vec![after("migrate", DependencyCondition::Completed)]));
    let never = RestartPolicy { mode: RestartMode::Never, ..RestartPolicy::default() };
    assert!(rig.cluster.deploy("db", TaskSpec { restart: never, ..db(0) }, replicas(1)));
    assert!(rig.cluster.make_job("migrate", job_after("db", DependencyCondition::Healthy)));
    let look = |rig: &mut Rig| {
        rig.look();
        while rig.cluster.reconcile_jobs() {
            rig.look();
        }
    };
    look(&mut rig);
    assert_eq!((rig.state(), rig.reason()), (RolloutState::InProgress, "waits for job migrate to complete"));
    rig.bring("db", TaskState::Failed, false);
    look(&mut rig);
    let job = |rig: &Rig| Job::clone(rig.cluster.state.job_by_name("migrate").unwrap());
    let waiting = job(&rig);
    assert!(waiting.waits && waiting.waits_in_vain && waiting.runs[0].state == RunState::Running, "{waiting:?}");
    let trouble = trouble_of_job(&waiting);
    assert!(trouble.starts_with("waits for db to be healthy, of which a task has ended for good"), "{trouble}");
    let reason = rig.reason();
    assert!(reason.starts_with("waits for job migrate to complete, which waits for db to be healthy, of"), "{reason}");
    assert_eq!(rig.state(), RolloutState::Failed);
    // Once it has come all the same everything begins.
    let task = rig.tasks_of("db")[0].task_id;
    rig.cluster.run(|draft| restart_task(draft, task)).unwrap();
    rig.bring("db", TaskState::Running, true);
    look(&mut rig);
    let begun = job(&rig);
    assert!(!begun.waits && !begun.waits_in_vain, "{begun:?}");
    assert!(begun.runs[0].next_index == 1 && begun.runs[0].reason.is_empty(), "{begun:?}");
    assert_eq!((rig.state(), rig.reason()), (RolloutState::InProgress, "waits for job migrate to complete"));
}

#[test]
fn a_circle_of_jobs_is_told() {
    let mut rig = Rig::new(2, waits_for(vec![after("one", DependencyCondition::Completed)]));
    assert!(rig.cluster.make_job("one", job_after("two", DependencyCondition::Completed)));
    assert!(rig.cluster.make_job("two", job_after("one", DependencyCondition::Completed)));
    while rig.cluster.reconcile_jobs() {}
    rig.look();
    let job = rig.cluster.state.job_by_name("one").unwrap();
    let circle = "waits for job two to complete, which waits for one itself: in this circle nothing begins";
    assert!(job.waits_in_vain && job.runs[0].reason == circle, "{job:?}");
    assert_eq!(
        (rig.state(), rig.reason()),
        (RolloutState::Failed, format!("waits for job one to complete, which {circle}").as_str())
    );
}

#[test]
fn what_need_not_be_there_is_waited_for_while_it_is() {
    let optional = Dependency { required: false, ..after("db", DependencyCondition::Healthy) };
    let mut rig = Rig::new(2, waits_for(vec![optional.clone()]));
    rig.look();
    assert_eq!(rig.tasks().len(), 2);
    let mut rig = Rig { cluster: Cluster::new(2), made: 0 };
    assert!(rig.cluster.deploy("db", db(1), replicas(1)));
    let wanted = wanted(waits_for(vec![optional]));
    let new = NewDeployment { deployment_id: ID, name: "web".to_owned(), wanted, request: None };
    rig.cluster.run(|draft| create_deployment(draft, new, Limits::NONE)).unwrap();
    rig.look();
    assert_eq!((rig.tasks().len(), rig.reason()), (0, "waits for db to be healthy"));
}

#[test]
fn a_circle_is_told_and_an_update_breaks_it() {
    let mut rig = Rig::new(2, waits_for(vec![after("db", DependencyCondition::Started)]));
    let back = DeploymentSpec { task: Arc::new(db(1)), ..waits_for(vec![after("web", DependencyCondition::Started)]) };
    let new = NewDeployment {
        deployment_id: DeploymentId(Uuid::from_u128(0xE)),
        name: "db".to_owned(),
        wanted: wanted(back),
        request: None,
    };
    rig.cluster.run(|draft| create_deployment(draft, new, Limits::NONE)).unwrap();
    rig.look();
    assert_eq!(rig.reason(), "waits for db to be started, which waits for web itself: in this circle nothing begins");
    rig.update(waits_for(Vec::new()));
    rig.look();
    assert_eq!((rig.tasks().len(), rig.tasks_of("db").len()), (2, 0));
    rig.work(|_| true);
    rig.look();
    assert_eq!(rig.tasks_of("db").len(), 2);
}

#[test]
fn an_update_while_it_waits_is_what_begins() {
    let mut rig = Rig::new(2, waits_for(vec![after("db", DependencyCondition::Started)]));
    rig.look();
    let canaries = UpdatePolicy { canaries: 1, ..UpdatePolicy::default() };
    let next = DeploymentSpec { update: canaries, task: Arc::new(image(2)), ..waits_for(Vec::new()) };
    rig.update(next);
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, true), (2, true)], RolloutState::Complete));
}

#[test]
fn one_that_waits_can_be_deleted() {
    let mut rig = Rig::new(2, waits_for(vec![after("db", DependencyCondition::Started)]));
    rig.look();
    rig.cluster.run(|draft| delete_deployment(draft, &named())).unwrap();
    rig.look();
    assert!(rig.cluster.state.deployment(ID).is_none());
}

proptest! {
    #[test]
    fn nothing_is_created_before_and_a_second_look_finds_nothing(
        condition in prop_oneof![
            Just(DependencyCondition::Started),
            Just(DependencyCondition::Healthy),
            Just(DependencyCondition::Completed),
        ],
        steps in prop::collection::vec((0u8..5, any::<bool>()), 0..20),
    ) {
        let mut rig = Rig::new(2, waits_for(vec![after("db", condition)]));
        let mut has_begun = false;
        for (step, flag) in steps {
            match step {
                0 => { rig.cluster.deploy("db", db(u32::from(flag)), replicas(1 + u32::from(flag))); }
                1 if rig.cluster.state.deployment_by_name("db").is_some() => rig.bring("db", TaskState::Running, flag),
                2 if rig.cluster.state.deployment_by_name("db").is_some() => {
                    let ended = if flag { TaskState::Completed } else { TaskState::Failed };
                    rig.bring("db", ended, false);
                }
                3 => {
                    let named = Named { deployment: "db".to_owned(), etag: String::new() };
                    let _ = rig.cluster.run(|draft| delete_deployment(draft, &named));
                }
                _ => rig.pass(1_000),
            }
            rig.look();
            let deployment = rig.deployment();
            prop_assert_eq!(deployment.waits, rig.tasks().is_empty());
            // Who has begun never waits again.
            prop_assert!(!(has_begun && deployment.waits));
            has_begun |= !deployment.waits;
            if deployment.waits {
                // It has failed just as long as what it waits for can't come.
                let is_vain = ["has ended for good", "whose rollout is"].iter().any(|why| rig.reason().contains(why));
                let expected = if is_vain { RolloutState::Failed } else { RolloutState::InProgress };
                prop_assert_eq!(rig.state(), expected);
                prop_assert!(rig.reason().starts_with("waits for db"), "{}", rig.reason());
                let again = plan_deployment(&rig.cluster.state, deployment, rig.cluster.now);
                prop_assert_eq!(again, Default::default());
            }
        }
    }
}
