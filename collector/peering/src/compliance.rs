//! Whether a site's road keeps what its connection was bought for: the preferred path, one AS hop, two routers, a backup.
//!
//! Pure: stretches of time with what the path was then, in order, become shares of time. What was not seen is told apart from
//! what was seen elsewhere, and never counted as either.

use std::collections::{BTreeMap, BTreeSet};

/// Both routers of a pair have to carry flows within this time (one business day and night).
const PAIR_WITHIN_MS: i64 = 24 * 3_600_000;
/// Silence between two stretches that the earlier one covers: rounds are some time apart, and a path that nobody saw for
/// longer is not known.
const BRIDGED_MS: i64 = 5 * 60_000;
/// How sure the bound on a router that was not seen is.
const MISS: f64 = 0.05;
/// A router is the usual one if it carried flows for so large a share of the time at the primary metro.
const USUAL_SHARE: f64 = 0.5;

/// Where traffic went, by the published promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The partner's primary location, by its usual routers.
    Primary,
    /// The primary location, by another router alone.
    LocalAlternate,
    /// The backup location.
    BackupMetro,
    /// Some other metro.
    OtherMetro,
    /// Not through the partner.
    OtherProvider,
    /// Nowhere.
    Unreachable,
    /// Nobody knows.
    Unknown,
}

impl Place {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::LocalAlternate => "local_alternate",
            Self::BackupMetro => "backup_metro",
            Self::OtherMetro => "other_metro",
            Self::OtherProvider => "other_provider",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }
}

/// What a connection promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// AS numbers of the partner; none: which partner carries the traffic is not looked at.
    pub provider_asns: BTreeSet<u32>,
    /// AS numbers of the customer, which do not count as hops.
    pub own_asns: BTreeSet<u32>,
    /// Metro of the primary location.
    pub primary: String,
    /// Metro of the backup location.
    pub backup: Option<String>,
}

/// What a path was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A path into Microsoft's network.
    Path {
        /// ASes before Microsoft's, the nearest first.
        as_path: Vec<u32>,
        /// Metros where flows entered.
        metros: BTreeSet<String>,
        /// Routers where flows entered, aliases resolved.
        routers: BTreeSet<String>,
    },
    /// Probes were sent and none was answered.
    Unreachable,
}

/// A stretch of time with one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Start.
    pub from_unix_ms: i64,
    /// End, not before the start.
    pub to_unix_ms: i64,
    /// Rounds in it.
    pub rounds: u32,
    /// What was seen.
    pub seen: Seen,
}

impl Stretch {
    fn length_ms(&self) -> i64 {
        (self.to_unix_ms - self.from_unix_ms).max(0)
    }
}

/// Whether two routers carry the traffic of a metro.
#[derive(Clone, Debug, PartialEq)]
pub enum Redundancy {
    /// Two did within a day, each before and after the other or at once.
    Proven {
        /// The pair.
        routers: [String; 2],
    },
    /// One alone was seen.
    OneSeen {
        /// It.
        router: String,
        /// Rounds in which it was looked for.
        rounds: u32,
        /// A second router with this share of flows, or more, would have been seen with a certainty of 95 %.
        hidden_share_below: f64,
    },
    /// One after another, never two at a time: a replaced router is not two.
    Replaced {
        /// All of them.
        routers: BTreeSet<String>,
    },
    /// No router of the metro answered.
    NotObservable,
}

/// What is so of one path of a site, in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Compliance {
    /// Time in each place, milliseconds; they add up to the window.
    pub time_ms: BTreeMap<Place, i64>,
    /// Time with exactly one AS between the customer and Microsoft, and with another number.
    pub one_hop_ms: i64,
    /// See `one_hop_ms`.
    pub more_hops_ms: i64,
    /// Two routers at the primary metro.
    pub redundancy: Redundancy,
    /// The last time at the backup metro: from, to.
    pub last_backup: Option<(i64, i64)>,
    /// The last stretch at the primary metro before that: from, to.
    pub before_backup: Option<(i64, i64)>,
}

impl Compliance {
    /// Share of the time, of which something is known, on the preferred path: the partner's primary location by any router.
    /// `None` where nothing is known.
    pub fn preferred_ratio(&self) -> Option<f64> {
        let of = |place| self.time_ms.get(&place).copied().unwrap_or(0);
        let known: i64 = self.time_ms.values().sum::<i64>() - of(Place::Unknown);
        let kept = of(Place::Primary) + of(Place::LocalAlternate);
        (known > 0).then(|| ratio(kept, known))
    }
}

