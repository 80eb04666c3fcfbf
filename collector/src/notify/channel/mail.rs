//! The channel by e-mail: one message to all receivers of the channel, in one transaction.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Envelope;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tracing::warn;

use super::error::{OpenError, Patience, SendError};
use super::{read_secret, tls};
use crate::config::notify::{Mail, MailSecurity};
use crate::ingest::refusal::with_sources;
use crate::notify::core::notice::Notice;
use crate::notify::core::render;

/// One command and its answer.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);

/// Sends e-mail by one server.
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    receiver: String,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mailer").field(&self.receiver).finish()
    }
}

impl Mailer {
    pub(super) fn open(mail: &Mail, ca: Option<&Path>) -> Result<Self, OpenError> {
        let tls = match mail.security {
            MailSecurity::Plain => Tls::None,
            MailSecurity::StartTls => Tls::Required(parameters(&mail.host, ca)?),
            MailSecurity::Tls => Tls::Wrapper(parameters(&mail.host, ca)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
            .port(mail.port)
            .timeout(Some(COMMAND_WITHIN))
            .tls(tls);
        if let Some((user, password)) = &mail.login {
            let password = read_secret(password)?;
            builder = builder.credentials(Credentials::new(user.clone(), password.0));
        }
        let address = |text: &String| {
            text.parse().map_err(|source| OpenError::Setup {
                what: "an address of the channel",
                source: Box::<dyn std::error::Error + Send + Sync>::from(format!("{source}")),
            })
        };
        Ok(Self {
            transport: builder.build(),
            from: address(&mail.from)?,
            to: mail.to.iter().map(address).collect::<Result<_, _>>()?,
            receiver: format!("{}:{}", mail.host, mail.port),
        })
    }

    pub(super) fn receiver(&self) -> &str {
        &self.receiver
    }

    pub(super) async fn send(
        &self,
        notice: &Notice,
        now_unix_ms: i64,
    ) -> Result<String, SendError> {
        let message =
            self.message(notice, now_unix_ms)
                .map_err(|source| SendError::Unwritable {
                    to: self.receiver.clone(),
                    source: source.into(),
                })?;
        let (envelope, written) = (message.envelope().clone(), message.formatted());
        match self.transport.send_raw(&envelope, &written).await {
            Ok(answer) => {
                let said: Vec<&str> = answer.message().collect();
                let (receiver, code) = (&self.receiver, answer.code());
                Ok(format!("{receiver} took it with {code} {}", said.join(" ")))
            }
            // One address that does not exist refuses the transaction of all.
            Err(error) if is_of_a_mailbox(&error) && self.to.len() > 1 => {
                self.send_to_each(&envelope, &written).await
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A transaction for each receiver. It is sent if any took it: those who did would get it again.
    async fn send_to_each(&self, envelope: &Envelope, written: &[u8]) -> Result<String, SendError> {
        let (mut taken, mut refused, mut last) = (0_usize, Vec::new(), None);
        for to in envelope.to() {
            let alone =
                Envelope::new(envelope.from().cloned(), vec![to.clone()]).map_err(|source| {
                    SendError::Unwritable {
                        to: self.receiver.clone(),
                        source: source.into(),
                    }
                })?;
            match self.transport.send_raw(&alone, written).await {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused.push(to.to_string());
                    last = Some(self.failed(error));
                }
            }
        }
        match last {
            Some(failure) if taken == 0 => Err(failure),
            Some(failure) => {
                warn!(
                    receiver = self.receiver,
                    refused = refused.join(", "),
                    taken,
                    error = with_sources(&failure),
                    "some receivers of a mail were refused; the others have it"
                );
                let (receiver, all) = (&self.receiver, taken + refused.len());
                Ok(format!(
                    "{receiver} took it for {taken} of {all} receivers, not for {}",
                    refused.join(", ")
                ))
            }
            None => Ok(format!(
                "{} took it for each of {taken} receivers",
                self.receiver
            )),
        }
    }

    fn message(&self, notice: &Notice, now_unix_ms: i64) -> Result<Message, lettre::error::Error> {
        let mail = render::mail::mail(notice, self.from.email.domain());
        let now = Duration::from_millis(u64::try_from(now_unix_ms).unwrap_or(0));
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(mail.subject)
            .date(UNIX_EPOCH + now)
            .message_id(Some(mail.message_id))
            .references(mail.thread_id)
            .header(Automatic("auto-generated".to_owned()));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder.multipart(MultiPart::alternative_plain_html(mail.text, mail.html))
    }

    fn failed(&self, error: lettre::transport::smtp::Error) -> SendError {
        let to = self.receiver.clone();
        let Some(code) = error.status() else {
            return SendError::Unreachable {
                what: "send mail by",
                to,
                fix: "look whether it runs, and at host, port and security of the channel",
                source: error.into(),
            };
        };
        let code: u16 = code.into();
        SendError::Refused {
            to,
            status: code,
            text: error.to_string().chars().take(200).collect(),
            retry_after: None,
            // RFC 5321 §4.2.3: 552 and 554 speak of the message, 550, 551 and 553 of a mailbox; others of the login or the sender, which
            // may be mended.
            patience: match code {
                552 | 554 => Patience::None,
                550 | 551 | 553 => Patience::Short,
                _ => Patience::Full,
            },
            fix: "look at user, password, from and to of the channel",
        }
    }
}

/// Whether a server refused a mailbox for good (RFC 5321 §4.2.3).
fn is_of_a_mailbox(error: &lettre::transport::smtp::Error) -> bool {
    let code = error.status().map(u16::from);
    matches!(code, Some(550 | 551 | 553))
}

fn parameters(host: &str, ca: Option<&Path>) -> Result<TlsParameters, OpenError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca {
        for certificate in tls::certificates(path)? {
            let certificate = Certificate::from_der(certificate.to_vec()).map_err(|source| {
                OpenError::Certificates {
                    path: path.to_owned(),
                    source: source.into(),
                }
            })?;
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|source| OpenError::Setup {
        what: "TLS for mail",
        source: source.into(),
    })
}

/// `Auto-Submitted` (RFC 3834 §5): answering machines stay silent.
#[derive(Clone, Debug)]
struct Automatic(String);

impl Header for Automatic {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}
