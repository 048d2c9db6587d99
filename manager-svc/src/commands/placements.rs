//! Committing what the scheduler proposes. Every placement is re-checked against the cluster as it is now, so a stale, slow
//! or second scheduler can never over-commit a node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::id::{AttemptKey, GangId, NodeId};
use davit_core::placement::{HomeNode, Keeper, NodeView, Requirements, misfits};
use davit_core::spec::{Port, PortProtocol, RuntimeSpec, TaskSpec};
use davit_core::state::{TaskEvent, TaskState, transition};
use davit_core::task::{DesiredState, PortBinding, Ports, Task};
use davit_svc_kit::bugs::{self, Bug};

use crate::stable_hash::fnv1a;
use crate::state::{ClusterState, Draft, EventType};

/// One attempt on one node, as the scheduler proposes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// What is placed.
    pub key: AttemptKey,
    /// Where.
    pub node_id: NodeId,
}

/// Why a proposal was not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The task changed meanwhile: it is gone, stopped, has another attempt, or is to go to a certain node.
    TaskChanged,
    /// The node is gone.
    NodeGone,
    /// The node does not fit any more; every reason.
    DoesNotFit(Vec<String>),
    /// It would fit, but not all of its gang are proposed or fit.
    GangIncomplete,
}

/// What became of a list of proposals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlacementReport {
    /// How many were committed.
    pub committed: usize,
    /// Those that were not; their tasks stay PENDING.
    pub rejected: Vec<(Placement, Rejected)>,
}

/// A task as it becomes when it is committed, and what the event says.
type Scheduled = (Task, String);

/// Commits those placements that still fit. Of a gang all that wait are committed, or none.
pub fn commit_placements(draft: &mut Draft, placements: &[Placement]) -> PlacementReport {
    let mut gangs: BTreeMap<GangId, Vec<Placement>> = BTreeMap::new();
    let gang_of = |draft: &Draft, placement: &Placement| draft.state().task(placement.key.task_id)?.gang_id();
    for placement in placements {
        if let Some(gang_id) = gang_of(draft, placement) {
            gangs.entry(gang_id).or_default().push(*placement);
        }
    }
    let mut checks = Checks::default();
    let mut report = PlacementReport::default();
    for placement in placements {
        let Some(gang_id) = gang_of(draft, placement) else {
            match checks.check(draft, *placement) {
                Ok(placed) => put_placed(draft, placed, &mut report),
                Err(why) => report.rejected.push((*placement, why)),
            }
            continue;
        };
        // With the first of its members the whole gang is decided on.
        if let Some(members) = gangs.remove(&gang_id) {
            match checks.check_gang(draft, gang_id, &members) {
                Ok(all) => all.into_iter().for_each(|placed| put_placed(draft, placed, &mut report)),
                Err(rejected) => report.rejected.extend(rejected),
            }
        }
    }
    report
}

fn put_placed(draft: &mut Draft, (task, message): (Task, String), report: &mut PlacementReport) {
    draft.put_placed(task, message);
    report.committed += 1;
}

/// Nodes as they are with all that was placed so far.
#[derive(Default)]
struct Checks {
    views: BTreeMap<NodeId, Option<NodeView>>,
    /// Tasks mostly share their specs.
    requirements: BTreeMap<*const TaskSpec, Arc<Requirements>>,
    /// Where volumes and groups are that were nowhere before.
    homes: BTreeMap<Keeper, HomeNode>,
}

impl Checks {
    /// The task as it is once it is placed, and what is to be said of it.
    fn check(&mut self, draft: &Draft, placement: Placement) -> Result<(Task, String), Rejected> {
        let task = draft.state().task(placement.key.task_id).ok_or(Rejected::TaskChanged)?;
        let due = task.next_attempt_at.is_none_or(|at| at <= draft.now());
        if task.status.attempt != placement.key.attempt || task.claim.is_some() || !due {
            return Err(Rejected::TaskChanged);
        }
        let requirements = self.requirements_of(draft.state(), &task.spec);
        let view = self.view(draft.state(), placement.node_id).as_mut().ok_or(Rejected::NodeGone)?;
        let placed = place(task, &requirements, view)?;
        let home = HomeNode { node_id: view.node_id, name: view.name.clone() };
        for open in requirements.homes.iter().filter(|home| home.node.is_none()) {
            self.homes.insert(open.keeper.clone(), home.clone());
        }
        Ok(placed)
    }

    /// Of a spec that something keeps on one node, with what was placed so far: of two schedulers one may not know of the other's.
    fn requirements_of(&mut self, state: &ClusterState, spec: &Arc<TaskSpec>) -> Arc<Requirements> {
        let known = self.requirements.entry(Arc::as_ptr(spec)).or_insert_with(|| {
            let mut requirements = state.requirements_of(spec);
            state.add_homes(&mut requirements, spec, None);
            Arc::new(requirements)
        });
        if known.homes.iter().all(|home| home.node.is_some() || !self.homes.contains_key(&home.keeper)) {
            return Arc::clone(known);
        }
        let mut requirements = Requirements::clone(known);
        for home in requirements.homes.iter_mut().filter(|home| home.node.is_none()) {
            home.node = self.homes.get(&home.keeper).cloned();
        }
        Arc::new(requirements)
    }

