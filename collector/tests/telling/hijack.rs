//! A hijack from end to end: a router that speaks BGP and BMP, the collector, and whoever is told.

use std::process::{Command, Stdio};

use crate::KEY;
use crate::real::{Running, own_host, own_port, start, until};
use crate::receiver::Receiver;
use crate::rig_with;

/// A `GoBGP` speaker in the rig's folder; it answers when it has read its configuration.
struct Speaker {
    _running: Running,
    api: u16,
}

impl Speaker {
    async fn start(folder: &std::path::Path, name: &str, config: &str) -> Self {
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, config).unwrap();
        let api = own_port();
        let running = start(
            "gobgpd",
            Command::new("gobgpd")
                .args(["-t", "toml", "--pprof-disable", "-f"])
                .arg(&file)
                .args(["--api-hosts", &format!("{}:{api}", own_host())])
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let speaker = Self {
            _running: running,
            api,
        };
        until("a speaker", async || speaker.ask("global").then_some(())).await;
        speaker
    }

    fn ask(&self, words: &str) -> bool {
        let output = Command::new("gobgp")
            .args(["-u", &own_host().to_string(), "-p", &self.api.to_string()])
            .args(words.split(' '))
            .output();
        let output = output.unwrap();
        output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("AS:        0")
    }

    fn does(&self, words: &str) {
        assert!(self.ask(words), "gobgp {words}");
    }
}

fn router(port: u16, station: u16) -> String {
    let host = own_host();
    format!(
        "[global.config]\nas = 64510\nrouter-id = \"192.0.2.1\"\nport = {port}\nlocal-address-list = [\"{host}\"]\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"127.0.0.1\"\npeer-as = 64500\n\
         [neighbors.transport.config]\npassive-mode = true\n\
         [[bmp-servers]]\n[bmp-servers.config]\naddress = \"{host}\"\nport = {station}\nroute-monitoring-policy = \"pre-policy\"\n"
    )
}

fn neighbor(port: u16) -> String {
    let host = own_host();
    format!(
        "[global.config]\nas = 64500\nrouter-id = \"192.0.2.2\"\nport = -1\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{host}\"\npeer-as = 64510\n\
         [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
         [neighbors.transport.config]\nlocal-address = \"127.0.0.1\"\nremote-port = {port}\n"
    )
}

#[tokio::test]
async fn a_hijack_that_a_router_hears_is_told_once_and_its_end_once() {
    let receiver = Receiver::start(KEY).await;
    let (station, port) = (own_port(), own_port());
    let routing = format!(
        "[routing]\nrules = 'rules.json'\nbmp_listen = '{}:{station}'\nbmp_routers = ['127.0.0.0/8']\n",
        own_host()
    );
    let rig = rig_with(&receiver, "").await;
    rig.file(
        "rules.json",
        r#"{"rules":[{"prefix":"198.51.100.0/24","origins":[64496]}]}"#,
    );
    rig.configure_more(&routing);
    let collector = rig.serve();

    let router = Speaker::start(rig.folder(), "router", &router(port, station)).await;
    let neighbor = Speaker::start(rig.folder(), "neighbor", &neighbor(port)).await;
    neighbor.does("global rib add 198.51.100.0/24 aspath 64496");
    neighbor.does("global rib add 203.0.113.0/24 aspath 64497");
    let established = async || router.ask("global rib 203.0.113.0/24").then_some(());
    until("the session", established).await;

    // The same hijack from two halves and in full is three verdicts of one incident.
    neighbor.does("global rib add 198.51.100.0/25 aspath 64497");
    neighbor.does("global rib add 198.51.100.128/25 aspath 64497");
    receiver.until(|seen| seen.phases("start") >= 1).await;
    neighbor.does("global rib add 198.51.100.0/24 aspath 64497");
    neighbor.does("global rib add 198.51.100.0/24 aspath 64496");
    neighbor.does("global rib del 198.51.100.0/25");
    let waits = receiver.seen().phases("end");
    assert_eq!(waits, 0, "one half is still announced");
    neighbor.does("global rib del 198.51.100.128/25");
    receiver.until(|seen| seen.phases("end") >= 1).await;
    rig.until_nothing_waits().await;
    collector.stop();

    let seen = receiver.seen();
    assert_eq!(
        (seen.phases("start"), seen.phases("end")),
        (1, 1),
        "{seen:?}"
    );
    assert_eq!(seen.forged, 0, "every request is signed");
    assert_eq!(seen.messages.len(), 2, "{seen:?}");

    // What was announced is in the statistics of the month; the halves have no rule of their own.
    let (code, table) = rig.command(&["bgp", "statistics"]).await;
    assert_eq!(code, Some(0), "{table}");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("20"))
        .map(|line| line.split(',').collect())
        .collect();
    let [line] = lines.as_slice() else {
        panic!("{table}")
    };
    let announced: u32 = line[2].parse().unwrap();
    assert!(announced >= 3, "ours, theirs, ours again: {table}");
    assert_eq!(
        (line[1], line[3], line[4], line[5]),
        (
            "198.51.100.0/24",
            "0",
            "2",
            format!("2:{announced}").as_str()
        )
    );
}
