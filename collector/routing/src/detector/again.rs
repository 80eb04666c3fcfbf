//! What is kept, judged again: RPKI says something else of it.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;

use super::{Detector, PeerId};
use crate::examine::Finding;
use crate::routes::RouteId;

impl Detector {
    pub(super) fn judge_again(&mut self, at: f64, prefix: IpNet) {
        let Some(held) = self.table.get(&prefix) else {
            return;
        };
        let routes: Vec<(PeerId, RouteId)> = held.all().collect();
        let several: BTreeSet<PeerId> = routes
            .iter()
            .map(|(peer, _)| *peer)
            .filter(|peer| held.has_paths(*peer))
            .collect();
        // Peers that hear the same, and where nothing was wrong before, are judged together.
        let mut known: HashMap<RouteId, usize> = HashMap::new();
        let mut distinct: Vec<Vec<Finding>> = Vec::new();
        let mut run: (usize, Vec<PeerId>) = (0, Vec::new());
        let mut single = Vec::new();
        for (peer, id) in routes {
            if several.contains(&peer) {
                single.push(peer);
                continue;
            }
            let index = *known
                .entry(id)
                .or_insert_with(|| self.examine_once(&prefix, id, &mut distinct));
            let was_right = self
                .table
                .get(&prefix)
                .is_none_or(|held| !held.is_wrong_at(peer));
            if was_right && index == run.0 {
                run.1.push(peer);
                continue;
            }
            let done = std::mem::replace(&mut run, (index, Vec::new()));
            self.apply_to_all(at, &done.1, prefix, of(&distinct, done.0));
            if was_right {
                run.1.push(peer);
            } else {
                self.apply(at, peer, prefix, of(&distinct, index));
            }
        }
        self.apply_to_all(at, &run.1, prefix, of(&distinct, run.0));
        single.dedup();
        for peer in single {
            let findings = self.findings_at(peer, &prefix);
            self.apply(at, peer, prefix, &findings);
        }
    }

    /// Which of the distinct findings a route has; new ones join them.
    fn examine_once(&self, prefix: &IpNet, id: RouteId, distinct: &mut Vec<Vec<Finding>>) -> usize {
        let route = self.routes.get(id).unwrap_or_default();
        let found = self
            .registry
            .examine(prefix, &route, self.vrps.as_ref(), self.clock);
        let known = distinct.iter().position(|one| *one == found);
        known.unwrap_or_else(|| {
            distinct.push(found);
            distinct.len() - 1
        })
    }

    /// The same is wrong from now on at all of these peers, where nothing was.
    fn apply_to_all(&mut self, at: f64, peers: &[PeerId], prefix: IpNet, findings: &[Finding]) {
        let (false, Some(held)) = (findings.is_empty(), self.table.get_mut(&prefix)) else {
            return;
        };
        let now: Vec<_> = findings
            .iter()
            .map(|finding| (finding.class, finding.offender))
            .collect();
        for peer in peers {
            held.replace_wrong(*peer, &now);
        }
        for finding in findings {
            self.join_all(at, peers, prefix, finding);
        }
    }
}

fn of(distinct: &[Vec<Finding>], index: usize) -> &[Finding] {
    distinct.get(index).map_or(&[], Vec::as_slice)
}
