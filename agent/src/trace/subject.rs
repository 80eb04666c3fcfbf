//! Whose path is asked for: a target of the configuration by its name, or any host.

use crate::config::{Host, Target};

/// Port of a host that was given without one: that of users' traffic.
const DEFAULT_PORT: u16 = 443;

/// What to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// Name of the target, when it is one of the configuration.
    pub(super) target: Option<String>,
    pub(super) host: Host,
    pub(super) port: u16,
}

impl Subject {
    /// Reads `text`: the name of one of `targets`, else `host`, `host:port`, `[address]:port` or an address.
    ///
    /// # Errors
    /// One sentence that says what to write instead.
    pub(super) fn parse(text: &str, targets: &[Target]) -> Result<Self, String> {
        if let Some(target) = targets.iter().find(|target| target.name.as_str() == text) {
            return Ok(Self {
                target: Some(text.to_owned()),
                host: target.host.clone(),
                port: target.port,
            });
        }
        let (host, port) = split_port(text)?;
        let host = Host::parse(host).map_err(|fix| {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            format!(
                "{text:?} is neither a target ({}) nor a host: {fix}",
                names.join(", ")
            )
        })?;
        let of_port = |target: &&Target| target.host == host && target.port == port;
        Ok(Self {
            target: targets
                .iter()
                .find(of_port)
                .map(|target| target.name.to_string()),
            host,
            port,
        })
    }
}

/// Host and port; an IPv6 address has a port only behind brackets (RFC 3986 §3.2.2).
fn split_port(text: &str) -> Result<(&str, u16), String> {
    let split = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => return Ok((host, DEFAULT_PORT)),
        Some((host, rest)) => rest.strip_prefix(':').map(|port| (host, port)),
        None => text
            .split_once(':')
            .filter(|(_, port)| !port.contains([':', '/'])),
    };
    let Some((host, port)) = split else {
        return Ok((text, DEFAULT_PORT));
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok((host, port)),
        Ok(_) | Err(_) => Err(format!(
            "{port:?} is no port: write a number from 1 to 65535, such as {host}:443"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Protocols, RequestPath, Service, TargetName};

    fn target() -> Target {
        Target {
            name: TargetName::parse("mail").expect("a name"),
            host: Host::parse("mail.example").expect("a host"),
            port: 8443,
            service: Service::Custom,
            protocols: Protocols::USUAL,
            trace: true,
            path: RequestPath::root(),
            vantages: vec![0],
        }
    }

    #[test]
    fn a_target_a_host_or_an_address_with_or_without_port() {
        for (text, want) in [
            ("mail", Some((Some("mail"), "mail.example", 8443))),
            (
                "mail.example:8443",
                Some((Some("mail"), "mail.example", 8443)),
            ),
            ("mail.example", Some((None, "mail.example", 443))),
            ("192.0.2.1", Some((None, "192.0.2.1", 443))),
            ("192.0.2.1:80", Some((None, "192.0.2.1", 80))),
            ("2001:db8::1", Some((None, "2001:db8::1", 443))),
            ("[2001:db8::1]", Some((None, "2001:db8::1", 443))),
            ("[2001:db8::1]:80", Some((None, "2001:db8::1", 80))),
            ("mail.example:0", None),
            ("mail.example:http", None),
            ("mail.example:99999", None),
            ("https://mail.example/", None),
            ("", None),
            ("[2001:db8::1", None),
        ] {
            let subject = Subject::parse(text, &[target()]).ok();
            let seen =
                subject.map(|subject| (subject.target, subject.host.to_string(), subject.port));
            let want =
                want.map(|(name, host, port)| (name.map(str::to_owned), host.to_owned(), port));
            assert_eq!(seen, want, "{text}");
        }
    }
}
