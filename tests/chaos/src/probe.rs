//! Watches the manager from outside: whether it takes changes, and which tasks it says have completed.

use std::sync::Arc;
use std::time::Duration;

use davit_proto::v1;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::Api;
use crate::ledger::Ledger;
use crate::stamp::Stamp;

/// Between two small changes.
const WRITE_PERIOD: Duration = Duration::from_millis(100);
/// Between two looks at all tasks.
const LIST_PERIOD: Duration = Duration::from_millis(500);

/// Times in which changes were not taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outages {
    times: Arc<Mutex<Vec<Outage>>>,
}

#[derive(Debug, Clone, Copy)]
struct Outage {
    /// When a change was taken again.
    end: Option<Stamp>,
}

impl Outages {
    /// When changes were taken again after an outage that lasted beyond `begin`; `None` if there was none.
    pub(crate) fn last_end(&self, begin: Stamp) -> Option<Stamp> {
        let times = self.times.lock();
        times.iter().map(|outage| outage.end.unwrap_or_else(Stamp::now)).filter(|end| *end > begin).max()
    }

    /// A change was taken then, or not.
    fn tried(&self, now: Stamp, taken: bool) {
        let mut times = self.times.lock();
        match (times.last_mut().filter(|outage| outage.end.is_none()), taken) {
            (Some(open), true) => open.end = Some(now),
            (None, false) => times.push(Outage { end: None }),
            _ => {}
        }
    }
}

/// Makes small changes to a node for ever.
pub(crate) async fn write(mut api: Api, node: String, outages: Outages) {
    for number in 0.. {
        let answer = api.write(&node, number).await;
        outages.tried(Stamp::now(), answer.is_ok());
        tokio::time::sleep(WRITE_PERIOD).await;
    }
}

/// Notes for ever which tasks have completed.
pub(crate) async fn list(mut api: Api, ledger: Arc<Mutex<Ledger>>) {
    loop {
        let next = Instant::now() + LIST_PERIOD;
        if let Ok(tasks) = api.all_tasks().await {
            let now = Stamp::now();
            let mut ledger = ledger.lock();
            for task in tasks.values() {
                note_completed(&mut ledger, task, now);
            }
        }
        tokio::time::sleep_until(next).await;
    }
}

/// What has completed stays so, in the same attempt.
fn note_completed(ledger: &mut Ledger, task: &v1::Task, now: Stamp) {
    let name = task.spec.as_ref().map_or("", |spec| spec.name.as_str());
    let state = task.status.as_ref().map_or(v1::TaskState::Unspecified, v1::TaskStatus::state);
    let Some(entry) = ledger.entry(name) else { return };
    match entry.completed_seen {
        None if state == v1::TaskState::Completed => {
            ledger.update(name, "completed", |entry| entry.completed_seen = Some((now, task.attempt)));
        }
        Some((_, attempt)) if state != v1::TaskState::Completed || task.attempt != attempt => {
            let state = state.as_str_name();
            ledger.violation(format!("{name} had COMPLETED in attempt {attempt} and is {state} in {}", task.attempt));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_the_first_refusal_to_the_next_success() {
        let outages = Outages::default();
        outages.tried(Stamp(5), true);
        assert_eq!(outages.last_end(Stamp(0)), None);
        outages.tried(Stamp(10), false);
        outages.tried(Stamp(20), false);
        outages.tried(Stamp(30), true);
        outages.tried(Stamp(40), true);
        assert_eq!(outages.times.lock().len(), 1);
        assert_eq!(outages.last_end(Stamp(12)), Some(Stamp(30)), "it may have begun before");
        assert_eq!(outages.last_end(Stamp(31)), None);
    }
}
