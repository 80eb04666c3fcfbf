//! Fetches the page that tells a captive portal, and says hello to the collector; both also tell the time.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, LOCATION};

use super::PAGE;
use crate::clock;
use crate::config::{AgentConfig, PortalPage, Proxy};
use crate::doctor::facts::{Collector, Enrolled, Portal, PortalAnswer};
use crate::enroll::Identity;
use crate::enroll::identity::IdentityError;
use crate::net::dns::Dns;
use crate::net::https::innermost;
use crate::net::proxy;
use crate::net::tls::{collector_config, no_trust};

/// Most of a page that is read: the test page has 22 bytes.
const MAX_PAGE: usize = 4096;

/// Another clock.
pub(super) struct OtherClock {
    /// Our wall clock minus that one.
    pub(super) offset_ms: i64,
    pub(super) whose: String,
}

impl OtherClock {
    /// Reads the Date header (RFC 9110 §6.6.1); it was written, in whole seconds, between `asked` and now.
    fn of(headers: &HeaderMap, asked_unix_ms: i64, whose: &str) -> Option<Self> {
        let date = headers.get(DATE)?.to_str().ok()?;
        let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
        let ours = i64::midpoint(asked_unix_ms, clock::unix_ms());
        // Half a second: on average that much was cut off.
        Some(Self {
            offset_ms: ours - theirs.as_millisecond() - 500,
            whose: whose.to_owned(),
        })
    }
}

/// What the test page says; `None` when there is none to ask for.
pub(super) async fn portal(
    config: &AgentConfig,
    patience: Duration,
) -> (Option<Portal>, Option<OtherClock>) {
    let Some(page) = &config.portal else {
        return (None, None);
    };
    let fetched = tokio::time::timeout(PAGE, fetch(config, page, patience)).await;
    let (answer, date) = fetched.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", PAGE.as_secs());
        (PortalAnswer::Failed(why), None)
    });
    let portal = Portal {
        url: page.url.to_string(),
        answer,
    };
    (Some(portal), date)
}

async fn fetch(
    config: &AgentConfig,
    page: &PortalPage,
    patience: Duration,
) -> (PortalAnswer, Option<OtherClock>) {
    let failed = |why: String| (PortalAnswer::Failed(why), None);
    let client = match client(config, page, patience).await {
        Ok(client) => client,
        Err(why) => return failed(why),
    };
    let asked = clock::unix_ms();
    let mut response = match client.get(page.url.clone()).send().await {
        Ok(response) => response,
        Err(error) => return failed(innermost(&error)),
    };
    let status = response.status();
    let whose = page.url.host_str().unwrap_or_default();
    let date = OtherClock::of(response.headers(), asked, whose);
    if let Some(to) = response.headers().get(LOCATION)
        && status.is_redirection()
    {
        let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
        return (PortalAnswer::Redirected { to }, None);
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_PAGE {
            break;
        }
    }
    let is_expected =
        status.is_success() && String::from_utf8_lossy(&body).trim() == page.text.trim();
    if is_expected {
        (PortalAnswer::Expected, date)
    } else {
        // The clock of whoever answers in place of the internet proves nothing.
        let status = status.as_u16();
        (PortalAnswer::Other { status }, None)
    }
}

/// Asks as a probe does: directly, the name resolved by the agent's own resolvers.
async fn client(
    config: &AgentConfig,
    page: &PortalPage,
    patience: Duration,
) -> Result<reqwest::Client, String> {
    let tls = no_trust().map_err(|error| error.to_string())?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("firstmile-agent/", env!("CARGO_PKG_VERSION")));
    if let Some(url::Host::Domain(name)) = page.url.host() {
        let answer = Dns::new(config.resolvers.clone(), patience)
            .resolve(name, false)
            .await;
        let port = page.url.port_or_known_default().unwrap_or(80);
        let Some(address) = answer.addresses.first() else {
            return Err(if answer.problem.is_empty() {
                format!("{name} has no IPv4 address")
            } else {
                answer.problem
            });
        };
        builder = builder.resolve(name, SocketAddr::new(*address, port));
    }
    builder.build().map_err(|error| innermost(&error))
}

/// Whom this agent reports to, and whether it can be reached as the uploads reach it.
pub(super) async fn collector(config: &AgentConfig) -> (Collector, Option<OtherClock>) {
    let identity = match Identity::load(&config.state_dir) {
        Ok(identity) => identity,
        Err(IdentityError::NotEnrolled { .. }) => return (Collector::NotEnrolled, None),
        Err(IdentityError::Unreadable { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            return (Collector::Hidden, None);
        }
        Err(error) => return (Collector::Unusable(error.to_string()), None),
    };
    let asked = clock::unix_ms();
    let (proxy, refused) = match config.proxy.for_url(&identity.collector) {
        Ok(proxy) => (proxy, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut proxy_refuses = refused.is_some();
    let greeted = async {
        match refused {
            Some(why) => Err(why),
            None => greet(&identity, proxy.as_ref()).await,
        }
    };
    let greeted = tokio::time::timeout(PAGE, greeted).await;
    let (mut contact, date) = match greeted {
        Ok(Ok(response)) => (
            Ok(response.status().as_u16()),
            OtherClock::of(response.headers(), asked, "the collector"),
        ),
        Ok(Err(why)) => (Err(why), None),
        Err(_) => (Err(format!("no answer within {} s", PAGE.as_secs())), None),
    };
    if let (Err(why), Some(proxy)) = (&mut contact, &proxy) {
        let asked = tokio::time::timeout(PAGE, proxy::refusal(proxy, &identity.collector)).await;
        if let Ok(Some(refusal)) = asked {
            *why = refusal.to_string();
            proxy_refuses = true;
        }
    }
    let enrolled = Enrolled {
        url: identity.collector.to_string(),
        proxy: proxy.map(|proxy| proxy.name()),
        proxy_refuses,
        certificate_ends_unix_ms: identity.not_after_unix_ms,
        contact,
        run: super::disk::last_word(config),
        upload_interval: config.plan.upload_interval,
    };
    (Collector::Enrolled(enrolled), date)
}

/// A request that changes nothing, over the same kind of connection as the uploads.
async fn greet(identity: &Identity, proxy: Option<&Proxy>) -> Result<reqwest::Response, String> {
    let Identity {
        ca_pem,
        certificate_pem,
        key_pem,
        collector,
        ..
    } = identity;
    let tls =
        collector_config(ca_pem, certificate_pem, key_pem).map_err(|error| innermost(&error))?;
    let client = proxy::client_builder(proxy)
        .and_then(|builder| {
            builder
                .tls_backend_preconfigured(tls)
                .redirect(reqwest::redirect::Policy::none())
                .https_only(true)
                .build()
        })
        .map_err(|error| innermost(&error))?;
    let sent = client.get(collector.clone()).send().await;
    sent.map_err(|error| innermost(&error))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn the_date_header_tells_the_time() {
        let now = clock::unix_ms();
        for (date, want) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777_000)),
            ("yesterday", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static(date));
            let seen = OtherClock::of(&headers, now, "x").map(|clock| now - clock.offset_ms);
            let off = seen.zip(want).map_or(0, |(seen, want)| seen - want - 500);
            assert_eq!(seen.is_some(), want.is_some(), "{date}");
            assert!(off.abs() < 1_000, "{date}: {off}");
        }
    }
}
