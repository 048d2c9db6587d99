//! What sample projects become, and plans of changes of them, as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use davit_compose::{Input, SourceFile, load};
use davit_core::deployment::DeploymentSpec;
use davit_core::file::{ConfigName, FileContent};
use davit_core::spec::{RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_core::validate::Violations;
use davit_proto::v1;
use uuid::Uuid;

use super::*;
use crate::commands::test_support::{Cluster, node_id, status, task_id};
use crate::commands::{
    AppChanges, Error, Limits, NewConfig, Placement, Wanted, WantedApp, WantedJob, apply_app, apply_reports,
    commit_placements, delete_app, plan_app, reconcile_deployment,
};
use crate::state::KeyedSpec;

/// An app of sample files.
struct Sample {
    files: Vec<SourceFile>,
    lenient: bool,
    profiles: Vec<String>,
}

impl Sample {
    fn of(names: &[&str]) -> Self {
        let read = |name: &&str| {
            let path = format!("{}/../crates/compose/tests/samples/{name}", env!("CARGO_MANIFEST_DIR"));
            SourceFile { name: (*name).to_owned(), text: std::fs::read_to_string(path).unwrap() }
        };
        Self { files: names.iter().map(read).collect(), lenient: false, profiles: Vec::new() }
    }

    fn text(text: &str) -> Self {
        let file = SourceFile { name: "compose.yaml".to_owned(), text: text.to_owned() };
        Self { files: vec![file], lenient: false, profiles: Vec::new() }
    }

    fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    fn with(mut self, old: &str, new: &str) -> Self {
        assert!(self.files[0].text.contains(old), "{old}");
        self.files[0].text = self.files[0].text.replace(old, new);
        self
    }

    /// What it becomes, or what is wrong; and the warnings.
    fn mapped(&self) -> (Result<Mapped, String>, String) {
        let variables = [("DB_PASSWORD", "pw"), ("SECRET_KEY", "key")];
        let input = Input {
            files: self.files.clone(),
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            default_name: Some("sample".to_owned()),
            profiles: self.profiles.clone(),
            lenient: self.lenient,
            ..Input::default()
        };
        let loaded = load(&input).unwrap();
        let mut refusals = Refusals::new(self.lenient);
        let mapped = map_project(&loaded.project, &mut refusals, name_versions);
        let (problems, is_error) = refusals.finish();
        let told: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        if is_error { (Err(told.clone()), told) } else { (Ok(mapped), told) }
    }

    fn wanted(&self) -> WantedApp {
        let mapped = self.mapped().0.unwrap();
        let wanted = |spec: DeploymentSpec| {
            let task = KeyedSpec::new(Arc::clone(&spec.task));
            Wanted { spec, task, author: "someone".to_owned() }
        };
        let wanted_job = |spec: davit_core::job::JobSpec| {
            let task = KeyedSpec::new(Arc::clone(&spec.task));
            WantedJob { spec, task }
        };
        let config = |(name, content): (ConfigName, FileContent)| {
            let (labels, app) = (BTreeMap::new(), mapped.app.clone());
            (name.clone(), NewConfig { name, content, labels, app })
        };
        WantedApp {
            configs: mapped.configs.into_iter().map(config).collect(),
            app: mapped.app,
            deployments: mapped.deployments.into_iter().map(|(name, spec)| (name, wanted(spec))).collect(),
            jobs: mapped.jobs.into_iter().map(|(name, spec)| (name, wanted_job(spec))).collect(),
            unselected: mapped.unselected,
            prune: true,
            plan_token: String::new(),
        }
    }

    fn refused(&self) -> String {
        self.mapped().0.unwrap_err()
    }
}

/// Has specs name what comes with their project.
fn name_versions(configs: &BTreeMap<ConfigName, FileContent>, spec: &mut Arc<TaskSpec>, _: &mut Violations) {
    if let RuntimeSpec::Container(container) = &mut Arc::make_mut(spec).runtime {
        for grant in &mut container.files {
            grant.digest = configs.get(&grant.config).map(FileContent::digest);
        }
    }
}

fn apply(cluster: &mut Cluster, wanted: WantedApp) -> Result<AppChanges, Error> {
    let from = cluster.state.revision().0;
    let mut ids = (0..).map(|number| Uuid::from_u64_pair(9, from * 1000 + number));
    cluster.run(|draft| apply_app(draft, wanted, &mut ids, Limits::NONE))
}

/// Has all deployments and jobs get their tasks, those of deployments run and be healthy, and those of jobs complete.
fn settle(cluster: &mut Cluster) {
    let mut made = 1_000_000;
    for _ in 0..100 {
        let before = cluster.state.revision();
        let due = cluster.state.deployments_to_look_at(cluster.now);
        cluster.run(|draft| {
            let mut ids = std::iter::repeat_with(|| {
                made += 1;
                task_id(made)
            });
            due.iter().for_each(|id| reconcile_deployment(draft, *id, &mut ids, Limits::NONE));
        });
        cluster.created = made;
        cluster.reconcile_jobs();
        made = cluster.created;
        let waiting: Vec<_> = cluster.state.placeable(cluster.now).map(|task| task.key()).collect();
        for key in waiting {
            cluster.run(|draft| commit_placements(draft, &[Placement { key, node_id: node_id(1) }]));
            let of_job = cluster.task(key.task_id).run_index().is_some();
            let state = if of_job { TaskState::Completed } else { TaskState::Running };
            let reported = AttemptStatus { ready: !of_job, ..status(key.attempt, state) };
            cluster.run(|draft| apply_reports(draft, node_id(1), vec![(key.task_id, reported)]));
        }
        if cluster.state.revision() == before {
            return;
        }
    }
}

fn text((deployments, jobs): &(Vec<v1::PlannedDeployment>, Vec<v1::PlannedJob>)) -> String {
    let mut text = String::new();
    for planned in deployments {
        let action = planned.action().as_str_name().trim_start_matches("PLANNED_ACTION_");
        let (created, replaced, stopped) = (planned.created_tasks, planned.replaced_tasks, planned.stopped_tasks);
        let name = &planned.deployment;
        let _ = writeln!(text, "{name} {action} created {created} replaced {replaced} stopped {stopped}");
        add_changes(&mut text, &planned.changes);
    }
    for planned in jobs {
        let action = planned.action().as_str_name().trim_start_matches("PLANNED_ACTION_");
        let runs = if planned.begins_run { ", and runs" } else { "" };
        let _ = writeln!(text, "job {} {action}{runs}", planned.job);
        add_changes(&mut text, &planned.changes);
    }
    text
}

fn add_changes(text: &mut String, changes: &[v1::FieldChange]) {
    for change in changes {
        let _ = match (&change.before, &change.after) {
            (Some(before), Some(after)) => writeln!(text, "  ~ {}: {before} -> {after}", change.path),
            (Some(before), None) => writeln!(text, "  - {}: {before}", change.path),
            (None, after) => writeln!(text, "  + {}: {}", change.path, after.clone().unwrap_or_default()),
        };
    }
}

fn first_plan(sample: &Sample) -> String {
    let mut cluster = Cluster::new(1);
    let app = sample.wanted();
    let name = app.app.clone();
    let changes = apply(&mut cluster, app).unwrap();
    let warnings = sample.mapped().1;
    format!("{}{warnings}", text(&planned(&name, &changes)))
}

#[test]
fn first_plans_of_samples() {
    insta::assert_snapshot!("web_database_cache", first_plan(&Sample::of(&["web-database-cache.yaml"])));
    insta::assert_snapshot!("shop_for_production", first_plan(&Sample::of(&["shop.yaml", "shop.prod.yaml"])));
    insta::assert_snapshot!("log_agents", first_plan(&Sample::of(&["log-agents.yaml"])));
    insta::assert_snapshot!("wordpress", first_plan(&Sample::of(&["wordpress.yaml"])));
    insta::assert_snapshot!("canonical_stack", first_plan(&Sample::of(&["canonical-stack.yaml"])));
    insta::assert_snapshot!("canonical_kafka", first_plan(&Sample::of(&["canonical-kafka.yaml"])));
    insta::assert_snapshot!("workers_broker", first_plan(&Sample::of(&["workers-broker.yaml"])));
}

#[test]
fn a_plan_of_changes_says_what_is_rolled_and_what_is_changed_in_place() {
    let mut cluster = Cluster::new(1);
    let sample = Sample::of(&["web-database-cache.yaml"]);
    apply(&mut cluster, sample.wanted()).unwrap();
    settle(&mut cluster);
    let next = Sample::of(&["web-database-cache.yaml"])
        .with("DEBUG: \"false\"", "DEBUG: \"true\"\n      LEVEL: info")
        .with("      replicas: 3\n", "      replicas: 2\n")
        .with("    stop_grace_period: 1m\n", "    stop_grace_period: 2m\n")
        .with("  cache:\n    image", "  cache2:\n    image")
        .with("      cache:\n        condition: service_started\n", "");
    let changes = apply(&mut cluster, next.wanted()).unwrap();
    insta::assert_snapshot!("changes", text(&planned("sample", &changes)));
}

#[test]
fn what_is_not_supported_yet_is_refused_with_its_place() {
    insta::assert_snapshot!("refused", Sample::of(&["jobs.yaml"]).refused());
    insta::assert_snapshot!("refused_more", Sample::text(REFUSED).refused());
    assert!(Sample::text(REFUSED).lenient().mapped().0.is_ok());
}

const REFUSED: &str = "\
services:
  web:
    image: web:1
    entrypoint: []
    depends_on: {db: {condition: service_started}}
    healthcheck: {interval: 5s}
  db:
    image: db:1
    volumes: ['data:/data']
volumes: {data: {external: true}}
x-davit:
  colocate: [[web, db]]
";

#[test]
fn services_that_are_jobs_become_jobs() {
    let sample = || Sample::of(&["jobs.yaml"]).with("\n    deploy: {mode: global-job}", "");
    insta::assert_snapshot!("jobs", first_plan(&sample()));
    // Nothing changes again; where tasks do something else, a job without a schedule runs again.
    let mut cluster = Cluster::new(1);
    apply(&mut cluster, sample().wanted()).unwrap();
    settle(&mut cluster);
    let revision = cluster.state.revision();
    apply(&mut cluster, sample().wanted()).unwrap();
    assert_eq!(cluster.state.revision(), revision);
    let changes = apply(&mut cluster, sample().with("example/", "another/").wanted()).unwrap();
    let (_, jobs) = planned("batch", &changes);
    let told: Vec<_> = jobs.iter().map(|job| (job.service.as_str(), job.action(), job.begins_run)).collect();
    use v1::PlannedAction::Update;
    assert_eq!(told, [("backup", Update, false), ("migrate", Update, true), ("render", Update, true)]);
    let gone = apply(&mut cluster, Sample::text("name: batch\nservices: {db: {image: 'x:1'}}\n").wanted()).unwrap();
    assert!(gone.jobs.iter().all(|change| change.after.is_deleted) && gone.jobs.len() == 3);
    settle(&mut cluster);
    assert_eq!((cluster.state.job_count(), cluster.state.apps_after("").count()), (0, 1));
}

#[test]
fn what_waits_for_a_job_begins_when_that_has_completed_and_a_job_waits_as_well() {
    let mut cluster = Cluster::new(1);
    apply(&mut cluster, Sample::of(&["jobs.yaml"]).with("\n    deploy: {mode: global-job}", "").wanted()).unwrap();
    cluster.reconcile_jobs();
    let migrate = cluster.state.job_by_name("batch_migrate").unwrap();
    assert_eq!(migrate.runs[0].reason, "waits for batch_db to be started");
    cluster.reconcile_deployments();
    let web = |cluster: &Cluster| cluster.state.deployment_by_name("batch_web").unwrap().rollout.reason.clone();
    assert_eq!(web(&cluster), "waits for job batch_migrate to complete");
    settle(&mut cluster);
    assert_eq!(web(&cluster), "");
    assert_eq!(cluster.state.replicas(cluster.state.deployment_by_name("batch_web").unwrap().deployment_id).ready(), 1);
}

#[test]
fn a_service_has_all_its_names_in_the_network_of_its_app() {
    let sample = "services:\n  web: {image: 'x:1', container_name: the-web, networks: {front: {aliases: [www]}}}\n  \
                  db: {image: 'x:1'}\nnetworks: {front: {}}\n";
    let mapped = Sample::text(sample).mapped().0.unwrap();
    let network = |deployment: &str| match &mapped.deployments[deployment].task.runtime {
        RuntimeSpec::Container(container) => container.network.clone().unwrap(),
        RuntimeSpec::Process(_) => panic!("no service is a process"),
    };
    let web = network("sample_web");
    assert_eq!((web.name.as_str(), web.aliases.join(" ").as_str()), ("sample", "web sample_web the-web www"));
    assert_eq!(network("sample_db").aliases, ["db", "sample_db"]);
    let plan = first_plan(&Sample::text(sample));
    assert!(plan.contains("network.aliases: [\"web\",\"sample_web\",\"the-web\",\"www\"]"), "{plan}");
    assert!(!plan.contains("sample_db\","), "what goes without saying is not told: {plan}");
}

#[test]
fn applying_again_changes_nothing() {
    let mut cluster = Cluster::new(1);
    let sample = Sample::of(&["shop.yaml", "shop.prod.yaml"]);
    apply(&mut cluster, sample.wanted()).unwrap();
    let before = cluster.state.revision();
    let changes = apply(&mut cluster, sample.wanted()).unwrap();
    assert_eq!(cluster.state.revision(), before);
    let (planned, _) = planned("sample", &changes);
    assert!(
        planned.iter().all(|planned| planned.action() == v1::PlannedAction::Unchanged && planned.changes.is_empty())
    );
}

const TWO: &str = "services:\n  a: {image: 'x:1'}\n  b: {image: 'x:1', profiles: [more]}\n";

#[test]
fn what_is_in_no_file_goes_and_what_no_profile_selects_stays() {
    let mut cluster = Cluster::new(1);
    let mut both = Sample::text(TWO);
    both.profiles = vec!["more".to_owned()];
    apply(&mut cluster, both.wanted()).unwrap();
    let action = |changes: &AppChanges| -> BTreeMap<String, v1::PlannedAction> {
        planned("sample", changes).0.iter().map(|planned| (planned.deployment.clone(), planned.action())).collect()
    };
    let changes = apply(&mut cluster, Sample::text(TWO).wanted()).unwrap();
    assert_eq!(action(&changes)["sample_b"], v1::PlannedAction::Unchanged);
    let one = "services:\n  a: {image: 'x:1'}\n";
    let kept = WantedApp { prune: false, ..Sample::text(one).wanted() };
    assert_eq!(action(&apply(&mut cluster, kept).unwrap())["sample_b"], v1::PlannedAction::Unchanged);
    let changes = apply(&mut cluster, Sample::text(one).wanted()).unwrap();
    assert_eq!(action(&changes)["sample_b"], v1::PlannedAction::Remove);
    assert!(cluster.state.deployment_by_name("sample_b").unwrap().is_deleted);
}

#[test]
fn nothing_is_changed_where_something_is_in_the_way() {
    let mut cluster = Cluster::new(1);
    let task = TaskSpec::clone(&Sample::text(TWO).wanted().deployments["sample_a"].spec.task);
    assert!(cluster.deploy("sample_a", task, davit_core::deployment::DeploymentMode::Replicated { replicas: 1 }));
    let mut both = Sample::text(TWO);
    both.profiles = vec!["*".to_owned()];
    let before = cluster.state.revision();
    let error = apply(&mut cluster, both.wanted()).unwrap_err();
    assert!(matches!(&error, Error::OfAnotherApp { name, app, .. } if name == "sample_a" && app.is_empty()), "{error}");
    assert_eq!(cluster.state.revision(), before);
}

#[test]
fn what_is_applied_is_what_was_planned_or_nothing() {
    let mut cluster = Cluster::new(1);
    let token_of = |cluster: &Cluster, sample: &Sample| {
        let steps = plan_app(&cluster.state, sample.wanted(), Limits::NONE).unwrap();
        plan_token("sample", &steps)
    };
    let sample = Sample::text(TWO);
    let token = token_of(&cluster, &sample);
    let other = WantedApp { plan_token: token.clone(), ..sample.with("x:1", "x:2").wanted() };
    assert_eq!(apply(&mut cluster, other).unwrap_err(), Error::PlanHasChanged { app: "sample".to_owned() });
    let same = WantedApp { plan_token: token.clone(), ..Sample::text(TWO).wanted() };
    apply(&mut cluster, same).unwrap();
    // It is done.
    let again = WantedApp { plan_token: token, ..Sample::text(TWO).wanted() };
    assert!(apply(&mut cluster, again).is_err());
}

#[test]
fn an_app_is_deleted_whole() {
    let mut cluster = Cluster::new(1);
    apply(&mut cluster, Sample::text(TWO).wanted()).unwrap();
    let deleted = cluster.run(|draft| delete_app(draft, "sample")).unwrap();
    assert_eq!((deleted.deployments, deleted.jobs), (vec!["sample_a".to_owned()], vec![]));
    let error = apply(&mut cluster, Sample::text(TWO).wanted()).unwrap_err();
    assert!(matches!(error, Error::DeploymentIsBeingDeleted { .. }), "{error}");
    settle(&mut cluster);
    assert!(cluster.state.deployment_by_name("sample_a").is_none());
    assert_eq!(cluster.state.apps_after("").count(), 0);
    let error = cluster.run(|draft| delete_app(draft, "sample")).unwrap_err();
    assert_eq!(error, Error::AppNotFound { app: "sample".to_owned() });
}

#[test]
fn what_must_complete_is_not_started_again() {
    let sample = "services:\n  a: {image: 'x:1'}\n  b: {image: 'x:1', depends_on: {a: {condition: \
                  service_completed_successfully}}}\n";
    let plan = first_plan(&Sample::text(sample));
    assert!(plan.contains("+ task.restart_policy.mode: RESTART_MODE_ON_FAILURE"), "{plan}");
    let always = Sample::text(&sample.replace("{image: 'x:1'}", "{image: 'x:1', restart: always}"));
    let (_, warnings) = always.mapped();
    assert!(warnings.contains("compose.yaml:2:21: warning: services.a.restart: it runs again whenever"), "{warnings}");
}

#[test]
fn values_that_no_task_may_have_are_told_at_their_keys() {
    let sample = "services:\n  a:\n    image: 'x:1'\n    working_dir: relative\n    stop_grace_period: 3h\n";
    insta::assert_snapshot!("bad_values", Sample::text(sample).refused());
}

#[test]
fn what_a_job_can_not_be_and_what_is_said_twice_in_different_ways_is_told() {
    let sample = "services:\n  a:\n    image: 'x:1'\n    restart: always\n    deploy:\n      replicas: 2\n      \
                  update_config: {parallelism: 2}\n      restart_policy: {max_attempts: 5}\n    x-davit:\n      \
                  canaries: 1\n      job: {completions: 5, retries: 4}\n  b:\n    image: 'x:1'\n    \
                  deploy: {restart_policy: {condition: none}}\n    x-davit: {job: {retries: 4}}\n";
    insta::assert_snapshot!("refused_of_jobs", Sample::text(sample).refused());
}

#[test]
fn each_of_several_wrong_values_is_told_once_at_its_own_key() {
    let sample = "services:\n  a:\n    image: 'x:1'\n    healthcheck: {test: 'true', interval: 10ms, retries: 100000}\n    \
                  deploy:\n      update_config:\n        monitor: 48h\n    x-davit:\n      canaries: 10000000\n  b:\n    image: 'x:1'\n    \
                  x-davit:\n      job:\n        schedule: '0 0 30 2 *'\n        time_zone: Nowhere\n";
    insta::assert_snapshot!("several_bad_values", Sample::text(sample).refused());
}
