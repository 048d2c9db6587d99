//! Where a task could go, and why not elsewhere.

use std::collections::{BTreeMap, HashMap};

use comfy_table::{Cell, CellAlignment};
use davit_core::words::counted;
use davit_proto::v1;
use jiff::Timestamp;

use super::known_nodes::KnownNodes;
use super::style::{Palette, Tone};
use super::table::{render, toned};
use super::text::{Promise, detail, has_ended, promise, short_id, state_of, task_name, task_state};

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

/// What is known beside an answer of where tasks would go that are not there.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// How many.
    pub count: u32,
    /// The task that they are like.
    pub like: Option<&'a v1::Task>,
    /// The nodes as they are.
    pub nodes: &'a KnownNodes,
    /// Names of the tasks that would be stopped, as far as they are known.
    pub victims: &'a BTreeMap<String, String>,
}

/// Where a task that is there could go.
#[must_use]
pub fn explained_task(
    answer: &v1::ExplainTaskResponse,
    victims: &BTreeMap<String, String>,
    view: ExplainView,
    now: Timestamp,
    palette: Palette,
) -> String {
    let explanation = answer.explanation.clone().unwrap_or_default();
    let task = answer.task.clone().unwrap_or_default();
    let mut names = KnownNodes::default();
    names.add_explained(&explanation);
    let mut text = headline(&task, "it would go if it were placed now", &names, now);
    if !answer.held_up_by.is_empty() {
        let nothing = palette.paint(Tone::Bad, "Nothing is placed now");
        text.push_str(&format!("{nothing}: {}.\n", answer.held_up_by));
    }
    let is_told = waits(&task) && reason(&task, now) == explanation.summary;
    if !is_told {
        text.push_str(&format!("{}\n", summary(&explanation, palette)));
    }
    text.push_str(&nodes(&explanation, here(&task), view, palette));
    // Of a gang: that single members fit says little.
    let of_all = &answer.unplaced_reason;
    if !of_all.is_empty() && *of_all != explanation.summary && !reason(&task, now).contains(of_all) {
        text.push_str(&format!("\nIt waits: {of_all}.\n"));
    }
    if !answer.preemptions.is_empty() {
        text.push_str(&preemptions(&answer.preemptions, &names, victims, palette));
    }
    text
}

/// Where tasks that are not there would go.
#[must_use]
pub fn explained_placement(
    answer: &v1::ExplainPlacementResponse,
    asked: Asked<'_>,
    view: ExplainView,
    now: Timestamp,
    palette: Palette,
) -> String {
    let explanation = answer.explanation.clone().unwrap_or_default();
    let mut names = asked.nodes.clone();
    names.add_explained(&explanation);
    let mut text = String::new();
    if let Some(task) = asked.like {
        text.push_str(&headline(task, "another one like it would go", &names, now));
        if waits(task) {
            text.push_str("This is where another one like it would go.\n");
        }
        if waits(task) && !task.gang_id.is_empty() && asked.count == 1 {
            text.push_str("It waits with its gang: --count and --all-or-nothing ask for all of it.\n");
        }
    }
    text.push_str(&format!("{}\n", summary(&explanation, palette)));
    text.push_str(&nodes(&explanation, "", view, palette));
    if asked.count > 1 {
        text.push_str(&runs(answer, asked.count, &names, view, palette));
    }
    if !answer.preemptions.is_empty() {
        text.push_str(&preemptions(&answer.preemptions, &names, asked.victims, palette));
    }
    text
}

/// What a task is now, and of one that doesn't wait what is shown of it.
fn headline(task: &v1::Task, would: &str, nodes: &KnownNodes, now: Timestamp) -> String {
    let who = format!("{} {}", task_name(task), short_id(&task.task_id));
    let state = task_state(task);
    let mut text = if waits(task) {
        let why = reason(task, now);
        if why.is_empty() { format!("{who} is {state}.\n") } else { format!("{who} is {state}: {why}\n") }
    } else {
        let on = match here(task) {
            "" => String::new(),
            node_id => format!(" on {}", nodes.of(node_id)),
        };
        format!("{who} is {state}{on}; this is where {would}.\n")
    };
    if let Some(claim) = task.claim.as_ref().filter(|_| !has_ended(state_of(task))) {
        let node = nodes.of(&claim.node_id);
        let Promise { is_move, why } = promise(claim, node);
        let told = why.is_empty() || reason(task, now).contains(why);
        let why = if told { String::new() } else { format!(": {why}") };
        let promised = if is_move { "It moves to" } else { "Room is kept for it on" };
        text.push_str(&format!("{promised} {node}{why}.\n"));
    }
    text
}

