//! Latency events: the RTT, its variation (IPDV, RFC 3393) or the loss of one path went to another level and stays there.
//!
//! Apart from failovers: nothing here says that a path moved, and whoever knows that it did calls [`Latency::restart`]. Samples are
//! pulses; windows last 30 s, and what is compared is their median, so that single queues do not count. Bounded: 24 bytes of hours
//! and six windows.

use serde::{Deserialize, Serialize};

use crate::number::{median, small};
use crate::track::Phase;

/// Length of a window, seconds.
const WINDOW_S: f64 = 30.0;
/// A window so long before or after the one before it is none of its neighbours.
const GAP_S: f64 = 4.0 * WINDOW_S;
/// Samples that a window needs to say anything.
const SAMPLES: usize = 3;
/// Samples kept of a window; beyond it the window is full and says what it has.
const SAMPLES_MAX: usize = 32;
/// Windows in a row that start or end an event: two minutes.
const WINDOWS: u8 = 4;
/// Windows from which a baseline is made: five minutes.
const LEARN: u16 = 10;
/// An event that lasts so long is the new level, seconds.
const NEW_LEVEL_S: f64 = 3_600.0;
/// Windows over which loss is counted: five minutes.
const LOSS_WINDOWS: usize = 10;
/// Lost pulses in five minutes that are an event where none used to be lost: one in ten.
const LOSS_MIN: f64 = 0.1;

/// What went to another level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Median RTT, milliseconds.
    Rtt,
    /// Median difference of consecutive RTTs, milliseconds.
    Ipdv,
    /// Share of lost pulses.
    Loss,
}

/// A start or an end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyChange {
    /// Start or end.
    pub phase: Phase,
    /// Of what.
    pub metric: Metric,
    /// When it was decided, Unix seconds.
    pub at: f64,
    /// When it happened: after the first, before the second.
    pub onset: [f64; 2],
    /// The level before: milliseconds, or a share.
    pub from: f64,
    /// The level now.
    pub to: f64,
    /// Whether events came at this hour of the day on three of the last seven days: congestion that recurs.
    pub recurs: bool,
}

/// One metric against its level.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Level {
    /// Its level; nothing before `windows` are enough.
    usual: f64,
    /// How far windows usually are from it.
    spread: f64,
    windows: u16,
    /// Windows in a row off the level (or on it again, while an event is open), and when the first began.
    run: u8,
    since: f64,
    sum: f64,
    above: bool,
    open: Option<f64>,
}

/// Latency of one path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    window_from: f64,
    rtts_ms: Vec<f64>,
    lost: usize,
    losses: Vec<(u8, u8)>,
    rtt: Level,
    ipdv: Level,
    loss: Level,
    hours: Hours,
}

/// Hours of the day with an event, on each of the last seven days.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Hours {
    day: u32,
    bits: [u8; 24],
}

impl Latency {
    /// Takes a pulse in (`None`: lost), and says what changed.
    pub fn on_pulse(&mut self, at: f64, rtt_us: Option<u32>) -> Vec<LatencyChange> {
        let ahead = self.window_from - at;
        // A little late: of a window that is over. Far behind: the window began at a time that a wrong clock gave it.
        if !at.is_finite() || (ahead > 0.0 && ahead <= GAP_S) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        if self.window_from == 0.0 {
            self.window_from = at;
        } else if ahead > GAP_S || -ahead >= WINDOW_S {
            changes = self.close(at);
        }
        match rtt_us {
            Some(rtt_us) if self.rtts_ms.len() < SAMPLES_MAX => {
                self.rtts_ms.push(f64::from(rtt_us) / 1_000.0);
            }
            Some(_) => {}
            None => self.lost = (self.lost + 1).min(SAMPLES_MAX),
        }
        changes
    }

    /// The path is another one: its levels are learnt afresh, and what was open is over.
    pub fn restart(&mut self, at: f64) -> Vec<LatencyChange> {
        let metrics = [Metric::Rtt, Metric::Ipdv, Metric::Loss];
        let levels = [&mut self.rtt, &mut self.ipdv, &mut self.loss];
        let over = metrics
            .into_iter()
            .zip(levels)
            .filter_map(|(metric, level)| {
                let since = level.open?;
                let change = level.change(Phase::End, metric, at, [since, at], level.usual);
                Some(change)
            });
        let changes = over.collect();
        *self = Self {
            hours: std::mem::take(&mut self.hours),
            ..Self::default()
        };
        changes
    }

