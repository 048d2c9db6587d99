//! From what a user typed to the task or node that is meant.

use davit_proto::v1;
use prost_reflect::DynamicMessage;
use tonic::Code;

use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{Described, has_ended, short_id, state_of, task_state};

const ID_CHARS: usize = 36;
const MAX_NAME_CHARS: usize = 63;
const LISTED_MATCHES: usize = 10;

/// The task with this id, name, or beginning or end of an id.
///
/// # Errors
/// When there is none, or more than one, or a call fails.
pub async fn task(manager: &Manager, reference: &str) -> Result<v1::Task, Error> {
    find_task(manager, reference, Named::Any).await?.ok_or_else(|| no_task(reference))
}

/// The same, for what is done with tasks that have not ended: of those with a name, one that has ended is meant only where
/// none is left.
///
/// # Errors
/// When there is none, or more than one, or a call fails.
pub async fn live_task(manager: &Manager, reference: &str) -> Result<v1::Task, Error> {
    find_task(manager, reference, Named::Live).await?.ok_or_else(|| no_task(reference))
}

/// Which of the tasks with a name are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Any,
    /// Those that have not ended, if there are some.
    Live,
}

impl Named {
    fn meant(self, mut tasks: Vec<v1::Task>) -> Vec<v1::Task> {
        let is_live = |task: &v1::Task| !has_ended(state_of(task));
        if self == Self::Live && tasks.iter().any(is_live) {
            tasks.retain(is_live);
        }
        tasks
    }
}

async fn find_task(manager: &Manager, reference: &str, which: Named) -> Result<Option<v1::Task>, Error> {
    if may_be_id_part(reference) && reference.len() == ID_CHARS {
        return match manager.get_task(reference).await {
            Err(error) if error.code() == Some(Code::NotFound) => Ok(None),
            answer => answer.map(Some),
        };
    }
    let mut named = Vec::new();
    if may_be_name(reference) {
        let filter = v1::TaskFilter { name: reference.to_owned(), ..Default::default() };
        named = which.meant(manager.list_tasks(filter).await?.0);
    }
    if named.is_empty() && may_be_id_part(reference) {
        let filter = v1::TaskFilter { id_part: reference.to_ascii_lowercase(), ..Default::default() };
        named = manager.list_tasks(filter).await?.0;
    }
    only_task(reference, named)
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
    if let Some(task) = find_task(manager, reference, Named::Any).await? {
        return Ok(Found::Task(Box::new(task)));
    }
    if let Some(node) = find_node(manager, reference).await? {
        return Ok(Found::Node(Box::new(node)));
    }
    Err(Error::failed(format!(
        "there is no task or node with the id or name `{reference}`; `davit ps -a` and `davit node ls` list all"
    )))
}

/// All tasks that are meant, in the order given.
///
/// # Errors
/// When any of them can't be told.
pub async fn tasks(manager: &Manager, references: &[String]) -> Result<Vec<v1::Task>, Error> {
    each_task(manager, references, Named::Any).await
}

/// The same, as [`live_task`].
///
/// # Errors
/// When any of them can't be told.
pub async fn live_tasks(manager: &Manager, references: &[String]) -> Result<Vec<v1::Task>, Error> {
    each_task(manager, references, Named::Live).await
}

async fn each_task(manager: &Manager, references: &[String], which: Named) -> Result<Vec<v1::Task>, Error> {
    let mut found: Vec<v1::Task> = Vec::new();
    for reference in references {
        let task = find_task(manager, reference, which).await?.ok_or_else(|| no_task(reference))?;
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
            let name = task.spec.as_ref().map_or("", |spec| &spec.name);
            format!("{}  {name}  {}", short_id(&task.task_id), task_state(task))
        };
        return Err(ambiguous("tasks", reference, &tasks, line));
    }
    Ok(tasks.pop())
}

fn only_node(reference: &str, mut nodes: Vec<v1::Node>) -> Result<Option<v1::Node>, Error> {
    if nodes.len() > 1 {
        let line = |node: &v1::Node| format!("{}  {}", short_id(&node.node_id), node.name);
        return Err(ambiguous("nodes", reference, &nodes, line));
    }
    Ok(nodes.pop())
}

fn ambiguous<T>(what: &str, reference: &str, matches: &[T], line: impl Fn(&T) -> String) -> Error {
    let mut text = format!("`{reference}` may be {} {what}; name one by more of its id:", matches.len());
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
        v1::Task { task_id, spec: Some(spec), status: Some(status), ..Default::default() }
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

    #[test]
    fn of_tasks_with_a_name_those_that_live_are_meant() {
        let ended = |number| {
            let status = v1::TaskStatus { state: v1::TaskState::Stopped.into(), ..Default::default() };
            v1::Task { status: Some(status), ..a_task(number, "web") }
        };
        let mixed = || vec![ended(1), a_task(2, "web"), ended(3)];
        assert_eq!(Named::Live.meant(mixed()), [a_task(2, "web")]);
        assert_eq!(Named::Any.meant(mixed()), mixed());
        assert_eq!(Named::Live.meant(vec![ended(1), ended(3)]), [ended(1), ended(3)]);
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
