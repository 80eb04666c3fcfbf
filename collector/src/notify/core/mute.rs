//! Change windows: times in which incidents are recorded and not told.
//!
//! A window holds once, or every week at the same local time: in its own time zone, or in that of each site. What still goes on
//! when a window ends is told then.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::incident::{Affected, Incident};
use super::plan::Mutes;

/// A weekly window lasts at most a day, so that looking two days back finds its start.
pub const WEEKLY_MAX_MINUTES: u32 = 24 * 60;
/// A window that holds once lasts at most this long: whoever needs more wants another rule.
const ONCE_MAX_MS: i64 = 90 * 24 * 3_600_000;
/// The longest reason, in characters: a sentence.
const REASON_MAX: usize = 200;

/// What a window covers; what is absent is not asked for, and all absent is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = WindowCovers)]
pub struct Covers {
    /// One incident, by its identity.
    pub incident_id: Option<String>,
    /// A site, by its identity.
    pub site_id: Option<String>,
    /// A country such as `NL`, or a subdivision such as `US-CA`.
    pub geography: Option<String>,
    /// A provider, by its AS number.
    pub provider_asn: Option<u32>,
}

/// The same local time on some days of each week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WeeklyWindow)]
pub struct Weekly {
    /// Days on which it starts: `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`.
    pub days: Vec<String>,
    /// Local time at which it starts, such as `22:00`.
    pub start: String,
    /// How long it lasts, 1 to 1440 minutes.
    pub minutes: u32,
    /// IANA time zone, such as `Europe/Amsterdam`; absent: that of each site, and UTC where a site has none.
    pub time_zone: Option<String>,
}

/// A change window as it is asked for and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowWish {
    /// Why, for people; at most 200 characters.
    pub reason: String,
    /// What it covers.
    #[serde(default)]
    pub covers: Covers,
    /// Start, of one that holds once.
    pub from_unix_ms: Option<i64>,
    /// End, of one that holds once; at most 90 days after its start.
    pub to_unix_ms: Option<i64>,
    /// When, of one that recurs.
    pub weekly: Option<Weekly>,
}

/// Why there can be no such window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No reason, or too long a one.
    #[error("reason must have 1 to 200 characters, without control characters")]
    Reason,
    /// Neither once nor weekly, or both.
    #[error("give either from_unix_ms and to_unix_ms, or weekly")]
    When,
    /// The end is not after the start, or too long after it.
    #[error("to_unix_ms must be after from_unix_ms, by at most 90 days")]
    Span,
    /// No such day.
    #[error("day {got:?} is none of mon, tue, wed, thu, fri, sat, sun; name at least one")]
    Day {
        /// What was given.
        got: String,
    },
    /// No such time.
    #[error("start {got:?} is no local time such as 22:00")]
    Start {
        /// What was given.
        got: String,
    },
    /// Too short or too long.
    #[error("minutes {got} must be 1 to 1440")]
    Minutes {
        /// What was given.
        got: u32,
    },
    /// No such zone.
    #[error(
        "time zone {got:?} is not known to this machine; name one as Europe/Amsterdam, and install the package tzdata"
    )]
    Zone {
        /// What was given.
        got: String,
    },
}

/// A checked window.
#[derive(Clone, Debug)]
pub struct Window {
    covers: Covers,
    when: When,
}

#[derive(Clone, Debug)]
enum When {
    Once(i64, i64),
    Weekly {
        days: Vec<Weekday>,
        start: Time,
        lasts: SignedDuration,
        zone: Option<TimeZone>,
    },
}

