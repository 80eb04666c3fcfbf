//! The types that keys have: each can only be made from a value that works.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;
use url::Url;

use super::keys::Setting;
use crate::auth::authority::ServerName;

/// A path that is not empty.
pub(super) struct PlainPath(pub(super) PathBuf);

/// `https`, a host, perhaps a port, nothing else.
pub(super) struct PublicUrl(pub(super) Url);

/// A DNS name or an address.
pub(super) struct ExtraName(pub(super) ServerName);

/// How long something is kept: an hour to ten years.
pub(super) struct Keep(pub(super) Duration);

/// Which certificate the dashboard shows.
pub(super) enum TlsChoice {
    OwnCa,
    Files { certificate: PathBuf, key: PathBuf },
}

impl Setting for PlainPath {
    const LIKE: &'static str = "a path in quotes, such as \"/var/lib/firstmile-collector\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?;
        if text.is_empty() || text.contains('\0') {
            return Err("this is no path".to_owned());
        }
        Ok(Self(text.into()))
    }
}

impl Setting for SocketAddr {
    const LIKE: &'static str =
        "an address and a port, such as \"127.0.0.1:8080\", \"0.0.0.0:8443\" or \"[::]:8443\"";
    fn read(value: &Value) -> Result<Self, String> {
        text_of(value)?
            .parse()
            .map_err(|_| "this is no address with a port".to_owned())
    }
}

impl Setting for PublicUrl {
    const LIKE: &'static str = "\"https://collector.example:8443\"";
    fn read(value: &Value) -> Result<Self, String> {
        let url =
            Url::parse(text_of(value)?).map_err(|error| format!("this is no URL ({error})"))?;
        if url.scheme() != "https" {
            return Err("agents come by https only".to_owned());
        }
        if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
            return Err("it names no host and port that agents could reach".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it must not carry a user".to_owned());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("it must not carry a path".to_owned());
        }
        Ok(Self(url))
    }
}

impl Setting for ExtraName {
    const LIKE: &'static str = "\"collector.example.net\" or \"192.0.2.10\"";
    fn read(value: &Value) -> Result<Self, String> {
        let name = ServerName::of_host(text_of(value)?);
        match &name {
            ServerName::Dns(text) if !is_dns_name(text) => {
                Err("this is neither a name nor an address".to_owned())
            }
            ServerName::Dns(_) | ServerName::Address(_) => Ok(Self(name)),
        }
    }
}

impl Setting for u32 {
    const LIKE: &'static str = "a number, such as 8075";
    fn read(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().ok_or("this is no whole number")?;
        Self::try_from(number).map_err(|_| "it is out of range".to_owned())
    }
}

impl Setting for Keep {
    const LIKE: &'static str = "a time with its unit, such as \"7d\", from 1h to 3660d";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?;
        let keep = humantime::parse_duration(text)
            .map_err(|error| format!("this is no time ({error})"))?;
        if !(Duration::from_hours(1)..=Duration::from_hours(24 * 3660)).contains(&keep) {
            return Err("it is out of range".to_owned());
        }
        Ok(Self(keep))
    }
}

impl Setting for TlsChoice {
    const LIKE: &'static str = "\"own-ca\", or { certificate = \"x.pem\", key = \"x.key\" }";
    fn read(value: &Value) -> Result<Self, String> {
        if value.as_str() == Some("own-ca") {
            return Ok(Self::OwnCa);
        }
        let table = value.as_table().ok_or("this names no certificate")?;
        let path = |key: &str| {
            table
                .get(key)
                .and_then(Value::as_str)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        match (path("certificate"), path("key"), table.len()) {
            (Some(certificate), Some(key), 2) => Ok(Self::Files { certificate, key }),
            _ => Err("it needs a certificate and a key, and nothing else".to_owned()),
        }
    }
}

pub(super) fn text_of(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| "this is no text in quotes".to_owned())
}

/// Whether a text can stand in a certificate as a DNS name (RFC 1123 §2.1).
pub(super) fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (1..=253).contains(&text.len()) && text.split('.').all(label)
}

/// A name as it stands in a URL.
pub(super) fn host_text(name: &ServerName) -> String {
    match name {
        ServerName::Dns(name) => name.clone(),
        ServerName::Address(address) if address.is_ipv6() => format!("[{address}]"),
        ServerName::Address(address) => address.to_string(),
    }
}
