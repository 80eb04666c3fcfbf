//! When to look at the path at once instead of at its next turn.
//!
//! Pure. A trigger only spends packets; it claims nothing. It is therefore sensitive, but it never fires on a protocol
//! that has not answered at this target: many front doors and providers drop ICMP, and that is no event.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use firstmile_wire::v1::Protocol;

use crate::probe::Outcome;

/// Pulses that the median is taken over.
const WINDOW: usize = 12;

/// Pulses needed before a step can be seen.
const LEAST: usize = 6;

/// Pulses in a row off the median that make a step, and losses in a row that make a suspicion.
const IN_A_ROW: u32 = 2;

/// A step is more than this, and more than a quarter of the median.
const STEP_FLOOR: Duration = Duration::from_millis(2);

/// Pulses of one protocol to one destination.
#[derive(Debug)]
struct PulseHistory {
    protocol: Protocol,
    destination: IpAddr,
    answered: VecDeque<Duration>,
    losses: u32,
    off: u32,
}

/// A pulse off the median or lost in one series and one in another so soon after it make a suspicion too: the two families of a
/// target are asked at one moment, two losses in a row take twice the interval.
const TOGETHER: Duration = Duration::from_secs(6);

/// Destinations with a history: two families, two protocols, and a few addresses before the oldest is forgotten.
const MAX_HISTORIES: usize = 16;

/// The memory of one target.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    pulses: Vec<PulseHistory>,
    /// The newest first doubt, and of which series.
    doubt: Option<(Protocol, IpAddr, Instant)>,
    edge_codes: Vec<(IpAddr, String)>,
    reply_ttls: Vec<(IpAddr, ReplyTtls)>,
}

/// TTLs or hop limits of the newest replies of one destination, oldest first.
#[derive(Debug, Default)]
struct ReplyTtls {
    newest: VecDeque<u8>,
    off: u32,
}

impl Triggers {
    /// Books a pulse that was sent `at`; true when two in a row are lost (TCP) or off the median, or one each of two series within
    /// [`TOGETHER`].
    pub(crate) fn on_pulse_at(
        &mut self,
        at: Instant,
        protocol: Protocol,
        destination: IpAddr,
        outcome: Outcome,
    ) -> bool {
        if self.on_pulse(protocol, destination, outcome) {
            self.doubt = None;
            return true;
        }
        let same = |h: &&PulseHistory| h.protocol == protocol && h.destination == destination;
        let history = self.pulses.iter().find(same);
        if !history.is_some_and(PulseHistory::begins_to_doubt) {
            return false;
        }
        let apart = |other: Instant| at.max(other).saturating_duration_since(at.min(other));
        let together = self.doubt.take_if(|(other, to, when)| {
            (*other, *to) != (protocol, destination) && apart(*when) <= TOGETHER
        });
        if together.is_none() {
            self.doubt = Some((protocol, destination, at));
        }
        together.is_some()
    }

    /// Books a pulse; true when two in a row are lost (TCP) or off the median.
    pub(crate) fn on_pulse(
        &mut self,
        protocol: Protocol,
        destination: IpAddr,
        outcome: Outcome,
    ) -> bool {
        let found = self
            .pulses
            .iter()
            .position(|h| h.protocol == protocol && h.destination == destination);
        let index = found.unwrap_or_else(|| {
            if self.pulses.len() >= MAX_HISTORIES {
                self.pulses.remove(0);
            }
            self.pulses.push(PulseHistory {
                protocol,
                destination,
                answered: VecDeque::new(),
                losses: 0,
                off: 0,
            });
            self.pulses.len() - 1
        });
        self.pulses
            .get_mut(index)
            .is_some_and(|history| history.book(outcome))
    }

    /// Books the TTL or hop limit of a reply, 0 where nobody knows it; true when two in a row are none of the last twelve: the way
    /// back may have moved while the way there looks the same.
    pub(crate) fn on_reply_ttl(&mut self, destination: IpAddr, ttl: u8) -> bool {
        if ttl == 0 {
            return false;
        }
        let found = self
            .reply_ttls
            .iter()
            .position(|(at, _)| *at == destination);
        let index = found.unwrap_or_else(|| {
            if self.reply_ttls.len() >= MAX_HISTORIES {
                self.reply_ttls.remove(0);
            }
            self.reply_ttls.push((destination, ReplyTtls::default()));
            self.reply_ttls.len() - 1
        });
        self.reply_ttls
            .get_mut(index)
            .is_some_and(|(_, history)| history.book(ttl))
    }

