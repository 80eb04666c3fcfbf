//! Real daemons: `GoBGP` speakers over real sessions, one of them or FRR with BMP to our station; `stayrtr` for RPKI. Each verdict is raised
//! and ended by a real announcement. All on loopback, on ports that nobody else has.

use std::net::TcpListener as StdListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstmile_feeds::bmp::station::{Access, Station};
use firstmile_feeds::event::{Event, FeedId};
use firstmile_feeds::rpki::rtr::Rtr;
use firstmile_feeds::status::FeedStatus;
use firstmile_feeds::watch::Watch;
use firstmile_routing::judge::RulesFile;
use firstmile_routing::verdict::Phase;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks whether something is up.
const PAUSE: Duration = Duration::from_millis(100);

struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| {
            panic!(
                "cannot start {}: {error}; install the Debian packages gobgpd, stayrtr and frr",
                program.display()
            )
        }))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port that is free on every loopback address we use.
fn free_port() -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").expect("loopback has a port");
    listener.local_addr().expect("a bound socket").port()
}

struct Speaker {
    _daemon: Daemon,
    api: u16,
}

impl Speaker {
    fn start(folder: &Path, name: &str, config: &str, address: &str) -> Self {
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, config).expect("the folder takes it");
        let api = free_port();
        let daemon = Daemon::start(
            Command::new("gobgpd")
                .args(["-t", "toml", "-f"])
                .arg(&file)
                .args([
                    "--api-hosts",
                    &format!("{address}:{api}"),
                    "--pprof-disable",
                ]),
        );
        Self {
            _daemon: daemon,
            api,
        }
    }

    /// Waits until the daemon has read its configuration and answers.
    async fn ready(&self, address: &str) {
        let answers = || {
            let output = self.run(address, "global");
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains("AS:")
        };
        let up = async {
            while !answers() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let said = || String::from_utf8_lossy(&self.run(address, "global").stderr).into_owned();
        let waited = tokio::time::timeout(PATIENCE, up).await;
        waited.unwrap_or_else(|_| panic!("gobgpd at {address} does not answer: {}", said()));
    }

    /// Runs `gobgp` once: what it refuses is a failure.
    fn ask(&self, address: &str, words: &str) {
        let output = self.run(address, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gobgp {words}: {errors}");
    }

    fn run(&self, address: &str, words: &str) -> Output {
        Command::new("gobgp")
            .args(["-u", address, "-p", &self.api.to_string()])
            .args(words.split(' '))
            .output()
            .expect("gobgp starts")
    }
}

struct Desk {
    watch: Watch,
    events: mpsc::Receiver<Event>,
}

impl Desk {
    fn watching(events: mpsc::Receiver<Event>) -> Self {
        let rules = r#"{"rules":[{"prefix":"198.51.100.0/24","origins":[64496]},{"prefix":"2001:db8::/32","origins":[64496]}]}"#;
        let (detector, _) = RulesFile::read(rules)
            .and_then(RulesFile::build)
            .expect("rules");
        Self {
            watch: Watch::new(detector),
            events,
        }
    }

    /// Waits until exactly this is said next.
    async fn says(&mut self, wanted: &[&str]) {
        let mut said = Vec::new();
        let all = async {
            while said.len() < wanted.len() {
                let event = self.events.recv().await.expect("the feeds run");
                said.extend(self.watch.apply(event).iter().map(|verdict| {
                    let offender = verdict
                        .offender
                        .map_or("-".to_owned(), |asn| asn.0.to_string());
                    let phase = if verdict.phase == Phase::Start {
                        "start"
                    } else {
                        "end"
                    };
                    format!("{phase} {} {} {offender}", verdict.class, verdict.prefix)
                }));
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, all).await;
        assert!(
            outcome.is_ok(),
            "wanted {wanted:?}, got {said:?} in {PATIENCE:?}"
        );
        assert_eq!(said, wanted);
    }
}

fn unix_now() -> f64 {
    0.0
}

/// The router, with BMP to our station.
fn router_config(router_port: u16, station_port: u16) -> String {
    format!(
        "[global.config]\nas = 64510\nrouter-id = \"192.0.2.1\"\nport = {router_port}\nlocal-address-list = [\"127.0.0.1\"]\n\
             [[neighbors]]\n[neighbors.config]\nneighbor-address = \"127.0.0.2\"\npeer-as = 64500\n\
             [neighbors.transport.config]\npassive-mode = true\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv6-unicast\"\n\
             [[bmp-servers]]\n[bmp-servers.config]\naddress = \"127.0.0.1\"\nport = {station_port}\nroute-monitoring-policy = \"pre-policy\"\n"
    )
}

/// Its neighbour, who announces what it is told to.
fn neighbor_config(router_port: u16) -> String {
    format!(
        "[global.config]\nas = 64500\nrouter-id = \"192.0.2.2\"\nport = -1\n\
             [[neighbors]]\n[neighbors.config]\nneighbor-address = \"127.0.0.1\"\npeer-as = 64510\n\
             [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
             [neighbors.transport.config]\nlocal-address = \"127.0.0.2\"\nremote-port = {router_port}\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv6-unicast\"\n"
    )
}

/// An RPKI validator's server, with payloads that do not allow the owner.
fn validator(folder: &Path) -> (Daemon, u16) {
    let rtr_port = free_port();
    let roas = folder.join("roas.json");
    std::fs::write(
        &roas,
        r#"{"metadata":{"buildtime":"2026-01-01T00:00:00Z"},"roas":[{"prefix":"198.51.100.0/24","maxLength":24,"asn":"AS64499","ta":"test"},
            {"prefix":"2001:db8::/32","maxLength":32,"asn":"AS64498","ta":"test"}]}"#,
    )
    .expect("the folder takes it");
    let daemon = Daemon::start(
        Command::new("stayrtr")
            .args(["-bind", &format!("127.0.0.1:{rtr_port}"), "-cache"])
            .arg(&roas)
            .args(["-checktime=false", "-metrics.addr", ""]),
    );
    (daemon, rtr_port)
}

