//! Tables for people.

use super::cell::{Figures, Row};
use super::grid::Cell;
use crate::report::table::thousands;

/// Before a cell is measured.
pub(super) fn heading(Cell { nodes, tasks }: Cell) {
    println!("\n=== {} nodes, {} tasks", thousands(nodes.into()), thousands(tasks.into()));
}

/// All cells, one line each.
pub(super) fn rows(rows: &[Row]) {
    println!(
        "\n{:>7} {:>9} {:>9} {:>9} {:>12} {:>12} {:>11} {:>11} {:>6} {:>8} {:>8} {:>9} {:>9} {:>8}  outcome",
        "nodes",
        "tasks",
        "RUNNING s",
        "tasks/s",
        "create p50",
        "create p99",
        "10k first",
        "10k last",
        "ratio",
        "death s",
        "back s",
        "stopped s",
        "manager",
        "speed"
    );
    rows.iter().for_each(|row| println!("{}", line(row)));
    println!(
        "create: ms until the answer of a request for 5,000; 10k: CPU s of all processes for 10,000 more; death: its tasks run \
         elsewhere;\nback: a killed manager has all nodes; manager: MiB, the most since its start; speed: million steps/s of one core before and after"
    );
}

/// What was not measured is a dash.
fn line(row: &Row) -> String {
    let Row { cell: Cell { nodes, tasks }, figures, speed, failed, .. } = row;
    let Figures { at_first, bulk, with_all, last_to_first_cpu, node_death, manager_restart, stop, .. } = figures;
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let bulk = bulk.as_ref();
    format!(
        "{:>7} {:>9} {:>9} {:>9} {:>12} {:>12} {:>11} {:>11} {:>6} {:>8} {:>8} {:>9} {:>9} {:>8}  {}",
        thousands((*nodes).into()),
        thousands((*tasks).into()),
        number(bulk.map(|bulk| bulk.create_to_all_running_s), 2),
        number(bulk.map(|bulk| bulk.tasks_per_s), 0),
        number(bulk.map(|bulk| bulk.create_answered.p50_ms), 1),
        number(bulk.map(|bulk| bulk.create_answered.p99_ms), 1),
        number(at_first.as_ref().map(|probe| probe.spurt.cpu_s), 2),
        number(with_all.as_ref().map(|probe| probe.spurt.cpu_s), 2),
        number(*last_to_first_cpu, 2),
        number(node_death.as_ref().map(|death| death.all_running_s), 2),
        number(manager_restart.as_ref().map(|back| back.all_nodes_s), 2),
        number(stop.as_ref().map(|stop| stop.all_stopped_s), 2),
        number(bulk.map(|bulk| bulk.peak_since_start_bytes("davit-manager") as f64 / f64::from(1 << 20)), 0),
        format!("{:.0}/{:.0}", speed.before.one_core, speed.after.one_core),
        failed.as_deref().map_or("good".to_owned(), |failed| format!("FAILED: {failed}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speed::{Around, Speed};

    #[test]
    fn a_cell_that_failed_says_why_and_has_dashes_for_what_is_missing() {
        let speed = Speed { one_core: 150.0, all_cores: 250.0 };
        let row = Row {
            cell: Cell { nodes: 1_000, tasks: 100_000 },
            shapes: 20,
            figures: Figures::default(),
            speed: Around { before: speed, after: speed },
            failed: Some("no answer for 60s".to_owned()),
        };
        let line = line(&row);
        assert!(line.starts_with("  1,000   100,000         -"), "{line}");
        assert!(line.ends_with("  150/150  FAILED: no answer for 60s"), "{line}");
    }
}
