//! From the spool to the collector: in order, one at a time, for ever.
//!
//! A report leaves the spool when the collector says that it needs no keeping (`replicated`), or that it will never take
//! it (`retry: false`). Everything else is tried again, with a backoff that no fault of the collector ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firstmile_wire::{CONTENT_ENCODING, CONTENT_TYPE, REPORTS_PATH, v1};
use reqwest::header;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::answer::{read_address, read_answer, read_retry_after};
use super::counters::Counters;
use super::pipeline::Store;
use super::status::Status;
use super::upload_error::{EPOCH_CONFLICT, UploadError, ended};
use crate::clock;
use crate::config::Proxy;
use crate::enroll::{Identity, renew};
use crate::net::https::innermost;
use crate::net::proxy;
use crate::net::tls::{TlsError, collector_config};
use crate::schedule::backoff;

/// Longest wait for the collector's answer to one report.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is dropped before a NAT on the way forgets it.
const IDLE: Duration = Duration::from_secs(200);

/// Pause between two attempts to renew the certificate.
const RENEW_PAUSE_MS: i64 = 3_600_000;

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 10;

/// Sends reports.
pub(crate) struct Uploader {
    identity: Identity,
    client: reqwest::Client,
    proxy: Option<Proxy>,
    state_dir: std::path::PathBuf,
    store: Arc<Mutex<Store>>,
    status: Arc<Mutex<Status>>,
    counters: Arc<Counters>,
    kept: Arc<Notify>,
    status_changed: Arc<Notify>,
    failures: u32,
    /// Epochs given up since the last report that was taken.
    epochs_given_up: u32,
    renew_not_before_unix_ms: i64,
}

/// What an uploader shares with the rest of the program.
pub(crate) struct Shared {
    pub(crate) state_dir: std::path::PathBuf,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) kept: Arc<Notify>,
    /// Told of what `status` should show soon.
    pub(crate) status_changed: Arc<Notify>,
    pub(crate) proxy: Option<Proxy>,
}

/// What came of one turn.
enum Turn {
    Sent,
    NothingToSend,
    Wait(Duration),
}

impl Uploader {
    /// Sets the connection up; nothing is sent yet.
    ///
    /// # Errors
    /// [`TlsError`] when the identity's certificates cannot be used.
    pub(crate) fn new(identity: Identity, shared: Shared) -> Result<Self, TlsError> {
        let client = client(&identity, shared.proxy.as_ref())?;
        note_end(&identity, &shared.status);
        let Shared {
            state_dir,
            store,
            status,
            counters,
            kept,
            status_changed,
            proxy,
        } = shared;
        Ok(Self {
            identity,
            client,
            proxy,
            state_dir,
            store,
            status,
            counters,
            kept,
            status_changed,
            failures: 0,
            epochs_given_up: 0,
            renew_not_before_unix_ms: 0,
        })
    }

    /// Uploads until cancelled; then what is still there, as long as the collector takes it at once. Each change that
    /// `upheavals` tells of ends the connection, which may lead nowhere any more, and whatever waits for it.
    pub(crate) async fn run<T>(
        mut self,
        mut upheavals: watch::Receiver<T>,
        cancel: CancellationToken,
    ) {
        let mut sent = 0;
        loop {
            let turn = tokio::select! {
                () = cancel.cancelled() => break,
                Ok(()) = upheavals.changed() => {
                    self.connect_anew();
                    continue;
                }
                turn = self.turn(&mut sent) => turn,
            };
            let pause = match turn {
                Turn::Sent => continue,
                Turn::NothingToSend => None,
                Turn::Wait(pause) => Some(pause),
            };
            let kept = Arc::clone(&self.kept);
            tokio::select! {
                () = cancel.cancelled() => break,
                Ok(()) = upheavals.changed() => self.connect_anew(),
                () = kept.notified(), if pause.is_none() => {}
                () = tokio::time::sleep(pause.unwrap_or(RENEWAL_LOOK)) => {}
            }
        }
        // The caller's grace period bounds this.
        while let Turn::Sent = self.turn(&mut sent).await {}
    }

    /// Gives up the connection that is kept, and with it what a server said about when to come again.
    fn connect_anew(&mut self) {
        match client(&self.identity, self.proxy.as_ref()) {
            Ok(client) => self.client = client,
            Err(error) => warn!(%error, "connection to the collector not made anew"),
        }
    }

