//! `[notify]`: channels, rules, and how patient notifications are.
//!
//! Secrets stand in files of their own; in `collector.toml` itself only where nobody else can read it. They are in no message and no log.

mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;
use values::{Address, ClassName, Facility, HostName, Kind, Pause, Port, Text, WebUrl};

use super::keys::{ConfigError, Section, Setting};
use super::values::PlainPath;
use crate::notify::core::plan::Settings;
use crate::notify::core::rules::Rule;

/// Channels of one collector: each has a task and a connection.
const CHANNELS_MAX: usize = 64;

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The channels, by name.
    pub channels: BTreeMap<String, Channel>,
    /// What decides who is told when.
    pub settings: Settings,
    /// How long an undelivered message is tried.
    pub keep: Duration,
}

/// A receiver, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// How it is spoken to.
    pub kind: ChannelKind,
    /// Certificates of an authority of the receiver's own, PEM; besides those of the machine.
    pub ca: Option<PathBuf>,
    /// HTTP proxy, for channels by HTTP.
    pub proxy: Option<Url>,
}

/// How a receiver is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// The documented JSON, signed.
    Webhook {
        /// Where to.
        url: SecretFrom,
        /// Key of the signature.
        key: SecretFrom,
    },
    /// Slack's incoming webhook.
    Slack {
        /// Where to; whoever knows it can write to the channel.
        url: SecretFrom,
    },
    /// A workflow's webhook of Microsoft Teams.
    Teams {
        /// Where to; whoever knows it can write to the channel.
        url: SecretFrom,
    },
    /// E-mail by SMTP.
    Mail(Mail),
    /// Syslog (RFC 5424).
    Syslog(Syslog),
    /// Alertmanager's API.
    Alertmanager {
        /// Its address, without `/api/v2/alerts`.
        url: Url,
        /// What proves who we are.
        login: Option<Login>,
    },
}

/// What proves who we are to an HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// HTTP Basic.
    Basic {
        /// Name.
        user: String,
        /// Password.
        password: SecretFrom,
    },
    /// A bearer token.
    Bearer(SecretFrom),
}

/// How e-mail is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: MailSecurity,
    /// Name and password, where it asks for them.
    pub login: Option<(String, SecretFrom)>,
    /// Sender.
    pub from: String,
    /// Receivers.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS from the start.
    Tls,
    /// `STARTTLS`, and no mail without it.
    StartTls,
    /// None; never with a password.
    Plain,
}

/// Where syslog goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How.
    pub transport: SyslogTransport,
    /// Facility, 0 to 23.
    pub facility: u8,
}

/// How syslog travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogTransport {
    /// One datagram a message (RFC 5426); what is lost is lost.
    Udp,
    /// A stream, with the length before each message (RFC 6587 §3.4.1).
    Tcp,
    /// The same in TLS (RFC 5425).
    Tls,
}

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// Alone in a file.
    File(PathBuf),
    /// In the configuration.
    Inline(String),
}

impl fmt::Debug for SecretFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Inline(_) => f.write_str("Inline(…)"),
        }
    }
}

impl Notify {
    pub(super) fn read(mut section: Section<'_>, file: &Path) -> Result<Self, ConfigError> {
        let mut channels = BTreeMap::new();
        for (name, inner) in section.named_sections("channels")? {
            if !is_channel_name(&name) || channels.len() >= CHANNELS_MAX {
                return Err(section.refuse(
                    "channels",
                    &format!("{name:?}"),
                    "this cannot name a channel, or there are 64 already",
                    "use 1 to 40 small letters, digits and hyphens, such as [notify.channels.on-call]",
                ));
            }
            channels.insert(name, Channel::read(inner, file)?);
        }
        let mut rules = Vec::new();
        for inner in section.section_list("rules")? {
            rules.push(read_rule(inner, &channels)?);
        }
        if rules.is_empty() && !channels.is_empty() {
            rules.push(Rule::usual(channels.keys().cloned().collect()));
        }
        let pause = |value: Option<Pause>, default: Duration| value.map_or(default, |one| one.0);
        let millis = |pause: Duration| i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        let hold_down = pause(section.take("hold_down")?, Duration::from_secs(90));
        let end_after = pause(section.take("end_after")?, Duration::from_mins(1));
        let digest_every = pause(section.take("digest_every")?, Duration::from_hours(1));
        let keep = pause(section.take("keep")?, Duration::from_hours(24));
        let registered_providers = section.take_list("registered_providers")?;
        let dashboard = section.take::<WebUrl>("dashboard_url")?;
        section.finish()?;
        let forgets = |channel: &Channel| matches!(channel.kind, ChannelKind::Alertmanager { .. });
        let forgetful: BTreeSet<String> = channels
            .iter()
            .filter(|(_, channel)| forgets(channel))
            .map(|(name, _)| name.clone())
            .collect();
        Ok(Self {
            channels,
            settings: Settings {
                rules,
                hold_down_ms: millis(hold_down),
                end_after_ms: millis(end_after),
                digest_every_ms: millis(digest_every),
                registered_providers: registered_providers.unwrap_or_default(),
                forgetful,
                dashboard: dashboard.map(|url| url.0.to_string()),
            },
            keep,
        })
    }
}

