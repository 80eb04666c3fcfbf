//! Sites that send no reports any more: a dead site cannot report, so the collector derives it from what is missing.
//!
//! A site is silent when every agent of it is. Outside its hours nobody is missed. Silences of one provider that began together are
//! one: then it is the provider that is suspected, and the collector itself when nearly all are silent. Agents that could not reach
//! their collector come back one by one, so whatever kept reports from it costs the first minutes after, too.

use std::collections::BTreeMap;

/// Reports that must be missing.
const MISSED: f64 = 3.0;
/// Silence shorter than this is none, seconds: an upload may be tried again.
const LEAST_S: f64 = 90.0;
/// An agent whose uploads failed tries again after this at the latest, seconds.
const RETRY_S: f64 = 300.0;
/// Silences that began so near to each other are one, seconds.
const TOGETHER_S: f64 = 120.0;
/// From this share of the sites on it is the collector that is deaf.
const DEAF_SHARE: f64 = 0.9;
/// And from so many sites on.
const DEAF_SITES: usize = 10;

/// One agent as the collector last heard of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard<'a> {
    /// Its site.
    pub site: &'a str,
    /// Its provider, if known.
    pub provider: Option<u32>,
    /// End of its newest report by the collector's clock, or when its site opened if that is later, Unix seconds.
    pub newest: f64,
    /// Seconds between its reports.
    pub every_s: f64,
    /// Whether the site is at work now (its opening hours), and the agent did not say that it stops.
    pub expected: bool,
}

/// Sites that fell silent together.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// Their provider.
    pub provider: Option<u32>,
    /// The sites, in order.
    pub sites: Vec<String>,
    /// When: after the newest report, before the one that did not come.
    pub onset: [f64; 2],
}

/// The sites that are silent at `now`, grouped, as a collector finds them that listens since `since` (Unix seconds): before that
/// nobody could be heard, and agents come back only when they try again. `None` if the collector itself hears too little to say so:
/// then it listens anew from `now` on.
pub fn silences(now: f64, since: f64, agents: &[Heard<'_>]) -> Option<Vec<Silence>> {
    let expected: Vec<Heard<'_>> = agents
        .iter()
        .copied()
        .filter(|agent| agent.expected)
        .collect();
    let (sites, unheard) = silent(now, &expected);
    let share = crate::number::real(unheard.len()) / crate::number::real(sites.max(1));
    if sites >= DEAF_SITES && share >= DEAF_SHARE {
        return None;
    }
    let missed: Vec<Heard<'_>> = unheard
        .into_iter()
        .filter(|site| now - since >= RETRY_S + allowance(site))
        .map(|site| Heard {
            newest: site.newest.max(since),
            ..site
        })
        .collect();
    Some(grouped(missed))
}

/// How many sites there are, and of those without any word for too long the agent that was heard last.
fn silent<'a>(now: f64, agents: &[Heard<'a>]) -> (usize, Vec<Heard<'a>>) {
    let mut sites: BTreeMap<&str, Option<Heard<'_>>> = BTreeMap::new();
    for agent in agents {
        let missing = now - agent.newest >= allowance(agent);
        let newest = sites.entry(agent.site).or_insert(Some(*agent));
        match newest {
            Some(known) if missing && agent.newest > known.newest => *known = *agent,
            Some(_) if missing => {}
            _ => *newest = None, // one of its agents is heard
        }
    }
    (sites.len(), sites.into_values().flatten().collect())
}

fn allowance(agent: &Heard<'_>) -> f64 {
    (agent.every_s * MISSED).max(LEAST_S)
}

fn grouped(mut silent: Vec<Heard<'_>>) -> Vec<Silence> {
    silent.sort_by(|one, other| {
        let by_provider = one.provider.cmp(&other.provider);
        by_provider.then(one.newest.total_cmp(&other.newest))
    });
    let mut groups: Vec<Silence> = Vec::new();
    for site in silent {
        let until = site.newest + site.every_s;
        let last = groups.last_mut().filter(|group| {
            group.provider == site.provider
                && site.provider.is_some()
                && site.newest <= group.onset[1] + TOGETHER_S
        });
        if let Some(group) = last {
            group.sites.push(site.site.to_owned());
            group.sites.sort();
            group.onset[1] = group.onset[1].max(until);
        } else {
            groups.push(Silence {
                provider: site.provider,
                sites: vec![site.site.to_owned()],
                onset: [site.newest, until],
            });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn heard(site: &str, provider: u32, newest: f64) -> Heard<'_> {
        Heard {
            site,
            provider: Some(provider),
            newest,
            every_s: 30.0,
            expected: true,
        }
    }

    #[test]
    fn a_site_is_silent_when_all_its_agents_are_and_it_is_at_work() {
        let now = 1_000.0;
        let closed = Heard {
            expected: false,
            ..heard("closed", 64500, 0.0)
        };
        for (name, agents, want) in [
            ("heard", vec![heard("a", 64500, 990.0)], 0),
            ("late by one", vec![heard("a", 64500, 930.0)], 0),
            ("silent", vec![heard("a", 64500, 900.0)], 1),
            (
                "one agent left",
                vec![heard("a", 64500, 500.0), heard("a", 64500, 990.0)],
                0,
            ),
            (
                "one agent left, told first",
                vec![heard("a", 64500, 990.0), heard("a", 64500, 500.0)],
                0,
            ),
            ("closed", vec![closed], 0),
        ] {
            let found = silences(now, 0.0, &agents).map(|found| found.len());
            assert_eq!(found, Some(want), "{name}");
        }
    }

    #[test]
    fn sites_of_one_provider_that_fell_silent_together_are_one() {
        let agents = [
            heard("a", 64500, 800.0),
            heard("b", 64500, 850.0),
            heard("c", 64501, 800.0),
            heard("d", 64500, 100.0),
            heard("e", 64500, 990.0),
        ];
        let groups = silences(1_000.0, 0.0, &agents).expect("it hears");
        let sites: Vec<Vec<String>> = groups.iter().map(|group| group.sites.clone()).collect();
        assert_eq!(sites, [vec!["d"], vec!["a", "b"], vec!["c"]]);
        let [from, until] = groups[1].onset;
        assert!((from - 800.0).abs() < 1e-9 && (until - 880.0).abs() < 1e-9);
    }

    #[test]
    fn a_deaf_collector_says_nothing_of_sites() {
        let names: Vec<String> = (0..20).map(|number| format!("s{number:02}")).collect();
        let agents: Vec<Heard<'_>> = names.iter().map(|name| heard(name, 64500, 100.0)).collect();
        assert_eq!(silences(1_000.0, 0.0, &agents), None);
    }

    #[test]
    fn a_collector_that_heard_nobody_lets_all_come_back_before_it_misses_one() {
        let names: Vec<String> = (0..20).map(|number| format!("s{number:02}")).collect();
        let mut agents: Vec<Heard<'_>> =
            names.iter().map(|name| heard(name, 64500, 100.0)).collect();
        let since = 700.0;
        for agent in &mut agents[..3] {
            agent.newest = since;
        }
        assert_eq!(silences(since, since, &agents), Some(Vec::new()));
        for agent in &mut agents[..19] {
            agent.newest = since + 389.0; // the last of them tried again after five minutes
        }
        assert_eq!(silences(since + 389.0, since, &agents), Some(Vec::new()));
        let found = silences(since + 390.0, since, &agents).expect("it hears");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].sites, ["s19"]);
    }
}
