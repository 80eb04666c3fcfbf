//! Configuration: one TOML file into valid types. If a [`Config`] exists, every value in it can be used.
//!
//! `docs/operations/collector-config.md` names each key. The environment is read here and nowhere else.

mod keys;
pub mod notify;
mod partners;
mod rollout;
pub mod routing;
mod values;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firstmile_peering::directory::Provider;
pub use keys::ConfigError;
use keys::Section;
use url::Url;
use values::{ExtraName, Keep, PlainPath, PublicUrl, TlsChoice};

use crate::auth::authority::ServerName;
use crate::registry::rollout::Rollout;

/// Where the configuration is looked for when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/firstmile/collector.toml";

/// Where data is kept when nothing else is said.
const DEFAULT_DATA_DIR: &str = "/var/lib/firstmile-collector";

/// Everything the administrator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it was read from, for messages.
    pub file: PathBuf,
    /// Where the CA, the store and the login are kept.
    pub data_dir: PathBuf,
    /// How agents reach the collector.
    pub ingest: Ingest,
    /// How people reach it.
    pub dashboard: Dashboard,
    /// What addresses and routers mean.
    pub geo: Geo,
    /// How long what is kept.
    pub retention: Retention,
    /// Who is told of what.
    pub notify: notify::Notify,
    /// What is registered, and which feeds tell of routes.
    pub routing: routing::Routing,
    /// Which version of the agent's program is expected of whom.
    pub rollout: Rollout,
    /// Partners beside those of the published lists.
    pub partners: Vec<Provider>,
    /// Whether to offer the project's simulated internet where no real one is reached; from the command line only.
    pub hint_lab: bool,
    /// Whether `file` was there and read; one that was may not be away when it is read again.
    pub was_read: bool,
}

/// How agents reach the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What join strings carry; its host is in the server's certificate.
    pub public_url: Url,
    /// More names and addresses for the server's certificate.
    pub extra_names: Vec<ServerName>,
}

/// How people reach the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dashboard {
    /// Where it listens.
    pub listen: SocketAddr,
    /// TLS; always present when `listen` is beyond loopback.
    pub tls: Option<DashboardTls>,
}

impl Dashboard {
    /// Whether other machines can reach it: then a login is asked for.
    pub fn is_beyond_loopback(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback()
    }
}

/// Which certificate the dashboard shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DashboardTls {
    /// The one that agents see; browsers have to be told of the CA.
    OwnCa,
    /// The administrator's own.
    Files {
        /// Certificate chain, PEM, leaf first.
        certificate: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
    },
}

/// What addresses and routers mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geo {
    /// Tables of `prefix,asn,name`.
    pub ip_to_as: Vec<PathBuf>,
    /// MMDB with AS numbers.
    pub asn_mmdb: Option<PathBuf>,
    /// MMDB with countries, instead of the built-in table.
    pub country_mmdb: Option<PathBuf>,
    /// AS numbers that are Microsoft's; absent: the built-in list.
    pub microsoft_asns: Option<Vec<u32>>,
}

/// How long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Reports as received.
    pub raw: Duration,
    /// One-minute cells of each agent.
    pub rollup_1m: Duration,
    /// Five-minute rollups.
    pub rollup_5m: Duration,
    /// One-hour rollups.
    pub rollup_1h: Duration,
    /// Events.
    pub events: Duration,
}

impl Config {
    /// Reads `path`, or the default file if there is one, or takes the defaults.
    ///
    /// # Errors
    /// [`ConfigError`], one line that names file, key, value and the fix.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::read(path.unwrap_or(Path::new(DEFAULT_PATH)), path.is_some())
    }

    fn read(file: &Path, must_exist: bool) -> Result<Self, ConfigError> {
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(error) if !must_exist && error.kind() == io::ErrorKind::NotFound => Ok(Self {
                was_read: false,
                ..Self::parse("", file)?
            }),
            Err(source) => Err(ConfigError::Read {
                file: file.display().to_string(),
                source,
            }),
        }
    }

    /// Reads the same file once more.
    ///
    /// # Errors
    /// As [`Self::load`], and when a file that was read before is away.
    pub fn load_again(&self) -> Result<Self, ConfigError> {
        Ok(Self {
            hint_lab: self.hint_lab,
            ..Self::read(&self.file, self.was_read)?
        })
    }

    /// Reads a configuration; relative paths in it start at the folder of `file`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut top = Section::open(text, &name)?;
        let data_dir = top
            .take::<PlainPath>("data_dir")?
            .map_or_else(|| DEFAULT_DATA_DIR.into(), |path| folder.join(path.0));
        let ingest = Ingest::read(top.section("ingest")?)?;
        let dashboard = Dashboard::read(top.section("dashboard")?, folder)?;
        let geo = Geo::read(top.section("geo")?, folder)?;
        let retention = Retention::read(top.section("retention")?)?;
        let notify = notify::Notify::read(top.section("notify")?, file)?;
        let routing = routing::Routing::read(top.section("routing")?, folder)?;
        let rollout = rollout::read(&mut top)?;
        let partners = partners::read(&mut top)?;
        top.finish()?;
        Ok(Self {
            file: file.to_owned(),
            data_dir,
            ingest,
            dashboard,
            geo,
            retention,
            notify,
            routing,
            rollout,
            partners,
            hint_lab: false,
            was_read: true,
        })
    }

    /// Folder of the CA.
    pub fn ca_dir(&self) -> PathBuf {
        self.data_dir.join("ca")
    }
}

