//! `NODE:KEY=VALUE,…`: a node as it is not.

use std::collections::BTreeMap;
use std::str::FromStr;

use davit_proto::v1;

use crate::args::{bytes, cpus};

const LABEL_PREFIX: &str = "label.";
const RESERVED_PREFIX: &str = "reserved.";

/// What of some amounts is otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Amounts {
    cpu_millis: Option<u64>,
    memory_bytes: Option<u64>,
    disk_bytes: Option<u64>,
}

impl Amounts {
    fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        // Nothing at all is an amount here: a node with no memory left.
        let amount = |read: fn(&str) -> Result<u64, String>| if value == "0" { Ok(0) } else { read(value) };
        match key {
            "cpus" => self.cpu_millis = Some(amount(cpus)?),
            "memory" => self.memory_bytes = Some(amount(bytes)?),
            "disk" => self.disk_bytes = Some(amount(bytes)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The amounts of a node with these changes; the API takes all of them or none.
    fn over(self, actual: Option<v1::Resources>) -> Option<v1::Resources> {
        let actual = actual.unwrap_or_default();
        (!self.is_empty()).then(|| v1::Resources {
            cpu_millis: self.cpu_millis.unwrap_or(actual.cpu_millis),
            memory_bytes: self.memory_bytes.unwrap_or(actual.memory_bytes),
            disk_bytes: self.disk_bytes.unwrap_or(actual.disk_bytes),
        })
    }
}

/// What of a node is otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NodeChange {
    node: String,
    allocatable: Amounts,
    reserved: Amounts,
    state: Option<v1::NodeState>,
    cordoned: Option<bool>,
    labels: BTreeMap<String, String>,
}

/// The node of an id or name.
pub(super) fn find<'a>(nodes: &'a [v1::Node], named: &str) -> Option<&'a v1::Node> {
    let mut found = nodes.iter().filter(|node| node.node_id == named || node.name == named);
    // A name may be that of a node which is gone, too.
    found.clone().find(|node| node.state() != v1::NodeState::Down).or_else(|| found.next())
}

impl NodeChange {
    /// What it calls the node.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// The same for the API.
    pub(super) fn to_override(&self, nodes: &[v1::Node]) -> v1::NodeOverride {
        let actual = find(nodes, &self.node);
        v1::NodeOverride {
            node: self.node.clone(),
            absent: false,
            state: self.state.map_or(0, i32::from),
            cordoned: self.cordoned,
            labels: self.labels.clone(),
            allocatable: self.allocatable.over(actual.and_then(|node| node.allocatable)),
            reserved: self.reserved.over(actual.and_then(|node| node.allocated)),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(label) = key.strip_prefix(LABEL_PREFIX).filter(|label| !label.is_empty()) {
            self.labels.insert(label.to_owned(), value.to_owned());
            return Ok(());
        }
        let is_amount = match key.strip_prefix(RESERVED_PREFIX) {
            Some(key) => self.reserved.set(key, value)?,
            None => self.allocatable.set(key, value)?,
        };
        match key {
            _ if is_amount => {}
            "cordoned" => {
                let cordoned = value.parse().map_err(|_| "cordoned is true or false".to_owned())?;
                self.cordoned = Some(cordoned);
            }
            "state" => {
                self.state = Some(match value.to_ascii_lowercase().as_str() {
                    "ready" => v1::NodeState::Ready,
                    "suspect" => v1::NodeState::Suspect,
                    "down" => v1::NodeState::Down,
                    _ => return Err("state is ready, suspect or down".to_owned()),
                });
            }
            _ => {
                return Err(format!(
                    "`{key}` can't be set; use cpus, memory, disk, reserved.cpus, reserved.memory, reserved.disk, \
                     cordoned, state or label.KEY"
                ));
            }
        }
        Ok(())
    }
}

impl FromStr for NodeChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write it as NODE:KEY=VALUE,…, such as 'node-9:cpus=8,label.disk=ssd'".to_owned();
        let (node, settings) = text.split_once(':').ok_or_else(wrong)?;
        if node.trim().is_empty() {
            return Err(wrong());
        }
        let mut change = Self { node: node.trim().to_owned(), ..Self::default() };
        for setting in settings.split(',') {
            let (key, value) = setting.split_once('=').ok_or_else(wrong)?;
            change.set(key.trim(), value.trim())?;
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::node;

    fn read(text: &str) -> v1::NodeOverride {
        text.parse::<NodeChange>().unwrap().to_override(&[node(1, "one")])
    }

    #[test]
    fn every_setting_arrives() {
        let text =
            "two:cpus=8,memory=16GiB,disk=1t,reserved.memory=1g,cordoned=false,state=down,label.disk=ssd,label.gpu=";
        let labels = [("disk", "ssd"), ("gpu", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected = v1::NodeOverride {
            node: "two".into(),
            absent: false,
            state: v1::NodeState::Down.into(),
            cordoned: Some(false),
            labels: labels.into(),
            allocatable: Some(v1::Resources { cpu_millis: 8000, memory_bytes: 16 << 30, disk_bytes: 1 << 40 }),
            reserved: Some(v1::Resources { memory_bytes: 1 << 30, ..Default::default() }),
        };
        assert_eq!(read(text), expected);
    }

    #[test]
    fn what_is_not_said_stays_as_the_node_has_it() {
        let changed = read("one:memory=16GiB");
        let expected = v1::Resources { cpu_millis: 3500, memory_bytes: 16 << 30, disk_bytes: 100 << 30 };
        assert_eq!((changed.allocatable, changed.reserved), (Some(expected), None));
        assert_eq!(read("one:reserved.cpus=0").reserved.unwrap().memory_bytes, 512 << 20);
        assert_eq!(read("one:cordoned=true").allocatable, None);
    }

    #[test]
    fn of_nodes_with_a_name_the_one_that_is_not_gone_is_meant() {
        let gone = v1::Node { state: v1::NodeState::Down.into(), ..node(1, "one") };
        let nodes = [gone.clone(), node(2, "one")];
        assert_eq!(find(&nodes, "one"), Some(&nodes[1]));
        assert_eq!(find(&nodes, &gone.node_id), Some(&gone));
        assert_eq!(find(&nodes, "two"), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in
            ["", "one", "one:", ":cpus=1", "one:cpus", "one:cpus=x", "one:cores=1", "one:label.=x", "one:state=up"]
        {
            assert!(text.parse::<NodeChange>().is_err(), "{text}");
        }
    }
}
