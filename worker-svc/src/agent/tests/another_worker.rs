//! What an agent does while what it finds may be another worker's, or begun by one.

use davit_core::lease::{MARGIN, time_to_stop};
use davit_core::spec::OnNodeLoss;

use super::*;

/// One that must never run twice.
fn leased(task: u32, grace: Duration) -> Assignment {
    let leased = assignment(task);
    let mut spec = TaskSpec::clone(&leased.spec);
    (spec.on_node_loss, spec.stop.grace) = (OnNodeLoss::StopAndReplace, grace);
    Assignment { spec: spec.into(), ..leased }
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_is_waited_for_only_by_what_may_be_overtaken_already_by_its_own_stop_grace() {
    const SECOND: Duration = Duration::from_secs(1);
    let (_, agent) = agent().await;
    let assignments = vec![leased(1, SECOND * 10), leased(2, SECOND * 30)];
    agent.assign(Batch { assignments, ..Batch::default() });
    let state = agent.state.lock();
    let stops = |task| state.held[&key(task)].wants_end();
    let left = lease::stop_leased(&state, &Link::new(SECOND * 100), SECOND * 85, SECOND * 100);
    assert_eq!((left, stops(1), stops(2)), (Some(SECOND * 3), false, true));
    let left = lease::stop_leased(&state, &Link::new(SECOND * 100), SECOND * 85, SECOND * 103);
    assert_eq!((left, stops(1)), (None, true));
}

/// What a worker created and did not start before its end, its next start, and the engine's answers to that one's asking.
async fn restarted_before_a_start(assigned: Assignment) -> (FakeEngine, Arc<Agent>) {
    let (engine, machine) = test_support::machine();
    let first = start(&machine, Duration::from_secs(3600)).await;
    engine.set_stuck(Step::Start, true);
    first.begin_session(Duration::from_secs(1), None);
    first.assign(Batch { full: true, last: true, assignments: vec![assigned], ..Batch::default() });
    assert_eq!(calls(&engine, Step::Start).await, 1);
    first.shut_down().await;
    engine.set_stuck(Step::Start, false);
    (engine, start(&machine, Duration::from_secs(3600)).await)
}

#[tokio::test]
async fn what_must_never_run_twice_and_an_earlier_start_of_a_worker_may_have_begun_begins_when_its_lease_has_ended() {
    let lease = Duration::from_millis(200);
    let waits = lease + time_to_stop(Duration::ZERO);
    for (assigned, waits) in [(leased(1, Duration::ZERO), waits), (assignment(1), Duration::ZERO)] {
        let (engine, agent) = restarted_before_a_start(assigned.clone()).await;
        let began = agent.uptime();
        agent.begin_session(Duration::from_secs(1), Some(lease));
        agent.assign(Batch { full: true, last: true, assignments: vec![assigned], ..Batch::default() });
        while engine.running(agent.owner()).is_empty() {
            // The manager is in touch all the time; a session that breaks changes nothing.
            agent.heard(agent.uptime());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(agent.uptime() - began >= waits);
        // What came after it was taken in waits for nothing.
        let came = agent.uptime();
        agent.assign(Batch { assignments: vec![leased(2, Duration::ZERO)], ..Batch::default() });
        while engine.running(agent.owner()).len() < 2 {
            agent.heard(agent.uptime());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(agent.uptime() - came < MARGIN);
    }
}

#[tokio::test]
async fn a_worker_that_is_to_stop_all_at_its_end_waits_for_the_first_answer_which_may_be_that_it_is_another_ones() {
    for (answer, stops) in [("refused", false), ("unreachable", true), ("taken in", true), ("none", true)] {
        let (engine, machine) = test_support::machine();
        let first = start(&machine, Duration::from_secs(3600)).await;
        first.begin_session(Duration::from_secs(1), None);
        first.assign(Batch { full: true, last: true, assignments: vec![assignment(1)], ..Batch::default() });
        assert_eq!(calls(&engine, Step::Start).await, 1);
        first.shut_down().await;
        let second = start(&machine, Duration::from_secs(3600)).await;
        let closing = tokio::spawn({
            let second = Arc::clone(&second);
            async move { second.close(true).await }
        });
        assert_eq!(calls(&engine, Step::Stop).await, 0, "{answer}");
        match answer {
            "refused" => second.has_rival(),
            "unreachable" => second.end_session(),
            "taken in" => second.begin_session(Duration::from_secs(1), None),
            _ => {}
        }
        closing.await.unwrap();
        assert_eq!(engine.running(second.owner()).is_empty(), stops, "{answer}");
        // Nothing of another one's is removed either.
        if !stops {
            engine.end(second.owner(), key(1), 0);
            second.emptied().await;
        }
        second.remove_ended().await;
        assert_eq!(engine.state(second.owner(), key(1)).is_none(), stops, "{answer}");
    }
}
