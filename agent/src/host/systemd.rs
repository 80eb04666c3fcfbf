//! What systemd hears of the service: it is up, it is alive, it stops (`sd_notify(3)`, `Type=notify`). Without systemd, nothing.

use tokio_util::sync::CancellationToken;

/// Says that the service is up; then, twice in each `WatchdogSec=`, that the runtime still turns; at the end, that it stops.
///
/// What hangs longer than that is ended and started again by systemd.
#[cfg(target_os = "linux")]
pub(crate) async fn keep_informed(cancel: CancellationToken) {
    use sd_notify::NotifyState;

    give_back_start();
    tell(NotifyState::Ready);
    if let Some(patience) = sd_notify::watchdog_enabled() {
        let mut ticks = tokio::time::interval(patience / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = ticks.tick() => tell(NotifyState::Watchdog),
            }
        }
    }
    cancel.cancelled().await;
    tell(NotifyState::Stopping);
}

/// Loading, relocating and reading the configuration are over when the service is up: their pages need not stay in memory.
#[cfg(target_os = "linux")]
fn give_back_start() {
    if let Err(error) = firstmile_sys::pages::give_back_clean() {
        tracing::debug!(%error, "what only the start needed stays in memory");
    }
}

/// Nobody listens elsewhere.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn keep_informed(cancel: CancellationToken) {
    cancel.cancelled().await;
}

#[cfg(target_os = "linux")]
fn tell(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
