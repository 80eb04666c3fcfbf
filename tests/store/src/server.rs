//! A peer that runs as a server: started on a free port of loopback, spoken to by HTTP, ended with this value.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::clock;

/// How long a server may take until it listens, and to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one answer may take: a merge of everything is one.
const ANSWER: Duration = Duration::from_mins(10);

/// The running peer.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

/// A port that nobody has just now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("loopback has no port")?;
    Ok(listener.local_addr().context("a bound socket")?.port())
}

impl Server {
    /// Starts it and waits until it answers at `ready`.
    pub(crate) fn start(command: &mut Command, port: u16, ready: &str) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self { child, port };
        let started = clock::monotonic();
        while server
            .connect()
            .and_then(|mut line| line.ask("GET", ready, b""))
            .is_err()
        {
            if let Some(status) = server.child.try_wait().context("cannot wait for a peer")? {
                bail!("{command:?} ended with {status}");
            }
            if clock::monotonic().saturating_sub(started) > PATIENCE {
                bail!("{command:?} does not answer");
            }
            clock::pass(50);
        }
        Ok(server)
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> anyhow::Result<Line> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).context("nobody listens")?;
        stream.set_read_timeout(Some(ANSWER)).context("a timeout")?;
        Ok(Line(BufReader::new(stream)))
    }

    /// Processor time that it has used, user and system.
    pub(crate) fn processor(&self) -> anyhow::Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let (_, fields) = text
            .rsplit_once(')')
            .context("a stat has a name in brackets")?;
        // Fields 14 and 15 of the whole; the rest begins with field 3. In hundredths of a second.
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// What a question takes of its processor time, in milliseconds: the middle one of three after a first.
    pub(crate) fn asked(
        &self,
        line: &mut Line,
        question: (&str, &str, &[u8]),
    ) -> anyhow::Result<f64> {
        let (method, path, body) = question;
        let mut runs = Vec::new();
        for run in 0..4 {
            let from = self.processor()?;
            let answer = line.ask(method, path, body)?;
            ensure!(!answer.is_empty(), "a peer answers nothing");
            if run > 0 {
                runs.push(self.processor()?.saturating_sub(from));
            }
        }
        runs.sort_unstable();
        let middle = runs.get(1).copied().unwrap_or_default();
        Ok(middle.as_secs_f64() * 1e3)
    }

    /// Ends it in order, so that all it has is on disk.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).context("a pid")?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)
            .context("cannot end a peer")?;
        let started = clock::monotonic();
        while self
            .child
            .try_wait()
            .context("cannot wait for a peer")?
            .is_none()
        {
            if clock::monotonic().saturating_sub(started) > PATIENCE {
                bail!("a peer does not end");
            }
            clock::pass(50);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nobody to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One kept connection.
pub(crate) struct Line(BufReader<TcpStream>);

impl Line {
    /// Asks, and gives back the body of a 2xx answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes()).context("cannot ask")?;
        stream.write_all(body).context("cannot ask")?;
        let status = self.line()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let header = self.line()?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().context("a length")?;
            }
            chunked |= header.starts_with("transfer-encoding: chunked");
        }
        let mut answer = Vec::new();
        if chunked {
            self.chunks(&mut answer)?;
        } else {
            answer.resize(length, 0);
            self.0
                .read_exact(&mut answer)
                .context("cannot read an answer")?;
        }
        if !status.starts_with("HTTP/1.1 2") {
            bail!(
                "{method} {path}: {status}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        Ok(answer)
    }

    fn chunks(&mut self, answer: &mut Vec<u8>) -> anyhow::Result<()> {
        loop {
            let size = usize::from_str_radix(self.line()?.trim(), 16).context("a chunk's size")?;
            let from = answer.len();
            answer.resize(from + size, 0);
            self.0
                .read_exact(answer.get_mut(from..).unwrap_or_default())
                .context("a chunk")?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let n = self
            .0
            .read_line(&mut line)
            .context("cannot read an answer")?;
        if n == 0 {
            bail!("the peer hung up");
        }
        Ok(line.trim_end().to_owned())
    }
}
