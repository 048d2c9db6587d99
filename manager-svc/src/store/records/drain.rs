//! Drains of nodes.

use davit_core::drain::{Drain, DrainSource};
use davit_core::id::{Attempt, TaskId};
use davit_proto::store_v1;

use super::{Malformed, optional_time_from, time_from, time_to, uuid_from};

pub(super) fn drain_to_record(drain: &Drain) -> store_v1::DrainRecord {
    let Drain {
        source,
        started_at,
        deadline,
        max_parallel,
        moving,
        moved_count,
        forced_count,
        lost_count,
        stuck,
        stuck_count,
        drained_at,
    } = drain;
    let id = |task_id: &TaskId| task_id.0.as_bytes().to_vec();
    let moving = moving.iter();
    let stuck = stuck.iter();
    store_v1::DrainRecord {
        by_worker: matches!(source, DrainSource::Worker { .. }),
        cordoned_before: matches!(source, DrainSource::Worker { cordoned_before: true }),
        start_time: Some(time_to(*started_at)),
        deadline: deadline.map(time_to),
        max_parallel: *max_parallel,
        moving: moving
            .map(|(task_id, attempt)| store_v1::MovingTaskRecord { task_id: id(task_id), attempt: attempt.0 })
            .collect(),
        moved_count: *moved_count,
        forced_count: *forced_count,
        lost_count: *lost_count,
        stuck: stuck
            .map(|(task_id, reason)| store_v1::StuckTaskRecord { task_id: id(task_id), reason: reason.clone() })
            .collect(),
        stuck_count: *stuck_count,
        drained_time: drained_at.map(time_to),
    }
}

pub(super) fn drain_from_record(record: store_v1::DrainRecord) -> Result<Drain, Malformed> {
    let source = match record.by_worker {
        true => DrainSource::Worker { cordoned_before: record.cordoned_before },
        false => DrainSource::User,
    };
    let moving = |moving: store_v1::MovingTaskRecord| {
        Ok::<_, Malformed>((TaskId(uuid_from(&moving.task_id, "drain.moving.task_id")?), Attempt(moving.attempt)))
    };
    let stuck = |stuck: store_v1::StuckTaskRecord| {
        Ok::<_, Malformed>((TaskId(uuid_from(&stuck.task_id, "drain.stuck.task_id")?), stuck.reason))
    };
    Ok(Drain {
        source,
        started_at: time_from(record.start_time, "drain.start_time")?,
        deadline: optional_time_from(record.deadline, "drain.deadline")?,
        max_parallel: record.max_parallel,
        moving: record.moving.into_iter().map(moving).collect::<Result<_, _>>()?,
        moved_count: record.moved_count,
        forced_count: record.forced_count,
        lost_count: record.lost_count,
        stuck: record.stuck.into_iter().map(stuck).collect::<Result<_, _>>()?,
        stuck_count: record.stuck_count,
        drained_at: optional_time_from(record.drained_time, "drain.drained_time")?,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_drain_is_read_as_it_was_written() {
        let now = Timestamp::UNIX_EPOCH;
        let task_id = TaskId(Uuid::from_u128(7));
        for source in [
            DrainSource::User,
            DrainSource::Worker { cordoned_before: true },
            DrainSource::Worker { cordoned_before: false },
        ] {
            let drain = Drain {
                source,
                started_at: now,
                deadline: Some(now),
                max_parallel: 1,
                moving: [(task_id, Attempt(2))].into(),
                moved_count: 3,
                forced_count: 4,
                lost_count: 5,
                stuck: [(task_id, "full".to_owned())].into(),
                stuck_count: 6,
                drained_at: Some(now),
            };
            assert_eq!(drain_from_record(drain_to_record(&drain)), Ok(drain));
        }
    }
}
