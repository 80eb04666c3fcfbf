//! The road of a report, with real TLS: enrolment, upload, refusals, exactly once over a restart.

mod bench;

use std::collections::BTreeSet;
use std::time::Duration;

use bench::*;
use firstmile_collector::auth::authority::Authority;
use firstmile_collector::geo::Geography;
use firstmile_collector::registry::invite::Invitation;
use firstmile_collector::registry::{Site, SiteId};
use firstmile_collector::serve::{self, StartError};
use firstmile_collector::store::{InboxReport, Store};
use firstmile_wire::enroll::{CloneRequest, EnrollRequest, EnrollResponse, RenewRequest};
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use firstmile_wire::{ENROLL_PATH, RENEW_PATH, REPORTS_PATH, frame};
use rcgen::KeyPair;
use reqwest::StatusCode;

#[tokio::test]
async fn a_report_sent_twice_counts_once() {
    let bench = Bench::start().await;
    let agent = bench.enroll().await;
    let mut live = bench.running.live.subscribe();
    let body = encoded(&report(agent.id, agent.epoch, 1));
    let response = bench.post(&agent, body.clone()).await;
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    let ack = ack_of(response).await;
    assert_eq!(
        (ack.stored, ack.replicated, ack.epoch),
        (1, 1, agent.epoch.to_bytes())
    );
    applied(&mut live).await;
    assert_eq!(ack_of(bench.post(&agent, body).await).await.stored, 1);
    // A gap is legal: the spool has dropped what is missing.
    assert_eq!(
        ack_of(
            bench
                .post(&agent, encoded(&report(agent.id, agent.epoch, 5)))
                .await
        )
        .await
        .stored,
        5
    );
    applied(&mut live).await;
    let organisation = OrganisationId::default_organisation();
    assert_eq!(bench.counted(&organisation).await, 6);
    assert_eq!(
        (
            bench.running.counters.accepted(),
            bench.running.counters.duplicates()
        ),
        (2, 1)
    );
    let known = bench
        .running
        .store
        .agent(&organisation, agent.id)
        .await
        .expect("an agent");
    assert!(known.last_seen_unix_ms.is_some());
    bench.stop().await;
}

#[tokio::test]
async fn an_agent_that_was_set_back_is_told_so() {
    let bench = Bench::start().await;
    let agent = bench.enroll().await;
    let first = encoded(&report(agent.id, agent.epoch, 1));
    assert_eq!(
        ack_of(bench.post(&agent, first.clone()).await).await.stored,
        1
    );
    let mut other = report(agent.id, agent.epoch, 1);
    other.wall_anchor_unix_ms += 1;
    let refusal = refusal_of(bench.post(&agent, encoded(&other)).await, 409).await;
    assert_eq!(
        (refusal.code.as_str(), refusal.retry),
        ("epoch_conflict", true)
    );
    assert_eq!(ack_of(bench.post(&agent, first).await).await.stored, 1);
    other.epoch = Epoch::random().to_bytes();
    assert_eq!(
        ack_of(bench.post(&agent, encoded(&other)).await)
            .await
            .stored,
        1
    );
    let counters = &bench.running.counters;
    assert_eq!((counters.accepted(), counters.duplicates()), (2, 1));
    bench.stop().await;
}

#[tokio::test]
async fn a_failed_audit_line_does_not_burn_a_join_string() {
    let bench = Bench::start().await;
    let key = KeyPair::generate().expect("a key");
    let secret = bench.invite(3600, now()).await.secret.to_text();
    let beside = rusqlite::Connection::open(bench.folder.path().join("firstmile.db"));
    let beside = beside.expect("opens");
    beside
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END",
        )
        .expect("writes");
    let refused = bench.ask_to_enroll(&secret, &csr(&key)).await;
    assert_eq!(refusal_of(refused, 503).await.code, "store_failed");
    beside.execute_batch("DROP TRIGGER full").expect("writes");
    let granted = bench.ask_to_enroll(&secret, &csr(&key)).await;
    assert_eq!(granted.status(), StatusCode::OK);
    bench.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_counts_once_after_it() {
    let bench = Bench::start().await;
    let agent = bench.enroll().await;
    let folder = bench.stop().await;
    let key = ReportKey {
        organisation: OrganisationId::default_organisation(),
        agent: agent.id,
        epoch: agent.epoch,
        sequence: 1,
    };
    let organisation = key.organisation.clone();
    let frame = encoded(&report(agent.id, agent.epoch, 1));
    // A collector that dies between making a report durable and applying it leaves exactly this.
    let store = serve::open_store(&config(folder.path()))
        .await
        .expect("opens");
    store
        .append(vec![InboxReport {
            key,
            received_unix_ms: now(),
            frame: frame.clone(),
        }])
        .await
        .expect("appends");
    drop(store);
    let bench = Bench::start_in(folder).await;
    let mut live = bench.running.live.subscribe();
    if bench.running.counters.applied() == 0 {
        applied(&mut live).await;
    }
    assert_eq!(bench.counted(&organisation).await, 3);
    assert_eq!(
        ack_of(bench.post(&agent, frame).await).await.stored,
        1,
        "the certificate and the key are still known"
    );
    let folder = bench.stop().await;
    let bench = Bench::start_in(folder).await;
    assert_eq!(bench.counted(&organisation).await, 3);
    bench.stop().await;
}

