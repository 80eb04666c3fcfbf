//! Fetches the page that tells a captive portal, and says hello to the collector; both also tell the time.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap};

use super::PAGE;
use crate::clock;
use crate::config::{AgentConfig, Proxy};
use crate::doctor::facts::{Collector, Enrolled, Portal, PortalAnswer};
use crate::enroll::Identity;
use crate::enroll::identity::IdentityError;
use crate::net::dns::Dns;
use crate::net::https::innermost;
use crate::net::tls::collector_config;
use crate::net::{portal, proxy};

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
        Self::of_date(date, asked_unix_ms, whose)
    }

    fn of_date(date: &str, asked_unix_ms: i64, whose: &str) -> Option<Self> {
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
    let dns = Dns::new(config.resolvers.clone(), patience);
    let asked = clock::unix_ms();
    let fetched = tokio::time::timeout(PAGE, portal::fetch(page, &dns)).await;
    let (answer, date) = fetched.map_or_else(
        |_| {
            let why = format!("no answer within {} s", PAGE.as_secs());
            (PortalAnswer::Failed(why), None)
        },
        |fetched| (fetched.answer, fetched.date),
    );
    let whose = page.url.host_str().unwrap_or_default();
    let date = date.and_then(|date| OtherClock::of_date(&date, asked, whose));
    let portal = Portal {
        url: page.url.to_string(),
        answer,
    };
    (Some(portal), date)
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
