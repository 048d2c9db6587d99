//! Merges files: mappings key by key, lists one after the other, and of single values the later one stays. `!reset` takes a key
//! away, `!override` puts a value in another's place.

#[cfg(test)]
mod tests;

use crate::tree::{Map, MergeTag, Node, Value};

/// Merges the trees of files, of which later ones win. Their forms are long ones already.
pub(crate) fn merge(files: Vec<Node>) -> Option<Node> {
    let mut files = files.into_iter();
    let first = without_tags(files.next()?);
    Some(files.fold(first, |merged, file| merged_node(merged, file, &mut Vec::new())))
}

fn merged_node(base: Node, over: Node, path: &mut Vec<String>) -> Node {
    if over.tag == Some(MergeTag::Override) || is_replaced(path) {
        return without_tags(over);
    }
    match (base.value, over.value) {
        (Value::Map(base_map), Value::Map(over_map)) => {
            Node::new(Value::Map(merged_map(base_map, over_map, path)), base.at)
        }
        (Value::List(mut items), Value::List(more)) => {
            items.extend(kept_items(more));
            Node::new(Value::List(items), base.at)
        }
        // Nothing adds nothing to many, and stands for one: a variable's name alone takes its value from outside.
        (value @ (Value::Map(_) | Value::List(_)), Value::Null) => Node::new(value, base.at),
        // Where two kinds are allowed one stands for the other; where not, it is told when it is read.
        (_, value) => without_tags(Node { value, ..over }),
    }
}

fn merged_map(mut base: Map, over: Map, path: &mut Vec<String>) -> Map {
    for (key, mut entry) in over {
        let before = base.remove(&key);
        if entry.node.tag == Some(MergeTag::Reset) {
            continue;
        }
        path.push(key.clone());
        entry.node = match before {
            Some(before) => merged_node(before.node, entry.node, path),
            None => without_tags(entry.node),
        };
        path.pop();
        base.insert(key, entry);
    }
    base
}

/// A value in which nothing is to be merged any more.
fn without_tags(node: Node) -> Node {
    let value = match node.value {
        Value::Map(map) => {
            let kept = map.into_iter().filter(|(_, entry)| entry.node.tag != Some(MergeTag::Reset));
            let kept = kept.map(|(key, mut entry)| {
                entry.node = without_tags(entry.node);
                (key, entry)
            });
            Value::Map(kept.collect())
        }
        Value::List(nodes) => Value::List(kept_items(nodes).collect()),
        value => value,
    };
    Node::new(value, node.at)
}

fn kept_items(nodes: Vec<Node>) -> impl Iterator<Item = Node> {
    nodes.into_iter().filter(|node| node.tag != Some(MergeTag::Reset)).map(without_tags)
}

/// Whether what is later takes the whole place: a command is one thing.
fn is_replaced(path: &[String]) -> bool {
    match path {
        [services, _, key] if services == "services" => key == "command" || key == "entrypoint",
        [services, _, check, test] if services == "services" => check == "healthcheck" && test == "test",
        _ => false,
    }
}
