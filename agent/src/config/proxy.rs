//! Which proxy stands between this machine and a host: `[proxy]` of the file, else the environment.
//!
//! Credentials are held here and handed to the one header that needs them; no text made here shows them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::ConfigError;
use super::section::{self, Section};

/// Names that the settings of Windows go by among the variables: the proxy, and what is reached without one.
pub(super) const OF_WINDOWS: &str = "proxy settings of Windows";
pub(super) const NOT_OF_WINDOWS: &str = "proxy exceptions of Windows";

/// The port of a proxy whose URL names none.
const DEFAULT_PORT: u16 = 80;

/// A proxy that HTTPS connections to some host have to take.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// `http://host:port/`, without user and password.
    uri: Uri,
    authorization: Option<HeaderValue>,
    named_by: &'static str,
}

/// Why a proxy that is named cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("proxy.credentials_file = {:?}: cannot read it; put user:password on its first line, readable for the agent's user only", file.display().to_string())]
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("proxy.credentials_file = {:?}: write user:password on its first line", file.display().to_string())]
    NoCredentials { file: PathBuf },
    #[error("{named_by} names a proxy that is spoken to with {scheme}: only http:// is understood")]
    Scheme {
        named_by: &'static str,
        scheme: String,
    },
}

/// The proxies of this machine, as far as somebody has named them.
#[derive(Clone, Default)]
pub(crate) struct ProxyRules {
    matcher: Option<Arc<Matcher>>,
    credentials_file: Option<PathBuf>,
    named_by: &'static str,
    for_users: bool,
    of_file: Option<String>,
}

impl ProxyRules {
    /// Reads `[proxy]`; where it names none, the variables of the environment hold (`HTTPS_PROXY`, then `ALL_PROXY`, and
    /// `NO_PROXY`).
    pub(super) fn read(
        mut section: Section,
        environment: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let url = section.take_secret("url", |value| plain_url(section::text(value)?))?;
        let no_proxy = section.take("no_proxy", |value| {
            section::list(value, |text| Ok(text.to_owned()))
        })?;
        let credentials_file = section.take("credentials_file", |value| {
            section::text(value).map(PathBuf::from)
        })?;
        let for_users = section.take("for_users", section::truth)?;
        section.finish()?;
        let of_environment = |names: &[&str]| {
            let named = |name: &&str| environment.iter().find(|(other, _)| other == name).cloned();
            names.iter().find_map(named)
        };
        let of_file = url.clone();
        let (named_by, url) = match url {
            Some(url) => ("proxy.url", url),
            None => of_environment(&[
                "HTTPS_PROXY",
                "https_proxy",
                "ALL_PROXY",
                "all_proxy",
                OF_WINDOWS,
            ])
            .unwrap_or_default(),
        };
        let except = no_proxy.map(|hosts| hosts.join(",")).or_else(|| {
            of_environment(&["NO_PROXY", "no_proxy", NOT_OF_WINDOWS]).map(|(_, hosts)| hosts)
        });
        let matcher = Matcher::builder()
            .https(url.as_str())
            .no(except.unwrap_or_default())
            .build();
        Ok(Self {
            matcher: (!url.is_empty()).then(|| Arc::new(matcher)),
            credentials_file,
            named_by,
            for_users: for_users.unwrap_or(true),
            of_file,
        })
    }

    /// The rules of an environment in which `HTTPS_PROXY` has this value.
    #[cfg(test)]
    pub(crate) fn of_environment(value: &str) -> Self {
        Self {
            matcher: Some(Arc::new(Matcher::builder().https(value).build())),
            named_by: "HTTPS_PROXY",
            for_users: true,
            ..Self::default()
        }
    }

