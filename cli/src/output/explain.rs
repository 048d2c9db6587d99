//! Where a task could go, and why not elsewhere.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment};
use davit_proto::v1;

use super::style::{Palette, Tone};
use super::table::{render, toned};
use super::text::{short_id, state_of, task_name, task_state};

/// As many nodes have a line of their own, unless all are asked for.
const SHOWN_NODES: usize = 20;
/// Filters whose texts have amounts, which are different on every node: only their names group nodes.
const WITH_AMOUNTS: [&str; 5] = ["cpu", "memory", "disk", "dynamic_port", "max_per_node"];

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExplainView {
    /// Every node, however many there are.
    pub all: bool,
    /// What nodes pass, too.
    pub wide: bool,
}

impl ExplainView {
    fn shown(self, nodes: usize) -> usize {
        if self.all { nodes } else { nodes.min(SHOWN_NODES) }
    }
}

/// Where a task that is there could go.
#[must_use]
pub fn explained_task(answer: &v1::ExplainTaskResponse, view: ExplainView, palette: Palette) -> String {
    let explanation = answer.explanation.clone().unwrap_or_default();
    let task = answer.task.clone().unwrap_or_default();
    let here = task.status.as_ref().map_or("", |status| status.node_id.as_str());
    let is_there = |node: &&v1::NodeExplanation| !here.is_empty() && node.node_id == here;
    let now = explanation.nodes.iter().find(is_there).map_or(String::new(), |node| format!(" on {}", node.node_name));
    let mut text = format!("{}\n", summary(&explanation, palette));
    let is_placed = !matches!(state_of(&task), v1::TaskState::Pending | v1::TaskState::Unspecified);
    if is_placed {
        text.push_str(&format!(
            "{} {} is {}{now}; this is where it would go if it were placed now.\n",
            task_name(&task),
            short_id(&task.task_id),
            task_state(&task)
        ));
    }
    text.push_str(&nodes(&explanation, here, view, palette));
    text
}

/// Where tasks that are not there would go.
#[must_use]
pub fn explained_placement(
    answer: &v1::ExplainPlacementResponse,
    count: u32,
    view: ExplainView,
    palette: Palette,
) -> String {
    let explanation = answer.explanation.clone().unwrap_or_default();
    let mut text = format!("{}\n", summary(&explanation, palette));
    text.push_str(&nodes(&explanation, "", view, palette));
    let names: BTreeMap<&str, &str> =
        explanation.nodes.iter().map(|node| (node.node_id.as_str(), node.node_name.as_str())).collect();
    let name = |id: &str| names.get(id).map_or_else(|| short_id(id).to_owned(), |name| (*name).to_owned());
    if count > 1 {
        text.push_str(&runs(answer, count, &name, view, palette));
    }
    if !answer.preemptions.is_empty() {
        text.push_str(&preemptions(&answer.preemptions, &name, palette));
    }
    text
}

/// What the manager says in one line.
fn summary(explanation: &v1::PlacementExplanation, palette: Palette) -> String {
    let tone = if explanation.fitting_count > 0 { Tone::Good } else { Tone::Bad };
    palette.paint(tone, &explanation.summary)
}

fn nodes(explanation: &v1::PlacementExplanation, here: &str, view: ExplainView, palette: Palette) -> String {
    let (fitting, unfit): (Vec<_>, Vec<_>) = explanation.nodes.iter().partition(|node| node.fits);
    let mut text = String::new();
    if !fitting.is_empty() {
        text.push('\n');
        text.push_str(&fitting_table(&fitting, here, view, palette));
        let by = format!("Scored by {}: the lowest cost is the best.", explanation.algorithm);
        let more = match fitting.len() - view.shown(fitting.len()) {
            0 => String::new(),
            1 => "1 more node fits; --all shows it. ".to_owned(),
            more => format!("{more} more nodes fit; --all shows them. "),
        };
        text.push_str(&palette.paint(Tone::Faint, &format!("{more}{by}")));
        text.push('\n');
    }
    if !unfit.is_empty() {
        text.push('\n');
        let is_grouped = view.shown(unfit.len()) < unfit.len();
        text.push_str(&if is_grouped {
            groups_table(&unfit, palette)
        } else {
            unfit_table(&unfit, here, view, palette)
        });
    }
    text
}

/// One line a node, with a column for each part of the cost.
fn fitting_table(fitting: &[&v1::NodeExplanation], here: &str, view: ExplainView, palette: Palette) -> String {
    let shown = &fitting[..view.shown(fitting.len())];
    let mut terms: Vec<&str> = Vec::new();
    for term in shown.iter().flat_map(|node| &node.terms) {
        if !terms.contains(&term.name.as_str()) {
            terms.push(&term.name);
        }
    }
    let mut header = vec!["RANK", "NODE", "COST"];
    header.extend(&terms);
    if view.wide {
        header.push("PASSES");
    }
    let rows = shown.iter().map(|node| {
        let tone = if node.rank == 1 { Tone::Good } else { Tone::Plain };
        let mut row = vec![Cell::new(node.rank), toned(&named(node, here), tone), amount(Some(node.cost))];
        row.extend(
            terms.iter().map(|name| amount(node.terms.iter().find(|term| term.name == **name).map(|term| term.value))),
        );
        if view.wide {
            row.push(Cell::new(passes(node)));
        }
        row
    });
    render(&header, rows.collect::<Vec<_>>().into_iter(), palette) + "\n"
}