/// Judges the stretches of one path between two moments. Time without a stretch is unknown.
pub fn judge(
    promise: &Promise,
    stretches: &[Stretch],
    from_unix_ms: i64,
    to_unix_ms: i64,
) -> Compliance {
    let cut = cut_to(stretches, from_unix_ms, to_unix_ms);
    let usual = usual_routers(promise, &cut);
    let mut time_ms: BTreeMap<Place, i64> = BTreeMap::new();
    let (mut one_hop_ms, mut more_hops_ms) = (0, 0);
    let (mut last_backup, mut before_backup, mut at_primary) = (None, None, None);
    for stretch in &cut {
        let place = place_of(promise, &stretch.seen, &usual);
        *time_ms.entry(place).or_default() += stretch.length_ms();
        match place {
            Place::BackupMetro => {
                // Another path at the same metro goes on with it.
                let goes_on = last_backup.filter(|(_, to)| *to == stretch.from_unix_ms);
                let from = goes_on.map_or(stretch.from_unix_ms, |(from, _)| from);
                last_backup = Some((from, stretch.to_unix_ms));
                before_backup = at_primary;
            }
            Place::Primary | Place::LocalAlternate => {
                at_primary = Some((stretch.from_unix_ms, stretch.to_unix_ms));
            }
            Place::OtherMetro | Place::OtherProvider | Place::Unreachable | Place::Unknown => {}
        }
        if let Some(hops) = hops_of(promise, &stretch.seen) {
            let slot = if hops == 1 {
                &mut one_hop_ms
            } else {
                &mut more_hops_ms
            };
            *slot += stretch.length_ms();
        }
    }
    let seen_ms: i64 = time_ms.values().sum();
    let unseen_ms = (to_unix_ms - from_unix_ms).max(0) - seen_ms;
    *time_ms.entry(Place::Unknown).or_default() += unseen_ms;
    Compliance {
        time_ms,
        one_hop_ms,
        more_hops_ms,
        redundancy: redundancy(promise, &cut),
        last_backup,
        before_backup,
    }
}

/// The parts of the stretches within the window, in order, without overlaps. Where the site could not get through, no path
/// counts.
fn cut_to(stretches: &[Stretch], from_unix_ms: i64, to_unix_ms: i64) -> Vec<Stretch> {
    let (dead, mut sorted): (Vec<Stretch>, Vec<Stretch>) = stretches
        .iter()
        .cloned()
        .partition(|stretch| stretch.seen == Seen::Unreachable);
    for hole in &dead {
        sorted = sorted
            .into_iter()
            .flat_map(|stretch| without(stretch, hole))
            .collect();
    }
    sorted.extend(dead);
    sorted.sort_by_key(|stretch| stretch.from_unix_ms);
    let mut free_from = from_unix_ms;
    let mut cut = Vec::new();
    for stretch in sorted {
        let from = stretch.from_unix_ms.max(free_from);
        let to = stretch.to_unix_ms.min(to_unix_ms);
        if from <= to {
            cut.push(Stretch {
                from_unix_ms: from,
                to_unix_ms: to,
                ..stretch.clone()
            });
            free_from = to;
        }
    }
    bridge(&mut cut, to_unix_ms);
    cut
}

/// What is left of a stretch around a hole.
fn without(stretch: Stretch, hole: &Stretch) -> Vec<Stretch> {
    if hole.to_unix_ms <= stretch.from_unix_ms || stretch.to_unix_ms <= hole.from_unix_ms {
        return vec![stretch];
    }
    let before = Stretch {
        to_unix_ms: hole.from_unix_ms,
        ..stretch.clone()
    };
    let after = Stretch {
        from_unix_ms: hole.to_unix_ms,
        ..stretch
    };
    [before, after]
        .into_iter()
        .filter(|part| part.from_unix_ms < part.to_unix_ms)
        .collect()
}

/// Lets each stretch last until the next one, or the end, begins, where that is soon.
fn bridge(stretches: &mut [Stretch], to_unix_ms: i64) {
    let starts = stretches.iter().skip(1).map(|next| next.from_unix_ms);
    let ends: Vec<i64> = starts.chain([to_unix_ms]).collect();
    for (stretch, end) in stretches.iter_mut().zip(ends) {
        if end - stretch.to_unix_ms <= BRIDGED_MS {
            stretch.to_unix_ms = end.max(stretch.to_unix_ms);
        }
    }
}

