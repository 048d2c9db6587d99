//! Tables for people, without borders.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, Table};
use davit_proto::v1;
use jiff::Timestamp;

use super::known_nodes::KnownNodes;
use super::style::{Palette, Tone, tone_of};
use super::text::{age, from_proto_time, human_bytes, node_state, ports, short_id, task_name, task_state_and_health};

const COLUMN_GAP: u16 = 3;
/// What goes beyond is cut unless asked for.
pub(super) const DETAIL_CHARS: usize = 80;

/// How much of tasks is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct TasksView<'a> {
    /// Details are not cut.
    pub whole_details: bool,
    /// All tasks are of this deployment: their slots and versions are shown too.
    pub deployment: Option<&'a v1::Deployment>,
}

/// Tasks, one a line.
#[must_use]
pub fn tasks_table(
    tasks: &[v1::Task],
    nodes: &KnownNodes,
    now: Timestamp,
    view: TasksView<'_>,
    palette: Palette,
) -> String {
    let rows = tasks.iter().map(|task| {
        let status = task.status.clone().unwrap_or_default();
        let mut detail = nodes.detail_of(task, now).replace(['\n', '\r', '\t'], " ");
        if !view.whole_details {
            detail = cut(detail, DETAIL_CHARS);
        }
        let mut row = vec![Cell::new(short_id(&task.task_id)), Cell::new(task_name(task))];
        if let Some(deployment) = view.deployment {
            row.extend([slot(task, nodes), version(task, deployment)].map(Cell::new));
        }
        row.extend([
            toned(task_state_and_health(task), tone_of(task)),
            Cell::new(task.attempt),
            Cell::new(nodes.of(&status.node_id)),
            Cell::new(ports(&status)),
            Cell::new(since(task.create_time.as_ref(), now)),
            Cell::new(detail),
        ]);
        row
    });
    let mut header = vec!["TASK ID", "NAME"];
    if view.deployment.is_some() {
        header.extend(["SLOT", "VERSION"]);
    }
    header.extend(["STATE", "ATTEMPT", "NODE", "PORTS", "AGE", "DETAIL"]);
    render(&header, rows, palette)
}

/// The number of a replica; of a global deployment each node is a slot.
fn slot(task: &v1::Task, nodes: &KnownNodes) -> String {
    match &task.deployment {
        Some(place) if place.node_id.is_empty() => place.slot.to_string(),
        Some(place) => nodes.of(&place.node_id).to_owned(),
        None => "-".to_owned(),
    }
}

/// The newest version that wants the task as it is. Unknown of a task whose version is kept no more.
fn version(task: &v1::Task, deployment: &v1::Deployment) -> String {
    let wants = |version: &&v1::DeploymentVersion| {
        version.spec.as_ref().and_then(|spec| spec.task.as_ref()) == task.spec.as_ref()
    };
    deployment.versions.iter().rev().find(wants).map_or_else(|| "-".to_owned(), |version| version.version.to_string())
}

/// Volumes, one a line.
#[must_use]
pub fn volumes_table(volumes: &[v1::Volume], now: Timestamp, palette: Palette) -> String {
    let rows = volumes.iter().map(|volume| {
        vec![
            Cell::new(&volume.name),
            Cell::new(&volume.node_name),
            Cell::new(volume.task_count),
            Cell::new(since(volume.bind_time.as_ref(), now)),
        ]
    });
    render(&["VOLUME", "NODE", "TASKS", "AGE"], rows, palette)
}

/// Nodes, one a line.
#[must_use]
pub fn nodes_table(nodes: &[v1::Node], now: Timestamp, palette: Palette) -> String {
    let rows = nodes.iter().map(|node| {
        let allocated = node.allocated.unwrap_or_default();
        let allocatable = node.allocatable.unwrap_or_default();
        let tone = match node.state() {
            v1::NodeState::Down => Tone::Bad,
            v1::NodeState::Ready if !node.cordoned => Tone::Good,
            v1::NodeState::Ready | v1::NodeState::Suspect | v1::NodeState::Unspecified => Tone::Waiting,
        };
        vec![
            Cell::new(short_id(&node.node_id)),
            Cell::new(&node.name),
            toned(&node_state(node), tone),
            Cell::new(&node.address),
            Cell::new(node.task_count),
            Cell::new(format!("{} / {}", cores(allocated.cpu_millis), cores(allocatable.cpu_millis))),
            Cell::new(used(allocated.memory_bytes, allocatable.memory_bytes)),
            Cell::new(used(allocated.disk_bytes, allocatable.disk_bytes)),
            Cell::new(runtimes(node)),
            Cell::new(since(node.create_time.as_ref(), now)),
        ]
    });
    let header = ["NODE ID", "NAME", "STATE", "ADDRESS", "TASKS", "CPU", "MEMORY", "DISK", "RUNTIMES", "AGE"];
    render(&header, rows, palette)
}

/// Thousandths of cores as cores.
pub(super) fn cores(millis: u64) -> String {
    format!("{}", millis as f64 / 1000.0)
}

