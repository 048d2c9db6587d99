//! How much the agent gives an engine to do at once, and what waits for nothing.

use davit_core::spec::OnNodeLoss;

use super::*;

const GRACE: Duration = Duration::from_secs(10);

/// One with these orders for the fake, and [`GRACE`] to stop.
fn ordered(task: u32, orders: &[(&str, &str)]) -> Assignment {
    let plain = assignment(task);
    let mut spec = TaskSpec::clone(&plain.spec);
    spec.labels = orders.iter().map(|(order, value)| (format!("fake.{order}"), (*value).to_owned())).collect();
    spec.stop.grace = GRACE;
    Assignment { spec: spec.into(), ..plain }
}

fn stopped(assigned: Assignment) -> Assignment {
    Assignment { desired_state: DesiredState::Stopped, ..assigned }
}

fn change(assignments: impl IntoIterator<Item = Assignment>) -> Batch {
    Batch { assignments: assignments.into_iter().collect(), ..Batch::default() }
}

/// An agent that runs the attempts of so many tasks.
async fn running(tasks: u32, assigned: impl Fn(u32) -> Assignment) -> (FakeEngine, Arc<Agent>) {
    let (engine, agent) = agent().await;
    agent.assign(change((0..tasks).map(assigned)));
    assert_eq!(calls(&engine, Step::Start).await, tasks as usize);
    (engine, agent)
}

/// Tells whether an attempt was sent its stop signal.
fn is_signalled(engine: &FakeEngine, key: AttemptKey) -> bool {
    engine.calls().iter().any(|call| call.step == Step::Signal && call.key == Some(key))
}

#[tokio::test(start_paused = true)]
async fn of_many_attempts_twelve_are_signalled_at_once() {
    const ATTEMPTS: u32 = 40;
    let (engine, agent) = running(ATTEMPTS, assignment).await;
    engine.set_stuck(Step::Signal, true);
    agent.assign(change((0..ATTEMPTS).map(assignment).map(stopped)));
    assert_eq!(calls(&engine, Step::Signal).await, 12);

    // What ends while it waits for its turn needs no signal.
    engine.end(agent.owner(), key(ATTEMPTS - 1), 0);
    engine.set_stuck(Step::Signal, false);
    assert_eq!(calls(&engine, Step::Signal).await, ATTEMPTS as usize - 1);
    assert_eq!(engine.running(agent.owner()), []);
    agent.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn of_many_attempts_twelve_are_removed_at_once() {
    const ATTEMPTS: u32 = 40;
    let (engine, agent) = running(ATTEMPTS, assignment).await;
    engine.set_stuck(Step::Remove, true);
    agent.assign(Batch { removed: (0..ATTEMPTS).map(key).collect(), ..Batch::default() });
    assert_eq!(calls(&engine, Step::Remove).await, 12);
    engine.set_stuck(Step::Remove, false);
    assert_eq!(calls(&engine, Step::Remove).await, ATTEMPTS as usize);
}

#[tokio::test(start_paused = true)]
async fn graces_pass_side_by_side_however_many_ignore_their_signals() {
    const ATTEMPTS: u32 = 50;
    let ignores = |task| ordered(task, &[("ignores_stop", "true")]);
    let (_engine, agent) = running(ATTEMPTS, ignores).await;
    agent.assign(change((0..ATTEMPTS).map(ignores).map(stopped)));
    let before = Instant::now();
    agent.emptied().await;
    let took = before.elapsed();
    assert!((GRACE..GRACE * 5 / 4).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_another_attempt_waits_for_is_stopped_before_all_that_nobody_waits_for() {
    const ATTEMPTS: u32 = 40;
    let (engine, agent) = running(ATTEMPTS, assignment).await;
    engine.set_stuck(Step::Signal, true);
    // The last one waits for its turn when its next attempt comes.
    agent.assign(change((0..ATTEMPTS - 1).map(assignment).map(stopped)));
    assert_eq!(calls(&engine, Step::Signal).await, 12);
    let waits = key(ATTEMPTS - 2);
    assert!(!is_signalled(&engine, waits));
    let runs = key(ATTEMPTS - 1);
    let next = |key: AttemptKey| AttemptKey { attempt: key.attempt.next(), ..key };
    let anew = [waits, runs].map(|key| Assignment { key: next(key), ..assignment(0) });
    agent.assign(change(anew));
    assert_eq!(calls(&engine, Step::Signal).await, 14);
    assert!(is_signalled(&engine, waits) && is_signalled(&engine, runs));
    engine.set_stuck(Step::Signal, false);
    assert_eq!(calls(&engine, Step::Signal).await, ATTEMPTS as usize);
    assert_eq!(engine.running(agent.owner()), [next(waits), next(runs)]);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_lease_any_more_is_stopped_before_all_that_nobody_waits_for() {
    const ATTEMPTS: u32 = 40;
    let leased = |task| {
        let plain = assignment(task);
        let mut spec = TaskSpec::clone(&plain.spec);
        spec.on_node_loss = OnNodeLoss::StopAndReplace;
        Assignment { spec: spec.into(), ..plain }
    };
    let (last_but_one, last) = (ATTEMPTS - 2, ATTEMPTS - 1);
    let assigned = |task| if task >= last_but_one { leased(task) } else { assignment(task) };
    let (engine, agent) = running(ATTEMPTS, assigned).await;
    engine.set_stuck(Step::Signal, true);
    agent.assign(change((0..last).map(assigned).map(stopped)));
    assert_eq!(calls(&engine, Step::Signal).await, 12);
    let uptime = agent.uptime() + GRACE * 100;
    let left = lease::stop_leased(&agent.state.lock(), &Link::new(Duration::ZERO), Duration::ZERO, uptime);
    assert_eq!(left, None);
    assert_eq!(calls(&engine, Step::Signal).await, 14);
    assert!([last_but_one, last].iter().all(|task| is_signalled(&engine, key(*task))));
    // One was asked to stop before that.
    engine.set_stuck(Step::Signal, false);
    agent.emptied().await;
    let statuses = agent.statuses();
    let reason = |task| &statuses.iter().find(|(one, _)| *one == key(task)).unwrap().1.reason;
    assert_eq!((reason(last_but_one).as_str(), reason(last).as_str()), ("", crate::lease::ENDED));
}

#[tokio::test(start_paused = true)]
async fn starts_that_are_refused_for_what_they_ask_leave_the_engine_as_many_and_those_that_it_can_not_do_do_not() {
    const ATTEMPTS: u32 = 40;
    let (engine, agent) = agent().await;
    let refused = |task| ordered(task, &[("start_fails", "no-such-program: not found")]);
    agent.assign(change((0..ATTEMPTS).map(refused)));
    agent.emptied().await;
    let at_once = async |from: u32| {
        let before = calls(&engine, Step::Create).await;
        engine.set_stuck(Step::Create, true);
        agent.assign(change((from..from + ATTEMPTS).map(assignment)));
        calls(&engine, Step::Create).await - before
    };
    assert_eq!(at_once(ATTEMPTS).await, 12);
    engine.set_failing(Step::Create, Some("connection refused"));
    engine.set_stuck(Step::Create, false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    engine.set_failing(Step::Create, None);
    while engine.running(agent.owner()).len() < ATTEMPTS as usize {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(at_once(2 * ATTEMPTS).await < 12);
    engine.set_stuck(Step::Create, false);
}
