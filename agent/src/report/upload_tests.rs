//! The upload against a scripted collector on the loopback: TLS with a CA of its own, HTTP/2, client certificates.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use firstmile_wire::enroll::{EnrollResponse, Refusal};
use firstmile_wire::frame;
use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::join::{CaHash, JoinSecret, JoinString};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;
use crate::config::SpoolLimits;
use crate::enroll::request::{Newcomer, enroll};
use crate::report::spool::Spool;
use crate::report::upload_error::{CLOCK_SKEW, ENROL_AGAIN};

/// One answer of the script: status, headers, body.
type Scripted = (u16, Vec<(&'static str, &'static str)>, Vec<u8>);

type Script = Arc<Mutex<VecDeque<Scripted>>>;

/// What the collector was asked: path and body.
type Asked = Arc<Mutex<Vec<(String, Bytes)>>>;

struct Collector {
    url: Url,
    script: Script,
    ca: CertifiedIssuer<'static, KeyPair>,
    asked: Asked,
    serving: futures::future::BoxFuture<'static, ()>,
}

fn new_ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

/// A certificate of `ca` and its key, PEM.
fn leaf(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    (params.signed_by(&key, ca).expect("a leaf"), key)
}

/// A collector that answers by its script, then says 503 for ever.
async fn collector() -> Collector {
    let ca = new_ca();
    let shown = leaf(&ca, "localhost");
    collector_that_shows(ca, shown).await
}

/// A collector whose certificate holds from one year to another: what an agent sees whose own clock is off by years.
async fn collector_of_other_years(from: i32, until: i32) -> Collector {
    let ca = new_ca();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, &ca).expect("a leaf");
    collector_that_shows(ca, (certificate, key)).await
}

async fn collector_that_shows(
    ca: CertifiedIssuer<'static, KeyPair>,
    (certificate, key): (rcgen::Certificate, KeyPair),
) -> Collector {
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mut config = rustls::ServerConfig::builder_with_provider(crate::net::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone(), ca.der().clone()], key)
        .expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    let url = Url::parse(&format!("https://localhost:{port}/")).expect("a URL");
    let asked = Asked::default();
    let script = Script::default();
    let serving = serve(listener, config, Arc::clone(&script), Arc::clone(&asked));
    Collector {
        url,
        script,
        ca,
        asked,
        serving: Box::pin(serving),
    }
}

async fn serve(listener: TcpListener, config: rustls::ServerConfig, script: Script, asked: Asked) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(stream) = acceptor.accept(stream).await else {
            continue;
        };
        let answer = service_fn(|request: Request<Incoming>| {
            let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
            async move {
                let path = request.uri().path().to_owned();
                let body = request
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes();
                asked.lock().expect("not poisoned").push((path, body));
                let next = script.lock().expect("not poisoned").pop_front();
                let (status, headers, body) = next.unwrap_or((503, Vec::new(), Vec::new()));
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok::<_, Infallible>(
                    response
                        .body(Full::new(Bytes::from(body)))
                        .expect("a response"),
                )
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), answer);
        drop(connection.await);
    }
}

fn identity(collector: &Collector) -> Identity {
    let (certificate, key) = leaf(&collector.ca, "agent.example");
    let now = clock::unix_ms();
    let granted = EnrollResponse {
        agent_id: AgentId::random(),
        organisation: OrganisationId::default_organisation(),
        certificate_pem: certificate.pem(),
        ca_pem: collector.ca.pem(),
        site: None,
        not_after_unix_ms: now + 1_000_000_000,
    };
    Identity::granted(granted, collector.url.clone(), key.serialize_pem(), now)
}

/// An uploader with `count` reports in its spool.
fn uploader(collector: &Collector, directory: &std::path::Path, count: u64) -> Uploader {
    let identity = identity(collector);
    let limits = SpoolLimits {
        max_bytes: 1 << 20,
        max_age: Duration::from_hours(1),
    };
    let mut spool = Spool::open(directory, identity.agent_id, limits).expect("opens");
    for _ in 0..count {
        let sequence = spool.take_sequence().expect("a sequence");
        let report = v1::Report {
            version: firstmile_wire::VERSION,
            agent_id: identity.agent_id.to_bytes(),
            epoch: spool.epoch().to_bytes(),
            sequence,
            ..v1::Report::default()
        };
        let bytes = frame::encode(&report).expect("encodes");
        spool
            .append(sequence, &bytes, clock::unix_ms())
            .expect("kept");
    }
    let store = Store {
        directory: directory.to_owned(),
        agent: identity.agent_id,
        limits,
        spool: Some(spool),
    };
    let shared = Shared {
        state_dir: directory.to_owned(),
        store: Arc::new(Mutex::new(store)),
        status: Arc::default(),
        counters: Arc::default(),
        kept: Arc::new(Notify::new()),
        status_changed: Arc::default(),
        proxy: None,
    };
    Uploader::new(identity, shared).expect("settings")
}