    fn close(&mut self, at: f64) -> Vec<LatencyChange> {
        let (from, mut rtts) = (self.window_from, std::mem::take(&mut self.rtts_ms));
        let lost = std::mem::take(&mut self.lost);
        let gap = (at - from).abs() > GAP_S;
        self.window_from = at;
        if gap {
            for level in [&mut self.rtt, &mut self.ipdv, &mut self.loss] {
                level.run = 0; // asleep: what is before a gap is no neighbour of what is after
            }
            self.losses.clear();
            return Vec::new();
        }
        let mut steps: Vec<f64> = rtts
            .windows(2)
            .filter_map(|pair| Some((pair.last()? - pair.first()?).abs()))
            .collect();
        let mut changes = Vec::new();
        let answered = rtts.len();
        if answered >= SAMPLES {
            let middle = median(&mut rtts).unwrap_or_default();
            let least = (self.rtt.usual * 0.05).max(3.0);
            changes.extend(self.rtt.take(Metric::Rtt, from, at, middle, least));
            let step = median(&mut steps).unwrap_or_default();
            changes.extend(self.ipdv.take(Metric::Ipdv, from, at, step, 3.0));
        }
        changes.extend(self.loss_of(from, at, lost, answered));
        for change in &mut changes {
            change.recurs = self.hours.note(change);
        }
        changes
    }

    fn loss_of(
        &mut self,
        from: f64,
        at: f64,
        lost: usize,
        answered: usize,
    ) -> Option<LatencyChange> {
        if self.losses.len() >= LOSS_WINDOWS {
            self.losses.remove(0);
        }
        self.losses.push((small(lost), small(lost + answered)));
        let (lost, sent) = self.losses.iter().fold((0.0, 0.0), |sum, one| {
            (sum.0 + f64::from(one.0), sum.1 + f64::from(one.1))
        });
        if self.losses.len() < LOSS_WINDOWS || sent < 20.0 {
            return None;
        }
        self.loss
            .take(Metric::Loss, from, at, lost / sent, LOSS_MIN)
    }
}

impl Level {
    /// Takes a window in. Off the level is what is off by `least` and by six times what is usual.
    fn take(
        &mut self,
        metric: Metric,
        from: f64,
        at: f64,
        value: f64,
        least: f64,
    ) -> Option<LatencyChange> {
        if self.windows < LEARN {
            self.windows += 1;
            let weight = 1.0 / f64::from(self.windows);
            self.spread += ((value - self.usual).abs() - self.spread)
                * weight
                * f64::from(u8::from(self.windows > 1));
            self.usual += (value - self.usual) * weight;
            return None;
        }
        let off = value - self.usual;
        let bound = least.max(6.0 * self.spread);
        let away = if self.open.is_some() {
            off.abs() > bound / 2.0
        } else {
            off.abs() > bound
        };
        if away == self.open.is_some() {
            return self.stay(metric, at, value, away);
        }
        let above = off > 0.0;
        if self.run == 0 || (away && above != self.above) {
            (self.run, self.since, self.sum, self.above) = (0, from, 0.0, above);
        }
        self.run += 1;
        self.sum += value;
        if self.run < WINDOWS {
            return None;
        }
        let now = self.sum / f64::from(self.run);
        let onset = [self.since - WINDOW_S, self.since + WINDOW_S];
        self.run = 0;
        if away {
            self.open = Some(self.since);
            return Some(self.change(Phase::Start, metric, at, onset, now));
        }
        self.open = None;
        Some(self.change(Phase::End, metric, at, onset, now))
    }

    /// Nothing new: the level follows slowly, or the event goes on until it is the level.
    fn stay(&mut self, metric: Metric, at: f64, value: f64, away: bool) -> Option<LatencyChange> {
        self.run = 0;
        if !away {
            self.spread += ((value - self.usual).abs() - self.spread) * 0.02;
            self.usual += (value - self.usual) * 0.02;
            return None;
        }
        let since = self.open.filter(|since| at - since >= NEW_LEVEL_S)?;
        self.open = None;
        let change = self.change(Phase::End, metric, at, [since, at], value);
        (self.usual, self.windows, self.spread) = (value, 1, 0.0);
        Some(change)
    }

    const fn change(
        &self,
        phase: Phase,
        metric: Metric,
        at: f64,
        onset: [f64; 2],
        to: f64,
    ) -> LatencyChange {
        LatencyChange {
            phase,
            metric,
            at,
            onset,
            from: self.usual,
            to,
            recurs: false,
        }
    }
}

