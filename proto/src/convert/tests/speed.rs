//! What reading a large batch takes. Run by hand, with optimizations:
//! `cargo test --release -p davit-proto -- --ignored --nocapture a_large_batch`.

#[test]
#[ignore = "measures; only of use with --release"]
#[expect(clippy::disallowed_methods, reason = "it measures and says what it found")]
fn a_large_batch_is_read_in_under_a_microsecond_per_group() {
    use std::time::{Duration, Instant};

    use davit_core::validate::Violations;

    use crate::convert::placement_groups_from_proto;
    use crate::v1;

    const GROUPS: u32 = 100_000;
    let group = |number: u32| v1::PlacementGroup {
        group_id: number.to_string(),
        requirements: Some(v1::PlacementRequirements {
            runtime: v1::RuntimeKind::Docker.into(),
            reservation: Some(v1::Resources { cpu_millis: number.into(), memory_bytes: 1 << 20, disk_bytes: 0 }),
            constraints: vec!["node.labels.disk == ssd".to_owned()],
            ..Default::default()
        }),
        count: 1,
        ..Default::default()
    };
    let groups: Vec<_> = (0..GROUPS).map(group).collect();
    let round = |_| {
        let groups = groups.clone();
        let start = Instant::now();
        let read = placement_groups_from_proto(groups, "batch.groups", &mut Violations::new());
        let took = start.elapsed();
        assert_eq!(read.map(|groups| groups.len()), Some(GROUPS as usize));
        took
    };
    let best = (0..5).map(round).min().unwrap_or(Duration::MAX);
    eprintln!("{:?} per group", best / GROUPS);
    assert!(best < Duration::from_micros(1) * GROUPS, "took {best:?}");
}