    /// The proxy for HTTPS connections to the host of `url`; `None`: they go directly.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub(crate) fn for_url(&self, url: &Url) -> Result<Option<Proxy>, ProxyError> {
        let Some(mut proxy) = self.find(url.as_str()) else {
            return Ok(None);
        };
        if let Some(scheme) = proxy.uri.scheme_str().filter(|scheme| *scheme != "http") {
            return Err(ProxyError::Scheme {
                named_by: self.named_by,
                scheme: scheme.to_owned(),
            });
        }
        if let Some(file) = &self.credentials_file {
            let text = std::fs::read_to_string(file).map_err(|source| ProxyError::Unreadable {
                file: file.clone(),
                source,
            })?;
            let basic =
                basic(&text).ok_or_else(|| ProxyError::NoCredentials { file: file.clone() })?;
            proxy.authorization = Some(basic);
        }
        Ok(Some(proxy))
    }

    /// `host:port` of the proxy that users of this machine are told to take to `host`; `None`: none.
    pub(crate) fn for_users(&self, host: &str) -> Option<String> {
        let is_v6 = host.contains(':');
        let url = if is_v6 {
            format!("https://[{host}]/")
        } else {
            format!("https://{host}/")
        };
        self.find(&url)
            .filter(|_| self.for_users)
            .map(|proxy| proxy.name())
    }

    /// What the file names: `""` for no proxy at all; `None` leaves it to the environment. It holds no credentials.
    pub(crate) fn of_file(&self) -> Option<String> {
        self.of_file.clone()
    }

    fn find(&self, url: &str) -> Option<Proxy> {
        let found = self.matcher.as_ref()?.intercept(&url.parse().ok()?)?;
        Some(Proxy {
            uri: found.uri().clone(),
            authorization: found.basic_auth().cloned(),
            named_by: self.named_by,
        })
    }
}

impl Proxy {
    /// `http://host:port/`, without credentials.
    pub(crate) const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The value of `Proxy-Authorization` (RFC 9110 §11.7.2), marked as sensitive.
    pub(crate) const fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The host, as a name or an address without brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(DEFAULT_PORT)
    }

    /// `host:port`: what may be shown.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.uri.host().unwrap_or_default(), self.port())
    }

    /// The key or variable that names it.
    pub(crate) const fn named_by(&self) -> &'static str {
        self.named_by
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for ProxyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRules")
            .field("named_by", &self.named_by)
            .finish_non_exhaustive()
    }
}

/// A URL of a proxy without credentials: the file may be read by all; `""` stands for none.
fn plain_url(text: &str) -> Result<String, String> {
    let fix = "write http://host:port of the proxy, or \"\" for none";
    if text.is_empty() {
        return Ok(String::new());
    }
    let url = Url::parse(text).map_err(|_| fix.to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "no user and password here: this file may be read by all; put user:password into a file of its own and name it in proxy.credentials_file"
                .to_owned(),
        );
    }
    if url.scheme() == "http" && url.has_host() {
        Ok(text.to_owned())
    } else {
        Err(fix.to_owned())
    }
}

