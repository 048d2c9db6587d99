//! What specs say of configs and secrets, and what workers are given of them.

use std::collections::BTreeMap;

use davit_core::file::{ConfigName, FileContent, FileDigest};
use davit_core::spec::{RuntimeSpec, TaskSpec};
use davit_core::validate::Violations;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, ErrorKind};

use crate::state::ClusterState;

/// Writes the newest version where a spec names none, and notes what is not there. `coming`: what comes with the request, and goes
/// before what is there.
pub(super) fn resolve_files(
    state: &ClusterState,
    coming: &BTreeMap<ConfigName, FileDigest>,
    spec: &mut TaskSpec,
    path: &str,
    violations: &mut Violations,
) {
    let RuntimeSpec::Container(container) = &mut spec.runtime else { return };
    for (index, grant) in container.files.iter_mut().enumerate() {
        let at = |field: &str| format!("{path}container.files[{index}].{field}");
        if let Some(digest) = coming.get(&grant.config) {
            grant.digest.get_or_insert(*digest);
            continue;
        }
        // Whoever names a version of one that is being deleted may have it already, and keep it.
        let known = state.config(&grant.config).filter(|known| !known.is_deleted || grant.digest.is_some());
        let Some(known) = known else {
            violations.add(at("name"), format!("there is no {}", grant.config));
            continue;
        };
        match grant.digest {
            Some(digest) if !known.has(digest) => {
                violations.add(at("digest"), format!("{} has no version {digest}", grant.config));
            }
            Some(_) => {}
            None => grant.digest = known.newest().map(|newest| newest.digest),
        }
    }
}

/// What a worker asks for, if an attempt that is on its node needs it.
pub(super) fn file_for_worker(state: &ClusterState, request: &v1::FetchFileRequest) -> Result<FileContent, ApiError> {
    let mut violations = Violations::new();
    let node_id = convert::parse_node_id(&request.node_id, "node_id", &mut violations);
    let attempt = convert::required(request.attempt.as_ref(), "attempt", &mut violations)
        .and_then(|attempt| convert::attempt_ref_from_proto(attempt, "attempt", &mut violations));
    let digest = violations.check("digest", request.digest.parse::<FileDigest>());
    let asked = node_id.zip(attempt).zip(digest);
    let ((node_id, key), digest) = violations.finish(asked)?;
    let is_needed = state.task(key.task_id).is_some_and(|task| {
        let is_its = task.key() == key && task.status.node_id == Some(node_id) && !task.is_finished();
        is_its && task.spec.files().iter().any(|grant| grant.digest == Some(digest))
    });
    let content = state.content(digest).filter(|_| is_needed).cloned();
    content.ok_or_else(|| {
        let message = format!("attempt {key} of node {node_id} needs no content {digest}, or it is gone");
        ApiError::new(ErrorKind::NotFound, "CONTENT_NOT_FOUND", message).with_resource("content", digest.to_string())
    })
}
