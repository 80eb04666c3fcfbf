//! Scripts that were written for `Microsoft.Peering`, with the client that its publisher gives out, pointed at the collector.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
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
"#;

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
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("collector.toml");
        std::fs::write(&config, CONFIG).expect("the folder takes files");
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

#[test]
fn a_script_with_the_published_client_registers_lists_and_reads() {
    let collector = Collector::start();
    let token = collector.token();
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
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.ends_with("all done\n"), "{said}");
    let log = std::fs::read_to_string(collector.path("log")).expect("it logs");
    assert!(!log.contains(token.trim()), "a secret is in the log");
}
