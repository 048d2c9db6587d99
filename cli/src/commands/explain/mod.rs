//! `davit explain`: where a task could go and why not elsewhere, also of a task that is not created and nodes that are not.

mod node_change;

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use davit_proto::v1;
use futures::{StreamExt as _, stream};

use self::node_change::{NodeChange, find};
use super::now;
use super::spec::{PlacementArgs, SpecArgs, task_spec, with_options};
use crate::args::Format;
use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{self, Asked, ExplainView, KnownNodes, Output, task_name};
use crate::resolve::{self, Purpose};

/// What `davit explain` ends with when it has no answer. 1 is an answer: there is no place.
pub const NO_ANSWER: u8 = 2;
/// As many tasks that would be stopped are asked for by name.
const NAMED_VICTIMS: usize = 200;
/// As many of them at one time.
const ASKED_AT_ONCE: usize = 16;
/// What the manager is asked for: all nodes, since those that don't fit are counted by reason here.
const ALL_NODES: u32 = 0;

/// Arguments of `davit explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  davit explain web                                       why it waits, or where its next attempt would go
  davit explain --image nginx --cpus 2 --memory 4GiB --constraint 'disk == ssd'
  davit explain --process --cpus 1 --count 20             where each of twenty would go
  davit explain web --node 'node-2:cordoned=false,memory=16GiB'
  davit explain web --node 'node-9:cpus=8,memory=16GiB,label.disk=ssd' --without node-1
  davit explain web --cpus 2 --count 3 --all-or-nothing   what if it were otherwise, and all of three at once

With a TASK, an option is instead of what the task has: all of its --constraint, all of its --near, and so on; --label and \
--env are added.

Exit code: 0 when there is a place for it (with --count: for all, counting what --preempt makes room for), 1 when not, 2 \
for every error.")]
pub struct ExplainArgs {
    /// The task. Of one that is on a node its own room counts as free; with options that say what is otherwise it is told
    /// of another task like it
    #[arg(value_name = "TASK", required_unless_present_any = ["image", "process"])]
    #[arg(conflicts_with_all = ["image", "process"])]
    task: Option<String>,
    /// Instead of a task that is there: a container of this image that is not created, with the options below
    #[arg(long, value_name = "IMAGE", conflicts_with = "process")]
    image: Option<String>,
    /// How many tasks of this kind
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// All of --count at once: unless there is room for all of them, none finds a place
    #[arg(long)]
    all_or_nothing: bool,
    /// What if a node were otherwise: cpus, memory, disk (what tasks may use), reserved.cpus, reserved.memory,
    /// reserved.disk (what is set aside), cordoned=true|false, state=ready|suspect|down, label.KEY=VALUE (no value takes
    /// it away). A name that no node has adds one. May be repeated
    #[arg(long, value_name = "NODE:KEY=VALUE,…")]
    node: Vec<NodeChange>,
    /// What if this node were not there. May be repeated
    #[arg(long, value_name = "NODE")]
    without: Vec<String>,
    /// Show all nodes, one a line, however many there are
    #[arg(short, long)]
    all: bool,
    /// Show what each node passes, too
    #[arg(long)]
    wide: bool,
    /// What would be run.
    #[command(flatten)]
    pub(super) spec: SpecArgs,
    /// Where it would go.
    #[command(flatten)]
    pub(super) placement: PlacementArgs,
}

impl ExplainArgs {
    fn asks_what_if(&self) -> bool {
        let of_cluster = !self.node.is_empty() || !self.without.is_empty();
        let of_count = self.count.is_some() || self.all_or_nothing;
        of_cluster || of_count || self.spec.is_given() || self.placement.is_given()
    }
}

pub(super) async fn run(manager: &Manager, args: Box<ExplainArgs>, output: &Output) -> Result<u8, Error> {
    let Some(reference) = &args.task else {
        return what_if(manager, args, None, output).await;
    };
    let task = resolve::task(manager, reference, Purpose::Read).await?;
    if args.asks_what_if() {
        return what_if(manager, args, Some(task), output).await;
    }
    let view = ExplainView { all: args.all, wide: args.wide };
    let request = v1::ExplainTaskRequest { task_id: task.task_id, max_nodes: ALL_NODES };
    let answer = manager.repeat(async || manager.tasks().explain_task(call(request.clone())).await).await?;
    if answer.explanation.is_none() {
        return Err(no_content("explanation"));
    }
    let victims = victims(manager, &answer.preemptions, output).await;
    output.object(&answer, |palette| output::explained_task(&answer, &victims, view, now(), palette))?;
    // Room that is kept for it is a place.
    let is_promised = answer.task.is_some_and(|task| task.claim.is_some());
    Ok(if is_promised { 0 } else { exit_code(answer.unplaced_count, &answer.preemptions) })
}