fn named(node: &v1::NodeExplanation, here: &str) -> String {
    let is_here = !here.is_empty() && node.node_id == here;
    if is_here { format!("{} (here)", node.node_name) } else { node.node_name.clone() }
}

/// A part of a cost: so many digits that nodes which differ look different.
fn amount(value: Option<f64>) -> Cell {
    let text = match value {
        None => String::new(),
        // A cost of minus nothing would look like a mistake.
        Some(0.0) => "0".to_owned(),
        Some(value) if value.abs() >= 1e6 || value.abs() < 1e-4 => format!("{value:.3e}"),
        Some(value) => format!("{value:.4}"),
    };
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// What speaks against a node, in one line.
fn misses(node: &v1::NodeExplanation) -> String {
    verdicts(node, false).join("; ")
}

/// What speaks for a node, one a line: there is more of it than a line takes.
fn passes(node: &v1::NodeExplanation) -> String {
    verdicts(node, true).join("\n")
}

fn verdicts(node: &v1::NodeExplanation, passes: bool) -> Vec<&str> {
    node.verdicts.iter().filter(|verdict| verdict.passes == passes).map(|verdict| verdict.text.as_str()).collect()
}

fn unfit_table(unfit: &[&v1::NodeExplanation], here: &str, view: ExplainView, palette: Palette) -> String {
    let mut header = vec!["DOES NOT FIT", "WHY"];
    if view.wide {
        header.push("PASSES");
    }
    let rows = unfit.iter().map(|node| {
        let mut row = vec![Cell::new(named(node, here)), toned(&misses(node), Tone::Bad)];
        if view.wide {
            row.push(Cell::new(passes(node)));
        }
        row
    });
    render(&header, rows.collect::<Vec<_>>().into_iter(), palette) + "\n"
}

/// Many nodes, counted by what they fail.
fn groups_table(unfit: &[&v1::NodeExplanation], palette: Palette) -> String {
    let mut groups: BTreeMap<String, (usize, &v1::NodeExplanation)> = BTreeMap::new();
    for node in unfit {
        let failed = node.verdicts.iter().filter(|verdict| !verdict.passes);
        let kind = |verdict: &v1::FilterVerdict| {
            let is_amount = WITH_AMOUNTS.contains(&verdict.filter.as_str());
            if is_amount { verdict.filter.replace('_', " ") } else { verdict.text.clone() }
        };
        let kinds = failed.map(kind).collect::<Vec<_>>().join("; ");
        groups.entry(kinds).or_insert((0, node)).0 += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let rows = groups.into_iter().map(|(kinds, (count, node))| {
        let reasons = misses(node);
        let name = &node.node_name;
        let example = if reasons == kinds { name.clone() } else { format!("{name}: {reasons}") };
        vec![Cell::new(count).set_alignment(CellAlignment::Right), toned(&kinds, Tone::Bad), Cell::new(example)]
    });
    let table = render(&["NODES", "DO NOT FIT FOR", "SUCH AS"], rows, palette);
    format!("{table}\n{}\n", palette.paint(Tone::Faint, "--all shows every node."))
}

fn runs(
    answer: &v1::ExplainPlacementResponse,
    count: u32,
    name: &impl Fn(&str) -> String,
    view: ExplainView,
    palette: Palette,
) -> String {
    let placed = count.saturating_sub(answer.unplaced_count);
    // What the first line says need not be said twice.
    let told = answer.explanation.as_ref().is_some_and(|explanation| explanation.summary == answer.unplaced_reason);
    let why =
        if told || answer.unplaced_reason.is_empty() { String::new() } else { format!(": {}", answer.unplaced_reason) };
    let mut text = match answer.unplaced_count {
        0 => format!("\nAll {count} find a place.\n"),
        unplaced if unplaced >= count => format!("\nNone of {count} finds a place{why}.\n"),
        unplaced => format!("\n{placed} of {count} find a place; {unplaced} would wait{why}.\n"),
    };
    if !answer.runs.is_empty() {
        let shown = view.shown(answer.runs.len());
        let rows =
            answer.runs.iter().take(shown).map(|run| {
                vec![Cell::new(name(&run.node_id)), Cell::new(run.count).set_alignment(CellAlignment::Right)]
            });
        text.push_str(&render(&["WOULD GO TO", "TASKS"], rows, palette));
        text.push('\n');
        let rest: u32 = answer.runs.iter().skip(shown).map(|run| run.count).sum();
        if rest > 0 {
            let more = format!("{rest} more on {} other nodes; --all shows them.", answer.runs.len() - shown);
            text.push_str(&palette.paint(Tone::Faint, &more));
            text.push('\n');
        }
    }
    text
}

fn preemptions(preemptions: &[v1::Preemption], name: &impl Fn(&str) -> String, palette: Palette) -> String {
    let rows = preemptions.iter().map(|each| {
        let victims = each.victim_task_ids.iter().map(|id| short_id(id)).collect::<Vec<_>>().join(" ");
        vec![Cell::new(name(&each.node_id)), toned(&victims, Tone::Waiting), Cell::new(&each.reason)]
    });
    let table = render(&["ON NODE", "STOPPED TASKS", "WHY"], rows, palette);
    format!("\nRoom for {} would be made by stopping other tasks:\n{table}\n", preemptions.len())
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
