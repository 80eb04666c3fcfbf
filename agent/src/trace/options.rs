//! What the command line of `trace` asks for.

use firstmile_wire::v1::TraceKind;

use crate::config;

/// Show the path to a target or host, hop by hop; live on a terminal, until Ctrl-C
#[derive(Clone, Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Options {
    /// Name of a target of the configuration, or a host with or without port (443)
    #[arg(value_name = "TARGET | HOST[:PORT]")]
    pub(super) subject: String,
    /// Rounds, after which it ends by itself [default: until Ctrl-C on a terminal, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: Option<u32>,
    /// Flows, each pinned to a port of its own, to see branches of load balancing [default: `trace_flows` of the plan]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=i64::from(config::MAX_FLOWS)))]
    pub(super) flows: Option<u16>,
    /// Packets to send [default: tcp]
    #[arg(long, value_enum)]
    kind: Option<PathKind>,
    /// The same as --kind tcp
    #[arg(long, conflicts_with_all = ["kind", "udp", "icmp"])]
    tcp: bool,
    /// The same as --kind udp
    #[arg(long, conflicts_with_all = ["kind", "icmp"])]
    udp: bool,
    /// The same as --kind icmp
    #[arg(long, conflicts_with = "kind")]
    icmp: bool,
    /// Port to send to (TCP, UDP) [default: that of the target, or 443]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// The IPv4 address of a name only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// The IPv6 address of a name only
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Find every branch of the path once, with as many flows as that takes, instead of rounds
    #[arg(long, conflicts_with = "rounds")]
    pub(super) multipath: bool,
    /// Chance with which --multipath may miss a branch of a router
    #[arg(long, value_name = "CHANCE", default_value_t = crate::probe::trace::DEFAULT_ALPHA, value_parser = chance)]
    pub(super) alpha: f64,
    /// Ask for no names
    #[arg(short = 'n', long)]
    pub(super) no_names: bool,
    /// Print one JSON object at the end instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// Packets of a path.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PathKind {
    /// SYN segments to the port, as users' connections send; all TTLs at once with `CAP_NET_RAW`, else one at a time
    Tcp,
    /// Datagrams to the port; wants `CAP_NET_RAW`
    Udp,
    /// Echo requests; wants `CAP_NET_RAW` or `ping_group_range`
    Icmp,
}

impl Options {
    /// The kind of packets that was asked for.
    pub(super) const fn kind(&self) -> Option<TraceKind> {
        match self.kind {
            Some(PathKind::Tcp) => Some(TraceKind::Tcp),
            Some(PathKind::Udp) => Some(TraceKind::Udp),
            Some(PathKind::Icmp) => Some(TraceKind::Icmp),
            None if self.tcp => Some(TraceKind::Tcp),
            None if self.udp => Some(TraceKind::Udp),
            None if self.icmp => Some(TraceKind::Icmp),
            None => None,
        }
    }

    /// Whether addresses of a family may be used.
    pub(super) const fn allows(&self, ipv6: bool) -> bool {
        if ipv6 { !self.ipv4 } else { !self.ipv6 }
    }
}

fn chance(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|chance| (1e-6..=0.5).contains(chance))
        .ok_or_else(|| "write a number from 0.000001 to 0.5, such as 0.05".to_owned())
}