impl Channel {
    fn read(mut section: Section<'_>, file: &Path) -> Result<Self, ConfigError> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let Kind(kind) = section.take("kind")?.ok_or_else(|| {
            section.refuse(
                "kind",
                "",
                "a channel has a kind",
                &format!("write it like {}", Kind::LIKE),
            )
        })?;
        let kind = match kind {
            "webhook" => ChannelKind::Webhook {
                // Who knows it can send nothing: what counts is signed.
                url: match section.take::<WebUrl>("url")? {
                    Some(WebUrl(url)) => SecretFrom::Inline(url.into()),
                    None => secret(&mut section, ("url", "url_file"), file)?,
                },
                key: secret(&mut section, ("secret", "secret_file"), file)?,
            },
            "slack" => ChannelKind::Slack {
                url: secret(&mut section, ("url", "url_file"), file)?,
            },
            "teams" => ChannelKind::Teams {
                url: secret(&mut section, ("url", "url_file"), file)?,
            },
            "mail" => ChannelKind::Mail(Mail::read(&mut section, file)?),
            "syslog" => ChannelKind::Syslog(Syslog::read(&mut section)?),
            _ => ChannelKind::Alertmanager {
                url: needed::<WebUrl>(&mut section, "url")?.0,
                login: read_login(&mut section, file)?,
            },
        };
        let ca = section
            .take::<PlainPath>("ca")?
            .map(|path| folder.join(path.0));
        let by_http = !matches!(kind, ChannelKind::Mail(_) | ChannelKind::Syslog(_));
        let proxy = if by_http {
            section.take::<WebUrl>("proxy")?.map(|url| url.0)
        } else {
            None
        };
        section.finish()?;
        Ok(Self { kind, ca, proxy })
    }
}

fn read_login(section: &mut Section<'_>, file: &Path) -> Result<Option<Login>, ConfigError> {
    if let Some(Text(user)) = section.take("user")? {
        let password = secret(section, ("password", "password_file"), file)?;
        return Ok(Some(Login::Basic { user, password }));
    }
    Ok(optional_secret(section, ("token", "token_file"), file)?.map(Login::Bearer))
}

impl Mail {
    fn read(section: &mut Section<'_>, file: &Path) -> Result<Self, ConfigError> {
        let HostName(host) = needed(section, "host")?;
        let security = section
            .take::<MailSecurity>("security")?
            .unwrap_or(MailSecurity::StartTls);
        let usual_port = match security {
            MailSecurity::Tls => 465,
            MailSecurity::StartTls => 587,
            MailSecurity::Plain => 25,
        };
        let port = section
            .take::<Port>("port")?
            .map_or(usual_port, |port| port.0);
        let login = match section.take::<Text>("user")? {
            Some(Text(user)) => Some((user, secret(section, ("password", "password_file"), file)?)),
            None => None,
        };
        if login.is_some() && security == MailSecurity::Plain {
            return Err(section.refuse(
                "security",
                "\"none\"",
                "a password would travel in the clear",
                "write security = \"starttls\" or \"tls\", or leave user out",
            ));
        }
        let Address(from) = needed(section, "from")?;
        let to = section.take_list::<Address>("to")?.unwrap_or_default();
        if to.is_empty() {
            return Err(section.refuse(
                "to",
                "[]",
                "nobody would get the mail",
                "write it like [\"noc@example.com\"]",
            ));
        }
        Ok(Self {
            host,
            port,
            security,
            login,
            from,
            to: to.into_iter().map(|address| address.0).collect(),
        })
    }
}

