//! Which kinds of path a platform has, how many flows of each, and what pins them.

use std::fmt;

/// Flows of one round at most, where ports pin them.
pub const MOST_FLOWS: u16 = 8;

/// What the system and its rights give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Linux with raw sockets (`CAP_NET_RAW`).
    LinuxRaw,
    /// Linux with ping sockets only (`ping_group_range`).
    LinuxPing,
    /// Linux with ordinary sockets only.
    LinuxPlain,
    /// Windows 10 2004 and later, without rights.
    Windows,
}

/// The packets of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SYN segments.
    Tcp,
    /// Datagrams.
    Udp,
    /// Echo requests.
    Icmp,
}

/// One kind of path that is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The packets.
    pub kind: Kind,
    /// Flows of one round at most.
    pub flows: u16,
    /// All TTLs of a flow are under way at once, not one after the other.
    pub all_in_flight: bool,
    /// What is the same in all packets of a flow, besides the addresses.
    pub pinned: &'static str,
    /// Label stacks and rewrites are seen.
    pub sees_quotes: bool,
}

/// What is to be had, the one that counts first.
pub const fn offers(given: Given) -> &'static [Offer] {
    const fn raw(kind: Kind, pinned: &'static str) -> Offer {
        Offer {
            kind,
            flows: MOST_FLOWS,
            all_in_flight: true,
            pinned,
            sees_quotes: true,
        }
    }
    const ONE_AT_A_TIME: Offer = Offer {
        kind: Kind::Tcp,
        flows: MOST_FLOWS,
        all_in_flight: false,
        pinned: "source port",
        sees_quotes: false,
    };
    const ECHO: &str = "identifier and checksum";
    match given {
        Given::LinuxRaw => {
            const ALL: &[Offer] = &[
                raw(Kind::Tcp, "source port and IPv6 flow label"),
                raw(Kind::Udp, "source port and IPv6 flow label"),
                raw(Kind::Icmp, "identifier, checksum and IPv6 flow label"),
            ];
            ALL
        }
        Given::LinuxPing => {
            const PING: Offer = Offer {
                sees_quotes: false,
                ..raw(Kind::Icmp, ECHO)
            };
            &[ONE_AT_A_TIME, PING]
        }
        Given::LinuxPlain => &[ONE_AT_A_TIME],
        Given::Windows => {
            const WINDOWS_ECHO: Offer = Offer {
                flows: 1,
                sees_quotes: false,
                ..raw(Kind::Icmp, "nothing: the system writes the header")
            };
            &[ONE_AT_A_TIME, WINDOWS_ECHO]
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Tcp => "TCP",
            Kind::Udp => "UDP",
            Kind::Icmp => "ICMP",
        };
        let in_flight = if self.all_in_flight {
            "all TTLs in flight"
        } else {
            "one TTL of a flow at a time"
        };
        let flows = match self.flows {
            1 => "1 flow".to_owned(),
            flows => format!("up to {flows} flows"),
        };
        let pinned = self.pinned;
        write!(f, "{kind} ({flows}, {in_flight}, pinned: {pinned})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_is_to_be_had_everywhere_and_stands_first() {
        for given in [
            Given::LinuxRaw,
            Given::LinuxPing,
            Given::LinuxPlain,
            Given::Windows,
        ] {
            let first = offers(given).first().expect("something");
            assert_eq!(
                (first.kind, first.flows),
                (Kind::Tcp, MOST_FLOWS),
                "{given:?}"
            );
            assert_eq!(first.all_in_flight, given == Given::LinuxRaw, "{given:?}");
        }
    }

    #[test]
    fn an_offer_reads_as_a_sentence_of_doctor() {
        let all: Vec<String> = offers(Given::LinuxPing)
            .iter()
            .map(Offer::to_string)
            .collect();
        assert_eq!(
            all,
            [
                "TCP (up to 8 flows, one TTL of a flow at a time, pinned: source port)",
                "ICMP (up to 8 flows, all TTLs in flight, pinned: identifier and checksum)"
            ]
        );
    }
}