fn waits(task: &v1::Task) -> bool {
    matches!(state_of(task), v1::TaskState::Pending | v1::TaskState::Unspecified)
}

/// Why it waits, in one line.
fn reason(task: &v1::Task, now: Timestamp) -> String {
    task.status.as_ref().map_or_else(String::new, |status| detail(status, now).replace('\n', " "))
}

/// The node that it is on: none of a task that has ended.
fn here(task: &v1::Task) -> &str {
    if has_ended(state_of(task)) { "" } else { task.status.as_ref().map_or("", |status| &status.node_id) }
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
    let ranks = ranks(shown);
    let rows = shown.iter().zip(&ranks).map(|(node, rank)| {
        let tone = if *rank == 1 { Tone::Good } else { Tone::Plain };
        let mut row = vec![Cell::new(*rank), toned(&named(node, here), tone), amount(Some(node.cost))];
        row.extend(
            terms.iter().map(|name| amount(node.terms.iter().find(|term| term.name == **name).map(|term| term.value))),
        );
        if view.wide {
            row.push(Cell::new(passes(node)));
        }
        row
    });
    let mut text = render(&header, rows.collect::<Vec<_>>().into_iter(), palette) + "\n";
    if ranks.windows(2).any(|pair| pair[0] == pair[1]) {
        text.push_str(&palette.paint(Tone::Faint, "Nodes of one rank are equally good; a seed decides."));
        text.push('\n');
    }
    text
}

/// The rank of each node, best first: nodes that cost the same share that of the first of them.
fn ranks(fitting: &[&v1::NodeExplanation]) -> Vec<u32> {
    let mut ranks: Vec<u32> = Vec::with_capacity(fitting.len());
    for (index, node) in fitting.iter().enumerate() {
        // The sum makes minus nothing nothing, as the scheduler does when it compares.
        let costs_as = |other: &v1::NodeExplanation| (node.cost + 0.0).total_cmp(&(other.cost + 0.0)).is_eq();
        let above = index.checked_sub(1).filter(|above| costs_as(fitting[*above]));
        ranks.push(above.map_or(node.rank, |above| ranks[above]));
    }
    ranks
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
    names: &KnownNodes,
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
        let runs = best_first(answer);
        let rows = runs.iter().take(shown).map(|run| {
            vec![Cell::new(names.of(&run.node_id)), Cell::new(run.count).set_alignment(CellAlignment::Right)]
        });
        text.push_str(&render(&["WOULD GO TO", "TASKS"], rows, palette));
        text.push('\n');
        let rest: u32 = runs.iter().skip(shown).map(|run| run.count).sum();
        if rest > 0 {
            let others = counted((answer.runs.len() - shown) as u64, "other node", "other nodes");
            let more = format!("{rest} more on {others}; --all shows them.");
            text.push_str(&palette.paint(Tone::Faint, &more));
            text.push('\n');
        }
    }
    text
}

/// Where tasks go, in the order in which the nodes are told.
fn best_first(answer: &v1::ExplainPlacementResponse) -> Vec<&v1::PlacementRun> {
    let told = answer.explanation.iter().flat_map(|explanation| &explanation.nodes);
    let places: HashMap<&str, usize> = told.enumerate().map(|(place, node)| (node.node_id.as_str(), place)).collect();
    let mut runs: Vec<_> = answer.runs.iter().collect();
    runs.sort_by_key(|run| places.get(run.node_id.as_str()).copied().unwrap_or(usize::MAX));
    runs
}

fn preemptions(
    preemptions: &[v1::Preemption],
    nodes: &KnownNodes,
    victims: &BTreeMap<String, String>,
    palette: Palette,
) -> String {
    let one = |id: &String| match victims.get(id) {
        Some(name) => format!("{name} {}", short_id(id)),
        None => short_id(id).to_owned(),
    };
    let rows = preemptions.iter().map(|each| {
        let mut stopped = each.victim_task_ids.iter().map(one).collect::<Vec<_>>().join(", ");
        if stopped.is_empty() {
            stopped.push_str("none");
        }
        vec![Cell::new(nodes.of(&each.node_id)), toned(&stopped, Tone::Waiting), Cell::new(&each.reason)]
    });
    let table = render(&["ON NODE", "STOPPED TASKS", "WHY"], rows, palette);
    format!("\nRoom for {} would be made by stopping other tasks:\n{table}\n", preemptions.len())
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