impl Syslog {
    fn read(section: &mut Section<'_>) -> Result<Self, ConfigError> {
        let HostName(host) = needed(section, "host")?;
        let transport = section
            .take::<SyslogTransport>("transport")?
            .unwrap_or(SyslogTransport::Tcp);
        let usual_port = match transport {
            SyslogTransport::Udp | SyslogTransport::Tcp => 514,
            SyslogTransport::Tls => 6514,
        };
        let port = section
            .take::<Port>("port")?
            .map_or(usual_port, |port| port.0);
        let facility = section
            .take::<Facility>("facility")?
            .map_or(16, |one| one.0);
        Ok(Self {
            host,
            port,
            transport,
            facility,
        })
    }
}

fn read_rule(
    mut section: Section<'_>,
    channels: &BTreeMap<String, Channel>,
) -> Result<Rule, ConfigError> {
    let named = section.take_list::<Text>("channels")?.unwrap_or_default();
    let named: Vec<String> = named.into_iter().map(|name| name.0).collect();
    if let Some(unknown) = named.iter().find(|name| !channels.contains_key(*name)) {
        let known: Vec<&str> = channels.keys().map(String::as_str).collect();
        return Err(section.refuse(
            "channels",
            &format!("{unknown:?}"),
            "there is no such channel",
            &format!("channels are: {}", known.join(", ")),
        ));
    }
    if named.is_empty() {
        return Err(section.refuse(
            "channels",
            "[]",
            "the rule tells nobody",
            "write it like [\"on-call\"]",
        ));
    }
    let usual = Rule::usual(named);
    let texts = |all: Option<Vec<Text>>| {
        all.unwrap_or_default()
            .into_iter()
            .map(|one| one.0)
            .collect()
    };
    let classes = section
        .take_list::<ClassName>("classes")?
        .unwrap_or_default();
    let rule = Rule {
        classes: classes.into_iter().map(|class| class.0).collect(),
        min_level: section.take("min_level")?.unwrap_or(usual.min_level),
        geographies: texts(section.take_list("geographies")?),
        providers: section.take_list("providers")?.unwrap_or_default(),
        prefixes: section.take_list("prefixes")?.unwrap_or_default(),
        single_agent: section.take("single_agent")?.unwrap_or_default(),
        updates: section.take("updates")?.unwrap_or_default(),
        ..usual
    };
    section.finish()?;
    Ok(rule)
}

fn needed<T: Setting>(section: &mut Section<'_>, key: &'static str) -> Result<T, ConfigError> {
    let value = section.take(key)?;
    value.ok_or_else(|| {
        let fix = format!("write it like {}", T::LIKE);
        section.refuse(key, "", "this key is missing", &fix)
    })
}

fn secret(
    section: &mut Section<'_>,
    keys: (&'static str, &'static str),
    file: &Path,
) -> Result<SecretFrom, ConfigError> {
    let found = optional_secret(section, keys, file)?;
    found.ok_or_else(|| {
        let fix = format!(
            "write {} = \"FILE\", and the secret alone in that file",
            keys.1
        );
        section.refuse(keys.1, "", "this key is missing", &fix)
    })
}

fn optional_secret(
    section: &mut Section<'_>,
    (inline, by_file): (&'static str, &'static str),
    file: &Path,
) -> Result<Option<SecretFrom>, ConfigError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    if let Some(PlainPath(path)) = section.take(by_file)? {
        return Ok(Some(SecretFrom::File(folder.join(path))));
    }
    let Some(Text(text)) = section.take(inline)? else {
        return Ok(None);
    };
    if is_open_to_others(file) {
        return Err(section.refuse(
            inline,
            "(not shown)",
            "every user of this machine can read this file",
            &format!("put the secret into a file of its own and name it with {by_file}, or run `chmod o= {}`", file.display()),
        ));
    }
    Ok(Some(SecretFrom::Inline(text)))
}

/// Whether users outside its owner and group can read a file.
pub fn is_open_to_others(file: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o007 != 0)
    }
    #[cfg(not(unix))]
    {
        drop(file.metadata());
        false
    }
}

fn is_channel_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len()) && name.bytes().all(is_good)
}

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
