//! Empties the outbox: one task for each channel, messages in order, one at a time.
//!
//! A message is sent at least once. The state is written after the receiver took it, so a collector that dies in between sends it again,
//! under the same identity. A channel that fails keeps its own messages waiting and nobody else's.

use std::sync::Arc;
use std::time::Duration;

use firstmile_wire::ids::OrganisationId;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::channel::Sender;
use super::core::retry::next_try;
use crate::ingest::refusal::with_sources;
use crate::store::notifying::{Attempt, Letter};
use crate::store::{Store, StoreResult};

/// How often an idle channel looks for messages.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The task of one channel.
pub struct Carrier {
    /// Name of the channel.
    pub channel: String,
    /// How it speaks.
    pub sender: Sender,
    /// Where the messages are.
    pub store: Arc<dyn Store>,
    /// How long a message is tried.
    pub keep: Duration,
    /// The wall clock.
    pub now_unix_ms: fn() -> i64,
}

impl Carrier {
    /// Sends until cancelled. A try that is under way is ended with it and done again after the next start.
    pub async fn run(self, cancel: CancellationToken) {
        let mut failing = false;
        loop {
            let sent = tokio::select! {
                () = cancel.cancelled() => return,
                sent = self.send_due() => sent,
            };
            match sent {
                // There may be more.
                Ok(true) => {
                    failing = false;
                    continue;
                }
                Ok(false) => failing = false,
                Err(failure) if !failing => {
                    failing = true;
                    error!(
                        channel = self.channel,
                        error = with_sources(&failure),
                        "the outbox cannot be read or written; tried again"
                    );
                }
                Err(_) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Sends the next message of each organisation that is due. False: none was.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn send_due(&self) -> StoreResult<bool> {
        let mut any = false;
        for organisation in self.store.organisations().await? {
            let letter = self.store.next_letter(&organisation, &self.channel).await?;
            let now_unix_ms = (self.now_unix_ms)();
            let Some(letter) = letter else { continue };
            if self.is_too_old(&letter, now_unix_ms) {
                // News of yesterday is none, tried or not: those behind it may be as old.
                self.give_old_ones_up(&organisation, now_unix_ms).await?;
                any = true;
            } else if letter.due_unix_ms <= now_unix_ms {
                self.carry(&organisation, &letter, now_unix_ms).await?;
                any = true;
            }
        }
        Ok(any)
    }

    fn keep_ms(&self) -> i64 {
        i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX)
    }

    fn is_too_old(&self, letter: &Letter, now_unix_ms: i64) -> bool {
        now_unix_ms.saturating_sub(letter.created_unix_ms) > self.keep_ms()
    }

    async fn give_old_ones_up(
        &self,
        organisation: &OrganisationId,
        now_unix_ms: i64,
    ) -> StoreResult<()> {
        let before = now_unix_ms.saturating_sub(self.keep_ms());
        let given_up = self
            .store
            .give_up_letters(organisation, &self.channel, before, now_unix_ms)
            .await?;
        warn!(
            channel = self.channel,
            messages = given_up,
            keep = ?self.keep,
            "gave messages up that waited longer than they are kept"
        );
        Ok(())
    }

    async fn carry(
        &self,
        organisation: &OrganisationId,
        letter: &Letter,
        now_unix_ms: i64,
    ) -> StoreResult<()> {
        let notice = &letter.notice;
        let outcome = self.sender.send(notice, now_unix_ms).await;
        let after_unix_ms = (self.now_unix_ms)();
        let attempt = match outcome {
            Ok(said) => {
                info!(
                    channel = self.channel,
                    incident = notice.incident_id,
                    phase = notice.phase.as_str(),
                    said,
                    "told"
                );
                Attempt::Delivered
            }
            Err(failure) => {
                let error = with_sources(&failure);
                let too_old = self.is_too_old(letter, after_unix_ms);
                if failure.is_for_good(letter.attempts + 1) || too_old {
                    warn!(
                        channel = self.channel,
                        incident = notice.incident_id,
                        error,
                        attempts = letter.attempts + 1,
                        "gave a message up"
                    );
                    Attempt::GivenUp { error }
                } else {
                    let attempts = letter.attempts + 1;
                    let jitter = rand::random::<f64>();
                    let asked = failure.retry_after();
                    Attempt::Failed {
                        error,
                        due_unix_ms: next_try(after_unix_ms, attempts, jitter, asked),
                    }
                }
            }
        };
        self.store
            .settle(organisation, letter.number, after_unix_ms, attempt)
            .await
    }
}