fn epoch_of(uploader: &Uploader) -> Vec<u8> {
    let store = uploader.store.lock().expect("not poisoned");
    store.spool.as_ref().expect("open").epoch().to_bytes()
}

fn kept_by(uploader: &Uploader) -> Vec<u64> {
    let store = uploader.store.lock().expect("not poisoned");
    let spool = store.spool.as_ref().expect("open");
    let mut kept = Vec::new();
    while let Some(sequence) = spool.first_after(kept.last().copied().unwrap_or(0)) {
        kept.push(sequence);
    }
    kept
}

/// Takes turns until there is nothing to send, at most `most`; says how many waits there were.
async fn drain(uploader: &mut Uploader, most: usize) -> usize {
    let (mut sent, mut waits) = (0, 0);
    for _ in 0..most {
        match uploader.turn(&mut sent).await {
            Turn::Sent => {}
            Turn::NothingToSend => return waits,
            Turn::Wait(_) => waits += 1,
        }
    }
    panic!("the spool does not drain");
}

async fn beside<T>(serving: impl Future<Output = ()>, asking: impl Future<Output = T>) -> T {
    tokio::select! {
        answer = asking => answer,
        () = serving => panic!("a collector serves for ever"),
    }
}

#[tokio::test]
async fn reports_go_in_order_are_kept_until_acked_and_dropped_only_when_refused_for_good() {
    let directory = tempfile::tempdir().expect("a directory");
    let refusal = |retry: bool| {
        serde_json::to_vec(&Refusal {
            code: "code".to_owned(),
            message: "why".to_owned(),
            retry,
        })
        .expect("JSON")
    };
    let collector = collector().await;
    let mut uploader = uploader(&collector, directory.path(), 3);
    let ack = |epoch: Vec<u8>, replicated| {
        v1::Ack {
            epoch,
            stored: replicated,
            replicated,
            plan_version: 0,
            ..v1::Ack::default()
        }
        .encode_to_vec()
    };
    let epoch = epoch_of(&uploader);
    let script = vec![
        (503, vec![("retry-after", "0")], refusal(true)),
        (200, Vec::new(), b"<html>".to_vec()),
        (200, Vec::new(), ack(vec![9; 16], 3)),
        (403, Vec::new(), refusal(false)),
        (422, Vec::new(), refusal(true)),
        (200, Vec::new(), ack(epoch, u64::MAX)),
    ];
    collector
        .script
        .lock()
        .expect("not poisoned")
        .extend(script);
    let waits = beside(collector.serving, drain(&mut uploader, 10)).await;
    assert_eq!(waits, 3, "busy, no collector, wrong version");
    let sequences: Vec<u64> = collector
        .asked
        .lock()
        .expect("not poisoned")
        .iter()
        .map(|(_, body)| frame::decode(body).expect("decodes").sequence)
        .collect();
    assert_eq!(sequences, [1, 1, 1, 2, 3, 3]);
    // 1 was acked for another epoch and only freed by the last ack; 2 was refused for good.
    assert!(kept_by(&uploader).is_empty());
    assert_eq!(uploader.counters.rejected_reports.value(), 1);
    assert_eq!(uploader.counters.upload_failures.value(), 3);
    assert!(
        uploader
            .status
            .lock()
            .expect("not poisoned")
            .last_upload_unix_ms
            .is_some()
    );
}

fn refusal(code: &str) -> Vec<u8> {
    let refusal = Refusal {
        code: code.to_owned(),
        message: "why".to_owned(),
        retry: true,
    };
    serde_json::to_vec(&refusal).expect("JSON")
}

