//! From what a user typed to the task or node that is meant.

use davit_proto::v1;
use prost_reflect::DynamicMessage;
use tonic::Code;

use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{Described, KnownNodes, has_ended, short_id, state_of, task_state};

const ID_CHARS: usize = 36;
const MAX_NAME_CHARS: usize = 63;
const LISTED_MATCHES: usize = 10;

/// What is to be done with a task that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is looked at: where all that have a name have ended, the newest is meant.
    Read,
    /// It is changed: what could be several is none.
    Change,
}

/// The tasks that a reference may stand for.
#[derive(Debug, Default)]
pub struct Matches {
    /// Oldest first; none that has ended beside one that has not.
    pub tasks: Vec<v1::Task>,
    /// Whether it is their name, rather than a part of their ids.
    by_name: bool,
}

impl Matches {
    fn named(tasks: Vec<v1::Task>) -> Self {
        Self { tasks: meant(tasks), by_name: true }
    }

    /// The one that is meant, if there is any.
    ///
    /// # Errors
    /// When there are several.
    pub fn one(mut self, reference: &str, purpose: Purpose) -> Result<Option<v1::Task>, Error> {
        if self.by_name && purpose == Purpose::Read && self.tasks.iter().all(|task| has_ended(state_of(task))) {
            return Ok(self.tasks.pop());
        }
        only_task(reference, self.tasks)
    }
}

/// Of tasks with one name those that are meant: the ones that are to run, else those that are being stopped, such as for another
/// one in their place, else those that have ended.
fn meant(mut tasks: Vec<v1::Task>) -> Vec<v1::Task> {
    let rank = |task: &v1::Task| match task.desired_state() {
        _ if has_ended(state_of(task)) => 2,
        v1::DesiredState::Running => 0,
        v1::DesiredState::Stopped | v1::DesiredState::Removed | v1::DesiredState::Unspecified => 1,
    };
    let first = tasks.iter().map(rank).min();
    tasks.retain(|task| Some(rank(task)) == first);
    tasks
}

/// The tasks that a reference may stand for: an id, a name, a name with a slot of a deployment, the beginning or end of an id.
///
/// # Errors
/// When a call fails.
pub async fn matches(manager: &Manager, reference: &str) -> Result<Matches, Error> {
    if may_be_id_part(reference) && reference.len() == ID_CHARS {
        return match manager.get_task(reference).await {
            Err(error) if error.code() == Some(Code::NotFound) => Ok(Matches::default()),
            answer => answer.map(|task| Matches { tasks: vec![task], by_name: false }),
        };
    }
    let mut named = Vec::new();
    if may_be_name(reference) {
        named = with_name(manager, reference).await?;
    }
    if let Some((name, slot)) = name_and_slot(reference).filter(|_| named.is_empty()) {
        named = with_name(manager, name).await?;
        named.retain(|task| task.deployment.as_ref().is_some_and(|place| place.slot == slot));
    }
    if named.is_empty() && may_be_id_part(reference) {
        let filter = v1::TaskFilter { id_part: reference.to_ascii_lowercase(), ..Default::default() };
        return Ok(Matches { tasks: manager.list_tasks(filter).await?.0, by_name: false });
    }
    Ok(Matches::named(named))
}

async fn with_name(manager: &Manager, name: &str) -> Result<Vec<v1::Task>, Error> {
    let filter = v1::TaskFilter { name: name.to_owned(), ..Default::default() };
    Ok(manager.list_tasks(filter).await?.0)
}

/// A name and a slot, `web.2`: tasks of a deployment have one name.
fn name_and_slot(reference: &str) -> Option<(&str, u32)> {
    let (name, slot) = reference.rsplit_once('.')?;
    let slot = slot.parse().ok().filter(|slot| *slot > 0)?;
    may_be_name(name).then_some((name, slot))
}

/// The task that is meant.
///
/// # Errors
/// When there is none, or more than one, or a call fails.
pub async fn task(manager: &Manager, reference: &str, purpose: Purpose) -> Result<v1::Task, Error> {
    find_task(manager, reference, purpose).await?.ok_or_else(|| no_task(reference))
}

