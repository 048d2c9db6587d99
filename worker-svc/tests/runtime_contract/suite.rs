//! The facts that hold for every runtime.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey};
use davit_core::spec::StopPolicy;
use futures::TryStreamExt;
use tokio::time::Instant;
use worker_svc::runtime::{
    AttemptSpec, Error, ErrorKind, InstanceState, LogOptions, LogSource, Probed, Runtime, RuntimeInfo, Sighting, Survey,
};

use crate::harness::{Bench, Script, Shows, new_key};

/// Makes a test of each fact for one kind of runtime.
macro_rules! runtime_contract {
    ($kind:expr) => {
        crate::suite::facts! { $kind;
            it_tells_its_version,
            a_task_that_returns_ends_with_code_0,
            a_task_that_fails_tells_its_code,
            a_stop_signal_ends_a_task_before_the_grace_is_over,
            a_task_that_ignores_the_signal_is_killed_after_the_grace,
            a_kill_signal_needs_no_grace,
            output_is_readable_after_the_end,
            a_tail_is_the_end_of_what_is_there,
            output_up_to_a_given_time_is_left_out,
            a_follower_sees_output_as_it_comes_and_ends_with_the_task,
            the_list_tells_created_running_and_exited,
            every_step_may_be_repeated,
            what_is_removed_is_gone_and_may_be_removed_again,
            removal_ends_a_running_task_and_its_waiters,
            a_failed_start_is_permanent_and_says_why,
            nodes_on_one_engine_do_not_see_or_touch_each_others_tasks,
            what_is_not_there_is_not_found,
            a_task_that_was_not_started_cannot_be_waited_for,
            attempts_of_one_task_are_apart,
            a_survey_of_what_has_changed_leaves_nothing_of_it_out,
            all_who_wait_learn_the_end,
            a_probe_tells_whether_it_serves,
            a_probe_that_takes_too_long_fails_in_time_and_the_next_one_is_not_kept_waiting,
            only_what_runs_is_probed,
            what_has_ended_is_restarted_as_the_same_attempt,
            a_restarted_worker_restarts_what_the_one_before_ran,
            a_restarted_worker_sees_what_the_one_before_started,
            a_restarted_worker_stops_and_removes_what_the_one_before_started,
            a_restarted_worker_learns_how_ended_what_nobody_watched,
            a_restarted_worker_starts_what_was_only_created,
        }
    };
}

macro_rules! facts {
    ($kind:expr; $($fact:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                crate::harness::check($kind, |bench| async move { crate::suite::$fact(&bench).await }).await;
            }
        )+
    };
}

pub(crate) use {facts, runtime_contract};

fn stop_within(grace: Duration) -> StopPolicy {
    StopPolicy { grace, ..StopPolicy::default() }
}

const LONG: Duration = Duration::from_secs(30);

pub(crate) async fn it_tells_its_version(bench: &Bench) {
    let RuntimeInfo { version } = bench.runtime.check().await.unwrap();
    assert!(!version.is_empty());
}

pub(crate) async fn a_task_that_returns_ends_with_code_0(bench: &Bench) {
    let (key, started) = bench.start(bench.kind.spec(Script::Exit(0))).await;
    let exit = bench.runtime.wait(key).await.unwrap();
    assert_eq!((exit.exit_code, exit.oom_killed, exit.error.as_str()), (0, false, ""));
    assert_eq!(exit.started_at, Some(started.started_at));
    assert!(exit.finished_at >= started.started_at);
}

pub(crate) async fn a_task_that_fails_tells_its_code(bench: &Bench) {
    let (key, exit) = bench.run(bench.kind.spec(Script::Exit(7))).await;
    assert_eq!(exit.exit_code, 7);
    assert_eq!(bench.runtime.wait(key).await.unwrap(), exit, "a second look tells the same");
}

