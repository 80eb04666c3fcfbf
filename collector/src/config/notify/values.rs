//! The types that keys of `[notify]` have: each can only be made from a value that works.

use std::time::Duration;

use ipnet::IpNet;
use toml::Value;
use url::Url;

use super::super::keys::Setting;
use super::super::values::{is_dns_name, text_of};
use super::{MailSecurity, SyslogTransport};
use crate::notify::core::model::{self, Level};

/// A text that is not empty.
pub(super) struct Text(pub(super) String);
/// A URL of the web without a user in it.
pub(super) struct WebUrl(pub(super) Url);
/// A time up to a week.
pub(super) struct Pause(pub(super) Duration);
/// A DNS name or an address.
pub(super) struct HostName(pub(super) String);
/// A port.
pub(super) struct Port(pub(super) u16);
/// A facility of syslog.
pub(super) struct Facility(pub(super) u8);
/// An address of e-mail.
pub(super) struct Address(pub(super) String);
/// A class of incidents or a type of events that exists.
pub(super) struct ClassName(pub(super) String);
/// A kind of channel that exists.
pub(super) struct Kind(pub(super) &'static str);

const KINDS: [&str; 6] = [
    "webhook",
    "slack",
    "teams",
    "mail",
    "syslog",
    "alertmanager",
];

impl Setting for Kind {
    const LIKE: &'static str =
        "\"webhook\", \"slack\", \"teams\", \"mail\", \"syslog\" or \"alertmanager\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?;
        let known = KINDS.into_iter().find(|kind| *kind == text);
        known
            .map(Self)
            .ok_or_else(|| "there is no such kind".to_owned())
    }
}

impl Setting for Text {
    const LIKE: &'static str = "a text in quotes";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("this is empty, or has control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Setting for WebUrl {
    const LIKE: &'static str = "\"https://alerts.example:9093\"";
    fn read(value: &Value) -> Result<Self, String> {
        let url =
            Url::parse(text_of(value)?).map_err(|error| format!("this is no URL ({error})"))?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
        if !is_web || !url.username().is_empty() || url.password().is_some() {
            return Err("it must be http or https, with a host and without a user".to_owned());
        }
        Ok(Self(url))
    }
}

impl Setting for Pause {
    const LIKE: &'static str = "a time with its unit, such as \"90s\", up to \"7d\"";
    fn read(value: &Value) -> Result<Self, String> {
        let pause = humantime::parse_duration(text_of(value)?)
            .map_err(|error| format!("this is no time ({error})"))?;
        if pause > Duration::from_hours(7 * 24) {
            return Err("it is out of range".to_owned());
        }
        Ok(Self(pause))
    }
}

impl Setting for HostName {
    const LIKE: &'static str = "\"mail.example\" or \"192.0.2.25\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?;
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        if !is_address && !is_dns_name(text) {
            return Err(
                "this is neither a name nor an address; the port is a key of its own".to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl Setting for Port {
    const LIKE: &'static str = "a port, such as 587";
    fn read(value: &Value) -> Result<Self, String> {
        let number = value
            .as_integer()
            .and_then(|number| u16::try_from(number).ok());
        number
            .filter(|port| *port > 0)
            .map(Self)
            .ok_or_else(|| "this is no port".to_owned())
    }
}

impl Setting for Facility {
    const LIKE: &'static str = "a number from 0 to 23, such as 16 (local0)";
    fn read(value: &Value) -> Result<Self, String> {
        let number = value
            .as_integer()
            .and_then(|number| u8::try_from(number).ok());
        number
            .filter(|facility| *facility <= 23)
            .map(Self)
            .ok_or_else(|| "this is no facility".to_owned())
    }
}

impl Setting for Address {
    const LIKE: &'static str = "\"noc@example.com\" or \"NOC <noc@example.com>\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?;
        text.parse::<lettre::message::Mailbox>()
            .map_err(|error| format!("this is no address of e-mail ({error})"))?;
        Ok(Self(text.to_owned()))
    }
}

impl Setting for ClassName {
    const LIKE: &'static str =
        "\"geo\" or \"PathGeoFailoverEvent\"; GET /api/v1/event-types lists all";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?;
        match model::of_class(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err("there is no such class or type of event".to_owned()),
        }
    }
}

impl Setting for Level {
    const LIKE: &'static str = "\"information\", \"warning\", \"error\" or \"critical\"";
    fn read(value: &Value) -> Result<Self, String> {
        Self::parse(text_of(value)?).ok_or_else(|| "there is no such level".to_owned())
    }
}

impl Setting for MailSecurity {
    const LIKE: &'static str = "\"starttls\", \"tls\" or \"none\"";
    fn read(value: &Value) -> Result<Self, String> {
        match text_of(value)? {
            "tls" => Ok(Self::Tls),
            "starttls" => Ok(Self::StartTls),
            "none" => Ok(Self::Plain),
            _ => Err("there is no such protection".to_owned()),
        }
    }
}

impl Setting for SyslogTransport {
    const LIKE: &'static str = "\"tcp\", \"udp\" or \"tls\"";
    fn read(value: &Value) -> Result<Self, String> {
        match text_of(value)? {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            "tls" => Ok(Self::Tls),
            _ => Err("there is no such transport".to_owned()),
        }
    }
}

impl Setting for IpNet {
    const LIKE: &'static str = "\"192.0.2.0/24\"";
    fn read(value: &Value) -> Result<Self, String> {
        text_of(value)?
            .parse()
            .map_err(|_| "this is no prefix".to_owned())
    }
}

impl Setting for bool {
    const LIKE: &'static str = "true or false";
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| "this is neither true nor false".to_owned())
    }
}
