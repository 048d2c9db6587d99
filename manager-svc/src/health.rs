//! The loop that looks after nodes and time: judges every node's contact, ends attempts on nodes that are down, has others take
//! what a node can't begin, forgets tasks that ended long ago.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::NodeId;
use davit_core::node::NodeState;
use davit_svc_kit::clock::Clock;
use davit_svc_kit::shutdown::Shutdown;
use imbl::OrdSet;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use crate::commands::{self, Leases};
use crate::contacts::{Contacts, NextLook};
use crate::metrics;
use crate::reconcile::{Contact, Verdict, away_for, down_in, has_unbegun, in_touch_for, judge};
use crate::state::{ClusterState, Draft};
use crate::writer::{Handle, WriteError};

/// How often within a heartbeat period nodes are looked at.
const LOOKS_PER_PERIOD: u32 = 10;
/// The same while nothing can be to be said of any node. A pause of the manager is known by looks that come a period late, and a node
/// may have been silent for a period before it: with so many no node is silent for more than 2.5 of the three periods unforgiven.
const CALM_LOOKS_PER_PERIOD: u32 = 2;
/// Tasks through which a message goes until it is heard.
const HOPS: u32 = 3;
/// A way through the queue that is quicker than this met nobody in it.
const QUIET_HOP: Duration = Duration::from_millis(1);
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

impl Settings {
    fn look_period(&self) -> Duration {
        self.heartbeat_period / LOOKS_PER_PERIOD
    }
}

/// Runs until shutdown.
pub async fn run(writer: Handle, contacts: Contacts, settings: Settings, clock: Arc<dyn Clock>, shutdown: Shutdown) {
    let (mut last_look, mut nap) = (Instant::now(), Duration::ZERO);
    let mut leases = LeaseWatch::default();
    while shutdown.or_stop(next_look(&contacts, settings, last_look, nap)).await.is_some() {
        // A manager that was stopped or starved heard nobody meanwhile; that is no one's silence but its own.
        let pause = last_look.elapsed().saturating_sub(nap);
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
        let looked = look_at_due(&state, &contacts, settings, late, now);
        let lease_has_ended = leases.first_has_ended(&state, &contacts, settings.lease_duration);
        nap = nap_after(&state, &contacts, settings);
        if looked.is_empty() && !lease_has_ended && !has_work(&state, now, settings) {
            continue;
        }
        if let Err(problem @ (WriteError::NotCommitted(_) | WriteError::Overloaded { .. })) =
            look(&writer, &contacts, settings, late).await
        {
            warn!(%problem, "node health could not be written; trying again");
        }
        nap = settings.look_period();
    }
}

/// Waits until the next look is due: after the nap, or as soon as a node is doubted, though not before a look's period has passed.
async fn next_look(contacts: &Contacts, settings: Settings, last_look: Instant, nap: Duration) {
    let doubted = async {
        contacts.doubted().await;
        tokio::time::sleep_until(last_look + settings.look_period()).await;
    };
    tokio::select! {
        () = tokio::time::sleep_until(last_look + nap) => {}
        () = doubted => {}
    }
}

/// How long there need not be another look. While all nodes are in touch, and nothing waits for time to pass, there are fewer: each
/// wakes the manager, which then has nothing else to do.
fn nap_after(state: &ClusterState, contacts: &Contacts, settings: Settings) -> Duration {
    let (shortest, longest) = (settings.look_period(), settings.heartbeat_period / CALM_LOOKS_PER_PERIOD);
    let is_calm = state.suspect_node_ids().is_empty()
        && state.next_loss().is_none()
        && state.leased_down_nodes().is_empty()
        && state.first_unbegun().is_none();
    if is_calm { contacts.calm_for().map_or(longest, |calm| calm.clamp(shortest, longest)) } else { shortest }
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
            let Looked { verdicts, open_though_down, has_strangers } =
                look_at_due(draft.state(), &contacts, settings, late, draft.now());
            if has_strangers {
                contacts.retain(|node_id| draft.state().node(node_id).is_some());
            }
            let judged = verdicts.iter().map(|(node_id, _)| *node_id);
            let leased = draft.state().leased_down_nodes().iter().map(|(_, node_id)| *node_id);
            let silences = contacts.silences(leased.chain(judged.clone()));
            let to_close: Vec<NodeId> = open_though_down.into_iter().chain(judged).collect();
            let leases = Leases { duration: settings.lease_duration, silences };
            apply(draft, &verdicts, &leases, settings);
            effects.push(Box::new(move |_, state| {
                let is_down = |node_id: &NodeId| state.down_node_ids().contains(node_id);
                for session in to_close.into_iter().filter(is_down).filter_map(|node_id| contacts.session(node_id)) {
                    session.close("the node is down: register anew");
                }
            }));
            Ok(())
        })
        .await
}

