use davit_core::id::{Attempt, AttemptKey, TaskId};
use proptest::prelude::*;
use uuid::Uuid;

use super::super::local_restart::AfterEnd;
use super::*;

const WANTS: [Want; 4] = [Want::Undecided, Want::Run, Want::Stop, Want::Remove];
const PHASES: [Phase; 8] = [
    Phase::Unknown,
    Phase::New,
    Phase::Prepared,
    Phase::Created,
    Phase::Started,
    Phase::Exited,
    Phase::Ended,
    Phase::Gone,
];

fn view(want: Want, phase: Phase) -> View {
    View {
        want,
        phase,
        asked_to_stop: false,
        start_tried: false,
        failed: false,
        restart_tried: false,
        is_unhealthy: false,
        looked: false,
        earlier: None,
        may_be_overtaken: false,
        may_run_elsewhere: false,
        is_crowded: false,
        after_end: AfterEnd::Report,
    }
}

fn key() -> AttemptKey {
    AttemptKey { task_id: TaskId(Uuid::nil()), attempt: Attempt::FIRST }
}

/// What a world in which every step works makes of a view.
fn perform(view: View, step: Step) -> View {
    let phase = match step {
        Step::Prepare => Phase::Prepared,
        Step::Create => Phase::Created,
        // One restart, say, and the next end is reported.
        Step::Restart => {
            return View { phase: Phase::Started, restart_tried: false, after_end: AfterEnd::Report, ..view };
        }
        // It is as it was seen before.
        Step::Look if view.phase != Phase::Unknown => return View { looked: true, ..view },
        Step::Start | Step::Look => Phase::Started,
        Step::Watch => Phase::Exited,
        Step::Stop if view.is_unhealthy && matches!(view.want, Want::Run | Want::Undecided) => Phase::Exited,
        Step::Stop => return View { phase: Phase::Exited, asked_to_stop: true, ..view },
        Step::ReportEnd => Phase::Ended,
        Step::Discard if view.phase == Phase::Exited => {
            return View { restart_tried: false, looked: false, after_end: AfterEnd::Report, ..view };
        }
        Step::Discard => return View { phase: Phase::Prepared, start_tried: false, looked: false, ..view },
        Step::Remove => Phase::Gone,
        Step::Wait | Step::Hold(_) | Step::Done => view.phase,
    };
    View { phase, looked: false, ..view }
}

#[test]
fn a_wanted_attempt_takes_the_whole_way() {
    let mut now = view(Want::Run, Phase::New);
    let mut steps = Vec::new();
    while !matches!(next_step(&now).step, Step::Wait | Step::Hold(_) | Step::Done) {
        let step = next_step(&now).step;
        steps.push(step);
        now = perform(now, step);
    }
    assert_eq!(steps, [Step::Prepare, Step::Create, Step::Start, Step::Watch, Step::ReportEnd]);
}

#[test]
fn every_case_in_one_table() {
    use Step as S;
    #[rustfmt::skip]
    let table = [
        // Unknown, New, Prepared, Created, Started, Exited, Ended, Gone
        (Want::Undecided, [S::Look, S::Wait, S::Wait, S::Wait, S::Watch, S::ReportEnd, S::Wait, S::Done]),
        (Want::Run, [S::Look, S::Prepare, S::Create, S::Start, S::Watch, S::ReportEnd, S::Wait, S::Done]),
        (Want::Stop, [S::Look, S::ReportEnd, S::ReportEnd, S::ReportEnd, S::Stop, S::ReportEnd, S::Wait, S::Done]),
        (Want::Remove, [S::Look, S::Remove, S::Remove, S::Remove, S::Stop, S::Remove, S::Remove, S::Done]),
    ];
    for (want, steps) in table {
        let decided = PHASES.map(|phase| next_step(&view(want, phase)).step);
        assert_eq!(decided, steps, "{want:?}");
    }
}

#[test]
fn no_end_is_reported_while_a_start_that_was_not_answered_may_take_place() {
    let tried = |want, phase| next_step(&View { start_tried: true, ..view(want, phase) }).step;
    assert_eq!(tried(Want::Stop, Phase::Created), Step::Look, "it may run by now");
    let looked = View { start_tried: true, looked: true, ..view(Want::Stop, Phase::Created) };
    assert_eq!(next_step(&looked).step, Step::Discard);
    assert_eq!(tried(Want::Run, Phase::Created), Step::Start, "starting twice does no harm");
    assert_eq!(tried(Want::Remove, Phase::Created), Step::Remove);
    let asked = View { start_tried: true, asked_to_stop: true, ..view(Want::Run, Phase::Created) };
    assert_eq!(next_step(&asked).step, Step::Look);
    assert_eq!(next_step(&View { looked: true, ..asked }).step, Step::Discard);
    let hangs = Error::Unavailable { action: "remove", reason: "timed out".to_owned() };
    assert_eq!(after_failure(Step::Discard, &hangs, 1000, MAX_PULL_TIME * 10), AfterFailure::Retry);
}

