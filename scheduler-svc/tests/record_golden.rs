//! A recording that is kept in the repository comes out the same on any machine.
//!
//! After answers were changed on purpose, this makes it anew:
//! `DAVIT_REMAKE_GOLDEN=1 cargo nextest run -p scheduler-svc --test record_golden what_the_script_says`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use davit_proto::v1;
use davit_proto::v1::place_request::Message;
use davit_svc_kit::shutdown::Shutdown;
use scheduler_svc::config::Config;
use scheduler_svc::record::{Verdict, replay};
use support::{Client, Place, Scheduler, node_id, resources};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden.record");
const MAX_GOLDEN_BYTES: u64 = 200 << 10;
const ALGORITHMS: [&str; 6] = ["binpack", "epvm", "epvm-classic", "least-stranded", "round-robin", "spread"];
/// Tasks that are placed one by one before a table is laid out anew, at least.
const LAYOUT_TASKS: usize = 512;
const GIB: u64 = 1 << 30;

#[test]
fn the_golden_recording_comes_out_the_same() {
    let output = Command::new(env!("CARGO_BIN_EXE_davit-scheduler")).args(["replay", GOLDEN]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.starts_with("3 streams, ") && told.ends_with(" tasks: all as recorded\n"), "{told}");
}

#[tokio::test]
async fn what_the_script_says_is_in_the_golden_recording_and_can_be_taken_up_anywhere() {
    let directory = std::env::temp_dir().join(format!("davit-record-golden-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (fresh, bounded) = (directory.join("fresh"), directory.join("bounded"));
    let answers = recorded(&fresh, 1 << 20).await;
    check_script(&answers);
    if std::env::var_os("DAVIT_REMAKE_GOLDEN").is_some() {
        std::fs::create_dir_all(Path::new(GOLDEN).parent().unwrap()).unwrap();
        std::fs::copy(&fresh, GOLDEN).unwrap();
    }
    assert!(std::fs::metadata(GOLDEN).unwrap().len() < MAX_GOLDEN_BYTES);
    let report = replay(&fresh).unwrap();
    assert_eq!(report.verdict(), Verdict::Same, "{report}");
    let golden = replay(Path::new(GOLDEN)).unwrap();
    assert_eq!((report.streams, report.batches, report.tasks), (golden.streams, golden.batches, golden.tasks));

    // Small files begin in the middle of streams, with all that they go by.
    recorded(&bounded, 60_000).await;
    for path in [bounded.clone(), directory.join("bounded.1")] {
        let report = replay(&path).unwrap();
        assert!(report.verdict() == Verdict::Same && report.batches > 0, "{report}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Records the script; gives what was asked and answered, by stream.
async fn recorded(path: &Path, max_bytes: u64) -> Vec<Vec<(v1::PlaceBatch, v1::PlaceResponse)>> {
    let config = Config { record: Some(path.to_owned()), record_max_bytes: max_bytes, ..Config::default() };
    let scheduler = Scheduler::start_with(config, Shutdown::new()).await;
    let mut client = scheduler.client().await;
    let answers = vec![
        run(&mut client, &algorithms_stream()).await,
        run(&mut client, &single_tasks_stream()).await,
        run(&mut client, &preemption_stream()).await,
    ];
    scheduler.stops().await;
    answers
}

/// Says all messages of one stream, one after the other.
async fn run(client: &mut Client, messages: &[Message]) -> Vec<(v1::PlaceBatch, v1::PlaceResponse)> {
    let mut place = Place::open(client).await;
    let mut answers = Vec::new();
    for message in messages {
        place.send(message.clone()).await;
        if let Message::Batch(batch) = message {
            answers.push((batch.clone(), place.answer().await.unwrap().unwrap()));
        }
    }
    answers
}

/// The script is worth something only if what it is to show happens.
fn check_script(streams: &[Vec<(v1::PlaceBatch, v1::PlaceResponse)>]) {
    let [algorithms, singles, preemption] = streams else { panic!("{}", streams.len()) };
    let all = || streams.iter().flatten().flat_map(|(batch, answer)| batch.groups.iter().zip(&answer.placements));
    let used: BTreeSet<_> =
        all().filter(|(_, answer)| !answer.runs.is_empty()).map(|(group, _)| &group.algorithm).collect();
    assert!(used.into_iter().eq(&ALGORITHMS.map(str::to_owned)));
    let gangs = |whole: bool| {
        all().any(|(group, answer)| group.all_or_nothing && group.count > 1 && (answer.unplaced_count == 0) == whole)
    };
    assert!(gangs(true) && gangs(false));
    assert!(all().any(|(group, answer)| group.all_or_nothing && answer.unplaced_reason.contains("fit; after those")));
    for kind in ["web", "port", "ports", "ssd", "alone", "spread", "failed", "near", "apart"] {
        let is_placed = all().any(|(group, answer)| is_of(group, kind) && !answer.runs.is_empty());
        assert!(is_placed, "{kind}");
    }
    assert!(algorithms.iter().any(|(_, answer)| answer.placements.iter().any(|one| one.unplaced_count > 0)));
    let singles = singles.iter().flat_map(|(_, answer)| &answer.placements).filter(|one| one.unplaced_count == 0);
    assert!(singles.count() > LAYOUT_TASKS + 50);
    let preemptions = preemption.iter().flat_map(|(_, answer)| &answer.placements).flat_map(|one| &one.preemptions);
    let victims: Vec<_> = preemptions.map(|one| one.victim_task_ids.len()).collect();
    assert!(victims.len() >= 4 && victims.iter().any(|count| *count > 1), "{victims:?}");
}

fn is_of(group: &v1::PlacementGroup, kind: &str) -> bool {
    group.group_id.split('-').next() == Some(kind)
}

/// Nodes of four sizes, three zones, two architectures; some can't take every task.
fn unlike_node(number: u32) -> v1::PlacementNode {
    let pick = |of: usize| number as usize % of;
    let (cores, gib) = [(2, 4), (4, 32), (8, 16), (16, 64)][pick(4)];
    let labels = [("zone", ["a", "b", "c"][pick(3)]), ("disk", ["ssd", "hdd"][pick(2)])];
    let measured = v1::NodeStats {
        cpu_used_millis: u64::from(number) * 37,
        memory_used_bytes: GIB,
        measure_time: Some(Default::default()),
        ..Default::default()
    };
    v1::PlacementNode {
        arch: ["x86_64", "aarch64"][number as usize / 2 % 2].to_owned(),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        state: if number == 5 { v1::NodeState::Suspect } else { v1::NodeState::Ready }.into(),
        cordoned: number == 7,
        allocatable: Some(v1::Resources { disk_bytes: 100 * GIB, ..resources(cores * 1000, gib * GIB) }),
        reserved: Some(resources(u64::from(number % 5) * 100, u64::from(number % 7) << 27)),
        host_ports: vec![v1::HostPort { protocol: v1::PortProtocol::Tcp.into(), port: 8000 + number % 3 }],
        task_count: number % 5,
        stats: (!number.is_multiple_of(3)).then_some(measured),
        port_range: Some(v1::PortRange { first: 20_000, last: 20_000 + 3 * (1 + number % 4) }),
        ..support::node(number)
    }
}

fn group(kind: &str, number: usize, count: u32, algorithm: &str) -> v1::PlacementGroup {
    let step = number as u64 * 7919 % 13;
    let reservation =
        v1::Resources { disk_bytes: step << 26, ..resources(50 + 30 * step, (64 + 40 * (step * 5 % 11)) << 20) };
    let requirements = v1::PlacementRequirements {
        reservation: Some(reservation),
        marks: vec![format!("app == {kind}")],
        ..support::requirements()
    };
    v1::PlacementGroup {
        group_id: format!("{kind}-{number}"),
        requirements: Some(requirements),
        count,
        algorithm: algorithm.to_owned(),
        ..Default::default()
    }
}

/// The same group with something of it changed.
fn with(mut group: v1::PlacementGroup, change: impl FnOnce(&mut v1::PlacementGroup)) -> v1::PlacementGroup {
    change(&mut group);
    group
}

fn needs(group: v1::PlacementGroup, change: impl FnOnce(&mut v1::PlacementRequirements)) -> v1::PlacementGroup {
    with(group, |group| change(group.requirements.get_or_insert_default()))
}

fn likes(group: v1::PlacementGroup, preferences: v1::PlacementPreferences) -> v1::PlacementGroup {
    with(group, |group| group.preferences = Some(preferences))
}

/// One group of each kind.
fn kinds(round: usize, algorithm: &str) -> Vec<v1::PlacementGroup> {
    let group = |kind: &str, count| group(kind, round, count, algorithm);
    let affinity = |expression: &str, weight| v1::NodeAffinity { expression: expression.to_owned(), weight };
    let affinities = vec![affinity("disk == ssd", 30), affinity("node.arch == aarch64", -45)];
    let over = |attribute: &str, weight| v1::SpreadPreference { attribute: attribute.to_owned(), weight };
    let spread = vec![over("zone", Some(70)), over("node.arch", None)];
    let failed = |number, count| v1::RecentFailures { node_id: node_id(number), count };
    let recent_failures = vec![failed(4, 2), failed(round as u32 % 20 + 1, 1)];
    let port = v1::HostPort { protocol: v1::PortProtocol::Tcp.into(), port: 8000 };
    vec![
        group("web", 15),
        group("few", 3),
        needs(group("port", 2), |needs| needs.host_ports = vec![port]),
        needs(group("ports", 4), |needs| needs.dynamic_port_count = 2),
        needs(group("ssd", 5), |needs| needs.constraints = vec!["disk == ssd".to_owned(), "zone != c".to_owned()]),
        needs(group("arm", 2), |needs| needs.platform = "linux/arm64".to_owned()),
        needs(group("alone", 6), |needs| {
            (needs.max_per_node, needs.max_per_node_mark) = (1, "app == alone".to_owned());
        }),
        needs(group("near", 3), |needs| needs.needed_marks = vec!["app == web".to_owned()]),
        needs(group("apart", 2), |needs| needs.refused_marks = vec!["app == arm".to_owned()]),
        likes(group("liked", 8), v1::PlacementPreferences { affinities, ..Default::default() }),
        likes(
            group("spread", 9),
            v1::PlacementPreferences { spread, spread_mark: "app == spread".to_owned(), ..Default::default() },
        ),
        likes(group("failed", 3), v1::PlacementPreferences { recent_failures, ..Default::default() }),
        with(group("gang", 6), |group| (group.all_or_nothing, group.priority) = (true, round as i32 % 3)),
        with(needs(group("torn", 9), |needs| needs.reservation = Some(resources(14_000, GIB))), |group| {
            group.all_or_nothing = true;
        }),
    ]
}

fn batch(number: usize, groups: Vec<v1::PlacementGroup>) -> Message {
    Message::Batch(v1::PlaceBatch { batch_id: number as u64, groups, seed: number as u64 * 0x9e37_79b9 })
}

/// Every kind of group with every algorithm, while nodes come, change and go.
fn algorithms_stream() -> Vec<Message> {
    let mut messages = vec![Message::Snapshot(v1::PlaceSnapshot { nodes: (1..=24).map(unlike_node).collect() })];
    for round in 0..9 {
        let algorithm = ALGORITHMS[round % 6];
        // In the last rounds all algorithms meet in one batch.
        let groups = kinds(round, algorithm).into_iter().enumerate().map(|(at, group)| {
            let algorithm = if round < 6 { algorithm } else { ALGORITHMS[(round + at) % 6] };
            v1::PlacementGroup { algorithm: algorithm.to_owned(), ..group }
        });
        messages.push(batch(round, groups.collect()));
        let number = round as u32;
        messages.push(Message::Delta(v1::PlaceDelta {
            upserted: vec![unlike_node(3 + number), unlike_node(25 + number)],
            removed_node_ids: vec![node_id(13 + number)],
        }));
    }
    messages
}

/// So many tasks, each a group of its own, that the table is laid out anew.
fn single_tasks_stream() -> Vec<Message> {
    let mut messages = vec![Message::Snapshot(v1::PlaceSnapshot { nodes: (1..=40).map(unlike_node).collect() })];
    for round in 0..4 {
        let groups = (0..150).map(|at| {
            let group = group("t", round * 150 + at, 1, ["binpack", "least-stranded", "epvm", "spread"][round]);
            needs(group, |needs| needs.marks.clear())
        });
        messages.push(batch(round, groups.collect()));
    }
    messages
}

/// Nodes full of tasks of several priorities.
fn preemption_stream() -> Vec<Message> {
    let task = |number: u32, at: u32| v1::PlacedTask {
        task_id: format!("00000000-0000-7000-9000-{:012}", number * 100 + at),
        requirements: Some(v1::PlacementRequirements {
            reservation: Some(resources(1000, (1 + u64::from(at)) << 28)),
            host_ports: if at == 2 { vec![v1::HostPort { port: 9000, ..Default::default() }] } else { Vec::new() },
            ..support::requirements()
        }),
        priority: (number * 7 + at * 5) as i32 % 30,
        running_secs: u64::from(number * 1000 + at * 77),
        // Some are on their way out already.
        is_ending: number % 5 == 4 && at == 1,
        ..Default::default()
    };
    let full = |number: u32| v1::PlacementNode {
        tasks: (0..4).map(|at| task(number, at)).collect(),
        task_count: 4,
        reserved: Some(resources(4000, 10 << 28)),
        host_ports: vec![v1::HostPort { protocol: v1::PortProtocol::Tcp.into(), port: 9000 }],
        ..support::node(number)
    };
    let preempting = |kind: &str, number: usize, count, cores: u64, priority| v1::PlacementGroup {
        priority,
        may_preempt: true,
        ..needs(group(kind, number, count, "spread"), |needs| needs.reservation = Some(resources(cores * 1000, GIB)))
    };
    let mut messages = vec![Message::Snapshot(v1::PlaceSnapshot { nodes: (1..=8).map(full).collect() })];
    for round in 0..4 {
        let port = v1::HostPort { protocol: v1::PortProtocol::Tcp.into(), port: 9000 };
        messages.push(batch(
            round,
            vec![
                preempting("urgent", round, 2, 1, 50),
                preempting("large", round, 1, 3, 40),
                preempting("modest", round, 3, 1, 10),
                needs(preempting("port", round, 1, 1, 25), |needs| needs.host_ports = vec![port]),
                with(preempting("gang", round, 2, 2, 60), |group| group.all_or_nothing = true),
                preempting("huge", round, 1, 5, 90),
            ],
        ));
        let upserted = vec![full(1 + round as u32), full(9 + round as u32)];
        messages.push(Message::Delta(v1::PlaceDelta { upserted, removed_node_ids: Vec::new() }));
    }
    messages
}
