//! Which version of its program an agent is told to have, with the answer to each of its reports.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use firstmile_wire::ids::OrganisationId;
use firstmile_wire::version::Version;
use tokio::sync::watch;

use crate::registry::rollout::Rollout;
use crate::registry::{Agent, SiteId};
use crate::store::Store;

/// How long the names of sites are remembered: one that is named otherwise meanwhile is in its stage after that.
const REMEMBERED: Duration = Duration::from_mins(1);
/// Sites remembered at once; beyond it memory starts anew.
const MAX_REMEMBERED: usize = 20_000;

/// The roll-out plan as it stands, and the names of the sites that it is asked about.
pub struct Plan {
    rollout: watch::Receiver<Rollout>,
    now: fn() -> Instant,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    since: Option<Instant>,
    of: BTreeMap<(OrganisationId, SiteId), String>,
}

impl Plan {
    /// The plan that is told by `rollout`.
    pub fn new(rollout: watch::Receiver<Rollout>, now: fn() -> Instant) -> Self {
        Self {
            rollout,
            now,
            names: Mutex::default(),
        }
    }

    /// The version that is expected of an agent. That its site cannot be read is no reason to take no report.
    pub(super) async fn expected(&self, store: &dyn Store, agent: &Agent) -> Option<Version> {
        let asks_for_sites = self.rollout.borrow().asks_for_sites();
        let site = if asks_for_sites {
            self.site_of(store, agent).await
        } else {
            None
        };
        self.rollout.borrow().expected(agent.id, site.as_deref())
    }

    /// The name of an agent's site: from memory, as reports come many times more often than sites change.
    async fn site_of(&self, store: &dyn Store, agent: &Agent) -> Option<String> {
        let key = (agent.organisation.clone(), agent.site);
        if let Some(name) = self.remembered(&key) {
            return Some(name);
        }
        let site = store.site(&agent.organisation, agent.site).await.ok()?;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.of.insert(key, site.name.clone());
        Some(site.name)
    }

    fn remembered(&self, key: &(OrganisationId, SiteId)) -> Option<String> {
        let now = (self.now)();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = names
            .since
            .is_some_and(|since| now.duration_since(since) < REMEMBERED);
        if !is_fresh || names.of.len() >= MAX_REMEMBERED {
            names.of.clear();
            names.since = Some(now);
        }
        names.of.get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use firstmile_wire::ids::AgentId;
    use uuid::Uuid;

    use super::*;
    use crate::clock;
    use crate::geo::Geography;
    use crate::registry::Site;
    use crate::registry::rollout::Stage;
    use crate::store::embedded;

    static LATER_S: AtomicU64 = AtomicU64::new(0);

    fn now() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(clock::now) + Duration::from_secs(LATER_S.load(Ordering::Relaxed))
    }

    fn at_site(version: &str, site: &str) -> Rollout {
        Rollout::new(vec![Stage {
            version: version.parse().expect("a version"),
            share: 100,
            sites: vec![site.to_owned()],
        }])
    }

    #[tokio::test]
    async fn a_new_plan_counts_at_once_and_a_new_name_of_a_site_within_a_minute() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = embedded::open(folder.path()).await.expect("opens");
        let organisation = OrganisationId::default_organisation();
        let site = SiteId(Uuid::from_u128(1));
        let put = async |name: &str| {
            let site = Site {
                organisation: organisation.clone(),
                id: site,
                name: name.to_owned(),
                geography: Geography::default(),
            };
            store.put_site(&site).await.expect("writes");
        };
        put("Testville").await;
        let agent = Agent {
            id: AgentId(Uuid::from_u128(2)),
            organisation: organisation.clone(),
            site,
            hostname: "host".to_owned(),
            version: "0.1.0".to_owned(),
            os: None,
            icmp_capability: None,
            enrolled_unix_ms: 0,
            last_seen_unix_ms: None,
            spool_dropped_reports: 0,
            revoked: false,
            usual_gap_ms: 0,
        };
        let (sender, receiver) = watch::channel(Rollout::default());
        let plan = Plan::new(receiver, now);
        let expected = async || {
            let version = plan.expected(&store, &agent).await;
            version.map(|version| version.to_string())
        };
        assert_eq!(expected().await, None);
        sender.send_replace(at_site("0.2.0", "Testville"));
        assert_eq!(expected().await.as_deref(), Some("0.2.0"));
        sender.send_replace(at_site("0.3.0", "Testville"));
        assert_eq!(expected().await.as_deref(), Some("0.3.0"));
        put("Elsewhere").await;
        assert_eq!(expected().await.as_deref(), Some("0.3.0"), "from memory");
        LATER_S.store(60, Ordering::Relaxed);
        assert_eq!(expected().await, None, "the site has another name");
    }
}
