//! What is on record, and on the disk, while an attempt is created and started.

use davit_core::spec::OnNodeLoss;
use parking_lot::Mutex;

use super::*;
use crate::local_store::{self, Change, Entry, Mark};

/// Notes what is written to it.
#[derive(Debug, Clone, Default)]
struct Noted(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    written: Option<Mark>,
    /// What was written by the last sync.
    synced: Option<Mark>,
    /// Nothing reaches the disk.
    is_stuck: bool,
}

impl Noted {
    fn marks(&self) -> (Option<Mark>, Option<Mark>) {
        let state = self.0.lock();
        (state.written, state.synced)
    }
}

impl Backend for Noted {
    fn blocks(&self) -> bool {
        false
    }

    fn load(&mut self) -> Result<Vec<Entry>, local_store::Error> {
        Ok(Vec::new())
    }

    fn write(&mut self, changes: Vec<Change>, sync: bool) -> Result<(), local_store::Error> {
        let mut state = self.0.lock();
        if sync && state.is_stuck {
            return Err(local_store::Error::Unusable { path: "here".into(), problem: "input/output error".to_owned() });
        }
        let mut records = changes.iter().filter_map(|(_, value)| Record::from_bytes(value.as_ref()?));
        state.written = records.next_back().map(|record| record.mark).or(state.written);
        if sync {
            state.synced = state.written;
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_on_record_before_it_is_created_and_on_the_disk_before_it_starts_if_it_must_not_run_twice() {
    for on_node_loss in [OnNodeLoss::Replace, OnNodeLoss::StopAndReplace] {
        let (engine, machine) = test_support::machine();
        let noted = Noted::default();
        let agent = start_on(&machine, Box::new(noted.clone()), Duration::from_secs(3600)).await;
        agent.begin_session(Duration::from_secs(1), None);
        let plain = assignment(1);
        let spec = TaskSpec { on_node_loss, ..TaskSpec::clone(&plain.spec) };
        let assignments = vec![Assignment { spec: spec.into(), ..plain }];
        engine.set_stuck(Step::Create, true);
        engine.set_stuck(Step::Start, true);
        agent.assign(Batch { assignments, full: true, last: true, ..Batch::default() });
        assert_eq!(calls(&engine, Step::Create).await, 1);
        assert_eq!(noted.marks(), (Some(Mark::Create), None), "{on_node_loss:?}");
        noted.0.lock().is_stuck = true;
        engine.set_stuck(Step::Create, false);
        let starts = usize::from(on_node_loss == OnNodeLoss::Replace);
        assert_eq!(calls(&engine, Step::Start).await, starts, "{on_node_loss:?}");
        assert_eq!(noted.marks().1, None);
        noted.0.lock().is_stuck = false;
        tokio::time::sleep(Duration::from_secs(10)).await;
        engine.set_stuck(Step::Start, false);
        assert_eq!(calls(&engine, Step::Start).await, 1);
        assert_eq!(noted.marks().0, Some(Mark::Start));
        if on_node_loss == OnNodeLoss::StopAndReplace {
            assert_eq!(noted.marks().1, Some(Mark::Start), "it may not run a second time, whatever is forgotten");
        }
    }
}
