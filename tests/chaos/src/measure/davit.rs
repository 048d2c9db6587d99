//! Davit with containers on three real engines.

use std::time::Duration;

use davit_proto::v1;

use super::Figure;
use super::replicas::{PATIENCE, REPLICAS, all_live, containers_on, disturbed, replaced};
use crate::api::Api;
use crate::cluster::{Cluster, Machine, Size};
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::shell::until;
use crate::stamp::Stamp;
use crate::witness::{self, Runtime};

const ENGINES: usize = 3;
/// The machine that things happen to.
const VICTIM: usize = ENGINES - 1;

struct Real {
    cluster: Cluster,
    api: Api,
    evidence: Evidence,
}

/// Takes all figures.
///
/// # Errors
/// When something does not come up, or does not recover at all.
pub(super) async fn measure(rounds: usize) -> Result<Vec<Figure>> {
    println!("Davit on {ENGINES} engines");
    let cluster = Cluster::start(Size { workers: ENGINES, engines: ENGINES }).await?;
    let (api, evidence) = (cluster.api()?, Evidence::new(&cluster.evidence));
    let mut real = Real { cluster, api, evidence };
    let on = format!("Davit, {ENGINES} engines, {REPLICAS} containers");
    let mut figures = [
        "node cut off → all replicas live elsewhere",
        "manager killed → takes changes again",
        "worker killed → READY again",
        "node's engine killed → its replicas live again",
    ]
    .map(|what| Figure { what, on: on.clone(), times: Vec::new(), disturbed: 0 });
    for round in 1..=rounds {
        let cut = real.round(Real::cut_node).await?;
        let manager = real.round(Real::kill_manager).await?;
        let worker = real.round(Real::kill_worker).await?;
        let engine = real.round(Real::kill_engine).await?;
        println!("  {round:>3}  cut {cut:?}, manager {manager:?}, worker {worker:?}, engine {engine:?}");
        for (figure, (time, disturbed)) in figures.iter_mut().zip([cut, manager, worker, engine]) {
            figure.times.push(time);
            figure.disturbed += disturbed;
        }
    }
    Ok(figures.into())
}

impl Real {
    /// Fresh replicas, one thing that happens to them, and their end.
    async fn round<T>(&mut self, happening: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let begin = Stamp::now();
        for number in 0..REPLICAS {
            let name = format!("replica-{number}");
            let spec = v1::TaskSpec {
                runtime: Some(witness::runtime_of(Runtime::Container, &name, &self.cluster.evidence, None)),
                name: name.clone(),
                restart_policy: Some(v1::RestartPolicy { mode: v1::RestartMode::Always.into(), ..Default::default() }),
                ..Default::default()
            };
            let request_id = format!("{name}-{begin}");
            until("a replica is created", PATIENCE, async || {
                self.api.create(spec.clone(), &request_id).await.map_err(|status| status.to_string())
            })
            .await?;
        }
        all_live(&mut self.evidence, REPLICAS).await?;
        let taken = happening(self).await?;
        let mut api = self.api.clone();
        until("all nodes are READY", PATIENCE, async || api.all_is_well(ENGINES).await).await?;
        until("all replicas are deleted", PATIENCE, async || {
            let tasks = api.all_tasks().await.map_err(|status| status.to_string())?;
            for task_id in tasks.keys() {
                // Gone already is as good.
                let _ = api.delete(task_id).await;
            }
            if tasks.is_empty() { Ok(()) } else { Err(format!("{} are left", tasks.len())) }
        })
        .await?;
        all_live(&mut self.evidence, 0).await?;
        Ok(taken)
    }

    async fn cut_node(&mut self) -> Result<(Duration, usize)> {
        let count = containers_on(self.engine()?).await?;
        self.victim().place.set_cable(false).await?;
        let begin = Stamp::now();
        let took = replaced(&mut self.evidence, begin, count).await?;
        self.victim().place.set_cable(true).await?;
        Ok((took, count))
    }

    async fn kill_manager(&mut self) -> Result<(Duration, usize)> {
        let begin = Stamp::now();
        self.cluster.control.manager.kill().await?;
        self.cluster.control.manager.start()?;
        until("changes are taken", PATIENCE, async || {
            self.api.write("n1", begin.0).await.map_err(|status| status.to_string())
        })
        .await?;
        let took = Stamp::now().since(begin);
        Ok((took, disturbed(&mut self.evidence, begin).await?))
    }

    async fn kill_worker(&mut self) -> Result<(Duration, usize)> {
        let begin = Stamp::now();
        self.victim().worker.kill().await?;
        // Long enough for the manager to notice.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.victim().worker.start()?;
        until("all nodes are READY", PATIENCE, async || self.api.all_is_well(ENGINES).await).await?;
        let took = Stamp::now().since(begin);
        Ok((took, disturbed(&mut self.evidence, begin).await?))
    }

    async fn kill_engine(&mut self) -> Result<(Duration, usize)> {
        let count = containers_on(self.engine()?).await?;
        let begin = Stamp::now();
        if let Some(engine) = &mut self.victim().engine {
            engine.kill().await?;
            engine.start().await?;
        }
        let took = replaced(&mut self.evidence, begin, count).await?;
        Ok((took, disturbed(&mut self.evidence, begin).await?))
    }

    fn victim(&mut self) -> &mut Machine {
        &mut self.cluster.machines[VICTIM]
    }

    fn engine(&mut self) -> Result<&crate::engine::Engine> {
        self.victim().engine.as_ref().ok_or_else(|| Error::Machine("that machine has no engine".to_owned()))
    }
}