#[test]
fn no_end_is_reported_while_a_restart_that_was_not_answered_may_take_place() {
    let steps = [AfterEnd::Report, AfterEnd::Hold, AfterEnd::Restart].map(|after_end| {
        let tried = |want| View { restart_tried: true, looked: true, after_end, ..view(want, Phase::Exited) };
        let of = |want| next_step(&tried(want)).step;
        WANTS.map(of)
    });
    use Step as S;
    // Undecided, Run, Stop, Remove
    assert_eq!(steps[0], [S::Discard, S::Discard, S::Discard, S::Remove]);
    assert_eq!(steps[1], [S::Wait, S::Wait, S::Discard, S::Remove]);
    assert_eq!(steps[2], [S::Restart, S::Restart, S::Discard, S::Remove], "restarting twice does no harm");
    let again = View { restart_tried: true, after_end: AfterEnd::Restart, ..view(Want::Run, Phase::Exited) };
    assert_eq!(next_step(&again).step, Step::Look, "it may have run and ended since");
    let asked = View { restart_tried: true, asked_to_stop: true, ..view(Want::Run, Phase::Exited) };
    assert_eq!(next_step(&asked).step, Step::Look, "it may run by now");
    assert_eq!(next_step(&View { looked: true, ..asked }).step, Step::Discard);
}

#[test]
fn what_cant_be_started_fails_once_no_start_of_it_may_take_place() {
    let failed = |want, phase| View { failed: true, ..view(want, phase) };
    for phase in [Phase::New, Phase::Prepared, Phase::Created] {
        assert_eq!(next_step(&failed(Want::Run, phase)).step, Step::ReportEnd, "{phase:?}");
    }
    let tried = View { start_tried: true, ..failed(Want::Run, Phase::Created) };
    assert_eq!(next_step(&tried).step, Step::Look);
    assert_eq!(next_step(&View { looked: true, ..tried }).step, Step::Discard);
    assert_eq!(next_step(&failed(Want::Run, Phase::Started)).step, Step::Watch, "it was started after all");
    assert_eq!(next_step(&failed(Want::Remove, Phase::Created)).step, Step::Remove);
}

#[test]
fn what_does_not_serve_is_stopped_and_its_end_is_that_of_one_nobody_asked_to_stop() {
    let unhealthy = |want, phase| View { is_unhealthy: true, ..view(want, phase) };
    for want in WANTS {
        assert_eq!(next_step(&unhealthy(want, Phase::Started)).step, Step::Stop, "{want:?}");
        for phase in PHASES.into_iter().filter(|phase| *phase != Phase::Started) {
            assert_eq!(next_step(&unhealthy(want, phase)), next_step(&view(want, phase)), "{want:?} {phase:?}");
        }
    }
    let ended = View { after_end: AfterEnd::Restart, ..unhealthy(Want::Run, Phase::Exited) };
    assert_eq!(next_step(&ended).step, Step::Restart);
}

#[test]
fn an_attempt_waits_for_the_earlier_one_to_end() {
    let waiting = View { earlier: Some(Attempt::FIRST), ..view(Want::Run, Phase::Created) };
    assert_eq!(next_step(&waiting).step, Step::Hold(Hold::Earlier(Attempt::FIRST)));
    assert_eq!(next_step(&View { earlier: None, ..waiting }).step, Step::Start);
}

#[test]
fn an_attempt_waits_for_room_that_is_taken_up_by_what_is_assigned_no_more() {
    let crowded = |want, phase| next_step(&View { is_crowded: true, ..view(want, phase) }).step;
    assert_eq!(crowded(Want::Run, Phase::Created), Step::Hold(Hold::Room));
    // What takes it up is stopped whatever else holds.
    assert_eq!(crowded(Want::Remove, Phase::Started), Step::Stop);
}

#[test]
fn what_may_be_overtaken_or_run_elsewhere_is_made_ready_and_not_begun() {
    let overtaken = |view| View { may_be_overtaken: true, ..view };
    let elsewhere = |view| View { may_run_elsewhere: true, ..view };
    for want in WANTS {
        for phase in PHASES {
            let free = view(want, phase);
            let held = |hold| match (want, phase) {
                (Want::Run, Phase::Created) => Step::Hold(hold),
                _ => next_step(&free).step,
            };
            assert_eq!(next_step(&overtaken(free)).step, held(Hold::Manager), "{want:?} {phase:?}");
            assert_eq!(next_step(&elsewhere(free)).step, held(Hold::Lease), "{want:?} {phase:?}");
            assert_eq!(next_step(&elsewhere(overtaken(free))).step, held(Hold::Manager), "{want:?} {phase:?}");
        }
    }
}

