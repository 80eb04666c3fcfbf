//! Questions to resolvers on the loopback: answers, chains, refusals, silence, and which server is named.

use std::net::Ipv4Addr;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::rdata::{A, CNAME, PTR};
use tokio::net::UdpSocket;

use super::*;

const TIMEOUT: Duration = Duration::from_millis(400);

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

/// A server that answers every question with `records` and `code`, for as long as the test runs.
async fn server(
    records: Vec<Record>,
    code: ResponseCode,
) -> (SocketAddr, impl Future<Output = ()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let address = socket.local_addr().expect("an address");
    let serving = async move {
        let mut buffer = [0_u8; 1024];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
            answer.metadata.response_code = code;
            answer.metadata.recursion_available = true;
            answer.add_queries(question.queries.clone());
            answer.add_answers(records.clone());
            socket
                .send_to(&answer.to_vec().expect("bytes"), from)
                .await
                .expect("sent");
        }
    };
    (address, serving)
}

async fn beside<T>(serving: impl Future<Output = ()>, asking: impl Future<Output = T>) -> T {
    tokio::select! {
        answer = asking => answer,
        () = serving => panic!("a server serves for ever"),
    }
}

#[tokio::test]
async fn an_answer_has_its_chain_its_least_ttl_and_its_server() {
    let records = vec![
        record(
            "door.example.",
            20,
            RData::A(A(Ipv4Addr::new(203, 0, 113, 7))),
        ),
        record(
            "www.example.",
            300,
            RData::CNAME(CNAME(name("alias.example."))),
        ),
        record(
            "alias.example.",
            60,
            RData::CNAME(CNAME(name("Door.example."))),
        ),
        record(
            "door.example.",
            20,
            RData::A(A(Ipv4Addr::new(203, 0, 113, 8))),
        ),
    ];
    let (address, serving) = server(records, ResponseCode::NoError).await;
    let dns = Dns::new(vec![address], TIMEOUT);
    let answer = beside(serving, dns.resolve("www.example", false)).await;
    assert!(matches!(answer.outcome, Outcome::Answered(_)), "{answer:?}");
    assert_eq!(answer.resolver, address.to_string());
    assert_eq!(answer.cname_chain, ["alias.example", "door.example"]);
    assert_eq!(
        answer.addresses,
        [[203, 0, 113, 7], [203, 0, 113, 8]].map(IpAddr::from)
    );
    assert_eq!(answer.ttl, Duration::from_secs(20));
}

#[tokio::test]
async fn no_such_name_no_such_record_and_no_such_server_are_told_apart() {
    for (case, code, outcome_is_answer, want) in [
        (
            "no such name",
            ResponseCode::NXDomain,
            false,
            "no such name",
        ),
        ("no record of the family", ResponseCode::NoError, true, ""),
        ("refused", ResponseCode::Refused, false, "cannot answer"),
        ("broken", ResponseCode::ServFail, false, "cannot answer"),
    ] {
        let (address, serving) = server(Vec::new(), code).await;
        let dns = Dns::new(vec![address], TIMEOUT);
        let answer = beside(serving, dns.resolve("www.example", true)).await;
        assert_eq!(
            matches!(answer.outcome, Outcome::Answered(_)),
            outcome_is_answer,
            "{case}: {answer:?}"
        );
        assert!(answer.problem.contains(want), "{case}: {answer:?}");
        assert!(answer.addresses.is_empty(), "{case}");
    }
}

#[tokio::test]
async fn a_silent_server_is_passed_over_for_the_next_one() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let silent_address = silent.local_addr().expect("an address");
    let only_silent = Dns::new(vec![silent_address], TIMEOUT);
    let answer = only_silent.resolve("www.example", false).await;
    assert_eq!(answer.outcome, Outcome::Timeout, "{answer:?}");
    assert!(answer.problem.contains("does not answer"), "{answer:?}");

    let records = vec![record(
        "www.example.",
        60,
        RData::A(A(Ipv4Addr::new(203, 0, 113, 7))),
    )];
    let (address, serving) = server(records, ResponseCode::NoError).await;
    let dns = Dns::new(vec![silent_address, address], TIMEOUT);
    let answer = beside(serving, dns.resolve("www.example", false)).await;
    assert!(matches!(answer.outcome, Outcome::Answered(_)), "{answer:?}");
    assert_eq!(answer.resolver, address.to_string());
}

#[tokio::test]
async fn a_reverse_name_is_a_name_or_none_or_unknown() {
    let address = IpAddr::from([198, 51, 100, 9]);
    let ptr = record(
        "9.100.51.198.in-addr.arpa.",
        900,
        RData::PTR(PTR(name("router.example."))),
    );
    for (case, records, code, want) in [
        (
            "named",
            vec![ptr],
            ResponseCode::NoError,
            Some(Some("router.example")),
        ),
        ("no name", Vec::new(), ResponseCode::NXDomain, Some(None)),
        ("nobody knows", Vec::new(), ResponseCode::ServFail, None),
    ] {
        let (server, serving) = server(records, code).await;
        let dns = Dns::new(vec![server], TIMEOUT);
        let answer = beside(serving, dns.reverse(address)).await;
        assert_eq!(
            answer.ok().map(|(name, _)| name),
            want.map(|name| name.map(str::to_owned)),
            "{case}"
        );
    }
}