pub(crate) async fn a_stop_signal_ends_a_task_before_the_grace_is_over(bench: &Bench) {
    let key = bench.start_ready(Script::Run).await;
    let before = Instant::now();
    bench.runtime.stop(key, &stop_within(LONG), None).await.unwrap();
    assert!(before.elapsed() < LONG / 2);
    assert_eq!(bench.runtime.wait(key).await.unwrap().exit_code, 143);
}

pub(crate) async fn a_task_that_ignores_the_signal_is_killed_after_the_grace(bench: &Bench) {
    let key = bench.start_ready(Script::IgnoreStop).await;
    let grace = Duration::from_millis(400);
    let before = Instant::now();
    bench.runtime.stop(key, &stop_within(grace), None).await.unwrap();
    assert!(before.elapsed() >= grace);
    assert_eq!(bench.runtime.wait(key).await.unwrap().exit_code, 137);
}

pub(crate) async fn a_kill_signal_needs_no_grace(bench: &Bench) {
    let key = bench.start_ready(Script::IgnoreStop).await;
    let before = Instant::now();
    let kill = StopPolicy { signal: "SIGKILL".to_owned(), grace: LONG };
    bench.runtime.stop(key, &kill, None).await.unwrap();
    assert!(before.elapsed() < LONG / 2);
    assert_eq!(bench.runtime.wait(key).await.unwrap().exit_code, 137);
}

pub(crate) async fn output_is_readable_after_the_end(bench: &Bench) {
    let (key, _) = bench.run(bench.kind.spec(Script::Print(&["one", "two", "three"]))).await;
    for follow in [false, true] {
        let lines = bench.lines(key, LogOptions { follow, ..LogOptions::default() }).await;
        assert!(lines.iter().all(|line| line.timestamp.is_some() && line.source == LogSource::Stdout));
        let text: Vec<_> = lines.iter().map(|line| line.bytes.as_slice()).collect();
        assert_eq!(text, [b"one\n".as_slice(), b"two\n", b"three\n"], "follow: {follow}");
    }
}

pub(crate) async fn a_tail_is_the_end_of_what_is_there(bench: &Bench) {
    let (key, _) = bench.run(bench.kind.spec(Script::Print(&["one", "two", "three"]))).await;
    for (tail, expected) in [(0, 0), (2, 2), (3, 3), (100, 3)] {
        let lines = bench.lines(key, LogOptions { tail: Some(tail), ..LogOptions::default() }).await;
        assert_eq!(lines.len(), expected, "tail {tail}");
        assert!(lines.last().is_none_or(|line| line.bytes == b"three\n"));
    }
}

pub(crate) async fn output_up_to_a_given_time_is_left_out(bench: &Bench) {
    let (key, _) = bench.run(bench.kind.spec(Script::Print(&["one", "two", "three"]))).await;
    let all = bench.lines(key, LogOptions::default()).await;
    assert_eq!(all.len(), 3);
    let nanosecond = Duration::from_nanos(1);
    for at in all.iter().map(|line| line.timestamp.unwrap()) {
        for since in [at - Duration::from_secs(1), at - nanosecond, at, at + nanosecond] {
            let first = all.iter().position(|line| line.timestamp.unwrap() > since).unwrap_or(all.len());
            for follow in [false, true] {
                let lines = bench.lines(key, LogOptions { since: Some(since), follow, ..LogOptions::default() }).await;
                assert_eq!(lines, all[first..], "since {since}, follow: {follow}");
            }
        }
    }
    let last = all.last().and_then(|line| line.timestamp);
    assert_eq!(bench.lines(key, LogOptions { since: last, ..LogOptions::default() }).await, []);
}

pub(crate) async fn a_follower_sees_output_as_it_comes_and_ends_with_the_task(bench: &Bench) {
    let attempt = bench.create(bench.kind.spec(Script::Run)).await;
    bench.runtime.start(attempt.key).await.unwrap();
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut lines = bench.runtime.logs(attempt.key, follow).await.unwrap();
    assert_eq!(lines.try_next().await.unwrap().unwrap().bytes, b"ready\n");
    assert!(matches!(bench.state(attempt.key).await, Some(InstanceState::Running(_))));
    bench.runtime.stop(attempt.key, &stop_within(LONG), None).await.unwrap();
    assert_eq!(lines.try_next().await.unwrap(), None);
}

