//! What is wrong with one route: every rule that speaks of it, and what holds for all routes.

use ipnet::IpNet;

use crate::allow::{Allowance, Mute};
use crate::asn::Asn;
use crate::bogon::Bogons;
use crate::class::Class;
use crate::path::{Hop, Route};
use crate::relation::{Leak, Relations};
use crate::rule::{Match, MoreSpecifics, OwnAs, Rule, Rules};
use crate::vrp::{Rov, Vrps};

/// A path that must stay near may have this many ASes.
const NEAR: usize = 3;

/// All that is known without looking at a route.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Registered prefixes.
    pub rules: Rules,
    /// Own ASes.
    pub asns: Vec<OwnAs>,
    /// Who pays whom.
    pub relations: Relations,
    /// What nobody may announce.
    pub bogons: Bogons,
    /// An origin that RPKI allows is no hijack, though the rule does not name it.
    pub rov_clears_origin: bool,
    /// What is allowed for a time.
    pub allowances: Vec<Allowance>,
    /// Peers that are not listened to.
    pub mute: Mute,
}

/// Something that is wrong with a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub class: Class,
    /// Who does it, if the route tells.
    pub offender: Option<Asn>,
    /// The registered prefix that it concerns.
    pub matched: Option<IpNet>,
    /// One sentence.
    pub reason: String,
}

impl Registry {
    /// A registry; bogons that it uses itself are none.
    pub fn new(rules: Rules, asns: Vec<OwnAs>, relations: Relations) -> Self {
        let registered: Vec<IpNet> = rules.iter().map(|rule| rule.prefix).collect();
        let mut named: Vec<Asn> = asns.iter().map(|own| own.asn).collect();
        named.extend(relations.asns());
        for rule in rules.iter() {
            for (low, high) in rule.origins.ranges().iter().chain(rule.neighbors.ranges()) {
                named.extend([*low, *high]);
            }
            named.extend(rule.paths.iter().flatten());
            named.extend(rule.upstreams.keys());
            named.extend(&rule.carriers);
        }
        Self {
            bogons: Bogons::new(&registered, &named),
            rules,
            asns,
            relations,
            rov_clears_origin: false,
            allowances: Vec::new(),
            mute: Mute::default(),
        }
    }

    fn own(&self, asn: Asn) -> Option<&OwnAs> {
        self.asns.iter().find(|own| own.asn == asn)
    }

    /// Whether a route of this prefix, or of this path, can be judged at all. What cannot needs no memory.
    pub fn concerns(&self, prefix: &IpNet, route: &Route) -> bool {
        self.rules.covers(prefix)
            || self.asns.iter().any(|own| route.path.contains(own.asn))
            || self.bogons.block(prefix).is_some()
    }

    /// Everything that is wrong with `route` for `prefix` at a moment, Unix seconds.
    pub fn examine(
        &self,
        prefix: &IpNet,
        route: &Route,
        vrps: Option<&Vrps>,
        at: f64,
    ) -> Vec<Finding> {
        Examination {
            registry: self,
            prefix,
            route,
            steps: route.path.without_prepends(),
            vrps,
            at,
        }
        .run()
    }
}

struct Examination<'a> {
    registry: &'a Registry,
    prefix: &'a IpNet,
    route: &'a Route,
    steps: Vec<&'a Hop>,
    vrps: Option<&'a Vrps>,
    at: f64,
}

/// How far a route is from what a rule demands: the rule that it comes nearest to tells what is wrong.
type Distance = u8;

