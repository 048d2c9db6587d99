//! What is done to the cluster, and undone.

use std::time::Duration;

use davit_svc_kit::rng::Rng;
use nix::sys::signal::{Signal, kill};

use crate::cluster::{Cluster, Machine};
use crate::error::Result;
use crate::names::namespace;
use crate::net::Direction;
use crate::sweep;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL to a worker, which is started again at once.
    WorkerKilled,
    /// SIGSTOP to a worker, for a while.
    WorkerPaused,
    /// SIGKILL to the supervisor of a process task.
    SupervisorKilled,
    /// SIGKILL to everything on a machine: worker, engine, tasks. Started again after a while.
    MachineKilled,
    /// Nothing passes between a worker's machine and the manager.
    WorkerCut,
    /// What the manager sends to a worker is lost.
    WorkerDeaf,
    /// What a worker sends to the manager is lost.
    WorkerMute,
    /// SIGKILL to the manager, which is started again at once.
    ManagerKilled,
    /// SIGSTOP to the manager, for a while.
    ManagerPaused,
    /// Nothing passes between the manager and any worker.
    ManagerCut,
    /// SIGKILL to the scheduler, which is started again after a while.
    SchedulerKilled,
    /// SIGSTOP to the scheduler, for a while.
    SchedulerPaused,
    /// SIGKILL to a Docker engine, which is started again after a while.
    EngineKilled,
    /// The manager's disk is full.
    ManagerDiskFull,
    /// A worker's disk is full.
    WorkerDiskFull,
}

/// From when on recovery is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// The cluster is to get over it while it lasts.
    Begin,
    /// It can be got over only when it is over.
    End,
}

/// A fault that is to be, with its target and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What.
    pub(crate) kind: Kind,
    /// Which machine, where it is about one.
    pub(crate) machine: usize,
    /// From begin to end.
    pub(crate) lasts: Duration,
}

impl Kind {
    /// All of them.
    pub(crate) fn all() -> &'static [Self] {
        <Self as clap::ValueEnum>::value_variants()
    }

    /// Its name on the command line and in tables.
    pub(crate) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Since when recovery counts.
    pub(crate) fn since(self) -> Since {
        match self {
            Self::ManagerPaused
            | Self::ManagerCut
            | Self::ManagerDiskFull
            | Self::SchedulerPaused
            | Self::WorkerDiskFull => Since::End,
            _ => Since::Begin,
        }
    }

    /// Whether no task may notice.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(
            self,
            Self::WorkerKilled
                | Self::ManagerKilled
                | Self::SchedulerKilled
                | Self::SchedulerPaused
                | Self::ManagerDiskFull
        )
    }

    fn is_about_control(self) -> bool {
        matches!(
            self,
            Self::ManagerKilled
                | Self::ManagerPaused
                | Self::ManagerCut
                | Self::SchedulerKilled
                | Self::SchedulerPaused
                | Self::ManagerDiskFull
        )
    }

    /// How long it lasts, in milliseconds, at least and at most.
    fn span_millis(self) -> (u64, u64) {
        match self {
            // As long as a service manager takes that restarts at once.
            Self::WorkerKilled | Self::ManagerKilled => (100, 300),
            Self::SupervisorKilled => (0, 0),
            Self::WorkerPaused => (2_000, 20_000),
            Self::MachineKilled => (6_000, 20_000),
            Self::WorkerCut | Self::WorkerDeaf | Self::WorkerMute => (2_000, 25_000),
            Self::ManagerPaused | Self::ManagerCut => (2_000, 12_000),
            Self::SchedulerKilled => (500, 4_000),
            Self::SchedulerPaused => (2_000, 8_000),
            Self::EngineKilled => (500, 5_000),
            Self::ManagerDiskFull | Self::WorkerDiskFull => (3_000, 8_000),
        }
    }

    /// One of this kind.
    pub(crate) fn draw(self, rng: &Rng, cluster: &Cluster) -> Fault {
        let engines = cluster.machines.iter().filter(|machine| machine.engine.is_some()).count();
        let among = if self == Self::EngineKilled { engines } else { cluster.machines.len() };
        let machine = usize::try_from(rng.below(among as u64)).unwrap_or(0);
        let (least, most) = self.span_millis();
        Fault { kind: self, machine, lasts: rng.millis(least, most) }
    }
}

