//! What a test that died may have left in the Docker engine.
//!
//! Tests name their clusters and compose projects `davit-test…`. Everything else that belongs to a Davit cluster is
//! someone's own, also on a developer's machine, and is left alone.

use std::collections::BTreeSet;

use crate::shell::{capture, command};

/// How the names of the tests' clusters and compose projects begin.
const TEST: &str = "davit-test";
const CLUSTER: &str = "dev.davit.cluster";
const PROJECT: &str = "com.docker.compose.project";

/// Removes the containers, networks and volumes of the tests' clusters, and says what it removed.
pub(crate) fn containers() {
    // Workers go first: while one lives, it would start its tasks' containers again.
    let containers = [labelled(&["ps", "-a"], PROJECT), labelled(&["ps", "-a"], CLUSTER)].concat();
    let networks = labelled(&["network", "ls"], PROJECT);
    let volumes = labelled(&["volume", "ls"], PROJECT);
    if containers.is_empty() && networks.is_empty() && volumes.is_empty() {
        println!("the tests left nothing over");
    }
    remove(&["rm", "--force", "--volumes"], "container", &containers);
    remove(&["network", "rm"], "network", &networks);
    remove(&["volume", "rm", "--force"], "volume", &volumes);
}

/// The ids, or names of volumes, of what carries the label with a test's value.
fn labelled(list: &[&str], label: &str) -> Vec<String> {
    let id = if list[0] == "volume" { "{{.Name}}" } else { "{{.ID}}" };
    let filter = format!("label={label}");
    let format = format!("{id} {{{{.Label \"{label}\"}}}}");
    let output = capture(command("docker").args(list).args(["--filter", &filter, "--format", &format]));
    let ids: BTreeSet<String> = output.iter().flat_map(|output| output.lines()).filter_map(of_test).collect();
    ids.into_iter().collect()
}

fn of_test(line: &str) -> Option<String> {
    let (id, value) = line.split_once(' ')?;
    value.starts_with(TEST).then(|| id.to_owned())
}

fn remove(removal: &[&str], kind: &str, ids: &[String]) {
    for id in ids {
        match capture(command("docker").args(removal).arg(id)) {
            Some(_) => println!("removed a {kind} that a test left over: {id}"),
            None => println!("WARNING: could not remove a {kind} that a test left over: {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_itself_a_test_is_removed() {
        assert_eq!(of_test("0a1b davit-test-compose"), Some("0a1b".to_owned()));
        assert_eq!(of_test("0a1b production"), None);
        assert_eq!(of_test("0a1b "), None);
    }
}
