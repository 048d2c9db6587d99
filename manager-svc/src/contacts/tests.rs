//! What is known of workers, and for how long.

use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use jiff::Timestamp;

use super::*;
use crate::dispatch::Delivery;

#[tokio::test(start_paused = true)]
async fn the_grace_after_a_managers_start_is_for_nodes_that_have_not_registered_yet() {
    let (contacts, node_id) = (Contacts::new(), UuidV7Source.node_id());
    contacts.expect(node_id, Duration::from_secs(10), None);
    assert_eq!(contacts.contact(node_id).unwrap().grace_left, Duration::from_secs(10));
    let session = Arc::new(Outbox::new(UuidV7Source.session_id()));
    contacts.opened(node_id, Arc::clone(&session), None);
    contacts.closed(node_id, session.session_id());
    assert_eq!(contacts.contact(node_id).unwrap().grace_left, Duration::ZERO, "if it dies now, it is as any other");
}

#[tokio::test(start_paused = true)]
async fn while_workers_wait_for_their_turn_the_grace_goes_on_but_not_for_ever() {
    let (contacts, node_id) = (Contacts::new(), UuidV7Source.node_id());
    contacts.expect(node_id, Duration::from_secs(10), None);
    let turns = contacts.registrations().take_all().await;
    let in_grace_after = async |seconds| {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            contacts.bear_with_those_who_wait();
        }
        !contacts.contact(node_id).unwrap().grace_left.is_zero()
    };
    assert!(in_grace_after(30).await && contacts.workers_wait());
    drop(turns);
    assert!(in_grace_after(4).await && contacts.workers_wait(), "it may have been refused, and comes again");
    assert!(!in_grace_after(1).await && !contacts.workers_wait());

    let session = Arc::new(Outbox::new(UuidV7Source.session_id()));
    contacts.opened(node_id, Arc::clone(&session), None);
    contacts.closed(node_id, session.session_id());
    let _turns = contacts.registrations().take_all().await;
    assert!(in_grace_after(10).await, "it broke, and waits for its turn once more");
    assert!(!in_grace_after(40).await && !contacts.workers_wait(), "someone waits over and over");
}

#[tokio::test]
async fn nothing_on_an_earlier_session_counts_from_the_moment_in_which_its_node_registers_anew() {
    let (contacts, node_id) = (Contacts::new(), UuidV7Source.node_id());
    let session = Arc::new(Outbox::new(UuidV7Source.session_id()));
    contacts.opened(node_id, Arc::clone(&session), None);
    assert!(contacts.heard(node_id, session.session_id()));
    let stats = NodeStats {
        measured_at: Timestamp::UNIX_EPOCH,
        cpu_used_millis: 0,
        memory_used_bytes: 0,
        disk_used_bytes: 0,
        load_1m: 0.0,
        running_tasks: 0,
    };
    contacts.measured(node_id, session.session_id(), stats);
    assert!(contacts.stats(node_id).is_some());
    contacts.registers(node_id);
    assert!(!contacts.heard(node_id, session.session_id()), "its lease would be renewed");
    assert_eq!(contacts.stats(node_id), None, "another worker may have measured that");
    assert!(matches!(session.next().await, Delivery::Close(_)), "it is to come again");
}
