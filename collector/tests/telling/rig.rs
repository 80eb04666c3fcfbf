//! A collector in a folder of its own: its configuration, its store, its process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use firstmile_collector::api::types::{Event, EventClass};
use firstmile_collector::clock;
use firstmile_collector::detect::{PathMemory, PathState};
use firstmile_collector::geo::Geography;
use firstmile_collector::registry::{Agent, JoinGrant, Site, SiteId};
use firstmile_collector::store::embedded::{self, Embedded};
use firstmile_collector::store::notifying::{ChannelCounts, Notifying};
use firstmile_collector::store::{Appended, Applied, EventQuery, InboxReport, Store};
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use tempfile::TempDir;
use uuid::Uuid;

/// The epoch of all reports here.
pub(crate) const EPOCH: Epoch = Epoch(Uuid::from_u128(7));

const PROGRAM: &str = env!("CARGO_BIN_EXE_firstmile-collector");

pub(crate) fn now_unix_ms() -> i64 {
    clock::unix_ms()
}

/// A collector's folder, with two sites of one agent each.
pub(crate) struct Rig {
    folder: TempDir,
    sequences: Mutex<BTreeMap<u8, u64>>,
}

/// A collector that serves; it dies with the test.
pub(crate) struct Serving(Child);

impl Rig {
    pub(crate) async fn new() -> Self {
        let rig = Self {
            folder: tempfile::tempdir().unwrap(),
            sequences: Mutex::default(),
        };
        std::fs::create_dir(rig.data_dir()).unwrap();
        let store = rig.store().await;
        for number in [1, 2] {
            settle(&store, number).await;
        }
        rig
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn store(&self) -> Embedded {
        embedded::open(&self.data_dir()).await.unwrap()
    }

    pub(crate) fn secret(&self, name: &str, secret: &str) {
        let file = self.folder.path().join(name);
        std::fs::write(&file, secret).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub(crate) fn configure(&self, more: &str) {
        let head = "data_dir = 'data'\n[ingest]\nlisten = '127.0.0.1:0'\npublic_url = 'https://127.0.0.1:8443'\n\
            [dashboard]\nlisten = '127.0.0.1:0'\n";
        let file = self.folder.path().join("collector.toml");
        std::fs::write(file, format!("{head}{more}")).unwrap();
    }

    /// Adds to the configuration.
    pub(crate) fn configure_more(&self, more: &str) {
        let file = self.folder().join("collector.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{before}{more}")).unwrap();
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn program(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--config")
            .arg(self.folder.path().join("collector.toml"))
            .env("RUST_LOG", "warn");
        command
    }

    /// Starts it and waits until it listens.
    pub(crate) fn serve(&self) -> Serving {
        let mut child = self
            .program()
            .arg("serve")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert!(ready.contains("dashboard http"), "{ready:?}");
        Serving(child)
    }

    /// Runs a command; its exit code, and all that it said.
    pub(crate) async fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.program();
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    /// Writes what the classifier would have said of a failure that both sites see. No collector may run meanwhile: it would take the
    /// empty reports that carry it.
    pub(crate) async fn write(&self, incident: &str, began: i64, ended: Option<i64>) {
        let store = self.store().await;
        for number in [1, 2] {
            let event = event(incident, number, began, ended);
            let sequence = {
                let mut sequences = self.sequences.lock().unwrap();
                let sequence = sequences.entry(number).or_default();
                *sequence += 1;
                *sequence
            };
            let key = key(number, sequence);
            let report = InboxReport {
                key: key.clone(),
                received_unix_ms: now_unix_ms(),
                frame: sequence.to_be_bytes().to_vec(),
            };
            store.append(vec![report]).await.unwrap();
            let applied = Applied {
                events: vec![event],
                ..Applied::default()
            };
            store.apply(&key, applied).await.unwrap();
        }
    }

    /// Writes a file beside the configuration.
    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Reports as the listener leaves them: on disk, and not applied.
    pub(crate) async fn append(&self, reports: &[InboxReport]) {
        let outcomes = self.store().await.append(reports.to_vec()).await.unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Appended::Stored));
    }

