//! One JSON object for programs.

use serde_json::{Value, json};

use super::{CellReport, budgets};
use crate::machine::Machine;
use crate::memory::Usage;
use crate::quality::Row;
use crate::speed::Around;

/// One cell.
pub(crate) fn cell(report: &CellReport) -> Value {
    let cell = &report.cell;
    json!({
        "nodes": cell.nodes,
        "tasks": cell.tasks,
        "shapes": cell.shapes,
        "algorithm": cell.algorithm,
        "constraints": cell.constraints,
        "transport": cell.transport,
        "placements_per_s": rounded(report.placements_per_s, 1.0),
        "p50_batch_ms": rounded(report.p50_batch_ms, 1000.0),
        "p99_batch_ms": rounded(report.p99_batch_ms, 1000.0),
        "snapshot_ms": rounded(report.snapshot_ms, 1000.0),
        "rss_bytes": report.rss_bytes,
        "batches": report.batches,
        "placed": report.placed,
        "unplaced": report.unplaced,
        "stopped_early": report.capped,
    })
}

/// All cells, memory, budgets and density.
pub(crate) fn grid(reports: &[CellReport], memory: &Usage, quality: &[Row]) -> Value {
    let budgets: Vec<_> = budgets(reports)
        .iter()
        .flat_map(|budget| {
            budget.cells.iter().map(|report| {
                json!({
                    "what": budget.what,
                    "algorithm": report.cell.algorithm,
                    "least_per_s": budget.least_per_s,
                    "placements_per_s": rounded(report.placements_per_s, 1.0),
                    "reached": report.placements_per_s >= budget.least_per_s,
                })
            })
        })
        .collect();
    let cells: Vec<_> = reports.iter().map(cell).collect();
    json!({ "cells": cells, "budgets": budgets, "memory": memory, "quality": quality })
}

/// Says beside a result where it comes from.
pub(crate) fn with_machine(mut result: Value, machine: &Machine, speed: &Around) -> Value {
    let mut about = json!(machine);
    if let (Value::Object(fields), Value::Object(about)) = (&mut result, &mut about) {
        about.insert("speed".to_owned(), in_thousandths(json!(speed)));
        fields.insert("machine".to_owned(), json!(about));
    }
    result
}

/// Rounded to so many parts of one.
pub(crate) fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Rounds all figures of a result to thousandths.
pub(crate) fn in_thousandths(result: Value) -> Value {
    match result {
        Value::Number(number) if number.is_f64() => json!(number.as_f64().map(|figure| rounded(figure, 1000.0))),
        Value::Array(values) => values.into_iter().map(in_thousandths).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, in_thousandths(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_however_deep_they_are_and_whole_numbers_stay() {
        let result = json!({ "a": [0.30000000000000004, 7], "b": { "c": 1.23456, "d": "x", "e": null } });
        let expected = json!({ "a": [0.3, 7], "b": { "c": 1.235, "d": "x", "e": null } });
        assert_eq!(in_thousandths(result), expected);
    }
}
