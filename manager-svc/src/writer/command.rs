//! A command on its way to the writer. Its caller can take it back until the writer begins it: then it is never done, and what
//! it held is free at once.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Effects;
use crate::state::Draft;
use crate::store;

/// Tells a caller how its command ended.
pub(super) type Reply = Box<dyn FnOnce(Result<(), store::Error>) + Send>;
/// What is run on the draft.
pub(super) type Command = Box<dyn FnOnce(&mut Draft, &mut Effects) -> Reply + Send>;

type Slot = Arc<Mutex<Option<Command>>>;

/// The writer's end.
pub(super) struct Entry(Slot);

/// The caller's end. Dropping it takes the command back.
pub(super) struct Ticket(Slot);

/// Both ends of a command.
pub(super) fn ticket_for(command: Command) -> (Entry, Ticket) {
    let slot = Arc::new(Mutex::new(Some(command)));
    (Entry(Arc::clone(&slot)), Ticket(slot))
}

impl Entry {
    /// Begins the command; `None` if its caller took it back.
    pub(super) fn begin(self) -> Option<Command> {
        self.0.lock().take()
    }
}

impl Ticket {
    /// Takes the command back. False when the writer has begun it: then it is done or not, but never half.
    pub(super) fn take_back(&self) -> bool {
        self.0.lock().take().is_some()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.take_back();
    }
}