#[tokio::test]
async fn verdicts_are_raised_and_ended_by_real_announcements_and_by_rpki() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (sender, events) = mpsc::channel(1000);
    let mut desk = Desk::watching(events);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let station_port = listener.local_addr().expect("a bound socket").port();
    let status = Arc::new(Mutex::new(FeedStatus::named("bmp")));
    let station = Station {
        feed: FeedId(1),
        access: Access {
            routers: vec!["127.0.0.1/32".parse().expect("a prefix")],
            max_sessions: 4,
        },
        status: Arc::clone(&status),
        clock: unix_now,
    };
    tasks.spawn(station.serve(listener, sender.clone(), tasks.clone(), cancel.clone()));

    let router_port = free_port();
    let router = Speaker::start(
        folder.path(),
        "router",
        &router_config(router_port, station_port),
        "127.0.0.1",
    );
    let config = neighbor_config(router_port);
    let neighbor = Speaker::start(folder.path(), "neighbor", &config, "127.0.0.2");
    neighbor.ready("127.0.0.2").await;
    let announce = |words: &'static str| neighbor.ask("127.0.0.2", words);

    announce("global rib add 198.51.100.0/24 aspath 64497");
    desk.says(&["start hijack.exact.origin 198.51.100.0/24 64497"])
        .await;
    announce("global rib add 198.51.100.0/24 aspath 64496");
    desk.says(&["end hijack.exact.origin 198.51.100.0/24 64497"])
        .await;
    announce("global rib add 198.51.100.128/25 aspath 64497");
    desk.says(&["start hijack.sub.origin 198.51.100.128/25 64497"])
        .await;
    announce("global rib del 198.51.100.128/25");
    desk.says(&["end hijack.sub.origin 198.51.100.128/25 64497"])
        .await;
    announce("global rib add -a ipv6 2001:db8::/32 aspath 64498");
    desk.says(&["start hijack.exact.origin 2001:db8::/32 64498"])
        .await;

    let (_validator, rtr_port) = validator(folder.path());
    let client = Rtr {
        server: format!("127.0.0.1:{rtr_port}"),
        status: Arc::new(Mutex::new(FeedStatus::named("rtr"))),
        clock: unix_now,
    };
    tasks.spawn(client.run(sender.clone(), cancel.clone()));
    desk.says(&["start rpki.invalid_asn 198.51.100.0/24 64496"])
        .await;

    announce("global rib del 198.51.100.0/24");
    desk.says(&[
        "end rpki.invalid_asn 198.51.100.0/24 64496",
        "start visibility.lost 198.51.100.0/24 -",
    ])
    .await;
    // The neighbour is gone: a peer down withdraws what it said.
    drop(neighbor);
    desk.says(&["end hijack.exact.origin 2001:db8::/32 64498"])
        .await;
    // The router is gone: what it said no longer counts.
    drop(router);
    desk.says(&["end visibility.lost 198.51.100.0/24 -"]).await;
    assert_eq!(status.lock().expect("no panic").unread, 0);

    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}

