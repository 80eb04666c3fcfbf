//! Namespaces, programs and reports of one test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use firstmile_lab::clock::poll_until;
use firstmile_wire::frame;
use firstmile_wire::v1;
use nix::sched::{CloneFlags, setns};

/// Set inside the namespaces.
const INSIDE: &str = "FIRSTMILE_SITE_TEST";

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `work` as root of namespaces of its own: this test runs itself again in them.
pub(crate) fn inside(test: &str, work: impl FnOnce(Rig)) {
    if std::env::var_os(INSIDE).is_some() {
        return work(Rig::furnish());
    }
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .arg(std::env::current_exe().expect("a test has a program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("util-linux has unshare");
    // Indented, so that who counts the closing lines of test runs does not count this one too.
    for line in said(&output).lines() {
        println!("    {line}");
    }
    assert!(output.status.success(), "the reason is above");
}

/// Fails the test, by name of the package, where a program of Debian is missing.
pub(crate) fn needs(program: &str, package: &str) {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let is_there = folders
        .iter()
        .any(|folder| Path::new(folder).join(program).is_file());
    assert!(
        is_there,
        "there is no {program}: `cargo xtask test` installs it, or apt-get install {package}"
    );
}

/// The place of one test.
pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn furnish() -> Self {
        run("mount", &["--make-rprivate", "/"]);
        run("mount", &["-t", "tmpfs", "site", "/run"]);
        run("mount", &["-t", "proc", "proc", "/proc"]);
        fs::create_dir("/run/netns").expect("a fresh folder");
        run("ip", &["link", "set", "lo", "up"]);
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self { folder, runtime }
    }

    /// Makes a network namespace.
    pub(crate) fn namespace(name: &str) {
        run("ip", &["netns", "add", name]);
        ip(name, "link set lo up");
    }

    /// Joins two namespaces by a cable whose ends are called and addressed so.
    pub(crate) fn cable(left: (&str, &str, &[&str]), right: (&str, &str, &[&str])) {
        let ((left_name, left_end, left_addresses), (right_name, right_end, right_addresses)) =
            (left, right);
        let text = format!(
            "link add {left_end} netns {left_name} type veth peer name {right_end} netns {right_name}"
        );
        run("ip", &text.split(' ').collect::<Vec<_>>());
        for (name, end, addresses) in [
            (left_name, left_end, left_addresses),
            (right_name, right_end, right_addresses),
        ] {
            for address in addresses {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                ip(name, &format!("addr add {address} dev {end}{nodad}"));
            }
            ip(name, &format!("link set {end} up"));
        }
    }

    /// A path in the folder of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder of the test.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the folder takes files");
        path
    }

    /// Starts a program in a namespace; its output goes to a file, `NAME.log`.
    pub(crate) fn start(&self, namespace: &str, name: &str, command: &[&str]) -> Running {
        let log = self.path(&format!("{name}.log"));
        let out = File::create(&log).expect("the folder takes files");
        let child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .args(command)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a descriptor"))
            .stderr(out)
            .spawn()
            .expect("iproute2 has ip");
        Running { child, log }
    }

    /// Starts the collector in a namespace, reached at `url`.
    pub(crate) fn collector(&self, namespace: &str, url: &str) -> Running {
        let port = url.rsplit(':').next().expect("a port");
        let config = format!(
            "data_dir = {:?}\n[ingest]\nlisten = \"[::]:{port}\"\npublic_url = \"{url}\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n",
            self.path("collector").display().to_string()
        );
        let config = self.write("collector.toml", &config);
        let program = built("firstmile-collector");
        let running = self.start(
            namespace,
            "collector",
            &[&program, "--config", &config.display().to_string(), "serve"],
        );
        self.until("the collector to listen", || {
            let listening = Self::in_namespace(namespace, &["ss", "-Hltn"]);
            listening.contains(&format!(":{port} ")).then_some(())
        });
        running
    }

    /// A join string of the collector.
    pub(crate) fn join_string(&self, namespace: &str) -> PathBuf {
        let config = self.path("collector.toml");
        let program = built("firstmile-collector");
        let text = Self::in_namespace(
            namespace,
            &[
                &program,
                "--config",
                &config.display().to_string(),
                "join-string",
                "--site",
                "Site",
            ],
        );
        let word = text
            .split_whitespace()
            .find(|word| word.len() > 60)
            .unwrap_or_else(|| panic!("a join string: {text}"));
        self.write("join", word)
    }

    /// Runs the agent to its end.
    pub(crate) fn agent(
        namespace: &str,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Output {
        Command::new("ip")
            .args(["netns", "exec", namespace, &built("firstmile-agent")])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("iproute2 has ip")
    }

    /// What a command in a namespace prints.
    pub(crate) fn in_namespace(namespace: &str, command: &[&str]) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", namespace])
            .args(command)
            .output()
            .expect("iproute2 has ip");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes `server` the resolver of every program in the test, by a `/etc/resolv.conf` that nobody else sees.
    pub(crate) fn resolver(&self, server: &str) {
        let ours = self.write("resolv.conf", &format!("nameserver {server}\n"));
        let system = Path::new("/etc/resolv.conf");
        // A link into /run leads nowhere now: /run is the test's own, and empty.
        if let (false, Ok(target)) = (system.exists(), fs::read_link(system)) {
            let target = Path::new("/etc").join(target);
            let folder = target.parent().expect("a file has a folder");
            fs::create_dir_all(folder).expect("/run takes folders");
            fs::write(&target, "").expect("/run takes files");
        }
        let ours = ours.display().to_string();
        run("mount", &["--bind", &ours, "/etc/resolv.conf"]);
    }

    /// Answers every request at an address of a namespace so, until the test ends.
    pub(crate) fn answer(namespace: &str, at: &str, response: &'static str) {
        let place = File::open(Path::new("/run/netns").join(namespace)).expect("a namespace");
        let (listens, listening) = mpsc::channel();
        let at = at.to_owned();
        // A namespace is a thread's: this one ends with the program.
        std::thread::spawn(move || {
            setns(place, CloneFlags::CLONE_NEWNET).expect("root enters namespaces");
            let listener = TcpListener::bind(at).expect("an address of the namespace");
            listens.send(()).expect("awaited");
            for stream in listener.incoming().flatten() {
                let mut request = [0; 1024];
                let answered = (&stream)
                    .read(&mut request)
                    .and_then(|_| (&stream).write_all(response.as_bytes()));
                if let Err(error) = answered {
                    println!("a request was not answered: {error}");
                }
            }
        });
        listening.recv_timeout(PATIENCE).expect("it listens");
    }

    /// What the collector's API in a namespace answers; `null` when it does not.
    pub(crate) fn dashboard(namespace: &str, path: &str) -> serde_json::Value {
        let listening = Self::in_namespace(namespace, &["ss", "-Hltn"]);
        let address = listening
            .split_whitespace()
            .find(|word| word.starts_with("127.0.0.1:"))
            .unwrap_or_else(|| panic!("no dashboard listens: {listening}"));
        let place = File::open(Path::new("/run/netns").join(namespace)).expect("a namespace");
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        // A namespace is a thread's: this one ends with the answer.
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                setns(place, CloneFlags::CLONE_NEWNET).expect("root enters namespaces");
                let mut stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(request.as_bytes())?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                std::io::Result::Ok(answer)
            });
            asking.join().expect("it does not panic")
        });
        let answer = answer.unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        body.and_then(|body| serde_json::from_str(body).ok())
            .unwrap_or_default()
    }

    /// The `status.json` of an agent whose `state_dir` is `state`; `null` before there is one.
    pub(crate) fn status(&self, state: &str) -> serde_json::Value {
        fs::read(self.path(state).join("status.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// The reports that wait in the spool of an agent, in order.
    pub(crate) fn reports(&self, state: &str) -> Vec<v1::Report> {
        let Ok(files) = fs::read_dir(self.path(state).join("spool")) else {
            return Vec::new();
        };
        let mut reports: Vec<v1::Report> = files
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|end| end == "report"))
            .filter_map(|file| frame::decode(&fs::read(file.path()).ok()?).ok())
            .collect();
        reports.sort_by_key(|report| report.sequence);
        reports
    }

    /// Waits until `probe` finds something.
    pub(crate) fn until<T>(&self, what: &str, probe: impl Fn() -> Option<T>) -> T {
        let pause = Duration::from_millis(200);
        let looking = poll_until(what, PATIENCE, pause, async || Ok(probe()));
        self.runtime.block_on(looking).unwrap_or_else(|error| {
            for entry in fs::read_dir(self.folder.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                if entry.path().extension().is_some_and(|end| end == "log") {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    println!("== {}\n{text}", entry.path().display());
                }
            }
            panic!("{error:#}")
        })
    }
}

/// A program that ends with the test.
pub(crate) struct Running {
    child: Child,
    pub(crate) log: PathBuf,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it.
    pub(crate) fn stop(mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs `ip` in a namespace.
pub(crate) fn ip(namespace: &str, text: &str) {
    let mut words = vec!["-n", namespace];
    words.extend(text.split(' '));
    run("ip", &words);
}

/// What a program said on both outputs.
pub(crate) fn said(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr];
    text.map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        said(&output)
    );
}

/// A program that cargo built beside this test.
pub(crate) fn built(name: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_firstmile-lab")).with_file_name(name);
    assert!(
        program.is_file(),
        "there is no {}: run `cargo build` first",
        program.display()
    );
    program.display().to_string()
}
