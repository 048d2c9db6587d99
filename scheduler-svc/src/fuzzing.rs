//! What the fuzz targets in `fuzz/` run of the scheduler, so that the test suite runs it too, on the same seeds.

use davit_proto::v1;
use davit_svc_kit::fuzzing::{Answer, InProcess, frame, messages_of};
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use prost::Message as _;
use prost::bytes::Bytes;
use tokio::runtime::Runtime;

use crate::grpc::{self, SchedulerApi};
pub use crate::record::fuzzing::recording;

/// The calls with one message. An input's first byte says which: only ever append.
const CALLS: [&str; 6] = ["SelectCandidateNodes", "Score", "Pick", "Explain", "PlanMoves", "ListAlgorithms"];
/// More may be asked for in one call; it only takes longer then.
pub(crate) const MAX_TASKS: u64 = 500;

/// The services, and what runs them.
struct Scheduler {
    runtime: Runtime,
    services: InProcess,
}

thread_local! {
    static SCHEDULER: Option<Scheduler> = Scheduler::new();
}

impl Scheduler {
    fn new() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().ok()?;
        let services = grpc::server(SchedulerApi::new(None, Shutdown::new()), Readiness::new()).in_process();
        Some(Self { runtime, services })
    }
}

/// A call: a byte that says which. Then its message; or, for `Place`, the call's body as it comes over the network, with any
/// number of messages.
///
/// # Panics
/// When a call does not end, ends with an error that is of no use to a client, or has an answer that can't be read.
pub fn request(bytes: &[u8]) {
    answer(bytes);
}

/// As [`request`]. `None` when it was not tried, as it would take long.
fn answer(bytes: &[u8]) -> Option<Answer> {
    let (call, message) = bytes.split_first()?;
    let call = CALLS.get(usize::from(*call) % (CALLS.len() + 1)).copied();
    let is_long = match call {
        None => tasks_of_stream(message) > MAX_TASKS,
        Some("Explain") => v1::ExplainRequest::decode(message)
            .is_ok_and(|request| request.group.is_some_and(|group| u64::from(group.count) > MAX_TASKS)),
        Some(_) => false,
    };
    if is_long {
        return None;
    }
    let body = if call.is_some() { frame(message) } else { Bytes::copy_from_slice(message) };
    let path = format!("/davit.v1.SchedulerService/{}", call.unwrap_or("Place"));
    let answer = SCHEDULER.with(|scheduler| {
        let Scheduler { runtime, services } = scheduler.as_ref()?;
        Some(runtime.block_on(services.call(&path, body)))
    })?;
    assert!(answer.status.is_some(), "{path} does not end");
    answer.assert_useful();
    Some(answer)
}

/// How many tasks the batches of a stream ask for.
fn tasks_of_stream(body: &[u8]) -> u64 {
    use v1::place_request::Message;
    let tasks = |message: Bytes| match v1::PlaceRequest::decode(message) {
        Ok(v1::PlaceRequest { message: Some(Message::Batch(batch)) }) => {
            batch.groups.iter().map(|group| u64::from(group.count)).sum()
        }
        _ => 0u64,
    };
    messages_of(Bytes::copy_from_slice(body)).into_iter().map(tasks).sum()
}

#[cfg(test)]
mod tests {
    use davit_proto::convert;
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};

    use super::*;
    use crate::placement::test_support::{node, requirements};

    fn calls() -> [Vec<u8>; 7] {
        let nodes: Vec<_> = (0..3).map(|number| convert::node_view_to_proto(&node(number))).collect();
        let requirements = Some(convert::requirements_to_proto(&requirements()));
        let group = |group_id: &str| v1::PlacementGroup {
            group_id: group_id.to_owned(),
            requirements: requirements.clone(),
            count: 2,
            ..Default::default()
        };
        let score =
            |node: &v1::PlacementNode| v1::NodeScore { node_id: node.node_id.clone(), cost: 0.5, ..Default::default() };
        let place = |message| frame(&v1::PlaceRequest { message: Some(message) }.encode_to_vec());
        use v1::place_request::Message;
        let delta = v1::PlaceDelta { upserted: nodes[..1].to_vec(), removed_node_ids: vec![nodes[2].node_id.clone()] };
        let batch = v1::PlaceBatch { batch_id: 1, groups: vec![group("a"), group("b")], seed: 7 };
        [
            v1::SelectCandidateNodesRequest { requirements: requirements.clone(), nodes: nodes.clone() }
                .encode_to_vec(),
            v1::ScoreRequest {
                requirements: requirements.clone(),
                nodes: nodes.clone(),
                algorithm: "epvm".to_owned(),
                ..Default::default()
            }
            .encode_to_vec(),
            v1::PickRequest { scores: nodes.iter().map(score).collect(), seed: 3 }.encode_to_vec(),
            v1::ExplainRequest { group: Some(group("")), nodes: nodes.clone(), seed: 3, max_nodes: 2 }.encode_to_vec(),
            v1::PlanMovesRequest { nodes: nodes.clone(), max_moves: 3, min_gain: 0.01 }.encode_to_vec(),
            Vec::new(),
            [
                place(Message::Snapshot(v1::PlaceSnapshot { nodes })),
                place(Message::Delta(delta)),
                place(Message::Batch(batch)),
            ]
            .concat(),
        ]
    }

    #[test]
    fn every_seed_of_calls_is_accepted_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("scheduler_request");
        assert_eq!(seeds.len(), CALLS.len() + 1);
        for seed in &seeds {
            let answer = answer(seed).unwrap();
            assert!(answer.is_ok() && !answer.messages.is_empty(), "{answer:?}");
        }
        for_each_mutation(&seeds, 400, request);
    }

    #[test]
    #[ignore = "writes fuzz/corpus/scheduler_request; after a change of the messages"]
    fn the_seeds_are_written() {
        for (number, message) in (0u8..).zip(calls()) {
            let name = CALLS.get(usize::from(number)).copied().unwrap_or("Place");
            write_seed("scheduler_request", name, &[&[number], message.as_slice()].concat());
        }
    }
}