    async fn turn(&mut self, sent: &mut u64) -> Turn {
        self.renew_if_due().await;
        let Some((sequence, bytes)) = self.next_after(*sent).await else {
            return Turn::NothingToSend;
        };
        match self.post(bytes).await {
            Ok(ack) => {
                *sent = sequence;
                self.on_ack(&ack, sequence).await;
                Turn::Sent
            }
            Err(failure) if failure.code() == Some(EPOCH_CONFLICT) => {
                self.on_epoch_conflict(&failure, *sent).await
            }
            Err(UploadError::Refused { refusal, .. }) if !refusal.retry => {
                error!(
                    code = refusal.code,
                    message = refusal.message,
                    sequence,
                    "collector refused a report for good, dropped"
                );
                *sent = sequence;
                self.counters.rejected_reports.add(1);
                self.note_problem(Some(format!(
                    "refused ({}): {}",
                    refusal.code, refusal.message
                )));
                self.with_store(move |store| {
                    store.spool.as_mut().map(|spool| spool.remove(sequence))
                })
                .await;
                Turn::Sent
            }
            Err(failure) => Turn::Wait(self.on_failure(&failure)),
        }
    }

    /// The collector knows another report by this name: this machine was set back, or its disk was copied.
    async fn on_epoch_conflict(&mut self, failure: &UploadError, sent: u64) -> Turn {
        let counters = Arc::clone(&self.counters);
        let moved = self.with_store(move |store| {
            let spool = store.spool()?;
            let moved = spool.start_epoch(sent);
            let (kept, unusable) = (spool.len(), spool.take_unusable());
            counters.spool_dropped_reports.add(unusable);
            if moved.is_err() {
                store.spool = None; // opened anew, it goes on moving
            }
            moved.map(|()| kept)
        });
        match moved.await {
            Some(Ok(reports)) => {
                warn!(
                    reports,
                    "collector holds other reports of the same names (was this machine set back or copied?), kept ones go under a new epoch"
                );
            }
            Some(Err(error)) => warn!(%error, "new epoch not started, tried again"),
            None => {}
        }
        self.epochs_given_up = self.epochs_given_up.saturating_add(1);
        if self.epochs_given_up == 1 {
            return Turn::Sent;
        }
        Turn::Wait(self.on_failure(failure))
    }

    async fn next_after(&self, sent: u64) -> Option<(u64, Vec<u8>)> {
        let counters = Arc::clone(&self.counters);
        let found = self.with_store(move |store| {
            let spool = store.spool().ok()?;
            while let Some(sequence) = spool.first_after(sent) {
                if let Some(bytes) = spool.read(sequence) {
                    return Some((sequence, bytes));
                }
                warn!(sequence, "damaged report dropped from the spool");
                counters.spool_dropped_reports.add(1);
            }
            None
        });
        found.await.flatten()
    }

    async fn on_ack(&mut self, ack: &v1::Ack, sequence: u64) {
        if self.failures > 0 {
            info!(collector = %self.identity.collector, "collector takes reports again");
        }
        self.failures = 0;
        self.epochs_given_up = 0;
        self.note_problem(None);
        self.note_seen(&ack.seen_address);
        self.note_expected(&ack.expected_agent_version);
        let (epoch, replicated) = (ack.epoch.clone(), ack.replicated.min(sequence));
        self.with_store(move |store| {
            let spool = store
                .spool
                .as_mut()
                .filter(|spool| spool.epoch().to_bytes() == epoch)?;
            spool.free_to(replicated);
            Some(())
        })
        .await;
    }

    fn on_failure(&mut self, failure: &UploadError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.counters.upload_failures.add(1);
        let asked = match failure {
            UploadError::Overloaded { retry_after, .. }
            | UploadError::Refused { retry_after, .. } => *retry_after,
            UploadError::Unreachable { .. } | UploadError::NotACollector { .. } => None,
        };
        let pause = backoff::delay(self.failures, rand::random(), asked);
        // The first failure of a row is news, the rest is detail.
        if self.failures == 1 {
            warn!(error = %failure, "report not uploaded, kept and tried again");
        } else {
            debug!(error = %failure, failures = self.failures, ?pause, "report not uploaded");
        }
        let ended = ended(&self.identity, clock::unix_ms());
        self.note_problem(Some(ended.unwrap_or_else(|| failure.to_problem())));
        pause
    }

