//! The way to the collector through a CONNECT proxy (RFC 9110 §9.3.6), and why there is none.
//!
//! TLS runs through the tunnel from end to end: the proxy sees host and port of the collector, and nothing else. reqwest
//! makes the tunnel; where it fails, the proxy is asked again by [`knock`], whose errors say what a person can do.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use crate::config::Proxy;

/// Longest wait for a proxy's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest head of an answer that is read.
const MAX_HEAD: usize = 8 << 10;

/// Why a proxy gives no tunnel. Each says what was tried and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyRefusal {
    #[error(
        "cannot reach the proxy {proxy} ({named_by}): {why}; is its name right, and may this machine connect to it?"
    )]
    Unreachable {
        proxy: String,
        named_by: &'static str,
        why: String,
    },
    #[error(
        "the proxy {proxy} wants user and password (407, {schemes}): put user:password into a file and name it in proxy.credentials_file"
    )]
    WantsCredentials { proxy: String, schemes: String },
    #[error(
        "the proxy {proxy} does not accept the user and password that it was given ({status}, {schemes})"
    )]
    WrongCredentials {
        proxy: String,
        schemes: String,
        status: u16,
    },
    #[error(
        "the proxy {proxy} takes {schemes} only (407), and this program speaks Basic: let the proxy pass {to} without asking who it is"
    )]
    OtherScheme {
        proxy: String,
        schemes: String,
        to: String,
    },
    #[error("the proxy {proxy} forbids connections to {to} (403): allow CONNECT to {to} there")]
    Forbidden { proxy: String, to: String },
    #[error("the proxy {proxy} allows it, and cannot reach {to} itself ({status})")]
    CannotReach {
        proxy: String,
        to: String,
        status: u16,
    },
    #[error("the proxy {proxy} answers CONNECT {to} with status {status}")]
    Status {
        proxy: String,
        to: String,
        status: u16,
    },
    #[error("what answers at {proxy} ({named_by}) is no HTTP proxy: {why}")]
    NoProxy {
        proxy: String,
        named_by: &'static str,
        why: String,
    },
}

/// A client builder that goes through `proxy`, or directly; it never looks at the environment by itself.
pub(crate) fn client_builder(proxy: Option<&Proxy>) -> reqwest::Result<reqwest::ClientBuilder> {
    let direct = reqwest::Client::builder().no_proxy();
    let Some(proxy) = proxy else {
        return Ok(direct);
    };
    let mut through = reqwest::Proxy::all(proxy.uri().to_string())?;
    if let Some(authorization) = proxy.authorization() {
        through = through.custom_http_auth(authorization.clone());
    }
    Ok(direct.proxy(through))
}

/// Why nothing came through `proxy`, when it is the proxy's doing; `None` when a tunnel to `collector` can be had.
pub(crate) async fn refusal(proxy: &Proxy, collector: &Url) -> Option<ProxyRefusal> {
    knock(proxy, collector).await.err()
}

/// Asks `proxy` for a tunnel to `collector`.
///
/// # Errors
/// See [`ProxyRefusal`].
pub(crate) async fn knock(proxy: &Proxy, collector: &Url) -> Result<TcpStream, ProxyRefusal> {
    let unreachable = |why: String| ProxyRefusal::Unreachable {
        proxy: proxy.name(),
        named_by: proxy.named_by(),
        why,
    };
    let to = authority(collector);
    let asking = async {
        let mut stream = TcpStream::connect((proxy.host(), proxy.port()))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let head =
            exchange(&mut stream, proxy, &to)
                .await
                .map_err(|error| ProxyRefusal::NoProxy {
                    proxy: proxy.name(),
                    named_by: proxy.named_by(),
                    why: error.to_string(),
                })?;
        judge(proxy, &to, &head).map(|()| stream)
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| {
            Err(unreachable(format!(
                "no answer within {} s",
                PATIENCE.as_secs()
            )))
        })
}

