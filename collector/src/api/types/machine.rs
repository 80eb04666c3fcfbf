//! What an agent says of its own machine, and of the handshakes it saw: the evidence that a bad figure is the network's.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An agent's machine, its network, and what its probes met, as last reported.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Machine {
    /// State of the machine over the last stretch that it reported; absent before the first.
    pub host: Option<HostState>,
    /// What the agent had to give up since its program started; absent before its first report.
    pub counters: Option<EngineCounters>,
    /// The newest handshake of each target and protocol, by target.
    pub handshakes: Vec<Handshake>,
    /// Changes of the network, spans without measurements, steps of the clock, other keys than before; newest first.
    pub changes: Vec<MachineChange>,
}

/// The machine, its interface and its first hop over a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HostState {
    /// Start of the stretch.
    pub at_unix_ms: i64,
    /// Its length.
    pub span_ms: u32,
    /// Processors busy, permille of all.
    pub cpu_permille: u32,
    /// Memory that programs can still have.
    pub memory_available_bytes: u64,
    /// The agent itself: permille of one processor.
    pub own_cpu_permille: u32,
    /// The agent itself: resident memory.
    pub own_rss_bytes: u64,
    /// The longest time by which the agent ran late.
    pub scheduling_delay_max_us: u32,
    /// Interface of the default route.
    pub interface: Option<String>,
    /// `ethernet`, `wifi`, `cellular`, `tunnel`, `loopback`, `other`.
    pub interface_kind: Option<String>,
    /// Megabits a second.
    pub interface_speed_mbps: Option<u32>,
    /// Errors and drops that the interface counted in the stretch, both ways.
    pub interface_errors: u32,
    /// The default gateway.
    pub gateway: Option<String>,
    /// Echo requests to it in the stretch.
    pub gateway_sent: u32,
    /// Of them, unanswered.
    pub gateway_lost: u32,
    /// Smallest RTT to it.
    pub gateway_rtt_min_us: Option<u32>,
    /// Median RTT to it.
    pub gateway_rtt_median_us: Option<u32>,
    /// Names the network that the machine is in, without telling its hardware address.
    pub network: Option<String>,
    /// The machine is in another network than usual: its samples are in no figure of its site.
    pub roaming: bool,
    /// Targets whose packets leave through a tunnel.
    pub tunnelled_targets: Vec<String>,
    /// The tunnel.
    pub tunnel_interface: Option<String>,
    /// Proxy that the machine's users are told to take, `host:port`: the agent's probes then go another way than theirs.
    pub proxy: Option<String>,
    /// A page whose text is known came back as something else.
    pub captive_portal: bool,
    /// Prefix of the NAT64 in use (RFC 7050), such as `64:ff9b::/96`.
    pub nat64_prefix: Option<String>,
}

/// What an agent had to give up, counted since its program started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EngineCounters {
    /// Reports dropped because the spool was full.
    pub spool_dropped_reports: u64,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Probes that were due and not sent.
    pub skipped_probes: u64,
    /// Path rounds put off or cut because the hop budget was spent.
    pub deferred_rounds: u64,
    /// Samples taken while the agent ran over 1 ms late.
    pub untrusted_samples: u64,
    /// Samples dropped because the clock was stepped or the machine slept.
    pub clock_step_samples: u64,
    /// Replies after their timeout.
    pub late_replies: u64,
    /// Replies to what was answered already.
    pub duplicate_replies: u64,
    /// Replies too short to be read.
    pub truncated_replies: u64,
    /// Replies with a wrong cookie, or from an address that was not asked.
    pub forged_replies: u64,
    /// Packets that answered nothing of ours.
    pub unmatched_replies: u64,
    /// Uploads that failed.
    pub upload_failures: u64,
    /// Reports that the collector refused for good.
    pub rejected_reports: u64,
}

/// What a handshake showed of the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Handshake {
    /// When it was seen.
    pub at_unix_ms: i64,
    /// Target's name.
    pub target: String,
    /// `https`, `tls` or `quic`.
    pub protocol: String,
    /// Who answered.
    pub destination: Option<String>,
    /// `TLS 1.3`, `TLS 1.2`, …
    pub version: String,
    /// Protocol agreed inside, such as `h2`; empty for none.
    pub alpn: String,
    /// SHA-256 of the server's certificate, hexadecimal.
    pub certificate_sha256: Option<String>,
    /// SHA-256 of the server's public key, hexadecimal: it outlives a renewed certificate.
    pub key_sha256: Option<String>,
    /// Certificates presented.
    pub chain_length: u32,
    /// Start of the server certificate's life.
    pub not_before_unix_s: i64,
    /// End of it.
    pub not_after_unix_s: i64,
    /// Who issued it.
    pub issuer: String,
    /// Subject of the last certificate presented.
    pub top: String,
    /// Why the chain does not verify; absent when it does.
    pub problem: Option<String>,
}

/// Something that changed at the machine, or in what it met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct MachineChange {
    /// When.
    pub at_unix_ms: i64,
    /// Until when, for spans without measurements.
    pub until_unix_ms: Option<i64>,
    /// `link`, `address`, `route`, `resolver`, `suspended`, `starved`, `clock_step`, `issuer`.
    pub kind: String,
    /// One line for people.
    pub detail: String,
}
