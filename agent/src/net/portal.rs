//! Fetches the page whose text is known: when something else comes back, a captive portal or a filter answers in place of
//! the internet.

use std::net::{IpAddr, SocketAddr};

use reqwest::header::{DATE, LOCATION};

use super::dns::Dns;
use super::https::innermost;
use super::route;
use super::tls::no_trust;
use crate::config::PortalPage;

/// Most of a page that is read: the test page has 22 bytes.
const MAX_PAGE: usize = 4096;

/// What the page said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortalAnswer {
    Expected,
    Redirected { to: String },
    Other { status: u16 },
    Failed(String),
}

impl PortalAnswer {
    /// Whether something answers in place of the internet; `None`: nobody answered, which says nothing.
    pub(crate) const fn is_captive(&self) -> Option<bool> {
        match self {
            Self::Expected => Some(false),
            Self::Redirected { .. } | Self::Other { .. } => Some(true),
            Self::Failed(_) => None,
        }
    }
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) answer: PortalAnswer,
    /// The Date header of the expected page: the clock of whoever answers in place of the internet proves nothing.
    pub(crate) date: Option<String>,
}

impl Fetched {
    const fn without_date(answer: PortalAnswer) -> Self {
        Self { answer, date: None }
    }
}

/// Fetches the page as a probe does: directly, the name resolved by the agent's own resolvers. It takes as long as it takes.
pub(crate) async fn fetch(page: &PortalPage, dns: &Dns) -> Fetched {
    let failed = |why: String| Fetched::without_date(PortalAnswer::Failed(why));
    let client = match client(page, dns).await {
        Ok(client) => client,
        Err(why) => return failed(why),
    };
    let mut response = match client.get(page.url.clone()).send().await {
        Ok(response) => response,
        Err(error) => return failed(innermost(&error)),
    };
    let status = response.status();
    if let Some(to) = response.headers().get(LOCATION)
        && status.is_redirection()
    {
        let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
        return Fetched::without_date(PortalAnswer::Redirected { to });
    }
    let date = response.headers().get(DATE);
    let date = date.and_then(|date| Some(date.to_str().ok()?.to_owned()));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_PAGE {
            break;
        }
    }
    if status.is_success() && String::from_utf8_lossy(&body).trim() == page.text.trim() {
        Fetched {
            answer: PortalAnswer::Expected,
            date,
        }
    } else {
        let status = status.as_u16();
        Fetched::without_date(PortalAnswer::Other { status })
    }
}

async fn client(page: &PortalPage, dns: &Dns) -> Result<reqwest::Client, String> {
    let tls = no_trust().map_err(|error| error.to_string())?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("firstmile-agent/", env!("CARGO_PKG_VERSION")));
    if let Some(url::Host::Domain(name)) = page.url.host() {
        let port = page.url.port_or_known_default().unwrap_or(80);
        builder = builder.resolve(name, SocketAddr::new(address_of(name, dns).await?, port));
    }
    builder.build().map_err(|error| innermost(&error))
}

/// The first address that packets would leave for: on a site without IPv4 an A record leads nowhere.
async fn address_of(name: &str, dns: &Dns) -> Result<IpAddr, String> {
    let (mut unreachable, mut problem) = (None, format!("{name} has no address"));
    for ipv6 in [false, true] {
        let answer = dns.resolve(name, ipv6).await;
        for address in answer.addresses {
            if route::source_for(address).is_ok() {
                return Ok(address);
            }
            unreachable = unreachable.or(Some(address));
        }
        if !answer.problem.is_empty() {
            problem = answer.problem;
        }
    }
    // Connecting says why not.
    unreachable.ok_or(problem)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Serves one response, and says what is made of it.
    async fn fetched(response: &str) -> Fetched {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let page = PortalPage {
            url: format!("http://{address}/test.txt").parse().expect("a URL"),
            text: "The Test Page".to_owned(),
        };
        let serving = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0_u8; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /test.txt HTTP/1.1\r\n"));
            let written = stream.write_all(response.as_bytes()).await;
            written.and(stream.shutdown().await).expect("written");
        };
        let dns = Dns::new(Vec::new(), Duration::from_secs(1));
        let (fetched, ()) = tokio::join!(fetch(&page, &dns), serving);
        fetched
    }

    #[tokio::test]
    async fn a_portal_is_told_from_the_page_and_from_nobody() {
        let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 13\r\n\r\nThe Test Page";
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned());
        let long = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{}",
            "x".repeat(9000)
        );
        for (name, response, is_captive, want) in [
            ("the page", expected, Some(false), date),
            (
                "a login page",
                "HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n",
                Some(true),
                None,
            ),
            (
                "a page in its place",
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin",
                Some(true),
                None,
            ),
            ("an endless page", long.as_str(), Some(true), None),
            ("no HTTP", "220 mail.example\r\n", None, None),
            ("nothing", "", None, None),
        ] {
            let found = fetched(response).await;
            assert_eq!(found.answer.is_captive(), is_captive, "{name}: {found:?}");
            assert_eq!(found.date, want, "{name}");
        }
    }
}
