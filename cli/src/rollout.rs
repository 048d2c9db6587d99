//! Follows a rollout until it comes to an end. A connection that breaks is gone on with: the manager tells how it stands now.

use davit_proto::v1;
use tokio::time::Instant;

use crate::client::{Manager, backoff, no_content};
use crate::error::Error;
use crate::retry::{Tries, may_pass};

/// The exit code of who followed a rollout that did not get where it was to.
const FAILED: u8 = 1;
/// The exit code of who followed a rollout that waits to be promoted.
const WAITS: u8 = 4;

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    /// The version that was followed at first.
    pub(crate) version: u32,
    /// The last word.
    pub(crate) last: v1::WatchRolloutResponse,
}

impl Ended {
    /// 0: every slot has a healthy task of the version that was followed, or of a newer one that a user wanted. 4: it waits to be
    /// promoted. 1: else.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        if self.last.deleted {
            return FAILED;
        }
        let Some(deployment) = &self.last.deployment else { return FAILED };
        let rollout = deployment.rollout.clone().unwrap_or_default();
        // What it went back to by itself is not what was wanted.
        let went_back = rollout.rollback && deployment.version > self.version;
        match rollout.state() {
            v1::RolloutState::Complete if !went_back => 0,
            v1::RolloutState::AwaitingPromotion => WAITS,
            _ => FAILED,
        }
    }
}

/// Follows a rollout and tells each step.
///
/// # Errors
/// When there is no such deployment, or the manager stays away.
pub(crate) async fn follow(
    manager: &Manager,
    deployment: &str,
    through_promotion: bool,
    mut told: impl FnMut(&v1::WatchRolloutResponse),
) -> Result<Ended, Error> {
    let mut tries = Tries::new(backoff());
    let mut first_version = None;
    let mut last: Option<v1::WatchRolloutResponse> = None;
    loop {
        let request = v1::WatchRolloutRequest { deployment: deployment.to_owned(), through_promotion };
        let broken = match manager.deployments().watch_rollout(request).await {
            Err(status) => status,
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(message)) => {
                            tries.reset();
                            let version = message.deployment.as_ref().map_or(0, |deployment| deployment.version);
                            first_version.get_or_insert(version);
                            told(&message);
                            last = Some(message);
                        }
                        Ok(None) => {
                            let last = last.ok_or_else(|| no_content("rollout"))?;
                            return Ok(Ended { version: first_version.unwrap_or(0), last });
                        }
                        Err(status) => break status,
                    }
                }
            }
        };
        match tries.next_wait(Some(&broken), Instant::now()).filter(|_| may_pass(&broken)) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(manager.error(broken)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(state: v1::RolloutState, rollback: bool, version: u32) -> Ended {
        let rollout = Some(v1::Rollout { state: state.into(), rollback, ..Default::default() });
        let deployment = Some(v1::Deployment { version, rollout, ..Default::default() });
        Ended { version: 2, last: v1::WatchRolloutResponse { deployment, ..Default::default() } }
    }

    #[test]
    fn only_what_was_wanted_is_a_success() {
        use v1::RolloutState::{AwaitingPromotion, Complete, Failed, Paused};
        assert_eq!(ended(Complete, false, 2).exit_code(), 0);
        assert_eq!(ended(Complete, true, 2).exit_code(), 0, "the rollback is what was followed");
        assert_eq!(ended(Complete, true, 3).exit_code(), 1, "it went back by itself");
        assert_eq!(ended(Complete, false, 3).exit_code(), 0, "a user wanted another one meanwhile");
        assert_eq!(ended(AwaitingPromotion, false, 2).exit_code(), 4);
        assert_eq!(ended(Paused, false, 2).exit_code(), 1);
        assert_eq!(ended(Failed, false, 2).exit_code(), 1);
        let mut gone = ended(Complete, false, 2);
        gone.last.deleted = true;
        assert_eq!(gone.exit_code(), 1);
    }
}
