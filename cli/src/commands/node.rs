//! `davit node`: looks at nodes and directs them.

mod drain;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use davit_proto::v1;
use tonic::Code;

use super::now;
use crate::args::Format;
use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{self, Output, nodes_table};
use crate::resolve;

/// Another one may change the node between reading and writing; so often it is read anew.
const LABEL_TRIES: u32 = 5;

/// What is to be done with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List nodes
    Ls(LsArgs),
    /// Show all that is known of nodes
    Inspect(NodesArgs),
    /// Let nodes take no new tasks; those they have stay
    Cordon(NodesArgs),
    /// Let nodes take new tasks again
    Uncordon(NodesArgs),
    /// Move all tasks of a node to others; it takes no new ones
    Drain(drain::DrainArgs),
    /// Forget nodes that are gone for good
    Rm(RmArgs),
    /// Set and remove labels of a node
    Label(LabelArgs),
}

/// Arguments of `davit node ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
}

/// Names nodes.
#[derive(Debug, Args)]
pub struct NodesArgs {
    /// The nodes
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
}

/// Arguments of `davit node rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Also nodes whose worker may be in touch, or that have tasks: these count as lost, and are replaced as they say. Not nodes
    /// with tasks that must never run twice (--on-node-loss stop-and-replace): drain these, or stop their worker and wait
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    nodes: NodesArgs,
}

/// Arguments of `davit node label`.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    /// KEY=VALUE sets a label, KEY- removes one that was set so
    #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = label_change)]
    changes: Vec<LabelChange>,
}

/// One change of a node's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// Sets a label.
    Set(String, String),
    /// Removes a label.
    Remove(String),
}

pub(super) async fn run(manager: &Manager, command: NodeCommand, output: &Output) -> Result<u8, Error> {
    let done = |()| 0;
    match command {
        NodeCommand::Ls(args) => {
            let nodes = manager.list_nodes().await?;
            if args.quiet {
                let ids = nodes.iter().map(|node| format!("{}\n", node.node_id)).collect::<String>();
                return output.print(&ids).map(done);
            }
            output.list(&nodes, |palette| nodes_table(&nodes, now(), palette)).map(done)
        }
        NodeCommand::Inspect(args) => {
            let nodes = find(manager, &args).await?;
            output
                .list(&nodes, |palette| {
                    nodes.iter().map(|node| output::node(node, now(), palette)).collect::<Vec<_>>().join("\n")
                })
                .map(done)
        }
        NodeCommand::Cordon(args) => {
            let mut changed = Vec::new();
            for node in find(manager, &args).await? {
                let answer = manager.nodes().cordon_node(call(v1::CordonNodeRequest { node: node.node_id })).await;
                changed.extend(answer.map_err(|status| manager.error(status))?.into_inner().node);
            }
            print_changed(&changed, output).map(done)
        }
        NodeCommand::Uncordon(args) => {
            let mut changed = Vec::new();
            for node in find(manager, &args).await? {
                let answer = manager.nodes().uncordon_node(call(v1::UncordonNodeRequest { node: node.node_id })).await;
                changed.extend(answer.map_err(|status| manager.error(status))?.into_inner().node);
            }
            print_changed(&changed, output).map(done)
        }
        NodeCommand::Drain(args) => drain::run(manager, &args, output).await,
        NodeCommand::Rm(args) => {
            let nodes = find(manager, &args.nodes).await?;
            for node in &nodes {
                let request = v1::RemoveNodeRequest { node: node.node_id.clone(), force: args.force };
                manager.nodes().remove_node(call(request)).await.map_err(|status| manager.error(status))?;
                if node.state() != v1::NodeState::Down {
                    output.note(&format!(
                        "The worker of {} may be in touch: unless it is stopped it joins anew.",
                        node.name
                    ));
                }
            }
            // As they were: there is nothing left to ask for.
            print_changed(&nodes, output).map(done)
        }
        NodeCommand::Label(args) => print_changed(&[label(manager, &args).await?], output).map(done),
    }
}

async fn find(manager: &Manager, args: &NodesArgs) -> Result<Vec<v1::Node>, Error> {
    let mut nodes = Vec::new();
    for reference in &args.nodes {
        nodes.push(resolve::node(manager, reference).await?);
    }
    Ok(nodes)
}

fn print_changed(nodes: &[v1::Node], output: &Output) -> Result<(), Error> {
    match output.format {
        Format::Table => output.print(&nodes.iter().map(|node| format!("{}\n", node.name)).collect::<String>()),
        Format::Json | Format::Yaml => output.list(nodes, |_| String::new()),
    }
}

async fn label(manager: &Manager, args: &LabelArgs) -> Result<v1::Node, Error> {
    let mut tries = 1;
    loop {
        let node = resolve::node(manager, &args.node).await?;
        let request = v1::UpdateNodeRequest {
            user_labels: with_changes(&node, &args.changes)?,
            node: node.node_id,
            update_mask: None,
            etag: node.etag,
            validate_only: false,
        };
        match manager.nodes().update_node(call(request)).await {
            Ok(answer) => return answer.into_inner().node.ok_or_else(|| no_content("node")),
            Err(status) if status.code() == Code::Aborted && tries < LABEL_TRIES => tries += 1,
            Err(status) => return Err(manager.error(status)),
        }
    }
}

/// The labels that users set on a node, after some changes.
fn with_changes(node: &v1::Node, changes: &[LabelChange]) -> Result<BTreeMap<String, String>, Error> {
    let mut labels = node.user_labels.clone();
    for change in changes {
        match change {
            LabelChange::Set(key, value) => {
                labels.insert(key.clone(), value.clone());
            }
            LabelChange::Remove(key) => {
                if labels.remove(key).is_none() && node.labels.contains_key(key) {
                    return Err(Error::failed(format!(
                        "label `{key}` of node `{}` comes from its worker's configuration; change it there, or set \
                         another value here",
                        node.name
                    )));
                }
            }
        }
    }
    Ok(labels)
}

fn label_change(text: &str) -> Result<LabelChange, String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok(LabelChange::Set(key.to_owned(), value.to_owned())),
        (None, Some(key)) if !key.is_empty() => Ok(LabelChange::Remove(key.to_owned())),
        _ => Err("write KEY=VALUE to set a label, KEY- to remove one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::node;

    #[test]
    fn labels_are_set_and_removed() {
        let mut shown = node(1, "one");
        shown.user_labels = [("zone", "a"), ("rack", "1")].map(|(key, value)| (key.into(), value.into())).into();
        let changes: Vec<_> = ["zone=b", "rack-", "gone-", "x=-"].map(|text| label_change(text).unwrap()).into();
        let expected: BTreeMap<String, String> =
            [("zone", "b"), ("x", "-")].map(|(key, value)| (key.into(), value.into())).into();
        assert_eq!(with_changes(&shown, &changes).unwrap(), expected);
    }

    #[test]
    fn a_workers_own_label_is_not_removed_in_vain() {
        let error = with_changes(&node(1, "one"), &[LabelChange::Remove("disk".into())]).unwrap_err();
        assert!(error.to_string().contains("comes from its worker's configuration"), "{error}");
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for text in ["", "-", "=", "=x", "zone"] {
            assert!(label_change(text).is_err(), "{text}");
        }
    }
}
