//! The probes under way and what became of them. Pure: no socket, no clock, no randomness; the time is a parameter.
//!
//! Invariant: every probe launched ends exactly once, whatever comes late, twice, damaged or forged. All memory is taken at
//! the start: one slot for each probe that may be under way.
//!
//! The shell calls, in this order after each read: [`Flights::on_transmitted`] and [`Flights::on_reply`] for what it took,
//! [`Flights::settle`] once the stamps that belong to the replies must have been read, [`Flights::expire`].

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::completion::{Answer, Clock, Completion, Ending, Request, Spoiled};
use crate::counters::Counters;
use crate::moment::Moment;
use crate::packet::Cookie;

/// What a reply says.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// Who sent it.
    pub source: IpAddr,
    /// Which request it names.
    pub seq: u16,
    /// The first bytes of its payload, if it has that many.
    pub cookie: Option<Cookie>,
    /// When the kernel received it, by the wall clock.
    pub stamp: Option<Duration>,
    /// The TTL or hop limit that it had left.
    pub hop_limit: Option<u8>,
}

/// What an ICMP error says about a request of ours.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// Where the request was for.
    pub destination: IpAddr,
    /// Which request.
    pub seq: u16,
    /// The first bytes of its payload, if the error quotes that many.
    pub cookie: Option<Cookie>,
    /// Who sent the error.
    pub by: Option<IpAddr>,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
}

/// As many probes are under way as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Full;

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    seq: u16,
    /// Launches before this one.
    number: u64,
    cookie: Cookie,
    destination: IpAddr,
    token: u64,
    launched: Moment,
    transmitted: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Vacant,
    Awaiting,
    /// Answered; its transmit stamp may still be on the way.
    Replied {
        stamp: Option<Duration>,
        hop_limit: Option<u8>,
        taken: Moment,
        ready: Duration,
    },
    Answered,
    Expired,
}

/// The probes under way.
#[derive(Debug)]
pub struct Flights {
    slots: Box<[Slot]>,
    timeout: Duration,
    /// The next launch.
    next: u64,
    /// No launch before this one is under way.
    oldest: u64,
    under_way: usize,
    replied: Vec<u16>,
    finished: Vec<Completion>,
    counters: Counters,
}