/// Of a spec that is not created, or nodes that are otherwise.
async fn what_if(
    manager: &Manager,
    args: Box<ExplainArgs>,
    like: Option<v1::Task>,
    output: &Output,
) -> Result<u8, Error> {
    let view = ExplainView { all: args.all, wide: args.wide };
    let are_needed = like.is_some() || !args.node.is_empty() || !args.without.is_empty();
    let nodes = if are_needed { manager.list_nodes().await? } else { Vec::new() };
    let overrides = overrides(&args.node, &args.without, &nodes)?;
    let count = args.count.unwrap_or(1);
    let here = |key: &str| std::env::var(key).ok();
    let spec = match &like {
        Some(task) => with_options(task.spec.clone().unwrap_or_default(), args.spec, args.placement, here)?,
        None => {
            // Of a process only that it is one matters for its place; but a spec has a command.
            let first = if args.spec.is_process() { Some("true".to_owned()) } else { args.image };
            task_spec(args.spec, args.placement, first.into_iter().collect(), here)?
        }
    };
    let request = v1::ExplainPlacementRequest {
        spec: Some(spec),
        count,
        overrides,
        max_nodes: ALL_NODES,
        all_or_nothing: args.all_or_nothing,
    };
    let answer = manager.repeat(async || manager.cluster().explain_placement(call(request.clone())).await).await?;
    let victims = victims(manager, &answer.preemptions, output).await;
    let names: KnownNodes = nodes.iter().collect();
    let asked = Asked { count, like: like.as_ref(), nodes: &names, victims: &victims };
    output.object(&answer, |palette| output::explained_placement(&answer, asked, view, now(), palette))?;
    Ok(exit_code(answer.unplaced_count, &answer.preemptions))
}

/// Nodes as they are not; each at most once.
fn overrides(changes: &[NodeChange], without: &[String], nodes: &[v1::Node]) -> Result<Vec<v1::NodeOverride>, Error> {
    let mut seen = BTreeSet::new();
    for named in changes.iter().map(NodeChange::node).chain(without.iter().map(String::as_str)) {
        let node = find(nodes, named);
        if !seen.insert(node.map_or(named, |node| &node.node_id)) {
            let name = node.map_or(named, |node| &node.name);
            return Err(Error::usage(format!(
                "node `{name}` is overridden twice; say all of it in one --node '{name}:KEY=VALUE,…', or leave it out with \
                 one --without"
            )));
        }
    }
    let changed = changes.iter().map(|change| change.to_override(nodes));
    let absent = without.iter().map(|node| v1::NodeOverride { node: node.clone(), absent: true, ..Default::default() });
    Ok(changed.chain(absent).collect())
}

/// Names of the tasks that would be stopped, where a person reads them; of those that can't be had, none.
async fn victims(manager: &Manager, preemptions: &[v1::Preemption], output: &Output) -> BTreeMap<String, String> {
    if output.format != Format::Table {
        return BTreeMap::new();
    }
    let ids: BTreeSet<&String> = preemptions.iter().flat_map(|each| &each.victim_task_ids).collect();
    let name = |id: &String| {
        let id = id.clone();
        async move {
            let task = manager.get_task(&id).await.ok()?;
            Some((id, task_name(&task).to_owned()))
        }
    };
    let asked = stream::iter(ids.into_iter().take(NAMED_VICTIMS).map(name));
    asked.buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Room that is made takes one task each.
fn exit_code(unplaced_count: u32, preemptions: &[v1::Preemption]) -> u8 {
    let made = u32::try_from(preemptions.len()).unwrap_or(u32::MAX);
    u8::from(unplaced_count > made)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::output::test_support::{node, node_id};

    fn parse(line: &[&str]) -> Result<ExplainArgs, String> {
        let words = ["davit", "explain"].iter().chain(line);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Explain(args) = cli.command else { return Err("not explain".to_owned()) };
        Ok(*args)
    }

    #[test]
    fn a_task_or_an_image_is_explained_but_not_both() {
        assert!(!parse(&["web"]).unwrap().asks_what_if());
        assert!(parse(&["--image", "nginx", "--constraint", "disk == ssd", "--count", "3"]).is_ok());
        assert!(parse(&["--process", "--cpus", "2"]).is_ok());
        assert!(parse(&["--cpus", "2"]).is_err());
        for line in [&["web", "--process"][..], &["web", "--image", "nginx"]] {
            assert!(parse(line).unwrap_err().contains("cannot be used with"), "{line:?}");
        }
    }

    #[test]
    fn of_a_task_it_is_asked_what_if_when_anything_is_otherwise() {
        for line in [
            &["web", "--without", "node-1"][..],
            &["web", "--node", "node-1:cpus=1"],
            &["web", "--count", "1"],
            &["web", "--all-or-nothing"],
            &["web", "--cpus", "2"],
            &["web", "--priority", "0"],
            &["web", "--restart", "never"],
        ] {
            assert!(parse(line).unwrap().asks_what_if(), "{line:?}");
        }
    }

    #[test]
    fn a_node_that_is_overridden_twice_is_named() {
        let nodes = [node(1, "one")];
        let of = |changes: &[&str], without: &[&str]| {
            let changes: Vec<NodeChange> = changes.iter().map(|text| text.parse().unwrap()).collect();
            let without: Vec<String> = without.iter().map(|text| (*text).to_owned()).collect();
            overrides(&changes, &without, &nodes).map(|overrides| overrides.len())
        };
        assert_eq!(of(&["one:cpus=1", "two:cpus=1"], &["three"]).unwrap(), 3);
        let by_id = format!("{}:cpus=2", node_id(1));
        for (changes, without) in [
            (&["one:cpus=1", "one:label.a=b"][..], &[][..]),
            (&["one:cpus=1", &by_id], &[]),
            (&["one:cpus=1"], &["one"]),
            (&[], &["one", "one"]),
        ] {
            let error = of(changes, without).unwrap_err();
            assert!(error.to_string().starts_with("node `one` is overridden twice"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        assert!(of(&["new:cpus=1", "new:cpus=2"], &[]).unwrap_err().to_string().contains("`new`"));
    }

    #[test]
    fn all_must_find_a_place_but_room_that_is_made_counts() {
        let with =
            |unplaced_count, preemptions| exit_code(unplaced_count, &vec![v1::Preemption::default(); preemptions]);
        assert_eq!([with(0, 0), with(1, 0), with(1, 1), with(3, 2)], [0, 1, 0, 1]);
    }
}