    /// All members of a gang as they are once they are placed, or why none is.
    fn check_gang(
        &mut self,
        draft: &Draft,
        gang_id: GangId,
        members: &[Placement],
    ) -> Result<Vec<Scheduled>, Vec<(Placement, Rejected)>> {
        let node_ids: Vec<NodeId> = members.iter().map(|member| member.node_id).collect();
        let as_before: Vec<_> =
            node_ids.into_iter().map(|node_id| (node_id, self.view(draft.state(), node_id).clone())).collect();
        let homes_before = self.homes.clone();
        let outcomes: Vec<_> = members.iter().map(|member| (*member, self.check(draft, *member))).collect();
        let is_due = |task: &&Arc<Task>| task.next_attempt_at.is_none_or(|at| at <= draft.now());
        let proposed: BTreeSet<AttemptKey> = members.iter().map(|member| member.key).collect();
        let is_proposed = |task: &Arc<Task>| proposed.contains(&task.key());
        // None is committed before all are checked, so that one which is named twice would pass twice.
        let once_each = proposed.len() == members.len();
        let complete = once_each && draft.state().waiting_of_gang(gang_id).filter(is_due).all(is_proposed);
        if complete && outcomes.iter().all(|(_, outcome)| outcome.is_ok()) {
            return Ok(outcomes.into_iter().filter_map(|(_, outcome)| outcome.ok()).collect());
        }
        self.views.extend(as_before);
        self.homes = homes_before;
        let why = |outcome: Result<_, Rejected>| outcome.err().unwrap_or(Rejected::GangIncomplete);
        Err(outcomes.into_iter().map(|(member, outcome)| (member, why(outcome))).collect())
    }

    fn view(&mut self, state: &ClusterState, node_id: NodeId) -> &mut Option<NodeView> {
        let look = || state.node(node_id).map(|node| state.node_view(node, None));
        self.views.entry(node_id).or_insert_with(look)
    }
}

/// The waiting task as it is once it is placed on a node, and what is to be said of it. The node's view holds it then.
pub(super) fn place(task: &Task, requirements: &Requirements, view: &mut NodeView) -> Result<(Task, String), Rejected> {
    if task.desired_state != DesiredState::Running {
        return Err(Rejected::TaskChanged);
    }
    let row = transition(task.status.state, TaskEvent::Place).map_err(|_| Rejected::TaskChanged)?;
    let misfits = misfits(requirements, view);
    if !misfits.is_empty() && !bugs::is(Bug::NoRecheck) {
        return Err(Rejected::DoesNotFit(misfits.iter().map(ToString::to_string).collect()));
    }
    view.reserve(requirements);
    let mut next = task.clone();
    next.given_ports = give_ports(task, view);
    next.status.ports = published_ports(task, &next.given_ports);
    (next.next_attempt_at, next.leased_until) = (None, None);
    next.claim = None;
    next.status.state = row.to;
    next.status.node_id = Some(view.node_id);
    next.status.reason = String::new();
    let message = format!("attempt {}: SCHEDULED on {}", next.status.attempt, view.name);
    Ok((next, message))
}

/// Chooses host ports out of the node's range, which was found to have enough, for those that the task leaves open. The
/// same attempt gets the same ones wherever they are free; the next begins elsewhere, away from what may linger.
fn give_ports(task: &Task, view: &mut NodeView) -> Ports {
    let Some(range) = view.port_range else { return Ports::new() };
    let key = task.key();
    let offset = fnv1a(key.task_id.0.into_bytes().into_iter().chain(key.attempt.0.to_le_bytes()));
    let mut numbers = range.from_offset(offset);
    let mut given = Ports::new();
    for port in ports(&task.spec).iter().filter(|port| port.host_port.is_none()) {
        let is_free = |number: &u16| {
            let taken = |protocol| view.host_ports.contains(&(protocol, *number));
            !taken(PortProtocol::Tcp) && !taken(PortProtocol::Udp)
        };
        let Some(host_port) = numbers.find(is_free) else { break };
        view.host_ports.insert((port.protocol, host_port));
        view.promised_ports = view.promised_ports.saturating_sub(1);
        given.push(PortBinding { container_port: port.container_port, protocol: port.protocol, host_port });
    }
    given
}

/// All ports that a task publishes, in its spec's order.
fn published_ports(task: &Task, given: &[PortBinding]) -> Ports {
    let mut given = given.iter();
    let binding = |port: &Port| match port.host_port {
        Some(host_port) => {
            Some(PortBinding { container_port: port.container_port, protocol: port.protocol, host_port })
        }
        None => given.next().copied(),
    };
    ports(&task.spec).iter().filter_map(binding).collect()
}

fn ports(spec: &TaskSpec) -> &[Port] {
    match &spec.runtime {
        RuntimeSpec::Container(container) => &container.ports,
        RuntimeSpec::Process(_) => &[],
    }
}

/// Tells users why PENDING tasks wait. Tasks that changed meanwhile, or wait for that reason already, are left alone.
pub fn note_unplaced(draft: &mut Draft, reasons: &[(AttemptKey, String)]) {
    for (key, reason) in reasons {
        let Some(task) = draft.state().task(key.task_id).cloned() else { continue };
        let waits = task.status.attempt == key.attempt && task.status.state == TaskState::Pending;
        if !waits || task.claim.is_some() || task.status.reason == *reason {
            continue;
        }
        let mut next = Task::clone(&task);
        next.status.reason.clone_from(reason);
        draft.put_task(next, EventType::TaskUpdated, format!("attempt {} waits: {reason}", key.attempt));
    }
}