#[tokio::test]
async fn a_machine_set_back_goes_on_under_a_new_epoch_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let collector = collector().await;
    let mut uploader = uploader(&collector, directory.path(), 3);
    let first_epoch = epoch_of(&uploader);
    let ack = v1::Ack {
        epoch: first_epoch.clone(),
        stored: 1,
        replicated: 0,
        plan_version: 0,
        ..v1::Ack::default()
    };
    collector.script.lock().expect("not poisoned").extend([
        (200, Vec::new(), ack.encode_to_vec()),
        (409, Vec::new(), refusal(EPOCH_CONFLICT)),
        (200, Vec::new(), ack.encode_to_vec()),
        (200, Vec::new(), ack.encode_to_vec()),
    ]);
    let waits = beside(collector.serving, drain(&mut uploader, 10)).await;
    assert_eq!(waits, 0, "a new epoch is sent at once");
    let asked = collector.asked.lock().expect("not poisoned");
    let names: Vec<(bool, u64)> = asked
        .iter()
        .map(|(_, body)| frame::decode(body).expect("decodes"))
        .map(|report| (report.epoch == first_epoch, report.sequence))
        .collect();
    assert_eq!(names, [(true, 1), (true, 2), (false, 2), (false, 3)]);
    assert_eq!(uploader.counters.spool_dropped_reports.value(), 0);
    assert_eq!(uploader.counters.rejected_reports.value(), 0);
}

#[tokio::test]
async fn a_collector_that_always_sees_a_conflict_is_not_flooded() {
    let directory = tempfile::tempdir().expect("a directory");
    let collector = collector().await;
    let mut uploader = uploader(&collector, directory.path(), 1);
    let conflict = || (409, Vec::new(), refusal(EPOCH_CONFLICT));
    collector
        .script
        .lock()
        .expect("not poisoned")
        .extend([conflict(), conflict()]);
    let turns = async {
        let mut sent = 0;
        let first = uploader.turn(&mut sent).await;
        (first, uploader.turn(&mut sent).await)
    };
    let turns = beside(collector.serving, turns).await;
    assert!(matches!(turns, (Turn::Sent, Turn::Wait(_))));
    assert_eq!(kept_by(&uploader), [1]);
}

#[tokio::test]
async fn a_wrong_clock_keeps_the_report_and_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let collector = collector().await;
    let mut uploader = uploader(&collector, directory.path(), 1);
    let skewed = (422, vec![("retry-after", "1000")], refusal(CLOCK_SKEW));
    collector
        .script
        .lock()
        .expect("not poisoned")
        .push_back(skewed);
    let turn = beside(collector.serving, uploader.turn(&mut 0)).await;
    assert!(
        matches!(turn, Turn::Wait(pause) if pause >= Duration::from_secs(1000)),
        "the collector's Retry-After holds"
    );
    assert_eq!(kept_by(&uploader), [1]);
    let status = uploader.status.lock().expect("not poisoned");
    let problem = status.upload_problem.clone().unwrap_or_default();
    assert!(problem.contains("clock of this machine"), "{problem}");
}

#[tokio::test]
async fn a_collector_with_another_ca_gets_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (trusted, other) = (collector().await, collector().await);
    let mut uploader = uploader(&trusted, directory.path(), 1);
    uploader.identity.collector = other.url.clone();
    let turn = beside(other.serving, uploader.turn(&mut 0)).await;
    assert!(matches!(turn, Turn::Wait(_)));
    assert!(other.asked.lock().expect("not poisoned").is_empty());
    assert_eq!(kept_by(&uploader), [1]);
    let problem = problem_of(&uploader);
    assert!(problem.contains(ENROL_AGAIN), "{problem}");
}

fn problem_of(uploader: &Uploader) -> String {
    let status = uploader.status.lock().expect("not poisoned");
    status.upload_problem.clone().unwrap_or_default()
}

#[tokio::test]
async fn an_ended_certificate_is_named_at_start_and_after_each_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let collector = collector().await;
    let good = uploader(&collector, directory.path(), 1);
    assert_eq!(problem_of(&good), "");
    let identity = Identity {
        issued_unix_ms: 0,
        not_after_unix_ms: 1_000,
        ..good.identity
    };
    let shared = Shared {
        state_dir: good.state_dir,
        store: good.store,
        status: good.status,
        counters: good.counters,
        kept: good.kept,
        status_changed: good.status_changed,
        proxy: None,
    };
    let mut ended = Uploader::new(identity, shared).expect("settings");
    let problem = problem_of(&ended);
    assert!(problem.contains("1970-01-01T00:00:01Z"), "{problem}");
    assert!(problem.contains(ENROL_AGAIN), "{problem}");
    ended.note_problem(None);
    let turn = beside(collector.serving, ended.turn(&mut 0)).await;
    assert!(matches!(turn, Turn::Wait(_)));
    assert!(problem_of(&ended).contains(ENROL_AGAIN));
}

