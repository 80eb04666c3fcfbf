//! A collector inside the test, and agents that talk to it over real TLS.

use std::path::Path;

use firstmile_collector::api::LiveMessage;
use firstmile_collector::api::types::Live;
use firstmile_collector::config::Config;
use firstmile_collector::geo::Geography;
use firstmile_collector::registry::invite::{Invitation, Inviter};
use firstmile_collector::serve::{self, Running};
use firstmile_collector::store::{CellQuery, Group, Scope};
use firstmile_wire::enroll::{EnrollRequest, EnrollResponse, Refusal};
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId};
use firstmile_wire::join::JoinString;
use firstmile_wire::v1::{Ack, Outcome, Phase, Protocol, Report, Series, Target};
use firstmile_wire::{CONTENT_ENCODING, CONTENT_TYPE, ENROLL_PATH, REPORTS_PATH, frame};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Client, Response, StatusCode};
use tempfile::TempDir;

pub(crate) const MINUTE_MS: i64 = 60_000;

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) running: Running,
    pub(crate) inviter: Inviter,
    pub(crate) ca_pem: String,
}

pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) epoch: Epoch,
    pub(crate) client: Client,
    pub(crate) key: KeyPair,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder")).await
    }

    pub(crate) async fn start_in(folder: TempDir) -> Self {
        // Another test of this process may have installed it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let config = config(folder.path());
        let running = serve::start(&config).await.expect("starts");
        let authority = serve::open_authority(&config).expect("the CA opens");
        let store = std::sync::Arc::clone(&running.store);
        let inviter = Inviter::new(store, config.ingest.public_url.clone(), authority.hash());
        Self {
            folder,
            running,
            inviter,
            ca_pem: authority.certificate_pem().to_owned(),
        }
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.running.stop().await;
        self.folder
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.running.ingest_address)
    }

    pub(crate) fn client(&self, identity_pem: Option<&str>) -> Client {
        let ca = reqwest::Certificate::from_pem(self.ca_pem.as_bytes()).expect("a CA");
        let builder = Client::builder().tls_certs_only([ca]).no_proxy();
        let builder = match identity_pem {
            Some(pem) => {
                builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity"))
            }
            None => builder,
        };
        builder.build().expect("a client")
    }

    pub(crate) async fn invite(&self, life_s: u64, now_unix_ms: i64) -> JoinString {
        let life = std::time::Duration::from_secs(life_s);
        let invitation = Invitation {
            site: Some("Utrecht".to_owned()),
            geography: Geography::default(),
            life,
            uses: 1,
        };
        let organisation = OrganisationId::default_organisation();
        self.inviter
            .invite(&organisation, invitation, now_unix_ms)
            .await
            .expect("invites")
            .join
    }

    pub(crate) async fn ask_to_enroll(&self, secret: &str, csr_pem: &str) -> Response {
        self.ask_for(EnrollRequest {
            secret: secret.to_owned(),
            csr_pem: csr_pem.to_owned(),
            hostname: "host.example".to_owned(),
            agent_version: "0.1.0".to_owned(),
            tag: None,
            address: None,
        })
        .await
    }

    pub(crate) async fn ask_for(&self, request: EnrollRequest) -> Response {
        self.client(None)
            .post(self.url(ENROLL_PATH))
            .json(&request)
            .send()
            .await
            .expect("answers")
    }

    pub(crate) async fn enroll(&self) -> Agent {
        let join = self.invite(3600, now()).await;
        let key = KeyPair::generate().expect("a key");
        let response = self.ask_to_enroll(&join.secret.to_text(), &csr(&key)).await;
        assert_eq!(response.status(), StatusCode::OK);
        let granted: EnrollResponse = response.json().await.expect("JSON");
        assert_eq!(granted.site.as_deref(), Some("Utrecht"));
        let identity = format!("{}{}", key.serialize_pem(), granted.certificate_pem);
        Agent {
            id: granted.agent_id,
            epoch: Epoch::random(),
            client: self.client(Some(&identity)),
            key,
        }
    }

    pub(crate) async fn post(&self, agent: &Agent, body: Vec<u8>) -> Response {
        self.post_with(&agent.client, body).await
    }

    pub(crate) async fn post_with(&self, client: &Client, body: Vec<u8>) -> Response {
        let request = client.post(self.url(REPORTS_PATH)).body(body);
        let request = request
            .header("content-type", CONTENT_TYPE)
            .header("content-encoding", CONTENT_ENCODING);
        request.send().await.expect("answers")
    }

    /// Probes counted in the last minutes of all agents.
    pub(crate) async fn counted(&self, organisation: &OrganisationId) -> u64 {
        let query = CellQuery {
            from_unix_ms: now() - 60 * MINUTE_MS,
            to_unix_ms: now() + MINUTE_MS,
            step_ms: None,
            protocol: Protocol::Tcp,
            phase: Phase::Rtt,
            target: None,
            scope: Scope::World,
            group: Group::All,
        };
        let rows = self
            .running
            .store
            .cells(organisation, &query)
            .await
            .expect("cells");
        rows.iter()
            .map(|row| row.cell.answered.count() + row.cell.lost)
            .sum()
    }
}

pub(crate) fn config(folder: &Path) -> Config {
    let text = format!(
        "data_dir = {:?}\n[ingest]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://127.0.0.1:8443\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n",
        folder.display().to_string()
    );
    Config::parse(&text, Path::new("test.toml")).expect("a configuration")
}

pub(crate) fn now() -> i64 {
    firstmile_collector::clock::unix_ms()
}

pub(crate) fn csr(key: &KeyPair) -> String {
    CertificateParams::default()
        .serialize_request(key)
        .expect("a request")
        .pem()
        .expect("PEM")
}

pub(crate) fn report(agent: AgentId, epoch: Epoch, sequence: u64) -> Report {
    let outcomes = [
        Outcome::Answered as i32,
        Outcome::Timeout as i32,
        Outcome::Answered as i32,
    ];
    Report {
        version: firstmile_wire::VERSION,
        agent_id: agent.to_bytes(),
        epoch: epoch.to_bytes(),
        sequence,
        wall_anchor_unix_ms: now() - 2 * MINUTE_MS,
        agent_version: "0.1.0".to_owned(),
        targets: vec![Target {
            name: "exchange".to_owned(),
            host: "outlook.example".to_owned(),
            port: 443,
            service: "m365".to_owned(),
        }],
        series: vec![Series {
            destination: vec![192, 0, 2, 1],
            protocol: Protocol::Tcp as i32,
            phase: Phase::Rtt as i32,
            at_delta_ms: vec![0, 5_000, 5_000],
            rtt_us: vec![10_000, 0, 12_000],
            outcome: outcomes.to_vec(),
            ..Series::default()
        }],
        ..Report::default()
    }
}

pub(crate) fn encoded(report: &Report) -> Vec<u8> {
    frame::encode(report).expect("encodes")
}

pub(crate) async fn ack_of(response: Response) -> Ack {
    assert_eq!(response.status(), StatusCode::OK);
    Ack::decode(response.bytes().await.expect("a body")).expect("an ack")
}

pub(crate) async fn refusal_of(response: Response, status: u16) -> Refusal {
    assert_eq!(response.status().as_u16(), status);
    response.json().await.expect("a refusal")
}

pub(crate) async fn applied(live: &mut tokio::sync::broadcast::Receiver<LiveMessage>) {
    while !matches!(
        live.recv().await.expect("the collector runs").live,
        Live::Reports { .. }
    ) {}
}