impl Window {
    /// Checks a wish. `zone` looks an IANA name up.
    ///
    /// # Errors
    /// [`WindowError`], one sentence that names the key, its value and the fix.
    pub fn of(
        wish: &WindowWish,
        zone: impl Fn(&str) -> Option<TimeZone>,
    ) -> Result<Self, WindowError> {
        let reason = wish.reason.trim();
        if reason.is_empty()
            || reason.chars().count() > REASON_MAX
            || reason.chars().any(char::is_control)
        {
            return Err(WindowError::Reason);
        }
        let when = match (wish.from_unix_ms, wish.to_unix_ms, &wish.weekly) {
            (Some(from), Some(to), None) => {
                if to <= from || to.saturating_sub(from) > ONCE_MAX_MS {
                    return Err(WindowError::Span);
                }
                When::Once(from, to)
            }
            (None, None, Some(weekly)) => weekly_when(weekly, zone)?,
            _ => return Err(WindowError::When),
        };
        Ok(Self {
            covers: wish.covers.clone(),
            when,
        })
    }

    /// Whether it holds at a moment, at a site of this zone.
    pub fn holds(&self, now_unix_ms: i64, site_zone: Option<&TimeZone>) -> bool {
        match &self.when {
            When::Once(from, to) => (*from..*to).contains(&now_unix_ms),
            When::Weekly {
                days,
                start,
                lasts,
                zone,
            } => {
                let utc = TimeZone::UTC;
                let zone = zone.as_ref().or(site_zone).unwrap_or(&utc);
                weekly_holds(days, *start, *lasts, zone, now_unix_ms)
            }
        }
    }

    /// Whether it is over for good.
    pub const fn is_past(&self, now_unix_ms: i64) -> bool {
        match self.when {
            When::Once(_, to) => to <= now_unix_ms,
            When::Weekly { .. } => false,
        }
    }

    /// Whether it covers the incident wherever that is: it names no place.
    fn covers_everywhere(&self, incident: &Incident) -> bool {
        let covers = &self.covers;
        let asn = covers.provider_asn;
        (covers.site_id.is_none() && covers.geography.is_none() && covers.incident_id.is_none())
            && asn.is_none_or(|asn| incident.provider_asn == Some(asn))
    }

    fn covers(&self, incident: &Incident, affected: &Affected) -> bool {
        let Covers {
            incident_id,
            site_id,
            geography,
            provider_asn,
        } = &self.covers;
        let is_in = |wanted: &str| is_in(affected.geography.as_deref(), wanted);
        incident_id.as_ref().is_none_or(|id| *id == incident.id)
            && site_id.as_ref().is_none_or(|id| *id == affected.site)
            && geography.as_deref().is_none_or(is_in)
            && provider_asn.is_none_or(|asn| incident.provider_asn == Some(asn))
    }
}

fn is_in(place: Option<&str>, wanted: &str) -> bool {
    place
        .and_then(|place| place.strip_prefix(wanted))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn weekly_when(
    weekly: &Weekly,
    zone: impl Fn(&str) -> Option<TimeZone>,
) -> Result<When, WindowError> {
    let days: Vec<Weekday> = weekly
        .days
        .iter()
        .map(|word| weekday(word).ok_or_else(|| WindowError::Day { got: word.clone() }))
        .collect::<Result<_, _>>()?;
    if days.is_empty() {
        return Err(WindowError::Day { got: String::new() });
    }
    let start = Time::from_str(&weekly.start).map_err(|_| WindowError::Start {
        got: weekly.start.clone(),
    })?;
    if !(1..=WEEKLY_MAX_MINUTES).contains(&weekly.minutes) {
        return Err(WindowError::Minutes {
            got: weekly.minutes,
        });
    }
    let find = |name: &String| zone(name).ok_or_else(|| WindowError::Zone { got: name.clone() });
    Ok(When::Weekly {
        days,
        start,
        lasts: SignedDuration::from_mins(i64::from(weekly.minutes)),
        zone: weekly.time_zone.as_ref().map(find).transpose()?,
    })
}

fn weekday(word: &str) -> Option<Weekday> {
    match word.to_ascii_lowercase().as_str() {
        "mon" => Some(Weekday::Monday),
        "tue" => Some(Weekday::Tuesday),
        "wed" => Some(Weekday::Wednesday),
        "thu" => Some(Weekday::Thursday),
        "fri" => Some(Weekday::Friday),
        "sat" => Some(Weekday::Saturday),
        "sun" => Some(Weekday::Sunday),
        _ => None,
    }
}

/// A start that a clock change leaves out is moved on by the gap, one that it doubles is the first (RFC 5545 §3.3.5).
fn weekly_holds(
    days: &[Weekday],
    start: Time,
    lasts: SignedDuration,
    zone: &TimeZone,
    now_unix_ms: i64,
) -> bool {
    let Ok(now) = Timestamp::from_millisecond(now_unix_ms) else {
        return false;
    };
    let today = now.to_zoned(zone.clone()).date();
    let mut day = Some(today);
    // Today's, yesterday's and, where the clock was set back, the one before.
    for _ in 0..3 {
        let Some(date) = day else { return false };
        let began = date
            .to_datetime(start)
            .to_zoned(zone.clone())
            .map(|began| began.timestamp());
        if let Ok(began) = began
            && days.contains(&date.weekday())
            && (began..began.saturating_add(lasts).unwrap_or(Timestamp::MAX)).contains(&now)
        {
            return true;
        }
        day = date.yesterday().ok();
    }
    false
}

/// The windows of an organisation, and the zones of its sites, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// The windows.
    pub windows: Vec<Window>,
    /// Zones by the identity of the site.
    pub zones: BTreeMap<String, TimeZone>,
    /// The moment.
    pub now_unix_ms: i64,
}