#[tokio::test]
async fn enrolment_trusts_the_collector_of_its_join_string_only() {
    let granted = |ca: &CertifiedIssuer<'static, KeyPair>| EnrollResponse {
        agent_id: AgentId::random(),
        organisation: OrganisationId::default_organisation(),
        certificate_pem: "certificate".to_owned(),
        ca_pem: ca.pem(),
        site: Some("Site".to_owned()),
        not_after_unix_ms: 1,
    };
    let body = serde_json::to_vec(&granted(&new_ca())).expect("JSON");
    let used = Refusal {
        code: "join_string_used".to_owned(),
        message: "it was used".to_owned(),
        retry: false,
    };
    let script = vec![
        (200, Vec::new(), body),
        (403, Vec::new(), serde_json::to_vec(&used).expect("JSON")),
    ];
    let collector = collector().await;
    collector
        .script
        .lock()
        .expect("not poisoned")
        .extend(script);
    let join = |ca: CaHash| JoinString {
        collector: collector.url.clone(),
        ca,
        secret: JoinSecret::new([7; 24]),
    };
    let right = join(CaHash::of_der(collector.ca.der()));
    let wrong = join(CaHash([1; 32]));
    let talk = async {
        let direct = crate::config::ProxyRules::default();
        let refused = enroll(&wrong, Newcomer::default(), &direct)
            .await
            .expect_err("another CA");
        assert!(
            refused.to_string().contains("does not show the CA")
                && refused.to_string().contains("rcgen self signed cert"),
            "{refused}"
        );
        assert!(
            collector.asked.lock().expect("not poisoned").is_empty(),
            "the secret is not shown to a stranger"
        );
        let identity = enroll(&right, Newcomer::default(), &direct)
            .await
            .expect("enrolled");
        assert_eq!(identity.site.as_deref(), Some("Site"));
        let refused = enroll(&right, Newcomer::default(), &direct)
            .await
            .expect_err("used");
        assert!(
            refused.to_string().contains("join_string_used"),
            "{refused}"
        );
    };
    beside(collector.serving, talk).await;
}

#[tokio::test]
async fn a_clock_that_is_years_off_is_named_and_no_report_is_lost() {
    for (from, until) in [(2090, 2099), (2000, 2010)] {
        let directory = tempfile::tempdir().expect("a directory");
        let collector = collector_of_other_years(from, until).await;
        let mut uploader = uploader(&collector, directory.path(), 3);
        let join = JoinString {
            collector: collector.url.clone(),
            ca: CaHash::of_der(collector.ca.der()),
            secret: JoinSecret::new([7; 24]),
        };
        let talk = async {
            let turn = uploader.turn(&mut 0).await;
            assert!(matches!(turn, Turn::Wait(_)), "it is tried again");
            let direct = crate::config::ProxyRules::default();
            enroll(&join, Newcomer::default(), &direct).await
        };
        let refused = beside(collector.serving, talk).await.expect_err("refused");
        let problem = {
            let status = uploader.status.lock().expect("not poisoned");
            status.upload_problem.clone().expect("a problem")
        };
        for (said, keeps) in [(refused.to_string(), false), (problem, true)] {
            assert!(said.contains("clock of this machine says"), "{said}");
            assert!(said.contains("set it: "), "{said}");
            assert_eq!(said.contains("reports are kept"), keeps, "{said}");
        }
        let kept = uploader.with_store(|store| store.spool.as_ref().map(Spool::len));
        assert_eq!(kept.await.flatten(), Some(3));
        assert!(collector.asked.lock().expect("not poisoned").is_empty());
    }
}

#[tokio::test]
async fn what_the_collector_expects_is_kept_for_people() {
    let directory = tempfile::tempdir().expect("a directory");
    let collector = collector().await;
    let mut uploader = uploader(&collector, directory.path(), 2);
    let expecting = |version: &str| v1::Ack {
        epoch: epoch_of(&uploader),
        stored: 2,
        replicated: 2,
        expected_agent_version: version.to_owned(),
        ..v1::Ack::default()
    };
    collector.script.lock().expect("not poisoned").extend([
        (200, Vec::new(), expecting("9.9.9").encode_to_vec()),
        (200, Vec::new(), expecting("").encode_to_vec()),
    ]);
    let mut sent = 0;
    let mut said = Vec::new();
    let talk = async {
        for _ in 0..2 {
            uploader.turn(&mut sent).await;
            let status = uploader.status.lock().expect("not poisoned");
            said.push(status.expected_version.clone());
        }
    };
    beside(collector.serving, talk).await;
    assert_eq!(said, [Some("9.9.9".to_owned()), None], "N-1 says nothing");
}
