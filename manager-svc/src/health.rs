//! The loop that looks after nodes and time: judges every node's contact, ends attempts on nodes that are down, has others take
//! what a node can't begin, forgets tasks that ended long ago.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::NodeId;
use davit_svc_kit::clock::Clock;
use davit_svc_kit::shutdown::Shutdown;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use crate::commands::{self, Leases};
use crate::contacts::Contacts;
use crate::dispatch::Outbox;
use crate::metrics;
use crate::reconcile::{Contact, Verdict, away_for, in_touch_for, judge, unbegun};
use crate::state::{ClusterState, Draft};
use crate::writer::{Handle, WriteError};

/// How often within a heartbeat period nodes are looked at.
const LOOKS_PER_PERIOD: u32 = 10;
/// Tasks through which a message goes until it is heard.
const HOPS: u32 = 3;
/// How many ended tasks one look deletes at most.
const MAX_DELETIONS_PER_LOOK: usize = 1_000;

/// How many events one look drops at most.
const MAX_COMPACTIONS_PER_LOOK: usize = 10_000;

/// What the loop goes by.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How often workers send heartbeats.
    pub heartbeat_period: Duration,
    /// How many ended tasks are kept.
    pub kept_finished_tasks: usize,
    /// How long ended tasks are kept.
    pub finished_task_retention: Duration,
    /// How long a lease of a node lasts from the last heartbeat that was acknowledged.
    pub lease_duration: Duration,
    /// How long workers get to register anew after the manager's start, before their nodes are called DOWN.
    pub restart_grace: Duration,
    /// How long a node may be unable to begin what it was given, before that goes elsewhere.
    pub begin_timeout: Duration,
    /// How long events are kept.
    pub event_retention: Duration,
}

