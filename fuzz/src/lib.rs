//! What all fuzz targets share: a bound on the memory that one input may cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The most that one input may need at any moment. Fuzzers try inputs of some kilobytes, so whoever believes a length or a count
/// that is in one is found out. tonic sets aside the length that precedes a message before its bytes come, up to the most that
/// a service takes: 32 MiB, but for the scheduler.
pub const MAX_BYTES: usize = 64 << 20;
/// The same for calls of the scheduler, which takes larger messages.
pub const MAX_SCHEDULER_BYTES: usize = MAX_BYTES + davit_proto::MAX_SCHEDULER_MESSAGE_BYTES;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST_HELD: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_sub(layout.size(), Relaxed);
        note(size);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(old, layout) }
    }
}

fn note(size: usize) {
    let held = HELD.fetch_add(size, Relaxed).wrapping_add(size);
    if held > MOST_HELD.load(Relaxed) {
        MOST_HELD.store(held, Relaxed);
    }
}

/// Runs the body of a target on one input.
///
/// # Panics
/// When it needs too much memory.
pub fn bounded(max_bytes: usize, body: impl FnOnce()) {
    let before = HELD.load(Relaxed);
    MOST_HELD.store(before, Relaxed);
    body();
    let needed = MOST_HELD.load(Relaxed).saturating_sub(before);
    assert!(needed <= max_bytes, "one input needs {needed} bytes of memory");
}
