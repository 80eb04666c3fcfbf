//! The site's own resolvers, asked by hickory: each server by itself, so that it is always known which one answered
//! what and how fast; no cache, no hosts file, no search list, so that what is timed is one question and its answer.
//!
//! The system's configuration is read again before each question: a VPN or another network must not leave the agent
//! with yesterday's server.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::clock;
use crate::probe::Outcome;

/// Most addresses and aliases that are kept of one answer.
const MAX_RECORDS: usize = 32;

/// Servers of the system that are asked: resolvers of programs stop at three.
const MAX_SERVERS: usize = 6;

/// One answer for one name and one family, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) at: Instant,
    /// The server that answered, or the last one that did not; "system" where none is configured.
    pub(crate) resolver: String,
    pub(crate) ipv6: bool,
    /// `Answered` also when the name exists and has no address of the family.
    pub(crate) outcome: Outcome,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) cname_chain: Vec<String>,
    /// Least TTL of the chain.
    pub(crate) ttl: Duration,
    /// From question to answer, be the answer a refusal; `None` when there was none.
    pub(crate) rtt: Option<Duration>,
    /// Response code (RFC 1035 §4.1.1), `None` when there was no response.
    pub(crate) code: Option<u16>,
    /// Why it failed, for a person; empty when it did not.
    pub(crate) problem: String,
}

/// Asks the site's resolvers.
pub(crate) struct Dns {
    configured: Vec<SocketAddr>,
    timeout: Duration,
    servers: Mutex<Vec<Server>>,
}

#[derive(Clone)]
struct Server {
    address: SocketAddr,
    resolver: TokioResolver,
}

impl Dns {
    /// `configured` replaces the system's servers unless it is empty.
    pub(crate) fn new(configured: Vec<SocketAddr>, timeout: Duration) -> Self {
        Self {
            configured,
            timeout,
            servers: Mutex::new(Vec::new()),
        }
    }

    /// Asks one server after the other for the A or AAAA records of a name, as programs of this machine do, until one can
    /// say.
    pub(crate) async fn resolve(&self, name: &str, ipv6: bool) -> Answer {
        let mut last = Answer::nobody_asked(ipv6);
        let Ok(name) = Name::from_ascii(format!("{name}.")) else {
            return last.because("the name cannot be asked of DNS");
        };
        for server in self.servers() {
            last = self.question(&server, &name, ipv6).await;
            if last.is_final() {
                break;
            }
        }
        last
    }

    /// Asks every server at once: one answer for each, in the order of the configuration; one that says so when there is no
    /// server.
    pub(crate) async fn resolve_everywhere(&self, name: &str, ipv6: bool) -> Vec<Answer> {
        let nobody = Answer::nobody_asked(ipv6);
        let Ok(name) = Name::from_ascii(format!("{name}.")) else {
            return vec![nobody.because("the name cannot be asked of DNS")];
        };
        let servers = self.servers();
        if servers.is_empty() {
            return vec![nobody];
        }
        let asking = (servers.iter()).map(|server| self.question(server, &name, ipv6));
        futures::future::join_all(asking).await
    }

