//! What the checks read from the collector's JSON API.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A span that holds all that a lab ever measures.
const LAB_MS: i64 = 6 * 3_600_000;

/// A client of the API.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    client: reqwest::Client,
}

/// An agent.
#[derive(Clone, Debug, Deserialize)]
pub struct Agent {
    /// Identity.
    pub agent_id: String,
    /// Its site.
    pub site: Site,
    /// `reporting`, `silent`, `waiting`.
    pub state: String,
    /// What it measures.
    pub targets: Vec<Target>,
}

/// A site.
#[derive(Clone, Debug, Deserialize)]
pub struct Site {
    /// Name.
    pub name: String,
}

/// A target of an agent.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// Name.
    pub name: String,
    /// `learning`, `stable`, `suspect`, `shifted`, `blind`.
    pub path_state: String,
}

/// Figures of a set of samples.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Figures {
    /// Probes.
    pub n: u64,
    /// Lost over all.
    pub loss_ratio: Option<f64>,
    /// Median RTT.
    pub p50_us: Option<u64>,
    /// RTT that 99 of 100 stayed below.
    pub p99_us: Option<u64>,
}

/// Latency over time.
#[derive(Clone, Debug, Deserialize)]
pub struct Latency {
    /// All of the window.
    pub total: Figures,
}

/// The path of an agent to a target.
#[derive(Clone, Debug, Deserialize)]
pub struct Path {
    /// Where the flows went.
    pub destination: String,
    /// By TTL.
    pub hops: Vec<Hop>,
}

/// All that answered at one TTL.
#[derive(Clone, Debug, Deserialize)]
pub struct Hop {
    /// TTL.
    pub ttl: u32,
    /// Routers.
    pub nodes: Vec<Node>,
}

/// A router.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// Its address.
    pub address: Option<String>,
}

/// A flagged shift.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Identity.
    pub event_id: String,
    /// `geo`, `local`, `provider` and others.
    pub class: String,
    /// Site of the agent.
    pub site_name: String,
    /// Target.
    pub target: String,
    /// One sentence.
    pub text: String,
    /// `event` or `possible`.
    pub status: String,
    /// Last moment on the old path.
    pub last_good_unix_ms: i64,
    /// First moment on the new path.
    pub first_novel_unix_ms: i64,
    /// Start of the round at which it was decided.
    pub detected_unix_ms: i64,
    /// When it ended; absent while open.
    #[serde(default)]
    pub ended_unix_ms: Option<i64>,
    /// Share of such claims that come true.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// Whether it lasted two minutes at most.
    #[serde(default)]
    pub brief: bool,
}

/// Whether a class claims that a path moved. A level of latency or loss rises truly on a machine that is busy, and is no claim of
/// a move.
fn is_of_a_move(class: &str) -> bool {
    let others = [
        "latency",
        "congestion",
        "loss",
        "ipdv",
        "return_path_suspected",
        "site_silent",
    ];
    !others.contains(&class)
}

#[derive(Clone, Debug, Deserialize)]
struct Incident {
    incident_id: String,
    class: String,
}

impl Api {
    /// A client of the API at `base`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// When the TLS provider or the name resolver of the machine is unusable.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .build();
        Ok(Self {
            base: format!("{base}/api/v1"),
            client: client.context("cannot make an HTTP client")?,
        })
    }

    /// All agents.
    ///
    /// # Errors
    /// When the API does not answer, or not as expected.
    pub async fn agents(&self) -> anyhow::Result<Vec<Agent>> {
        self.fetch("agents", &[]).await
    }

    /// Events of the last day, newest first.
    ///
    /// # Errors
    /// When the API does not answer, or not as expected.
    pub async fn events(&self) -> anyhow::Result<Vec<Event>> {
        self.fetch("events", &[("window", "1d")]).await
    }

    /// Of [`Api::events`], those that claim that a path moved.
    ///
    /// # Errors
    /// When the API does not answer, or not as expected.
    pub async fn moves(&self) -> anyhow::Result<Vec<Event>> {
        let mut events = self.events().await?;
        events.retain(|event| is_of_a_move(&event.class));
        Ok(events)
    }

    /// Identities of the incidents that go on and claim that paths moved.
    ///
    /// # Errors
    /// When the API does not answer, or not as expected.
    pub async fn open_incidents(&self) -> anyhow::Result<Vec<String>> {
        let query = [("window", "1d"), ("state", "open")];
        let incidents: Vec<Incident> = self.fetch("incidents", &query).await?;
        let moves = (incidents.into_iter()).filter(|incident| is_of_a_move(&incident.class));
        Ok(moves.map(|incident| incident.incident_id).collect())
    }

    /// Events of the last hour that claim that a path moved, newest first.
    ///
    /// # Errors
    /// When the API does not answer, or not as expected.
    pub async fn moves_of_the_hour(&self) -> anyhow::Result<Vec<Event>> {
        let mut events: Vec<Event> = self.fetch("events", &[("window", "1h")]).await?;
        events.retain(|event| is_of_a_move(&event.class));
        Ok(events)
    }

    /// The figures of an agent's target in the last 15 minutes.
    ///
    /// # Errors
    /// When the API does not answer, or not as expected.
    pub async fn figures(
        &self,
        agent: &str,
        target: &str,
        protocol: &str,
    ) -> anyhow::Result<Figures> {
        let scope = format!("agent:{agent}");
        let query = [
            ("scope", scope.as_str()),
            ("window", "15m"),
            ("protocol", protocol),
            ("phase", "rtt"),
            ("target", target),
        ];
        Ok(self.fetch::<Latency>("latency", &query).await?.total)
    }

    /// How many probes an agent sent before `to_unix_ms`, to all targets.
    ///
    /// # Errors
    /// When the API does not answer, or not as expected.
    pub async fn count(
        &self,
        agent: &str,
        protocol: &str,
        phase: &str,
        to_unix_ms: i64,
    ) -> anyhow::Result<u64> {
        let scope = format!("agent:{agent}");
        let from = (to_unix_ms - LAB_MS).to_string();
        let to = to_unix_ms.to_string();
        let query = [
            ("scope", scope.as_str()),
            ("from", &from),
            ("to", &to),
            ("protocol", protocol),
            ("phase", phase),
        ];
        Ok(self.fetch::<Latency>("latency", &query).await?.total.n)
    }

    /// The current path of an agent to a target; none before the first round.
    ///
    /// # Errors
    /// When the API does not answer, or not as expected.
    pub async fn path(&self, agent: &str, target: &str) -> anyhow::Result<Path> {
        self.fetch(&format!("agents/{agent}/path"), &[("target", target)])
            .await
    }

    async fn fetch<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        let what = format!("{}/{path}", self.base);
        let url = reqwest::Url::parse_with_params(&what, query)
            .with_context(|| format!("{what} is no URL"))?;
        let response = self
            .client
            .get(url)
            .send()
            .await
            .with_context(|| format!("{what} does not answer"))?;
        let status = response.status();
        let body = response
            .bytes()
            .await
            .with_context(|| format!("{what} broke off"))?;
        ensure!(
            status.is_success(),
            "{what}: {status} {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body)
            .with_context(|| format!("{what}: the answer is not as expected"))
    }
}