impl Hours {
    /// Notes an event, and says whether one came at this hour on two or more of the six days before.
    fn note(&mut self, change: &LatencyChange) -> bool {
        let hours = (change.onset[1] / 3_600.0).max(0.0);
        let whole = hours.floor();
        let of_day = whole.rem_euclid(24.0);
        let today = (whole - of_day) / 24.0;
        let passed = today - f64::from(self.day);
        if passed >= 1.0 {
            let shift = passed.min(8.0);
            for bits in &mut self.bits {
                *bits = (0..8_u8)
                    .filter(|step| f64::from(*step) < shift)
                    .fold(*bits, |bits, _| bits << 1);
            }
            self.day = as_day(today);
        }
        let hour = (0..24_u8)
            .find(|hour| f64::from(*hour) >= of_day)
            .unwrap_or(0);
        let near = [hour.checked_sub(1).unwrap_or(23), hour, (hour + 1) % 24];
        let days = near.iter().fold(0, |days, hour| {
            days | self
                .bits
                .get(usize::from(*hour))
                .copied()
                .unwrap_or_default()
        });
        if let Some(bits) = self
            .bits
            .get_mut(usize::from(hour))
            .filter(|_| change.phase == Phase::Start)
        {
            *bits |= 1;
        }
        (days & 0b0111_1110).count_ones() >= 2
    }
}

fn as_day(day: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a day since 1970 is between 0 and 2³²"
    )]
    let whole = day.clamp(0.0, f64::from(u32::MAX)) as u32;
    whole
}

/// A lasting change of the reply's TTL while the forward path stays: its way back may be another one. Informational.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReturnPath {
    usual: Option<u8>,
    steady: u16,
    other: Option<u8>,
    run: u16,
    since: f64,
}

/// Replies in a row with one other TTL that are lasting: two minutes of pulses.
const RETURN_RUN: u16 = 24;
/// And so many seconds.
const RETURN_S: f64 = 120.0;