impl Windows {
    /// When a window last held at a site whatever happens there (its closing hours, or a change): looked for at the moment, and at
    /// each minute of `back_ms` before it.
    pub fn last_closed(&self, site_id: &str, geography: Option<&str>, back_ms: i64) -> Option<i64> {
        let minutes = 0..=back_ms / 60_000;
        minutes
            .map(|minute| self.now_unix_ms - minute * 60_000)
            .find(|at| self.is_closed_at(site_id, geography, *at))
    }

    fn is_closed_at(&self, site_id: &str, geography: Option<&str>, at_unix_ms: i64) -> bool {
        let zone = self.zones.get(site_id);
        let closes = |window: &&Window| {
            let covers = &window.covers;
            covers.incident_id.is_none()
                && covers.provider_asn.is_none()
                && covers.site_id.as_deref().is_none_or(|id| id == site_id)
                && covers
                    .geography
                    .as_deref()
                    .is_none_or(|wanted| is_in(geography, wanted))
        };
        let mut windows = self.windows.iter().filter(closes);
        windows.any(|window| window.holds(at_unix_ms, zone))
    }
}

impl Mutes for Windows {
    fn is_muted(&self, incident: &Incident, affected: &Affected) -> bool {
        let zone = self.zones.get(&affected.site);
        // What ended while a window held was that window's affair, whenever it is looked at.
        let at = incident.ended_unix_ms.unwrap_or(self.now_unix_ms);
        self.windows
            .iter()
            .any(|window| window.covers(incident, affected) && window.holds(at, zone))
    }

