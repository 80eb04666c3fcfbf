//! The two conversations about identity: enrolment with a join string, renewal with the certificate.

use std::net::IpAddr;
use std::time::Duration;

use firstmile_wire::enroll::{CloneRequest, EnrollRequest, EnrollResponse, Refusal, RenewRequest};
use firstmile_wire::join::{CaHash, JoinString};
use firstmile_wire::{ENROLL_PATH, RENEW_PATH};
use rcgen::{CertificateParams, KeyPair};
use serde::Serialize;
use url::Url;

use super::Identity;
use super::verifier::enrolment_config;
use crate::clock;
use crate::config::{AgentConfig, Proxy, ProxyError, ProxyRules};
use crate::host;
use crate::net::proxy::{self, ProxyRefusal};
use crate::net::route;
use crate::net::tls::{TlsError, clock_in_doubt};

/// Longest wait for the collector's answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the address of the collector, which only this machine's own is looked up by.
const OWN_ADDRESS: Duration = Duration::from_secs(2);

/// Largest answer that is read.
const MAX_ANSWER: usize = 256 << 10;

/// Why an agent got no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrollError {
    #[error("cannot make a key and its signing request")]
    Key { source: rcgen::Error },
    #[error("cannot set up TLS")]
    Tls { source: TlsError },
    #[error("cannot reach the collector at {collector}")]
    Unreachable {
        collector: Url,
        source: reqwest::Error,
    },
    #[error("cannot enrol at {collector}: {doubt}")]
    OutOfTime {
        collector: Url,
        doubt: String,
        source: reqwest::Error,
    },
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    #[error("cannot reach the collector at {collector}: {refusal}")]
    ProxyRefuses {
        collector: Url,
        refusal: Box<ProxyRefusal>,
    },
    #[error(
        "{collector} does not show the CA that the join string names ({wanted}); its certificate is issued by {issuer:?}. \
         If that is your collector's CA, the join string is of another one; if not, something on the way opens TLS: \
         exempt {collector} from TLS inspection"
    )]
    WrongCa {
        collector: Url,
        wanted: Box<CaHash>,
        issuer: Box<str>,
    },
    #[error("the collector refused ({}): {}", refusal.code, refusal.message)]
    Refused { refusal: Refusal },
    #[error("{collector} answered {status} with something that is no collector's answer")]
    NotACollector { collector: Url, status: u16 },
    #[error(
        "the collector at {collector} is of an earlier version and gives a clone no identity of its own; upgrade it, or enrol \
         this machine with a join string and --replace"
    )]
    ClonesUnknown { collector: Url },
}

/// What a machine says of itself when it enrols.
#[derive(Clone, Debug, Default)]
pub(crate) struct Newcomer {
    pub(crate) hostname: String,
    /// Tag that the machine was given.
    pub(crate) tag: Option<String>,
}

impl Newcomer {
    /// This machine.
    pub(crate) fn here(config: &AgentConfig) -> Self {
        Self {
            hostname: host::hostname(),
            tag: config.site_tag.clone(),
        }
    }
}

/// This machine's address on the way to the collector, which may be another one on arrival. `None` where a proxy reaches the
/// collector in its place, and where no resolver says in time where the collector is.
async fn own_address(collector: &Url, proxy: Option<&Proxy>) -> Option<IpAddr> {
    if proxy.is_some() {
        return None;
    }
    let host = collector.host_str()?.trim_matches(['[', ']']);
    let port = collector.port_or_known_default()?;
    let looked_up = tokio::net::lookup_host((host, port));
    let mut found = tokio::time::timeout(OWN_ADDRESS, looked_up)
        .await
        .ok()?
        .ok()?;
    found.find_map(|address| route::source_for(address.ip()).ok())
}

/// Trades a join string for an identity.
///
/// # Errors
/// See [`EnrollError`].
pub(crate) async fn enroll(
    join: &JoinString,
    newcomer: Newcomer,
    proxies: &ProxyRules,
) -> Result<Identity, EnrollError> {
    let proxy = proxies.for_url(&join.collector)?;
    let settings = |source| EnrollError::Tls {
        source: TlsError::Settings { source },
    };
    let (config, missing_ca) = enrolment_config(join.ca).map_err(settings)?;
    let (key_pem, csr_pem) = new_key()?;
    let request = EnrollRequest {
        secret: join.secret.to_text(),
        csr_pem,
        hostname: newcomer.hostname,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        tag: newcomer.tag,
        address: own_address(&join.collector, proxy.as_ref()).await,
    };
    let way = Way::new(config, proxy);
    let response = way.post(&join.collector, ENROLL_PATH, &request).await;
    if let Some(issuer) = missing_ca.issuer() {
        return Err(EnrollError::WrongCa {
            collector: join.collector.clone(),
            wanted: Box::new(join.ca),
            issuer: issuer.into(),
        });
    }
    let response = response?;
    Ok(Identity::granted(
        response,
        join.collector.clone(),
        key_pem,
        clock::unix_ms(),
    ))
}

