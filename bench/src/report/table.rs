//! Tables for people.

use super::{Budget, CellReport};
use crate::memory::Usage;
use crate::quality::{BOUND_OVER_BEST, Row};

/// The columns of cells.
pub(crate) fn cells_header() {
    println!(
        "{:<10} {:>7} {:>9} {:>6} {:<14} {:<11} {:>12} {:>9} {:>9} {:>9} {:>9}",
        "transport",
        "nodes",
        "tasks",
        "shapes",
        "algorithm",
        "constraints",
        "tasks/s",
        "p50 ms",
        "p99 ms",
        "nodes ms",
        "MiB"
    );
}

/// One row, as soon as it is known.
pub(crate) fn cell(report: &CellReport) {
    let cell = &report.cell;
    let mut notes = String::new();
    if report.capped {
        notes += &format!("  stopped early, after {} tasks", thousands(report.placed + report.unplaced));
    }
    if report.unplaced > 0 {
        notes += &format!("  {} not placed", thousands(report.unplaced));
    }
    println!(
        "{:<10} {:>7} {:>9} {:>6} {:<14} {:<11} {:>12} {:>9.2} {:>9.2} {:>9.2} {:>9.1}{notes}",
        cell.transport.name(),
        thousands(cell.nodes.into()),
        thousands(cell.tasks.into()),
        cell.shapes.name(),
        cell.algorithm,
        if cell.constraints { "with" } else { "without" },
        thousands(report.placements_per_s as u64),
        report.p50_batch_ms,
        report.p99_batch_ms,
        report.snapshot_ms,
        report.rss_bytes as f64 / f64::from(1 << 20),
    );
}

/// Memory against its budgets.
pub(crate) fn memory(usage: &Usage) {
    let Usage { idle_bytes, idle_bytes_budget, nodes, bytes_per_node, bytes_per_node_budget } = *usage;
    let verdict = reached(bytes_per_node <= bytes_per_node_budget);
    let nodes = thousands(nodes.into());
    println!("engine at {nodes} nodes: {bytes_per_node} bytes a node; budget {bytes_per_node_budget}: {verdict}");
    let verdict = reached(idle_bytes <= idle_bytes_budget);
    let (idle, budget) = (idle_bytes as f64 / 1e6, idle_bytes_budget as f64 / 1e6);
    println!("scheduler without work: {idle:.1} MB; budget {budget:.0} MB: {verdict}\n");
}

/// Rates against their budgets.
pub(crate) fn budgets(budgets: &[Budget<'_>]) {
    for budget in budgets.iter().filter(|budget| !budget.cells.is_empty()) {
        println!("\nbudget: {}, at least {}/s through gRPC", budget.what, thousands(budget.least_per_s as u64));
        for report in &budget.cells {
            let verdict = reached(report.placements_per_s >= budget.least_per_s);
            println!(
                "    {:<14} {:>12}/s  {verdict}",
                report.cell.algorithm,
                thousands(report.placements_per_s as u64)
            );
        }
    }
}

/// Density against the references.
pub(crate) fn quality(rows: &[Row]) {
    println!("\nhow much of the cluster is needed, in nodes or, of two sizes, in cores; less is better");
    println!(
        "{:<26} {:<10} {:>7} {:>8} {:>8} {:>9} {:>7} {:>15} {:>7}",
        "tasks", "nodes", "bound", "ffd", "dot", "binpack", "ratio", "least-stranded", "ratio"
    );
    for row in rows {
        let over = if row.is_good() { "" } else { "  TOO MUCH" };
        println!(
            "{:<26} {:<10} {:>7} {:>8} {:>8} {:>9} {:>7.3} {:>15} {:>7.3}{over}",
            row.mix,
            row.nodes,
            row.bound,
            row.first_fit_decreasing,
            row.dot_product,
            row.binpack,
            row.ratio(row.binpack),
            row.least_stranded,
            row.ratio(row.least_stranded),
        );
    }
    println!("ratio: to the better of ffd and dot; at most {BOUND_OVER_BEST}");
}

/// What became of a budget.
pub(crate) fn reached(reached: bool) -> &'static str {
    if reached { "reached" } else { "NOT REACHED" }
}

/// `1,234,567`
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
