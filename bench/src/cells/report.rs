//! What was measured, for people and for programs.

use serde::{Serialize, Serializer};
use serde_json::json;

use super::Options;
use super::ledger::Counted;
use super::world::Tally;
use crate::report::table::thousands;

/// One phase of a run.
#[derive(Debug)]
pub(super) struct Phase {
    name: &'static str,
    tally: Tally,
    counted: Counted,
    /// Of each cell that is left, the shares of cpu and memory that are reserved.
    filled: Vec<[f64; 2]>,
}

impl Phase {
    /// A phase that ended with these cells.
    pub(super) fn new(name: &'static str, tally: Tally, counted: Counted, filled: Vec<Option<[f64; 2]>>) -> Self {
        Self { name, tally, counted, filled: filled.into_iter().flatten().collect() }
    }

    /// The emptiest and the fullest cell, by reserved cpu.
    fn balance(&self) -> (f64, f64) {
        let cpu = || self.filled.iter().map(|[cpu, _]| *cpu);
        (cpu().fold(f64::INFINITY, f64::min), cpu().fold(0.0, f64::max))
    }

    /// Its row.
    pub(super) fn print(&self) {
        let (least, most) = self.balance();
        let Self { name, tally, counted, .. } = self;
        row(name, tally, &format!("{:.2} to {:.2} %", least * 100.0, most * 100.0));
        println!(
            "{:>14} {} tasks have a place and {} wait, as counted again on every node",
            "",
            thousands(counted.placed),
            thousands(counted.waiting)
        );
    }
}

/// How full everything became.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) tally: Tally,
    /// The shares of cpu and memory that were reserved when the first task was refused.
    pub(super) first_refused: Option<[f64; 2]>,
    /// When as much had been offered as there is.
    pub(super) filled: [f64; 2],
    /// When nothing fitted any more.
    pub(super) full: [f64; 2],
    pub(super) counted: Counted,
}

impl Filled {
    /// Its rows.
    pub(super) fn print(&self, name: &str) {
        let of = |[cpu, memory]: [f64; 2]| format!("cpu {:.2} %, memory {:.2} %", cpu * 100.0, memory * 100.0);
        row(name, &self.tally, &of(self.filled));
        println!(
            "{:>14} first refused at {}; nothing fits at {}; {} tasks counted again",
            "",
            self.first_refused.map_or_else(|| "no time".to_owned(), of),
            of(self.full),
            thousands(self.counted.placed)
        );
    }
}

/// What is measured, and the columns.
pub(super) fn header(options: &Options) {
    let Options { cells, nodes, fronts, choices, hear_every, algorithm, .. } = options;
    println!(
        "{cells} cells of {nodes} nodes, {algorithm}; {fronts} fronts that hear each cell once in {hear_every} turns and take \
         the emptiest of {choices}\n"
    );
    println!(
        "{:>14} {:>10} {:>8} {:>9} {:>11} {:>11} {:>8} {:>8} {:>8} {:>8}  RESERVED",
        "PHASE", "TASKS", "GROUPS", "UNPLACED", "TASKS/S", "ENGINES/S", "TURN MS", "SECOND", "DIVIDED", "QUESTIONS"
    );
}

fn row(name: &str, tally: &Tally, reserved: &str) {
    let percent = |part: u64| format!("{:.2} %", share(part, tally.groups) * 100.0);
    println!(
        "{name:>14} {:>10} {:>8} {:>9} {:>11} {:>11} {:>8.1} {:>8} {:>8} {:>9.2}  {reserved}",
        tally.tasks,
        tally.groups,
        tally.unplaced,
        thousands(placements_per_s(tally) as u64),
        thousands(engines_per_s(tally) as u64),
        tally.slowest_turn.as_secs_f64() * 1e3,
        percent(tally.spilled),
        percent(tally.divided),
        share(tally.questions, tally.groups),
    );
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn placed(tally: &Tally) -> f64 {
    tally.tasks.saturating_sub(tally.unplaced) as f64
}

/// Of everything: fronts, engines, summaries, one after the other on one core.
fn placements_per_s(tally: &Tally) -> f64 {
    placed(tally) / tally.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// Of the engines alone.
fn engines_per_s(tally: &Tally) -> f64 {
    placed(tally) / tally.placing.as_secs_f64().max(f64::MIN_POSITIVE)
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fronts = self.elapsed.saturating_sub(self.placing).saturating_sub(self.summarizing);
        let told = json!({
            "tasks": self.tasks,
            "groups": self.groups,
            "unplaced": self.unplaced,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "engines_s": self.placing.as_secs_f64(),
            "summaries_s": self.summarizing.as_secs_f64(),
            "fronts_s": fronts.as_secs_f64(),
            "summaries": self.summaries,
            "slowest_turn_ms": self.slowest_turn.as_secs_f64() * 1e3,
            "placements_per_s": placements_per_s(self),
            "engines_placements_per_s": engines_per_s(self),
            "second_cell_share": share(self.spilled, self.groups),
            "divided_share": share(self.divided, self.groups),
            "questions_a_group": share(self.questions, self.groups),
        });
        told.serialize(serializer)
    }
}

impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (least, most) = self.balance();
        let told = json!({
            "turns": self.tally,
            "placed": self.counted.placed,
            "waiting": self.counted.waiting,
            "cells": self.filled,
            "emptiest_cpu": least,
            "fullest_cpu": most,
        });
        told.serialize(serializer)
    }
}

impl Serialize for Filled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let told = json!({
            "turns": self.tally,
            "at_first_refusal": self.first_refused,
            "when_as_much_was_offered_as_there_is": self.filled,
            "when_nothing_fits": self.full,
            "placed": self.counted.placed,
        });
        told.serialize(serializer)
    }
}
