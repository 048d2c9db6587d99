//! Threads of their own for loops that compute a lot: in a runtime whose threads have all to do, everything waits in one queue.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// A third of the share that a thread gets otherwise, where there are more threads to run than cores.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Runs a future on a thread of its own: it neither waits behind other tasks nor holds them up. Only its timers are those of this
/// runtime, and as late as its threads are busy. In a runtime of a single thread, whose user wants one thing to happen after the
/// other, it is a task as any other.
///
/// It can't be aborted: it has to end by itself when it is told to, or when those it serves are gone.
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let runtime = Handle::current();
    match runtime.runtime_flavor() {
        RuntimeFlavor::CurrentThread => tokio::spawn(work),
        _ => tokio::task::spawn_blocking(move || {
            give_way();
            runtime.block_on(work)
        }),
    }
}

/// Lets other threads go before this one and those that it starts: what computes a lot must not keep heartbeats waiting. A kernel
/// that does not allow it, or can't do it for one thread, leaves things as they are.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_apart_goes_on_while_the_threads_of_the_runtime_have_all_to_do() {
        let (done_to, done) = std::sync::mpsc::channel();
        let (begin, begun) = tokio::sync::oneshot::channel::<()>();
        let apart = spawn(async move {
            begun.await.unwrap();
            done_to.send(()).unwrap();
        });
        let busy = tokio::spawn(async move {
            begin.send(()).unwrap();
            done.recv_timeout(std::time::Duration::from_secs(60))
        });
        busy.await.unwrap().unwrap();
        apart.await.unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_gives_way_is_alone_with_that_but_for_those_that_it_starts() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        std::thread::spawn(move || {
            give_way();
            assert_eq!(niceness(), NICENESS.max(before));
            assert_eq!(std::thread::spawn(niceness).join().unwrap(), niceness());
        })
        .join()
        .unwrap();
        assert_eq!(niceness(), before);
    }

    #[tokio::test]
    async fn in_a_runtime_of_one_thread_it_is_a_task() {
        let here = std::thread::current().id();
        assert_eq!(spawn(async { std::thread::current().id() }).await.unwrap(), here);
    }
}
