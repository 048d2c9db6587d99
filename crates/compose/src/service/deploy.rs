//! `deploy`, and what stands for parts of it outside: `scale`, `cpus`, `mem_limit`, `mem_reservation`,
//! `pids_limit`.

use super::{environment, limits, placement, restart};
use crate::keys::{self, Section};
use crate::model::{Amounts, Deploy, FailureAction, Mode, RestartPolicy, UpdateConfig, UpdateOrder};
use crate::read::{Context, Fields, Item};

/// What of `deploy` is not in [`Deploy`] as it is written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) mode: Option<(Mode, Item)>,
    pub(super) restart: Option<RestartPolicy>,
}

/// Reads `deploy`; the mode is left to who knows whether the service is a job.
pub(super) fn deploy(service: &mut Fields, cx: &mut Context<'_>) -> (Deploy, Written) {
    const MODES: [(&str, Mode); 4] = [
        ("replicated", Mode::Replicated),
        ("global", Mode::Global),
        ("replicated-job", Mode::ReplicatedJob),
        ("global-job", Mode::GlobalJob),
    ];
    let mut deploy = Deploy::default();
    let mut written = Written::default();
    let mut replicas = None;
    if let Some(mut fields) = service.take("deploy").and_then(|item| item.fields(keys::DEPLOY, cx)) {
        written.mode = fields.take("mode").and_then(|item| Some((item.one_of(&MODES, cx)?, item.place())));
        written.restart = fields.take("restart_policy").and_then(|item| restart::deploy_policy(item, cx));
        replicas = fields.take("replicas");
        deploy.labels = environment::labels(fields.take("labels"), cx);
        if let Some(mut fields) = fields.take("resources").and_then(|item| item.fields(keys::RESOURCES, cx)) {
            if let Some(mut fields) = fields.take("limits").and_then(|item| item.fields(keys::LIMITS, cx)) {
                deploy.pids_limit = fields.take("pids").and_then(|item| limits::pids(&item, cx));
                deploy.limits = amounts(fields, cx);
            }
            if let Some(fields) = fields.take("reservations").and_then(|item| item.fields(keys::RESERVATIONS, cx)) {
                deploy.reservations = amounts(fields, cx);
            }
            fields.finish(cx);
        }
        deploy.placement = fields.take("placement").map(|item| placement::placement(item, cx)).unwrap_or_default();
        deploy.update = fields.take("update_config").and_then(|item| update(item, keys::UPDATE, cx));
        deploy.rollback = fields.take("rollback_config").and_then(|item| update(item, keys::ROLLBACK, cx));
        fields.finish(cx);
    }
    let count = replicas.and_then(|item| item.count(cx));
    deploy.replicas = same(count, service.take("scale"), Item::count, "deploy.replicas", cx);
    if let (Some(_), Some((Mode::Global | Mode::GlobalJob, item))) = (deploy.replicas, &written.mode) {
        item.bad("a global service has one task on each node, and no `replicas`", cx);
    }
    let Amounts { cpu_millis, memory_bytes } = deploy.limits;
    deploy.limits = Amounts {
        cpu_millis: same(cpu_millis, service.take("cpus"), Item::cpu_millis, "deploy.resources.limits.cpus", cx),
        memory_bytes: same(memory_bytes, service.take("mem_limit"), Item::bytes, "deploy.resources.limits.memory", cx),
    };
    // As with the engine, 0 is no limit.
    let Amounts { cpu_millis, memory_bytes } = &mut deploy.limits;
    *cpu_millis = cpu_millis.filter(|&amount| amount > 0);
    *memory_bytes = memory_bytes.filter(|&amount| amount > 0);
    let item = service.take("pids_limit");
    deploy.pids_limit = same(deploy.pids_limit, item, limits::pids, "deploy.resources.limits.pids", cx);
    let item = service.take("mem_reservation");
    let path = "deploy.resources.reservations.memory";
    deploy.reservations.memory_bytes = same(deploy.reservations.memory_bytes, item, Item::bytes, path, cx);
    above_limits(&deploy, service, cx);
    (deploy, written)
}

/// What two keys say that mean the same.
fn same<T: PartialEq>(
    deployed: Option<T>,
    item: Option<Item>,
    read: impl FnOnce(&Item, &mut Context<'_>) -> Option<T>,
    other: &str,
    cx: &mut Context<'_>,
) -> Option<T> {
    let Some(item) = item else { return deployed };
    let value = read(&item, cx);
    match (deployed, value) {
        (Some(deployed), Some(value)) if deployed != value => {
            item.bad(format!("says something else than `{other}`, which means the same"), cx);
            Some(deployed)
        }
        (deployed, value) => deployed.or(value),
    }
}

fn above_limits(deploy: &Deploy, service: &Fields, cx: &mut Context<'_>) {
    let above = |reserved: Option<u64>, limit: Option<u64>| matches!((reserved, limit), (Some(r), Some(l)) if r > l);
    if above(deploy.reservations.cpu_millis, deploy.limits.cpu_millis) {
        service.bad("more cpu is reserved than the limit allows", cx);
    }
    if above(deploy.reservations.memory_bytes, deploy.limits.memory_bytes) {
        service.bad("more memory is reserved than the limit allows", cx);
    }
}

fn amounts(mut fields: Fields, cx: &mut Context<'_>) -> Amounts {
    let cpu_millis = fields.take("cpus").and_then(|item| item.cpu_millis(cx));
    let memory_bytes = fields.take("memory").and_then(|item| item.bytes(cx));
    fields.finish(cx);
    Amounts { cpu_millis, memory_bytes }
}

fn update(item: Item, section: &'static Section, cx: &mut Context<'_>) -> Option<UpdateConfig> {
    const ACTIONS: [(&str, FailureAction); 3] =
        [("pause", FailureAction::Pause), ("continue", FailureAction::Continue), ("rollback", FailureAction::Rollback)];
    const ORDERS: [(&str, UpdateOrder); 2] =
        [("stop-first", UpdateOrder::StopFirst), ("start-first", UpdateOrder::StartFirst)];
    // What goes back already can't be taken back.
    let actions = if section == keys::ROLLBACK { &ACTIONS[..2] } else { &ACTIONS[..] };
    let mut fields = item.fields(section, cx)?;
    let parallelism = fields.take("parallelism").and_then(|item| item.count(cx));
    let delay = fields.take("delay").and_then(|item| item.duration(cx));
    let failure_action = fields.take("failure_action").and_then(|item| item.one_of(actions, cx));
    let monitor = fields.take("monitor").and_then(|item| item.duration(cx));
    let max_failure_ratio = fields.take("max_failure_ratio").and_then(|item| item.parsed(ratio, cx));
    let order = fields.take("order").and_then(|item| item.one_of(&ORDERS, cx));
    fields.finish(cx);
    Some(UpdateConfig { parallelism, delay, failure_action, monitor, max_failure_ratio, order })
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or("is not a share from 0 to 1")
}
