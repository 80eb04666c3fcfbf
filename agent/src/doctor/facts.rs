//! What `doctor` finds out before it judges: plain values, no judgement.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use crate::net::portal::PortalAnswer;
use crate::probe::Outcome;

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Command that permits raw sockets to this program.
    pub(super) setcap: String,
    pub(super) rights: Rights,
    pub(super) flows: u16,
    pub(super) resolvers: Vec<Resolver>,
    pub(super) targets: Vec<Destination>,
    pub(super) proxies: Vec<ProxyVariable>,
    pub(super) clock: Clock,
    /// `None`: switched off.
    pub(super) portal: Option<Portal>,
    pub(super) collector: Collector,
    pub(super) state: State,
    pub(super) machine: Machine,
}

/// Where the machine is in the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// Whether this system is not asked for interface, gateway, tunnel and network.
    pub(super) is_unseen: bool,
    /// The interface of the default route.
    pub(super) interface: Option<String>,
    /// The same, where it is a tunnel.
    pub(super) tunnel: Option<String>,
    pub(super) gateway: Option<IpAddr>,
    /// Echo requests to the gateway.
    pub(super) pings: Vec<Outcome>,
    pub(super) is_roaming: bool,
    /// The prefix of the NAT64, as text.
    pub(super) nat64: Option<String>,
    pub(super) bad_vantages: Vec<BadVantage>,
}

/// A vantage point that no packet can leave by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadVantage {
    pub(super) name: String,
    pub(super) why: String,
}

/// Whether a socket could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Given,
    Refused,
    /// This machine has no such address family.
    NoFamily,
    /// Something else than rights: out of descriptors, for example.
    Broken,
}

/// What the operating system permits this process.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    pub(super) user: Option<u32>,
    pub(super) raw_v4: Permission,
    pub(super) raw_v6: Permission,
    pub(super) ping_v4: Permission,
    pub(super) ping_v6: Permission,
    /// `net.ipv4.ping_group_range`, as it stands.
    pub(super) ping_group_range: Option<String>,
    /// Whether `CAP_NET_RAW` may be had at all: a container may have taken it away.
    pub(super) net_raw_is_within_bounds: Option<bool>,
    /// Whether packets are stamped by the kernel here.
    pub(super) kernel_stamps: bool,
    /// What Windows offers without rights; `None` elsewhere.
    pub(super) windows: Option<OnWindows>,
}

/// What Windows offers without rights.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnWindows {
    /// The system's own echo, over IPv4 and IPv6.
    pub(super) echo_v4: bool,
    pub(super) echo_v6: bool,
    /// Attempts to connect are told of ICMP errors.
    pub(super) tcp_paths: bool,
}

/// One resolver and what it said.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    pub(super) server: String,
    pub(super) has_route: bool,
    pub(super) questions: Vec<Question>,
    /// Whether it answers the question for the name of an address, be it that there is none; `None`: it is silent anyway.
    pub(super) answers_ptr: Option<bool>,
}

/// One name asked of one resolver.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) host: String,
    pub(super) v4: Reply,
    pub(super) v6: Reply,
}

#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    pub(super) addresses: Vec<IpAddr>,
    /// Why it failed, empty when it did not.
    pub(super) problem: String,
}

/// One target and how far it is reached.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether it is one of Microsoft's front doors, whose certificate issuers are known.
    pub(super) is_microsoft: bool,
    /// `None`: the name did not resolve.
    pub(super) address: Option<IpAddr>,
    pub(super) tcp: Option<Outcome>,
    /// `None`: the target gets no echo probes.
    pub(super) icmp: Option<Outcome>,
    pub(super) path: Path,
    /// `None`: the target gets no HTTPS probes, or TCP did not connect.
    pub(super) tls: Option<Tls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    NotAsked,
    NotPermitted,
    Failed(String),
    /// TTLs that a router answered at, and whether the destination did.
    Met {
        routers: Vec<u8>,
        is_reached: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// The handshake brought a certificate.
    Shown {
        /// Organisation of the issuer, else its common name.
        issuer: String,
        /// Why the system's roots and `extra_roots` do not trust it.
        distrust: Option<String>,
        /// Whether that is only because of the time: not yet, or no longer, valid.
        is_out_of_time: bool,
    },
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxyVariable {
    pub(super) name: String,
    /// Without user and password.
    pub(super) value: String,
    pub(super) is_url: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) unix_ms: i64,
    /// How much more the wall clock moved than the monotonic one during the checks.
    pub(super) moved_ms: i64,
    /// Our wall clock minus another one, and whose that is.
    pub(super) offset: Option<(i64, String)>,
}

/// What the plain HTTP page said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Portal {
    pub(super) url: String,
    pub(super) answer: PortalAnswer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Collector {
    NotEnrolled,
    /// There may be an identity, which this user may not read.
    Hidden,
    /// The identity cannot be used; the text says why and what to do.
    Unusable(String),
    Enrolled(Enrolled),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Enrolled {
    pub(super) url: String,
    pub(super) certificate_ends_unix_ms: i64,
    /// `host:port` of the proxy that reports take.
    pub(super) proxy: Option<String>,
    /// Whether it is the proxy that lets nothing through.
    pub(super) proxy_refuses: bool,
    /// Status of the answer, or why there was none.
    pub(super) contact: Result<u16, String>,
    /// `None`: the agent has not run with this state directory.
    pub(super) run: Option<LastWord>,
    pub(super) upload_interval: Duration,
}

/// What the running agent last wrote into its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastWord {
    pub(super) written_unix_ms: i64,
    pub(super) last_upload_unix_ms: Option<i64>,
    pub(super) upload_problem: Option<String>,
    pub(super) spool_reports: usize,
    pub(super) spool_bytes: u64,
    pub(super) spool_problem: Option<String>,
    pub(super) dropped_reports: u64,
    /// The version that the collector expects, where the running agent is older.
    pub(super) newer_expected: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) directory: PathBuf,
    pub(super) access: Access,
    pub(super) free_bytes: Option<u64>,
    pub(super) spool_max_bytes: u64,
}

/// What this user may do in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Writable,
    Missing,
    /// Another user may; this one may not.
    NotPermitted,
    /// Nobody can: a full or read-only file system, a file in the way.
    Broken(String),
}
