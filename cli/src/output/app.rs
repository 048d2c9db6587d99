//! Apps, and what would become of them, for people.

mod field;

use std::fmt::Write as _;

use comfy_table::Cell;
use davit_core::words::counted;
use davit_proto::v1;

use self::field::field_lines;
use super::deployment::ready_of;
use super::style::{Palette, Tone};
use super::table::{DETAIL_CHARS, cut, render, toned};

/// What would become of an app, field by field.
#[must_use]
pub fn app_plan(plan: &v1::PlanAppResponse, palette: Palette) -> String {
    let changes = plan.deployments.iter().filter(|planned| planned.action() != v1::PlannedAction::Unchanged);
    let mut text = String::new();
    for planned in changes {
        add_deployment(&mut text, planned, palette);
        text.push('\n');
    }
    for planned in plan.jobs.iter().filter(|planned| planned.action() != v1::PlannedAction::Unchanged) {
        add_job(&mut text, planned, palette);
        text.push('\n');
    }
    if text.is_empty() {
        let mut there = counted(plan.deployments.len() as u64, "deployment", "deployments");
        if !plan.jobs.is_empty() {
            there = format!("{there} and {}", counted(plan.jobs.len() as u64, "job", "jobs"));
        }
        return format!("{}: nothing to change; {there} unchanged\n", plan.app);
    }
    let _ = writeln!(text, "{}: {}", plan.app, summary(plan));
    if !plan.placement_problem.is_empty() {
        let unknown = format!("Where tasks would be placed is not all known: {}", plan.placement_problem);
        text.push_str(&palette.paint(Tone::Waiting, &unknown));
        text.push('\n');
    }
    text
}

fn in_words(action: v1::PlannedAction) -> (&'static str, Tone, &'static str) {
    match action {
        v1::PlannedAction::Create => ("+", Tone::Good, "is created"),
        v1::PlannedAction::Remove => ("-", Tone::Bad, "is removed"),
        v1::PlannedAction::Roll => ("~", Tone::Waiting, "is rolled"),
        v1::PlannedAction::Update => ("~", Tone::Waiting, "is changed in place"),
        v1::PlannedAction::Unchanged | v1::PlannedAction::Unspecified => (" ", Tone::Plain, "is unchanged"),
    }
}

fn add_job(text: &mut String, planned: &v1::PlannedJob, palette: Palette) {
    let (sign, tone, what) = in_words(planned.action());
    let runs = match planned.begins_run {
        true => format!(", and runs: {} created", counted(planned.started_tasks.into(), "task", "tasks")),
        false => String::new(),
    };
    let _ = writeln!(text, "{}", palette.paint(tone, &format!("{sign} job {} {what}{runs}", planned.job)));
    add_fields(text, "JobSpec", &planned.changes, palette);
    if let Some(placement) = &planned.placement {
        add_placement(text, placement, palette);
    }
}

fn add_deployment(text: &mut String, planned: &v1::PlannedDeployment, palette: Palette) {
    let (sign, tone, what) = in_words(planned.action());
    let tasks =
        [(planned.created_tasks, "created"), (planned.replaced_tasks, "replaced"), (planned.stopped_tasks, "stopped")];
    let tasks = tasks.iter().filter(|(count, _)| *count > 0);
    let tasks: Vec<String> =
        tasks.map(|(count, what)| format!("{} {what}", counted((*count).into(), "task", "tasks"))).collect();
    let tasks = if tasks.is_empty() { String::new() } else { format!(": {}", tasks.join(", ")) };
    let _ = writeln!(text, "{}", palette.paint(tone, &format!("{sign} {} {what}{tasks}", planned.deployment)));
    add_fields(text, "DeploymentSpec", &planned.changes, palette);
    if let Some(placement) = &planned.placement {
        add_placement(text, placement, palette);
    }
}

fn add_fields(text: &mut String, message: &str, changes: &[v1::FieldChange], palette: Palette) {
    for line in field_lines(message, changes, palette) {
        let _ = writeln!(text, "    {line}");
    }
}

fn add_placement(text: &mut String, placement: &v1::PlannedPlacement, palette: Palette) {
    let nodes: Vec<String> = placement.nodes.iter().map(|each| format!("{} on {}", each.count, each.node)).collect();
    if !nodes.is_empty() {
        let _ = writeln!(text, "    placed: {}", nodes.join(", "));
    }
    if placement.unplaced_count > 0 {
        let why = if placement.unplaced_reason.is_empty() { "no place" } else { &placement.unplaced_reason };
        let line = format!("{} of its tasks would find no place: {why}", placement.unplaced_count);
        let _ = writeln!(text, "    {}", palette.paint(Tone::Bad, &line));
    }
    for reason in &placement.preemptions {
        let _ = writeln!(text, "    {}", palette.paint(Tone::Waiting, reason));
    }
}

