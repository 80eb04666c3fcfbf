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
    server_at((Ipv4Addr::LOCALHOST, 0).into(), records, code).await
}

async fn server_at(
    at: SocketAddr,
    records: Vec<Record>,
    code: ResponseCode,
) -> (SocketAddr, impl Future<Output = ()>) {
    let socket = UdpSocket::bind(at).await.expect("a loopback port");
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

/// What a hostile server sends for a question.
type Lies = fn(&Message) -> Vec<Vec<u8>>;

/// The right answer, but for what `spoil` does to it; the address is a wrong one.
fn lie(question: &Message, spoil: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_queries(question.queries.clone());
    let wrong = RData::A(A(Ipv4Addr::new(198, 51, 100, 66)));
    answer.add_answers([record("front.example.", 60, wrong)]);
    spoil(&mut answer);
    answer.to_vec().expect("bytes")
}

/// Serves lies, and after them the truth where there is one.
async fn lying(lies: Lies, truth: Option<Ipv4Addr>) -> (SocketAddr, impl Future<Output = ()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let address = socket.local_addr().expect("an address");
    let serving = async move {
        let mut buffer = [0_u8; 1024];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            // From a port that was not asked, whatever it says.
            other
                .send_to(&lie(&question, |_| {}), from)
                .await
                .expect("sent");
            for lie in lies(&question) {
                socket.send_to(&lie, from).await.expect("sent");
            }
            let right = |address| {
                lie(&question, |answer| {
                    answer.answers.clear();
                    answer.add_answers([record("front.example.", 60, RData::A(A(address)))]);
                })
            };
            if let Some(truth) = truth.map(right) {
                socket.send_to(&truth, from).await.expect("sent");
            }
        }
    };
    (address, serving)
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_not_believed() {
    let truth = Ipv4Addr::new(203, 0, 113, 7);
    let sorts: [(&str, Lies); 4] = [
        ("another id", |question| {
            let forged = |round: u16| lie(question, |answer| answer.metadata.id ^= round);
            (1..=20).map(forged).collect()
        }),
        ("another question", |question| {
            vec![lie(question, |answer| {
                for query in &mut answer.queries {
                    query.set_name(name("other.example."));
                }
            })]
        }),
        ("garbage", |_| vec![vec![0xa5; 512]; 20]),
        ("nothing at all", |_| vec![Vec::new(); 20]),
    ];
    for (sort, lies) in sorts {
        for (truth, is_answered) in [(Some(truth), true), (None, false)] {
            let (address, serving) = lying(lies, truth).await;
            let dns = Dns::new(vec![address], TIMEOUT);
            let answer = beside(serving, dns.resolve("front.example", false)).await;
            let wanted: Vec<IpAddr> = truth.into_iter().map(IpAddr::from).collect();
            assert_eq!(answer.addresses, wanted, "{sort}: {answer:?}");
            assert_eq!(
                matches!(answer.outcome, Outcome::Answered(_)),
                is_answered,
                "{sort}: {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_none_where_the_rest_cannot_be_had() {
    let cut: Lies = |question| vec![lie(question, |answer| answer.metadata.truncation = true)];
    // Nobody listens by TCP.
    let (address, serving) = lying(cut, None).await;
    let dns = Dns::new(vec![address], TIMEOUT);
    let answer = beside(serving, dns.resolve("front.example", false)).await;
    assert!(
        !matches!(answer.outcome, Outcome::Answered(_)),
        "{answer:?}"
    );
    assert_eq!(answer.addresses, Vec::<IpAddr>::new());
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

#[tokio::test]
async fn every_resolver_is_asked_at_once_and_each_says_its_own() {
    let a = |last| {
        record(
            "www.example.",
            60,
            RData::A(A(Ipv4Addr::new(203, 0, 113, last))),
        )
    };
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let (broken, first) = server(Vec::new(), ResponseCode::ServFail).await;
    let (good, second) = server(vec![a(7)], ResponseCode::NoError).await;
    let (other, third) = server(vec![a(8)], ResponseCode::NoError).await;
    let (none, fourth) = server(Vec::new(), ResponseCode::NXDomain).await;
    let silent_address = silent.local_addr().expect("an address");
    let dns = Dns::new(vec![silent_address, broken, good, other, none], TIMEOUT);
    let serving = async {
        tokio::join!(first, second, third, fourth);
    };
    let began = clock::now();
    let asking = dns.resolve_everywhere("www.example", false);
    let answers = Box::pin(beside(serving, asking)).await;
    let took = clock::now() - began;
    assert!(
        took < TIMEOUT * 4,
        "one silent server is waited for once: {took:?}"
    );
    let said: Vec<_> = (answers.iter())
        .map(|answer| (answer.code, answer.rtt.is_some(), answer.addresses.len()))
        .collect();
    assert_eq!(
        said,
        [
            (None, false, 0),
            (Some(2), true, 0),
            (Some(0), true, 1),
            (Some(0), true, 1),
            (Some(3), true, 0)
        ]
    );
    assert_eq!(answers[0].outcome, Outcome::Timeout);
    assert_eq!(
        in_force(&answers).map(|answer| &answer.resolver),
        Some(&good.to_string())
    );
}

#[tokio::test]
async fn a_machine_without_resolvers_says_so() {
    let dns = Dns::new(Vec::new(), TIMEOUT);
    let answers = dns.resolve_everywhere("no..name", false).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (answers[0].outcome, answers[0].code),
        (Outcome::DnsFailed, None)
    );
    assert!(!answers[0].problem.is_empty());
}

proptest::proptest! {
    /// Whatever the records, and in whatever order: no panic, no endless chain, only addresses of the family.
    #[test]
    fn any_records_are_read(links in proptest::collection::vec((0u8..6, 0u8..6, 0u8..3, 0u32..1000), 0..40), ipv6: bool) {
        let host = |number| format!("n{number}.example.");
        let records: Vec<Record> = links.iter().map(|(owner, to, kind, ttl)| {
            let data = match kind {
                0 => RData::CNAME(CNAME(name(&host(to)))),
                1 => RData::A(A(Ipv4Addr::new(203, 0, 113, *to))),
                _ => RData::AAAA(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(*to)).into()),
            };
            record(&host(owner), *ttl, data)
        }).collect();
        let mut answer = Answer::nobody_asked(ipv6);
        answer.take_records(&name("n0.example."), &records);
        proptest::prop_assert!(answer.cname_chain.len() <= records.len());
        proptest::prop_assert!(answer.addresses.iter().all(|address| address.is_ipv6() == ipv6));
        let least = links.iter().map(|(_, _, _, ttl)| *ttl).min().unwrap_or(0);
        proptest::prop_assert_eq!(answer.ttl, Duration::from_secs(least.into()));
    }
}

#[cfg(target_os = "linux")]
mod of_the_system {
    use super::*;
    use crate::net::lab;

    #[test]
    fn another_resolver_of_the_system_is_asked_without_a_restart() {
        lab::run_inside(concat!(module_path!(), "::inside"));
    }

    /// Two servers on port 53 of the loopback; the system names one, then the other, then both, then none.
    #[tokio::test]
    #[ignore = "needs port 53 and a resolv.conf of its own: another_resolver_of_the_system_is_asked_without_a_restart"]
    async fn inside() {
        lab::loopback_up();
        let file = tempfile::NamedTempFile::new().expect("a file");
        lab::mount_over(file.path(), "/etc/resolv.conf");
        let naming = |servers: &[&str]| {
            let lines: Vec<String> = servers
                .iter()
                .map(|server| format!("nameserver {server}\n"))
                .collect();
            std::fs::write(file.path(), lines.concat()).expect("written");
        };
        let a = |last| {
            record(
                "www.example.",
                60,
                RData::A(A(Ipv4Addr::new(203, 0, 113, last))),
            )
        };
        let at = |last| SocketAddr::from(([127, 0, 0, last], 53));
        let (_, one) = server_at(at(1), vec![a(1)], ResponseCode::NoError).await;
        let (_, two) = server_at(at(2), vec![a(2)], ResponseCode::NoError).await;
        let serving = async {
            tokio::join!(one, two);
        };
        let dns = Dns::new(Vec::new(), Duration::from_secs(2));
        let asking = async {
            naming(&["127.0.0.1"]);
            let answer = dns.resolve("www.example", false).await;
            assert_eq!(
                (answer.resolver.as_str(), answer.addresses),
                ("127.0.0.1", vec![[203, 0, 113, 1].into()])
            );
            naming(&["127.0.0.2"]);
            let answer = dns.resolve("www.example", false).await;
            assert_eq!(
                (answer.resolver.as_str(), answer.addresses),
                ("127.0.0.2", vec![[203, 0, 113, 2].into()])
            );
            naming(&["127.0.0.1", "127.0.0.2"]);
            let all = dns.resolve_everywhere("www.example", false).await;
            let resolvers: Vec<&str> = all.iter().map(|answer| answer.resolver.as_str()).collect();
            assert_eq!(
                resolvers,
                ["127.0.0.1", "127.0.0.2"],
                "noticed without being told"
            );
            assert!(
                all.iter()
                    .all(|answer| matches!(answer.outcome, Outcome::Answered(_))),
                "{all:?}"
            );
        };
        Box::pin(beside(serving, asking)).await;
    }
}
