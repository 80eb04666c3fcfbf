//! What to measure: a target, its name, its host.

use std::fmt;
use std::net::IpAddr;

/// One thing that the configuration asks to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: TargetName,
    pub(crate) host: Host,
    /// TCP port of the TCP and HTTPS probes and of the path's flows.
    pub(crate) port: u16,
    pub(crate) service: Service,
    pub(crate) protocols: Protocols,
    pub(crate) trace: bool,
    /// Path of the HTTPS request.
    pub(crate) path: RequestPath,
    /// Places of its vantage points in the configuration; 0 is the machine's own choice.
    pub(crate) vantages: Vec<u16>,
}

/// How a target is called in tables and charts: 1 to 63 of a-z, 0-9, '-', '_', '.'.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TargetName(String);

impl TargetName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let good = (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "write a name of 1 to 63 of a-z, 0-9, '-', '_', '.', such as \"exchange\""
                    .to_owned(),
            )
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a target lives: a name for DNS, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Reads a host name (RFC 1123 §2.1, underscore forgiven) or a literal address.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let numeric_end = name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if name.len() <= 253 && name.split('.').all(label) && !numeric_end {
            Ok(Self::Name(name.to_ascii_lowercase()))
        } else {
            Err("write a host name or an address, without scheme, port or path, such as \"outlook.office365.com\"".to_owned())
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The service that a target stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    M365,
    Dynamics365,
    Azure,
    Custom,
}

impl Service {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "m365" => Ok(Self::M365),
            "dynamics365" => Ok(Self::Dynamics365),
            "azure" => Ok(Self::Azure),
            "custom" => Ok(Self::Custom),
            _ => Err("write \"m365\", \"dynamics365\", \"azure\" or \"custom\"".to_owned()),
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::M365 => "m365",
            Self::Dynamics365 => "dynamics365",
            Self::Azure => "azure",
            Self::Custom => "custom",
        }
    }
}

/// The words of `protocols`.
const WORDS: &str = r#""icmp", "tcp", "https", "tls", "quic""#;

/// Which probes a target gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each protocol is asked for or not, whatever the others are"
)]
pub(crate) struct Protocols {
    pub(crate) icmp: bool,
    pub(crate) tcp: bool,
    pub(crate) https: bool,
    /// A TLS handshake alone, for what speaks TLS but no HTTP.
    pub(crate) tls: bool,
    pub(crate) quic: bool,
}

impl Protocols {
    /// What a target gets that names no protocols.
    pub(crate) const USUAL: Self = Self {
        icmp: true,
        tcp: true,
        https: true,
        tls: false,
        quic: false,
    };
    pub(crate) const WITH_QUIC: Self = Self {
        quic: true,
        ..Self::USUAL
    };
    pub(crate) const NO_HTTPS: Self = Self {
        https: false,
        ..Self::USUAL
    };
    const NONE: Self = Self {
        icmp: false,
        tcp: false,
        https: false,
        tls: false,
        quic: false,
    };

    pub(crate) fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut protocols = Self::NONE;
        for word in words {
            match word {
                "icmp" => protocols.icmp = true,
                "tcp" => protocols.tcp = true,
                "https" => protocols.https = true,
                "tls" => protocols.tls = true,
                "quic" => protocols.quic = true,
                _ => return Err(format!("write a list of {WORDS}")),
            }
        }
        if protocols == Self::NONE {
            Err(format!("name at least one of {WORDS}"))
        } else {
            Ok(protocols)
        }
    }
}

/// Path of an HTTPS request: starts with '/', visible ASCII, at most 1,024 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPath(String);

impl RequestPath {
    pub(crate) fn root() -> Self {
        Self("/".to_owned())
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(|b| b.is_ascii_graphic())
        {
            Ok(Self(text.to_owned()))
        } else {
            Err("write a path that starts with '/', such as \"/owa/service.svc\"".to_owned())
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
