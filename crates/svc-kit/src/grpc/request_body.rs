//! What a server does with the body of each request, beside handing it to what decodes messages.
//!
//! It reads the rest of a request that was answered early. A server that answers while the client still sends must reset the
//! stream, and some clients then report the reset instead of the answer. So what a handler leaves unread is read and thrown away,
//! up to a bound.
//!
//! And it sees to it that neither the connection nor what decodes messages keeps the buffer of a large one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use super::outgrown::{LARGE_BYTES, Outgrown};

const MAX_DRAINED_BYTES: usize = 16 << 20;
const MAX_DRAIN_TIME: Duration = Duration::from_secs(2);

/// What decodes messages makes room for a whole one when it sees its header, beside what it has by then. So of a large piece it gets
/// so much first, in bytes: else it would make room for the same twice, and come to the end of it much later.
const FIRST_BYTES: usize = 64;

/// A request body that is read to its end in the background when it is dropped before.
pub(super) struct DrainedBody {
    inner: Option<Body>,
    /// The rest of a large piece.
    rest: Option<Bytes>,
    connection: Outgrown,
}

impl DrainedBody {
    pub(super) fn wrap(body: Body) -> Body {
        if body.is_end_stream() {
            body
        } else {
            Body::new(Self { inner: Some(body), rest: None, connection: Outgrown::default() })
        }
    }
}

impl HttpBody for DrainedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let Some(body) = &mut self.inner else { return Poll::Ready(None) };
        match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(mut piece) => {
                    self.connection.note(&piece);
                    self.rest = (piece.len() >= LARGE_BYTES).then(|| piece.split_off(FIRST_BYTES));
                    Frame::data(piece)
                }
                Err(trailers) => trailers,
            }))),
            end => {
                self.inner = None;
                Poll::Ready(end)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.rest.as_ref().map_or(0, |rest| rest.len() as u64);
        let inner = self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(left));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint
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
                    read += frame.data_ref().map_or(0, Bytes::len);
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

    use futures::StreamExt as _;
    use http_body_util::StreamBody;

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

    #[tokio::test]
    async fn a_large_piece_comes_in_two_and_a_small_one_as_it_is() {
        let (small, large) = (Bytes::from(vec![1; LARGE_BYTES - 1]), Bytes::from(vec![2; LARGE_BYTES]));
        let (all, watched) = ([&small[..], &large[..]].concat(), large.clone());
        let pieces = futures::stream::iter([small, large]).map(|piece| Ok::<_, Status>(Frame::data(piece)));
        let mut body = DrainedBody::wrap(Body::new(StreamBody::new(pieces)));
        let (mut lengths, mut read) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            lengths.push(piece.len());
            read.extend_from_slice(&piece);
        }
        assert_eq!(lengths, [LARGE_BYTES - 1, FIRST_BYTES, LARGE_BYTES - FIRST_BYTES]);
        assert_eq!(read, all);
        assert!(body.is_end_stream());
        assert!(!watched.is_unique(), "somebody has a hold on it, so that the connection leaves its buffer");
        drop(body);
        assert!(watched.is_unique());
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
