//! The words of the detector: verdicts with their evidence, and what changed in RPKI.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;

use super::held::Held;
use super::{Detector, PeerId};
use crate::class::{Class, Severity};
use crate::examine::Finding;
use crate::instance::Key;
use crate::path::Hop;
use crate::remedy::{Remedy, remedy};
use crate::routes::RouteId;
use crate::verdict::{Ending, MAX_EVIDENCE, Phase, Verdict};
use crate::vrp::{Change, Rov, Vrp};

impl Detector {
    /// Verdicts that have started and not ended.
    pub fn open(&self) -> usize {
        self.instances
            .values()
            .filter(|instance| instance.is_started())
            .count()
    }

    pub(super) fn tell(&mut self, at: f64, phase: Phase, key: Key) {
        let Some(instance) = self.instances.get(&key) else {
            return;
        };
        let mut paths: HashMap<RouteId, usize> = HashMap::new();
        let mut others: BTreeSet<PeerId> = BTreeSet::new();
        let held = self.table.get(&key.prefix);
        for (peer, id) in held.into_iter().flat_map(Held::all) {
            if !instance.is_seen_by(peer) {
                others.insert(peer);
            } else if !held.is_some_and(|held| held.has_paths(peer)) || self.shows(id, &key) {
                *paths.entry(id).or_default() += 1;
            }
        }
        let others = others.len();
        let mut evidence: Vec<(String, usize)> = paths
            .into_iter()
            .filter_map(|(id, count)| Some((self.routes.get(id)?.path.to_string(), count)))
            .collect();
        evidence.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        evidence.truncate(MAX_EVIDENCE);
        let peers = instance.seen();
        let counter = self.counter_evidence(&key, others);
        let remedy = self.remedy(phase, &key, instance.matched);
        match phase {
            Phase::Start => self.counters.started += 1,
            Phase::End => self.counters.ended += 1,
        }
        self.verdicts.push(Verdict {
            at,
            phase,
            class: key.class,
            prefix: key.prefix,
            matched: instance.matched,
            offender: key.offender,
            severity: severity(key.class, peers, others),
            peers,
            others,
            reason: match phase {
                Phase::Start => instance.reason.clone(),
                Phase::End if self.is_blind => format!("out of sight: {}", instance.reason),
                Phase::End => format!("no longer: {}", instance.reason),
            },
            evidence,
            counter,
            remedy,
            ending: if self.is_blind {
                Ending::OutOfSight
            } else {
                Ending::Over
            },
        });
    }

    /// What the operator can announce against what starts.
    fn remedy(&self, phase: Phase, key: &Key, matched: Option<IpNet>) -> Option<Remedy> {
        let matched = matched.filter(|_| phase == Phase::Start)?;
        let vrps = self.vrps.as_ref();
        remedy(&self.registry, vrps, key.class, key.prefix, matched)
    }

    /// Whether one of several paths of a peer is the one that is wrong.
    fn shows(&self, id: RouteId, key: &Key) -> bool {
        let Some(route) = self.routes.get(id) else {
            return false;
        };
        let findings = self
            .registry
            .examine(&key.prefix, &route, self.vrps.as_ref(), self.clock);
        let same = |one: &Finding| (one.class, one.offender) == (key.class, key.offender);
        findings.iter().any(same)
    }

    /// What speaks against a verdict: peers that have another route, RPKI that allows the origin.
    fn counter_evidence(&self, key: &Key, others: usize) -> Vec<String> {
        let mut counter = Vec::new();
        if others > 0 {
            let noun = if others == 1 {
                "peer has"
            } else {
                "peers have"
            };
            counter.push(format!("{others} {noun} another route to {}", key.prefix));
        }
        if let (Some(asn), Some(vrps)) = (key.offender, &self.vrps)
            && vrps.state(&key.prefix, &Hop::As(asn)) == Rov::Valid
        {
            counter.push(format!("RPKI allows {asn} to announce {}", key.prefix));
        }
        counter
    }

    pub(super) fn tell_roa_changes(&mut self, at: f64, changes: &[(Vrp, Change)]) {
        let mut told: BTreeMap<(IpNet, Option<IpNet>), Vec<String>> = BTreeMap::new();
        for (vrp, change) in changes {
            let text = match change {
                Change::Gone => format!(
                    "no longer {} for {} up to /{}",
                    vrp.asn, vrp.prefix, vrp.max_length
                ),
                Change::New => format!(
                    "now {} for {} up to /{}",
                    vrp.asn, vrp.prefix, vrp.max_length
                ),
            };
            let registered = self.registry.rules.overlapping(&vrp.prefix);
            if registered.is_empty() && self.registry.asns.iter().any(|own| own.asn == vrp.asn) {
                told.entry((vrp.prefix, None))
                    .or_default()
                    .push(text.clone());
            }
            for prefix in registered {
                let rules = self.registry.rules.naming(&prefix);
                let wanted = rules.iter().all(|rule| !rule.ignore)
                    && rules.iter().any(|rule| rule.speaks_of(Class::RoaChanged));
                if wanted {
                    told.entry((prefix, Some(prefix)))
                        .or_default()
                        .push(text.clone());
                }
            }
        }
        for ((prefix, matched), texts) in told {
            let shown: Vec<&str> = texts
                .iter()
                .take(MAX_EVIDENCE)
                .map(String::as_str)
                .collect();
            let reason = format!("RPKI allows {}", shown.join(", "));
            let key = Key {
                prefix,
                class: Class::RoaChanged,
                offender: None,
            };
            self.tell_plainly(at, Phase::Start, key, matched, reason, 0);
        }
    }

    /// A verdict that no route shows.
    pub(super) fn tell_plainly(
        &mut self,
        at: f64,
        phase: Phase,
        key: Key,
        matched: Option<IpNet>,
        reason: String,
        peers: usize,
    ) {
        match phase {
            Phase::Start => self.counters.started += 1,
            Phase::End => self.counters.ended += 1,
        }
        let blind = phase == Phase::End && self.is_blind;
        let remedy = self.remedy(phase, &key, matched);
        self.verdicts.push(Verdict {
            at,
            phase,
            class: key.class,
            prefix: key.prefix,
            matched,
            offender: key.offender,
            severity: key.class.severity(),
            peers,
            others: 0,
            reason,
            evidence: Vec::new(),
            counter: Vec::new(),
            remedy,
            ending: if blind {
                Ending::OutOfSight
            } else {
                Ending::Over
            },
        });
    }
}

/// The severity of a class, less when a few of many peers see it, more when a prefix is gone everywhere.
fn severity(class: Class, peers: usize, others: usize) -> Severity {
    /// What one or two peers see and fifty do not may be those peers' own trouble.
    const FEW: usize = 2;
    const MANY: usize = 50;
    if class == Class::VisibilityLost && others == 0 && peers > 1 {
        return Severity::Error;
    }
    let severity = class.severity();
    if peers <= FEW && others >= MANY {
        severity.lower()
    } else {
        severity
    }
}
