//! Which flows of a recording are the pinned ones: those that its rounds send, whatever their numbers.
//!
//! A recording may number flows from 1, or by their ports. Numbers below the plan's flows are kept as they are.

use crate::message::{Plan, Protocol, Stream};

use super::format::FlowLine;

/// The numbers that the pinned flows of one path have in the recording, by their numbers here.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(Vec<Option<u16>>);

impl Pins {
    /// Numbers the flows of a round anew, and says what the plan is as far as flows go: no more than are sent.
    pub(super) fn number(&mut self, stream: Stream, flows: &mut [FlowLine], plan: &Plan) -> Plan {
        if stream != Stream::Refresh {
            self.take_in(flows, usize::from(plan.flows.min(Protocol::BESIDE)));
        }
        let sent = self.0.iter().flatten().count();
        let sent = u16::try_from(sent).unwrap_or(plan.flows);
        for flow in flows {
            flow.flow = self
                .slot(flow.flow)
                .unwrap_or_else(|| beyond(flow.flow, plan.flows));
        }
        Plan {
            flows: if sent == 0 { plan.flows } else { sent },
            ..*plan
        }
    }

    fn slot(&self, number: u16) -> Option<u16> {
        let slot = self.0.iter().position(|pinned| *pinned == Some(number))?;
        u16::try_from(slot).ok()
    }

    fn take_in(&mut self, flows: &[FlowLine], most: usize) {
        self.0.resize(most, None);
        let mut rest = Vec::new();
        for number in flows.iter().map(|flow| flow.flow) {
            if self.slot(number).is_some() {
                continue;
            }
            match self.0.get_mut(usize::from(number)) {
                Some(free @ None) => *free = Some(number),
                Some(Some(_)) | None => rest.push(number),
            }
        }
        rest.sort_unstable();
        rest.dedup();
        let free = self.0.iter_mut().filter(|slot| slot.is_none());
        for (slot, number) in free.zip(rest) {
            *slot = Some(number);
        }
    }
}

/// A number for a flow that is not pinned: beyond the pinned ones, below those of other protocols.
const fn beyond(number: u16, flows: u16) -> u16 {
    if number >= flows && number < Protocol::BESIDE {
        return number;
    }
    let room = Protocol::BESIDE.saturating_sub(flows);
    if room == 0 {
        return Protocol::BESIDE - 1;
    }
    flows + number % room
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(pins: &mut Pins, stream: Stream, numbers: &[u16]) -> (Vec<u16>, u16) {
        let mut flows: Vec<FlowLine> = numbers
            .iter()
            .map(|flow| FlowLine {
                flow: *flow,
                first_ttl: 1,
                hops: Vec::new(),
                rtt_us: Vec::new(),
                reached: false,
                repeat: None,
            })
            .collect();
        let plan = Plan {
            flows: 4,
            ..Plan::default()
        };
        let plan = pins.number(stream, &mut flows, &plan);
        (flows.iter().map(|flow| flow.flow).collect(), plan.flows)
    }

    #[test]
    fn flows_are_pinned_whatever_their_numbers() {
        for (name, sent, want) in [
            ("from nought", vec![0, 1, 2, 3], vec![0, 1, 2, 3]),
            ("from one", vec![1, 2, 3, 4], vec![1, 2, 3, 0]),
            (
                "ports",
                vec![33_437, 33_434, 33_436, 33_435],
                vec![3, 0, 2, 1],
            ),
            (
                "more than the plan says",
                vec![0, 1, 2, 3, 4, 5],
                vec![0, 1, 2, 3, 4, 5],
            ),
        ] {
            let mut pins = Pins::default();
            assert_eq!(
                numbered(&mut pins, Stream::Full, &sent),
                (want.clone(), 4),
                "{name}"
            );
            let (again, _) = numbered(&mut pins, Stream::Burst, sent.get(1..2).unwrap());
            assert_eq!(again.first(), want.get(1), "{name}: a burst of one of them");
        }
    }

    #[test]
    fn what_a_refresh_draws_is_beyond_the_pinned_and_below_other_protocols() {
        let mut pins = Pins::default();
        numbered(&mut pins, Stream::Tail, &[0, 1, 2, 3]);
        let (drawn, _) = numbered(&mut pins, Stream::Refresh, &[0, 9, 40_000, u16::MAX]);
        assert_eq!(drawn.first(), Some(&0));
        assert!(
            drawn
                .iter()
                .skip(1)
                .all(|flow| (4..Protocol::BESIDE).contains(flow)),
            "{drawn:?}"
        );
    }

    #[test]
    fn a_plan_has_no_more_flows_than_are_sent() {
        let mut pins = Pins::default();
        assert_eq!(
            numbered(&mut pins, Stream::Refresh, &[0, 1, 2]).1,
            4,
            "not known yet"
        );
        assert_eq!(numbered(&mut pins, Stream::Tail, &[7]).1, 1);
        assert_eq!(numbered(&mut pins, Stream::Full, &[7, 8]).1, 2);
    }
}
