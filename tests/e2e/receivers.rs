//! Whom the collector tells: a webhook that takes everything, and Alertmanager as Debian packages it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstmile_lab::clock::poll_until;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

/// How long Alertmanager may take to start.
const READY: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);

/// What one channel heard of one incident.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Class of the incident.
    pub(crate) class: String,
    /// Phases, each message once.
    pub(crate) phases: Vec<String>,
    /// Sentences.
    pub(crate) summaries: Vec<String>,
}

impl Told {
    pub(crate) fn is_over(&self) -> bool {
        self.phases.last().is_some_and(|phase| phase == "end")
    }
}

#[derive(Default)]
struct Heard {
    messages: BTreeSet<(String, String)>,
    channels: BTreeMap<String, BTreeMap<String, Told>>,
}

/// A receiver that takes everything; a message that comes again under its identity is the same.
pub(crate) struct Hook {
    pub(crate) port: u16,
    heard: Arc<Mutex<Heard>>,
}

impl Hook {
    pub(crate) async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let tasks = TaskTracker::new();
        let (all, connections) = (Arc::clone(&heard), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                connections.spawn(take(stream, Arc::clone(&all)));
            }
        });
        Self { port, heard }
    }

    /// What a channel heard, by incident.
    pub(crate) fn heard(&self, channel: &str) -> BTreeMap<String, Told> {
        let heard = self.heard.lock().unwrap();
        heard.channels.get(channel).cloned().unwrap_or_default()
    }
}

async fn take(stream: TcpStream, heard: Arc<Mutex<Heard>>) {
    let mut stream = BufReader::new(stream);
    while let Some((channel, body)) = request(&mut stream).await {
        let notice: Value = serde_json::from_slice(&body).unwrap();
        println!("told {channel}: {} {}", notice["phase"], notice["summary"]);
        note(&heard, channel, &notice);
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

fn note(heard: &Mutex<Heard>, channel: String, notice: &Value) {
    let text = |key: &str| notice[key].as_str().unwrap_or_default().to_owned();
    let mut heard = heard.lock().unwrap();
    if heard.messages.insert((channel.clone(), text("message_id"))) {
        let incidents = heard.channels.entry(channel).or_default();
        let told = incidents
            .entry(text("incident_id"))
            .or_insert_with(|| Told {
                class: text("class"),
                phases: Vec::new(),
                summaries: Vec::new(),
            });
        told.phases.push(text("phase"));
        told.summaries.push(text("summary"));
    }
}

/// The last part of a request's path, and its body.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok().filter(|n| *n > 0)?;
    let channel = first.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((channel, body))
}

/// A loopback address that is this process's own: a port that is free there is still free when Alertmanager takes it.
fn own_host() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, 128 | high, middle, low])
}

/// Alertmanager, which ends with the test.
pub(crate) struct Alertmanager {
    pub(crate) address: SocketAddr,
    client: reqwest::Client,
    _running: Child,
}

impl Alertmanager {
    pub(crate) async fn start(folder: &Path) -> Self {
        let config = folder.join("alertmanager.yml");
        let nobody = "route: {receiver: none}\nreceivers: [{name: none}]\n";
        std::fs::write(&config, nobody).unwrap();
        let address = {
            let socket = TcpListener::bind((own_host(), 0)).await.unwrap();
            socket.local_addr().unwrap()
        };
        let running = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.path={}",
                folder.join("alerts").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the Debian package prometheus-alertmanager; `cargo xtask test` installs it");
        let started = Self {
            address,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _running: running,
        };
        let ready = async || Ok(started.incidents().await.ok());
        poll_until("Alertmanager", READY, PAUSE, ready)
            .await
            .unwrap();
        started
    }

    /// Incidents of the alerts that fire: one that is resolved is gone.
    pub(crate) async fn incidents(&self) -> anyhow::Result<BTreeSet<String>> {
        let url = format!("http://{}/api/v2/alerts", self.address);
        let answer = self.client.get(&url).send().await?.error_for_status()?;
        let alerts: Vec<Value> = answer.json().await?;
        let incident = |alert: &Value| Some(alert["labels"]["incident"].as_str()?.to_owned());
        Ok(alerts.iter().filter_map(incident).collect())
    }
}
