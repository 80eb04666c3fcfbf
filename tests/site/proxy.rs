//! A site that reaches its collector through a proxy with a password only: a real tinyproxy.

use firstmile_wire::v1::Mark;

use crate::rig::{Rig, Running, inside, needs, said};

const PASSWORD: &str = "hunter2-and-more";

/// An agent in `site`, the proxy in `dmz`, the collector in `hq`. Nothing is routed between the two ends.
fn site(rig: &Rig) -> Running {
    for name in ["site", "dmz", "hq"] {
        Rig::namespace(name);
    }
    Rig::cable(
        ("site", "eth0", &["198.51.100.2/24"]),
        ("dmz", "inner", &["198.51.100.1/24"]),
    );
    Rig::cable(
        ("hq", "eth0", &["192.0.2.10/24"]),
        ("dmz", "outer", &["192.0.2.1/24"]),
    );
    rig.collector("hq", "https://192.0.2.10:8443")
}

fn tinyproxy(rig: &Rig, port: u16, connect_port: u16) -> Running {
    let config = rig.write(
        &format!("tinyproxy-{port}.conf"),
        &format!("Port {port}\nListen 198.51.100.1\nTimeout 60\nMaxClients 20\nBasicAuth agent {PASSWORD}\nConnectPort {connect_port}\n"),
    );
    let running = rig.start(
        "dmz",
        &format!("tinyproxy-{port}"),
        &["tinyproxy", "-d", "-c", &config.display().to_string()],
    );
    rig.until("the proxy to listen", || {
        Rig::in_namespace("dmz", &["ss", "-Hltn"])
            .contains(&format!(":{port} "))
            .then_some(())
    });
    running
}

fn configuration(rig: &Rig, port: u16, credentials: Option<&str>) -> String {
    let credentials = credentials.map_or_else(String::new, |text| {
        let file = rig.write("credentials", text);
        format!("credentials_file = {:?}\n", file.display().to_string())
    });
    let text = format!(
        "state_dir = {:?}\ntarget_sets = []\nresolvers = [\"198.51.100.1\"]\n[[target]]\nname = \"dmz\"\nhost = \"198.51.100.1\"\nport = 3128\nprotocols = [\"tcp\"]\ntrace = false\n[plan]\npulse_interval = \"1s\"\nupload_interval = \"1s\"\n[proxy]\nurl = \"http://198.51.100.1:{port}\"\n{credentials}",
        rig.path("state").display().to_string()
    );
    rig.write("agent.toml", &text).display().to_string()
}

#[test]
fn enrolment_and_reports_pass_a_proxy_and_refusals_say_what_to_do() {
    let name = "proxy::enrolment_and_reports_pass_a_proxy_and_refusals_say_what_to_do";
    needs("tinyproxy", "tinyproxy-bin");
    inside(name, |rig| {
        let collector = site(&rig);
        let _proxies = [tinyproxy(&rig, 3128, 8443), tinyproxy(&rig, 3129, 443)];
        let join = rig.join_string("hq").display().to_string();
        let right = format!("agent:{PASSWORD}");
        let enroll = |port, credentials| {
            let config = configuration(&rig, port, credentials);
            let output = Rig::agent(
                "site",
                &[],
                &["--config", &config, "enroll", "--join-file", &join],
            );
            let text = said(&output);
            assert!(!text.contains(PASSWORD), "{text}");
            (output.status.success(), text)
        };
        for (name, port, credentials, want) in [
            (
                "nobody",
                3128,
                None,
                "wants user and password (407, Basic): put user:password into a file",
            ),
            (
                "another",
                3128,
                Some("agent:wrong"),
                "does not accept the user and password",
            ),
            (
                "a port that is shut",
                3129,
                Some(right.as_str()),
                "forbids connections to 192.0.2.10:8443 (403): allow CONNECT",
            ),
            (
                "no proxy there",
                3130,
                Some(right.as_str()),
                "cannot reach the proxy 198.51.100.1:3130 (proxy.url)",
            ),
        ] {
            let (enrolled, text) = enroll(port, credentials);
            assert!(!enrolled && text.contains(want), "{name}: {text}");
        }
        let (enrolled, text) = enroll(3128, Some(&right));
        assert!(enrolled, "the same join string is still good: {text}");
        reports(&rig, &right);
        through_the_environment(&rig, &right);
        collector.stop();
        marked(&rig, &right);
    });
}

