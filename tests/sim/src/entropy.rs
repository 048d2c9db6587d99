//! Makes the randomness of the operating system a part of the seed.
//!
//! Hash maps and tokio's `select!` draw their seeds from `getrandom` in the standard library. This puts another `getrandom`
//! before libc's: on threads that run a simulation it answers from the simulation's seed, on all others from the kernel.
#![expect(unsafe_code, reason = "a C function is replaced")]

use std::cell::Cell;
use std::ffi::{c_uint, c_void};

thread_local! {
    static STREAM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's randomness follows from a seed. Call it before anything else on the thread.
pub fn seed_this_thread(seed: u64) {
    STREAM.set(Some(seed));
}

/// # Safety
/// As `getrandom(2)`: `buffer` points to `length` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let Some(seed) = STREAM.get() else {
        // SAFETY: the caller's promise is passed on.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as isize;
    };
    let mut state = seed;
    for at in 0..length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // SAFETY: `at` is below `length`.
        unsafe { buffer.cast::<u8>().add(at).write((state >> 56) as u8) };
    }
    STREAM.set(Some(state));
    length as isize
}
