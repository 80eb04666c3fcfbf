//! What is allowed changes: because time goes on, or because the operator says so.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Detector, Options};
use crate::examine::Registry;

impl Detector {
    /// What it judges by, and when verdicts start and end.
    pub fn into_rules(self) -> (Registry, Options) {
        (self.registry, self.options)
    }

    /// Judges by other rules from now on: what is kept is judged again. Routes that concerned nobody until now are not known.
    pub fn replace_rules(&mut self, at: f64, registry: Registry, options: Options) {
        (self.registry, self.options) = (registry, options);
        self.next_window = f64::NEG_INFINITY;
        self.expiring.look_now();
        self.advance(at);
        self.follow_backups(at);
        let kept: Vec<IpNet> = self.table.keys().collect();
        for prefix in kept {
            self.judge_again(at, prefix);
        }
    }

    /// It is `at` now by the clock on the wall, Unix seconds: from the first call on records no longer say what time it is.
    pub fn tick(&mut self, at: f64) {
        // A clock that is set back would end and start verdicts a second time.
        let at = if self.is_ticked {
            at.max(self.clock)
        } else {
            at
        };
        self.is_ticked = true;
        self.go_to(at);
    }

    /// A record says that it is `at` now, Unix seconds; it counts only while nobody ticks, since feeds lag and routers' clocks are wrong.
    pub fn advance(&mut self, at: f64) {
        if !self.is_ticked {
            self.go_to(at);
        }
    }

    /// Routes under an allowance that began or ended meanwhile are judged again.
    fn go_to(&mut self, at: f64) {
        let before = std::mem::replace(&mut self.clock, at);
        if !self.expiring.is_quiet_until(at) {
            self.look_at_expiry(at);
        }
        if at >= before && at < self.next_window {
            return;
        }
        let allowances = &self.registry.allowances;
        let moments = allowances.iter().flat_map(|one| [one.from, one.to]);
        self.next_window = moments
            .filter(|moment| *moment > at)
            .fold(f64::INFINITY, f64::min);
        let affected: BTreeSet<IpNet> = allowances
            .iter()
            .filter(|one| one.holds(before) != one.holds(at))
            .flat_map(|one| self.table.children(&one.prefix))
            .map(|(prefix, _)| prefix)
            .collect();
        for prefix in affected {
            self.judge_again(at, prefix);
        }
    }
}
