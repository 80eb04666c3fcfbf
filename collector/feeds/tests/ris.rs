//! RIS Live, against a WebSocket server on this machine that speaks recorded frames.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstmile_feeds::event::{Event, FeedId, Routes};
use firstmile_feeds::ris_live::RisLive;
use firstmile_feeds::status::FeedStatus;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Frames as the service sends them, addresses and numbers replaced by those for documentation: an announcement whose next hop is a pair
/// of IPv6 addresses, a withdrawal, the state of a session in both spellings, an error, and what cannot be read.
const RECORDED: [&str; 6] = [
    r#"{"type":"ris_message","data":{"timestamp":1700000000.25,"peer":"2001:db8::9","peer_asn":"64510","id":"2001:db8::9-018bcfe568fa0001","host":"rrc00.ripe.net","type":"UPDATE","path":[64510,64501,[64497,64499]],"community":[[64510,100]],"origin":"IGP","announcements":[{"next_hop":"2001:db8::1,fe80::1","prefixes":["2001:db8:100::/48"]}],"withdrawals":[]}}"#,
    r#"{"type":"ris_message","data":{"timestamp":1700000001.5,"peer":"192.0.2.9","peer_asn":"64510","id":"192.0.2.9-018bcfe56ddc0000","host":"rrc00.ripe.net","type":"UPDATE","withdrawals":["198.51.100.0/24"]}}"#,
    r#"{"type":"ris_message","data":{"timestamp":1700000002.0,"peer":"192.0.2.9","peer_asn":"64510","id":"192.0.2.9-018bcfe56fd00000","host":"rrc00.ripe.net","type":"RIS_PEER_STATE","state":"down"}}"#,
    r#"{"type":"ris_error","data":{"message":"an example of an error"}}"#,
    r#"{"type":"ris_message","data":{"timestamp":"#,
    r#"{"type":"pong","data":null}"#,
];

struct Server {
    listener: TcpListener,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a port");
        Self { listener }
    }

    fn client(&self, status: &Arc<Mutex<FeedStatus>>) -> RisLive {
        let address = self.listener.local_addr().expect("it is bound");
        RisLive {
            feed: FeedId(2),
            url: format!("ws://{address}/v1/ws/?client=test")
                .parse()
                .expect("a URL"),
            prefixes: vec!["198.51.100.0/24".parse().expect("a prefix")],
            canary: Some("203.0.113.0/24".parse().expect("a prefix")),
            status: Arc::clone(status),
            clock: || 1_700_000_010.0,
        }
    }

    /// The next connection, and what it subscribed to.
    async fn accept(&self) -> (WebSocketStream<TcpStream>, Vec<Value>) {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        let mut socket = tokio_tungstenite::accept_async(stream)
            .await
            .expect("an upgrade");
        let mut wishes = Vec::new();
        while wishes.len() < 2 {
            let frame = socket.next().await.expect("more").expect("a frame");
            let wish: Value = serde_json::from_str(frame.to_text().expect("text")).expect("JSON");
            if wish.get("type") == Some(&json!("ris_subscribe")) {
                wishes.push(wish);
            }
        }
        (socket, wishes)
    }
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    event.expect("it comes in time").expect("the client runs")
}

fn routes(event: Event) -> Box<Routes> {
    let Event::Routes(routes) = event else {
        panic!("{event:?} where routes were due");
    };
    routes
}

fn is_away(event: &Event) -> bool {
    matches!(event, Event::OutOfSight { router: None, .. })
}

#[tokio::test]
async fn recorded_frames_become_events_and_a_gap_puts_them_out_of_sight() {
    let server = Server::start().await;
    let status = Arc::new(Mutex::new(FeedStatus::named("ris live")));
    let (sender, mut events) = mpsc::channel(100);
    let cancel = CancellationToken::new();
    let client =
        tokio::task::JoinSet::from_iter([server.client(&status).run(sender, cancel.clone())]);
    let (mut socket, wishes) = server.accept().await;
    assert_eq!(wishes[0]["data"]["prefix"], json!("198.51.100.0/24"));
    assert_eq!(wishes[0]["data"]["moreSpecific"], json!(true));
    assert_eq!(wishes[1]["data"]["prefix"], json!("203.0.113.0/24"));
    for frame in RECORDED {
        socket.send(Frame::text(frame)).await.expect("it is sent");
    }
    let first = routes(next(&mut events).await);
    assert_eq!(
        first.announced,
        ["2001:db8:100::/48".parse().expect("a prefix")]
    );
    assert_eq!(first.route.path.to_string(), "64510 64501 {64497,64499}");
    let second = routes(next(&mut events).await);
    assert_eq!(
        second.withdrawn,
        ["198.51.100.0/24".parse().expect("a prefix")]
    );
    let down = next(&mut events).await;
    assert!(
        matches!(down, Event::PeerDown { lost: false, .. }),
        "{down:?}"
    );
    // The server goes away: what was said no longer counts, and the client comes back.
    socket.close(None).await.expect("it is sent");
    assert!(is_away(&next(&mut events).await));
    let (mut socket, _) = server.accept().await;
    socket
        .send(Frame::text(RECORDED[1]))
        .await
        .expect("it is sent");
    assert_eq!(routes(next(&mut events).await).withdrawn.len(), 1);
    {
        let status = status.lock().expect("nobody panicked");
        assert_eq!((status.gaps, status.unread, status.dropped), (1, 1, 0));
        assert!(status.connected && status.messages == 7, "{status:?}");
    }
    cancel.cancel();
    client.join_all().await;
}

#[tokio::test]
async fn what_comes_faster_than_it_is_judged_ends_the_connection() {
    let server = Server::start().await;
    let status = Arc::new(Mutex::new(FeedStatus::named("ris live")));
    let (sender, mut events) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let client =
        tokio::task::JoinSet::from_iter([server.client(&status).run(sender, cancel.clone())]);
    let (mut socket, _) = server.accept().await;
    for _ in 0..3 {
        socket
            .send(Frame::text(RECORDED[1]))
            .await
            .expect("it is sent");
    }
    // The detector is busy until the client has given the connection up.
    while let Some(Ok(frame)) = socket.next().await {
        if frame.is_close() {
            break;
        }
    }
    assert_eq!(routes(next(&mut events).await).withdrawn.len(), 1);
    assert!(
        is_away(&next(&mut events).await),
        "a lost withdrawal is no silence"
    );
    assert_eq!(status.lock().expect("nobody panicked").dropped, 1);
    server.accept().await;
    cancel.cancel();
    client.join_all().await;
}