    /// Books the code in the headers of the edge at `destination`; true when it is another one than before there: the two
    /// families may well end at two edges. No code is no news.
    pub(crate) fn on_edge_code(&mut self, destination: IpAddr, code: Option<String>) -> bool {
        let Some(code) = code else {
            return false;
        };
        let known = self
            .edge_codes
            .iter_mut()
            .find(|(at, _)| *at == destination);
        if let Some((_, old)) = known {
            let changed = *old != code;
            *old = code;
            return changed;
        }
        if self.edge_codes.len() >= MAX_HISTORIES {
            self.edge_codes.remove(0);
        }
        self.edge_codes.push((destination, code));
        false
    }
}

impl ReplyTtls {
    fn book(&mut self, ttl: u8) -> bool {
        let is_novel = self.newest.len() >= LEAST && !self.newest.contains(&ttl);
        if !is_novel {
            self.off = 0;
            self.keep(ttl);
            return false;
        }
        self.off += 1;
        if self.off < IN_A_ROW {
            return false;
        }
        // It is usual from now on: one change is looked at once.
        self.off = 0;
        self.keep(ttl);
        true
    }

    fn keep(&mut self, ttl: u8) {
        self.newest.push_back(ttl);
        if self.newest.len() > WINDOW {
            self.newest.pop_front();
        }
    }
}

impl PulseHistory {
    /// Whether the last pulse is the first of a row that was lost or off the median.
    fn begins_to_doubt(&self) -> bool {
        let lost = self.protocol == Protocol::Tcp && self.losses == 1 && !self.answered.is_empty();
        lost || self.losses == 0 && self.off == 1
    }

    fn book(&mut self, outcome: Outcome) -> bool {
        if let Some(rtt) = outcome.rtt() {
            self.losses = 0;
            return self.book_rtt(rtt);
        }
        // States such as "no route" are not loss: they neither count nor reset.
        if !outcome.is_lost() || self.answered.is_empty() {
            return false;
        }
        self.losses += 1;
        self.protocol == Protocol::Tcp && self.losses == IN_A_ROW
    }

    fn book_rtt(&mut self, rtt: Duration) -> bool {
        let stepped = self.median().is_some_and(|median| {
            let difference = median.max(rtt).saturating_sub(median.min(rtt));
            difference > STEP_FLOOR.max(median / 4)
        });
        self.off = if stepped { self.off + 1 } else { 0 };
        self.answered.push_back(rtt);
        if self.answered.len() > WINDOW {
            self.answered.pop_front();
        }
        self.off == IN_A_ROW
    }

