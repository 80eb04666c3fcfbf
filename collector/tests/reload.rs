//! A roll-out plan that is changed while the collector runs.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use firstmile_collector::geo::Geography;
use firstmile_collector::registry::{Agent, JoinGrant, Site, SiteId};
use firstmile_collector::store::{Store, embedded};
use firstmile_wire::ids::{AgentId, OrganisationId};
use uuid::Uuid;

const SETTINGS: &str = "data_dir = \"data\"\n[ingest]\nlisten = \"127.0.0.1:0\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n";

/// A running collector; it dies with the test.
struct Running {
    process: Child,
    dashboard: String,
    log: BufReader<ChildStderr>,
    _said: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().expect("ends");
        self.process.wait().expect("is gone");
    }
}

impl Running {
    fn start(config: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_firstmile-collector"))
            .arg("--config")
            .arg(config)
            .arg("serve")
            .env("RUST_LOG", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut said = BufReader::new(process.stdout.take().expect("a pipe"));
        let log = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut ready = String::new();
        said.read_line(&mut ready).expect("it says where it is");
        let address = ready.split("http://").nth(1).expect("a dashboard");
        let dashboard = address.split(' ').next().expect("an address").to_owned();
        Self {
            process,
            dashboard,
            log,
            _said: said,
        }
    }

    /// Sends SIGHUP, and gives back the line of the log that answers it.
    fn reload(&mut self) -> String {
        let id = self.process.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -HUP {id}")])
            .status();
        assert!(sent.expect("a shell").success());
        loop {
            let mut line = String::new();
            let length = self.log.read_line(&mut line).expect("a log");
            assert!(length > 0, "the collector ended");
            if line.contains("roll-out plan") || line.contains("other settings") {
                return line;
            }
        }
    }

    /// What the only agent is expected to run, as the API says it.
    fn expected(&self) -> String {
        let mut stream = TcpStream::connect(&self.dashboard).expect("it listens");
        let host = &self.dashboard;
        let asked =
            format!("GET /api/v1/agents HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        assert_eq!(answer.matches("\"agent_id\":").count(), 1, "{answer}");
        let said = answer.split("\"expected_version\":").nth(1);
        let said = said.and_then(|rest| rest.split([',', '}']).next());
        said.unwrap_or("null").trim().to_owned()
    }
}

async fn enrol(folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    let store = embedded::open(folder).await.expect("opens");
    let organisation = OrganisationId::default_organisation();
    let site = Site {
        organisation: organisation.clone(),
        id: SiteId(Uuid::from_u128(1)),
        name: "Testville".to_owned(),
        geography: Geography::default(),
    };
    store.put_site(&site).await.expect("writes");
    let agent = Agent {
        id: AgentId(Uuid::from_u128(2)),
        organisation,
        site: site.id,
        hostname: "host".to_owned(),
        version: "0.1.0".to_owned(),
        os: None,
        icmp_capability: None,
        enrolled_unix_ms: 1,
        last_seen_unix_ms: None,
        spool_dropped_reports: 0,
        revoked: false,
        usual_gap_ms: 0,
    };
    let grant = JoinGrant {
        secret_digest: [3; 32],
        organisation: agent.organisation.clone(),
        site: Some(site.id),
        created_unix_ms: 1,
        expires_unix_ms: i64::MAX,
        uses_max: 1,
        uses: 0,
        spent: None,
        revoked: false,
    };
    store.put_join_grant(&grant).await.expect("writes");
    let enrolled = store.enroll(&[3; 32], 1, &agent).await;
    assert!(enrolled.expect("writes"));
}

#[tokio::test]
async fn a_plan_is_taken_up_by_sighup_and_a_bad_file_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    enrol(&folder.path().join("data")).await;
    let config = folder.path().join("collector.toml");
    let write = |text: &str| std::fs::write(&config, format!("{SETTINGS}{text}")).expect("writes");
    write("");
    let mut collector = Running::start(&config);
    assert_eq!(collector.expected(), "null");

    write("[[rollout]]\nversion = \"0.2.0\"\nsites = [\"Testville\"]\n");
    let line = collector.reload();
    assert!(line.contains("is_news=true stages=1"), "{line}");
    assert_eq!(collector.expected(), "\"0.2.0\"");

    write("[[rollout]]\nversion = \"next\"\n");
    let line = collector.reload();
    assert!(
        line.contains("ERROR") && line.contains("rollout[1].version"),
        "{line}"
    );
    assert_eq!(collector.expected(), "\"0.2.0\"");

    write(
        "[retention]\nevents = \"100d\"\n[[rollout]]\nversion = \"0.2.0\"\nsites = [\"Testville\"]\n",
    );
    let line = collector.reload();
    assert!(line.contains("is_news=false"), "{line}");
    let line = collector.reload();
    assert!(
        line.contains("other settings changed") && line.contains("restart"),
        "{line}"
    );

    write("");
    while !collector.reload().contains("stages=0") {}
    assert_eq!(collector.expected(), "null");
}
