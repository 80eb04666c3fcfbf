//! Scripts that were written for `Microsoft.Peering`, with the client that its publisher gives out, pointed at the collector.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const CONFIG: &str = r#"
data_dir = "data"
[ingest]
listen = "127.0.0.1:0"
public_url = "https://localhost:8443"
[dashboard]
listen = "127.0.0.1:0"
tls = "own-ca"
[routing]
rules = "rules.json"
bmp_routers = ["127.0.0.0/8"]
"#;

/// What routing watches; the rules of the service are judged without it.
const RULES: &str = r#"{"rules":[{"prefix":"198.51.100.0/24","origins":[64500]}]}"#;

/// A program that was built beside this one.
fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test has a program");
    let folder = own
        .ancestors()
        .nth(2)
        .expect("it lies in target/PROFILE/deps");
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "there is no {}: `cargo xtask test` builds it",
        program.display()
    );
    program
}

/// The published client, where `cargo xtask test` put it.
fn client() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a program");
    let target = own
        .ancestors()
        .nth(3)
        .expect("it lies in target/PROFILE/deps");
    let folder = target.join("arm-client");
    assert!(
        folder.join("azure/mgmt/peering").is_dir(),
        "{} does not hold the client: `cargo xtask test` installs it, or pip3 install --target {0} -r tests/arm/requirements.txt",
        folder.display()
    );
    folder
}

/// A collector that is stopped when the test ends.
struct Collector {
    child: Child,
    folder: tempfile::TempDir,
    url: String,
}

impl Collector {
    fn start(station: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("collector.toml");
        let text = format!("{CONFIG}bmp_listen = \"127.0.0.1:{station}\"\n");
        std::fs::write(&config, text).expect("the folder takes files");
        std::fs::write(folder.path().join("rules.json"), RULES).expect("the folder takes files");
        let log = File::create(folder.path().join("log")).expect("the folder takes files");
        let mut child = Command::new(built("firstmile-collector"))
            .arg("--config")
            .arg(&config)
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the collector starts");
        let stdout = child.stdout.take().expect("it has a standard output");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says where it is");
        let words: Vec<&str> = line.split_whitespace().collect();
        let url = words.iter().skip_while(|word| **word != "dashboard").nth(1);
        let url = url.unwrap_or_else(|| panic!("it says where its dashboard is: {line:?}"));
        Self {
            url: url.trim_end_matches('/').to_owned(),
            child,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn token(&self) -> String {
        let output = Command::new(built("firstmile-collector"))
            .arg("--config")
            .arg(self.path("collector.toml"))
            .args(["token", "make", "script", "--role", "admin"])
            .output()
            .expect("the command runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("a token is text")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // A test that fails leaves no program behind either.
        self.child.kill().expect("it runs until now");
        self.child.wait().expect("it ends");
    }
}

/// A port of this machine that nobody listens on.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("there are ports");
    socket.local_addr().expect("it is bound").port()
}

/// A `GoBGP` speaker that is stopped when the test ends.
struct Speaker {
    child: Child,
    api: u16,
}

impl Speaker {
    fn start(folder: &Path, name: &str, config: &str) -> Self {
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, config).expect("the folder takes files");
        let api = free_port();
        let child = Command::new("gobgpd")
            .args(["-t", "toml", "--pprof-disable", "-f"])
            .arg(&file)
            .args(["--api-hosts", &format!("127.0.0.1:{api}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gobgpd starts: `cargo xtask test` installs it");
        Self { child, api }
    }

    /// Whether the speaker does as it is told.
    fn does(&self, words: &str) -> bool {
        let output = Command::new("gobgp")
            .args(["-u", "127.0.0.1", "-p", &self.api.to_string()])
            .args(words.split(' '))
            .output()
            .expect("gobgp starts: `cargo xtask test` installs it");
        let said = String::from_utf8_lossy(&output.stdout);
        output.status.success() && !said.contains("AS:        0")
    }

    /// Until it has read its configuration.
    fn listening(self) -> Self {
        // Each question takes some hundredths of a second.
        assert!(
            (0..1_000).any(|_| self.does("global")),
            "the speaker does not answer"
        );
        self
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.child.kill().expect("it runs until now");
        self.child.wait().expect("it ends");
    }
}

/// A router with a session to the partner, which it shows to the station, and the partner, which announces a customer's prefix.
fn session(folder: &Path, station: u16) -> [Speaker; 2] {
    let port = free_port();
    let router = format!(
        "[global.config]\nas = 64510\nrouter-id = \"192.0.2.1\"\nport = {port}\nlocal-address-list = [\"127.0.0.1\"]\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"127.0.0.1\"\npeer-as = 64496\n\
         [neighbors.transport.config]\npassive-mode = true\n\
         [[bmp-servers]]\n[bmp-servers.config]\naddress = \"127.0.0.1\"\nport = {station}\n\
         route-monitoring-policy = \"pre-policy\"\n"
    );
    let partner = format!(
        "[global.config]\nas = 64496\nrouter-id = \"192.0.2.2\"\nport = -1\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"127.0.0.1\"\npeer-as = 64510\n\
         [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
         [neighbors.transport.config]\nlocal-address = \"127.0.0.1\"\nremote-port = {port}\n"
    );
    let router = Speaker::start(folder, "router", &router).listening();
    let partner = Speaker::start(folder, "partner", &partner).listening();
    let announce = "global rib add 198.51.100.0/24 aspath 64500 community 8075:8007";
    assert!(partner.does(announce), "gobgp {announce}");
    [router, partner]
}

#[test]
fn a_script_with_the_published_client_registers_lists_and_reads() {
    let station = free_port();
    let collector = Collector::start(station);
    let token = collector.token();
    let [_router, partner] = session(collector.folder.path(), station);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("arm/script.py");
    let mut child = Command::new("python3")
        .arg(script)
        .arg(&collector.url)
        .arg(collector.path("data/ca/ca.crt"))
        .env("PYTHONPATH", client())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut input = child.stdin.take().expect("it has a standard input");
    input
        .write_all(token.as_bytes())
        .expect("it reads the token");
    drop(input);
    let stdout = child.stdout.take().expect("it has a standard output");
    let mut said = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.expect("it says text");
        if line == "now the partner withdraws the prefix" {
            let withdraw = "global rib del 198.51.100.0/24";
            assert!(partner.does(withdraw), "gobgp {withdraw}");
        }
        said.push_str(&line);
        said.push('\n');
    }
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.ends_with("all done\n"), "{said}");
    let log = std::fs::read_to_string(collector.path("log")).expect("it logs");
    assert!(!log.contains(token.trim()), "a secret is in the log");
}
