//! `deploy.placement`.

use std::collections::BTreeSet;

use davit_core::constraint::{Attribute, Constraint};

use crate::error::quoted;
use crate::keys;
use crate::model::Placement;
use crate::read::{Context, Item};

/// What an expression says of nodes.
enum Said {
    Constraint(Constraint),
    /// It holds of all nodes.
    Always,
}

/// Reads `placement`.
pub(super) fn placement(item: Item, cx: &mut Context<'_>) -> Placement {
    let mut placement = Placement::default();
    let mut seen = BTreeSet::new();
    let Some(mut fields) = item.fields(keys::PLACEMENT, cx) else { return placement };
    for item in fields.take("constraints").map(|item| item.items(cx)).unwrap_or_default() {
        if let Some(Said::Constraint(constraint)) = item.parsed(constraint, cx)
            && seen.insert(constraint.clone())
        {
            placement.constraints.push(constraint);
        }
    }
    let mut seen = BTreeSet::new();
    for item in fields.take("preferences").map(|item| item.items(cx)).unwrap_or_default() {
        let Some(mut fields) = item.fields(keys::PREFERENCE, cx) else { continue };
        let spread = fields.needed("spread", cx);
        fields.finish(cx);
        if let Some(attribute) = spread.and_then(|item| item.parsed(attribute, cx))
            && seen.insert(attribute.clone())
        {
            placement.spread.push(attribute);
        }
    }
    let max = fields.take("max_replicas_per_node").and_then(|item| item.count(cx));
    placement.max_replicas_per_node = max.filter(|&max| max > 0);
    fields.finish(cx);
    placement
}

/// Puts Swarm's words for nodes into Davit's. `None` for those that Davit has no counterpart of.
fn in_davits_words(attribute: &str) -> Result<String, String> {
    match attribute {
        "node.hostname" => Ok("node.name".to_owned()),
        "node.platform.os" => Ok("node.os".to_owned()),
        "node.platform.arch" => Ok("node.arch".to_owned()),
        "node.id" | "node.ip" => Err(format!("looks at {}; write `node.hostname`, or a label", quoted(attribute))),
        _ if attribute.starts_with("engine.labels.") => {
            Err("looks at a label of the engine; label the node, and write `node.labels.KEY`".to_owned())
        }
        _ => Ok(attribute.to_owned()),
    }
}

fn constraint(text: &str) -> Result<Said, String> {
    // A value may hold what an operator is made of, an attribute may not.
    let end = text.find(|c: char| c.is_whitespace() || "=!<>".contains(c)).unwrap_or(text.len());
    let (written, rest) = text.split_at(end);
    if written == "node.role" {
        let rest: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
        return match rest.as_str() {
            "==worker" | "!=manager" => Ok(Said::Always),
            _ => {
                Err("can't hold: tasks run on workers, and managers are no nodes; label nodes that are special"
                    .to_owned())
            }
        };
    }
    let expression = format!("{}{rest}", in_davits_words(written)?);
    expression.parse().map(Said::Constraint).map_err(|error| format!("can't be read: {error}"))
}

fn attribute(text: &str) -> Result<Attribute, String> {
    in_davits_words(text)?.parse().map_err(|error| format!("can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Constraint>, String> {
        constraint(text).map(|said| match said {
            Said::Constraint(constraint) => Some(constraint),
            Said::Always => None,
        })
    }

    #[test]
    fn swarms_words_become_davits() {
        for (written, meant) in [
            ("node.labels.zone==a", "node.labels.zone == a"),
            ("node.labels.zone != a", "node.labels.zone != a"),
            ("node.hostname!=x", "node.name != x"),
            ("node.platform.os == linux", "node.os == linux"),
            ("node.platform.arch==x86_64", "node.arch == x86_64"),
            ("node.labels.size > 3", "size > 3"),
            ("disk in (ssd, nvme)", "disk in (ssd, nvme)"),
        ] {
            assert_eq!(read(written), Ok(Some(meant.parse().unwrap())), "{written}");
        }
        assert_eq!(read("node.role == worker"), Ok(None));
        assert_eq!(read("node.role!=manager"), Ok(None));
        for text in ["node.role == manager", "node.id == x", "engine.labels.a == b", "node.labels.zone", "zone=a", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