fn is_through(promise: &Promise, as_path: &[u32]) -> Option<bool> {
    let handoff = as_path.last()?;
    (!promise.provider_asns.is_empty()).then(|| promise.provider_asns.contains(handoff))
}

/// Whether every flow entered at this metro.
fn all_at(metros: &BTreeSet<String>, metro: &str) -> bool {
    !metros.is_empty() && metros.iter().all(|own| own == metro)
}

fn place_of(promise: &Promise, seen: &Seen, usual: &BTreeSet<String>) -> Place {
    let Seen::Path {
        as_path,
        metros,
        routers,
    } = seen
    else {
        return Place::Unreachable;
    };
    if is_through(promise, as_path) == Some(false) {
        return Place::OtherProvider;
    }
    if metros.is_empty() {
        return Place::Unknown;
    }
    if all_at(metros, &promise.primary) {
        let elsewhere = !routers.is_empty() && routers.is_disjoint(usual) && !usual.is_empty();
        return if elsewhere {
            Place::LocalAlternate
        } else {
            Place::Primary
        };
    }
    match &promise.backup {
        Some(backup) if metros.contains(backup) => Place::BackupMetro,
        Some(_) | None => Place::OtherMetro,
    }
}

/// Routers that carried flows for most of the time at the primary metro.
fn usual_routers(promise: &Promise, stretches: &[Stretch]) -> BTreeSet<String> {
    let mut total_ms = 0;
    let mut of_router: BTreeMap<&String, i64> = BTreeMap::new();
    for stretch in stretches {
        let Seen::Path {
            metros, routers, ..
        } = &stretch.seen
        else {
            continue;
        };
        if all_at(metros, &promise.primary) && !routers.is_empty() {
            total_ms += stretch.length_ms();
            for router in routers {
                *of_router.entry(router).or_default() += stretch.length_ms();
            }
        }
    }
    let is_usual = |own_ms: i64| total_ms > 0 && ratio(own_ms, total_ms) >= USUAL_SHARE;
    let usual = of_router
        .into_iter()
        .filter(|(_, own_ms)| is_usual(*own_ms));
    usual.map(|(router, _)| router.clone()).collect()
}

/// ASes between the customer and Microsoft; `None` where the path is not known.
fn hops_of(promise: &Promise, seen: &Seen) -> Option<usize> {
    let Seen::Path { as_path, .. } = seen else {
        return None;
    };
    let foreign = as_path.iter().filter(|asn| !promise.own_asns.contains(asn));
    (!as_path.is_empty()).then(|| foreign.count())
}

/// When a router was seen: first and last, by its name.
type Times<'a> = BTreeMap<&'a String, Vec<(i64, i64)>>;

fn redundancy(promise: &Promise, stretches: &[Stretch]) -> Redundancy {
    let mut times: Times<'_> = BTreeMap::new();
    let mut rounds = 0_u32;
    for stretch in stretches {
        let Seen::Path {
            metros, routers, ..
        } = &stretch.seen
        else {
            continue;
        };
        if !all_at(metros, &promise.primary) || routers.is_empty() {
            continue;
        }
        rounds = rounds.saturating_add(stretch.rounds);
        for router in routers {
            times
                .entry(router)
                .or_default()
                .push((stretch.from_unix_ms, stretch.to_unix_ms));
        }
    }
    let names: Vec<&String> = times.keys().copied().collect();
    let pairs = names
        .iter()
        .enumerate()
        .flat_map(|(at, one)| names.iter().skip(at + 1).map(move |other| (*one, *other)));
    for (one, other) in pairs {
        let (Some(a), Some(b)) = (times.get(one), times.get(other)) else {
            continue;
        };
        if both_carry(a, b) || both_carry(b, a) {
            return Redundancy::Proven {
                routers: [one.clone(), other.clone()],
            };
        }
    }
    match names.as_slice() {
        [] => Redundancy::NotObservable,
        [router] => Redundancy::OneSeen {
            router: (*router).clone(),
            rounds,
            hidden_share_below: 1.0 - MISS.powf(1.0 / f64::from(rounds.max(1))),
        },
        many => Redundancy::Replaced {
            routers: many.iter().map(|name| (*name).clone()).collect(),
        },
    }
}

