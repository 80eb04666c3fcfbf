//! Receivers as they are packaged: Alertmanager, a mail server, rsyslog.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Rig, now_unix_ms};

/// Nothing here takes so long, however slow the machine is.
const AT_MOST: Duration = Duration::from_mins(2);

/// A program that ends with the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn start(package: &str, command: &mut Command) -> Running {
    let started = command.spawn();
    Running(started.unwrap_or_else(|error| {
        panic!("{error}: the Debian package {package} is missing; `cargo xtask test` installs it")
    }))
}

/// A loopback address that is this process's own: what is free there now is still free when another program takes it.
pub(crate) fn own_host() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, 128 | high, middle, low])
}

/// A port of [`own_host`] that no other test here is given.
pub(crate) fn own_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let socket = TcpListener::bind((own_host(), 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// Looks until something is there; what it waits for is another program's state.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        let mut looks = tokio::time::interval(Duration::from_millis(200));
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let waited = tokio::time::timeout(AT_MOST, found).await;
    waited.unwrap_or_else(|_| panic!("it did not come: {what}"))
}

/// Programs of this program's kind need the TLS provider once.
fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn alertmanager_shows_the_alert_and_resolves_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("alertmanager.yml");
    std::fs::write(
        &config,
        "route: {receiver: none}\nreceivers: [{name: none}]\n",
    )
    .unwrap();
    let (host, port) = (own_host(), own_port());
    let _alertmanager = start(
        "prometheus-alertmanager",
        Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().display()))
            .arg(format!("--web.listen-address={host}:{port}"))
            .arg("--cluster.listen-address=")
            .stderr(Stdio::null()),
    );
    let client = client();
    let url = format!("http://{host}:{port}/api/v2/alerts");
    let alerts = async || -> Option<Vec<Value>> {
        let answer = client.get(&url).send().await.ok()?;
        answer.json().await.ok()
    };
    until("Alertmanager", alerts).await;

    let rig = Rig::new().await;
    rig.configure(&format!(
        "[notify]\nend_after = '1s'\ndashboard_url = 'https://collector.example'\n\
         [notify.channels.alerts]\nkind = 'alertmanager'\nurl = 'http://{host}:{port}'\n"
    ));
    let began = now_unix_ms() - 40_000;
    rig.write("failure", began, None).await;
    let collector = rig.serve();
    let alert = until("the alert", async || alerts().await?.into_iter().next()).await;
    assert_eq!(alert["labels"]["alertname"], "PathGeoFailoverEvent");
    assert_eq!(alert["labels"]["severity"], "error");
    assert_eq!(alert["labels"]["incident"], "failure");
    assert_eq!(
        alert["generatorURL"],
        "https://collector.example/incidents/failure"
    );
    assert_eq!(alert["status"]["state"], "active");
    collector.kill();

    rig.write("failure", began, Some(now_unix_ms())).await;
    let collector = rig.serve();
    // Alertmanager lists what is firing: an alert that is resolved is gone.
    until("its end", async || alerts().await?.is_empty().then_some(())).await;
    collector.stop();
}

#[tokio::test]
async fn a_mail_server_takes_text_and_html_under_one_identity() {
    let (host, port) = (own_host(), own_port());
    let mut server = start(
        "python3-aiosmtpd",
        Command::new("/usr/bin/aiosmtpd")
            .args(["-n", "-c", "aiosmtpd.handlers.Debugging", "stdout"])
            .env("PYTHONUNBUFFERED", "1")
            .args(["-l", &format!("{host}:{port}")])
            .stdout(Stdio::piped()),
    );
    let said = lines(&mut server);
    until("the mail server", async || {
        std::net::TcpStream::connect((host, port)).ok()
    })
    .await;
    let rig = Rig::new().await;
    rig.configure(&format!(
        "[notify.channels.noc]\nkind = 'mail'\nhost = '{host}'\nport = {port}\nsecurity = 'none'\n\
         from = 'firstmile <firstmile@example.com>'\nto = ['noc@example.com', 'on-call@example.com']\n"
    ));
    let (code, told) = rig.command(&["notify", "test"]).await;
    assert_eq!(code, Some(0), "{told}");
    let mail = until_line(&said, "END MESSAGE");
    for part in [
        "Subject: firstmile [test]",
        "Message-ID: <",
        "@example.com>",
        "Auto-Submitted: auto-generated",
        "To: noc@example.com, on-call@example.com",
        "text/plain",
        "text/html",
    ] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
}

#[tokio::test]
async fn rsyslog_reads_the_structured_data_over_tcp_and_udp() {
    let folder = tempfile::tempdir().unwrap();
    let host = own_host();
    let (log, tcp, udp) = (folder.path().join("log"), own_port(), own_port());
    let config = folder.path().join("rsyslog.conf");
    let text = format!(
        "module(load=\"imtcp\")\nmodule(load=\"imudp\")\n\
         input(type=\"imtcp\" address=\"{host}\" port=\"{tcp}\")\ninput(type=\"imudp\" address=\"{host}\" port=\"{udp}\")\n\
         template(name=\"parts\" type=\"string\" string=\"%inputname% %protocol-version% %syslogpriority-text% %syslogfacility-text% \
         %app-name% %msgid% %structured-data% %msg%\\n\")\n\
         action(type=\"omfile\" file=\"{}\" template=\"parts\")\n",
        log.display()
    );
    std::fs::write(&config, text).unwrap();
    let _rsyslog = start(
        "rsyslog",
        Command::new("/usr/sbin/rsyslogd")
            .args(["-n", "-f"])
            .arg(&config)
            .arg("-i")
            .arg(folder.path().join("pid")),
    );
    until("rsyslog", async || {
        std::net::TcpStream::connect((host, tcp)).ok()
    })
    .await;
    let rig = Rig::new().await;
    rig.configure(&format!(
        "[notify.channels.tcp]\nkind = 'syslog'\nhost = '{host}'\nport = {tcp}\n\
         [notify.channels.udp]\nkind = 'syslog'\nhost = '{host}'\nport = {udp}\ntransport = 'udp'\nfacility = 4\n"
    ));
    let (code, told) = rig.command(&["notify", "test"]).await;
    assert_eq!(code, Some(0), "{told}");
    let ours = async || {
        let lines = read(&log);
        let ours: Vec<String> = lines
            .into_iter()
            .filter(|line| line.contains("firstmile"))
            .collect();
        (ours.len() >= 2).then_some(ours)
    };
    let lines = until("both lines", ours).await;
    let find = |input: &str| lines.iter().find(|line| line.starts_with(input)).unwrap();
    let (by_tcp, by_udp) = (find("imtcp"), find("imudp"));
    assert!(
        by_tcp
            .contains(" 1 info local0 firstmile FirstmileTestEvent [firstmile@32473 messageId=\""),
        "{by_tcp}"
    );
    assert!(
        by_udp.contains(" 1 info auth firstmile FirstmileTestEvent [firstmile@32473 "),
        "{by_udp}"
    );
    assert!(
        by_tcp.contains("phase=\"test\"") && by_tcp.ends_with("nothing happened"),
        "{by_tcp}"
    );
}

fn read(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What a program says, line by line, as it comes.
fn lines(program: &mut Running) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let out = program.0.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// All lines up to one that holds a text.
fn until_line(lines: &mpsc::Receiver<String>, last: &str) -> String {
    let mut all = String::new();
    loop {
        let line = lines
            .recv_timeout(AT_MOST)
            .unwrap_or_else(|_| panic!("{last} did not come: {all}"));
        all.push_str(&line);
        all.push('\n');
        if line.contains(last) {
            return all;
        }
    }
}
