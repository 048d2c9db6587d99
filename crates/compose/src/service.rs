//! Reads a service.

mod command;
mod davit;
mod depends_on;
mod deploy;
mod environment;
mod grants;
mod health;
mod hosts;
mod job;
mod limits;
mod logging;
mod networks;
mod placement;
mod ports;
mod restart;
mod rights;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use davit_core::spec::{ImageReference, STOP_SIGNALS, check_hostname, check_name};

pub(crate) use self::depends_on::{WrittenDependency, depends_on};
pub(crate) use self::environment::env_files;
use crate::error::{Position, ProblemKind};
use crate::keys;
use crate::model::{KeyPositions, PullPolicy, Service};
use crate::read::{Context, Fields, Item};

/// The keys that a service may refer to.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) services: BTreeSet<String>,
    pub(crate) volumes: BTreeSet<String>,
    pub(crate) configs: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) networks: BTreeSet<String>,
}

/// Reads a service. `None` if it is not complete, which is then told. What it depends on is not read here.
pub(crate) fn read(
    name: String,
    position: Position,
    item: Item,
    profiles: BTreeSet<String>,
    declared: &Declared,
    cx: &mut Context<'_>,
) -> Option<Service> {
    let checked_name = check_name(&name);
    if let Err(error) = &checked_name {
        cx.problems.error(ProblemKind::BadValue, &position, &item.path, format!("a service's name {error}"));
    }
    let mut fields = item.fields(keys::SERVICE, cx)?;
    let positions = KeyPositions(fields.positions());
    // These two decide which services there are, and were read before.
    fields.take("profiles");
    fields.take("depends_on");
    let image = image(&mut fields, cx);
    let pull_policy = fields.take("pull_policy").and_then(|item| pull_policy(&item, cx));
    let platform = fields.take("platform").and_then(|item| platform(&item, cx));
    let entrypoint = command::words(fields.take("entrypoint"), cx);
    let command = command::words(fields.take("command"), cx);
    let environment = environment::environment(&mut fields, cx);
    let working_dir = fields.take("working_dir").and_then(|item| item.nonempty(cx).map(str::to_owned));
    let user = fields.take("user").and_then(|item| item.nonempty(cx).map(str::to_owned));
    let read_only = fields.take("read_only").and_then(|item| item.boolean(cx)).unwrap_or_default();
    let cap_add = limits::capabilities(fields.take("cap_add"), cx);
    let cap_drop = limits::capabilities(fields.take("cap_drop"), cx);
    let ulimits = limits::ulimits(fields.take("ulimits"), cx);
    let group_add = rights::groups(fields.take("group_add"), cx);
    let no_new_privileges = rights::no_new_privileges(fields.take("security_opt"), cx);
    let [init, tty, stdin_open] =
        ["init", "tty", "stdin_open"].map(|key| fields.take(key).and_then(|item| item.boolean(cx)).unwrap_or_default());
    let checked_hostname = |text: &str| check_hostname(text).map(|()| text.to_owned());
    let hostname = fields.take("hostname").and_then(|item| item.checked(checked_hostname, cx));
    let extra_hosts = hosts::extra_hosts(fields.take("extra_hosts"), cx);
    // As with the engine, 0 is its default.
    let shm_size_bytes = fields.take("shm_size").and_then(|item| item.bytes(cx)).filter(|&bytes| bytes > 0);
    let logging = fields.take("logging").map(|item| logging::bounds(item, cx)).unwrap_or_default();
    let ports = ports::ports(fields.take("ports"), cx);
    let expose = ports::expose(fields.take("expose"), cx);
    let mut aliases = networks::aliases(&mut fields, declared, cx);
    aliases.extend(container_name(&mut fields, cx));
    let (mounts, tmpfs) = volumes::mounts(&mut fields, declared, cx);
    let configs = grants::configs(fields.take("configs"), declared, cx);
    let secrets = grants::secrets(fields.take("secrets"), declared, cx);
    let health_check = fields.take("healthcheck").and_then(|item| health::check(item, cx));
    let stop_signal = fields.take("stop_signal").and_then(|item| stop_signal(&item, cx));
    let stop_grace_period = fields.take("stop_grace_period").and_then(|item| item.duration(cx));
    let labels = environment::labels(fields.take("labels"), cx);
    let (mut deploy, written) = deploy::deploy(&mut fields, cx);
    let restart = restart::policy(&mut fields, written.restart, cx);
    let davit = davit::options(&mut fields, &name, declared, cx);
    deploy.mode = job::mode(written.mode, davit.job.as_ref(), cx);
    fields.finish(cx);
    let depends_on = BTreeMap::new();
    checked_name.ok()?;
    Some(Service {
        name,
        position,
        positions,
        image: image?,
        pull_policy,
        platform,
        entrypoint,
        command,
        environment,
        working_dir,
        user,
        read_only,
        cap_add,
        cap_drop,
        ulimits,
        group_add,
        no_new_privileges,
        init,
        tty,
        stdin_open,
        hostname,
        extra_hosts,
        shm_size_bytes,
        logging,
        ports,
        expose,
        aliases,
        mounts,
        tmpfs,
        configs,
        secrets,
        health_check,
        stop_signal,
        stop_grace_period,
        labels,
        profiles,
        depends_on,
        restart,
        deploy,
        davit,
    })
}

fn image(fields: &mut Fields, cx: &mut Context<'_>) -> Option<ImageReference> {
    fields.needed("image", cx)?.checked(str::parse, cx)
}

fn container_name(fields: &mut Fields, cx: &mut Context<'_>) -> Option<String> {
    let item = fields.take("container_name")?;
    let name = item.checked(|text| check_name(text).map(|()| text.to_owned()), cx)?;
    item.differs("Davit names containers itself; this becomes one more name of the service in the app's network", cx);
    Some(name)
}

fn pull_policy(item: &Item, cx: &mut Context<'_>) -> Option<PullPolicy> {
    const KNOWN: [(&str, PullPolicy); 4] = [
        ("always", PullPolicy::Always),
        ("missing", PullPolicy::Missing),
        ("if_not_present", PullPolicy::Missing),
        ("never", PullPolicy::Never),
    ];
    let text = item.text(cx)?;
    if text == "build" {
        item.bad("refused: build the image and push it to a registry; a cluster can't build", cx);
        return None;
    }
    if matches!(text, "daily" | "weekly") || text.starts_with("every_") {
        item.bad("refused: nothing is pulled by the clock; write `always`, or an image's digest", cx);
        return None;
    }
    item.one_of(&KNOWN, cx)
}

/// `os`, `os/arch` or `os/arch/variant`; the variant is checked no further.
fn platform(item: &Item, cx: &mut Context<'_>) -> Option<String> {
    item.parsed(
        |text| {
            let parts: Vec<_> = text.split('/').collect();
            let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let good = (1..=3).contains(&parts.len()) && parts.iter().all(word);
            if good { Ok(text.to_owned()) } else { Err("is not a platform; write it like `linux/amd64`") }
        },
        cx,
    )
}

fn stop_signal(item: &Item, cx: &mut Context<'_>) -> Option<String> {
    item.parsed(
        |text| {
            let upper = text.to_ascii_uppercase();
            let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
            let known = STOP_SIGNALS.contains(&name.as_str());
            if known {
                Ok(name)
            } else {
                Err(format!("is not a stop signal; write one of {}", STOP_SIGNALS.join(", ")))
            }
        },
        cx,
    )
}