    fn is_incident_muted(&self, incident: &Incident) -> bool {
        let is_named =
            |window: &Window| window.covers.incident_id.as_deref() == Some(incident.id.as_str());
        // One of routing alone has no site to be asked for: what covers every site covers it.
        let at = incident.ended_unix_ms.unwrap_or(self.now_unix_ms);
        let alone = incident.affected.is_empty();
        self.windows.iter().any(|window| {
            (is_named(window) && window.holds(self.now_unix_ms, None))
                || (alone && window.covers_everywhere(incident) && window.holds(at, None))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::core::plan::tests::{affected, incident};

    #[test]
    fn a_site_that_opened_minutes_ago_was_closed_then() {
        let wish = weekly(&["mon"], "20:00", 600, Some("Europe/Amsterdam"));
        let opens = at("2026-01-06T05:00:00Z");
        let closed = |minutes: i64, back_minutes: i64| {
            let windows = Windows {
                windows: vec![Window::of(&wish, zone).unwrap()],
                zones: BTreeMap::new(),
                now_unix_ms: opens + minutes * 60_000,
            };
            let last = windows.last_closed("s", None, back_minutes * 60_000)?;
            Some((last - opens) / 60_000)
        };
        for (minutes, back, want) in [
            (-1, 0, Some(-1)),
            (3, 0, None),
            (3, 10, Some(-1)),
            (9, 10, Some(-1)),
            (11, 10, None),
        ] {
            assert_eq!(closed(minutes, back), want, "{minutes} after it opened");
        }
    }

    fn zone(name: &str) -> Option<TimeZone> {
        // Rules as POSIX writes them, so that the test needs no table of the machine.
        let rule = match name {
            "Europe/Amsterdam" => "CET-1CEST,M3.5.0,M10.5.0/3",
            "America/New_York" => "EST5EDT,M3.2.0,M11.1.0",
            _ => return None,
        };
        TimeZone::posix(rule).ok()
    }

    fn weekly(days: &[&str], start: &str, minutes: u32, zone: Option<&str>) -> WindowWish {
        WindowWish {
            reason: "router upgrade".to_owned(),
            covers: Covers::default(),
            from_unix_ms: None,
            to_unix_ms: None,
            weekly: Some(Weekly {
                days: days.iter().map(|day| (*day).to_owned()).collect(),
                start: start.to_owned(),
                minutes,
                time_zone: zone.map(str::to_owned),
            }),
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_weekly_window_recurs_at_the_same_local_time() {
        let window = weekly(&["sat"], "22:00", 240, Some("Europe/Amsterdam"));
        let window = Window::of(&window, zone).unwrap();
        for (name, now, want) in [
            ("winter, before", "2026-01-03T20:59:59Z", false),
            ("winter, at its start", "2026-01-03T21:00:00Z", true),
            ("over midnight", "2026-01-04T00:59:59Z", true),
            ("at its end", "2026-01-04T01:00:00Z", false),
            ("another day", "2026-01-04T21:00:00Z", false),
            ("summer", "2026-07-04T20:00:00Z", true),
            ("summer, an hour before", "2026-07-04T19:59:00Z", false),
        ] {
            assert_eq!(window.holds(at(now), None), want, "{name}");
        }
    }

    #[test]
    fn without_a_zone_of_its_own_it_is_each_sites_local_time() {
        let window = weekly(&["mon", "tue"], "01:00", 60, None);
        let windows = Windows {
            windows: vec![Window::of(&window, zone).unwrap()],
            zones: BTreeMap::from([
                ("site-1".to_owned(), zone("Europe/Amsterdam").unwrap()),
                ("site-2".to_owned(), zone("America/New_York").unwrap()),
            ]),
            now_unix_ms: at("2026-01-05T00:30:00Z"),
        };
        assert!(windows.is_muted(&incident(), &affected(1, "NL")));
        assert!(!windows.is_muted(&incident(), &affected(2, "US")));
        assert!(!windows.is_muted(&incident(), &affected(3, "US")), "UTC");
        assert!(!windows.is_incident_muted(&incident()));
    }

    #[test]
    fn a_window_covers_what_it_names() {
        let now = at("2026-01-05T00:30:00Z");
        let muted = |covers: Covers| {
            let wish = WindowWish {
                reason: "x".to_owned(),
                covers,
                from_unix_ms: Some(now),
                to_unix_ms: Some(now + 1),
                weekly: None,
            };
            let windows = Windows {
                windows: vec![Window::of(&wish, zone).unwrap()],
                zones: BTreeMap::new(),
                now_unix_ms: now,
            };
            windows.is_muted(&incident(), &affected(2, "US-CA"))
        };
        let covers = |geography: &str, site: &str, asn: u32, incident: &str| Covers {
            geography: (!geography.is_empty()).then(|| geography.to_owned()),
            site_id: (!site.is_empty()).then(|| site.to_owned()),
            provider_asn: (asn > 0).then_some(asn),
            incident_id: (!incident.is_empty()).then(|| incident.to_owned()),
        };
        for (covers, want) in [
            (covers("", "", 0, ""), true),
            (covers("US", "", 0, ""), true),
            (covers("US-C", "", 0, ""), false),
            (covers("", "site-2", 0, ""), true),
            (covers("", "site-1", 0, ""), false),
            (covers("", "", 64500, ""), true),
            (covers("", "", 64501, ""), false),
            (covers("", "", 0, "7f0c"), true),
            (covers("", "", 0, "other"), false),
            (covers("US", "site-2", 64500, "7f0c"), true),
            (covers("US", "site-1", 64500, "7f0c"), false),
        ] {
            assert_eq!(muted(covers.clone()), want, "{covers:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_window_is_refused() {
        let good = weekly(&["mon"], "22:00", 60, None);
        let with = |change: fn(&mut WindowWish)| {
            let mut wish = good.clone();
            change(&mut wish);
            Window::of(&wish, zone).map(drop)
        };
        assert_eq!(with(|_| {}), Ok(()));
        for (change, want) in [
            (
                (|wish| wish.reason.clear()) as fn(&mut WindowWish),
                WindowError::Reason,
            ),
            (|wish| wish.weekly = None, WindowError::When),
            (|wish| wish.from_unix_ms = Some(1), WindowError::When),
            (
                |wish| {
                    wish.weekly = None;
                    wish.from_unix_ms = Some(5);
                    wish.to_unix_ms = Some(5);
                },
                WindowError::Span,
            ),
            (
                |wish| wish.weekly.as_mut().unwrap().days = vec!["Monday!".to_owned()],
                WindowError::Day {
                    got: "Monday!".to_owned(),
                },
            ),
            (
                |wish| wish.weekly.as_mut().unwrap().start = "25:00".to_owned(),
                WindowError::Start {
                    got: "25:00".to_owned(),
                },
            ),
            (
                |wish| wish.weekly.as_mut().unwrap().minutes = 1_441,
                WindowError::Minutes { got: 1_441 },
            ),
            (
                |wish| wish.weekly.as_mut().unwrap().time_zone = Some("Mars/Base".to_owned()),
                WindowError::Zone {
                    got: "Mars/Base".to_owned(),
                },
            ),
        ] {
            assert_eq!(with(change), Err(want));
        }
    }

    #[test]
    fn routing_alone_is_muted_by_what_names_no_place() {
        let now = at("2026-01-05T00:30:00Z");
        let alone = Incident {
            affected: Vec::new(),
            provider_asn: Some(64_500),
            ended_unix_ms: None,
            ..incident()
        };
        for (name, covers, want) in [
            ("everything", Covers::default(), true),
            (
                "its provider",
                Covers {
                    provider_asn: Some(64_500),
                    ..Covers::default()
                },
                true,
            ),
            (
                "another provider",
                Covers {
                    provider_asn: Some(64_501),
                    ..Covers::default()
                },
                false,
            ),
            (
                "a site",
                Covers {
                    site_id: Some("site-1".to_owned()),
                    ..Covers::default()
                },
                false,
            ),
            (
                "a country",
                Covers {
                    geography: Some("NL".to_owned()),
                    ..Covers::default()
                },
                false,
            ),
        ] {
            let wish = WindowWish {
                reason: "works".to_owned(),
                covers,
                from_unix_ms: Some(now - 1),
                to_unix_ms: Some(now + 1),
                weekly: None,
            };
            let windows = Windows {
                windows: vec![Window::of(&wish, zone).unwrap()],
                zones: BTreeMap::new(),
                now_unix_ms: now,
            };
            assert_eq!(windows.is_incident_muted(&alone), want, "{name}");
            let seen = Incident {
                affected: vec![affected(2, "US")],
                ..alone.clone()
            };
            assert!(!windows.is_incident_muted(&seen), "{name}: sites are asked");
        }
    }
}
