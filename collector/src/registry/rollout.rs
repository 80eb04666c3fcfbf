//! Which version of the agent's program is expected of whom: in stages, by site and by share.
//!
//! Pure. The collector only says what it expects; the package manager of each machine brings it.

use firstmile_wire::ids::AgentId;
use firstmile_wire::version::Version;

/// One stage: a version, and who is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What is expected of them.
    pub version: Version,
    /// Percent of the agents, 1 to 100.
    pub share: u32,
    /// Names of their sites; empty: all sites.
    pub sites: Vec<String>,
}

impl Stage {
    fn covers(&self, agent: AgentId, site: Option<&str>) -> bool {
        let at_site =
            self.sites.is_empty() || site.is_some_and(|site| self.sites.iter().any(|s| s == site));
        at_site && turn_of(agent) < self.share
    }
}

/// The whole plan: of an agent that several stages cover, the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    stages: Vec<Stage>,
}

impl Rollout {
    /// These stages, in this order.
    pub const fn new(stages: Vec<Stage>) -> Self {
        Self { stages }
    }

    /// How many stages there are.
    pub const fn stages(&self) -> usize {
        self.stages.len()
    }

    /// Whether the name of an agent's site matters.
    pub fn asks_for_sites(&self) -> bool {
        self.stages.iter().any(|stage| !stage.sites.is_empty())
    }

    /// The version that is expected of an agent; `None`: any.
    pub fn expected(&self, agent: AgentId, site: Option<&str>) -> Option<Version> {
        let stage = self.stages.iter().find(|stage| stage.covers(agent, site));
        stage.map(|stage| stage.version)
    }
}

/// How what an agent runs stands to what is expected of it: `current`, `behind`, `ahead`; `unknown` where it says no version.
pub fn standing(reported: &str, expected: Version) -> &'static str {
    match reported.parse::<Version>().map(|own| own.cmp(&expected)) {
        Ok(std::cmp::Ordering::Less) => "behind",
        Ok(std::cmp::Ordering::Equal) => "current",
        Ok(std::cmp::Ordering::Greater) => "ahead",
        Err(_) => "unknown",
    }
}

/// An agent's place in the order in which shares grow, 0 to 99. It never changes: who is in 10 % is in 50 %, too. The identity's
/// last bytes are random (RFC 9562 §5.4).
fn turn_of(agent: AgentId) -> u32 {
    let [.., a, b, c, d] = agent.0.into_bytes();
    u32::from_be_bytes([a, b, c, d]) % 100
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    fn agent(number: u128) -> AgentId {
        AgentId(Uuid::from_u128(number))
    }

    fn stage(text: &str, share: u32, sites: &[&str]) -> Stage {
        Stage {
            version: version(text),
            share,
            sites: sites.iter().map(|&site| site.to_owned()).collect(),
        }
    }

    #[test]
    fn versions_are_compared_by_number_and_a_release_follows_what_was_before_it() {
        for (reported, expected, want) in [
            ("0.1.0", "0.1.0", "current"),
            ("0.1.0", "0.2.0", "behind"),
            ("0.10.0", "0.9.0", "ahead"),
            ("0.2.0-rc.1", "0.2.0", "behind"),
            ("0.2.0-rc.1", "0.1.9", "ahead"),
            ("0.2.0+changed", "0.2.0", "current"),
            ("", "0.2.0", "unknown"),
            ("2", "0.2.0", "unknown"),
            ("0.2.0.1", "0.2.0", "unknown"),
            ("0.2.99999999999", "0.2.0", "unknown"),
        ] {
            assert_eq!(standing(reported, version(expected)), want, "{reported}");
        }
    }

    #[test]
    fn the_first_stage_that_covers_an_agent_counts() {
        let plan = Rollout::new(vec![
            stage("0.3.0", 100, &["Testville"]),
            stage("0.2.0", 40, &[]),
            stage("0.1.0", 100, &["Elsewhere"]),
        ]);
        for (turn, site, want) in [
            (99, Some("Testville"), Some("0.3.0")),
            (39, Some("Elsewhere"), Some("0.2.0")),
            (40, Some("Elsewhere"), Some("0.1.0")),
            (40, Some("testville"), None),
            (40, None, None),
            (39, None, Some("0.2.0")),
        ] {
            let expected = plan.expected(agent(turn), site);
            assert_eq!(expected, want.map(version), "{turn} at {site:?}");
        }
        assert!(plan.asks_for_sites());
        assert!(!Rollout::default().asks_for_sites());
    }

    proptest! {
        #[test]
        fn who_is_in_a_share_is_in_every_greater_one(id: u128, share in 1u32..100, more in 1u32..100) {
            let covered = |share| stage("0.2.0", share, &[]).covers(agent(id), None);
            prop_assert!(!covered(share) || covered((share + more).min(100)));
            prop_assert!(covered(100));
        }
    }

    #[test]
    fn a_share_is_about_its_part_of_the_agents() {
        // Identities as random as real ones, from a counter (SplitMix64's finalizer).
        let random = |n: u64| {
            let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let stage = stage("0.2.0", 10, &[]);
        let covered = (1..=10_000).filter(|n| stage.covers(agent(random(*n).into()), None));
        let covered = covered.count();
        assert!((850..1_150).contains(&covered), "{covered} of 10000");
    }
}