/// The same, counted: `1 core`, `1.5 cores`.
pub(super) fn counted_cores(millis: u64) -> String {
    format!("{} {}", cores(millis), if millis == 1000 { "core" } else { "cores" })
}

/// How much is set aside of how much.
pub(super) fn used(allocated: u64, allocatable: u64) -> String {
    format!("{} / {}", human_bytes(allocated), human_bytes(allocatable))
}

/// What a node can run, and what it could if it answered.
pub(super) fn runtimes(node: &v1::Node) -> String {
    let works = node.runtimes().map(|kind| runtime(kind).to_owned());
    let fails = node.runtime_problems.iter().map(|problem| format!("{} (failing)", runtime(problem.kind())));
    works.chain(fails).collect::<Vec<_>>().join(", ")
}

/// The name of a runtime.
pub(super) fn runtime(kind: v1::RuntimeKind) -> &'static str {
    match kind {
        v1::RuntimeKind::Docker => "docker",
        v1::RuntimeKind::Process => "process",
        v1::RuntimeKind::Unspecified => "unknown",
    }
}

pub(super) fn since(time: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    from_proto_time(time).map_or_else(String::new, |time| age(time, now))
}

pub(super) fn toned(text: &str, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Waiting => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
    }
}

pub(super) fn cut(text: String, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text,
        Some(_) => text.chars().take(max_chars - 1).chain(['…']).collect(),
    }
}

pub(super) fn render(header: &[&str], rows: impl Iterator<Item = Vec<Cell>>, palette: Palette) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if palette.is_colored() {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{NOW, failed_task, node, running_task, task};

    fn plain() -> Palette {
        Palette::new(false)
    }

    fn names() -> KnownNodes {
        [node(1, "one"), node(2, "two")].iter().collect()
    }

    fn some_tasks() -> Vec<v1::Task> {
        let mut pending = task(3, "big", v1::TaskState::Pending);
        pending.status.get_or_insert_default().reason = "no node fits: of 3 nodes 2 lack memory (512 MiB more needed \
                                                         on the best),\n1 does not satisfy `disk == ssd`"
            .to_owned();
        let mut gone = running_task();
        gone.status.get_or_insert_default().node_id = "0193a5c0-0000-7d3a-9a53-00000000dead".to_owned();
        vec![running_task(), failed_task(), pending, gone]
    }

    #[test]
    fn tasks_are_listed_one_a_line() {
        insta::assert_snapshot!(tasks_table(&some_tasks(), &names(), NOW, TasksView::default(), plain()));
    }

    #[test]
    fn tasks_of_a_deployment_are_listed_with_slot_and_version() {
        let version = |version, task: &v1::Task| {
            let spec = v1::DeploymentSpec { task: task.spec.clone(), ..Default::default() };
            v1::DeploymentVersion { version, spec: Some(spec), ..Default::default() }
        };
        let place = |slot, node: &str| {
            Some(v1::DeploymentSlot { deployment_id: String::new(), slot, node_id: node.to_owned() })
        };
        let (mut first, mut other, mut old) = (running_task(), failed_task(), task(3, "old", v1::TaskState::Stopped));
        (first.deployment, other.deployment, old.deployment) = (place(1, ""), place(12, ""), place(0, "n"));
        // The third only changed the number of replicas.
        let versions = vec![version(2, &other), version(3, &first), version(4, &first)];
        let deployment = v1::Deployment { versions, ..Default::default() };
        let view = TasksView { deployment: Some(&deployment), ..Default::default() };
        insta::assert_snapshot!(tasks_table(&[first, other, old], &names(), NOW, view, plain()));
    }

    #[test]
    fn one_core_is_one() {
        assert_eq!([0, 500, 1000, 2000].map(counted_cores), ["0 cores", "0.5 cores", "1 core", "2 cores"]);
    }

    #[test]
    fn details_are_whole_when_asked_for() {
        let text =
            tasks_table(&some_tasks(), &names(), NOW, TasksView { whole_details: true, ..Default::default() }, plain());
        assert!(text.contains("on the best), 1 does not satisfy `disk == ssd`"), "{text}");
    }

    #[test]
    fn an_empty_list_has_its_header() {
        assert!(tasks_table(&[], &names(), NOW, TasksView::default(), plain()).starts_with("TASK ID   NAME"));
    }

    #[test]
    fn states_have_colors_that_do_not_move_the_columns() {
        let colored = tasks_table(&some_tasks(), &names(), NOW, TasksView::default(), Palette::new(true));
        assert!(colored.contains("\u{1b}["), "{colored}");
        let parts = colored.split('\u{1b}');
        let bare: String = parts
            .enumerate()
            .map(|(index, part)| if index == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) })
            .collect();
        let trimmed: Vec<_> = bare.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n"), tasks_table(&some_tasks(), &names(), NOW, TasksView::default(), plain()));
    }

    #[test]
    fn nodes_are_listed_one_a_line() {
        let mut down = node(2, "two");
        down.state = v1::NodeState::Down.into();
        down.cordoned = true;
        insta::assert_snapshot!(nodes_table(&[node(1, "one"), down], NOW, plain()));
    }
}
