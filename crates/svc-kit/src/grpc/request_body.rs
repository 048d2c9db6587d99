//! Reading the rest of a request that was answered early.
//!
//! A server that answers while the client still sends must reset the stream, and some clients then report the reset
//! instead of the answer. So what a handler leaves unread is read and thrown away, up to a bound.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;

const MAX_DRAINED_BYTES: usize = 16 << 20;
const MAX_DRAIN_TIME: Duration = Duration::from_secs(2);

/// A request body that is read to its end in the background when it is dropped before.
pub(super) struct DrainedBody {
    inner: Option<Body>,
}

impl DrainedBody {
    pub(super) fn wrap(body: Body) -> Body {
        if body.is_end_stream() { body } else { Body::new(Self { inner: Some(body) }) }
    }
}

impl HttpBody for DrainedBody {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(body) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.inner = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for DrainedBody {
    fn drop(&mut self) {
        let Some(mut body) = self.inner.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let drain = async {
                let mut read = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    read += frame.data_ref().map_or(0, tonic::codegen::Bytes::len);
                    if read > MAX_DRAINED_BYTES {
                        break;
                    }
                }
            };
            // Whoever sends more, or more slowly, sees the reset.
            let _ = tokio::time::timeout(MAX_DRAIN_TIME, drain).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tonic::codegen::Bytes;

    use super::*;

    const FRAME: usize = 1 << 20;

    /// A client that sends so many frames and then nothing, without an end. Its body is gone when the other `Arc` is alone.
    struct Sends {
        frames: usize,
        taken: Arc<AtomicUsize>,
    }

    impl HttpBody for Sends {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
            if self.taken.load(Ordering::SeqCst) == self.frames {
                return Poll::Pending;
            }
            self.taken.fetch_add(1, Ordering::SeqCst);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; FRAME])))))
        }
    }

    /// How many frames are read of a request that is answered before any was.
    async fn taken_of(frames: usize) -> (usize, Duration) {
        let taken = Arc::new(AtomicUsize::new(0));
        let began = tokio::time::Instant::now();
        drop(DrainedBody::wrap(Body::new(Sends { frames, taken: Arc::clone(&taken) })));
        while Arc::strong_count(&taken) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (taken.load(Ordering::SeqCst), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_request_is_read_up_to_a_bound_of_bytes_and_of_time() {
        let (taken, took) = taken_of(usize::MAX).await;
        assert_eq!(taken * FRAME, MAX_DRAINED_BYTES + FRAME);
        assert!(took < MAX_DRAIN_TIME);
        let (taken, took) = taken_of(3).await;
        assert_eq!(taken, 3);
        assert!(took >= MAX_DRAIN_TIME && took < MAX_DRAIN_TIME * 2, "{took:?}");
    }
}
