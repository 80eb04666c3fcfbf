//! The site's own resolver, asked by hickory: one server at a time and in order, so that it is always known which one
//! answered; no cache, no hosts file, no search list, so that what is timed is one question and its answer.
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
    /// Why it failed, for a person; empty when it did not.
    pub(crate) problem: String,
}

/// Asks the site's resolver.
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

    /// Asks for the A or AAAA records of a name.
    pub(crate) async fn resolve(&self, name: &str, ipv6: bool) -> Answer {
        let at = clock::now();
        let mut answer = Answer {
            at,
            resolver: "system".to_owned(),
            ipv6,
            outcome: Outcome::DnsFailed,
            addresses: Vec::new(),
            cname_chain: Vec::new(),
            ttl: Duration::ZERO,
            problem: "no resolver is configured: name one in resolvers, or in /etc/resolv.conf"
                .to_owned(),
        };
        let Ok(name) = Name::from_ascii(format!("{name}.")) else {
            "the name cannot be asked of DNS".clone_into(&mut answer.problem);
            return answer;
        };
        let kind = if ipv6 {
            RecordType::AAAA
        } else {
            RecordType::A
        };
        for server in self.servers() {
            answer.resolver = server.label();
            let sent_at = clock::now();
            let reply = self.ask(&server, name.clone(), kind).await;
            let rtt = clock::now().saturating_duration_since(sent_at);
            match reply {
                Ok(records) => {
                    answer.take_records(&name, &records);
                    answer.outcome = Outcome::Answered(rtt);
                    answer.problem.clear();
                    return answer;
                }
                Err(Failure::NoSuchName) => {
                    answer.outcome = Outcome::DnsFailed;
                    answer.problem = format!("{} says that there is no such name", answer.resolver);
                    return answer;
                }
                Err(Failure::Timeout) => {
                    answer.outcome = Outcome::Timeout;
                    answer.problem = format!("{} does not answer", answer.resolver);
                }
                Err(Failure::Other(why)) => {
                    answer.outcome = Outcome::DnsFailed;
                    answer.problem = format!("{} cannot answer: {why}", answer.resolver);
                }
            }
        }
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
    for server in config.name_servers() {
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
    Other(String),
}

impl Failure {
    /// `None`: the name exists and has no record of this kind, which is an answer.
    fn of(error: &NetError) -> Option<Self> {
        if let NetError::Timeout = error {
            return Some(Self::Timeout);
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
            Some(Self::Other(code.to_string()))
        }
    }
}

/// A name without its final dot, in lower case.
fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase()
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