impl Fault {
    /// Whether both can be at one time without being one and the same.
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        match (self.kind.is_about_control(), other.kind.is_about_control()) {
            (true, true) => false,
            (false, false) => self.machine != other.machine,
            _ => true,
        }
    }

    /// For people.
    pub(crate) fn describe(&self, cluster: &Cluster) -> String {
        let kind = self.kind.name();
        let lasts = self.lasts.as_secs_f64();
        if self.kind.is_about_control() {
            return format!("{kind} for {lasts:.1} s");
        }
        format!("{kind} on {} for {lasts:.1} s", cluster.machines[self.machine].place.name)
    }

    /// Begins it.
    ///
    /// # Errors
    /// When it can't be done.
    pub(crate) async fn begin(&self, cluster: &mut Cluster) -> Result<()> {
        let manager = cluster.control.place.address.clone();
        let machine = &mut cluster.machines[self.machine];
        match self.kind {
            Kind::WorkerKilled => machine.worker.kill().await,
            Kind::WorkerPaused => machine.worker.signal(Signal::SIGSTOP),
            Kind::SupervisorKilled => {
                kill_a_supervisor(machine);
                Ok(())
            }
            Kind::MachineKilled => kill_machine(machine).await,
            Kind::WorkerCut => machine.place.cut(&manager, Direction::Both).await,
            Kind::WorkerDeaf => machine.place.cut(&manager, Direction::In).await,
            Kind::WorkerMute => machine.place.cut(&manager, Direction::Out).await,
            Kind::ManagerKilled => cluster.control.manager.kill().await,
            Kind::ManagerPaused => cluster.control.manager.signal(Signal::SIGSTOP),
            Kind::ManagerCut => {
                for machine in &cluster.machines {
                    cluster.control.place.cut(&machine.place.address, Direction::Both).await?;
                }
                Ok(())
            }
            Kind::SchedulerKilled => cluster.control.scheduler.kill().await,
            Kind::SchedulerPaused => cluster.control.scheduler.signal(Signal::SIGSTOP),
            Kind::EngineKilled => match &mut machine.engine {
                Some(engine) => engine.kill().await,
                None => Ok(()),
            },
            Kind::ManagerDiskFull => cluster.control.disk.fill().await,
            Kind::WorkerDiskFull => machine.disk.fill().await,
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it can't be done.
    pub(crate) async fn end(&self, cluster: &mut Cluster) -> Result<()> {
        let machine = &mut cluster.machines[self.machine];
        match self.kind {
            Kind::WorkerKilled => machine.worker.start(),
            Kind::WorkerPaused => machine.worker.signal(Signal::SIGCONT),
            Kind::SupervisorKilled => Ok(()),
            Kind::MachineKilled => {
                if let Some(engine) = &mut machine.engine {
                    engine.start().await?;
                }
                machine.worker.start()
            }
            Kind::WorkerCut | Kind::WorkerDeaf | Kind::WorkerMute => machine.place.heal().await,
            Kind::ManagerKilled => cluster.control.manager.start(),
            Kind::ManagerPaused => cluster.control.manager.signal(Signal::SIGCONT),
            Kind::ManagerCut => cluster.control.place.heal().await,
            Kind::SchedulerKilled => cluster.control.scheduler.start(),
            Kind::SchedulerPaused => cluster.control.scheduler.signal(Signal::SIGCONT),
            Kind::EngineKilled => match &mut machine.engine {
                Some(engine) => engine.start().await,
                None => Ok(()),
            },
            Kind::ManagerDiskFull => cluster.control.disk.free(),
            Kind::WorkerDiskFull => machine.disk.free(),
        }
    }
}

/// Everything that runs on it, at one blow: supervisors and tasks outlive the worker, containers their engine.
async fn kill_machine(machine: &mut Machine) -> Result<()> {
    let own = namespace(&machine.place.name);
    let cgroup = machine.engine.as_ref().map(|engine| engine.cgroup.clone());
    loop {
        let mut pids = sweep::processes_in(&own);
        pids.extend(cgroup.iter().flat_map(|cgroup| sweep::processes_of(cgroup)));
        for pid in &pids {
            // It may have ended with another one.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        // Ours have to be waited for, or they stay as zombies.
        machine.worker.kill().await?;
        if let Some(engine) = &mut machine.engine {
            engine.process.kill().await?;
        }
        if pids.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The first that is found, if there is any.
fn kill_a_supervisor(machine: &Machine) {
    let is_supervisor = |pid: &nix::unistd::Pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).nth(1).is_some_and(|word| word == b"supervise")
    };
    let supervisor = sweep::processes_in(&namespace(&machine.place.name)).into_iter().find(is_supervisor);
    if let Some(pid) = supervisor {
        let _ = kill(pid, Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_faults_at_one_time_are_about_different_things() {
        let fault = |kind, machine| Fault { kind, machine, lasts: Duration::ZERO };
        assert!(fault(Kind::WorkerCut, 0).goes_with(&fault(Kind::WorkerKilled, 1)));
        assert!(!fault(Kind::WorkerCut, 0).goes_with(&fault(Kind::WorkerKilled, 0)));
        assert!(fault(Kind::ManagerKilled, 0).goes_with(&fault(Kind::WorkerKilled, 0)));
        assert!(!fault(Kind::ManagerKilled, 0).goes_with(&fault(Kind::SchedulerKilled, 0)));
    }
}