pub(crate) async fn the_list_tells_created_running_and_exited(bench: &Bench) {
    let created = bench.create(bench.kind.spec(Script::Exit(0))).await.key;
    let (running, started) = bench.start(bench.kind.spec(Script::Run)).await;
    let (exited, exit) = bench.run(bench.kind.spec(Script::Exit(7))).await;
    assert_eq!(bench.state(created).await, Some(InstanceState::Created));
    assert_eq!(bench.state(running).await, Some(InstanceState::Running(started)));
    assert_eq!(bench.state(exited).await, Some(InstanceState::Exited(exit)));
    let keys: Vec<_> = bench.runtime.list().await.unwrap().iter().map(|instance| instance.key).collect();
    let mut expected = [created, running, exited];
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

pub(crate) async fn every_step_may_be_repeated(bench: &Bench) {
    let attempt = bench.create(bench.kind.spec(Script::Run)).await;
    bench.runtime.create(&attempt).await.unwrap();
    bench.runtime.stop(attempt.key, &stop_within(LONG), None).await.unwrap();
    let started = bench.runtime.start(attempt.key).await.unwrap();
    assert_eq!(bench.runtime.start(attempt.key).await.unwrap(), started);
    bench.runtime.create(&attempt).await.unwrap();
    bench.until_printed(attempt.key, "ready").await;
    bench.runtime.stop(attempt.key, &stop_within(LONG), None).await.unwrap();
    bench.runtime.stop(attempt.key, &stop_within(LONG), None).await.unwrap();
    let again = bench.runtime.start(attempt.key).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExited { .. }), "an attempt runs only once: {again}");
    assert_eq!(bench.runtime.wait(attempt.key).await.unwrap().exit_code, 143);
}

pub(crate) async fn what_is_removed_is_gone_and_may_be_removed_again(bench: &Bench) {
    let (key, _) = bench.run(bench.kind.spec(Script::Print(&["one"]))).await;
    bench.runtime.remove(key).await.unwrap();
    assert_eq!(bench.runtime.list().await.unwrap(), []);
    assert_eq!(bench.runtime.logs(key, LogOptions::default()).await.err().unwrap().kind(), ErrorKind::NotFound);
    bench.runtime.remove(key).await.unwrap();
    bench.runtime.remove(new_key()).await.unwrap();
}

pub(crate) async fn removal_ends_a_running_task_and_its_waiters(bench: &Bench) {
    let key = bench.start_ready(Script::IgnoreStop).await;
    let runtime = Arc::clone(&bench.runtime);
    let waiter = tokio::spawn(async move { runtime.wait(key).await });
    bench.runtime.remove(key).await.unwrap();
    assert_eq!(bench.state(key).await, None);
    // Whether it still learns the code is a matter of luck; that it ends is not.
    match waiter.await.unwrap() {
        Ok(exit) => assert_eq!(exit.exit_code, 137),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
    }
}