/// `Basic` and the first line in base64 (RFC 7617 §2).
fn basic(text: &str) -> Option<HeaderValue> {
    let line = text.lines().next()?.trim();
    line.split_once(':').filter(|(user, _)| !user.is_empty())?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(line);
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str, environment: &[(&'static str, &str)]) -> Result<ProxyRules, ConfigError> {
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let table = toml::from_str(text).unwrap_or_default();
        ProxyRules::read(Section::root(Path::new("agent.toml"), table), &environment)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn named(rules: &ProxyRules, text: &str) -> Option<String> {
        rules
            .for_url(&url(text))
            .expect("usable")
            .map(|proxy| proxy.name())
    }

    #[test]
    fn the_file_comes_before_the_environment_and_exceptions_hold() {
        let environment = [
            ("HTTPS_PROXY", "http://user:secret@env.example:3128"),
            ("NO_PROXY", "direct.example,192.0.2.0/24"),
        ];
        let collector = "https://collector.example:8443/";
        for (name, text, to, want) in [
            ("environment", "", collector, Some("env.example:3128")),
            ("excepted name", "", "https://a.direct.example/", None),
            ("excepted network", "", "https://192.0.2.9:8443/", None),
            (
                "file",
                "url = \"http://file.example\"",
                collector,
                Some("file.example:80"),
            ),
            ("none", "url = \"\"", collector, None),
            (
                "file's exceptions",
                "no_proxy = [\"collector.example\"]",
                collector,
                None,
            ),
            (
                "and not the other's",
                "no_proxy = []",
                "https://192.0.2.9/",
                Some("env.example:3128"),
            ),
        ] {
            let rules = read(text, &environment).expect("valid");
            assert_eq!(named(&rules, to).as_deref(), want, "{name}");
        }
        assert_eq!(named(&read("", &[]).expect("valid"), collector), None);
        let all = read("", &[("ALL_PROXY", "env.example:8080")]).expect("valid");
        assert_eq!(named(&all, collector).as_deref(), Some("env.example:8080"));
    }

    #[test]
    fn users_are_told_unless_the_file_says_otherwise() {
        let proxy = [
            ("HTTPS_PROXY", "http://env.example:3128"),
            ("NO_PROXY", "2001:db8::1"),
        ];
        let rules = read("", &proxy).expect("valid");
        assert_eq!(
            rules.for_users("mail.example").as_deref(),
            Some("env.example:3128")
        );
        assert_eq!(rules.for_users("2001:db8::1"), None);
        assert_eq!(
            rules.for_users("2001:db8::2").as_deref(),
            Some("env.example:3128")
        );
        let ours = read("for_users = false", &proxy).expect("valid");
        assert_eq!(ours.for_users("mail.example"), None);
        assert!(named(&ours, "https://mail.example/").is_some());
    }

    #[test]
    fn no_text_shows_a_password() {
        let refused =
            read("url = \"http://user:hunter2@proxy.example\"", &[]).expect_err("refused");
        assert!(
            refused.to_string().contains("credentials_file"),
            "{refused}"
        );
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
        let rules = read(
            "",
            &[("https_proxy", "http://user:hunter2@proxy.example:3128")],
        )
        .expect("valid");
        let proxy = rules
            .for_url(&url("https://c.example/"))
            .expect("usable")
            .expect("a proxy");
        let shown = format!(
            "{rules:?} {proxy:?} {:?} {}",
            proxy.authorization(),
            proxy.uri()
        );
        assert!(
            !shown.contains("hunter2") && !shown.contains("dXNlcj"),
            "{shown}"
        );
        assert_eq!(
            proxy.authorization().map(HeaderValue::as_bytes),
            Some(&b"Basic dXNlcjpodW50ZXIy"[..])
        );
    }

    #[test]
    fn credentials_come_from_a_file_of_their_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("proxy");
        let text = format!(
            "url = \"http://p.example:3128\"\ncredentials_file = {:?}",
            file.display().to_string()
        );
        let rules = read(&text, &[]).expect("valid");
        let ask = || rules.for_url(&url("https://c.example/"));
        assert!(matches!(ask(), Err(ProxyError::Unreadable { .. })));
        std::fs::write(&file, "nothing").expect("written");
        assert!(matches!(ask(), Err(ProxyError::NoCredentials { .. })));
        std::fs::write(&file, "user:pass:word\n").expect("written");
        let proxy = ask().expect("usable").expect("a proxy");
        let header = proxy.authorization().expect("credentials");
        assert_eq!(header.as_bytes(), b"Basic dXNlcjpwYXNzOndvcmQ=");
        assert!(header.is_sensitive());
    }

    #[test]
    fn a_proxy_that_is_not_spoken_to_is_refused() {
        let rules = read("", &[("HTTPS_PROXY", "socks5://p.example:1080")]).expect("valid");
        assert!(matches!(
            rules.for_url(&url("https://c.example/")),
            Err(ProxyError::Scheme { .. })
        ));
        for text in [
            "url = \"https://p.example\"",
            "url = \"p.example:3128\"",
            "url = 3",
        ] {
            assert!(read(text, &[]).is_err(), "{text}");
        }
    }
}
