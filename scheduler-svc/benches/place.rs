//! Small cells in process, to see at once when a change makes placement slower: `cargo bench -p scheduler-svc`. What users
//! can expect, through gRPC and in all sizes, is measured by `cargo xtask bench scheduler`.
#![allow(clippy::unwrap_used, reason = "a measurement of wrong input is worth nothing")]
#![allow(missing_docs, reason = "criterion's macros write none")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use davit_core::placement::test_support::node;
use davit_core::placement::{NodeView, PlacementRequest, Preferences, Requirements, RuntimeKind};
use davit_core::resources::Resources;
use davit_core::validate::Violations;
use davit_proto::convert;
use scheduler_svc::placement::{Algorithm, Group, Mirror, algorithms, explain, place};

const GIB: u64 = 1 << 30;
const TASKS: u32 = 10_000;

/// Nodes of 4 to 64 cores, every third with an SSD. Room for all tasks on any third.
fn nodes(count: u64) -> Vec<NodeView> {
    let one = |number: u64| {
        let cores = 4 << (number % 5);
        let disk = if number.is_multiple_of(3) { "ssd" } else { "hdd" };
        NodeView {
            allocatable: Resources { cpu_millis: cores * 1000, memory_bytes: cores * 4 * GIB, disk_bytes: 500 * GIB },
            labels: [("disk".to_owned(), disk.to_owned())].into_iter().collect(),
            ..node(number)
        }
    };
    (0..count).map(one).collect()
}

/// All tasks, in as many groups as there are shapes.
fn groups(shapes: u32, algorithm: &'static dyn Algorithm, constraint: bool) -> Vec<Group> {
    let one = |number: u32| {
        // Neighbours differ much: 7919 is prime, so that every size comes once.
        let size = u64::from(number * 7919 % shapes);
        let reservation = Resources {
            cpu_millis: 50 + size * 100 / u64::from(shapes),
            memory_bytes: (64 << 20) + size * (1 << 10),
            disk_bytes: 0,
        };
        let constraints = if constraint { vec!["node.labels.disk == ssd".parse().unwrap()] } else { Vec::new() };
        let requirements = Requirements { reservation, constraints, ..Requirements::of_runtime(RuntimeKind::Docker) };
        let request = PlacementRequest {
            requirements,
            preferences: Preferences::default(),
            algorithm: algorithm.name().to_owned(),
            priority: 0,
            may_preempt: false,
        };
        Group { group_id: number.to_string(), request, count: TASKS / shapes, algorithm, all_or_nothing: false }
    };
    (0..shapes).map(one).collect()
}

fn placing(criterion: &mut Criterion) {
    for node_count in [1_000, 5_000] {
        let mirror = Mirror::new(nodes(node_count));
        for (name, shapes, constraint) in [("like", 1, false), ("100", 100, false), ("all", TASKS, true)] {
            let mut group = criterion.benchmark_group(format!("place {name} on {node_count}"));
            group.throughput(Throughput::Elements(TASKS.into())).sample_size(10);
            for algorithm in algorithms::ALL {
                let groups = groups(shapes, algorithm, constraint);
                group.bench_function(BenchmarkId::from_parameter(algorithm.name()), |bencher| {
                    let place = |mut mirror: Mirror| {
                        let placements = place(&mut mirror, &groups, 1);
                        // Given back, so that dropping it is not measured.
                        (mirror, placements)
                    };
                    bencher.iter_batched(|| mirror.clone(), place, BatchSize::LargeInput);
                });
            }
        }
    }
}

fn explaining(criterion: &mut Criterion) {
    let nodes = nodes(1_000);
    let group = groups(TASKS, algorithms::DEFAULT, true).remove(0);
    criterion.bench_function("explain on 1000", |bencher| {
        let explain = |nodes| explain(nodes, black_box(&group), 1, 0);
        bencher.iter_batched(|| nodes.clone(), explain, BatchSize::LargeInput);
    });
}

fn telling_nodes(criterion: &mut Criterion) {
    let nodes = nodes(5_000);
    criterion.bench_function("snapshot of 5000", |bencher| {
        bencher.iter_batched(|| nodes.clone(), Mirror::new, BatchSize::LargeInput);
    });
    // With its columns made, as between two batches.
    let mut mirror = Mirror::new(nodes.clone());
    place(&mut mirror, &groups(1, algorithms::DEFAULT, true), 1);
    let changed: Vec<_> = nodes.into_iter().step_by(50).collect();
    criterion.bench_function("delta of 100 in 5000", |bencher| {
        let apply = |(mut mirror, changed): (Mirror, Vec<NodeView>)| {
            for node in changed {
                mirror.upsert(node);
            }
            mirror
        };
        bencher.iter_batched(|| (mirror.clone(), changed.clone()), apply, BatchSize::LargeInput);
    });
}

/// What the stream does with a batch before it places it.
fn reading(criterion: &mut Criterion) {
    let to_proto = |Group { group_id, request, count, all_or_nothing, .. }: Group| {
        convert::placement_group_to_proto(&convert::PlacementGroup { group_id, request, count, all_or_nothing })
    };
    let groups: Vec<_> = groups(TASKS, algorithms::DEFAULT, true).into_iter().map(to_proto).collect();
    criterion.bench_function("read 10000 groups", |bencher| {
        let read = |groups| {
            let mut violations = Violations::new();
            convert::placement_groups_from_proto(groups, "groups", &mut violations).unwrap()
        };
        bencher.iter_batched(|| groups.clone(), read, BatchSize::LargeInput);
    });
}

criterion_group!(benches, placing, explaining, telling_nodes, reading);
criterion_main!(benches);
