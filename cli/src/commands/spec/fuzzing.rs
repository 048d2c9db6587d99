//! Values of the options that describe a task.

use davit_core::validate::Violations;
use davit_proto::{convert, v1};

use super::{health, mount, on_node_loss, placement, port, restart, settings};

/// A value, as that of every option. Gives for how many it is one.
///
/// # Panics
/// When a value that is read here is one that no manager would take.
pub(crate) fn option_value(text: &str) -> usize {
    let container = |container: v1::ContainerSpec| v1::TaskSpec {
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        ..Default::default()
    };
    let port = port(text).map(|port| container(v1::ContainerSpec { ports: vec![port], ..Default::default() }));
    let restart =
        restart(text).map(|restart| v1::TaskSpec { restart_policy: Some(restart), ..container(Default::default()) });
    let loss =
        on_node_loss(text).map(|loss| v1::TaskSpec { on_node_loss: Some(loss), ..container(Default::default()) });
    let mut read = usize::from(mount(text).is_ok()) + placement::fuzzing::option_value(text);
    let checked = |probe| v1::TaskSpec {
        health_check: Some(Box::new(v1::HealthCheck { probe: Some(probe), ..Default::default() })),
        ..container(Default::default())
    };
    let tcp = health::tcp(text).map(checked);
    // Paths, services, names and addresses are the manager's to check.
    read += usize::from(settings::extra_host(text).is_ok());
    read += usize::from(health::http(text).is_ok()) + usize::from(health::grpc(text).is_ok());
    let specs =
        [(port, "spec.container.ports"), (restart, "spec.restart_policy"), (loss, ""), (tcp, "spec.health_check")];
    for (spec, field) in specs {
        let Ok(spec) = spec else { continue };
        let mut violations = Violations::new();
        convert::task_spec_from_proto(spec, "spec", &mut violations);
        let blamed = violations.0.iter().find(|violation| !field.is_empty() && violation.field.starts_with(field));
        assert_eq!(blamed, None, "{text:?} is taken here and refused by managers");
        read += 1;
    }
    read
}