    fn note_problem(&self, problem: Option<String>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if problem.is_none() {
            status.last_upload_unix_ms = Some(clock::unix_ms());
        }
        status.upload_problem = problem;
        self.status_changed.notify_one();
    }

    /// Keeps the address that the collector saw; a change of it is news.
    fn note_seen(&self, bytes: &[u8]) {
        let Some(address) = read_address(bytes) else {
            return;
        };
        let shown = Some(address.to_string());
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.seen_address != shown {
            info!(%address, "the collector sees this agent at another address");
            status.seen_address = shown;
        }
    }

    fn note_expected(&self, version: &str) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.expect_version(version)
            && let Some(difference) = status.behind()
        {
            warn!(
                difference,
                "this machine's package manager has to change the agent's version"
            );
        }
    }

    /// Works on the spool on a thread that may wait for the disk.
    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Option<T> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            work(&mut store.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .ok()
    }

    async fn post(&self, bytes: Vec<u8>) -> Result<v1::Ack, UploadError> {
        let collector = || self.identity.collector.clone();
        let unreachable = |source: reqwest::Error| {
            let source = source.without_url();
            UploadError::Unreachable {
                collector: collector(),
                why: innermost(&source),
                source,
            }
        };
        let mut url = collector();
        url.set_path(REPORTS_PATH);
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::CONTENT_ENCODING, CONTENT_ENCODING)
            .body(bytes);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(source) => {
                let refusal = match &self.proxy {
                    Some(proxy) if source.is_connect() => proxy::refusal(proxy, &collector()).await,
                    Some(_) | None => None,
                };
                let mut failure = unreachable(source);
                if let (Some(refusal), UploadError::Unreachable { why, .. }) =
                    (refusal, &mut failure)
                {
                    *why = refusal.to_string();
                }
                return Err(failure);
            }
        };
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(read_retry_after);
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            answer.extend_from_slice(&chunk);
            if answer.len() > MAX_ANSWER {
                return Err(UploadError::NotACollector {
                    collector: collector(),
                    status,
                });
            }
        }
        read_answer(status, &answer, retry_after, collector())
    }

    async fn renew_if_due(&mut self) {
        let now = clock::unix_ms();
        if now < self.identity.renew_at_unix_ms() || now < self.renew_not_before_unix_ms {
            return;
        }
        self.renew_not_before_unix_ms = now.saturating_add(RENEW_PAUSE_MS);
        let renewed = match renew(&self.identity, self.proxy.clone()).await {
            Ok(renewed) => renewed,
            Err(error) => {
                warn!(%error, ends_unix_ms = self.identity.not_after_unix_ms, "certificate not renewed, tried again in an hour");
                return;
            }
        };
        match (
            renewed.save(&self.state_dir),
            client(&renewed, self.proxy.as_ref()),
        ) {
            (Ok(()), Ok(client)) => {
                info!(
                    ends_unix_ms = renewed.not_after_unix_ms,
                    "certificate renewed"
                );
                self.client = client;
                self.identity = renewed;
                let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
                status.certificate_ends_unix_ms = self.identity.not_after_unix_ms;
            }
            (Err(error), _) => warn!(%error, "renewed certificate not kept"),
            (_, Err(error)) => warn!(%error, "renewed certificate not usable"),
        }
    }
}

/// How often an idle uploader looks whether its certificate wants renewal.
const RENEWAL_LOOK: Duration = Duration::from_mins(1);

/// Says at start that the certificate has ended, where it has: no upload can succeed.
fn note_end(identity: &Identity, status: &Mutex<Status>) {
    if let Some(problem) = ended(identity, clock::unix_ms()) {
        error!(%problem, "reports are kept and not uploaded");
        status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upload_problem = Some(problem);
    }
}

fn client(identity: &Identity, proxy: Option<&Proxy>) -> Result<reqwest::Client, TlsError> {
    let config = collector_config(
        &identity.ca_pem,
        &identity.certificate_pem,
        &identity.key_pem,
    )?;
    proxy::client_builder(proxy)
        .and_then(|builder| {
            builder
                .tls_backend_preconfigured(config)
                .redirect(reqwest::redirect::Policy::none())
                .timeout(TIMEOUT)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(1)
                .https_only(true)
                .build()
        })
        .map_err(|source| TlsError::Settings {
            source: rustls::Error::General(source.to_string()),
        })
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
