//! What is kept of single flows: where each was and is, what a repeated one shows, what flows beyond the pinned ones say.

use serde::{Deserialize, Serialize};

use crate::memory::{Counted, FlowMemory};
use crate::message::{Flow, Plan, is_steady};
use crate::view::View;

/// Repetitions of one flow that are looked at.
const REPEATS_MAX: usize = 16;

/// Notes one layer of a flow; whether it settled on another router.
pub(crate) fn note_layer(
    flow: &mut FlowMemory,
    layer: usize,
    key: u32,
    at: f64,
    frozen: bool,
) -> bool {
    let (Some(usual), Some(hold), Some(now)) = (
        flow.usual.get_mut(layer),
        flow.hold.get_mut(layer),
        flow.now.get_mut(layer),
    ) else {
        return false;
    };
    *now = key;
    let is_usual = *usual == key || *usual == 0;
    if is_usual {
        *usual = key;
        *hold += (1.0 - *hold) * 0.1;
    } else if !frozen {
        *hold *= 0.9;
    }
    let settled = !is_usual && *hold < 0.3;
    if settled {
        *usual = key;
        *hold = 0.3;
    }
    if let (Some(moved_at), Some(usual_at)) =
        (flow.moved_at.get_mut(layer), flow.usual_at.get_mut(layer))
    {
        if is_usual || settled {
            (*moved_at, *usual_at) = (0.0, at);
        } else if *moved_at == 0.0 {
            *moved_at = at;
        }
    }
    settled
}

/// A silent router is there now: whether it is the usual one cannot be told, and after some rounds no other is usual.
pub(crate) fn note_silent(flow: &mut FlowMemory, layer: usize) {
    if let (Some(hold), Some(now)) = (flow.hold.get_mut(layer), flow.now.get_mut(layer)) {
        *hold *= 0.9;
        *now = 0;
    }
}

/// The other answers of a flow that was repeated: what a balancer that spreads packets shows.
pub(crate) fn repeats(flow: &Flow) -> Vec<Flow> {
    let most = flow
        .repeat
        .iter()
        .map(Vec::len)
        .max()
        .unwrap_or(0)
        .min(REPEATS_MAX);
    let pick = |time: usize| {
        let hops = flow.hops.iter().enumerate();
        hops.map(|(index, hop)| {
            let again = flow.repeat.get(index).and_then(|answers| answers.get(time));
            again.copied().unwrap_or(*hop)
        })
        .collect()
    };
    (0..most)
        .map(|time| Flow {
            hops: pick(time),
            rtt_us: Vec::new(),
            repeat: Vec::new(),
            ..flow.clone()
        })
        .collect()
}

/// A flow beyond the pinned ones, of a refresh: where it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extra {
    #[serde(rename = "f")]
    pub flow: u16,
    /// Its ingress router and handoff router; 0: not seen.
    #[serde(rename = "k")]
    pub keys: [u32; 2],
}

impl Extra {
    /// Where it went on a layer; 0: not seen.
    pub(crate) fn at(&self, layer: usize) -> u32 {
        self.keys.get(layer).copied().unwrap_or_default()
    }
}

/// Where the flows beyond the pinned ones went.
pub(crate) fn extra_flows(views: &[View], plan: &Plan) -> Vec<Extra> {
    let extra = views
        .iter()
        .filter(|view| !is_steady(view.flow, plan.flows));
    let key = |seen: Option<crate::hop::Seen>| seen.map_or(0, |seen| seen.hop.router);
    extra
        .map(|view| Extra {
            flow: view.flow,
            keys: [
                key(view.ingress.filter(|_| view.certain)),
                key(view.handoff.filter(|_| view.adjacent)),
            ],
        })
        .filter(|extra| extra.keys != [0, 0])
        .collect()
}

/// Counts a value among at most eight, with decay.
pub(crate) fn count<T: Clone + PartialEq>(values: &mut Vec<Counted<T>>, value: &T) {
    for known in values.iter_mut() {
        known.count *= 0.9995;
    }
    match values.iter_mut().find(|known| known.value == *value) {
        Some(known) => known.count += 1.0,
        None => values.push(Counted {
            value: value.clone(),
            count: 1.0,
        }),
    }
    if values.len() > 8 {
        let rarest = values
            .iter()
            .enumerate()
            .min_by(|one, other| one.1.count.total_cmp(&other.1.count));
        if let Some((index, _)) = rarest {
            values.swap_remove(index);
        }
    }
}
