//! When a message is tried again, and when it is given up.

use std::time::Duration;

/// The first pause.
const FIRST_MS: i64 = 1_000;
/// The longest pause: a receiver that comes back is told within it.
const LONGEST_MS: i64 = 5 * 60_000;
/// The longest pause that a receiver may ask for (RFC 9110 §10.2.3).
const ASKED_MAX_MS: i64 = 60 * 60_000;

/// When to try again after `attempts` failures. `jitter` is a number from 0 to 1, drawn anew for each pause.
///
/// The pause doubles from a second to five minutes and is drawn from its upper half, so that the messages of an outage do not
/// come back together. A receiver that asks for a longer one gets it, up to an hour.
pub fn next_try(now_unix_ms: i64, attempts: u32, jitter: f64, asked: Option<Duration>) -> i64 {
    let pause = FIRST_MS
        .saturating_mul(1 << attempts.saturating_sub(1).min(20))
        .min(LONGEST_MS);
    let half = pause / 2;
    let drawn = half + scaled(half, jitter);
    let asked = asked.map_or(0, |asked| {
        i64::try_from(asked.as_millis()).unwrap_or(ASKED_MAX_MS)
    });
    now_unix_ms.saturating_add(drawn.max(asked.min(ASKED_MAX_MS)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "minutes in milliseconds times a share are far below 2^52"
)]
fn scaled(of: i64, share: f64) -> i64 {
    (of as f64 * share.clamp(0.0, 1.0)) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_and_longer_where_asked() {
        for (attempts, jitter, asked, want_ms) in [
            (1, 1.0, None, 1_000),
            (1, 0.0, None, 500),
            (2, 1.0, None, 2_000),
            (9, 1.0, None, 256_000),
            (10, 1.0, None, 300_000),
            (u32::MAX, 1.0, None, 300_000),
            (1, 1.0, Some(Duration::from_secs(30)), 30_000),
            (1, 1.0, Some(Duration::from_hours(9)), 3_600_000),
        ] {
            assert_eq!(
                next_try(0, attempts, jitter, asked),
                want_ms,
                "{attempts} {asked:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_pause_is_never_too_short_or_too_long(attempts in 0u32.., jitter in any::<f64>(), now in 0i64..1 << 50) {
            let pause = next_try(now, attempts, jitter, None) - now;
            prop_assert!((500..=300_000).contains(&pause));
        }
    }
}