/// Trades an identity for the same one with a fresh key and certificate.
///
/// # Errors
/// See [`EnrollError`]; the old identity stays good until its certificate ends.
pub(crate) async fn renew(
    identity: &Identity,
    proxy: Option<Proxy>,
) -> Result<Identity, EnrollError> {
    let machine = identity.machine.clone();
    let renewed = ask_again(identity, proxy, None).await?;
    Ok(Identity { machine, ..renewed })
}

/// Trades the identity that this machine was cloned with for one of its own.
///
/// # Errors
/// See [`EnrollError`].
pub(super) async fn branch_off(
    identity: &Identity,
    newcomer: Newcomer,
    proxy: Option<Proxy>,
) -> Result<Identity, EnrollError> {
    let request = CloneRequest {
        hostname: newcomer.hostname,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        tag: newcomer.tag,
        address: own_address(&identity.collector, proxy.as_ref()).await,
    };
    let granted = ask_again(identity, proxy, Some(request)).await?;
    if granted.agent_id == identity.agent_id {
        return Err(EnrollError::ClonesUnknown {
            collector: identity.collector.clone(),
        });
    }
    Ok(granted)
}

async fn ask_again(
    identity: &Identity,
    proxy: Option<Proxy>,
    clone: Option<CloneRequest>,
) -> Result<Identity, EnrollError> {
    let config = crate::net::tls::collector_config(
        &identity.ca_pem,
        &identity.certificate_pem,
        &identity.key_pem,
    )
    .map_err(|source| EnrollError::Tls { source })?;
    let (key_pem, csr_pem) = new_key()?;
    let request = RenewRequest { csr_pem, clone };
    let response = Way::new(config, proxy)
        .post(&identity.collector, RENEW_PATH, &request)
        .await?;
    Ok(Identity::granted(
        response,
        identity.collector.clone(),
        key_pem,
        clock::unix_ms(),
    ))
}

/// A new private key and a signing request for it, both PEM.
fn new_key() -> Result<(String, String), EnrollError> {
    let make = || {
        let key = KeyPair::generate()?;
        let request = CertificateParams::new(Vec::new())?.serialize_request(&key)?;
        Ok((key.serialize_pem(), request.pem()?))
    };
    make().map_err(|source| EnrollError::Key { source })
}

/// The way to a collector: directly, or through a proxy.
struct Way {
    client: reqwest::Result<reqwest::Client>,
    proxy: Option<Proxy>,
}

impl Way {
    fn new(config: rustls::ClientConfig, proxy: Option<Proxy>) -> Self {
        let client = proxy::client_builder(proxy.as_ref()).and_then(|builder| {
            builder
                .tls_backend_preconfigured(config)
                .redirect(reqwest::redirect::Policy::none())
                .timeout(TIMEOUT)
                .https_only(true)
                .build()
        });
        Self { client, proxy }
    }

    async fn post(
        self,
        collector: &Url,
        path: &str,
        body: &impl Serialize,
    ) -> Result<EnrollResponse, EnrollError> {
        let unreachable = |source: reqwest::Error| {
            let (collector, source) = (collector.clone(), source.without_url());
            match clock_in_doubt(&source, clock::unix_ms()) {
                Some(doubt) => EnrollError::OutOfTime {
                    collector,
                    doubt,
                    source,
                },
                None => EnrollError::Unreachable { collector, source },
            }
        };
        let mut url = collector.clone();
        url.set_path(path);
        let sent = self
            .client
            .map_err(unreachable)?
            .post(url)
            .json(body)
            .send();
        let mut response = match (sent.await, &self.proxy) {
            (Ok(response), _) => response,
            (Err(error), Some(proxy)) if error.is_connect() => {
                return Err(match proxy::refusal(proxy, collector).await {
                    Some(refusal) => EnrollError::ProxyRefuses {
                        collector: collector.clone(),
                        refusal: Box::new(refusal),
                    },
                    None => unreachable(error),
                });
            }
            (Err(error), _) => return Err(unreachable(error)),
        };
        let status = response.status().as_u16();
        let not_a_collector = || EnrollError::NotACollector {
            collector: collector.clone(),
            status,
        };
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            answer.extend_from_slice(&chunk);
            if answer.len() > MAX_ANSWER {
                return Err(not_a_collector());
            }
        }
        if status == 200
            && let Ok(granted) = serde_json::from_slice(&answer)
        {
            return Ok(granted);
        }
        match serde_json::from_slice::<Refusal>(&answer) {
            Ok(refusal) => Err(EnrollError::Refused { refusal }),
            Err(_) => Err(not_a_collector()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_own_address_is_told_of_a_direct_way_only() {
        let collector = Url::parse("https://127.0.0.1:8443/").expect("a URL");
        let own = own_address(&collector, None).await;
        assert_eq!(own, Some(std::net::Ipv4Addr::LOCALHOST.into()));
        let proxy = ProxyRules::of_environment("http://proxy.example:3128")
            .for_url(&Url::parse("https://collector.example/").expect("a URL"))
            .expect("a usable proxy");
        assert!(proxy.is_some());
        assert_eq!(own_address(&collector, proxy.as_ref()).await, None);
    }

    #[test]
    fn every_key_is_new_and_its_request_is_pem() {
        let (first, request) = new_key().expect("a key");
        let (second, _) = new_key().expect("a key");
        assert_ne!(first, second);
        assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    }
}