impl Flights {
    /// Room for `capacity` probes under way, rounded up to a power of two, at most 65,536: what a sequence number can tell
    /// apart. All have the same timeout, so they expire in the order of sending.
    pub fn new(capacity: usize, timeout: Duration) -> Self {
        let capacity = capacity.next_power_of_two().min(1 << 16);
        let vacant = Slot {
            state: State::Vacant,
            seq: 0,
            number: 0,
            cookie: [0; 8],
            destination: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            token: 0,
            launched: Moment::default(),
            transmitted: None,
        };
        Self {
            slots: vec![vacant; capacity].into_boxed_slice(),
            timeout,
            next: 0,
            oldest: 0,
            under_way: 0,
            replied: Vec::new(),
            finished: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Probes that may be under way at once.
    pub const fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Probes under way.
    pub const fn under_way(&self) -> usize {
        self.under_way
    }

    /// What happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The same, to book what the shell sees.
    pub const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Enters a probe that is about to be sent, and gives it its sequence number.
    ///
    /// # Errors
    /// [`Full`] when as many are under way as may be; it is counted.
    pub fn launch(&mut self, request: Request, cookie: Cookie, now: Moment) -> Result<u16, Full> {
        if self.under_way >= self.slots.len() {
            self.counters.full += 1;
            return Err(Full);
        }
        // Some slot is free: step over those that are not.
        loop {
            let (number, seq) = (self.next, seq_of(self.next));
            self.next += 1;
            let slot = self.slot_mut(seq);
            if !slot.is_under_way() {
                let Request { destination, token } = request;
                *slot = Slot {
                    state: State::Awaiting,
                    seq,
                    number,
                    cookie,
                    destination,
                    token,
                    launched: now,
                    transmitted: None,
                };
                self.under_way += 1;
                self.counters.sent += 1;
                return Ok(seq);
            }
        }
    }

    /// Ends a probe that the system refused to send.
    pub fn on_not_sent(&mut self, seq: u16, error: io::Error) {
        if self.recall(seq).is_some() {
            self.counters.not_sent += 1;
            self.finish(seq, State::Vacant, Ending::NotSent(error));
        }
    }

    /// Forgets a probe that was launched and not sent, as if it had never been.
    pub fn on_withdrawn(&mut self, seq: u16) {
        if self.recall(seq).is_some() {
            self.slot_mut(seq).state = State::Vacant;
            self.under_way -= 1;
        }
    }

    /// Books the stamp that the kernel gave a request on its way out. One from before the launch is not this request's.
    pub fn on_transmitted(&mut self, seq: u16, stamp: Duration) {
        let slot = self.slot_mut(seq);
        if slot.seq == seq && slot.is_under_way() && stamp >= slot.launched.wall {
            slot.transmitted = Some(stamp);
        }
    }

    /// Books a reply. `idle_since` is when this process began to wait for it: before that, it was not late but elsewhere.
    pub fn on_reply(&mut self, reply: &Reply, idle_since: Duration, now: Moment) {
        let slot = *self.slot_mut(reply.seq);
        let count = &mut self.counters;
        let Some(cookie) = reply.cookie else {
            count.truncated += 1;
            return;
        };
        if matches!(slot.state, State::Vacant) || slot.seq != reply.seq {
            count.unknown += 1;
        } else if slot.cookie != cookie {
            count.forged += 1;
        } else if slot.destination != reply.source {
            count.elsewhere += 1;
        } else {
            match slot.state {
                State::Vacant => {}
                State::Replied { .. } | State::Answered => count.duplicate += 1,
                State::Expired => count.late += 1,
                State::Awaiting => {
                    let (stamp, hop_limit) = (reply.stamp, reply.hop_limit);
                    let ready = stamp.unwrap_or(now.wall).max(idle_since);
                    self.slot_mut(reply.seq).state = State::Replied {
                        stamp,
                        hop_limit,
                        taken: now,
                        ready,
                    };
                    self.replied.push(reply.seq);
                }
            }
        }
    }

    /// Books an ICMP error. Errors may quote too little to hold the cookie; the destination must be right in any case.
    pub fn on_refusal(&mut self, refusal: &Refusal) {
        let slot = *self.slot_mut(refusal.seq);
        let ours = slot.seq == refusal.seq && slot.destination == refusal.destination;
        if !ours || !matches!(slot.state, State::Awaiting) {
            self.counters.unknown += 1;
        } else if refusal.cookie.is_some_and(|cookie| cookie != slot.cookie) {
            self.counters.forged += 1;
        } else {
            self.counters.unreachable += 1;
            let Refusal { by, kind, code, .. } = *refusal;
            self.finish(
                refusal.seq,
                State::Expired,
                Ending::Unreachable { by, kind, code },
            );
        }
    }

    /// Ends the probes that were answered: their transmit stamps have been read by now, or will not come.
    pub fn settle(&mut self) {
        let mut replied = std::mem::take(&mut self.replied);
        for seq in replied.drain(..) {
            let slot = *self.slot_mut(seq);
            let State::Replied {
                stamp,
                hop_limit,
                taken,
                ready,
            } = slot.state
            else {
                continue;
            };
            let delay = taken.wall.saturating_sub(ready);
            let (state, ending) = match self.judge(&slot, stamp, taken) {
                Ok((rtt, clock)) => (
                    State::Answered,
                    Ending::Answered(Answer {
                        rtt,
                        clock,
                        hop_limit,
                        delay,
                    }),
                ),
                Err(ending) => (State::Answered, ending),
            };
            self.book(&ending);
            self.finish(seq, state, ending);
        }
        self.replied = replied;
    }

    /// Ends the probes whose timeout has passed. Call it after everything that waited has been read.
    pub fn expire(&mut self, now: Moment) {
        while self.oldest < self.next {
            let (number, seq) = (self.oldest, seq_of(self.oldest));
            let slot = self.slot_mut(seq);
            if slot.number == number && slot.is_under_way() {
                let waited = now.monotonic.saturating_sub(slot.launched.monotonic);
                if waited < self.timeout
                    || matches!(self.slot_mut(seq).state, State::Replied { .. })
                {
                    return;
                }
                self.counters.timeouts += 1;
                self.finish(seq, State::Expired, Ending::Timeout);
            }
            self.oldest += 1;
        }
    }

    /// When the next probe expires, by the monotonic clock; `None` when none is under way.
    pub fn next_expiry(&mut self) -> Option<Duration> {
        while self.oldest < self.next {
            let (number, seq) = (self.oldest, seq_of(self.oldest));
            let slot = self.slot_mut(seq);
            if slot.number == number && slot.is_under_way() {
                return Some(slot.launched.monotonic + self.timeout);
            }
            self.oldest += 1;
        }
        None
    }

    /// Moves what ended into `into`, in the order of ending.
    pub fn take_finished(&mut self, into: &mut Vec<Completion>) {
        into.append(&mut self.finished);
    }

    /// The RTT of an answered probe, and whose clock it is; or why it has none.
    fn judge(
        &self,
        slot: &Slot,
        stamp: Option<Duration>,
        taken: Moment,
    ) -> Result<(Duration, Clock), Ending> {
        if slot.launched.stepped_until(&taken) {
            return Err(Ending::Spoiled(Spoiled::ClockStepped));
        }
        let (sent, received, clock) = match (slot.transmitted, stamp) {
            (Some(sent), Some(received)) => (sent, received, Clock::Kernel),
            (None, Some(received)) => (slot.launched.wall, received, Clock::User),
            (_, None) => (slot.launched.monotonic, taken.monotonic, Clock::User),
        };
        let rtt = received.saturating_sub(sent);
        let waited = taken.monotonic.saturating_sub(slot.launched.monotonic);
        if rtt.is_zero() {
            Err(Ending::Spoiled(Spoiled::NotPositive))
        } else if rtt > waited + slot.launched.slack + taken.slack + SLEW {
            Err(Ending::Spoiled(Spoiled::Implausible))
        } else if rtt >= self.timeout {
            Err(Ending::Timeout)
        } else {
            Ok((rtt, clock))
        }
    }

    fn book(&mut self, ending: &Ending) {
        let count = &mut self.counters;
        match ending {
            Ending::Answered(answer) => {
                count.answered += 1;
                count.kernel_stamped += u64::from(answer.clock == Clock::Kernel);
            }
            Ending::Timeout => {
                count.timeouts += 1;
                count.late += 1;
            }
            Ending::Spoiled(Spoiled::ClockStepped) => count.clock_stepped += 1,
            Ending::Spoiled(Spoiled::NotPositive) => count.not_positive += 1,
            Ending::Spoiled(Spoiled::Implausible) => count.implausible += 1,
            Ending::Unreachable { .. } | Ending::NotSent(_) => {}
        }
    }

    fn finish(&mut self, seq: u16, state: State, ending: Ending) {
        let slot = self.slot_mut(seq);
        slot.state = state;
        let (token, destination) = (slot.token, slot.destination);
        self.under_way -= 1;
        self.finished.push(Completion {
            token,
            destination,
            ending,
        });
    }

    /// Takes back what `launch` booked, if the probe is still awaited.
    fn recall(&mut self, seq: u16) -> Option<()> {
        let slot = self.slot_mut(seq);
        let awaited = slot.seq == seq && matches!(slot.state, State::Awaiting);
        awaited.then(|| self.counters.sent -= 1)
    }

    fn slot_mut(&mut self, seq: u16) -> &mut Slot {
        let place = usize::from(seq) & (self.slots.len() - 1);
        self.slots
            .get_mut(place)
            .expect("masked by the length, a power of two")
    }
}

/// By how much a kernel stamp may differ from a reading of the same clock: the two clocks are not read at one instant.
const SLEW: Duration = Duration::from_micros(10);

fn seq_of(number: u64) -> u16 {
    u16::try_from(number & 0xffff).expect("masked to 16 bits")
}

impl Slot {
    const fn is_under_way(&self) -> bool {
        matches!(self.state, State::Awaiting | State::Replied { .. })
    }
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
