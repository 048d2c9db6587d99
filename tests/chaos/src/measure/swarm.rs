//! The engines' own Swarm mode on three of them: the same replicas, the same deaths, the same yardstick.

use std::path::PathBuf;
use std::time::Duration;

use super::Figure;
use super::replicas::{PATIENCE, REPLICAS, all_live, containers_on, disturbed, replaced};
use crate::engine::{self, Engine, IMAGE};
use crate::error::{Result, io_at};
use crate::evidence::Evidence;
use crate::names::{EVIDENCE_VARIABLE, base};
use crate::net::{Net, Place};
use crate::shell::until;
use crate::stamp::Stamp;
use crate::witness;

const SERVICE: &str = "replicas";
/// The first is the manager; things happen to the last.
const ENGINES: usize = 3;
const VICTIM: usize = ENGINES - 1;

struct Swarm {
    engines: Vec<(Place, Engine)>,
    evidence: Evidence,
    dir: PathBuf,
}

/// Takes all figures.
///
/// # Errors
/// When something does not come up, or does not recover at all.
pub(super) async fn measure(rounds: usize) -> Result<Vec<Figure>> {
    println!("Swarm mode on {ENGINES} engines");
    let mut swarm = Swarm::start().await?;
    let on = format!("Swarm mode, {ENGINES} engines, {REPLICAS} containers");
    let mut figures = [
        "node cut off → all replicas live elsewhere",
        "manager's engine killed → `docker service ls` answers",
        "node's engine killed → its replicas live again",
    ]
    .map(|what| Figure { what, on: on.clone(), times: Vec::new(), disturbed: 0 });
    for round in 1..=rounds {
        let cut = swarm.round(Swarm::cut_node).await?;
        let manager = swarm.round(Swarm::kill_manager).await?;
        let engine = swarm.round(Swarm::kill_engine).await?;
        println!("  {round:>3}  cut {cut:?}, manager {manager:?}, engine {engine:?}");
        for (figure, (time, disturbed)) in figures.iter_mut().zip([cut, manager, engine]) {
            figure.times.push(time);
            figure.disturbed += disturbed;
        }
    }
    Ok(figures.into())
}

impl Swarm {
    async fn start() -> Result<Self> {
        let (logs, dir) = (base().join("logs"), base().join("evidence"));
        std::fs::create_dir_all(&logs).map_err(io_at("make", &logs))?;
        witness::prepare(&dir)?;
        let image = engine::make_image(&base()).await?;
        let mut net = Net::make().await?;
        let mut engines = Vec::new();
        for number in 1..=ENGINES {
            let name = format!("s{number}");
            let place = net.add(&name).await?;
            let log = logs.join(format!("engine-{name}.log"));
            let mut engine = Engine::new(&name, &base().join(format!("{name}-engine")), log);
            engine.start().await?;
            engine.import(&image).await?;
            engines.push((place, engine));
        }
        let address = |number: usize| engines[number].0.address.clone();
        let manager = &engines[0].1;
        manager.docker(&["swarm", "init", "--advertise-addr", &address(0)]).await?;
        let token = manager.docker(&["swarm", "join-token", "--quiet", "worker"]).await?;
        for (number, (_, engine)) in engines.iter().enumerate().skip(1) {
            let (own, manager) = (address(number), format!("{}:2377", address(0)));
            engine.docker(&["swarm", "join", "--token", &token, "--advertise-addr", &own, &manager]).await?;
        }
        Ok(Self { engines, evidence: Evidence::new(&dir), dir })
    }

    /// Fresh replicas, one thing that happens to them, and their end.
    async fn round<T>(&mut self, happening: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let dir = self.dir.display().to_string();
        let replicas = REPLICAS.to_string();
        let mount = format!("type=bind,source={dir},target={dir}");
        let variable = format!("{EVIDENCE_VARIABLE}={dir}");
        let mut create: Vec<&str> =
            ["service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", SERVICE].to_vec();
        create.extend(["--replicas", &replicas, "--mount", &mount, "--env", &variable]);
        create.extend(["--env", "WITNESS_TASK=replica", "--env", "WITNESS_BEATS=-1", IMAGE]);
        let command = witness::script_command();
        create.extend(command.iter().map(String::as_str));
        self.engines[0].1.docker(&create).await?;
        all_live(&mut self.evidence, REPLICAS).await?;
        let taken = happening(self).await?;
        let manager = &self.engines[0].1;
        until("all nodes are Ready", PATIENCE, async || {
            let ready = manager.docker(&["node", "ls", "--format", "{{.Status}}"]).await;
            let ready = ready.map_err(|error| error.to_string())?;
            if ready.lines().all(|status| status == "Ready") { Ok(()) } else { Err(ready) }
        })
        .await?;
        manager.docker(&["service", "rm", SERVICE]).await?;
        all_live(&mut self.evidence, 0).await?;
        Ok(taken)
    }

    async fn cut_node(&mut self) -> Result<(Duration, usize)> {
        let (place, engine) = &self.engines[VICTIM];
        let count = containers_on(engine).await?;
        place.set_cable(false).await?;
        let begin = Stamp::now();
        let took = replaced(&mut self.evidence, begin, count).await?;
        place.set_cable(true).await?;
        Ok((took, count))
    }

    async fn kill_manager(&mut self) -> Result<(Duration, usize)> {
        let begin = Stamp::now();
        let manager = &mut self.engines[0].1;
        manager.kill().await?;
        manager.start().await?;
        until("services are listed", PATIENCE, async || {
            manager.docker(&["service", "ls"]).await.map_err(|error| error.to_string())
        })
        .await?;
        let took = Stamp::now().since(begin);
        Ok((took, disturbed(&mut self.evidence, begin).await?))
    }

    async fn kill_engine(&mut self) -> Result<(Duration, usize)> {
        let engine = &mut self.engines[VICTIM].1;
        let count = containers_on(engine).await?;
        let begin = Stamp::now();
        engine.kill().await?;
        engine.start().await?;
        let took = replaced(&mut self.evidence, begin, count).await?;
        Ok((took, disturbed(&mut self.evidence, begin).await?))
    }
}
