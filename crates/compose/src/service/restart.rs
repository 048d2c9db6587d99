//! `restart` and `deploy.restart_policy`.

use crate::keys;
use crate::model::{RestartCondition, RestartPolicy};
use crate::read::{Context, Fields, Item, whole_number};

/// Reads `restart`. What `deploy` says wins, as with Docker Compose.
pub(super) fn policy(
    fields: &mut Fields,
    deploy: Option<RestartPolicy>,
    cx: &mut Context<'_>,
) -> Option<RestartPolicy> {
    let restart = fields.take("restart");
    let policy = restart.as_ref().and_then(|item| item.parsed(restart_word, cx));
    if let Some(item) = restart
        && deploy.is_some()
    {
        item.differs("`deploy.restart_policy` is there too, and wins", cx);
    }
    deploy.or(policy)
}

fn restart_word(text: &str) -> Result<RestartPolicy, String> {
    let of = |condition| RestartPolicy { condition, ..RestartPolicy::default() };
    match text {
        "no" => Ok(of(RestartCondition::Never)),
        "always" | "unless-stopped" => Ok(of(RestartCondition::Any)),
        "on-failure" => Ok(of(RestartCondition::OnFailure)),
        _ => match text.strip_prefix("on-failure:") {
            Some(times) => {
                let times = whole_number(times, u32::MAX).map_err(|error| format!("names a number that {error}"))?;
                // With the engine, 0 is no limit.
                Ok(RestartPolicy {
                    max_attempts: Some(times).filter(|&times| times > 0),
                    ..of(RestartCondition::OnFailure)
                })
            }
            None => {
                Err("is not known; write `\"no\"`, `always`, `unless-stopped`, `on-failure` or `on-failure:5`"
                    .to_owned())
            }
        },
    }
}

/// Reads `deploy.restart_policy`.
pub(super) fn deploy_policy(item: Item, cx: &mut Context<'_>) -> Option<RestartPolicy> {
    const CONDITIONS: [(&str, RestartCondition); 3] = [
        ("none", RestartCondition::Never),
        ("on-failure", RestartCondition::OnFailure),
        ("any", RestartCondition::Any),
    ];
    let mut fields = item.fields(keys::RESTART_POLICY, cx)?;
    let condition = fields.take("condition").and_then(|item| item.one_of(&CONDITIONS, cx)).unwrap_or_default();
    let delay = fields.take("delay").and_then(|item| item.duration(cx));
    let max_attempts = fields.take("max_attempts").and_then(|item| item.count(cx)).filter(|&attempts| attempts > 0);
    let window = fields.take("window").and_then(|item| item.duration(cx));
    fields.finish(cx);
    Some(RestartPolicy { condition, delay, max_attempts, window })
}