fn summary(plan: &v1::PlanAppResponse) -> String {
    use v1::PlannedAction::{Create, Remove, Roll, Unchanged, Update};
    let actions = || {
        let of_deployments = plan.deployments.iter().map(v1::PlannedDeployment::action);
        of_deployments.chain(plan.jobs.iter().map(v1::PlannedJob::action))
    };
    let count = |wanted| actions().filter(|action| *action == wanted).count();
    let parts = [
        (count(Create), "to create"),
        (count(Roll), "to roll"),
        (count(Update), "to change in place"),
        (count(Remove), "to remove"),
        (count(Unchanged), "unchanged"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// Apps, one a line. `whole_details`: they are not cut.
#[must_use]
pub fn apps_table(apps: &[v1::App], whole_details: bool, palette: Palette) -> String {
    let rows = apps.iter().map(|app| {
        let is_fine = app.ready_tasks + app.completed_tasks >= app.desired_tasks;
        let ready_tone = if is_fine { Tone::Good } else { Tone::Waiting };
        let (state, tone) = state(app);
        let detail = app.trouble.clone();
        vec![
            Cell::new(&app.name),
            Cell::new(app.deployments.len()),
            Cell::new(app.jobs.len()),
            toned(&ready_of(app.ready_tasks, app.desired_tasks, app.completed_tasks), ready_tone),
            toned(&state, tone),
            Cell::new(if whole_details { detail } else { cut(detail, DETAIL_CHARS) }),
        ]
    });
    render(&["NAME", "DEPLOYMENTS", "JOBS", "READY", "STATE", "DETAIL"], rows, palette)
}

fn state(app: &v1::App) -> (String, Tone) {
    if app.deleting {
        return ("DELETING".to_owned(), Tone::Waiting);
    }
    let tone = match app.state() {
        v1::RolloutState::Complete => Tone::Good,
        v1::RolloutState::Paused | v1::RolloutState::Failed => Tone::Bad,
        v1::RolloutState::InProgress | v1::RolloutState::AwaitingPromotion | v1::RolloutState::Unspecified => {
            Tone::Waiting
        }
    };
    (app.state().as_str_name().trim_start_matches("ROLLOUT_STATE_").to_owned(), tone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, before: Option<&str>, after: Option<&str>) -> v1::FieldChange {
        let side = |side: Option<&str>| side.map(str::to_owned);
        v1::FieldChange { path: path.to_owned(), before: side(before), after: side(after) }
    }

    fn planned(name: &str, action: v1::PlannedAction) -> v1::PlannedDeployment {
        v1::PlannedDeployment { deployment: name.to_owned(), action: action.into(), ..Default::default() }
    }

    fn plan() -> v1::PlanAppResponse {
        let placement = v1::PlannedPlacement {
            nodes: vec![v1::PlannedNode { node: "one".to_owned(), count: 2 }],
            unplaced_count: 1,
            unplaced_reason: "fits 0 of 1 node: 1 lacks memory".to_owned(),
            preemptions: Vec::new(),
        };
        let created = v1::PlannedDeployment {
            changes: vec![change("task.container.image", None, Some("web:2"))],
            created_tasks: 3,
            placement: Some(placement),
            ..planned("shop_web", v1::PlannedAction::Create)
        };
        let rolled = v1::PlannedDeployment {
            changes: vec![
                change("task.container.env.A", Some("a\nb"), Some("")),
                change("task.container.user", Some("\"x\""), None),
            ],
            replaced_tasks: 1,
            ..planned("shop_db", v1::PlannedAction::Roll)
        };
        let removed = v1::PlannedDeployment { stopped_tasks: 2, ..planned("shop_old", v1::PlannedAction::Remove) };
        let unchanged = planned("shop_cache", v1::PlannedAction::Unchanged);
        let nodes = vec![v1::PlannedNode { node: "two".to_owned(), count: 4 }];
        let job = v1::PlannedJob {
            job: "shop_migrate".to_owned(),
            action: v1::PlannedAction::Create.into(),
            changes: vec![change("time_to_live", None, Some("604800s"))],
            begins_run: true,
            started_tasks: 4,
            placement: Some(v1::PlannedPlacement { nodes, ..Default::default() }),
            ..Default::default()
        };
        v1::PlanAppResponse {
            app: "shop".to_owned(),
            deployments: vec![unchanged, rolled, removed, created],
            jobs: vec![job],
            placement_problem: "no scheduler was reached".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_plan_is_told_field_by_field() {
        insta::assert_snapshot!(app_plan(&plan(), Palette::new(false)));
    }

    #[test]
    fn a_plan_that_changes_nothing_says_so() {
        let mut plan = plan();
        plan.deployments.truncate(1);
        plan.jobs.clear();
        assert_eq!(app_plan(&plan, Palette::new(false)), "shop: nothing to change; 1 deployment unchanged\n");
    }

    #[test]
    fn apps_are_listed_one_a_line() {
        let app = v1::App {
            name: "shop".to_owned(),
            deployments: vec!["shop_db".to_owned(), "shop_web".to_owned()],
            jobs: vec!["shop_migrate".to_owned()],
            desired_tasks: 4,
            ready_tasks: 3,
            completed_tasks: 0,
            state: v1::RolloutState::InProgress.into(),
            deleting: false,
            trouble: "shop_web: waits for shop_db to be healthy".to_owned(),
        };
        let gone = v1::App { name: "old".to_owned(), deleting: true, ..Default::default() };
        insta::assert_snapshot!(apps_table(&[app, gone], false, Palette::new(false)));
    }

    #[test]
    fn what_is_wrong_with_an_app_is_told_whole_when_asked_for() {
        let trouble = format!("shop_web: {}the end", "4 of 4 slots crash; ".repeat(10));
        let app = v1::App { name: "shop".to_owned(), trouble, ..Default::default() };
        let told = |whole| apps_table(std::slice::from_ref(&app), whole, Palette::new(false));
        assert!(told(true).contains(&app.trouble) && !told(false).contains("the end"), "{}", told(true));
    }
}
