//! The words of the detector: verdicts with their evidence, and what changed in RPKI.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;

use super::Detector;
use crate::class::{Class, Severity};
use crate::instance::Key;
use crate::routes::RouteId;
use crate::verdict::{MAX_EVIDENCE, Phase, Verdict};
use crate::vrp::{Change, Vrp};

impl Detector {
    pub(super) fn tell(&mut self, at: f64, phase: Phase, key: Key) {
        let Some(instance) = self.instances.get(&key) else {
            return;
        };
        let held = self.table.get(&key.prefix);
        let have = held.map_or(&[][..], |held| held.routes.as_slice());
        let mut paths: HashMap<RouteId, usize> = HashMap::new();
        let mut others = 0;
        for (peer, route) in have {
            if instance.is_seen_by(*peer) {
                *paths.entry(*route).or_default() += 1;
            } else {
                others += 1;
            }
        }
        let mut evidence: Vec<(String, usize)> = paths
            .into_iter()
            .filter_map(|(id, count)| Some((self.routes.get(id)?.path.to_string(), count)))
            .collect();
        evidence.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        evidence.truncate(MAX_EVIDENCE);
        let peers = instance.seen();
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
                Phase::End => format!("no longer: {}", instance.reason),
            },
            evidence,
        });
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
            self.counters.started += 1;
            self.verdicts.push(Verdict {
                at,
                phase: Phase::Start,
                class: Class::RoaChanged,
                prefix,
                matched,
                offender: None,
                severity: Class::RoaChanged.severity(),
                peers: 0,
                others: 0,
                reason: format!("RPKI allows {}", shown.join(", ")),
                evidence: Vec::new(),
            });
        }
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