impl Ingest {
    fn read(mut section: Section<'_>) -> Result<Self, ConfigError> {
        let listen = section
            .take("listen")?
            .unwrap_or(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443)));
        let public_url = match section.take::<PublicUrl>("public_url")? {
            Some(url) => url.0,
            None => default_public_url(listen),
        };
        let extra_names = section
            .take_list::<ExtraName>("extra_names")?
            .unwrap_or_default();
        section.finish()?;
        Ok(Self {
            listen,
            public_url,
            extra_names: extra_names.into_iter().map(|name| name.0).collect(),
        })
    }
}

impl Dashboard {
    fn read(mut section: Section<'_>, folder: &Path) -> Result<Self, ConfigError> {
        let listen = section
            .take("listen")?
            .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        let tls = section
            .take::<TlsChoice>("tls")?
            .map(|choice| match choice {
                TlsChoice::OwnCa => DashboardTls::OwnCa,
                TlsChoice::Files { certificate, key } => DashboardTls::Files {
                    certificate: folder.join(certificate),
                    key: folder.join(key),
                },
            });
        let dashboard = Self { listen, tls };
        if dashboard.is_beyond_loopback() && dashboard.tls.is_none() {
            return Err(section.refuse(
                "listen",
                &listen.to_string(),
                "other machines can reach this address, so TLS is needed",
                "add dashboard.tls = \"own-ca\" (or your certificate), or listen on 127.0.0.1",
            ));
        }
        section.finish()?;
        Ok(dashboard)
    }
}

impl Geo {
    fn read(mut section: Section<'_>, folder: &Path) -> Result<Self, ConfigError> {
        let place = |path: PlainPath| folder.join(path.0);
        let ip_to_as = section
            .take_list::<PlainPath>("ip_to_as")?
            .unwrap_or_default();
        let asn_mmdb = section.take::<PlainPath>("asn_mmdb")?.map(place);
        let country_mmdb = section.take::<PlainPath>("country_mmdb")?.map(place);
        let microsoft_asns = section.take_list("microsoft_asns")?;
        section.finish()?;
        Ok(Self {
            ip_to_as: ip_to_as.into_iter().map(place).collect(),
            asn_mmdb,
            country_mmdb,
            microsoft_asns,
        })
    }
}

impl Retention {
    fn read(mut section: Section<'_>) -> Result<Self, ConfigError> {
        let mut keep = |key, default_days: u64| {
            let value = section.take::<Keep>(key)?;
            Ok(value.map_or(Duration::from_hours(24 * default_days), |keep| keep.0))
        };
        let retention = Self {
            raw: keep("raw", 7)?,
            rollup_1m: keep("rollup_1m", 2)?,
            rollup_5m: keep("rollup_5m", 90)?,
            rollup_1h: keep("rollup_1h", 400)?,
            events: keep("events", 400)?,
        };
        section.finish()?;
        Ok(retention)
    }
}

