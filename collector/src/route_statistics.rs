//! How routes fared in a month, in figures that are told: by the API, the command and the page alike.

use firstmile_routing::counts::RouteCounts;
use ipnet::IpNet;

use crate::api::types::{AsHops, RouteStatistics};
use crate::store::route_counts::Month;

/// The figures of counted prefixes.
pub fn statistics_of(counts: &[(IpNet, RouteCounts)]) -> Vec<RouteStatistics> {
    counts
        .iter()
        .map(|(prefix, counts)| RouteStatistics {
            prefix: prefix.to_string(),
            announced: counts.announced(),
            withdrawn: counts.withdrawn,
            as_hops: counts
                .announced_by_hops
                .iter()
                .map(|(hops, announced)| AsHops {
                    hops: *hops,
                    announced: *announced,
                })
                .collect(),
            as_hops_p50: counts.median_hops(),
            minutes: counts.looks,
            visibility_pct: percent(counts.seen_peers, counts.known_peers),
            unseen_pct: percent(counts.unseen_looks, counts.looks),
        })
        .collect()
}

/// A share in percent with two digits; none of nothing.
fn percent(part: u64, whole: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "shares need no 53 bits")]
    (whole > 0).then(|| (part as f64 / whole as f64 * 10_000.0).round() / 100.0)
}

/// A table, one prefix a line; lengths of paths as `2:14 3:5`, the ASes before the announcements.
pub fn csv_of(month: Month, statistics: &[RouteStatistics]) -> String {
    let head =
        "month,prefix,announced,withdrawn,as_hops_p50,as_hops,minutes,visibility_pct,unseen_pct\n";
    let lines = statistics.iter().map(|one| {
        let lengths: Vec<String> = one
            .as_hops
            .iter()
            .map(|of| format!("{}:{}", of.hops, of.announced))
            .collect();
        format!(
            "{month},{},{},{},{},{},{},{},{}\n",
            one.prefix,
            one.announced,
            one.withdrawn,
            shown(one.as_hops_p50),
            lengths.join(" "),
            one.minutes,
            shown(one.visibility_pct),
            shown(one.unseen_pct)
        )
    });
    std::iter::once(head.to_owned()).chain(lines).collect()
}

/// A figure, or an empty cell.
fn shown(figure: Option<impl ToString>) -> String {
    figure.map_or_else(String::new, |figure| figure.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_prefix_is_a_line() {
        let counts = RouteCounts {
            announced_by_hops: BTreeMap::from([(2, 14), (3, 5)]),
            withdrawn: 4,
            looks: 3,
            unseen_looks: 1,
            seen_peers: 4,
            known_peers: 6,
        };
        let quiet = RouteCounts::default();
        let all = [
            ("198.51.100.0/24".parse().unwrap(), counts),
            ("2001:db8::/32".parse().unwrap(), quiet),
        ];
        let text = csv_of("2026-11".parse().unwrap(), &statistics_of(&all));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "month,prefix,announced,withdrawn,as_hops_p50,as_hops,minutes,visibility_pct,unseen_pct",
                "2026-11,198.51.100.0/24,19,4,2,2:14 3:5,3,66.67,33.33",
                "2026-11,2001:db8::/32,0,0,,,0,,"
            ]
        );
    }
}
