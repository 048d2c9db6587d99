//! Pulls under way: each image is pulled once at a time, for all who want it then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use davit_core::spec::ImageReference;
use davit_core::task::PullProgress;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{images, pull};
use crate::runtime::{Error, ProgressSender, PulledImage};

type Outcome = Result<Option<PulledImage>, Error>;
type Work = BoxFuture<'static, Outcome>;

/// Pulls under way.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    /// By reference. A pull ends when nobody waits for it any more.
    under_way: Mutex<HashMap<String, Pull>>,
}

#[derive(Debug)]
struct Pull {
    work: WeakShared<Work>,
    progress: watch::Receiver<Option<PullProgress>>,
}

impl Pulls {
    /// Pulls an image, or waits for the pull of it that is under way. All who wait learn what it brought, or why it failed.
    pub(super) async fn run(
        &self,
        engine: &Docker,
        image: &ImageReference,
        stall_timeout: Duration,
        progress: &ProgressSender,
    ) -> Outcome {
        let (engine, wanted) = (engine.clone(), image.clone());
        let begin = move |progress: Arc<ProgressSender>| {
            let work = async move {
                let before = images::names_by_id(&engine).await;
                pull::run(&engine, &wanted, stall_timeout, &progress).await?;
                Ok(images::pulled(&engine, &wanted, before).await)
            };
            work.boxed()
        };
        self.join(image.as_str(), begin, progress).await
    }

    async fn join(
        &self,
        image: &str,
        begin: impl FnOnce(Arc<ProgressSender>) -> Work,
        progress: &ProgressSender,
    ) -> Outcome {
        let (mut work, mut seen) = self.under_way(image, begin);
        loop {
            tokio::select! {
                biased;
                Ok(()) = seen.changed() => {
                    progress.send_replace(*seen.borrow_and_update());
                }
                outcome = &mut work => {
                    progress.send_if_modified(|known| std::mem::replace(known, *seen.borrow()) != *known);
                    // Whoever comes later wants a new one.
                    self.forget_ended(image);
                    return outcome;
                }
            }
        }
    }

    fn under_way(
        &self,
        image: &str,
        begin: impl FnOnce(Arc<ProgressSender>) -> Work,
    ) -> (Shared<Work>, watch::Receiver<Option<PullProgress>>) {
        let mut under_way = self.under_way.lock();
        // What nobody waited for to the end.
        under_way.retain(|_, pull| pull.work.upgrade().is_some());
        if let Some(pull) = under_way.get(image)
            && let Some(work) = pull.work.upgrade()
            && work.peek().is_none()
        {
            let mut progress = pull.progress.clone();
            progress.mark_changed();
            return (work, progress);
        }
        let sender = Arc::new(ProgressSender::new(None));
        let progress = sender.subscribe();
        let work = begin(sender).shared();
        if let Some(weak) = work.downgrade() {
            under_way.insert(image.to_owned(), Pull { work: weak, progress: progress.clone() });
        }
        (work, progress)
    }

    fn forget_ended(&self, image: &str) {
        let mut under_way = self.under_way.lock();
        let is_ended = |pull: &Pull| pull.work.upgrade().is_none_or(|work| work.peek().is_some());
        if under_way.get(image).is_some_and(is_ended) {
            under_way.remove(image);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const DONE: PullProgress = PullProgress { downloaded_bytes: 1, total_bytes: 2, layers_done: 0, layers_total: 1 };

    /// A pull that ends when the other end is used.
    fn pull(end: oneshot::Receiver<Outcome>) -> impl FnOnce(Arc<ProgressSender>) -> Work {
        move |progress| {
            let work = async move {
                progress.send_replace(Some(DONE));
                end.await.unwrap()
            };
            work.boxed()
        }
    }

    fn never(_progress: Arc<ProgressSender>) -> Work {
        panic!("one is under way")
    }

    #[tokio::test]
    async fn all_who_want_an_image_wait_for_one_pull_of_it() {
        let pulls = Pulls::default();
        let (end, ends) = oneshot::channel();
        let progress = [(); 2].map(|()| ProgressSender::new(None));
        let mut first = Box::pin(pulls.join("a", pull(ends), &progress[0]));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(pulls.join("a", never, &progress[1]));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut first).now_or_never().is_none());
        for progress in &progress {
            assert_eq!(*progress.borrow(), Some(DONE), "how far it is, both know");
        }
        let error = Error::PullFailed { image: "a".to_owned(), message: "reset".to_owned() };
        end.send(Err(error)).unwrap();
        for outcome in [first.await, second.await] {
            assert!(matches!(outcome, Err(Error::PullFailed { .. })), "{outcome:?}");
        }
        assert!(pulls.under_way.lock().is_empty());
        let (end, ends) = oneshot::channel();
        end.send(Ok(None)).unwrap();
        assert!(pulls.join("a", pull(ends), &progress[0]).await.is_ok(), "the next one is a new one");
    }

    #[tokio::test]
    async fn a_pull_goes_on_for_who_is_left_and_ends_with_the_last() {
        let pulls = Pulls::default();
        let (mut end, ends) = oneshot::channel();
        let progress = ProgressSender::new(None);
        let mut first = Box::pin(pulls.join("a", pull(ends), &progress));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(pulls.join("a", never, &progress));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!(!end.is_closed());
        drop(second);
        end.closed().await;
        let (end, ends) = oneshot::channel();
        end.send(Ok(None)).unwrap();
        assert!(pulls.join("a", pull(ends), &progress).await.is_ok());
    }
}
