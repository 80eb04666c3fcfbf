//! The channel by e-mail: one message to all receivers of the channel, in one transaction.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::error::{OpenError, SendError};
use super::{read_secret, tls};
use crate::config::notify::{Mail, MailSecurity};
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
        match self.transport.send(message).await {
            Ok(answer) => {
                let said: Vec<&str> = answer.message().collect();
                let (receiver, code) = (&self.receiver, answer.code());
                Ok(format!("{receiver} took it with {code} {}", said.join(" ")))
            }
            Err(error) => Err(self.failed(error)),
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
            // 552 and 554 speak of the message; others of the login, the sender or a receiver, which may be mended.
            for_good: matches!(code, 552 | 554),
            fix: "look at user, password, from and to of the channel",
        }
    }
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