/// The name of this machine, which other machines of the site usually know; `localhost` where the system does not tell.
fn default_public_url(listen: SocketAddr) -> Url {
    let host = match listen.ip() {
        address if address.is_unspecified() => {
            host_name().unwrap_or_else(|| "localhost".to_owned())
        }
        address => values::host_text(&ServerName::Address(address)),
    };
    Url::parse(&format!("https://{host}:{}", listen.port()))
        .unwrap_or_else(|_| Url::parse("https://localhost:8443").expect("a constant URL parses"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read in config/ only"
)]
pub(crate) fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("COMPUTERNAME").ok())?;
    let name = name.trim().to_ascii_lowercase();
    values::is_dns_name(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_read_may_not_be_away_when_it_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("collector.toml");
        let without = Config::read(&file, false).unwrap();
        assert_eq!(
            without.load_again().unwrap(),
            without,
            "there never was one"
        );
        fs::write(&file, "data_dir = \"kept\"\n").unwrap();
        let with = without.load_again().unwrap();
        assert_eq!(with.data_dir, folder.path().join("kept"));
        fs::remove_file(&file).unwrap();
        assert!(matches!(with.load_again(), Err(ConfigError::Read { .. })));
    }

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/firstmile/collector.toml"))
    }

    #[test]
    fn an_empty_file_and_no_default_file_are_the_defaults() {
        let config = parse("").expect("parses");
        assert_eq!(config.data_dir, Path::new("/var/lib/firstmile-collector"));
        assert_eq!(config.ingest.listen.to_string(), "[::]:8443");
        assert_eq!(config.dashboard.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.ingest.public_url.port(), Some(8443));
        assert_eq!(config.geo.microsoft_asns, None);
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            r#"
            data_dir = "/srv/firstmile"
            [ingest]
            listen = "[::]:9443"
            public_url = "https://collector.example:9443/"
            extra_names = ["collector.example.net", "192.0.2.10", "2001:db8::10"]
            [dashboard]
            listen = "192.0.2.10:443"
            tls = { certificate = "x.pem", key = "/etc/ssl/x.key" }
            [geo]
            ip_to_as = ["as.csv"]
            asn_mmdb = "asn.mmdb"
            country_mmdb = "country.mmdb"
            microsoft_asns = [64500]
            [retention]
            raw = "1d"
            rollup_1m = "3h"
            rollup_5m = "30d"
            rollup_1h = "60d"
            events = "1y"
            "#,
        )
        .expect("parses");
        assert_eq!(config.ca_dir(), Path::new("/srv/firstmile/ca"));
        assert_eq!(
            config.ingest.public_url.as_str(),
            "https://collector.example:9443/"
        );
        assert_eq!(config.ingest.extra_names.len(), 3);
        let certificate = PathBuf::from("/etc/firstmile/x.pem");
        assert_eq!(
            config.dashboard.tls,
            Some(DashboardTls::Files {
                certificate,
                key: "/etc/ssl/x.key".into()
            })
        );
        assert_eq!(
            config.geo.ip_to_as,
            [PathBuf::from("/etc/firstmile/as.csv")]
        );
        assert_eq!(config.geo.microsoft_asns, Some(vec![64500]));
        assert_eq!(config.retention.rollup_1m, Duration::from_hours(3));
    }

    /// File, key, value, fix.
    const MISTAKES: &[(&str, &str, &str, &str)] = &[
        (
            "data_dri = '/srv'",
            "data_dri",
            "\"/srv\"",
            "did you mean data_dir?",
        ),
        (
            "[ingest]\nport = 1",
            "ingest.port",
            "1",
            "known keys: listen, public_url, extra_names",
        ),
        ("data_dir = 3", "data_dir", "3", "a path"),
        ("data_dir = ''", "data_dir", "\"\"", "a path"),
        ("ingest = 3", "ingest", "3", "[ingest]"),
        (
            "[ingest]\nlisten = 'all:8443'",
            "ingest.listen",
            "\"all:8443\"",
            "0.0.0.0:8443",
        ),
        (
            "[ingest]\npublic_url = 'http://c.example'",
            "ingest.public_url",
            "\"http://c.example\"",
            "https://",
        ),
        (
            "[ingest]\npublic_url = 'https://c.example/x'",
            "ingest.public_url",
            "\"https://c.example/x\"",
            "https://",
        ),
        (
            "[ingest]\npublic_url = 'https://u@c.example'",
            "ingest.public_url",
            "\"https://u@c.example\"",
            "https://",
        ),
        (
            "[ingest]\npublic_url = 'c.example'",
            "ingest.public_url",
            "\"c.example\"",
            "https://",
        ),
        (
            "[ingest]\nextra_names = 'x'",
            "ingest.extra_names",
            "\"x\"",
            "[\"…\"]",
        ),
        (
            "[ingest]\nextra_names = ['a b']",
            "ingest.extra_names",
            "\"a b\"",
            "collector.example.net",
        ),
        (
            "[dashboard]\nlisten = '0.0.0.0:80'",
            "dashboard.listen",
            "0.0.0.0:80",
            "dashboard.tls",
        ),
        (
            "[dashboard]\ntls = 'on'",
            "dashboard.tls",
            "\"on\"",
            "own-ca",
        ),
        (
            "[dashboard]\ntls = { certificate = 'x' }",
            "dashboard.tls",
            "x",
            "own-ca",
        ),
        (
            "[geo]\nmicrosoft_asns = ['AS64500']",
            "geo.microsoft_asns",
            "\"AS64500\"",
            "a number",
        ),
        (
            "[geo]\nmicrosoft_asns = [-1]",
            "geo.microsoft_asns",
            "-1",
            "a number",
        ),
        (
            "[retention]\nraw = '7 parsecs'",
            "retention.raw",
            "\"7 parsecs\"",
            "\"7d\"",
        ),
        ("[retention]\nraw = 7", "retention.raw", "7", "\"7d\""),
        (
            "[retention]\nevents = '5s'",
            "retention.events",
            "\"5s\"",
            "1h",
        ),
        ("x = [", "line 1", "x = [", "TOML"),
    ];

    #[test]
    fn every_error_names_file_key_value_and_fix_in_one_line() {
        for (text, key, value, fix) in MISTAKES {
            let error = parse(text).expect_err(text).to_string();
            for part in ["/etc/firstmile/collector.toml", *key, *value, *fix] {
                assert!(error.contains(part), "{text}: {error:?} lacks {part:?}");
            }
            assert!(
                !error.contains('\n'),
                "{text}: {error:?} has more than one line"
            );
        }
    }

    #[test]
    fn a_named_file_has_to_exist() {
        let error = Config::load(Some(Path::new("/nonexistent/firstmile.toml")))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("/nonexistent/firstmile.toml"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_every_error_is_one_line(text in "[a-z_\\[\\]=\"'{}0-9. \n,:/-]{0,200}") {
            if let Err(error) = parse(&text) {
                proptest::prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
