//! A layer that gives `ErrorInfo` to every error, also to those that tonic makes before or after a handler.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::deadline::Deadline;
use super::explain;
use super::request_body::DrainedBody;

/// Makes [`ErrorInfoService`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorInfoLayer;

impl<S> Layer<S> for ErrorInfoLayer {
    type Service = ErrorInfoService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ErrorInfoService { inner }
    }
}

/// Adds `ErrorInfo` to error statuses that have no details, and keeps to the caller's `grpc-timeout`.
#[derive(Debug, Clone)]
pub struct ErrorInfoService<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for ErrorInfoService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let timeout = answer_within(request.headers());
        if let Some(timeout) = timeout {
            request.extensions_mut().insert(Deadline::after(timeout));
        }
        let answer = self.inner.call(request.map(DrainedBody::wrap));
        Box::pin(async move {
            let mut response = match timeout {
                None => answer.await?,
                Some(timeout) => match tokio::time::timeout(timeout, answer).await {
                    Ok(answered) => answered?,
                    Err(_) => return Ok(Status::from(explain::deadline_exceeded()).into_http()),
                },
            };
            explain::add_details(response.headers_mut(), &path);
            Ok(response.map(|body| with_explained_trailers(body, path)))
        })
    }
}

/// Streams end with their status in trailers.
fn with_explained_trailers(body: Body, path: String) -> Body {
    if http_body::Body::is_end_stream(&body) {
        return body;
    }
    Body::new(body.map_frame(move |mut frame| {
        if let Some(trailers) = frame.trailers_mut() {
            explain::add_details(trailers, &path);
        }
        frame
    }))
}

/// How long the handler may take: a little less than the caller waits, so that our answer comes before tonic's own
/// timer, which sits outside of every layer and answers `CANCELLED`.
fn answer_within(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    };
    Some(timeout - (timeout / 10).min(Duration::from_millis(50)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_callers_timeout_is_read_in_every_unit() {
        let within = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            answer_within(&headers)
        };
        assert_eq!(within("2S"), Some(Duration::from_millis(1950)));
        assert_eq!(within("100m"), Some(Duration::from_millis(90)));
        assert_eq!(within("1H"), Some(Duration::from_millis(3_599_950)));
        for bad in ["", "S", "5", "123456789S", "xS", "5w"] {
            assert_eq!(within(bad), None, "{bad}");
        }
    }
}
