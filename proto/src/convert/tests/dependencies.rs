//! What deployments wait for, and their apps: what is read is what is written, and every way to get one wrong.

use super::{container_spec, fields};
use crate::convert::{deployment_spec_from_proto, deployment_spec_to_proto};
use crate::v1;
use davit_core::validate::Violations;

fn dependency(name: &str) -> v1::Dependency {
    v1::Dependency { deployment: name.to_owned(), ..Default::default() }
}

fn spec() -> v1::DeploymentSpec {
    let healthy = v1::DependencyCondition::Healthy.into();
    v1::DeploymentSpec {
        name: "shop_web".to_owned(),
        task: Some(container_spec()),
        app: "shop".to_owned(),
        start_after: vec![v1::Dependency { condition: healthy, ..dependency("shop_db") }, dependency("shop_a")],
        ..Default::default()
    }
}

fn violations(spec: v1::DeploymentSpec) -> Violations {
    let mut violations = Violations::new();
    let read = deployment_spec_from_proto(spec, "spec", &mut violations);
    assert_eq!(read.is_none(), !violations.is_empty());
    violations
}

#[test]
fn what_is_read_is_what_is_written() {
    let mut violations = Violations::new();
    let (name, read) = deployment_spec_from_proto(spec(), "spec", &mut violations).unwrap();
    let written = deployment_spec_to_proto(&name, &read);
    let order: Vec<_> = written.start_after.iter().map(|dependency| dependency.deployment.as_str()).collect();
    assert_eq!((written.app.as_str(), order), ("shop", vec!["shop_a", "shop_db"]));
    assert_eq!(written.start_after[0].required, Some(true));
    let again = deployment_spec_from_proto(written, "spec", &mut violations).unwrap();
    assert_eq!(again, (name, read));
}

#[test]
fn what_a_deployment_can_not_wait_for_is_blamed() {
    type Bend = fn(&mut v1::DeploymentSpec);
    let table: [(&str, Bend); 6] = [
        ("spec.app", |spec| spec.app = "Shop".to_owned()),
        ("spec.start_after", |spec| spec.start_after = vec![dependency("shop_web")]),
        ("spec.start_after[0].deployment", |spec| spec.start_after = vec![dependency("")]),
        ("spec.start_after[1].deployment", |spec| spec.start_after = vec![dependency("a"), dependency("a")]),
        ("spec.start_after[0].condition", |spec| {
            spec.start_after = vec![v1::Dependency { condition: 77, ..dependency("a") }];
        }),
        ("spec.start_after", |spec| {
            spec.start_after = (0..65).map(|number| dependency(&format!("a{number}"))).collect();
        }),
    ];
    for (blamed, bend) in table {
        let mut spec = spec();
        bend(&mut spec);
        assert_eq!(fields(&violations(spec)), [blamed]);
    }
}
