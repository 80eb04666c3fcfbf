//! Channels: what speaks to a receiver. Opened once from the configuration; each send is one try, with a deadline.

mod error;
mod http;
mod mail;
mod syslog;
mod tls;

use std::path::Path;
use std::time::Duration;

pub use error::{OpenError, SendError};

use super::core::notice::Notice;
use super::core::render;
use crate::config::notify::{Channel, ChannelKind, SecretFrom, is_open_to_others};

/// One try takes at most so long: a receiver that hangs must not hold the queue of its channel for longer.
const SEND_WITHIN: Duration = Duration::from_secs(20);

/// A channel that can send.
#[derive(Debug)]
pub struct Sender {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Webhook(http::Poster, Secret),
    Slack(http::Poster),
    Teams(http::Poster),
    Alertmanager(http::Poster),
    Mail(Box<mail::Mailer>),
    Syslog(Box<syslog::Logger>),
}

/// A secret in memory; it has no text form.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Sender {
    /// Reads the secrets and certificates of a channel and gets ready to send. Connects to nobody.
    ///
    /// # Errors
    /// [`OpenError`], which names the file.
    pub fn open(channel: &Channel) -> Result<Self, OpenError> {
        let poster = |url: String, login: Option<http::Header>| {
            http::Poster::open(&url, login, channel.ca.as_deref(), channel.proxy.as_ref())
        };
        let way = match &channel.kind {
            ChannelKind::Webhook { url, key } => {
                Way::Webhook(poster(read_secret(url)?.0, None)?, read_secret(key)?)
            }
            ChannelKind::Slack { url } => Way::Slack(poster(read_secret(url)?.0, None)?),
            ChannelKind::Teams { url } => Way::Teams(poster(read_secret(url)?.0, None)?),
            ChannelKind::Alertmanager { url, login } => {
                let url = format!("{}/api/v2/alerts", url.as_str().trim_end_matches('/'));
                let login = login.as_ref().map(http::header).transpose()?;
                Way::Alertmanager(poster(url, login)?)
            }
            ChannelKind::Mail(mail) => {
                Way::Mail(Box::new(mail::Mailer::open(mail, channel.ca.as_deref())?))
            }
            ChannelKind::Syslog(log) => {
                Way::Syslog(Box::new(syslog::Logger::open(log, channel.ca.as_deref())?))
            }
        };
        Ok(Self { way })
    }

    /// Sends one message, once. What it says on success is for people.
    ///
    /// # Errors
    /// [`SendError`]: what was tried, on whom, why, and what to do.
    pub async fn send(&self, notice: &Notice, now_unix_ms: i64) -> Result<String, SendError> {
        let sending = async {
            match &self.way {
                Way::Webhook(poster, key) => {
                    let body = render::webhook::body(notice);
                    let signature =
                        render::webhook::signature(key.0.as_bytes(), &body, now_unix_ms);
                    let signed = (render::webhook::SIGNATURE, signature);
                    poster.post(body, &notice.message_id, Some(signed)).await
                }
                Way::Slack(poster) => {
                    let body = render::slack::body(notice).to_string();
                    poster.post(body.into(), &notice.message_id, None).await
                }
                Way::Teams(poster) => {
                    let body = render::teams::body(notice).to_string();
                    poster.post(body.into(), &notice.message_id, None).await
                }
                Way::Alertmanager(poster) => {
                    let body = render::alertmanager::body(notice, now_unix_ms).to_string();
                    poster.post(body.into(), &notice.message_id, None).await
                }
                Way::Mail(mailer) => mailer.send(notice, now_unix_ms).await,
                Way::Syslog(logger) => logger.send(notice).await,
            }
        };
        match tokio::time::timeout(SEND_WITHIN, sending).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError::TooSlow {
                to: self.receiver(),
                within: SEND_WITHIN,
            }),
        }
    }

    /// Host and port of the receiver, for messages; never more of a URL, which may be a secret.
    pub fn receiver(&self) -> String {
        match &self.way {
            Way::Webhook(poster, _)
            | Way::Slack(poster)
            | Way::Teams(poster)
            | Way::Alertmanager(poster) => poster.receiver().to_owned(),
            Way::Mail(mailer) => mailer.receiver().to_owned(),
            Way::Syslog(logger) => logger.receiver().to_owned(),
        }
    }
}

fn read_secret(from: &SecretFrom) -> Result<Secret, OpenError> {
    let path = match from {
        SecretFrom::Inline(text) => return Ok(Secret(text.clone())),
        SecretFrom::File(path) => path,
    };
    let text = read_private(path)?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(OpenError::NoSecret { path: path.clone() });
    }
    Ok(Secret(text.to_owned()))
}

fn read_private(path: &Path) -> Result<String, OpenError> {
    let text = std::fs::read_to_string(path).map_err(|source| OpenError::Read {
        path: path.to_owned(),
        source,
    })?;
    if is_open_to_others(path) {
        return Err(OpenError::Open {
            path: path.to_owned(),
        });
    }
    Ok(text)
}
