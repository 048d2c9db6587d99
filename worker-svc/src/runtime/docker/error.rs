//! From bollard's errors to ours: what the engine refuses for good, and what may work later.

use bollard::errors::Error as Engine;

use crate::runtime::Error;

/// The engine's HTTP status, where it answered at all.
pub(super) fn status(error: &Engine) -> Option<u16> {
    match error {
        Engine::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether a container can't be created because its image is not there.
pub(super) fn is_missing_image(error: &Engine) -> bool {
    matches!(error, Engine::DockerResponseServerError { status_code: 404, message } if message.contains("No such image"))
}

/// Whether a container can't be started because its network is not there.
pub(super) fn is_missing_network(error: &Engine) -> bool {
    matches!(error, Engine::DockerResponseServerError { status_code: 404, message }
        if message.contains("network") && message.contains("not found"))
}

/// An error of a step that depends on the spec: what the engine answers is about the spec, so it is permanent.
pub(super) fn refused(action: &'static str, error: &Engine) -> Error {
    match error {
        Engine::DockerResponseServerError { status_code, message } if !is_about_the_engine(*status_code, message) => {
            Error::Rejected { action, message: message.trim().to_owned() }
        }
        other => unavailable(action, other),
    }
}

/// An error of a step that does not depend on the spec: asking again may help.
pub(super) fn unavailable(action: &'static str, error: &Engine) -> Error {
    let reason = match error {
        Engine::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        other => with_sources(other),
    };
    Error::Unavailable { action, reason }
}

/// An error of a pull. The engine answers most of them with 500, so only its words tell them apart.
pub(super) fn pull(image: &str, error: &Engine) -> Error {
    let message = match error {
        Engine::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Engine::DockerStreamError { error } => error.trim().to_owned(),
        other => return unavailable("pull", other),
    };
    if status(error) == Some(404) || is_final_for_pulls(&message) {
        Error::PullRejected { image: image.to_owned(), message }
    } else {
        Error::PullFailed { image: image.to_owned(), message }
    }
}

fn is_final_for_pulls(message: &str) -> bool {
    const FINAL: [&str; 7] = [
        "manifest unknown",
        "not found",
        "denied",
        "unauthorized",
        "no matching manifest",
        "invalid reference",
        "no basic auth credentials",
    ];
    let message = message.to_ascii_lowercase();
    FINAL.iter().any(|text| message.contains(text))
}

/// Answers that blame the engine or its machine rather than the spec.
fn is_about_the_engine(status: u16, message: &str) -> bool {
    const TEXTS: [&str; 6] = [
        "connection refused",
        "context deadline exceeded",
        "no space left on device",
        "shutting down",
        // What it has beside itself for each container has died.
        "transport is closing",
        "ttrpc: closed",
    ];
    matches!(status, 429 | 502 | 503 | 504) || (status >= 500 && TEXTS.iter().any(|text| message.contains(text)))
}

/// hyper says only "client error"; the cause is in its sources.
fn with_sources(error: &Engine) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ErrorKind;

    fn answer(status_code: u16, message: &str) -> Engine {
        Engine::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[test]
    fn what_the_engine_says_of_a_spec_is_permanent_and_quoted() {
        let error = refused("start", &answer(400, "exec: \"nope\": executable file not found in $PATH\n"));
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert_eq!(error.to_string(), "exec: \"nope\": executable file not found in $PATH");
        let taken = "driver failed programming external connectivity: port is already allocated";
        assert_eq!(refused("start", &answer(500, taken)).kind(), ErrorKind::Permanent);
    }

    #[test]
    fn what_blames_the_engine_may_be_tried_again() {
        assert_eq!(refused("create", &answer(503, "busy")).kind(), ErrorKind::Unavailable);
        assert_eq!(refused("create", &answer(500, "no space left on device")).kind(), ErrorKind::Unavailable);
        assert_eq!(refused("start", &answer(500, "ttrpc: closed: unknown")).kind(), ErrorKind::Unavailable);
        assert_eq!(refused("create", &Engine::RequestTimeoutError).kind(), ErrorKind::Unavailable);
        assert_eq!(unavailable("list", &answer(500, "odd")).kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_missing_image_is_permanent_and_a_missing_network_is_not() {
        for text in ["manifest for a:b not found: manifest unknown", "pull access denied for x"] {
            assert_eq!(pull("x", &answer(500, text)).kind(), ErrorKind::Permanent, "{text}");
        }
        for text in ["dial tcp: lookup registry.invalid: no such host", "net/http: TLS handshake timeout"] {
            assert_eq!(pull("x", &answer(500, text)).kind(), ErrorKind::Unavailable, "{text}");
        }
    }
}