/// Reports arrive, the address that the collector sees is the proxy's, and the password is nowhere.
fn reports(rig: &Rig, credentials: &str) {
    let config = configuration(rig, 3128, Some(credentials));
    let agent = rig.start(
        "site",
        "agent",
        &[
            &crate::rig::built("firstmile-agent"),
            "--config",
            &config,
            "run",
        ],
    );
    let status = rig.until("a report to be taken", || {
        let status = rig.status("state");
        status["seen_address"].is_string().then_some(status)
    });
    assert_eq!(status["seen_address"], "192.0.2.1");
    assert_eq!(status["proxy"], "198.51.100.1:3128");
    let line = std::fs::read(format!("/proc/{}/cmdline", agent.id())).unwrap_or_default();
    let shown = [
        agent.text(),
        status.to_string(),
        String::from_utf8_lossy(&line).into_owned(),
    ]
    .concat();
    assert!(!shown.contains(PASSWORD), "{shown}");
    let told = said(&Rig::agent("site", &[], &["--config", &config, "status"]));
    assert!(
        told.contains("192.0.2.1 (public address as the collector sees it)"),
        "{told}"
    );
    agent.stop();
}

/// The same by `HTTPS_PROXY`, as doctor sees it.
fn through_the_environment(rig: &Rig, credentials: &str) {
    let file = configuration(rig, 3128, None);
    let text = std::fs::read_to_string(&file).expect("written");
    let (text, _) = text.split_once("[proxy]").expect("a table");
    let config = rig.write("environment.toml", text).display().to_string();
    let doctor = |proxy: &str| {
        let output = Rig::agent(
            "site",
            &[("HTTPS_PROXY", proxy)],
            &["--config", &config, "doctor", "--json"],
        );
        let text = said(&output);
        assert!(!text.contains(PASSWORD), "{text}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = document["findings"].as_array().expect("findings").clone();
        let found = findings
            .into_iter()
            .find(|finding| finding["check"] == "collector");
        found.expect("the collector is looked at")
    };
    let good = doctor(&format!("http://{credentials}@198.51.100.1:3128"));
    assert_eq!(good["level"], "ok", "{good}");
    assert!(
        good["says"]
            .as_str()
            .expect("text")
            .contains("through the proxy 198.51.100.1:3128"),
        "{good}"
    );
    let bad = doctor("http://198.51.100.1:3128");
    assert_eq!(bad["level"], "problem", "{bad}");
    assert!(bad["says"].as_str().expect("text").contains("407"), "{bad}");
    assert!(
        bad["change"].as_str().expect("text").contains("[proxy]"),
        "{bad}"
    );
}

/// Users take the proxy: the probes, which do not, say so; and so does what is told of the machine.
fn marked(rig: &Rig, credentials: &str) {
    let config = configuration(rig, 3128, Some(credentials));
    let agent = rig.start(
        "site",
        "agent-marked",
        &[
            &crate::rig::built("firstmile-agent"),
            "--config",
            &config,
            "run",
        ],
    );
    rig.until("marked samples", || {
        let reports = rig.reports("state");
        let mut marks = reports
            .iter()
            .flat_map(|report| &report.series)
            .flat_map(|series| &series.marks);
        marks
            .any(|marks| marks & Mark::NotUsersPath as u32 != 0)
            .then_some(())
    });
    rig.until("the proxy in what is told of the machine", || {
        let reports = rig.reports("state");
        let mut contexts = reports.iter().flat_map(|report| &report.host_contexts);
        contexts
            .any(|context| context.proxy == "198.51.100.1:3128")
            .then_some(())
    });
    agent.stop();
}
