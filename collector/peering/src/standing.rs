//! How a registered prefix stands on the sessions of its partner, and which events its changes are.
//!
//! The names and levels are those that Microsoft publishes for prefix events; the event of a changed state is ours.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::desk::{PrefixEvent, World};
use crate::model::{Resource, ServicePrefix};
use crate::routes::Sessions;
use crate::validate::{self, Case};
use crate::verdict::State;

/// A route to the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// On which session.
    pub session: IpAddr,
    /// The AS path, prepends and all.
    pub path: Vec<u32>,
}

/// The sessions at one location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Feeds show a way, or each of them whole: then what is not there is not announced.
    pub observable: bool,
    /// The shortest route there.
    pub way: Option<Way>,
}

/// How a prefix stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// By the rules.
    pub state: State,
    /// Findings on one line.
    pub why: String,
    /// At the primary location.
    pub primary: Side,
    /// At the backup location.
    pub backup: Side,
}

/// How a customer's prefix stands; `None` if its connection is gone.
pub fn standing(
    world: &World<'_>,
    resource: &Resource,
    prefix: &ServicePrefix,
) -> Option<Standing> {
    let service = world
        .resources
        .one(&resource.id.outer())?
        .properties
        .service()?;
    let case = Case {
        id: &resource.id,
        prefix: prefix.prefix,
        key: prefix.peering_service_prefix_key.as_deref(),
        service,
        resources: world.resources,
        directory: world.directory,
        sessions: world.sessions,
    };
    let verdict = validate::judge(&case);
    let (primary, backup) = validate::sides(&case);
    Some(Standing {
        state: verdict.state,
        why: verdict.message(),
        primary: side(case.prefix, case.sessions, &primary),
        backup: side(case.prefix, case.sessions, &backup),
    })
}

fn side(prefix: IpNet, sessions: &Sessions, addresses: &[IpAddr]) -> Side {
    let mut side = Side::default();
    // Where one session is not seen whole, the prefix may be announced there.
    let mut all_whole = !addresses.is_empty();
    for session in addresses {
        let Some(shown) = sessions.get(session) else {
            all_whole = false;
            continue;
        };
        all_whole &= !shown.incomplete;
        let Some(route) = shown.routes.get(&prefix) else {
            continue;
        };
        let shorter = side
            .way
            .as_ref()
            .is_none_or(|way| route.path.len() < way.path.len());
        if shorter {
            let (session, path) = (*session, route.path.clone());
            side.way = Some(Way { session, path });
        }
    }
    side.observable = all_whole || side.way.is_some();
    side
}

impl Standing {
    /// Keeps what was known of a location that nobody shows any more: it may well go on.
    #[must_use]
    pub fn after(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before {
            if !self.primary.observable {
                self.primary.clone_from(&before.primary);
            }
            if !self.backup.observable {
                self.backup.clone_from(&before.backup);
            }
        }
        self
    }