#[tokio::test]
async fn a_report_that_cannot_be_applied_does_not_hold_up_the_others() {
    let bench = Bench::start().await;
    let (agent, other) = (bench.enroll().await, bench.enroll().await);
    let folder = bench.stop().await;
    let organisation = OrganisationId::default_organisation();
    let inbox = |agent: AgentId, sequence, frame| {
        let epoch = Epoch::random();
        let key = ReportKey {
            organisation: organisation.clone(),
            agent,
            epoch,
            sequence,
        };
        InboxReport {
            key,
            received_unix_ms: now(),
            frame,
        }
    };
    let stranger = AgentId::random();
    // The first of each agent are applied together.
    let reports = vec![
        inbox(agent.id, 1, b"damaged on disk".to_vec()),
        inbox(stranger, 1, encoded(&report(stranger, Epoch::random(), 1))),
        inbox(other.id, 1, encoded(&report(other.id, Epoch::random(), 1))),
        inbox(agent.id, 2, encoded(&report(agent.id, Epoch::random(), 2))),
    ];
    let store = serve::open_store(&config(folder.path()))
        .await
        .expect("opens");
    store.append(reports).await.expect("appends");
    drop(store);
    let bench = Bench::start_in(folder).await;
    let mut live = bench.running.live.subscribe();
    while bench.running.counters.applied() < 2 {
        applied(&mut live).await;
    }
    assert_eq!(bench.counted(&organisation).await, 6);
    assert_eq!(bench.running.counters.set_aside(), 2);
    let pending = bench.running.store.pending(10).await.expect("pending");
    assert!(pending.is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn two_collectors_do_not_share_a_folder() {
    let bench = Bench::start().await;
    let second = serve::start(&config(bench.folder.path())).await;
    assert!(matches!(second.err(), Some(StartError::Taken { .. })));
    let bench = Bench::start_in(bench.stop().await).await;
    bench.stop().await;
}

#[tokio::test]
async fn noise_on_the_socket_harms_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bench = Bench::start().await;
    let agent = bench.enroll().await;
    let mut silent = Vec::new();
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b""] {
        let address = bench.running.ingest_address;
        let mut socket = tokio::net::TcpStream::connect(address)
            .await
            .expect("connects");
        socket.write_all(noise).await.expect("writes");
        silent.push(socket);
    }
    let body = encoded(&report(agent.id, agent.epoch, 1));
    assert_eq!(ack_of(bench.post(&agent, body).await).await.stored, 1);
    let mut left = Vec::new();
    let first = silent.first_mut().expect("a socket");
    // What is no TLS is told so, or cut off; both end the stream.
    drop(first.read_to_end(&mut left).await);
    let counted = bench.running.counters.refused();
    assert!(
        counted
            .iter()
            .any(|(code, count)| *code == "handshake_failed" && *count >= 1),
        "{counted:?}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn bad_reports_are_refused_and_the_collector_stays_up() {
    let bench = Bench::start().await;
    let (agent, other) = (bench.enroll().await, bench.enroll().await);
    let good = encoded(&report(agent.id, agent.epoch, 1));
    let half = good.get(..good.len() / 2).expect("half").to_vec();
    let bomb = zstd::bulk::compress(&vec![0; frame::MAX_DECODED_BYTES + 1], 1).expect("compresses");
    let mut wrong_version = report(agent.id, agent.epoch, 1);
    wrong_version.version = 99;
    let mut uneven = report(agent.id, agent.epoch, 1);
    uneven
        .series
        .iter_mut()
        .for_each(|series| series.rtt_us.truncate(1));
    let mut ahead = report(agent.id, agent.epoch, 1);
    ahead.wall_anchor_unix_ms += 2 * 3_600_000;
    let mut ancient = report(agent.id, agent.epoch, 1);
    ancient.wall_anchor_unix_ms -= 31 * 86_400_000;
    let no_protobuf = zstd::bulk::compress(&[0xff; 64], 1).expect("compresses");
    let cases = [
        ("truncated", half, 400, "truncated", false),
        ("empty", Vec::new(), 400, "truncated", false),
        (
            "oversized",
            vec![0; frame::MAX_ENCODED_BYTES + 1],
            413,
            "too_large",
            false,
        ),
        ("bomb", bomb, 413, "too_large", false),
        (
            "wrong version",
            encoded(&wrong_version),
            422,
            "wrong_version",
            true,
        ),
        ("uneven columns", encoded(&uneven), 400, "malformed", false),
        ("no protobuf", no_protobuf, 400, "malformed", false),
        ("clock ahead", encoded(&ahead), 422, "clock_skew", true),
        ("ancient", encoded(&ancient), 422, "too_old", false),
        (
            "other agent",
            encoded(&report(other.id, agent.epoch, 1)),
            403,
            "wrong_agent",
            false,
        ),
    ];
    for (name, body, status, code, retry) in cases {
        let response = bench.post(&agent, body).await;
        let waits = response.headers().contains_key("retry-after");
        assert_eq!(waits, code == "clock_skew", "{name}");
        let refusal = refusal_of(response, status).await;
        assert_eq!(
            (refusal.code.as_str(), refusal.retry),
            (code, retry),
            "{name}: {}",
            refusal.message
        );
    }
    assert_eq!(ack_of(bench.post(&agent, good).await).await.stored, 1);
    let refused: u64 = bench
        .running
        .counters
        .refused()
        .iter()
        .map(|(_, count)| count)
        .sum();
    assert_eq!(refused, 10);
    bench.stop().await;
}

#[tokio::test]
async fn a_report_needs_its_headers_and_a_certificate() {
    let bench = Bench::start().await;
    let agent = bench.enroll().await;
    let good = encoded(&report(agent.id, agent.epoch, 1));
    let plain = agent
        .client
        .post(bench.url(REPORTS_PATH))
        .body(good.clone())
        .send()
        .await
        .expect("answers");
    assert_eq!(refusal_of(plain, 415).await.code, "wrong_content_type");
    let refusal = refusal_of(
        bench.post_with(&bench.client(None), good.clone()).await,
        401,
    )
    .await;
    assert_eq!(refusal.code, "no_certificate");
    bench.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_ca_does_not_get_in() {
    let bench = Bench::start().await;
    let agent = bench.enroll().await;
    let folder = tempfile::tempdir().expect("a folder");
    let stranger = Authority::open(folder.path(), now()).expect("a CA");
    let organisation = OrganisationId::default_organisation();
    let forged = stranger
        .certify_agent(&csr(&agent.key), &organisation, agent.id, now())
        .expect("certifies");
    let client = bench.client(Some(&format!(
        "{}{}",
        agent.key.serialize_pem(),
        forged.pem
    )));
    let body = encoded(&report(agent.id, agent.epoch, 1));
    let sent = client.post(bench.url(REPORTS_PATH)).body(body).send().await;
    assert!(sent.is_err(), "the handshake fails");
    assert_eq!(bench.running.counters.accepted(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn an_agent_of_a_lost_store_is_unknown_and_keeps_its_reports() {
    let bench = Bench::start().await;
    let key = KeyPair::generate().expect("a key");
    let authority = serve::open_authority(&config(bench.folder.path())).expect("the CA opens");
    let id = AgentId::random();
    let organisation = OrganisationId::default_organisation();
    let certificate = authority
        .certify_agent(&csr(&key), &organisation, id, now())
        .expect("certifies");
    let client = bench.client(Some(&format!("{}{}", key.serialize_pem(), certificate.pem)));
    let response = bench
        .post_with(&client, encoded(&report(id, Epoch::random(), 1)))
        .await;
    let refusal = refusal_of(response, 403).await;
    assert_eq!(
        (refusal.code.as_str(), refusal.retry),
        ("agent_unknown", true)
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_join_string_works_once_in_its_time_with_a_good_request() {
    let bench = Bench::start().await;
    let key = KeyPair::generate().expect("a key");
    let join = bench.invite(3600, now()).await;
    let secret = join.secret.to_text();
    let expired = bench.invite(60, now() - 61_000).await.secret.to_text();
    let unknown = firstmile_wire::join::JoinSecret::new([1; 24]).to_text();
    for (name, secret, csr_pem, status, code) in [
        (
            "expired",
            expired.as_str(),
            csr(&key),
            403,
            "join_string_expired",
        ),
        (
            "unknown",
            unknown.as_str(),
            csr(&key),
            403,
            "join_string_unknown",
        ),
        ("no secret", "x", csr(&key), 403, "join_string_unknown"),
        (
            "no request",
            secret.as_str(),
            "x".to_owned(),
            400,
            "bad_csr",
        ),
        (
            "cut request",
            secret.as_str(),
            csr(&key).replace('A', "B"),
            400,
            "bad_csr",
        ),
    ] {
        let refusal = refusal_of(bench.ask_to_enroll(secret, &csr_pem).await, status).await;
        assert_eq!(
            (refusal.code.as_str(), refusal.retry),
            (code, false),
            "{name}"
        );
    }
    let revoked = bench.invite(3600, now()).await.secret;
    let organisation = OrganisationId::default_organisation();
    let taken_back = bench
        .inviter
        .revoke(&organisation, &revoked, now(), "test")
        .await;
    assert!(taken_back.expect("revokes").is_some());
    let refusal = refusal_of(
        bench.ask_to_enroll(&revoked.to_text(), &csr(&key)).await,
        403,
    )
    .await;
    assert_eq!(refusal.code, "join_string_revoked");
    // A bad request has not burnt the join string; a good one does.
    assert_eq!(
        bench.ask_to_enroll(&secret, &csr(&key)).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        refusal_of(bench.ask_to_enroll(&secret, &csr(&key)).await, 403)
            .await
            .code,
        "join_string_used"
    );
    bench.stop().await;
}

#[tokio::test]
async fn one_join_string_lets_many_in_and_rules_place_them() {
    let bench = Bench::start().await;
    let organisation = OrganisationId::default_organisation();
    let store = &bench.running.store;
    let site = Site {
        id: SiteId(uuid::Uuid::from_u128(1)),
        organisation: organisation.clone(),
        name: "Amsterdam".to_owned(),
        geography: Geography::default(),
    };
    store.put_site(&site).await.expect("puts");
    let rules = ["hostname:ams-*", "subnet:10.20.0.0/16", "tag:kiosk"];
    let rules = rules.map(|text| text.parse().expect("a rule")).to_vec();
    let put = store.put_site_rules(&organisation, site.id, rules).await;
    put.expect("puts");
    let invitation = Invitation {
        site: None,
        geography: Geography::default(),
        life: Duration::from_hours(1),
        uses: 4,
    };
    let invited = bench.inviter.invite(&organisation, invitation, now()).await;
    let secret = invited.expect("invites").join.secret.to_text();
    let request = |hostname: &str, tag: Option<&str>, address: &str| EnrollRequest {
        secret: secret.clone(),
        csr_pem: csr(&KeyPair::generate().expect("a key")),
        hostname: hostname.to_owned(),
        agent_version: "0.1.0".to_owned(),
        tag: tag.map(str::to_owned),
        address: address.parse().ok(),
    };
    let mut identities = BTreeSet::new();
    for (name, request, want) in [
        ("by name", request("AMS-1", None, ""), "Amsterdam"),
        ("by subnet", request("x", None, "10.20.1.1"), "Amsterdam"),
        ("by tag", request("x", Some("kiosk"), ""), "Amsterdam"),
        ("by nothing", request("x", None, "192.0.2.1"), "unassigned"),
    ] {
        let response = bench.ask_for(request).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        let granted: EnrollResponse = response.json().await.expect("JSON");
        assert_eq!(granted.site.as_deref(), Some(want), "{name}");
        identities.insert(granted.agent_id);
    }
    assert_eq!(identities.len(), 4, "each has an identity of its own");
    let fifth = bench.ask_for(request("ams-5", None, "")).await;
    assert_eq!(refusal_of(fifth, 403).await.code, "join_string_used");
    bench.stop().await;
}

#[tokio::test]
async fn a_revoked_agent_is_refused_at_once_and_for_good() {
    let bench = Bench::start().await;
    let (agent, other) = (bench.enroll().await, bench.enroll().await);
    let sent = bench.post(&agent, encoded(&report(agent.id, agent.epoch, 1)));
    assert_eq!(ack_of(sent.await).await.stored, 1);
    let organisation = OrganisationId::default_organisation();
    // The administrator's command opens the store beside the running collector.
    let beside = serve::open_store(&config(bench.folder.path()))
        .await
        .expect("opens");
    assert!(
        beside
            .revoke_agent(&organisation, agent.id, now(), "test")
            .await
            .expect("revokes")
    );
    let refused = bench.post(&agent, encoded(&report(agent.id, agent.epoch, 2)));
    let refusal = refusal_of(refused.await, 403).await;
    assert_eq!(
        (refusal.code.as_str(), refusal.retry),
        ("agent_revoked", false)
    );
    let csr_pem = csr(&KeyPair::generate().expect("a key"));
    let renewal = agent
        .client
        .post(bench.url(RENEW_PATH))
        .json(&RenewRequest {
            csr_pem,
            clone: None,
        });
    let refusal = refusal_of(renewal.send().await.expect("answers"), 403).await;
    assert_eq!(refusal.code, "agent_revoked");
    let served = bench.post(&other, encoded(&report(other.id, other.epoch, 1)));
    assert_eq!(ack_of(served.await).await.stored, 1, "the other goes on");
    let folder = bench.stop().await;
    let bench = Bench::start_in(folder).await;
    let refused = bench.post(&agent, encoded(&report(agent.id, agent.epoch, 2)));
    assert_eq!(refusal_of(refused.await, 403).await.code, "agent_revoked");
    bench.stop().await;
}

#[tokio::test]
async fn an_enrolment_that_is_no_request_is_refused() {
    let bench = Bench::start().await;
    let no_json = bench
        .client(None)
        .post(bench.url(ENROLL_PATH))
        .body("{")
        .send()
        .await
        .expect("answers");
    assert_eq!(refusal_of(no_json, 400).await.code, "malformed_request");
    let huge = bench
        .client(None)
        .post(bench.url(ENROLL_PATH))
        .body(vec![b' '; 40_000])
        .send()
        .await
        .expect("answers");
    assert_eq!(refusal_of(huge, 413).await.code, "too_large");
    bench.stop().await;
}

#[tokio::test]
async fn a_clone_gets_an_identity_of_its_own_beside_the_original() {
    let bench = Bench::start().await;
    let original = bench.enroll().await;
    let key = KeyPair::generate().expect("a key");
    let request = RenewRequest {
        csr_pem: csr(&key),
        clone: Some(CloneRequest {
            hostname: "clone.example".to_owned(),
            agent_version: "0.2.0".to_owned(),
            tag: None,
            address: None,
        }),
    };
    let response = original
        .client
        .post(bench.url(RENEW_PATH))
        .json(&request)
        .send()
        .await
        .expect("answers");
    let granted: EnrollResponse = response.json().await.expect("JSON");
    assert_ne!(granted.agent_id, original.id);
    let clones = bench
        .running
        .store
        .clones_of(&OrganisationId::default_organisation(), original.id)
        .await;
    assert_eq!(clones.expect("reads"), [granted.agent_id]);
    let client = bench.client(Some(&format!(
        "{}{}",
        key.serialize_pem(),
        granted.certificate_pem
    )));
    let of_clone = encoded(&report(granted.agent_id, original.epoch, 1));
    assert_eq!(
        ack_of(bench.post_with(&client, of_clone).await)
            .await
            .stored,
        1
    );
    let of_original = encoded(&report(original.id, original.epoch, 1));
    let sent = bench.post(&original, of_original.clone()).await;
    assert_eq!(ack_of(sent).await.stored, 1, "the original goes on");
    let stolen = bench.post_with(&client, of_original).await;
    assert_eq!(refusal_of(stolen, 403).await.code, "wrong_agent");
    bench.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_for_the_same_agent() {
    let bench = Bench::start().await;
    let agent = bench.enroll().await;
    let key = KeyPair::generate().expect("a key");
    let request = RenewRequest {
        csr_pem: csr(&key),
        clone: None,
    };
    let response = agent
        .client
        .post(bench.url(RENEW_PATH))
        .json(&request)
        .send()
        .await
        .expect("answers");
    let granted: EnrollResponse = response.json().await.expect("JSON");
    assert_eq!(granted.agent_id, agent.id);
    let client = bench.client(Some(&format!(
        "{}{}",
        key.serialize_pem(),
        granted.certificate_pem
    )));
    let ack = ack_of(
        bench
            .post_with(&client, encoded(&report(agent.id, agent.epoch, 1)))
            .await,
    )
    .await;
    assert_eq!(ack.stored, 1);
    let bare = bench
        .client(None)
        .post(bench.url(RENEW_PATH))
        .json(&request)
        .send()
        .await
        .expect("answers");
    assert_eq!(refusal_of(bare, 401).await.code, "no_certificate");
    bench.stop().await;
}