/// Whether `b` carried flows while `a` did, or between two times of `a` that lie within a day.
fn both_carry(a: &[(i64, i64)], b: &[(i64, i64)]) -> bool {
    b.iter().any(|(from, to)| {
        if a.iter().any(|(start, end)| start < to && from < end) {
            return true;
        }
        let before = a
            .iter()
            .filter(|(start, _)| start <= from)
            .map(|(_, end)| *end.min(from))
            .max();
        let after = a
            .iter()
            .filter(|(_, end)| end >= to)
            .map(|(start, _)| *start.max(to))
            .min();
        before
            .zip(after)
            .is_some_and(|(before, after)| after - before <= PAIR_WITHIN_MS)
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of a few years are far below 2^53"
)]
/// A share of a time.
pub fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn promise() -> Promise {
        Promise {
            provider_asns: [64_496].into(),
            own_asns: [64_511].into(),
            primary: "ZRH".to_owned(),
            backup: Some("GVA".to_owned()),
        }
    }

    fn path(as_path: &[u32], metros: &[&str], routers: &[&str]) -> Seen {
        let own = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Seen::Path {
            as_path: as_path.to_vec(),
            metros: own(metros),
            routers: own(routers),
        }
    }

    /// Stretches of so many hours, one after the other.
    fn days(seen: &[(i64, Seen)]) -> Vec<Stretch> {
        let mut at = 0;
        let stretch = |(hours, seen): &(i64, Seen)| {
            let from = at;
            at += hours * HOUR;
            Stretch {
                from_unix_ms: from,
                to_unix_ms: at,
                rounds: 120,
                seen: seen.clone(),
            }
        };
        seen.iter().map(stretch).collect()
    }

    #[test]
    fn time_is_told_apart_by_where_traffic_went() {
        let story = days(&[
            (10, path(&[64_496], &["ZRH"], &["icr01", "icr02"])),
            (1, path(&[64_496], &["ZRH"], &["icr03"])),
            (2, path(&[64_496], &["GVA"], &["icr11"])),
            (3, path(&[64_496], &["MIL"], &["icr21"])),
            (4, path(&[64_497], &["ZRH"], &["icr01"])),
            (5, Seen::Unreachable),
            (6, path(&[64_496], &[], &[])),
        ]);
        let compliance = judge(&promise(), &story, 0, 40 * HOUR);
        let want = [
            (Place::Primary, 10),
            (Place::LocalAlternate, 1),
            (Place::BackupMetro, 2),
            (Place::OtherMetro, 3),
            (Place::OtherProvider, 4),
            (Place::Unreachable, 5),
            (Place::Unknown, 6 + 9),
        ];
        let want: BTreeMap<Place, i64> = want.map(|(place, hours)| (place, hours * HOUR)).into();
        assert_eq!(compliance.time_ms, want);
        assert_eq!(compliance.preferred_ratio(), Some(11.0 / 25.0));
        assert_eq!(compliance.last_backup, Some((11 * HOUR, 13 * HOUR)));
        assert_eq!(compliance.before_backup, Some((10 * HOUR, 11 * HOUR)));
    }

    #[test]
    fn a_time_at_the_backup_location_goes_on_over_another_path_there() {
        let story = days(&[
            (1, path(&[64_496], &["GVA"], &["icr10"])),
            (10, path(&[64_496], &["ZRH"], &["icr01"])),
            (2, path(&[64_496], &["GVA"], &["icr11"])),
            (3, path(&[64_496], &["GVA"], &["icr12"])),
        ]);
        let compliance = judge(&promise(), &story, 0, 16 * HOUR);
        assert_eq!(compliance.last_backup, Some((11 * HOUR, 16 * HOUR)));
        assert_eq!(compliance.before_backup, Some((HOUR, 11 * HOUR)));
        let early = judge(&promise(), &story[..1], 0, HOUR);
        assert_eq!(
            (early.last_backup, early.before_backup),
            (Some((0, HOUR)), None)
        );
    }

    #[test]
    fn an_outage_within_a_stretch_is_cut_out_of_it() {
        let mut story = days(&[(10, path(&[64_496], &["ZRH"], &["icr01"]))]);
        story.push(Stretch {
            from_unix_ms: 4 * HOUR,
            to_unix_ms: 6 * HOUR,
            rounds: 0,
            seen: Seen::Unreachable,
        });
        let times = judge(&promise(), &story, 0, 10 * HOUR).time_ms;
        let want = [
            (Place::Primary, 8),
            (Place::Unreachable, 2),
            (Place::Unknown, 0),
        ];
        assert_eq!(
            times,
            want.map(|(place, hours)| (place, hours * HOUR)).into()
        );
    }

    #[test]
    fn one_as_hop_leaves_the_customer_out() {
        for (name, as_path, one) in [
            ("the partner alone", &[64_496][..], true),
            ("behind the customer's own", &[64_511, 64_496], true),
            ("a transit between", &[64_496, 64_497], false),
            ("none", &[64_511], false),
        ] {
            let story = days(&[(1, path(as_path, &["ZRH"], &[]))]);
            let compliance = judge(&promise(), &story, 0, HOUR);
            assert_eq!(
                (compliance.one_hop_ms, compliance.more_hops_ms),
                if one { (HOUR, 0) } else { (0, HOUR) },
                "{name}"
            );
        }
    }

    #[test]
    fn two_routers_are_proven_only_by_carrying_beside_each_other() {
        let zurich = |routers: &[&str]| path(&[64_496], &["ZRH"], routers);
        let judged =
            |story: &[(i64, Seen)]| judge(&promise(), &days(story), 0, 400 * HOUR).redundancy;
        let pair = Redundancy::Proven {
            routers: ["a".to_owned(), "b".to_owned()],
        };
        for hours in [1, 100] {
            let story = [(hours, zurich(&["a", "b"]))];
            assert_eq!(judged(&story), pair, "at once, for {hours} h");
        }
        assert_eq!(
            judged(&[
                (1, zurich(&["a"])),
                (1, zurich(&["b"])),
                (1, zurich(&["a"]))
            ]),
            pair,
            "in turn"
        );
        let replaced = judged(&[(1, zurich(&["a"])), (1, zurich(&["b"]))]);
        assert!(
            matches!(replaced, Redundancy::Replaced { .. }),
            "{replaced:?}"
        );
        let slow = judged(&[
            (1, zurich(&["a"])),
            (60, zurich(&["b"])),
            (1, zurich(&["a"])),
        ]);
        assert!(
            matches!(slow, Redundancy::Replaced { .. }),
            "not within a day: {slow:?}"
        );
        assert_eq!(judged(&[(1, Seen::Unreachable)]), Redundancy::NotObservable);
        let Redundancy::OneSeen {
            rounds,
            hidden_share_below,
            ..
        } = judged(&[(1, zurich(&["a"]))])
        else {
            panic!("one was seen");
        };
        // (1 - p)^120 = 5 %.
        assert_eq!(rounds, 120);
        assert!(
            (hidden_share_below - 0.0247).abs() < 0.0001,
            "{hidden_share_below}"
        );
    }

    #[test]
    fn a_partner_without_known_ases_is_not_judged_by_them() {
        let open = Promise {
            provider_asns: BTreeSet::new(),
            ..promise()
        };
        let story = days(&[(1, path(&[64_499], &["ZRH"], &[]))]);
        assert_eq!(
            judge(&open, &story, 0, HOUR).time_ms.get(&Place::Primary),
            Some(&HOUR)
        );
    }

    #[test]
    fn the_time_between_two_rounds_belongs_to_the_earlier_one_unless_it_is_long() {
        let minute = 60_000;
        let at = |from: i64, to: i64, metro: &str| Stretch {
            from_unix_ms: from * minute,
            to_unix_ms: to * minute,
            rounds: 1,
            seen: path(&[64_496], &[metro], &[]),
        };
        let story = [at(0, 10, "ZRH"), at(12, 12, "GVA"), at(20, 28, "ZRH")];
        let times = judge(&promise(), &story, 0, 30 * minute).time_ms;
        let want = [
            (Place::Primary, 12 + 10),
            (Place::BackupMetro, 0),
            (Place::Unknown, 8),
        ];
        assert_eq!(
            times,
            want.map(|(place, minutes)| (place, minutes * minute))
                .into()
        );
    }

    proptest! {
        #[test]
        fn times_add_up_to_the_window(
            parts in proptest::collection::vec((0..100_i64, 0..100_i64, 0..4_usize), 0..20), from in -50..50_i64, length in 0..200_i64,
        ) {
            let seen = [path(&[64_496], &["ZRH"], &["a"]), path(&[], &[], &[]), Seen::Unreachable, path(&[1], &["X"], &[])];
            let stretches: Vec<Stretch> = parts.into_iter().map(|(from, length, kind)| Stretch {
                from_unix_ms: from, to_unix_ms: from + length, rounds: 1, seen: seen[kind].clone(),
            }).collect();
            let compliance = judge(&promise(), &stretches, from, from + length);
            prop_assert_eq!(compliance.time_ms.values().sum::<i64>(), length);
            prop_assert!(compliance.time_ms.values().all(|time| *time >= 0));
            prop_assert!(compliance.one_hop_ms + compliance.more_hops_ms <= length);
        }
    }
}