    /// The network is another one: connections to servers that were kept are not used any more.
    pub(crate) fn renew(&self) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.clear();
    }

    async fn question(&self, server: &Server, name: &Name, ipv6: bool) -> Answer {
        let kind = if ipv6 {
            RecordType::AAAA
        } else {
            RecordType::A
        };
        let mut answer = Answer::nobody_asked(ipv6);
        answer.resolver = server.label();
        answer.at = clock::now();
        let reply = self.ask(server, name.clone(), kind).await;
        let rtt = clock::now().saturating_duration_since(answer.at);
        match reply {
            Ok(records) => {
                answer.take_records(name, &records);
                answer.outcome = Outcome::Answered(rtt);
                answer.code = Some(ResponseCode::NoError.into());
                answer.problem.clear();
            }
            Err(failure) => {
                answer.code = failure.code();
                answer.rtt = answer.code.map(|_| rtt);
                let resolver = &answer.resolver;
                (answer.outcome, answer.problem) = match failure {
                    Failure::NoSuchName => (
                        Outcome::DnsFailed,
                        format!("{resolver} says that there is no such name"),
                    ),
                    Failure::Timeout => (Outcome::Timeout, format!("{resolver} does not answer")),
                    Failure::Code(_) | Failure::Other(_) => (
                        Outcome::DnsFailed,
                        format!("{resolver} cannot answer: {failure}"),
                    ),
                };
            }
        }
        answer.rtt = answer.rtt.or(answer.outcome.rtt());
        answer
    }

    /// Asks for the name of an address. `Ok(None)`: DNS says that there is none. The second value is how long that holds.
    ///
    /// # Errors
    /// No server could say.
    pub(crate) async fn reverse(
        &self,
        address: IpAddr,
    ) -> Result<(Option<String>, Duration), Failure> {
        let mut last = Failure::Other("no resolver is configured".to_owned());
        for server in self.servers() {
            match self
                .ask(&server, Name::from(address), RecordType::PTR)
                .await
            {
                Ok(records) => {
                    let found = records.iter().find_map(|record| {
                        let RData::PTR(name) = &record.data else {
                            return None;
                        };
                        Some((plain(&name.0), record.ttl))
                    });
                    let ttl = found.as_ref().map_or(300, |(_, ttl)| *ttl);
                    return Ok((
                        found.map(|(name, _)| name),
                        Duration::from_secs(u64::from(ttl)),
                    ));
                }
                Err(Failure::NoSuchName) => return Ok((None, Duration::from_hours(1))),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn ask(
        &self,
        server: &Server,
        name: Name,
        kind: RecordType,
    ) -> Result<Vec<Record>, Failure> {
        // hickory has timeouts of its own; this one holds whatever it does.
        let bounded =
            tokio::time::timeout(self.timeout * 2, server.resolver.lookup(name, kind)).await;
        match bounded {
            Err(_) => Err(Failure::Timeout),
            Ok(Ok(lookup)) => Ok(lookup.answers().iter().take(MAX_RECORDS).cloned().collect()),
            Ok(Err(error)) => Failure::of(&error).map_or_else(|| Ok(Vec::new()), Err),
        }
    }

    /// The servers as configured now; the resolvers are made anew only when the list has changed.
    fn servers(&self) -> Vec<Server> {
        let wanted = if self.configured.is_empty() {
            system_servers()
        } else {
            self.configured.clone()
        };
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if !servers
            .iter()
            .map(|server| server.address)
            .eq(wanted.iter().copied())
        {
            *servers = wanted
                .into_iter()
                .filter_map(|address| Server::new(address, self.timeout))
                .collect();
        }
        servers.clone()
    }
}

impl Server {
    fn new(address: SocketAddr, timeout: Duration) -> Option<Self> {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        for connection in &mut server.connections {
            connection.port = address.port();
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = timeout;
        options.attempts = 1;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        builder
            .build()
            .ok()
            .map(|resolver| Self { address, resolver })
    }

    fn label(&self) -> String {
        if self.address.port() == 53 {
            self.address.ip().to_string()
        } else {
            self.address.to_string()
        }
    }
}

/// Servers of the operating system, in its order; none where it names none or cannot be read.
pub(crate) fn system_servers() -> Vec<SocketAddr> {
    let Ok((config, _)) = hickory_resolver::system_conf::read_system_conf() else {
        return Vec::new();
    };
    let mut servers: Vec<SocketAddr> = Vec::new();
    for server in config.name_servers().iter().take(MAX_SERVERS) {
        let port = server
            .connections
            .first()
            .map_or(53, |connection| connection.port);
        let address = SocketAddr::new(server.ip, port);
        if !servers.contains(&address) {
            servers.push(address);
        }
    }
    servers
}

impl Answer {
    /// As long as nobody is asked.
    fn nobody_asked(ipv6: bool) -> Self {
        Self {
            at: clock::now(),
            resolver: "system".to_owned(),
            ipv6,
            outcome: Outcome::DnsFailed,
            addresses: Vec::new(),
            cname_chain: Vec::new(),
            ttl: Duration::ZERO,
            rtt: None,
            code: None,
            problem: "no resolver is configured: name one in resolvers, or in /etc/resolv.conf"
                .to_owned(),
        }
    }

    fn because(self, problem: &str) -> Self {
        Self {
            problem: problem.to_owned(),
            ..self
        }
    }

    /// Whether a program that asks one server after the other stops here: at an answer, and at "no such name".
    pub(crate) fn is_final(&self) -> bool {
        [ResponseCode::NoError, ResponseCode::NXDomain]
            .map(u16::from)
            .map(Some)
            .contains(&self.code)
    }

    fn take_records(&mut self, asked: &Name, records: &[Record]) {
        let mut alias = asked.clone();
        // A chain of n aliases takes n looks at the records, whatever their order.
        for _ in 0..records.len() {
            let next = records
                .iter()
                .filter(|record| record.name == alias)
                .find_map(|record| {
                    let RData::CNAME(target) = &record.data else {
                        return None;
                    };
                    Some(target.0.clone())
                });
            let Some(next) = next else { break };
            self.cname_chain.push(plain(&next));
            alias = next;
        }
        for record in records {
            if let (RData::A(address), false) = (&record.data, self.ipv6) {
                self.addresses.push(address.0.into());
            }
            if let (RData::AAAA(address), true) = (&record.data, self.ipv6) {
                self.addresses.push(address.0.into());
            }
        }
        let least = records.iter().map(|record| record.ttl).min().unwrap_or(0);
        self.ttl = Duration::from_secs(u64::from(least));
    }
}

/// Why a server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no such name")]
    NoSuchName,
    #[error("no answer within the timeout")]
    Timeout,
    #[error("{0}")]
    Code(ResponseCode),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// `None`: the name exists and has no record of this kind, which is an answer.
    fn of(error: &NetError) -> Option<Self> {
        if let NetError::Timeout = error {
            return Some(Self::Timeout);
        }
        if let NetError::Dns(DnsError::ResponseCode(code)) = error {
            return Some(Self::Code(*code));
        }
        let NetError::Dns(DnsError::NoRecordsFound(no_records)) = error else {
            return Some(Self::Other(error.to_string()));
        };
        let code = no_records.response_code;
        if code == ResponseCode::NoError {
            None
        } else if code == ResponseCode::NXDomain {
            Some(Self::NoSuchName)
        } else {
            Some(Self::Code(code))
        }
    }

    /// The code that the server answered with.
    fn code(&self) -> Option<u16> {
        match self {
            Self::NoSuchName => Some(ResponseCode::NXDomain.into()),
            Self::Code(code) => Some((*code).into()),
            Self::Timeout | Self::Other(_) => None,
        }
    }
}

/// The answer that programs of this machine go by, of those of all servers: the first that is final, else the first.
pub(crate) fn in_force(answers: &[Answer]) -> Option<&Answer> {
    let mut all = answers.iter();
    all.clone().find(|answer| answer.is_final()).or(all.next())
}

/// A name without its final dot, in lower case.
fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase()
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
