//! What the statuses that tonic makes by itself mean, in the words of this API.
//!
//! Tonic tells them apart only by code and text, so the texts are matched here, and tested against a real server.

use http::HeaderMap;
use tonic::{Code, Status};

use super::status::{ApiError, ErrorKind};

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
const GRPC_DETAILS: &str = "grpc-status-details-bin";

/// Rewrites the status in headers or trailers when it is an error without details. `path` is `/package.Service/Method`.
pub(super) fn add_details(headers: &mut HeaderMap, path: &str) {
    let is_error = headers.get(GRPC_STATUS).is_some_and(|code| code != "0");
    if !is_error || headers.contains_key(GRPC_DETAILS) {
        return;
    }
    let Some(bare) = Status::from_header_map(headers) else { return };
    let full = Status::from(explain(bare.code(), bare.message(), path));
    headers.remove(GRPC_STATUS);
    headers.remove(GRPC_MESSAGE);
    if let Err(error) = full.add_header(headers) {
        tracing::warn!(path, error = error.message(), "a status does not fit a header");
    }
}

fn explain(code: Code, message: &str, path: &str) -> ApiError {
    let has = |part: &str| message.contains(part);
    let error = |kind, reason, message: String| ApiError::new(kind, reason, message);
    match code {
        Code::OutOfRange | Code::ResourceExhausted if has("message length too large") || has("size limit") => {
            error(ErrorKind::ResourceExhausted, "MESSAGE_TOO_LARGE", message.replace("Error, ", ""))
        }
        Code::Cancelled if has("Timeout expired") => deadline_exceeded(),
        Code::Unimplemented if message.is_empty() => {
            let text = format!("this server has no method `{path}`; reflection lists what it has");
            error(ErrorKind::Unimplemented, "UNKNOWN_METHOD", text).with_metadata("method", path)
        }
        Code::Unimplemented if has("compressed") => {
            error(ErrorKind::Unimplemented, "UNSUPPORTED_COMPRESSION", message.to_owned())
        }
        Code::Internal if has("failed to decode Protobuf message") || has("Unexpected EOF decoding stream") => {
            error(ErrorKind::InvalidArgument, "MALFORMED_MESSAGE", message.to_owned())
        }
        Code::Internal if has("Missing request message") => {
            error(ErrorKind::InvalidArgument, "MISSING_MESSAGE", "the request has no message".to_owned())
        }
        Code::Internal if has("protocol error") || has("Error decompressing") => {
            error(ErrorKind::Internal, "PROTOCOL_ERROR", message.to_owned())
        }
        _ => {
            let kind = ErrorKind::from_code(code);
            error(kind, kind.default_reason(), message.to_owned())
        }
    }
}

/// The caller's time was up.
pub(super) fn deadline_exceeded() -> ApiError {
    ApiError::new(ErrorKind::DeadlineExceeded, "DEADLINE_EXCEEDED", "not done within the time the caller gave")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    fn rewritten(status: &Status) -> Status {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        add_details(&mut headers, "/p.S/M");
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn every_error_gets_a_reason() {
        for (status, code, reason) in [
            (Status::unimplemented(""), Code::Unimplemented, "UNKNOWN_METHOD"),
            (Status::cancelled("Timeout expired"), Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            (Status::aborted("x"), Code::Aborted, "ABORTED"),
            (Status::unknown("x"), Code::Internal, "INTERNAL"),
            (Status::internal("failed to decode Protobuf message: x"), Code::InvalidArgument, "MALFORMED_MESSAGE"),
            (
                Status::out_of_range("Error, decoded message length too large: found"),
                Code::ResourceExhausted,
                "MESSAGE_TOO_LARGE",
            ),
        ] {
            let full = rewritten(&status);
            assert_eq!(full.code(), code, "{status:?}");
            assert_eq!(full.get_error_details().error_info().unwrap().reason, reason);
        }
    }

    #[test]
    fn details_that_are_there_stay() {
        let own = Status::from(ApiError::invalid_field("a", "b"));
        assert_eq!(rewritten(&own).details(), own.details());
        let mut fine = HeaderMap::new();
        fine.insert(GRPC_STATUS, http::HeaderValue::from_static("0"));
        add_details(&mut fine, "/p.S/M");
        assert_eq!(fine.len(), 1);
    }
}