    /// The events that lead from `before` to here; without it, where the prefix stands.
    pub fn events(&self, before: Option<&Self>, prefix: IpNet, at: &str) -> Vec<PrefixEvent> {
        let mut events = Vec::new();
        let mut add = |(event_type, level): (&str, &str), summary: String, description: String| {
            events.push(PrefixEvent {
                event_timestamp: at.to_owned(),
                event_type: event_type.to_owned(),
                event_summary: summary,
                event_level: level.to_owned(),
                event_description: description,
            });
        };
        let sides = [
            (&PRIMARY, before.map(|one| &one.primary), &self.primary),
            (&BACKUP, before.map(|one| &one.backup), &self.backup),
        ];
        for (names, before, now) in sides {
            let before = before.filter(|side| side.observable);
            let first = before.is_none();
            match (before.and_then(|side| side.way.as_ref()), &now.way) {
                (None, Some(way)) => {
                    if !first {
                        let summary = format!("{prefix} is announced by {}", way.session);
                        add(names.announced, summary, way.text());
                    }
                    add(
                        names.path,
                        format!("{prefix}: {}", way.text()),
                        String::new(),
                    );
                }
                (Some(way), None) => {
                    let summary = format!("{prefix} is withdrawn, last by {}", way.session);
                    add(names.withdrawn, summary, way.text());
                }
                (Some(old), Some(way)) if old.path != way.path => {
                    if old.path.last() != way.path.last() {
                        let summary = format!("{prefix} has another origin");
                        let description = format!("{}, before {}", way.text(), old.text());
                        add(names.origin, summary, description);
                    }
                    add(
                        names.path,
                        format!("{prefix}: {}", way.text()),
                        format!("before {}", old.text()),
                    );
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        if let Some(before) = before
            && before.state != self.state
        {
            let level = match self.state {
                State::Verified => "Information",
                State::Warning | State::Unknown => "Warning",
                State::Failed | State::Invalid => "Error",
            };
            let (old, new) = (before.state.as_str(), self.state.as_str());
            let summary = format!("{prefix} is {new}, before {old}");
            add(
                ("PrefixValidationStateEvent", level),
                summary,
                self.why.clone(),
            );
        }
        events
    }
}

impl Way {
    fn text(&self) -> String {
        let path: Vec<String> = self.path.iter().map(ToString::to_string).collect();
        format!("path {} on {}", path.join(" "), self.session)
    }
}

/// Published names with their levels.
struct Names {
    announced: (&'static str, &'static str),
    withdrawn: (&'static str, &'static str),
    path: (&'static str, &'static str),
    origin: (&'static str, &'static str),
}

const PRIMARY: Names = Names {
    announced: ("PrefixAnnouncementEvent", "Information"),
    withdrawn: ("PrefixWithdrawalEvent", "Warning"),
    path: ("PrefixActivePath", "Information"),
    origin: ("PrefixOriginAsChangeEvent", "Critical"),
};
const BACKUP: Names = Names {
    announced: ("PrefixBackupRouteAnnouncementEvent", "Information"),
    withdrawn: ("PrefixBackupRouteWithdrawalEvent", "Warning"),
    path: ("PrefixBackupPath", "Information"),
    origin: ("PrefixBackupRouteOriginAsChangeEvent", "Error"),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{Route, Session};

    #[test]
    fn no_way_counts_only_where_every_session_is_seen_whole() {
        let prefix: IpNet = "198.51.100.0/24".parse().expect("a prefix");
        let [a, b] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let whole = Session::default();
        let part = Session {
            incomplete: true,
            ..Session::default()
        };
        let route = Route {
            path: vec![64_496],
            communities: None,
            received_unix_ms: 0,
        };
        let announced = Session {
            routes: [(prefix, route)].into(),
            ..part.clone()
        };
        for (name, shown, observable, way) in [
            ("both whole", vec![(a, &whole), (b, &whole)], true, None),
            ("one out of sight", vec![(a, &whole)], false, None),
            ("one in part", vec![(a, &whole), (b, &part)], false, None),
            ("a way is enough", vec![(b, &announced)], true, Some(b)),
            ("none", vec![], false, None),
        ] {
            let shown = shown.into_iter().map(|(at, one)| (at, one.clone()));
            let side = side(prefix, &shown.collect(), &[a, b]);
            assert_eq!(side.observable, observable, "{name}");
            assert_eq!(side.way.map(|way| way.session), way, "{name}");
        }
        assert!(!side(prefix, &Sessions::new(), &[]).observable);
    }

    fn on(path: &[u32]) -> Side {
        let way = Way {
            session: IpAddr::from([192, 0, 2, 1]),
            path: path.to_vec(),
        };
        Side {
            observable: true,
            way: (!path.is_empty()).then_some(way),
        }
    }

    fn stands(state: State, primary: Side, backup: Side) -> Standing {
        Standing {
            state,
            why: "why".to_owned(),
            primary,
            backup,
        }
    }

    fn told(before: Option<&Standing>, now: &Standing) -> Vec<(String, String)> {
        let prefix = "198.51.100.0/24".parse().expect("a prefix");
        let events = now.events(before, prefix, "2026-01-01T00:00:00Z");
        let names = |event: PrefixEvent| (event.event_type, event.event_level);
        events.into_iter().map(names).collect()
    }

    #[test]
    fn each_change_is_told_by_its_published_name_and_level() {
        let good = stands(State::Verified, on(&[64_496]), on(&[64_496, 64_500]));
        for (name, before, now, want) in [
            (
                "a start shows where it stands",
                None,
                good.clone(),
                &[
                    ("PrefixActivePath", "Information"),
                    ("PrefixBackupPath", "Information"),
                ][..],
            ),
            ("nothing", Some(good.clone()), good.clone(), &[]),
            (
                "gone at the primary",
                Some(good.clone()),
                stands(State::Failed, on(&[]), good.backup.clone()),
                &[
                    ("PrefixWithdrawalEvent", "Warning"),
                    ("PrefixValidationStateEvent", "Error"),
                ],
            ),
            (
                "gone at the backup",
                Some(good.clone()),
                stands(State::Verified, good.primary.clone(), on(&[])),
                &[("PrefixBackupRouteWithdrawalEvent", "Warning")],
            ),
            (
                "back at both",
                Some(stands(State::Failed, on(&[]), on(&[]))),
                good.clone(),
                &[
                    ("PrefixAnnouncementEvent", "Information"),
                    ("PrefixActivePath", "Information"),
                    ("PrefixBackupRouteAnnouncementEvent", "Information"),
                    ("PrefixBackupPath", "Information"),
                    ("PrefixValidationStateEvent", "Information"),
                ],
            ),
            (
                "other origins",
                Some(good.clone()),
                stands(State::Verified, on(&[64_499]), on(&[64_496, 64_499])),
                &[
                    ("PrefixOriginAsChangeEvent", "Critical"),
                    ("PrefixActivePath", "Information"),
                    ("PrefixBackupRouteOriginAsChangeEvent", "Error"),
                    ("PrefixBackupPath", "Information"),
                ],
            ),
            (
                "a prepend",
                Some(good.clone()),
                stands(State::Verified, on(&[64_496, 64_496]), good.backup.clone()),
                &[("PrefixActivePath", "Information")],
            ),
            (
                "the feed goes away: only the state says so",
                Some(good.clone()),
                stands(State::Unknown, Side::default(), Side::default()).after(Some(&good)),
                &[("PrefixValidationStateEvent", "Warning")],
            ),
        ] {
            let told = told(before.as_ref(), &now);
            let told: Vec<_> = told.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(told, want, "{name}");
        }
    }
}