/// `host:port` of a URL, as CONNECT names it.
fn authority(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(443);
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Sends the request and reads the head of the answer.
async fn exchange(stream: &mut TcpStream, proxy: &Proxy, to: &str) -> std::io::Result<Vec<u8>> {
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(authorization) = proxy.authorization() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        head.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    Ok(head)
}

/// What the head of the answer to CONNECT means. Pure.
fn judge(proxy: &Proxy, to: &str, head: &[u8]) -> Result<(), ProxyRefusal> {
    let (name, to) = (proxy.name(), to.to_owned());
    let Some((status, schemes)) = read_head(head) else {
        return Err(ProxyRefusal::NoProxy {
            proxy: name,
            named_by: proxy.named_by(),
            why: "it does not speak HTTP".to_owned(),
        });
    };
    let takes_basic = schemes.is_empty()
        || schemes
            .iter()
            .any(|scheme| scheme.eq_ignore_ascii_case("basic"));
    let schemes = if schemes.is_empty() {
        "no scheme named".to_owned()
    } else {
        schemes.join(", ")
    };
    Err(match status {
        200..=299 => return Ok(()),
        407 if !takes_basic => ProxyRefusal::OtherScheme {
            proxy: name,
            schemes,
            to,
        },
        // Some proxies (tinyproxy) answer wrong credentials as a server would.
        401 | 407 if proxy.authorization().is_some() => ProxyRefusal::WrongCredentials {
            proxy: name,
            schemes,
            status,
        },
        407 => ProxyRefusal::WantsCredentials {
            proxy: name,
            schemes,
        },
        403 => ProxyRefusal::Forbidden { proxy: name, to },
        502..=504 => ProxyRefusal::CannotReach {
            proxy: name,
            to,
            status,
        },
        _ => ProxyRefusal::Status {
            proxy: name,
            to,
            status,
        },
    })
}

/// Status, and the schemes of authentication that are offered (RFC 9110 §11.7.1), letters, digits and `-` only.
fn read_head(head: &[u8]) -> Option<(u16, Vec<String>)> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    first.next()?.strip_prefix("HTTP/")?;
    let status = first.next()?.parse().ok()?;
    let schemes = lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("proxy-authenticate"))
        .filter_map(|(_, value)| value.split_whitespace().next())
        .map(|scheme| {
            let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
            scheme.chars().filter(plain).take(32).collect()
        })
        .take(8)
        .collect();
    Some((status, schemes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::ProxyRules;

    fn collector() -> Url {
        Url::parse("https://collector.example:8443/").expect("a URL")
    }

    fn proxy(value: &str) -> Proxy {
        ProxyRules::of_environment(value)
            .for_url(&collector())
            .expect("usable")
            .expect("a proxy")
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let open = proxy("http://proxy.example:3128");
        let named = proxy("http://user:hunter2@proxy.example:3128");
        for (name, proxy, head, want) in [
            (
                "nobody given",
                &open,
                "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
                "wants user and password (407, Basic)",
            ),
            (
                "wrong ones",
                &named,
                "HTTP/1.1 407 x\r\nproxy-authenticate: Basic\r\n\r\n",
                "does not accept the user and password",
            ),
            (
                "wrong ones, said as a server does",
                &named,
                "HTTP/1.0 401 Unauthorized\r\n\r\n",
                "does not accept the user and password that it was given (401",
            ),
            (
                "others only",
                &named,
                "HTTP/1.0 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
                "takes Negotiate, NTLM only (407)",
            ),
            (
                "forbidden",
                &open,
                "HTTP/1.1 403 Filtered\r\n\r\n",
                "allow CONNECT to collector.example:8443",
            ),
            (
                "beyond it",
                &open,
                "HTTP/1.1 503 x\r\n\r\n",
                "cannot reach collector.example:8443 itself (503)",
            ),
            ("other", &open, "HTTP/1.1 405 x\r\n\r\n", "with status 405"),
            (
                "no HTTP",
                &open,
                "220 smtp.example ESMTP\r\n",
                "no HTTP proxy",
            ),
            ("nothing", &open, "", "no HTTP proxy"),
        ] {
            let refused = judge(proxy, &authority(&collector()), head.as_bytes()).expect_err(name);
            let text = refused.to_string();
            assert!(
                text.contains(want) && text.contains("proxy.example:3128"),
                "{name}: {text}"
            );
            assert!(!text.contains("hunter2"), "{name}: {text}");
        }
        assert_eq!(
            judge(
                &open,
                "c:443",
                b"HTTP/1.1 200 Connection established\r\n\r\n"
            ),
            Ok(())
        );
    }

    #[tokio::test]
    async fn a_proxy_that_is_away_is_named_with_what_names_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let gone = proxy(&format!("http://127.0.0.1:{port}"));
        let text = refusal(&gone, &collector())
            .await
            .expect("refused")
            .to_string();
        assert!(
            text.contains(&format!(
                "cannot reach the proxy 127.0.0.1:{port} (HTTPS_PROXY)"
            )),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_answer_panics_or_reaches_a_terminal_raw(head in prop::collection::vec(any::<u8>(), 0..200)) {
            let refused = judge(&proxy("http://proxy.example:3128"), "c:443", &head);
            if let Err(refused) = refused {
                prop_assert!(!refused.to_string().chars().any(char::is_control));
            }
        }
    }
}
