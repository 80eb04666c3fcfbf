//! The newest word of each flow since a suspicion began: burst rounds carry a part of the flows only.

use crate::memory::{FLOWS_MAX, PathMemory};
use crate::message::is_steady;
use crate::verdict::{Mark, Verdict};

/// Each flow's newest verdict; a layer on which it is silent keeps what it said before.
pub(crate) fn merge(window: &mut Vec<Verdict>, verdicts: &[Verdict], flows: u16) {
    for verdict in verdicts
        .iter()
        .filter(|verdict| is_steady(verdict.flow, flows))
    {
        if let Some(known) = window.iter_mut().find(|known| known.flow == verdict.flow) {
            merge_one(known, verdict);
        } else if window.len() < FLOWS_MAX {
            window.push(*verdict);
        }
    }
}

fn merge_one(known: &mut Verdict, new: &Verdict) {
    let before = *known;
    *known = *new;
    if new.uplink == Mark::Silent {
        (known.uplink, known.uplink_asn) = (before.uplink, before.uplink_asn);
    }
    let tail_hides = before.provider == Mark::Novel
        && !before.at_handoff
        && new.provider == Mark::Usual
        && new.uplink == Mark::Silent;
    if new.provider == Mark::Silent || tail_hides {
        known.provider = before.provider;
        known.provider_asn = before.provider_asn;
        (known.weak, known.at_handoff) = (before.weak, before.at_handoff);
    } else if new.provider == Mark::Novel && before.provider == Mark::Novel {
        known.weak = before.weak && new.weak;
    }
    if new.metro == Mark::Silent {
        (known.metro, known.metro_key) = (before.metro, before.metro_key);
    }
    if new.router == Mark::Silent {
        known.router = before.router;
        known.router_key = before.router_key;
        known.seen_at = known.seen_at.or(before.seen_at);
        known.resolved = before.resolved;
        known.ingress_us = before.ingress_us;
    } else if new.router == before.router && before.ingress_us > 0 && new.ingress_us > 0 {
        known.ingress_us = before.ingress_us.min(new.ingress_us);
    }
}

/// Whether nothing that is novel now was novel before.
pub(crate) fn contradicts(window: &[Verdict], verdicts: &[Verdict]) -> bool {
    let shared = |new: &Verdict, old: &Verdict| {
        let both =
            |pick: fn(&Verdict) -> Mark| pick(new) == Mark::Novel && pick(old) == Mark::Novel;
        both(|verdict| verdict.uplink) && new.uplink_asn == old.uplink_asn
            || both(|verdict| verdict.provider) && new.provider_asn == old.provider_asn
            || both(|verdict| verdict.metro) && new.metro_key == old.metro_key
            || both(|verdict| verdict.router) && new.router_key == old.router_key
    };
    !verdicts
        .iter()
        .any(|new| window.iter().any(|old| shared(new, old)))
}

/// Whether flows changed places among the usual routers too: then the new one may be a member that no flow met before.
pub(crate) fn is_shuffled(memory: &PathMemory) -> bool {
    let usual_of = |verdict: &Verdict| {
        let flow = memory.flows.iter().find(|flow| flow.flow == verdict.flow);
        flow.map_or(0, |flow| flow.usual[0])
    };
    let of = |mark: Mark| {
        let window = memory.window.iter();
        window.filter(move |verdict| verdict.router == mark && usual_of(verdict) != 0)
    };
    let elsewhere = |verdict: &Verdict| verdict.router_key != usual_of(verdict);
    let still = |router: u32| of(Mark::Usual).any(|verdict| verdict.router_key == router);
    of(Mark::Usual).any(elsewhere) || of(Mark::Novel).any(|verdict| still(usual_of(verdict)))
}

/// Whether a flow that a refresh drew still enters by a router that the pinned flows left: it is alive, and they were spread afresh.
pub(crate) fn others_stay(memory: &PathMemory, verdicts: &[Verdict], flows: u16) -> bool {
    let left = |router: u32| {
        let novel = memory
            .window
            .iter()
            .filter(|verdict| verdict.router == Mark::Novel);
        let mut usual = novel.filter_map(|verdict| {
            let flow = memory.flows.iter().find(|flow| flow.flow == verdict.flow)?;
            Some(flow.usual[0])
        });
        usual.any(|known| known == router)
    };
    verdicts.iter().any(|verdict| {
        let drawn = !is_steady(verdict.flow, flows) && verdict.entered;
        drawn && verdict.router == Mark::Usual && left(verdict.router_key)
    })
}

/// What one layer says, or the other where it is silent.
pub(crate) fn first_said(one: Mark, other: Mark) -> Mark {
    if one == Mark::Silent { other } else { one }
}