impl ReturnPath {
    /// Takes a reply in: the TTL before and now, once the new one has lasted. `forward_moved` takes the suspicion back.
    pub fn on_reply(
        &mut self,
        at: f64,
        ttl: u8,
        forward_moved: bool,
    ) -> Option<(u8, u8, [f64; 2])> {
        if forward_moved {
            *self = Self::default();
            return None;
        }
        let Some(usual) = self.usual else {
            self.steady = if self.other == Some(ttl) {
                self.steady + 1
            } else {
                0
            };
            self.other = Some(ttl);
            if self.steady >= RETURN_RUN {
                (self.usual, self.other, self.run) = (Some(ttl), None, 0);
            }
            return None;
        };
        if ttl == usual {
            (self.other, self.run) = (None, 0);
            return None;
        }
        if self.other != Some(ttl) {
            (self.other, self.run, self.since) = (Some(ttl), 0, at);
        }
        self.run = self.run.saturating_add(1);
        let lasting = self.run >= RETURN_RUN && at - self.since >= RETURN_S;
        lasting.then(|| {
            (self.usual, self.other, self.run) = (Some(ttl), None, 0);
            (usual, ttl, [self.since - 10.0, self.since])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator (SplitMix64): RTTs with exponential queues.
    struct Chance(u64);

    impl Chance {
        fn share(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut value = self.0;
            value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            f64::from(u32::try_from((value ^ (value >> 31)) >> 32).unwrap()) / 4_294_967_296.0
        }

        fn queue(&mut self, mean_ms: f64) -> f64 {
            -mean_ms * (1.0 - self.share()).ln()
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a pulse has is an option")]
    fn rtt(ms: f64) -> Option<u32> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an RTT of a test is between 0 and a second"
        )]
        let whole = (ms * 1_000.0) as u32;
        Some(whole)
    }

    #[test]
    fn a_pulse_dated_an_hour_ahead_mutes_nothing() {
        let (mut latency, mut chance) = (Latency::default(), Chance(7));
        let mut changes = Vec::new();
        for second in (0..7_200_u32).step_by(5) {
            let at = f64::from(second) + 1.0;
            let ms = if second < 3_600 { 15.0 } else { 45.0 };
            changes.extend(latency.on_pulse(at, rtt(ms + chance.queue(0.6))));
            if second == 3_000 {
                latency.on_pulse(at + 3_600.0, rtt(15.0));
            }
        }
        let started = |change: &LatencyChange| {
            change.metric == Metric::Rtt && change.phase == Phase::Start && change.at < 4_200.0
        };
        assert!(changes.iter().any(started), "{changes:?}");
    }

    /// A day of pulses: a step of `step_ms` for `step_s` seconds each two hours.
    fn day(seed: u64, step_ms: f64, lasting_s: f64) -> Vec<LatencyChange> {
        let mut chance = Chance(seed);
        let mut latency = Latency::default();
        let (mut at, mut changes) = (0.5, Vec::new());
        while at < 86_400.0 {
            let stepped = at % 7_200.0 > 3_600.0 && at % 7_200.0 < 3_600.0 + lasting_s;
            let spike = if chance.share() < 0.02 {
                chance.queue(20.0)
            } else {
                0.0
            };
            let ms = 15.0 + chance.queue(0.6) + spike + if stepped { step_ms } else { 0.0 };
            let lost = chance.share() < 0.005;
            changes.extend(latency.on_pulse(at, rtt(ms).filter(|_| !lost)));
            at += 5.0 * (0.9 + 0.1 * chance.share());
        }
        changes
    }

    #[test]
    fn steps_of_five_milliseconds_and_three_minutes_are_found_and_nothing_else() {
        let (mut found, mut steps, mut wrong) = (0, 0, 0);
        for seed in 0..20 {
            let changes = day(seed, 5.0, 180.0);
            let starts = changes.iter().filter(|change| change.phase == Phase::Start);
            for start in starts {
                let in_step = (3_600.0..3_840.0).contains(&(start.at % 7_200.0));
                found += u32::from(in_step && start.metric == Metric::Rtt);
                wrong += u32::from(!in_step);
            }
            steps += 12;
        }
        assert!(found * 10 >= steps * 9, "{found} of {steps}");
        assert_eq!(wrong, 0, "in 20 days");
    }

    #[test]
    fn days_without_steps_are_silent() {
        let said: usize = (100..150).map(|seed| day(seed, 0.0, 0.0).len()).sum();
        assert!(said <= 1, "{said} in 50 agent-days, at most 0.02 a day");
    }

    #[test]
    fn a_level_that_stays_is_the_level_after_an_hour() {
        let mut latency = Latency::default();
        let mut changes = Vec::new();
        for step in 0..4_000 {
            let at = 1.0 + f64::from(step) * 5.0;
            let ms = if at < 2_000.0 { 10.0 } else { 20.0 };
            changes.extend(latency.on_pulse(at, rtt(ms)));
        }
        let phases: Vec<Phase> = changes.iter().map(|change| change.phase).collect();
        assert_eq!(phases, [Phase::Start, Phase::End]);
        assert!(
            (changes[0].onset[0]..=changes[0].onset[1]).contains(&2_000.0),
            "{changes:?}"
        );
    }

    #[test]
    fn loss_of_a_fifth_is_an_event_and_one_in_two_hundred_is_none() {
        let mut chance = Chance(9);
        let mut latency = Latency::default();
        let mut changes = Vec::new();
        for step in 0..2_000 {
            let at = 1.0 + f64::from(step) * 5.0;
            let share = if (4_000.0..6_000.0).contains(&at) {
                0.25
            } else {
                0.005
            };
            let lost = chance.share() < share;
            changes.extend(latency.on_pulse(at, rtt(10.0).filter(|_| !lost)));
        }
        let told: Vec<(Phase, Metric)> = changes
            .iter()
            .map(|change| (change.phase, change.metric))
            .collect();
        assert_eq!(
            told,
            [(Phase::Start, Metric::Loss), (Phase::End, Metric::Loss)]
        );
    }

    #[test]
    fn congestion_at_the_same_hour_recurs_on_the_third_day() {
        let mut latency = Latency::default();
        let mut recurs = Vec::new();
        for step in 0..(4 * 17_280) {
            let at = 1.0 + f64::from(step) * 5.0;
            let busy = (68_400.0..70_200.0).contains(&(at % 86_400.0));
            let changes = latency.on_pulse(at, rtt(if busy { 30.0 } else { 10.0 }));
            let starts = changes
                .into_iter()
                .filter(|change| change.phase == Phase::Start);
            recurs.extend(starts.map(|change| change.recurs));
        }
        assert_eq!(recurs, [false, false, true, true]);
    }

    #[test]
    fn another_path_is_learnt_afresh_and_is_no_latency_event() {
        let mut latency = Latency::default();
        let mut changes = Vec::new();
        for step in 0..1_000 {
            let at = 1.0 + f64::from(step) * 5.0;
            if step == 500 {
                changes.extend(latency.restart(at));
            }
            changes.extend(latency.on_pulse(at, rtt(if step < 500 { 10.0 } else { 25.0 })));
        }
        assert_eq!(changes, []);
    }

    #[test]
    fn a_lasting_reply_ttl_is_told_once_and_not_when_the_forward_path_moved() {
        let mut path = ReturnPath::default();
        let mut told = Vec::new();
        for step in 0..200 {
            let at = f64::from(step) * 5.0;
            let ttl = if step < 60 || step == 30 { 57 } else { 55 };
            told.extend(path.on_reply(at, if step == 20 { 50 } else { ttl }, false));
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].0, told[0].1), (57, 55));
        let mut path = ReturnPath::default();
        let moved = (0..200).filter_map(|step| {
            path.on_reply(
                f64::from(step) * 5.0,
                if step < 60 { 57 } else { 55 },
                step == 60,
            )
        });
        assert_eq!(moved.count(), 0);
    }
}
