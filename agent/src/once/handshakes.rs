//! What `once` says of TLS, QUIC and the resolvers: their part of the JSON, and the sentences for people.

use std::net::IpAddr;

use rustls::CipherSuite;
use serde::Serialize;

use super::findings::{ms, word};
use crate::net::dns::Answer;
use crate::net::handshake::Handshake;
use crate::net::quic::QuicFound;
use crate::probe::Outcome;
use crate::probe::sighting::Sighting;

/// One answer of one resolver.
#[derive(Debug, Serialize)]
pub(super) struct ResolverFindings {
    pub(super) resolver: String,
    /// `A` or `AAAA`.
    pub(super) question: &'static str,
    pub(super) outcome: &'static str,
    /// Response code of DNS; absent when nothing answered.
    pub(super) code: Option<u16>,
    pub(super) ms: Option<f64>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) cname_chain: Vec<String>,
    pub(super) ttl_s: u64,
}

/// A TLS handshake alone.
#[derive(Debug, Serialize)]
pub(super) struct TlsFindings {
    pub(super) connect_ms: Option<f64>,
    pub(super) handshake_ms: Option<f64>,
    pub(super) failure: Option<&'static str>,
    pub(super) problem: Option<String>,
    pub(super) certificate: Option<CertificateFindings>,
}

#[derive(Debug, Serialize)]
pub(super) struct QuicFindings {
    /// First Initial to first answer.
    pub(super) rtt_ms: Option<f64>,
    /// First Initial to the end of the handshake.
    pub(super) handshake_ms: Option<f64>,
    pub(super) version: Option<u32>,
    pub(super) failure: Option<&'static str>,
    pub(super) problem: Option<String>,
    pub(super) certificate: Option<CertificateFindings>,
}

/// What a handshake showed of the other side.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct CertificateFindings {
    pub(super) tls_version: Option<&'static str>,
    pub(super) alpn: Option<String>,
    pub(super) cipher_suite: Option<String>,
    pub(super) issuer: String,
    /// Subject of the last certificate of the chain.
    pub(super) top: String,
    pub(super) valid_from_unix_s: i64,
    pub(super) valid_until_unix_s: i64,
    /// In hexadecimal, the server's own first.
    pub(super) certificate_sha256: Vec<String>,
    pub(super) key_sha256: Vec<String>,
    /// Why it is not trusted.
    pub(super) problem: Option<String>,
}

impl ResolverFindings {
    pub(super) fn of(answer: &Answer) -> Self {
        Self {
            resolver: answer.resolver.clone(),
            question: if answer.ipv6 { "AAAA" } else { "A" },
            outcome: word(answer.outcome),
            code: answer.code,
            ms: answer.rtt.map(ms),
            addresses: answer.addresses.clone(),
            cname_chain: answer.cname_chain.clone(),
            ttl_s: answer.ttl.as_secs(),
        }
    }
}

impl TlsFindings {
    pub(super) fn of(found: Handshake) -> Self {
        let phases = [Some(found.connect.outcome), found.tls];
        Self {
            connect_ms: answered(found.connect.outcome),
            handshake_ms: found.tls.and_then(answered),
            failure: first_failure(&phases),
            problem: Some(found.problem).filter(|problem| !problem.is_empty()),
            certificate: found.sighting.map(CertificateFindings::of),
        }
    }
}

impl QuicFindings {
    pub(super) fn of(found: QuicFound) -> Self {
        let version = found.sighting.as_ref().map(|seen| seen.quic_version);
        Self {
            rtt_ms: answered(found.rtt),
            handshake_ms: found.handshake.and_then(answered),
            version,
            // With a handshake nothing failed, though the first packet may have been lost.
            failure: match found.handshake {
                Some(Outcome::Answered(_)) => None,
                handshake => first_failure(&[Some(found.rtt), handshake]),
            },
            problem: Some(found.problem).filter(|problem| !problem.is_empty()),
            certificate: found.sighting.map(CertificateFindings::of),
        }
    }

    /// What it means, and what to do, when there was no handshake.
    pub(super) fn explain(&self, host: &str, port: u16) -> Option<String> {
        let failure = self.failure?;
        let why = self.problem.as_deref().unwrap_or("no answer");
        Some(match failure {
            "timeout" | "filtered" | "unreachable" | "refused" => format!(
                "QUIC is not answered ({failure}): browsers fall back to TCP, which is slower to begin. Allow UDP to {host} port {port}, or take \"quic\" out of protocols where the other side speaks none"
            ),
            "quic_failed" => format!("something answers QUIC and does not shake hands: {why}"),
            _ => format!("QUIC failed ({failure}): {why}"),
        })
    }
}

