//! Waiting for conditions.

use std::time::Duration;

use tokio::time::Instant;

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none in time; says what was waited for and what `state` tells last.
pub async fn eventually<T, S: std::fmt::Debug>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let state = match ask().await {
            Ok(answer) => return answer,
            Err(state) => state,
        };
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}; last seen: {state:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
