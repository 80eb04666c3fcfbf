//! What RPKI says in favour of a registered prefix ends soon: told before it happens, by the ends that payloads carry.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Detector;
use crate::asn::Asn;
use crate::class::Class;
use crate::instance::Key;
use crate::verdict::Phase;

/// What was told, and when to look again.
#[derive(Debug)]
pub(super) struct Expiring {
    told: BTreeMap<(IpNet, Asn), u32>,
    next: f64,
}

impl Default for Expiring {
    fn default() -> Self {
        Self {
            told: BTreeMap::new(),
            next: f64::NEG_INFINITY,
        }
    }
}

impl Expiring {
    /// Whether nothing changes before `at`.
    pub(super) fn is_quiet_until(&self, at: f64) -> bool {
        at < self.next
    }

    /// Something else is registered.
    pub(super) fn look_now(&mut self) {
        self.next = f64::NEG_INFINITY;
    }
}

impl Detector {
    /// Tells what ends soon, and what does so no longer: payloads were renewed, or are gone.
    pub(super) fn look_at_expiry(&mut self, at: f64) {
        let (soon, next) = self.ends_soon(at);
        self.expiring.next = next;
        let before = std::mem::replace(&mut self.expiring.told, soon);
        let over: Vec<_> = before
            .iter()
            .filter(|(key, _)| !self.expiring.told.contains_key(key))
            .map(|(key, _)| *key)
            .collect();
        let new: Vec<_> = self
            .expiring
            .told
            .iter()
            .filter(|(key, _)| !before.contains_key(key))
            .map(|(key, expires)| (*key, *expires))
            .collect();
        for (prefix, asn) in over {
            let still = self.vrps.as_ref().map(|vrps| vrps.allowed(&prefix));
            let reason = if still.is_some_and(|allowed| allowed.contains_key(&asn)) {
                format!("no longer: what allows {asn} to announce {prefix} was renewed")
            } else {
                format!("no longer: nothing allows {asn} to announce {prefix} any more")
            };
            self.tell_expiry(at, Phase::End, prefix, asn, reason);
        }
        for ((prefix, asn), expires) in new {
            let left = (f64::from(expires) - at).max(0.0) / 60.0;
            let reason = format!(
                "what allows {asn} to announce {prefix} in RPKI expires in {left:.0} minutes, and was not renewed"
            );
            self.tell_expiry(at, Phase::Start, prefix, asn, reason);
        }
    }

    fn tell_expiry(&mut self, at: f64, phase: Phase, prefix: IpNet, asn: Asn, reason: String) {
        let key = Key {
            prefix,
            class: Class::RpkiExpiring,
            offender: Some(asn),
        };
        self.tell_plainly(at, phase, key, Some(prefix), reason, 0);
    }

    /// Registered prefixes with the origins that lose their leave soon and when, Unix seconds; and the moment of the next such one.
    fn ends_soon(&self, at: f64) -> (BTreeMap<(IpNet, Asn), u32>, f64) {
        let (mut soon, mut next) = (BTreeMap::new(), f64::INFINITY);
        let Some(vrps) = &self.vrps else {
            return (soon, next);
        };
        for rule in self.registry.rules.iter() {
            if rule.ignore || !rule.speaks_of(Class::RpkiExpiring) {
                continue;
            }
            for (asn, expires) in vrps.allowed(&rule.prefix) {
                let (Some(expires), true) = (expires, rule.origins.permits(asn)) else {
                    continue;
                };
                let warn_at = f64::from(expires) - self.options.expiry_warn_s;
                if warn_at > at {
                    next = next.min(warn_at);
                } else if soon.len() < self.options.max_instances {
                    soon.insert((rule.prefix, asn), expires);
                }
            }
        }
        (soon, next)
    }
}