    /// Looks until no report is pending; what it waits for is a row that another process writes.
    pub(crate) async fn until_all_is_applied(&self) {
        let store = self.store().await;
        let empty = async {
            let mut looks = tokio::time::interval(Duration::from_millis(100));
            while !store.pending(1).await.unwrap().is_empty() {
                looks.tick().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_mins(2), empty).await;
        waited.expect("every report is applied");
    }

    async fn path_memories(&self) -> BTreeMap<String, PathMemory> {
        let organisation = OrganisationId::default_organisation();
        let store = self.store().await;
        let memories = store.path_memories(&organisation, agent_id(1)).await;
        memories.unwrap()
    }

    /// All that is remembered of the paths of the first agent.
    pub(crate) async fn memories(&self) -> BTreeMap<String, serde_json::Value> {
        let memories = self.path_memories().await.into_iter();
        memories
            .map(|(target, memory)| (target, serde_json::to_value(memory).unwrap()))
            .collect()
    }

    /// State of the one path of the first agent.
    pub(crate) async fn path_state(&self) -> PathState {
        let memories = self.path_memories().await;
        assert_eq!(memories.len(), 1);
        memories.values().next().unwrap().state()
    }

    /// All events.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let organisation = OrganisationId::default_organisation();
        let query = EventQuery {
            from_unix_ms: 0,
            to_unix_ms: i64::MAX,
            open: None,
            agent: None,
            limit: 1_000,
        };
        self.store()
            .await
            .events(&organisation, &query)
            .await
            .unwrap()
    }

    async fn counts(&self) -> Vec<ChannelCounts> {
        let organisation = OrganisationId::default_organisation();
        let store = self.store().await;
        store.channel_counts(&organisation).await.unwrap()
    }

    async fn count(&self, channel: &str) -> ChannelCounts {
        let mut counts = self.counts().await.into_iter();
        counts
            .find(|counts| counts.channel == channel)
            .unwrap_or_default()
    }

    pub(crate) async fn waiting(&self, channel: &str) -> u32 {
        self.count(channel).await.waiting
    }

    pub(crate) async fn dead(&self, channel: &str) -> u32 {
        self.count(channel).await.dead
    }

    /// Looks until no message waits; what it waits for is a row that another process writes.
    pub(crate) async fn until_nothing_waits(&self) {
        let empty = async {
            let mut looks = tokio::time::interval(Duration::from_millis(200));
            while self.counts().await.iter().any(|counts| counts.waiting > 0) {
                looks.tick().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_mins(2), empty).await;
        waited.expect("the outbox becomes empty");
    }
}

impl Serving {
    /// As a power cut does it.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// As a service manager does it.
    pub(crate) fn stop(mut self) {
        let asked = Command::new("kill")
            .arg(self.0.id().to_string())
            .status()
            .unwrap();
        assert!(asked.success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Gone already, where the test got so far.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What makes the reports of an agent themselves.
pub(crate) fn key(number: u8, sequence: u64) -> ReportKey {
    ReportKey {
        organisation: OrganisationId::default_organisation(),
        agent: agent_id(number),
        epoch: EPOCH,
        sequence,
    }
}

pub(crate) fn agent_id(number: u8) -> AgentId {
    AgentId(Uuid::from_u128(u128::from(number)))
}

fn site_id(number: u8) -> SiteId {
    SiteId(Uuid::from_u128(0x100 + u128::from(number)))
}

async fn settle(store: &Embedded, number: u8) {
    let organisation = OrganisationId::default_organisation();
    let site = Site {
        id: site_id(number),
        organisation: organisation.clone(),
        name: format!("Branch {number}"),
        geography: Geography::default(),
    };
    store.put_site(&site).await.unwrap();
    let grant = JoinGrant {
        secret_digest: [number; 32],
        organisation: organisation.clone(),
        site: Some(site.id),
        created_unix_ms: now_unix_ms(),
        expires_unix_ms: i64::MAX,
        uses_max: 1,
        uses: 0,
        spent: None,
        revoked: false,
    };
    store.put_join_grant(&grant).await.unwrap();
    let agent = Agent {
        id: agent_id(number),
        organisation,
        site: site.id,
        hostname: format!("branch-{number}.example"),
        version: String::new(),
        os: None,
        icmp_capability: None,
        enrolled_unix_ms: now_unix_ms(),
        last_seen_unix_ms: None,
        spool_dropped_reports: 0,
        revoked: false,
        usual_gap_ms: 0,
    };
    let enrolled = store.enroll(&[number; 32], now_unix_ms(), &agent).await;
    assert!(enrolled.unwrap());
}

fn event(incident: &str, number: u8, began: i64, ended: Option<i64>) -> Event {
    Event {
        event_id: format!("{incident}-{number}"),
        incident_id: Some(incident.to_owned()),
        class: EventClass::Geo,
        state: if ended.is_some() { "closed" } else { "open" }.to_owned(),
        agent_id: agent_id(number).to_string(),
        site_id: Some(site_id(number).to_string()),
        site_name: format!("Branch {number}"),
        provider_asn: Some(64500),
        target: "exchange".to_owned(),
        from: Some("AMS".to_owned()),
        to: Some("FRA".to_owned()),
        last_good_unix_ms: began - 5_000,
        first_novel_unix_ms: began,
        detected_unix_ms: began + 30_000,
        ended_unix_ms: ended,
        ending: ended.map(|_| "recovery".to_owned()),
        confidence: Some(0.98),
        ..Event::default()
    }
}