    fn median(&self) -> Option<Duration> {
        if self.answered.len() < LEAST {
            return None;
        }
        let mut sorted: Vec<Duration> = self.answered.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination() -> IpAddr {
        IpAddr::from([203, 0, 113, 1])
    }

    /// Which pulses of a sequence fire; `None` is a lost one, a number an answer in milliseconds.
    fn fires(protocol: Protocol, pulses: &[Option<u64>]) -> Vec<usize> {
        let mut triggers = Triggers::default();
        let outcome = |ms: &Option<u64>| {
            ms.map_or(Outcome::Timeout, |ms| {
                Outcome::Answered(Duration::from_millis(ms))
            })
        };
        let fired = pulses
            .iter()
            .map(|pulse| triggers.on_pulse(protocol, destination(), outcome(pulse)));
        fired
            .enumerate()
            .filter(|(_, fired)| *fired)
            .map(|(index, _)| index)
            .collect()
    }

    #[test]
    fn two_losses_in_a_row_fire_once_where_tcp_has_answered() {
        let (a, x) = (Some(20), None);
        for (name, protocol, pulses, want) in [
            ("one loss", Protocol::Tcp, vec![a, x, a, x, a], vec![]),
            ("two in a row", Protocol::Tcp, vec![a, x, x, x, x], vec![2]),
            (
                "again after an answer",
                Protocol::Tcp,
                vec![a, x, x, a, x, x],
                vec![2, 5],
            ),
            (
                "never answered here",
                Protocol::Tcp,
                vec![x, x, x, x],
                vec![],
            ),
            (
                "ICMP is often limited",
                Protocol::Icmp,
                vec![a, x, x, x],
                vec![],
            ),
        ] {
            assert_eq!(fires(protocol, &pulses), want, "{name}");
        }
    }

    #[test]
    fn a_step_fires_when_two_pulses_agree() {
        let steady = [Some(20); 12];
        for (name, then, want) in [
            ("one spike", vec![90, 20], vec![]),
            ("up", vec![30, 30, 30], vec![13]),
            ("down", vec![10, 10], vec![13]),
            ("within a quarter", vec![24, 24, 24], vec![]),
        ] {
            let pulses: Vec<_> = steady
                .iter()
                .copied()
                .chain(then.into_iter().map(Some))
                .collect();
            assert_eq!(fires(Protocol::Tcp, &pulses), want, "{name}");
        }
        let near = [vec![Some(1); 12], vec![Some(3); 3]].concat();
        assert!(fires(Protocol::Tcp, &near).is_empty(), "2 ms are nothing");
    }

    #[test]
    fn one_pulse_each_of_two_series_fires_when_they_are_near_in_time() {
        let start = crate::clock::now();
        let other = IpAddr::from([198, 51, 100, 1]);
        let lost = Outcome::Timeout;
        let answered = |ms| Outcome::Answered(Duration::from_millis(ms));
        let (tcp, icmp) = (Protocol::Tcp, Protocol::Icmp);
        for (name, first, second, apart_s, want) in [
            (
                "both families off",
                (tcp, answered(30)),
                (tcp, answered(30)),
                0,
                true,
            ),
            ("both families lost", (tcp, lost), (tcp, lost), 0, true),
            (
                "one lost, one off",
                (tcp, lost),
                (icmp, answered(30)),
                5,
                true,
            ),
            ("too far apart", (tcp, lost), (tcp, lost), 7, false),
            (
                "echoes are often limited",
                (icmp, lost),
                (icmp, lost),
                0,
                false,
            ),
            ("one is as ever", (tcp, lost), (tcp, answered(20)), 0, false),
        ] {
            let mut triggers = Triggers::default();
            for second in 0..12 {
                let at = start + Duration::from_secs(second);
                for (protocol, to) in [
                    (tcp, destination()),
                    (icmp, other),
                    (tcp, other),
                    (icmp, destination()),
                ] {
                    assert!(!triggers.on_pulse_at(at, protocol, to, answered(20)));
                }
            }
            let at = start + Duration::from_secs(20);
            assert!(
                !triggers.on_pulse_at(at, first.0, destination(), first.1),
                "{name}"
            );
            let later = at + Duration::from_secs(apart_s);
            let fired = triggers.on_pulse_at(later, second.0, other, second.1);
            assert_eq!(fired, want, "{name}");
        }
    }

    #[test]
    fn no_route_is_neither_loss_nor_answer() {
        let mut triggers = Triggers::default();
        triggers.on_pulse(
            Protocol::Tcp,
            destination(),
            Outcome::Answered(Duration::from_millis(9)),
        );
        for _ in 0..5 {
            assert!(!triggers.on_pulse(Protocol::Tcp, destination(), Outcome::NoRoute));
        }
    }

    #[test]
    fn another_edge_code_fires_and_none_does_not() {
        let mut triggers = Triggers::default();
        let seen = [
            Some("AMS"),
            None,
            Some("AMS"),
            Some("LON"),
            None,
            Some("AMS"),
        ];
        let fired: Vec<bool> = seen
            .iter()
            .map(|code| triggers.on_edge_code(destination(), code.map(str::to_owned)))
            .collect();
        assert_eq!(fired, [false, false, false, true, false, true]);
    }

    #[test]
    fn two_destinations_with_edges_of_their_own_do_not_fire() {
        let mut triggers = Triggers::default();
        let other = IpAddr::from([198, 51, 100, 1]);
        for _ in 0..3 {
            assert!(!triggers.on_edge_code(destination(), Some("AMS".to_owned())));
            assert!(!triggers.on_edge_code(other, Some("LON".to_owned())));
        }
        assert!(triggers.on_edge_code(other, Some("AMS".to_owned())));
    }

    #[test]
    fn histories_are_bounded() {
        let mut triggers = Triggers::default();
        for last in 0..100 {
            triggers.on_edge_code(IpAddr::from([203, 0, 113, last]), Some("AMS".to_owned()));
            triggers.on_pulse(
                Protocol::Tcp,
                IpAddr::from([203, 0, 113, last]),
                Outcome::Timeout,
            );
        }
        assert_eq!(triggers.pulses.len(), MAX_HISTORIES);
        assert_eq!(triggers.edge_codes.len(), MAX_HISTORIES);
    }

    #[test]
    fn replies_from_farther_away_are_suspicious_once_and_balanced_ones_never() {
        for (name, ttls, fires_at) in [
            ("steady", vec![57; 20], vec![]),
            ("unknown", vec![0; 20], vec![]),
            ("moved", [vec![57; 8], vec![55; 8]].concat(), vec![9]),
            (
                "one stray reply",
                [vec![57; 8], vec![55], vec![57; 8]].concat(),
                vec![],
            ),
            ("two ways back, balanced", [57, 56].repeat(12), vec![]),
            (
                "there and back",
                [vec![57; 8], vec![55; 14], vec![57; 4]].concat(),
                vec![9, 23],
            ),
            ("too early to tell", vec![57, 57, 55, 55, 54, 54], vec![]),
        ] {
            let mut triggers = Triggers::default();
            let fired: Vec<usize> = ttls
                .iter()
                .enumerate()
                .filter(|(_, ttl)| triggers.on_reply_ttl(destination(), **ttl))
                .map(|(index, _)| index)
                .collect();
            assert_eq!(fired, fires_at, "{name}");
        }
    }
}