fn answered(outcome: Outcome) -> Option<f64> {
    match outcome {
        Outcome::Answered(rtt) => Some(ms(rtt)),
        Outcome::Refused(_)
        | Outcome::Timeout
        | Outcome::Unreachable
        | Outcome::DnsFailed
        | Outcome::NoRoute
        | Outcome::NotPermitted
        | Outcome::TlsFailed
        | Outcome::HttpFailed
        | Outcome::QuicFailed
        | Outcome::Reset
        | Outcome::Filtered
        | Outcome::LocalError => None,
    }
}

fn first_failure(phases: &[Option<Outcome>]) -> Option<&'static str> {
    phases
        .iter()
        .flatten()
        .find(|outcome| answered(**outcome).is_none())
        .map(|outcome| word(*outcome))
}

impl CertificateFindings {
    pub(super) fn of(seen: Sighting) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            tls_version: match seen.version {
                0x0303 => Some("1.2"),
                0x0304 => Some("1.3"),
                _ => None,
            },
            alpn: some(seen.alpn),
            cipher_suite: (seen.cipher_suite != 0)
                .then(|| format!("{:?}", CipherSuite::from(seen.cipher_suite))),
            issuer: seen.issuer,
            top: seen.top,
            valid_from_unix_s: seen.not_before_unix_s,
            valid_until_unix_s: seen.not_after_unix_s,
            certificate_sha256: seen.certificates.iter().map(hex).collect(),
            key_sha256: seen.keys.iter().map(hex).collect(),
            problem: some(seen.problem),
        }
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let version = self.tls_version.unwrap_or("?");
        let alpn = self.alpn.as_deref().unwrap_or("no ALPN");
        let until = jiff::Timestamp::from_second(self.valid_until_unix_s)
            .map_or_else(|_| "?".to_owned(), |at| at.strftime("%F").to_string());
        let trust = if self.problem.is_some() {
            ", NOT TRUSTED"
        } else {
            ""
        };
        format!(
            "TLS {version}, {alpn}, issued by {}, valid until {until}{trust}",
            self.issuer
        )
    }

    /// What it means that the chain is not trusted, and what to do about it.
    pub(super) fn explain(&self, host: &str) -> Option<String> {
        let problem = self.problem.as_deref()?;
        let issuer = &self.issuer;
        Some(
            if problem.contains("Expired")
                || problem.contains("expired")
                || problem.contains("not valid yet")
                || problem.contains("NotValidYet")
            {
                format!(
                    "the certificate of {host} is out of its time ({problem}): check the clock of this machine"
                )
            } else {
                format!(
                    "the certificate of {host} was issued by {issuer} and is not trusted ({problem}): something on the way opens TLS. Exempt {host} from its inspection; if it is to stay, name its root certificate in extra_roots"
                )
            },
        )
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_is_not_trusted_is_said_with_its_issuer_and_what_to_do() {
        let seen = |problem: &str| {
            CertificateFindings::of(Sighting {
                issuer: "Example, Inspection CA".to_owned(),
                ..Sighting::default().with_problem(problem)
            })
        };
        assert_eq!(seen("").explain("front.example"), None);
        let opened = seen("invalid peer certificate: UnknownIssuer");
        let said = opened.explain("front.example").expect("a sentence");
        for part in ["Inspection CA", "front.example", "Exempt", "extra_roots"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(opened.line().ends_with("NOT TRUSTED"));
        let late = seen("invalid peer certificate: certificate expired: verification time 1");
        let said = late.explain("front.example").expect("a sentence");
        assert!(
            said.contains("clock") && !said.contains("opens TLS"),
            "{said}"
        );
    }

    #[test]
    fn hashes_are_written_in_full() {
        let seen = Sighting {
            certificates: vec![[0x0a; 32]],
            cipher_suite: 0x1301,
            version: 0x0304,
            ..Sighting::default()
        };
        let found = CertificateFindings::of(seen);
        assert_eq!(found.certificate_sha256, ["0a".repeat(32)]);
        assert_eq!(
            found.cipher_suite.as_deref(),
            Some("TLS13_AES_128_GCM_SHA256")
        );
        assert_eq!(found.tls_version, Some("1.3"));
    }
}
