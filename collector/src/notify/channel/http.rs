//! Channels by HTTP: one POST a message.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::error::{OpenError, Patience, SendError};
use super::{read_secret, tls};
use crate::config::notify::Login;

/// Of an answer that refuses, so much is shown.
const ANSWER_MAX: usize = 200;
/// And so much is read.
const ANSWER_READ_MAX: usize = 16 * 1024;

/// What proves who we are: the value of `Authorization`, marked as sensitive.
pub(super) type Header = HeaderValue;

/// Posts to one URL.
pub(super) struct Poster {
    client: Client,
    url: Url,
    login: Option<Header>,
    receiver: String,
}

impl std::fmt::Debug for Poster {
    /// The URL may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Poster").field(&self.receiver).finish()
    }
}

/// The header of a login.
pub(super) fn header(login: &Login) -> Result<Header, OpenError> {
    let text = match login {
        Login::Basic { user, password } => {
            let password = read_secret(password)?;
            format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{}", password.0))
            )
        }
        Login::Bearer(token) => format!("Bearer {}", read_secret(token)?.0),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|source| OpenError::Setup {
        what: "the login of the channel",
        source: source.into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl Poster {
    pub(super) fn open(
        url: &str,
        login: Option<Header>,
        ca: Option<&Path>,
        proxy: Option<&Url>,
    ) -> Result<Self, OpenError> {
        let url = Url::parse(url).map_err(|_| OpenError::Url)?;
        let is_web = matches!(url.scheme(), "http" | "https");
        let host = url.host_str().filter(|_| is_web).ok_or(OpenError::Url)?;
        let receiver = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let not_ready = |source: reqwest::Error| OpenError::Setup {
            what: "the HTTP client",
            source: source.without_url().into(),
        };
        // A redirect could carry the message, and the signature with it, to somebody else.
        let mut builder = Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls::config(ca)?)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("firstmile/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(1);
        if let Some(proxy) = proxy {
            let proxy = reqwest::Proxy::all(proxy.as_str()).map_err(not_ready)?;
            builder = builder.proxy(proxy);
        }
        Ok(Self {
            client: builder.build().map_err(not_ready)?,
            url,
            login,
            receiver,
        })
    }

    pub(super) fn receiver(&self) -> &str {
        &self.receiver
    }

    pub(super) async fn post(
        &self,
        body: Vec<u8>,
        key: &str,
        signed: Option<(&'static str, String)>,
    ) -> Result<String, SendError> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(body);
        if let Some((name, value)) = signed {
            request = request.header(name, value);
        }
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, login.clone());
        }
        let answer = request
            .send()
            .await
            .map_err(|source| SendError::Unreachable {
                what: "post to",
                to: self.receiver.clone(),
                fix: "look whether it runs and whether a firewall or a proxy is in between",
                source: source.without_url().into(),
            })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(format!("{} took it with {status}", self.receiver));
        }
        Err(self.refused(answer).await)
    }

    async fn refused(&self, answer: Response) -> SendError {
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs);
        SendError::Refused {
            to: self.receiver.clone(),
            status: status.as_u16(),
            text: beginning(answer).await,
            retry_after,
            patience: patience(status),
            fix: fix(status),
        }
    }
}

/// What an answer begins with, on one line; a long or endless one is not read to its end.
async fn beginning(mut answer: Response) -> String {
    let mut read = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        read.extend_from_slice(&part);
        if read.len() > ANSWER_READ_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&read);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(ANSWER_MAX).collect()
}

/// 400, 413 and 422 speak of the message itself, 404 and 410 of a receiver that is gone. Others may pass: a receiver that is being set
/// up, a login being mended.
const fn patience(status: StatusCode) -> Patience {
    match status.as_u16() {
        400 | 413 | 422 => Patience::None,
        404 | 410 => Patience::Short,
        _ => Patience::Full,
    }
}

fn fix(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "look at the secret, login or token of the channel",
        404 | 410 => "look at the url of the channel: nothing takes messages there",
        408 | 429 | 500..=599 => "it is tried again by itself",
        300..=399 => "it redirects, which is not followed: name the final url",
        _ => "look whether the kind of the channel is the right one",
    }
}