/// FRR as Debian packages it, without its zebra: the same router by another maker.
fn frr(folder: &Path, router_port: u16, station_port: u16) -> Daemon {
    let config = folder.join("bgpd.conf");
    let text = format!(
        "router bgp 64510\n bgp router-id 192.0.2.1\n no bgp ebgp-requires-policy\n neighbor 127.0.0.2 remote-as 64500\n neighbor 127.0.0.2 passive\n neighbor 127.0.0.2 disable-connected-check\n \
         !\n address-family ipv4 unicast\n  neighbor 127.0.0.2 soft-reconfiguration inbound\n exit-address-family\n \
         address-family ipv6 unicast\n  neighbor 127.0.0.2 activate\n  neighbor 127.0.0.2 soft-reconfiguration inbound\n exit-address-family\n \
         !\n bmp targets station\n  bmp monitor ipv4 unicast pre-policy\n  bmp monitor ipv6 unicast pre-policy\n  \
         bmp connect 127.0.0.1 port {station_port} min-retry 500 max-retry 2000\n exit\nexit\n"
    );
    std::fs::write(&config, text).expect("the folder takes it");
    Daemon::start(
        Command::new("/usr/lib/frr/bgpd")
            .arg("-f")
            .arg(&config)
            .arg("-i")
            .arg(folder.join("bgpd.pid"))
            .arg("--vty_socket")
            .arg(folder)
            .arg("-z")
            .arg(folder.join("zserv.api"))
            .args(["-M", "bmp", "-n", "-S", "-l", "127.0.0.1", "-P", "0"])
            .args(["-p", &router_port.to_string()]),
    )
}

#[tokio::test]
async fn what_another_maker_s_router_tells_is_judged_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    // FRR leaves root behind for its own user.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), mode).expect("our own folder");
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (sender, events) = mpsc::channel(1000);
    let mut desk = Desk::watching(events);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let station_port = listener.local_addr().expect("a bound socket").port();
    let status = Arc::new(Mutex::new(FeedStatus::named("bmp")));
    let station = Station {
        feed: FeedId(1),
        access: Access {
            routers: vec!["127.0.0.1/32".parse().expect("a prefix")],
            max_sessions: 4,
        },
        status: Arc::clone(&status),
        clock: unix_now,
    };
    tasks.spawn(station.serve(listener, sender, tasks.clone(), cancel.clone()));
    let router_port = free_port();
    let router = frr(folder.path(), router_port, station_port);
    let config = neighbor_config(router_port);
    let neighbor = Speaker::start(folder.path(), "neighbor", &config, "127.0.0.2");
    neighbor.ready("127.0.0.2").await;
    let announce = |words: &'static str| neighbor.ask("127.0.0.2", words);

    // FRR refuses a next hop on loopback (RFC 4271 §6.3).
    announce("global rib add 198.51.100.0/24 nexthop 192.0.2.2 aspath 64497");
    desk.says(&["start hijack.exact.origin 198.51.100.0/24 64497"])
        .await;
    announce("global rib add 198.51.100.0/24 nexthop 192.0.2.2 aspath 64496");
    desk.says(&["end hijack.exact.origin 198.51.100.0/24 64497"])
        .await;
    announce("global rib add -a ipv6 2001:db8:1::/48 nexthop 2001:db8:ffff::2 aspath 64498");
    desk.says(&["start hijack.sub.origin 2001:db8:1::/48 64498"])
        .await;
    announce("global rib del -a ipv6 2001:db8:1::/48");
    desk.says(&["end hijack.sub.origin 2001:db8:1::/48 64498"])
        .await;
    announce("global rib del 198.51.100.0/24");
    desk.says(&["start visibility.lost 198.51.100.0/24 -"])
        .await;
    drop(router);
    desk.says(&["end visibility.lost 198.51.100.0/24 -"]).await;
    assert_eq!(status.lock().expect("no panic").unread, 0);

    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}
