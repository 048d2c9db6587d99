//! Jobs: everything that can be wrong, each told once and at its own field.

use davit_core::validate::Violations;

use super::container_spec;
use crate::convert::{deployment_spec_from_proto, job_spec_from_proto};
use crate::v1;

fn spec() -> v1::JobSpec {
    let schedule = v1::JobSchedule { cron: "30 3 * * *".to_owned(), ..Default::default() };
    v1::JobSpec {
        name: "report".to_owned(),
        task: Some(v1::TaskSpec { name: String::new(), ..container_spec() }),
        schedule: Some(schedule),
        ..Default::default()
    }
}

fn wrong(bend: impl FnOnce(&mut v1::JobSpec)) -> Vec<String> {
    let mut bent = spec();
    bend(&mut bent);
    let mut violations = Violations::new();
    assert_eq!(job_spec_from_proto(bent, "spec", &mut violations), None);
    violations.0.into_iter().map(|violation| violation.field).collect()
}

#[test]
fn a_schedule_and_its_time_zone_are_told_each_by_itself() {
    let schedule = |cron: &str, zone: &str| {
        let (cron, time_zone) = (cron.to_owned(), zone.to_owned());
        wrong(|spec| spec.schedule = Some(v1::JobSchedule { cron, time_zone, ..Default::default() }))
    };
    assert_eq!(schedule("x", "Nowhere"), ["spec.schedule.time_zone", "spec.schedule.cron"]);
    assert_eq!(schedule("x", "UTC"), ["spec.schedule.cron"]);
    assert_eq!(schedule("@daily", "Nowhere"), ["spec.schedule.time_zone"]);
    // The last of February is one of each year, its thirtieth of none.
    assert_eq!(schedule("0 0 30 2 *", "Europe/Berlin"), ["spec.schedule.cron"]);
}

#[test]
fn a_name_that_the_task_gets_as_well_is_told_once() {
    assert_eq!(wrong(|spec| spec.name = "-x".to_owned()), ["spec.name"]);
    let own = |spec: &mut v1::JobSpec| {
        spec.name = "-x".to_owned();
        spec.task.as_mut().unwrap().name = "-y".to_owned();
    };
    assert_eq!(wrong(own), ["spec.name", "spec.task.name"]);
    let task = v1::TaskSpec { name: String::new(), ..container_spec() };
    let deployment = v1::DeploymentSpec { task: Some(task), ..Default::default() };
    let mut violations = Violations::new();
    assert_eq!(deployment_spec_from_proto(deployment, "spec", &mut violations), None);
    assert_eq!(violations.0.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), ["spec.name"]);
}

#[test]
fn every_limit_of_a_job_is_told_at_its_field() {
    let zero = || Some(prost_types::Duration { seconds: 0, nanos: 0 });
    assert_eq!(wrong(|spec| spec.completions = Some(0)), ["spec.completions"]);
    assert_eq!(wrong(|spec| spec.parallelism = Some(0)), ["spec.parallelism"]);
    assert_eq!(wrong(|spec| spec.max_retries = Some(2_000_000)), ["spec.max_retries"]);
    assert_eq!(wrong(|spec| spec.deadline = zero()), ["spec.deadline"]);
    let history = v1::JobHistory { succeeded: Some(1_000), failed: Some(1_000) };
    assert_eq!(wrong(|spec| spec.history = Some(history)), ["spec.history.succeeded", "spec.history.failed"]);
    let always = v1::RestartPolicy { mode: v1::RestartMode::Always.into(), max_attempts: 9, ..Default::default() };
    assert_eq!(
        wrong(|spec| spec.task.as_mut().unwrap().restart_policy = Some(always)),
        ["spec.task.restart_policy.mode", "spec.task.restart_policy.max_attempts"]
    );
    let arguments = |values: &[&str]| v1::IndexArguments { values: values.iter().map(|&value| value.into()).collect() };
    let two = |spec: &mut v1::JobSpec| {
        spec.completions = Some(3);
        spec.arguments = vec![arguments(&["a"]), arguments(&["b"])];
    };
    assert_eq!(wrong(two), ["spec.arguments"]);
}