pub(crate) async fn a_failed_start_is_permanent_and_says_why(bench: &Bench) {
    let attempt = bench.create(bench.kind.spec(Script::FailStart)).await;
    for _ in 0..2 {
        let error = bench.runtime.start(attempt.key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error:?}");
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
    assert_eq!(bench.state(attempt.key).await, Some(InstanceState::Created));
    bench.runtime.remove(attempt.key).await.unwrap();
    assert_eq!(bench.state(attempt.key).await, None);
}

pub(crate) async fn nodes_on_one_engine_do_not_see_or_touch_each_others_tasks(bench: &Bench) {
    let key = bench.start_ready(Script::Run).await;
    assert_eq!(bench.other.list().await.unwrap(), []);
    assert_eq!(bench.other.start(key).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.other.stop(key, &stop_within(LONG), None).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.other.wait(key).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.other.logs(key, LogOptions::default()).await.err().unwrap().kind(), ErrorKind::NotFound);
    bench.other.remove(key).await.unwrap();
    assert!(matches!(bench.state(key).await, Some(InstanceState::Running(_))));
}

pub(crate) async fn what_is_not_there_is_not_found(bench: &Bench) {
    let key = new_key();
    assert_eq!(bench.runtime.start(key).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.runtime.wait(key).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.runtime.stop(key, &stop_within(LONG), None).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.runtime.logs(key, LogOptions::default()).await.err().unwrap().kind(), ErrorKind::NotFound);
}

pub(crate) async fn a_task_that_was_not_started_cannot_be_waited_for(bench: &Bench) {
    let attempt = bench.create(bench.kind.spec(Script::Exit(0))).await;
    let error = bench.runtime.wait(attempt.key).await.unwrap_err();
    assert!(matches!(error, Error::NotStarted { .. }), "{error}");
}

pub(crate) async fn attempts_of_one_task_are_apart(bench: &Bench) {
    let first = bench.create(bench.kind.spec(Script::Exit(7))).await;
    let key = AttemptKey { attempt: Attempt(2), ..first.key };
    let second = AttemptSpec {
        key,
        spec: Arc::new(bench.kind.spec(Script::Exit(0))),
        ports: [].into(),
        env: Vec::new(),
        files: Vec::new(),
    };
    bench.runtime.create(&second).await.unwrap();
    bench.runtime.start(first.key).await.unwrap();
    bench.runtime.start(second.key).await.unwrap();
    assert_eq!(bench.runtime.wait(first.key).await.unwrap().exit_code, 7);
    assert_eq!(bench.runtime.wait(second.key).await.unwrap().exit_code, 0);
    bench.runtime.remove(first.key).await.unwrap();
    assert!(matches!(bench.state(second.key).await, Some(InstanceState::Exited(_))));
}

pub(crate) async fn a_survey_of_what_has_changed_leaves_nothing_of_it_out(bench: &Bench) {
    bench.start_ready(Script::IgnoreStop).await;
    bench.runtime.survey(None).await.unwrap();
    let since = bench.runtime.changes();
    let key = bench.start_ready(Script::IgnoreStop).await;
    // An engine may tell of it a moment later.
    let until_seen = async |running| {
        let is_seen = |seen: &Sighting| seen.key == Some(key) && seen.is_instance && seen.running == running;
        while !bench.runtime.survey(since).await.unwrap().seen.iter().any(is_seen) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, until_seen(true)).await.unwrap();
    bench.runtime.stop(key, &stop_within(Duration::ZERO), None).await.unwrap();
    tokio::time::timeout(LONG, until_seen(false)).await.unwrap();

    // What is gone is not seen, though it was looked for.
    let seen = bench.runtime.survey(since).await.unwrap().seen;
    let id = seen.into_iter().find(|seen| seen.key == Some(key)).unwrap().id;
    bench.runtime.remove(key).await.unwrap();
    let until_gone = async {
        loop {
            let Survey { seen, of } = bench.runtime.survey(since).await.unwrap();
            if seen.iter().all(|seen| seen.id != id) && of.is_none_or(|of| of.contains(&id)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, until_gone).await.unwrap();
}

pub(crate) async fn all_who_wait_learn_the_end(bench: &Bench) {
    let key = bench.start_ready(Script::Run).await;
    let wait = || bench.runtime.wait(key);
    let policy = stop_within(LONG);
    let stop = bench.runtime.stop(key, &policy, None);
    let (one, two, stopped) = tokio::join!(wait(), wait(), stop);
    stopped.unwrap();
    assert_eq!(one.unwrap().exit_code, 143);
    assert_eq!(two.unwrap().exit_code, 143);
}

pub(crate) async fn a_probe_tells_whether_it_serves(bench: &Bench) {
    for shows in [Shows::Healthy, Shows::Failing] {
        let (spec, probe) = bench.kind.probed(shows);
        let (key, _) = bench.start(spec).await;
        match (shows, bench.probe(key, &probe).await) {
            (Shows::Healthy, Probed::Healthy) => {}
            (Shows::Failing, Probed::Failing(problem)) => assert!(!problem.is_empty()),
            (_, probed) => panic!("{shows:?} {probed:?}"),
        }
        assert!(matches!(bench.state(key).await, Some(InstanceState::Running(_))));
        // Whoever comes later asks the same.
        let restarted = bench.kind.runtime(bench.owner.clone());
        let again = restarted.probe(key, &probe, LONG).await.unwrap();
        assert_eq!(again == Probed::Healthy, matches!(shows, Shows::Healthy), "{again:?}");
    }
}

pub(crate) async fn a_probe_that_takes_too_long_fails_in_time_and_the_next_one_is_not_kept_waiting(bench: &Bench) {
    let (spec, probe) = bench.kind.probed(Shows::Nothing);
    let (key, _) = bench.start(spec).await;
    let before = Instant::now();
    for _ in 0..2 {
        let probed = bench.runtime.probe(key, &probe, Duration::from_millis(300)).await.unwrap();
        assert!(matches!(&probed, Probed::Failing(problem) if problem.contains("within 0.3 s")), "{probed:?}");
    }
    assert!(before.elapsed() < LONG / 2);
    // Nor does who gives up on one keep what comes next.
    let given_up = tokio::time::timeout(Duration::from_millis(50), bench.runtime.probe(key, &probe, LONG)).await;
    assert!(given_up.is_err());
    bench.runtime.stop(key, &stop_within(Duration::ZERO), None).await.unwrap();
    bench.runtime.remove(key).await.unwrap();
}

pub(crate) async fn only_what_runs_is_probed(bench: &Bench) {
    let (spec, probe) = bench.kind.probed(Shows::Healthy);
    let key = bench.create(spec).await.key;
    let asked = async |runtime: &dyn Runtime, key| runtime.probe(key, &probe, LONG).await.unwrap_err().kind();
    assert_eq!(asked(&*bench.runtime, key).await, ErrorKind::NotFound, "it was not started");
    bench.runtime.start(key).await.unwrap();
    assert_eq!(asked(&*bench.other, key).await, ErrorKind::NotFound, "it is another's");
    assert_eq!(asked(&*bench.runtime, new_key()).await, ErrorKind::NotFound);
    bench.runtime.stop(key, &stop_within(Duration::ZERO), None).await.unwrap();
    assert_eq!(asked(&*bench.runtime, key).await, ErrorKind::NotFound, "it has ended");
}

pub(crate) async fn what_has_ended_is_restarted_as_the_same_attempt(bench: &Bench) {
    let key = bench.start_ready(Script::Run).await;
    let Some(InstanceState::Running(first)) = bench.state(key).await else { panic!("it does not run") };
    assert_eq!(bench.runtime.restart(key).await.unwrap(), first, "what runs is left alone");
    bench.runtime.stop(key, &stop_within(LONG), None).await.unwrap();
    let ended = bench.runtime.wait(key).await.unwrap();
    let again = bench.runtime.restart(key).await.unwrap();
    assert!(again.started_at >= ended.finished_at, "{again:?} {ended:?}");
    assert_eq!(bench.state(key).await, Some(InstanceState::Running(again.clone())));
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut lines = bench.runtime.logs(key, follow).await.unwrap();
    for _ in 0..2 {
        assert_eq!(lines.try_next().await.unwrap().unwrap().bytes, b"ready\n", "the output of each run");
    }
    bench.runtime.stop(key, &stop_within(LONG), None).await.unwrap();
    let exit = bench.runtime.wait(key).await.unwrap();
    assert_eq!((exit.exit_code, exit.started_at), (143, Some(again.started_at)));
    assert_eq!(bench.other.restart(key).await.unwrap_err().kind(), ErrorKind::NotFound);
    bench.runtime.remove(key).await.unwrap();
    assert_eq!(bench.runtime.restart(key).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn a_restarted_worker_restarts_what_the_one_before_ran(bench: &Bench) {
    let (key, first) = bench.run(bench.kind.spec(Script::Exit(7))).await;
    let restarted = bench.kind.runtime(bench.owner.clone());
    restarted.restart(key).await.unwrap();
    let second = restarted.wait(key).await.unwrap();
    assert_eq!(second.exit_code, 7);
    assert!(second.started_at > first.started_at);
    let third = bench.kind.runtime(bench.owner.clone());
    assert_eq!(third.wait(key).await.unwrap(), second, "the newest end is the one that is told");
}

pub(crate) async fn a_restarted_worker_sees_what_the_one_before_started(bench: &Bench) {
    let key = bench.start_ready(Script::Run).await;
    let (exited, _) = bench.run(bench.kind.spec(Script::Exit(7))).await;
    let restarted = bench.kind.runtime(bench.owner.clone());
    assert_eq!(restarted.list().await.unwrap(), bench.runtime.list().await.unwrap());
    assert_eq!(restarted.wait(exited).await.unwrap().exit_code, 7);
    let again = restarted.start(key).await.unwrap();
    assert_eq!(bench.state(key).await, Some(InstanceState::Running(again)), "it runs, and is not started anew");
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut lines = restarted.logs(key, follow).await.unwrap();
    assert_eq!(lines.try_next().await.unwrap().unwrap().bytes, b"ready\n");
    bench.runtime.stop(key, &stop_within(LONG), None).await.unwrap();
    assert_eq!(lines.try_next().await.unwrap(), None, "it follows to the end");
}

pub(crate) async fn a_restarted_worker_stops_and_removes_what_the_one_before_started(bench: &Bench) {
    let (obeys, ignores) = (bench.start_ready(Script::Run).await, bench.start_ready(Script::IgnoreStop).await);
    let restarted = bench.kind.runtime(bench.owner.clone());
    restarted.stop(obeys, &stop_within(LONG), None).await.unwrap();
    assert_eq!(restarted.wait(obeys).await.unwrap().exit_code, 143);
    restarted.stop(ignores, &stop_within(Duration::from_millis(100)), None).await.unwrap();
    assert_eq!(restarted.wait(ignores).await.unwrap().exit_code, 137);
    for key in [obeys, ignores] {
        restarted.remove(key).await.unwrap();
    }
    assert_eq!(restarted.list().await.unwrap(), []);
}

pub(crate) async fn a_restarted_worker_learns_how_ended_what_nobody_watched(bench: &Bench) {
    let (key, exit) = bench.run(bench.kind.spec(Script::Exit(7))).await;
    let (printed, _) = bench.run(bench.kind.spec(Script::Print(&["one", "two"]))).await;
    let restarted = bench.kind.runtime(bench.owner.clone());
    assert_eq!(restarted.wait(key).await.unwrap(), exit, "code and times are those of the end");
    let again = restarted.start(key).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExited { .. }), "{again}");
    for follow in [false, true] {
        let lines = restarted.logs(printed, LogOptions { follow, ..LogOptions::default() }).await.unwrap();
        let lines: Vec<_> = lines.map_ok(|line| line.bytes).try_collect().await.unwrap();
        assert_eq!(lines, [b"one\n", b"two\n"]);
    }
}

pub(crate) async fn a_restarted_worker_starts_what_was_only_created(bench: &Bench) {
    let created = bench.create(bench.kind.spec(Script::Exit(3))).await.key;
    let restarted = bench.kind.runtime(bench.owner.clone());
    restarted.start(created).await.unwrap();
    assert_eq!(restarted.wait(created).await.unwrap().exit_code, 3);
}