/// Runs until shutdown.
pub async fn run(writer: Handle, contacts: Contacts, settings: Settings, clock: Arc<dyn Clock>, shutdown: Shutdown) {
    let look_period = settings.heartbeat_period / LOOKS_PER_PERIOD;
    let mut ticks = tokio::time::interval(look_period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last_look = Instant::now();
    while shutdown.or_stop(ticks.tick()).await.is_some() {
        // A manager that was stopped or starved heard nobody meanwhile; that is no one's silence but its own.
        let pause = last_look.elapsed().saturating_sub(look_period);
        if pause >= settings.heartbeat_period {
            warn!(pause_ms = pause.as_millis(), "this manager did not run for a while; nodes get that time");
            contacts.forgive(pause);
        }
        last_look = Instant::now();
        contacts.bear_with_those_who_wait();
        let state = writer.state();
        metrics::cluster(&state);
        let now = clock.now();
        let late = hearing_delay().await;
        contacts.heard_late_by(late);
        let Looked { verdicts, has_strangers } = look_at_due(&state, &contacts, settings, late, now);
        let is_idle = verdicts.is_empty()
            && !has_strangers
            && sessions_of_down_nodes(&state, &contacts).is_empty()
            && !has_work(&state, now, settings);
        if is_idle {
            continue;
        }
        if let Err(problem @ (WriteError::NotCommitted(_) | WriteError::Overloaded { .. })) =
            look(&writer, &contacts, settings, late).await
        {
            warn!(%problem, "node health could not be written; trying again");
        }
    }
}

/// Judges once more, in the writer's turn: a node that registers meanwhile must not be called down.
pub(crate) async fn look(
    writer: &Handle,
    contacts: &Contacts,
    settings: Settings,
    late: Duration,
) -> Result<(), WriteError<Infallible>> {
    let contacts = contacts.clone();
    writer
        .write_with_effects(move |draft, effects| {
            let Looked { verdicts, has_strangers } = look_at_due(draft.state(), &contacts, settings, late, draft.now());
            if has_strangers {
                contacts.retain(|node_id| draft.state().node(node_id).is_some());
            }
            let down = draft.state().down_nodes().map(|node| node.node_id);
            let silences = contacts.silences(down.chain(verdicts.iter().map(|(node_id, _)| *node_id)));
            let leases = Leases { duration: settings.lease_duration, silences };
            apply(draft, &verdicts, &leases, settings);
            effects.push(Box::new(move |_, state| {
                for session in sessions_of_down_nodes(state, &contacts) {
                    session.close("the node is down: register anew");
                }
            }));
            Ok(())
        })
        .await
}

/// How long what arrives takes until it is heard, while others keep this process's threads busy: it goes through their queue once
/// for its connection, once for its stream, once for its session. Whatever arrived before this began is heard when it returns, or
/// soon after.
async fn hearing_delay() -> Duration {
    let began = Instant::now();
    for _ in 0..HOPS {
        // It can't fail, unless this process is about to end.
        let _ = tokio::spawn(std::future::ready(())).await;
    }
    began.elapsed()
}

/// What a look at the contacts of nodes found.
struct Looked {
    verdicts: Vec<(NodeId, Verdict)>,
    /// There are contacts of nodes that may be gone.
    has_strangers: bool,
}

/// Looks at nodes that may be in another state than they should be: of those that are in touch nothing is to be said until they
/// were silent for long. `late`: what arrived since may not have been heard yet, which is no node's silence.
fn look_at_due(
    state: &ClusterState,
    contacts: &Contacts,
    settings: Settings,
    late: Duration,
    now: Timestamp,
) -> Looked {
    let (mut verdicts, mut count, mut strangers) = (Vec::new(), 0, 0);
    // Some have joined or are gone; who, only a look at all tells.
    if contacts.count() != state.node_count() {
        contacts.doubt_all();
    }
    contacts.doubt(state.suspect_nodes().map(|node| node.node_id));
    contacts.each_due(|node_id, contact| {
        count += 1;
        let Some(node) = state.node(node_id) else {
            strangers += 1;
            return None;
        };
        let heard_in_time = Contact { silent_for: contact.silent_for.saturating_sub(late), ..contact };
        match judge(node.state, heard_in_time, settings.heartbeat_period) {
            Some(verdict) => {
                verdicts.push((node_id, verdict));
                None
            }
            None => in_touch_for(contact, settings.heartbeat_period),
        }
    });
    state.note_visited_nodes(count);
    if contacts.count().saturating_sub(strangers) < state.node_count() {
        for node in state.nodes().filter(|node| contacts.contact(node.node_id).is_none()) {
            contacts.expect(node.node_id, settings.restart_grace, away_for(node, now));
        }
    }
    Looked { verdicts, has_strangers: strangers > 0 }
}

/// Sessions that are still open although nothing came through them. They have to end: a worker that was only paused, or cut
/// off for a while, would otherwise go on in a session of a node that stays down.
fn sessions_of_down_nodes(state: &ClusterState, contacts: &Contacts) -> Vec<Arc<Outbox>> {
    state.down_nodes().filter_map(|node| contacts.session(node.node_id)).collect()
}

fn apply(draft: &mut Draft, verdicts: &[(NodeId, Verdict)], leases: &Leases, settings: Settings) {
    for (node_id, verdict) in verdicts {
        commands::set_node_state(draft, *node_id, verdict.state, &verdict.reason);
    }
    commands::lose_tasks_of_down_nodes(draft, leases);
    commands::replace_unbegun(draft, settings.begin_timeout);
    commands::remove_finished(
        draft,
        settings.kept_finished_tasks,
        settings.finished_task_retention,
        MAX_DELETIONS_PER_LOOK,
    );
    commands::compact_events(draft, settings.event_retention, MAX_COMPACTIONS_PER_LOOK);
}

/// Whether time alone has made something due, or may have on a node that is down.
fn has_work(state: &ClusterState, now: Timestamp, settings: Settings) -> bool {
    let down_with_tasks = state.down_nodes().any(|node| state.tasks_on(node.node_id).next().is_some());
    let Settings { kept_finished_tasks, finished_task_retention, event_retention, begin_timeout, .. } = settings;
    down_with_tasks
        || unbegun(state, begin_timeout, now).next().is_some()
        || commands::has_expired(state, now, kept_finished_tasks, finished_task_retention, event_retention)
}

#[cfg(test)]
mod tests;
