//! The one clock of the lab.

use std::time::{Duration, Instant};

use anyhow::bail;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the one call site of the lab")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock now, milliseconds since the Unix epoch, UTC.
pub fn unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Asks `probe` every `pause` until it answers, at most for `limit`.
///
/// # Errors
/// When `probe` fails, or when it has not answered within `limit`; the text says what was awaited.
pub async fn poll_until<T>(
    what: &str,
    limit: Duration,
    pause: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = now() + limit;
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if now() >= deadline {
            bail!("{what}: not within {limit:?}");
        }
        tokio::time::sleep(pause).await;
    }
}