impl Examination<'_> {
    fn run(&self) -> Vec<Finding> {
        let found = self.registry.rules.matching(self.prefix);
        let Some(found) = found else {
            let mut findings = Vec::new();
            self.own_findings(None, false, &mut findings);
            return findings;
        };
        if found.rules.iter().any(|rule| rule.ignore) {
            return Vec::new();
        }
        let left_alone = |rule: &&&Rule| rule.more_specifics == MoreSpecifics::Ignore;
        if !found.exact && found.rules.iter().any(|rule| left_alone(&rule)) {
            let mut findings = Vec::new();
            self.own_findings(None, true, &mut findings);
            return findings;
        }
        let matched = found.rules.first().map(|rule| rule.prefix);
        let mut findings = if self.is_allowed() {
            Vec::new()
        } else {
            self.nearest_rule(&found)
        };
        self.own_findings(matched, true, &mut findings);
        self.leaks(matched, &mut findings);
        self.rpki(matched, &mut findings);
        let wanted =
            |finding: &Finding| found.rules.iter().any(|rule| rule.speaks_of(finding.class));
        findings.retain(wanted);
        let mut seen = Vec::new();
        findings.retain(|finding| {
            let key = (finding.class, finding.offender);
            let new = !seen.contains(&key);
            seen.push(key);
            new
        });
        findings
    }

    /// Whether it is allowed for the time being, whatever the rules say.
    fn is_allowed(&self) -> bool {
        let (prefix, path) = (self.prefix, &self.route.path);
        let mut allowances = self.registry.allowances.iter();
        allowances.any(|one| one.covers(prefix, path, self.at))
    }

    /// What the rule says that the route comes nearest to; nothing, if one finds nothing wrong.
    fn nearest_rule(&self, found: &Match<'_>) -> Vec<Finding> {
        let mut nearest: Option<(Distance, Vec<Finding>)> = None;
        for rule in &found.rules {
            let (distance, mut findings) = self.rule(rule, found.exact);
            if findings.is_empty() {
                return Vec::new();
            }
            findings.retain(|finding| rule.speaks_of(finding.class));
            let nearer = nearest.as_ref().is_none_or(|(least, before)| {
                before.is_empty() || (!findings.is_empty() && distance <= *least)
            });
            if nearer {
                nearest = Some((distance, findings));
            }
        }
        nearest.map(|(_, findings)| findings).unwrap_or_default()
    }

    fn rule(&self, rule: &Rule, exact: bool) -> (Distance, Vec<Finding>) {
        let mut findings = Vec::new();
        let distance = match self.hijack(rule, exact) {
            Some((distance, finding)) => {
                findings.push(finding);
                distance
            }
            None => 0,
        };
        if rule.no_export && self.steps.len() > NEAR {
            findings.push(finding(
                rule,
                Class::LeakNoExport,
                self.neighbor().and_then(first_member),
                format!(
                    "{} must not be seen more than {NEAR} ASes away, and the path {} has {}",
                    self.prefix,
                    self.route.path,
                    self.steps.len()
                ),
            ));
        }
        findings.extend(self.behind_others(rule));
        if let Some(policy) = rule
            .path_policy
            .iter()
            .find(|policy| policy.is_broken_by(&self.route.path))
        {
            let reason = format!(
                "the path {} to {} is one {}",
                self.route.path,
                self.prefix,
                policy.text()
            );
            findings.push(finding(rule, Class::PathPolicy, None, reason));
        }
        (distance, findings)
    }

    fn hijack(&self, rule: &Rule, exact: bool) -> Option<(Distance, Finding)> {
        let (prefix, registered) = (self.prefix, rule.prefix);
        if rule.origins.is_nobody() {
            let origin = self.origin().and_then(first_member);
            let reason = format!(
                "{prefix} is announced by {}, and {registered} must not be seen at all",
                name(origin)
            );
            return Some((4, finding(rule, Class::HijackSquat, origin, reason)));
        }
        let pick = |of_exact, of_sub| if exact { of_exact } else { of_sub };
        if let Some(origin) = self.origin()
            && let Some(wrong) = outside(origin, |asn| rule.origins.permits(asn))
        {
            if self.registry.rov_clears_origin && self.rov() == Some(Rov::Valid) {
                return None;
            }
            let class = pick(Class::HijackExactOrigin, Class::HijackSubOrigin);
            let reason = format!(
                "{wrong} announces {prefix}, and {registered} may be announced by {} only",
                rule.origins
            );
            return Some((4, finding(rule, class, Some(wrong), reason)));
        }
        if let Some(neighbor) = self.neighbor()
            && !rule.neighbors.is_nobody()
            && let Some(wrong) = outside(neighbor, |asn| rule.neighbors.permits(asn))
        {
            let class = pick(Class::HijackExactNeighbor, Class::HijackSubNeighbor);
            let reason = format!(
                "{prefix} is seen behind {wrong}, and the origin of {registered} has {} as neighbours only",
                rule.neighbors
            );
            return Some((3, finding(rule, class, Some(wrong), reason)));
        }
        if let Some(wrong) = self.off_every_sequence(rule) {
            let class = pick(Class::HijackExactPath, Class::HijackSubPath);
            let reason = format!(
                "in the path {} to {prefix}, {wrong} stands where none of the registered sequences has it",
                self.route.path
            );
            return Some((2, finding(rule, class, Some(wrong), reason)));
        }
        (!exact).then(|| {
            let reason = format!(
                "{prefix} is announced, a part of {registered} that is not registered itself"
            );
            (1, finding(rule, Class::HijackSubUnknown, None, reason))
        })
    }

    /// The AS that breaks the sequence which stands longest before the origin; `None` if one stands whole, or none is demanded.
    fn off_every_sequence(&self, rule: &Rule) -> Option<Asn> {
        if rule.paths.is_empty() || self.steps.len() < 2 {
            return None;
        }
        let hops = self.route.path.hops();
        let (_, before) = hops.split_last()?;
        let mut longest = 0;
        for sequence in &rule.paths {
            let agreeing = before
                .iter()
                .rev()
                .zip(sequence.iter().rev())
                .take_while(|(hop, asn)| hop.single() == Some(**asn))
                .count();
            if agreeing == sequence.len() {
                return None;
            }
            // A sequence longer than the path cannot be compared with it.
            if before.len() >= sequence.len() {
                longest = longest.max(agreeing);
            }
        }
        let position = before.len().saturating_sub(longest + 1);
        before.get(position).and_then(first_member)
    }

    /// ASes seen behind others than those that the rule allows.
    fn behind_others(&self, rule: &Rule) -> Vec<Finding> {
        let mut findings = Vec::new();
        for pair in self.steps.windows(2) {
            let [upstream, hop] = pair else { continue };
            let Some((asn, allowed)) = hop
                .single()
                .and_then(|asn| rule.upstreams.get_key_value(&asn))
            else {
                continue;
            };
            if let Some(wrong) = outside(upstream, |asn| allowed.permits(asn)) {
                let reason = format!(
                    "{asn} is seen behind {wrong} on the way to {}, and may be seen behind {allowed} only",
                    self.prefix
                );
                findings.push(finding(rule, Class::LeakPath, Some(wrong), reason));
            }
        }
        findings
    }

    /// What holds because of an own AS or because nobody may announce it.
    fn own_findings(&self, matched: Option<IpNet>, registered: bool, into: &mut Vec<Finding>) {
        let mut add = |class, offender, reason| {
            into.push(Finding {
                class,
                offender,
                matched,
                reason,
            });
        };
        let own_origin = self.own_origin();
        if let (Some(own), false) = (own_origin, registered) {
            add(
                Class::AsnUnexpectedPrefix,
                Some(own),
                format!("{own} announces {}, which is not registered", self.prefix),
            );
        }
        for (own, wrong, side) in self.strange_neighbors() {
            add(
                Class::PathNeighbor,
                Some(wrong),
                format!("{own} is seen with {wrong} as its {side}, which is not listed"),
            );
        }
        if let (Some(block), false) = (self.registry.bogons.block(self.prefix), registered) {
            let origin = self.origin().and_then(first_member);
            add(
                Class::Bogon,
                origin,
                format!("{} lies in {block}, which nobody may announce", self.prefix),
            );
        }
        if (matched.is_some() || own_origin.is_some())
            && let Some(asn) = self.bogon_asn()
        {
            add(
                Class::Bogon,
                Some(asn),
                format!(
                    "the path {} to {} has {asn} in it, which nobody may use",
                    self.route.path, self.prefix
                ),
            );
        }
        if matched.is_none() && self.crosses_own() {
            self.leaks(matched, into);
        }
        if matched.is_none() && own_origin.is_some() {
            self.rpki(matched, into);
        }
    }

    fn leaks(&self, matched: Option<IpNet>, into: &mut Vec<Finding>) {
        let mut add = |class, leak: Leak, why: &str| {
            let Leak { by, from, to } = leak;
            into.push(Finding {
                class,
                offender: Some(by),
                matched,
                reason: format!(
                    "{by} passes the route to {} from {from} on to {to}, {why}",
                    self.prefix
                ),
            });
        };
        if let Some(leak) = self.registry.relations.valley(&self.steps) {
            add(Class::LeakPath, leak, "neither of them its customer");
        }
        if let Some(otc) = self.route.otc
            && let Some(leak) = self.registry.relations.otc_broken(&self.steps, otc)
        {
            add(
                Class::LeakOtc,
                leak,
                &format!("though {otc} marked it for customers only"),
            );
        }
    }

    fn rpki(&self, matched: Option<IpNet>, into: &mut Vec<Finding>) {
        let (Some(state), Some(origin)) = (self.rov(), self.origin()) else {
            return;
        };
        let offender = first_member(origin);
        let (class, why) = match state {
            Rov::Valid => return,
            Rov::InvalidAsn => (Class::RpkiInvalidAsn, "RPKI names other origins for it"),
            Rov::InvalidLength => (
                Class::RpkiInvalidLength,
                "RPKI allows this origin shorter prefixes only",
            ),
            Rov::NotFound => (Class::RpkiNotFound, "RPKI says nothing of it"),
        };
        into.push(Finding {
            class,
            offender,
            matched,
            reason: format!("{} announces {}, and {why}", name(offender), self.prefix),
        });
    }

    fn rov(&self) -> Option<Rov> {
        Some(self.vrps?.state(self.prefix, self.origin()?))
    }

    fn origin(&self) -> Option<&Hop> {
        self.route.path.origin()
    }

    /// The first hop before the origin.
    fn neighbor(&self) -> Option<&Hop> {
        self.steps.iter().nth_back(1).copied()
    }

    fn own_origin(&self) -> Option<Asn> {
        let origin = self.origin()?;
        let own = |asn: &&Asn| self.registry.own(**asn).is_some();
        origin.members().iter().find(own).copied()
    }

    fn crosses_own(&self) -> bool {
        let path = &self.route.path;
        self.registry.asns.iter().any(|own| path.contains(own.asn))
    }

    fn bogon_asn(&self) -> Option<Asn> {
        let mut asns = self.steps.iter().flat_map(|hop| hop.members());
        asns.find(|asn| self.registry.bogons.holds_asn(**asn))
            .copied()
    }

    /// Own ASes beside ASes that are not listed as their neighbours.
    fn strange_neighbors(&self) -> Vec<(Asn, Asn, &'static str)> {
        let mut found = Vec::new();
        if self.registry.asns.is_empty() {
            return found;
        }
        for (index, hop) in self.steps.iter().enumerate() {
            let Some(own) = hop.single().and_then(|asn| self.registry.own(asn)) else {
                continue;
            };
            // Our own session with the route collector shows our providers behind us: they are no downstreams.
            let Some(left) = index.checked_sub(1).and_then(|left| self.steps.get(left)) else {
                continue;
            };
            if let Some(wrong) = outside(left, |asn| own.upstreams.permits(asn)) {
                found.push((own.asn, wrong, "upstream"));
            }
            if let Some(right) = self.steps.get(index + 1)
                && let Some(wrong) = outside(right, |asn| own.downstreams.permits(asn))
            {
                found.push((own.asn, wrong, "downstream"));
            }
        }
        found
    }
}

fn finding(rule: &Rule, class: Class, offender: Option<Asn>, reason: String) -> Finding {
    Finding {
        class,
        offender,
        matched: Some(rule.prefix),
        reason,
    }
}

/// The first member of a step that is not allowed: of a set, every member must be.
fn outside(hop: &Hop, allowed: impl Fn(Asn) -> bool) -> Option<Asn> {
    hop.members().iter().find(|asn| !allowed(**asn)).copied()
}

fn first_member(hop: &Hop) -> Option<Asn> {
    hop.members().first().copied()
}

fn name(asn: Option<Asn>) -> String {
    asn.map_or_else(|| "an unknown AS".to_owned(), |asn| asn.to_string())
}
