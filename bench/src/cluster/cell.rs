//! One cell: a fresh cluster, and all that is measured of it.

use serde::Serialize;

use super::bulk::{self, Bulk};
use super::check::check;
use super::churn::{self, Churn};
use super::death::{self, Death};
use super::grid::Cell;
use super::probe::{Probe, probe};
use super::setup::{Back, Cluster};
use super::stop::{self, Stop};
use super::wanted::Wanted;
use super::{Options, table};
use crate::error::Error;
use crate::phase;
use crate::running::latency::Spread;
use crate::speed::{self, Around};

/// What was measured of a cell.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) cell: Cell,
    pub(super) shapes: u32,
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// How fast the machine was.
    pub(super) speed: Around,
    /// Why there is no more. Unset if all was as it has to be.
    pub(super) failed: Option<String>,
}

/// The figures, as far as it came.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) at_first: Option<Probe>,
    #[serde(flatten)]
    pub(super) bulk: Option<Bulk>,
    pub(super) with_all: Option<Probe>,
    /// Of every task that ran then, however many were created before it: from its creation to its newest change, which is that it
    /// was RUNNING.
    pub(super) create_to_running: Option<Spread>,
    /// CPU seconds for 10,000 more with all of them, to those at first.
    pub(super) last_to_first_cpu: Option<f64>,
    pub(super) churn: Option<Churn>,
    pub(super) node_death: Option<Death>,
    pub(super) manager_restart: Option<Back>,
    pub(super) stop: Option<Stop>,
}

/// Measures one. What went wrong is part of it.
pub(super) async fn measure(options: &Options, cell: Cell) -> Result<Row, Error> {
    table::heading(cell);
    let before = speed::measure_apart()?;
    let mut figures = Figures::default();
    phase::begin("start");
    let measured = match Cluster::start(&options.places, cell.nodes).await {
        Ok(mut cluster) => {
            let measured = Box::pin(fill(&mut figures, &mut cluster, options, cell)).await;
            measured.and(cluster.end().await)
        }
        Err(error) => Err(error),
    };
    phase::begin(phase::END);
    let speed = Around { before, after: speed::measure_apart()? };
    Ok(Row { cell, shapes: options.shapes, figures, speed, failed: measured.err().map(|error| error.to_string()) })
}

async fn fill(figures: &mut Figures, cluster: &mut Cluster, options: &Options, cell: Cell) -> Result<(), Error> {
    let mut wanted = Wanted::default();
    phase::begin("probe-at-first");
    let first = figures.at_first.insert(probe(cluster, &mut wanted, "at first").await?).spurt.cpu_s;
    phase::begin("bulk");
    figures.bulk = Some(bulk::run(cluster, cell, options.shapes, &mut wanted).await?);
    phase::begin("probe-with-all");
    let last = figures.with_all.insert(probe(cluster, &mut wanted, "with all of them").await?).spurt.cpu_s;
    figures.last_to_first_cpu = Some(last / first);
    let waits = figures.create_to_running.insert(check(cluster, &wanted).await?);
    println!("each of {} tasks was RUNNING after {waits}", wanted.running_count());
    let churn_seconds = options.churn_seconds();
    if churn_seconds > 0 {
        phase::begin("churn");
        figures.churn = Some(Box::pin(churn::run(cluster, cell, churn_seconds, &mut wanted)).await?);
        check(cluster, &wanted).await?;
    }
    phase::begin("death");
    figures.node_death = Some(death::kill_node(cluster, &mut wanted).await?);
    check(cluster, &wanted).await?;
    phase::begin("restart");
    figures.manager_restart = Some(cluster.restart_manager().await?);
    check(cluster, &wanted).await?;
    phase::begin("stop");
    figures.stop = Some(stop::everything(cluster, &mut wanted).await?);
    check(cluster, &wanted).await?;
    Ok(())
}
