//! The tables that say what addresses mean: built in, or given by the administrator.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::StartError;
use crate::api;
use crate::config::Geo;
use crate::geo::{IpToAsError, Meaning, MmdbError, Tables};
use crate::ingest::refusal::with_sources;

/// How often the files are looked at. One that changed is read when two looks agree: until then somebody may be writing it.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// When a file was last written, and its size; `None`: it is not there.
type Stamps = Vec<Option<(SystemTime, u64)>>;

/// Reads the tables again when their files change.
pub(super) struct Follower {
    geo: Geo,
    tables: Arc<Tables>,
    taken: Stamps,
    seen: Stamps,
    /// Whether it was told that files are away.
    told_away: bool,
}

impl Follower {
    /// Reads the tables for the first time.
    ///
    /// # Errors
    /// [`StartError::Table`] names the file that cannot be read.
    pub(super) fn open(geo: &Geo) -> Result<Self, StartError> {
        let taken = stamps(geo); // before they are read, so that no change falls between
        Ok(Self {
            tables: Arc::new(Tables::new(read_meaning(geo)?)),
            seen: taken.clone(),
            taken,
            geo: geo.clone(),
            told_away: false,
        })
    }

    /// The tables of the moment.
    pub(super) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables)
    }

    /// Looks until cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(follower) => self = follower,
                Err(error) => {
                    warn!(%error, "tables are not looked at any more: a restart takes changes up");
                    return;
                }
            }
        }
    }

    /// Looks once. A file that cannot be read changes nothing and is told once.
    fn look(&mut self) {
        let now = stamps(&self.geo);
        let settled = now == std::mem::replace(&mut self.seen, now.clone());
        if now == self.taken || !settled {
            return;
        }
        let away = away(&self.geo, &now);
        if !away.is_empty() {
            if !std::mem::replace(&mut self.told_away, true) {
                warn!(
                    files = away.join(", "),
                    "tables of addresses are away: those read before stay, and no changed one is taken up until all are there"
                );
            }
            return;
        }
        self.told_away = false;
        self.taken = now;
        match read_meaning(&self.geo) {
            Ok(meaning) => {
                self.tables.replace(meaning);
                info!("tables of addresses were replaced");
            }
            Err(error) => warn!(
                error = with_sources(&error),
                "a changed table of addresses is not taken up, the one before stays"
            ),
        }
    }
}

fn files(geo: &Geo) -> impl Iterator<Item = &PathBuf> {
    let tables = geo.ip_to_as.iter();
    tables.chain(&geo.asn_mmdb).chain(&geo.country_mmdb)
}

/// Files that are not there.
fn away(geo: &Geo, stamps: &Stamps) -> Vec<String> {
    let all = files(geo).zip(stamps);
    let away = all.filter(|(_, stamp)| stamp.is_none());
    away.map(|(path, _)| path.display().to_string()).collect()
}

fn stamps(geo: &Geo) -> Stamps {
    let stamp = |path| {
        let file = fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    files(geo).map(stamp).collect()
}

/// Reads every table that the configuration names.
pub(super) fn read_meaning(geo: &Geo) -> Result<Meaning, StartError> {
    let mut meaning = Meaning::builtin();
    for path in &geo.ip_to_as {
        let bad = table_error("geo.ip_to_as", path);
        let text = fs::read_to_string(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_ip_to_as_csv(&text)
            .map_err(|source: IpToAsError| bad(source.into()))?;
    }
    if let Some(path) = &geo.asn_mmdb {
        let bad = table_error("geo.asn_mmdb", path);
        let bytes = fs::read(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_asn_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    }
    if let Some(path) = &geo.country_mmdb {
        let bad = table_error("geo.country_mmdb", path);
        let bytes = fs::read(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_country_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    } else if let Some(bytes) = api::embedded::country_table() {
        let bad = table_error("the built-in country table", Path::new("country.mmdb"));
        meaning = meaning
            .with_country_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    } else {
        warn!("no country table: sites without a declared country stay unknown");
    }
    if let Some(asns) = &geo.microsoft_asns {
        meaning = meaning.with_microsoft_asns(asns);
    }
    Ok(meaning)
}

fn table_error<'a>(
    key: &'static str,
    path: &'a Path,
) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> StartError + 'a {
    move |source| StartError::Table {
        key,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const HOP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn asn(tables: &Tables) -> Option<u32> {
        tables.now().asn(HOP).map(|(asn, _)| asn)
    }

    #[test]
    fn a_replaced_file_is_taken_up_when_it_is_whole_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("as.csv");
        fs::write(&path, "192.0.2.0/24,64500,One\n").unwrap();
        let geo = Geo {
            ip_to_as: vec![path.clone()],
            asn_mmdb: None,
            country_mmdb: None,
            microsoft_asns: None,
        };
        let mut follower = Follower::open(&geo).unwrap();
        let tables = follower.tables();
        let held = tables.now();
        let looks = |follower: &mut Follower| {
            follower.look();
            let first = asn(&tables);
            follower.look();
            (first, asn(&tables))
        };
        assert_eq!(looks(&mut follower), (Some(64_500), Some(64_500)));
        fs::write(&path, "192.0.2.0/24,64501,Another\n").unwrap();
        assert_eq!(looks(&mut follower), (Some(64_500), Some(64_501)));
        fs::write(&path, "192.0.2.0/24,many\n").unwrap();
        assert_eq!(
            looks(&mut follower).1,
            Some(64_501),
            "what cannot be read changes nothing"
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(
            looks(&mut follower).1,
            Some(64_501),
            "nor does a file that is away"
        );
        assert!(follower.told_away, "it is told");
        fs::write(&path, "192.0.2.0/24,64502,A third\n").unwrap();
        assert_eq!(looks(&mut follower).1, Some(64_502));
        assert!(!follower.told_away, "the next time is told again");
        assert_eq!(
            held.asn(HOP).map(|(asn, _)| asn),
            Some(64_500),
            "who holds one keeps it"
        );
    }
}
