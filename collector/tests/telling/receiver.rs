//! A webhook receiver as the documentation tells one to be: it checks signature and time, and drops what it has seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::rig::now_unix_ms;

/// Nothing in these tests takes so long, however slow the machine is.
const AT_MOST: Duration = Duration::from_mins(3);

/// What it does with the next messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Take them.
    Take,
    /// Say that it is out of order.
    Refuse,
    /// Say that the message is wrong.
    RefuseForGood,
    /// Take them and never answer.
    Hang,
}

/// What it saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Requests with a good signature.
    pub(crate) tries: usize,
    /// Requests without one.
    pub(crate) forged: usize,
    /// Messages that were taken and answered.
    pub(crate) taken: usize,
    /// Messages that were taken and not answered.
    pub(crate) hung: usize,
    /// Messages that were taken before.
    pub(crate) doubles: usize,
    /// Messages that were taken, by key: their phase.
    pub(crate) messages: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn phases(&self, wanted: &str) -> usize {
        self.messages
            .values()
            .filter(|phase| *phase == wanted)
            .count()
    }
}

#[derive(Clone)]
struct Shared {
    key: &'static str,
    answer: Arc<Mutex<Answer>>,
    seen: watch::Sender<Seen>,
}

/// A running receiver; it ends with the test.
pub(crate) struct Receiver {
    port: u16,
    shared: Shared,
    _tasks: TaskTracker,
}

impl Receiver {
    pub(crate) async fn start(key: &'static str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let shared = Shared {
            key,
            answer: Arc::new(Mutex::new(Answer::Take)),
            seen: watch::channel(Seen::default()).0,
        };
        let router = Router::new()
            .route("/in", post(take))
            .with_state(shared.clone());
        let serving = async move { axum::serve(socket, router).await.unwrap() };
        let tasks = TaskTracker::new();
        tasks.spawn(serving);
        Self {
            port,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// Waits until it has seen something.
    pub(crate) async fn until(&self, is_so: impl Fn(&Seen) -> bool) {
        let mut seen = self.shared.seen.subscribe();
        let waited = tokio::time::timeout(AT_MOST, seen.wait_for(|seen| is_so(seen))).await;
        let failed = waited.is_err();
        drop(waited);
        assert!(!failed, "it did not come: {:?}", self.seen());
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = header("firstmile-signature").unwrap_or_default();
    if !is_genuine(shared.key, signature, &body) {
        shared.seen.send_modify(|seen| seen.forged += 1);
        return StatusCode::UNAUTHORIZED;
    }
    let key = header("idempotency-key").unwrap().to_owned();
    let notice: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(notice["message_id"], key.as_str());
    let phase = notice["phase"].as_str().unwrap().to_owned();
    let answer = *shared.answer.lock().unwrap();
    shared.seen.send_modify(|seen| {
        seen.tries += 1;
        if matches!(answer, Answer::Take | Answer::Hang) {
            seen.taken += usize::from(answer == Answer::Take);
            seen.hung += usize::from(answer == Answer::Hang);
            seen.doubles += usize::from(seen.messages.insert(key, phase).is_some());
        }
    });
    match answer {
        Answer::Take => StatusCode::NO_CONTENT,
        Answer::Refuse => StatusCode::SERVICE_UNAVAILABLE,
        Answer::RefuseForGood => StatusCode::UNPROCESSABLE_ENTITY,
        Answer::Hang => std::future::pending().await,
    }
}

/// What the documentation tells receivers to check.
fn is_genuine(key: &str, header: &str, body: &[u8]) -> bool {
    let part = |name: &str| {
        header
            .split(',')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let (Some(seconds), Some(hex)) = (part("t"), part("v1")) else {
        return false;
    };
    let fresh = seconds
        .parse::<i64>()
        .is_ok_and(|seconds| (now_unix_ms() / 1000 - seconds).abs() <= 300);
    let signed = [seconds.as_bytes(), b".", body].concat();
    let tag: Vec<u8> = (0..hex.len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
    fresh && ring::hmac::verify(&key, &signed, &tag).is_ok()
}