async fn find_task(manager: &Manager, reference: &str, purpose: Purpose) -> Result<Option<v1::Task>, Error> {
    matches(manager, reference).await?.one(reference, purpose)
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum Found {
    /// A task.
    Task(Box<v1::Task>),
    /// A node.
    Node(Box<v1::Node>),
}

impl Described for Found {
    fn dynamic(&self) -> Result<DynamicMessage, Error> {
        match self {
            Self::Task(task) => task.dynamic(),
            Self::Node(node) => node.dynamic(),
        }
    }
}

/// The task that is meant, else the node.
///
/// # Errors
/// When there is neither, or more than one task or node, or a call fails.
pub async fn task_or_node(manager: &Manager, reference: &str) -> Result<Found, Error> {
    if let Some(task) = find_task(manager, reference, Purpose::Read).await? {
        return Ok(Found::Task(Box::new(task)));
    }
    if let Some(node) = find_node(manager, reference).await? {
        return Ok(Found::Node(Box::new(node)));
    }
    Err(Error::failed(format!(
        "there is no task or node with the id or name `{reference}`; `davit ps -a` and `davit node ls` list all"
    )))
}

/// All tasks that are meant, to be changed, in the order given.
///
/// # Errors
/// When any of them can't be told.
pub async fn tasks_to_change(manager: &Manager, references: &[String]) -> Result<Vec<v1::Task>, Error> {
    let mut found: Vec<v1::Task> = Vec::new();
    for reference in references {
        let task = task(manager, reference, Purpose::Change).await?;
        if found.iter().all(|other| other.task_id != task.task_id) {
            found.push(task);
        }
    }
    Ok(found)
}

/// The node with this name, id, or beginning or end of an id.
///
/// # Errors
/// When there is none, or more than one, or a call fails.
pub async fn node(manager: &Manager, reference: &str) -> Result<v1::Node, Error> {
    find_node(manager, reference).await?.ok_or_else(|| no_node(reference))
}

async fn find_node(manager: &Manager, reference: &str) -> Result<Option<v1::Node>, Error> {
    let request = v1::GetNodeRequest { node: reference.to_owned() };
    match manager.repeat(async || manager.nodes().get_node(call(request.clone())).await).await {
        Ok(response) => return response.node.ok_or_else(|| no_content("node")).map(Some),
        Err(error) if matches!(error.code(), Some(Code::NotFound | Code::InvalidArgument)) => {}
        Err(error) => return Err(error),
    }
    if !may_be_id_part(reference) {
        return Ok(None);
    }
    let part = reference.to_ascii_lowercase();
    let matches = |node: &v1::Node| node.node_id.starts_with(&part) || node.node_id.ends_with(&part);
    let nodes = manager.list_nodes().await?.into_iter().filter(matches).collect();
    only_node(reference, nodes)
}

fn only_task(reference: &str, mut tasks: Vec<v1::Task>) -> Result<Option<v1::Task>, Error> {
    if tasks.len() > 1 {
        let line = |task: &v1::Task| {
            format!("{}  {}  {}", short_id(&task.task_id), KnownNodes::default().place_of(task), task_state(task))
        };
        let has_slot = |task: &v1::Task| task.deployment.as_ref().is_some_and(|place| place.slot > 0);
        let how = if tasks.iter().any(has_slot) { "by its slot or more of its id" } else { "by more of its id" };
        return Err(ambiguous("tasks", how, reference, &tasks, line));
    }
    Ok(tasks.pop())
}

fn only_node(reference: &str, mut nodes: Vec<v1::Node>) -> Result<Option<v1::Node>, Error> {
    if nodes.len() > 1 {
        let line = |node: &v1::Node| format!("{}  {}", short_id(&node.node_id), node.name);
        return Err(ambiguous("nodes", "by more of its id", reference, &nodes, line));
    }
    Ok(nodes.pop())
}

fn ambiguous<T>(what: &str, how: &str, reference: &str, matches: &[T], line: impl Fn(&T) -> String) -> Error {
    let mut text = format!("`{reference}` may be {} {what}; name one {how}:", matches.len());
    for each in matches.iter().take(LISTED_MATCHES) {
        text.push_str("\n  ");
        text.push_str(&line(each));
    }
    if matches.len() > LISTED_MATCHES {
        text.push_str(&format!("\n  and {} more", matches.len() - LISTED_MATCHES));
    }
    Error::failed(text)
}

fn no_task(reference: &str) -> Error {
    Error::failed(format!("there is no task with the id or name `{reference}`; `davit ps -a` lists all"))
}

fn no_node(reference: &str) -> Error {
    Error::failed(format!("there is no node with the id or name `{reference}`; `davit node ls` lists all"))
}

fn may_be_id_part(text: &str) -> bool {
    (1..=ID_CHARS).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// As the manager checks names: what can't be one need not be asked for.
fn may_be_name(text: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_task(id_end: u32, name: &str) -> v1::Task {
        let spec = v1::TaskSpec { name: name.to_owned(), ..Default::default() };
        let status = v1::TaskStatus { state: v1::TaskState::Running.into(), ..Default::default() };
        let task_id = format!("0193a5c0-1c1e-7d3a-9a53-{id_end:012x}");
        let desired_state = v1::DesiredState::Running.into();
        v1::Task { task_id, spec: Some(spec), status: Some(status), desired_state, ..Default::default() }
    }

    #[test]
    fn one_match_is_meant() {
        assert_eq!(only_task("web", vec![a_task(1, "web")]).unwrap(), Some(a_task(1, "web")));
        assert_eq!(only_task("web", Vec::new()).unwrap(), None);
    }

    #[test]
    fn several_matches_are_listed() {
        let error = only_task("web", vec![a_task(1, "web"), a_task(2, "web")]).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        insta::assert_snapshot!(error, @"
        `web` may be 2 tasks; name one by more of its id:
          000000000001  web  RUNNING
          000000000002  web  RUNNING
        ");
        let many = (0..13).map(|number| a_task(number, "web")).collect();
        assert!(only_task("web", many).unwrap_err().to_string().ends_with("\n  and 3 more"));
    }

    fn with(state: v1::TaskState, desired: v1::DesiredState, number: u32) -> v1::Task {
        let status = v1::TaskStatus { state: state.into(), ..Default::default() };
        v1::Task { status: Some(status), desired_state: desired.into(), ..a_task(number, "web") }
    }

    #[test]
    fn of_tasks_with_a_name_the_one_that_is_to_run_is_meant() {
        use v1::DesiredState::{Running, Stopped};
        let runs = with(v1::TaskState::Running, Running, 4);
        // A rolling update: the old one still serves while it is being stopped, an older one has ended.
        let stopping = with(v1::TaskState::Running, Stopped, 2);
        let (older, old) = (with(v1::TaskState::Stopped, Stopped, 1), with(v1::TaskState::Failed, Running, 3));
        let of = |tasks: &[&v1::Task]| Matches::named(tasks.iter().map(|task| (*task).clone()).collect());
        for purpose in [Purpose::Read, Purpose::Change] {
            let one = |tasks: &[&v1::Task]| of(tasks).one("web", purpose);
            assert_eq!(one(&[&older, &stopping, &old, &runs]).unwrap(), Some(runs.clone()));
            assert_eq!(one(&[&older, &stopping, &old]).unwrap(), Some(stopping.clone()));
            assert_eq!(one(&[]).unwrap(), None);
            assert!(one(&[&runs, &runs]).is_err(), "two replicas");
        }
        assert_eq!(of(&[&older, &old]).one("web", Purpose::Read).unwrap(), Some(old.clone()), "the newest");
        assert!(of(&[&older, &old]).one("web", Purpose::Change).is_err());
        let by_id = Matches { tasks: vec![older, old], by_name: false };
        assert!(by_id.one("0193", Purpose::Read).is_err(), "they have no more in common than a part of their ids");
    }

    #[test]
    fn a_slot_of_a_deployment_can_be_named() {
        assert_eq!(name_and_slot("web.12"), Some(("web", 12)));
        assert_eq!(name_and_slot("a.b.1"), Some(("a.b", 1)));
        for none in ["web", "web.", "web.0", "web.x", ".1", "we b.1"] {
            assert_eq!(name_and_slot(none), None, "{none}");
        }
        let place = v1::DeploymentSlot { slot: 2, ..Default::default() };
        let replica = |number| v1::Task { deployment: Some(place.clone()), ..a_task(number, "web") };
        let error = only_task("web", vec![replica(1), a_task(2, "web")]).unwrap_err();
        insta::assert_snapshot!(error, @"
        `web` may be 2 tasks; name one by its slot or more of its id:
          000000000001  web.2  RUNNING
          000000000002  web  RUNNING
        ");
    }

    #[test]
    fn no_match_says_where_to_look() {
        assert_eq!(no_task("web").to_string(), "there is no task with the id or name `web`; `davit ps -a` lists all");
        assert!(no_node("n").to_string().contains("davit node ls"));
    }

    #[test]
    fn what_can_be_a_name_or_part_of_an_id_is_known_beforehand() {
        assert!(may_be_name("web.1") && may_be_name("0ff") && !may_be_name("-web") && !may_be_name("a b"));
        assert!(may_be_id_part("0193A5") && may_be_id_part("9a53-0f") && !may_be_id_part("web") && !may_be_id_part(""));
    }
}