#[test]
fn an_end_is_reported_kept_or_followed_by_a_restart() {
    let steps = [AfterEnd::Report, AfterEnd::Hold, AfterEnd::Restart].map(|after_end| {
        let of = |want| next_step(&View { after_end, ..view(want, Phase::Exited) }).step;
        [of(Want::Undecided), of(Want::Run), of(Want::Stop), of(Want::Remove)]
    });
    use Step as S;
    assert_eq!(steps[0], [S::ReportEnd, S::ReportEnd, S::ReportEnd, S::Remove]);
    assert_eq!(steps[1], [S::Wait, S::Wait, S::ReportEnd, S::Remove]);
    assert_eq!(steps[2], [S::Restart, S::Restart, S::ReportEnd, S::Remove]);
    let gone = Error::NotFound { key: key() };
    assert_eq!(after_failure(Step::Restart, &gone, 1, Duration::ZERO), AfterFailure::Continue(Phase::Exited));
}

#[test]
fn a_broken_pull_is_tried_again_but_not_for_ever() {
    let broken = Error::PullFailed { image: "a".to_owned(), message: "reset".to_owned() };
    let step = Step::Prepare;
    assert_eq!(after_failure(step, &broken, 1, Duration::ZERO), AfterFailure::Retry);
    assert_eq!(after_failure(step, &broken, MAX_PULL_TRIES, Duration::ZERO), AfterFailure::Fail);
    assert_eq!(after_failure(step, &broken, 2, MAX_PULL_TIME), AfterFailure::Fail);
    let down = Error::Unavailable { action: "pull", reason: "refused".to_owned() };
    assert_eq!(after_failure(step, &down, 1000, MAX_PULL_TIME * 10), AfterFailure::Retry);
}

#[test]
fn an_instance_that_is_gone_is_not_made_anew_once_it_ran() {
    let gone = Error::NotFound { key: key() };
    assert_eq!(after_failure(Step::Watch, &gone, 1, Duration::ZERO), AfterFailure::Continue(Phase::Exited));
    assert_eq!(after_failure(Step::Start, &gone, 1, Duration::ZERO), AfterFailure::Continue(Phase::Prepared));
    let image = Error::ImageGone { image: "a".to_owned() };
    assert_eq!(after_failure(Step::Create, &image, 1, Duration::ZERO), AfterFailure::Continue(Phase::New));
    assert_eq!(after_failure(Step::Create, &image, MAX_VANISHED_TRIES, Duration::ZERO), AfterFailure::Fail);
    let ran = Error::AlreadyExited { key: key() };
    assert_eq!(after_failure(Step::Start, &ran, 1, Duration::ZERO), AfterFailure::Continue(Phase::Started));
}

fn any_view() -> impl Strategy<Value = View> {
    let (want, phase) = (prop::sample::select(WANTS.to_vec()), prop::sample::select(PHASES.to_vec()));
    let after_end = prop::sample::select(vec![AfterEnd::Report, AfterEnd::Hold, AfterEnd::Restart]);
    (want, phase, any::<[bool; 10]>(), after_end).prop_map(
        |(
            want,
            phase,
            [
                asked_to_stop,
                start_tried,
                failed,
                restart_tried,
                is_unhealthy,
                looked,
                earlier_runs,
                may_be_overtaken,
                may_run_elsewhere,
                is_crowded,
            ],
            after_end,
        )| View {
            want,
            phase,
            asked_to_stop,
            start_tried,
            failed,
            restart_tried,
            is_unhealthy,
            looked,
            earlier: earlier_runs.then_some(Attempt::FIRST),
            may_be_overtaken,
            may_run_elsewhere,
            is_crowded,
            after_end,
        },
    )
}

proptest! {
    #[test]
    fn it_comes_to_rest(start in any_view()) {
        let mut now = start;
        // A restart adds two steps, and what is looked at before or discarded two.
        for _ in 0..PHASES.len() + 5 {
            now = perform(now, next_step(&now).step);
        }
        prop_assert!(matches!(next_step(&now).step, Step::Wait | Step::Hold(_) | Step::Done), "{now:?}");
    }

    #[test]
    fn what_was_asked_to_stop_is_never_started(start in any_view()) {
        let asked = View { asked_to_stop: true, ..start };
        let step = next_step(&asked).step;
        prop_assert!(!matches!(step, Step::Prepare | Step::Create | Step::Start | Step::Restart));
    }

    /// Whatever is wanted in which order: one start at most, and none after a stop.
    #[test]
    fn it_starts_at_most_once(wants in prop::collection::vec(prop::sample::select(WANTS.to_vec()), 1..40)) {
        let mut now = view(Want::Undecided, Phase::New);
        let (mut starts, mut stopped) = (0, false);
        for want in wants {
            now.want = want;
            now.asked_to_stop |= want == Want::Stop;
            stopped |= now.asked_to_stop;
            let step = next_step(&now).step;
            if step == Step::Start {
                prop_assert!(!stopped);
                starts += 1;
            }
            now = perform(now, step);
        }
        prop_assert!(starts <= 1);
    }
}
