//! Panics of what runs on a simulation's thread. Tokio catches those of tasks, so they would go unnoticed.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on every panic is taken down, by thread. The usual message is printed too.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            SEEN.with_borrow_mut(|seen| seen.push(format!("panic: {panic}")));
            usual(panic);
        }));
    });
}

/// Panics of this thread since the last call.
#[must_use]
pub fn take() -> Vec<String> {
    SEEN.take()
}