/// How long what arrives takes until it is heard, while others keep this process's threads busy: it goes through their queue once
/// for its connection, once for its stream, once for its session. Whatever arrived before this began is heard when it returns, or
/// soon after. Where nobody keeps them busy the first way through tells of the others, each of which would wake a thread. (This is
/// waited for on a thread that is none of theirs, so that the way through their queue is one.)
async fn hearing_delay() -> Duration {
    let began = Instant::now();
    for _ in 0..HOPS {
        // It can't fail, unless this process is about to end.
        let _ = tokio::spawn(std::future::ready(())).await;
        if began.elapsed() < QUIET_HOP {
            return began.elapsed() * HOPS;
        }
    }
    began.elapsed()
}

/// What a look at the contacts of nodes found.
struct Looked {
    verdicts: Vec<(NodeId, Verdict)>,
    /// Nodes that are DOWN and have a session that is still open although nothing came through it. It has to end: a worker that was
    /// only paused, or cut off for a while, would otherwise go on in a session of a node that stays DOWN.
    open_though_down: Vec<NodeId>,
    /// There are contacts of nodes that may be gone.
    has_strangers: bool,
}

impl Looked {
    fn is_empty(&self) -> bool {
        self.verdicts.is_empty() && self.open_though_down.is_empty() && !self.has_strangers
    }
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
    let (mut verdicts, mut open_though_down, mut count, mut strangers) = (Vec::new(), Vec::new(), 0, 0);
    // Some have joined or are gone; who, only a look at all tells.
    if contacts.count() != state.node_count() {
        contacts.doubt_all();
    }
    contacts.note_out_of_touch(state.down_node_ids(), state.suspect_node_ids());
    contacts.each_due(|node_id, contact| {
        count += 1;
        let Some(node) = state.node(node_id) else {
            strangers += 1;
            return NextLook::Soon;
        };
        let heard_in_time = Contact { silent_for: contact.silent_for.saturating_sub(late), ..contact };
        match judge(node.state, heard_in_time, settings.heartbeat_period) {
            Some(verdict) => {
                verdicts.push((node_id, verdict));
                NextLook::Soon
            }
            // It stays DOWN, however long it is silent, until its worker registers.
            None if node.state == NodeState::Down => {
                if !contact.connected {
                    return NextLook::WhenSomethingHappens;
                }
                open_though_down.push(node_id);
                NextLook::Soon
            }
            None => match in_touch_for(contact, settings.heartbeat_period) {
                Some(stays) => NextLook::After(stays),
                // A heartbeat may come at any time.
                None if contact.connected => NextLook::Soon,
                // Nothing is heard of it before a session is opened.
                None => NextLook::After(down_in(contact, settings.heartbeat_period)),
            },
        }
    });
    state.note_visited_nodes(count);
    if contacts.count().saturating_sub(strangers) < state.node_count() {
        for node in state.nodes().filter(|node| contacts.contact(node.node_id).is_none()) {
            contacts.expect(node.node_id, settings.restart_grace, away_for(node, now));
        }
    }
    Looked { verdicts, open_though_down, has_strangers: strangers > 0 }
}

/// When something may be LOST with a node whose lease is waited for. Leases end by a clock that never jumps, which a state knows
/// nothing of.
#[derive(Debug, Default)]
struct LeaseWatch {
    /// The waits that it is about.
    waits: OrdSet<(Duration, NodeId)>,
    /// Not before this. `None`: never.
    next: Option<Instant>,
}

impl LeaseWatch {
    /// Whether the first wait may be over. Until then nothing is looked at, unless there are other waits.
    fn first_has_ended(&mut self, state: &ClusterState, contacts: &Contacts, lease_duration: Duration) -> bool {
        let (waits, now) = (state.leased_down_nodes(), Instant::now());
        let is_known = self.waits.ptr_eq(waits);
        if is_known && self.next.is_none_or(|next| now < next) {
            return false;
        }
        let silences = contacts.silences(waits.iter().map(|(_, node_id)| *node_id));
        state.note_visited_nodes(waits.len() as u64);
        let left = waits.iter().map(|(wait, node_id)| {
            // One that nobody expects yet may hold a lease, and will be expected soon.
            let silence = silences.get(node_id).copied().unwrap_or_default();
            lease_duration.saturating_add(*wait).saturating_sub(silence)
        });
        let first = left.min();
        self.next = first.and_then(|left| now.checked_add(left));
        self.waits = waits.clone();
        first.is_some_and(|left| left.is_zero())
    }
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
    commands::let_go_of_versions(draft, MAX_DELETIONS_PER_LOOK);
}

/// Whether the time of day has made something due.
fn has_work(state: &ClusterState, now: Timestamp, settings: Settings) -> bool {
    let Settings { kept_finished_tasks, finished_task_retention, event_retention, begin_timeout, .. } = settings;
    state.next_loss().is_some_and(|at| at <= now)
        || has_unbegun(state, begin_timeout, now)
        || state.loose_configs().next().is_some()
        || commands::has_expired(state, now, kept_finished_tasks, finished_task_retention, event_retention)
}

#[cfg(test)]
mod tests;
