//! What the literature packs vectors with, written for clarity: Panigrahy, Talwar, Uyeda and Wieder, "Heuristics for Vector
//! Bin Packing", Microsoft Research 2011. Both see all tasks at once and open a node only when no open one has room.

use super::Amounts;

/// First-fit-decreasing: each task, the largest first, onto the first node that has room. Two measures of what is large are
/// tried, and the better one counts: the largest share of a node, and the sum of the shares. Says which nodes are used.
pub(super) fn first_fit_decreasing(tasks: &[Amounts], nodes: &[Amounts], order: &[usize]) -> Vec<bool> {
    let node = order.first().map_or([1.0; 2], |at| nodes[*at]);
    let largest = |task: &Amounts| (task[0] / node[0]).max(task[1] / node[1]);
    let sum = |task: &Amounts| task[0] / node[0] + task[1] / node[1];
    let one = first_fit(&decreasing(tasks, largest), nodes, order);
    let other = first_fit(&decreasing(tasks, sum), nodes, order);
    if capacity(&one, nodes) <= capacity(&other, nodes) { one } else { other }
}

/// Dot-product packing: node by node; each takes, as long as anything has room, the task whose demand points most in the
/// direction of what is left, each dimension weighted by how much all tasks ask for. Says which nodes are used.
pub(super) fn dot_product(tasks: &[Amounts], nodes: &[Amounts], order: &[usize]) -> Vec<bool> {
    let mut waiting = tasks.to_vec();
    let mut used = vec![false; nodes.len()];
    for &at in order {
        let size = nodes[at];
        let share = |amounts: Amounts| [amounts[0] / size[0], amounts[1] / size[1]];
        let weights =
            tasks.iter().map(|task| share(*task)).fold([0.0; 2], |sum, task| [sum[0] + task[0], sum[1] + task[1]]);
        let mut left = size;
        loop {
            let product = |task: Amounts| {
                let (task, left) = (share(task), share(left));
                weights[0] * task[0] * left[0] + weights[1] * task[1] * left[1]
            };
            let fitting = waiting.iter().enumerate().filter(|(_, task)| fits(**task, left));
            let best = fitting.max_by(|(_, a), (_, b)| product(**a).total_cmp(&product(**b)));
            let Some((index, _)) = best else { break };
            let task = waiting.swap_remove(index);
            left = [left[0] - task[0], left[1] - task[1]];
            used[at] = true;
        }
        if waiting.is_empty() {
            return used;
        }
    }
    all(nodes)
}

fn decreasing(tasks: &[Amounts], size: impl Fn(&Amounts) -> f64) -> Vec<Amounts> {
    let mut sorted = tasks.to_vec();
    sorted.sort_by(|a, b| size(b).total_cmp(&size(a)));
    sorted
}

fn first_fit(tasks: &[Amounts], nodes: &[Amounts], order: &[usize]) -> Vec<bool> {
    let mut left = nodes.to_vec();
    let mut used = vec![false; nodes.len()];
    for &task in tasks {
        let Some(&at) = order.iter().find(|at| fits(task, left[**at])) else { return all(nodes) };
        left[at] = [left[at][0] - task[0], left[at][1] - task[1]];
        used[at] = true;
    }
    used
}

/// A packing that has no room for all tasks counts as if it needed everything.
fn all(nodes: &[Amounts]) -> Vec<bool> {
    vec![true; nodes.len()]
}

fn fits(task: Amounts, left: Amounts) -> bool {
    task[0] <= left[0] && task[1] <= left[1]
}

fn capacity(used: &[bool], nodes: &[Amounts]) -> f64 {
    used.iter().zip(nodes).filter(|(used, _)| **used).map(|(_, node)| node[0]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [Amounts; 4] = [[10.0, 10.0]; 4];
    const ORDER: [usize; 4] = [0, 1, 2, 3];

    fn count(used: &[bool]) -> usize {
        used.iter().filter(|used| **used).count()
    }

    #[test]
    fn the_largest_come_first() {
        // First-fit in the given order would need three nodes.
        let tasks = [[3.0, 3.0], [3.0, 3.0], [7.0, 7.0], [7.0, 7.0]];
        assert_eq!(count(&first_fit_decreasing(&tasks, &NODES, &ORDER)), 2);
        assert_eq!(count(&first_fit(&tasks, &NODES, &ORDER)), 3);
    }

    #[test]
    fn dot_product_packing_brings_complements_together() {
        let tasks = [[9.0, 1.0], [9.0, 1.0], [1.0, 9.0], [1.0, 9.0]];
        assert_eq!(count(&dot_product(&tasks, &NODES, &ORDER)), 2);
    }
}
